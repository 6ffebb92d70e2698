"""What the command does with books, through the gateway only: make them, fill them, compare them.

Everything here is safe to repeat: what is there already is compared and left alone, entries are posted under keys that
derive from their content, and each function says how much was new.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import Any

import orjson

from libs.cli.beancount_journal import ExpectedBalance
from libs.cli.charts import account_json
from libs.cli.client import Client, Refused
from libs.cli.exits import Ended
from libs.common.journal import AccountRequest, CurrencyRequest, LedgerRequest

Advance = Callable[[int], None]
"""Told how many results have come in so far."""

_SHOWN_MAX = 10
_TAKEN = frozenset({"organization-taken", "ledger-code-taken", "account-code-taken"})


@dataclass(slots=True)
class Posted:
    """What became of a stream of entries. `rejected` keeps the first few results."""

    new: int = 0
    already_there: int = 0
    rejected_count: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Results in all."""
        return self.new + self.already_there + self.rejected_count


@dataclass(frozen=True, slots=True)
class Difference:
    """An account whose balance is not the expected one."""

    code: str
    currency: str
    expected: str
    found: str


async def ensure_organization(operator: Client, slug: str, functional_currency: str = "USD") -> bool:
    """Makes the organization and its ledger `main`; False where it exists. `operator` has an operator's token."""
    body = {"slug": slug, "name": slug.replace("-", " ").title(), "functional_currency": functional_currency}
    return await _made(operator, "/organizations", body, f"organization-{slug}")


async def ensure_ledger(client: Client, wanted: LedgerRequest) -> bool:
    """Opens a ledger; False where it exists. Raises Ended where it exists in another currency."""
    if await _made(client, "/ledgers", orjson.loads(orjson.dumps(wanted)), f"ledger-{wanted.code}"):
        return True
    found = (await client.get(f"/ledgers/{wanted.code}"))["functional_currency"]
    if found != wanted.functional_currency:
        raise Ended(f"The ledger {wanted.code} is kept in {found}, these books are in {wanted.functional_currency}.")
    return False


async def ensure_currencies(client: Client, wanted: Iterable[CurrencyRequest]) -> None:
    """Makes the organization's own currencies known. Raises Refused where one is known with other decimals."""
    for currency in wanted:
        key = f"currency-{currency.code}-{currency.decimals}"
        await client.post("/currencies", orjson.loads(orjson.dumps(currency)), key=key)


async def open_accounts(client: Client, ledger: str, wanted: Iterable[AccountRequest]) -> int:
    """Opens accounts in their order; returns how many were new. Raises Ended where one exists and differs."""
    new = 0
    for account in wanted:
        body = account_json(account)
        key = f"account-{sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]}"
        if await _made(client, f"/ledgers/{ledger}/accounts", body, key):
            new += 1
        else:
            await _require_equal(client, ledger, account)
    return new


async def open_chart(client: Client, ledger: str, wanted: Sequence[AccountRequest]) -> int:
    """Opens a chart in any order; returns how many were new. Raises Ended where one exists and differs."""
    body = orjson.dumps({"accounts": [account_json(account) for account in wanted]})
    new, refused = 0, list[str]()
    async for result in client.bulk(
        f"/ledgers/{ledger}/import/accounts-json",
        lambda: [body],
        key=None,
        parameters={"dry_run": "false"},
        content_type="application/json",
    ):
        new += result["status"] == "opened"
        if result["status"] == "rejected":
            refused.append(f"{result['code']}: {result['detail']}")
    if refused:
        raise Ended("\n".join(refused[:_SHOWN_MAX]))
    return new


async def map_accounts(client: Client, ledger: str, mapping: Mapping[str, str]) -> bool:
    """Tells invoicing which account plays which part in the ledger's own currency; False where it was told already.

    `mapping` is role -> code. A mapping that is there may be somebody's own, so it is left alone.
    """
    path = f"/ledgers/{ledger}/account-mapping"
    if (await client.get(path))["mapping"]:
        return False
    currency = (await client.get(f"/ledgers/{ledger}"))["functional_currency"]
    rows = [{"role": role, "currency": None, "account": code} for role, code in mapping.items()]
    await client.put(path, {"functional_currency": currency, "mapping": rows})
    return True


async def _made(client: Client, path: str, body: Any, key: str) -> bool:
    """True where the POST made something, False where it (or its like) is there already."""
    try:
        return not (await client.post(path, body, key=key)).replayed
    except Refused as refusal:
        if refusal.problem_code in _TAKEN:
            return False
        raise


async def _require_equal(client: Client, ledger: str, wanted: AccountRequest) -> None:
    found = await client.get(f"/ledgers/{ledger}/accounts/{wanted.code}")
    for name in ("type", "currency", "summary", "reconcilable", "cash"):
        if found[name] != getattr(wanted, name):
            raise Ended(
                f"The account {wanted.code} exists in ledger {ledger} and differs: "
                f"its {name} is {found[name]}, wanted is {getattr(wanted, name)}."
            )


async def post_entries(
    client: Client,
    ledger: str,
    lines: Callable[[], Iterable[bytes]],
    key: str,
    *,
    ids_name_content: bool = False,
    advance: Advance = lambda _: None,
) -> Posted:
    """Posts NDJSON entries, each on its own, by the bulk endpoint; `lines` gives them anew each time it is called.

    Where ids derive from content, an entry whose id the ledger has counts as there already; else it is a rejection.
    """
    posted = Posted()
    async for result in client.bulk(f"/ledgers/{ledger}/entries/bulk", lines, key=key):
        if result["status"] == "posted":
            replayed = result.get("replayed", False)
            posted.already_there += replayed
            posted.new += not replayed
        elif ids_name_content and result.get("code") == "duplicate-entry-id":
            posted.already_there += 1
        else:
            posted.rejected_count += 1
            if len(posted.rejected) < _SHOWN_MAX:
                posted.rejected.append(result)
        advance(posted.total)
    return posted


async def trial_balance(client: Client, ledger: str) -> dict[str, Any]:
    """The ledger's trial balance as the API gives it."""
    report: dict[str, Any] = await client.get(f"/ledgers/{ledger}/reports/trial-balance")
    return report


async def differences(client: Client, ledger: str, expected: Sequence[ExpectedBalance]) -> list[Difference]:
    """Compares every expected balance with the ledger's, each on its normal side; accounts without lines are asked one
    by one, because a trial balance may leave them out."""
    rows = {row["account"]: row for row in (await trial_balance(client, ledger))["rows"]}
    found: list[Difference] = []
    for want in expected:
        row = rows.get(want.code)
        if row is None:
            balance = await client.get(f"/ledgers/{ledger}/accounts/{want.code}/balance")
            currency, amount = balance["currency"], balance["posted"]
        else:
            currency, amount = row["currency"], row["balance"]
        if (currency, Decimal(amount)) != (want.currency, Decimal(want.balance)):
            found.append(Difference(want.code, want.currency, want.balance, f"{amount} {currency}"))
    return found


async def verify(client: Client, ledger: str) -> dict[str, Any]:
    """The ledger's verdict on itself: `ok`, `checked_through`, `chain_head`, `invariants`."""
    verdict: dict[str, Any] = await client.get(f"/ledgers/{ledger}/verify")
    return verdict


async def organizations(operator: Client) -> list[str]:
    """Slugs of all organizations."""
    return [item["slug"] for item in await operator.items("/organizations")]


async def ledgers(client: Client) -> list[str]:
    """Codes of the organization's ledgers."""
    return [item["code"] for item in await client.items("/ledgers")]
