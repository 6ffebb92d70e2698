"""The lines of an entry: each on an account that takes it, in its currency, and all of them balanced. Pure.

Where several lines fail, the code that stands first in `rejections.REJECTIONS` is the entry's; its errors name every
line it is true of. Amounts are minor units from here on.
"""

from collections.abc import Iterable
from typing import Any

from libs.common.errors import Fault, Rejection
from libs.common.journal import LineRequest, Rate
from libs.common.money import to_minor, to_text
from services.ledger.account_records import AccountOpened
from services.ledger.accounts import pair_currency, position_pair
from services.ledger.conditions import too_fine
from services.ledger.crossing import cross
from services.ledger.records import EntryLine
from services.ledger.rejections import PRECEDENCE, reject
from services.ledger.state import Account, LedgerState


def entry_lines_of(
    state: LedgerState, lines: list[LineRequest], service: str, opened: list[AccountOpened]
) -> list[EntryLine] | Rejection:
    """The lines with their accounts and minor units; appends to `opened` the position pairs they need."""
    accounts = state.accounts
    entry_lines: list[EntryLine] = []
    faults: list[tuple[str, int]] = []
    for place, line in enumerate(lines):
        account = accounts.get(line.account) or _pair_account(state, line.account, opened)
        if account is None:
            faults.append(("unknown-account", place))
        elif account.guarded and (fault := _guard(account, line, service)):
            faults.append((fault, place))
        elif line.currency is not None and line.currency != account.currency:
            faults.append(("currency-mismatch", place))
        else:
            amount = to_minor(line.amount, account.exponent)
            if isinstance(amount, str):
                faults.append((amount, place))
            else:
                entry_lines.append(EntryLine(account, line.side, amount, line.party, line.description))
            if line.condition is not None and any(too_fine(line.condition, account.exponent)):
                faults.append(("too-many-decimals", place))
    return _worst(state, lines, faults) if faults else entry_lines


def _guard(account: Account, line: LineRequest, service: str) -> str | None:
    if account.summary:
        return "account-is-summary"
    if account.control_owner is not None and account.control_owner != service:
        return "account-is-control"
    if account.closed:
        return "account-closed"
    if account.frozen is not None and account.frozen in ("both", "in" if line.side == account.normal_side else "out"):
        return "account-frozen"
    return "party-missing" if account.control_owner is not None and line.party is None else None


def _worst(state: LedgerState, lines: list[LineRequest], faults: list[tuple[str, int]]) -> Rejection:
    """One rejection for all lines: the code of highest precedence, with every line it is true of."""
    code = min((code for code, _ in faults), key=PRECEDENCE.__getitem__)
    places = list(dict.fromkeys(place for fault, place in faults if fault == code))
    line = lines[places[0]]
    account = state.accounts.get(line.account)
    facts: dict[str, Any] = {"account": line.account, "line": places[0]}
    member = "amount"
    match code:
        case "unknown-account" | "account-is-summary" | "account-closed":
            member = "account"
        case "account-frozen":
            assert account is not None
            member, facts["frozen"] = "account", account.frozen
        case "account-is-control":
            assert account is not None
            member, facts["control_owner"] = "account", account.control_owner
        case "party-missing":
            member = "party"
        case "currency-mismatch":
            assert account is not None
            member, facts["currency"], facts["asked"] = "currency", account.currency, line.currency
        case "too-many-decimals":
            return _too_fine(state, lines, places, facts)
        case _:
            facts["amount"] = line.amount
            if account is not None:
                facts["currency"], facts["decimals"] = account.currency, account.exponent
    errors = [Fault(f"/lines/{place}/{member}", f"{code}: {lines[place].account}") for place in places[:100]]
    return reject(code, errors=errors, **facts)


def _too_fine(state: LedgerState, lines: list[LineRequest], places: list[int], facts: dict[str, Any]) -> Rejection:
    """Every amount of the lines, and of their conditions, that its currency cannot have."""
    found: list[tuple[int, str, str]] = []
    for place in places[:100]:
        line = lines[place]
        account = state.accounts.get(line.account)
        if account is None:  # an account of a position pair that this entry would open
            found.append((place, "amount", line.amount))
            continue
        if to_minor(line.amount, account.exponent) == "too-many-decimals":
            found.append((place, "amount", line.amount))
        if line.condition is not None:
            found += [(place, f"condition/{name}", text) for name, text in too_fine(line.condition, account.exponent)]
    first = state.accounts.get(facts["account"])
    if first is not None:
        facts |= {"currency": first.currency, "decimals": first.exponent}
    errors = [Fault(f"/lines/{place}/{member}", f"too-many-decimals: {text}") for place, member, text in found]
    return reject("too-many-decimals", errors=errors, **{**facts, "amount": found[0][2]})


def _pair_account(state: LedgerState, code: str, opened: list[AccountOpened]) -> Account | None:
    """An account of a position pair, which the ledger opens on first need; None for any other unknown code."""
    for record in opened:
        if record.account.code == code:
            return record.account
    currency = pair_currency(code)
    pair = position_pair(state, currency, len(opened)) if currency is not None else None
    if pair is None:
        return None
    opened.extend(pair)
    return next(record.account for record in pair if record.account.code == code)


def _pair_of(state: LedgerState, opened: list[AccountOpened]) -> Any:
    def account(code: str) -> Account:
        found = state.accounts.get(code) or _pair_account(state, code, opened)
        assert found is not None, f"{code} was asked for a currency that is not known"
        return found

    return account


def balance_of(
    state: LedgerState, rates: list[Rate], entry_lines: list[EntryLine], opened: list[AccountOpened]
) -> Rejection | None:
    """Whether debits are credits in every currency, once the lines of position pairs are appended to `entry_lines`."""
    sums: dict[str, int] = {}
    for entry_line in entry_lines:
        currency = entry_line.account.currency
        assert currency is not None
        sums[currency] = sums.get(currency, 0) + (
            entry_line.amount if entry_line.side == "debit" else -entry_line.amount
        )
    if rates:
        crossed = cross(state, rates, sums, len(entry_lines), _pair_of(state, opened))
        if isinstance(crossed, Rejection):
            return crossed
        for entry_line in crossed:
            entry_lines.append(entry_line)
            sums[entry_line.account.currency or ""] += (
                entry_line.amount if entry_line.side == "debit" else -entry_line.amount
            )
    return _not_balanced(entry_lines, sums) if any(sums.values()) else None


def _not_balanced(entry_lines: Iterable[EntryLine], sums: dict[str, int]) -> Rejection:
    exponents = {entry_line.account.currency: entry_line.account.exponent for entry_line in entry_lines}
    off = {code: to_text(total, exponents[code]) for code, total in sums.items() if total}
    worst = next(iter(off))
    more = "more" if sums[worst] > 0 else "less"
    return reject(
        "entry-not-balanced",
        f"In {worst} the debits are {off[worst].lstrip('-')} {more} than the credits.",
        [Fault("/lines", f"debits less credits is {amount} {code}") for code, amount in off.items()],
        currency=worst,
        difference=off[worst],
        differences=off,
    )
