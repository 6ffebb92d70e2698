"""The short paths' answers: our own answers in, the same in the words of other ledgers out.

Amounts stay text. An account is shown with code and id; each line of an entry with its value in the functional currency
where the entry itself says what it is worth, and with null where it does not: a value is never guessed. An entry's ids
come from outside, as `Ids`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from libs.common.journal import NORMAL_SIDE, Rate
from libs.common.money import Currency, from_text, to_text
from services.ledger.crossing import worth_at
from services.ledger.reports.sections import StatementAnswer
from services.ledger.short_forms import BalanceType, Form

BALANCE_TYPE: Final[Mapping[str, BalanceType]] = {"debit": "dr", "credit": "cr"}

Answered = Mapping[str, Any]


def account_words(account: Answered) -> dict[str, Any]:
    """An account in the words of all the forms; `tracker` is the version of what stands here."""
    balance_type = BALANCE_TYPE[account["normal_side"]]
    heading = account["heading"]
    return {
        "id": account["id"],
        "code": account["code"],
        "number": account["code"],
        "name": account["name"],
        "account_type": account["type"],
        "type": account["type"],
        "currency": account["currency"],
        "ccy": account["currency"],
        "balance_type": balance_type,
        "heading": heading
        and {
            "heading": heading["name"],
            "heading_type": account["type"],
            "balance_type": BALANCE_TYPE[NORMAL_SIDE[account["type"]]],
            "number": heading["number"],
            "tracker": account["version"],
        },
        "parent": account["parent"],
        "is_control_account": account["summary"],
        "is_reconcilable": account["reconcilable"],
        "is_active": not account["closed"],
        "metadata": account["metadata"],
        "version": account["version"],
        "created_at": account["opened_at"],
    }


def wallet_words(account: Answered) -> dict[str, Any]:
    """An account of the wallets' kind."""
    unlimited = account["overdraft"]["policy"] == "unlimited"
    return {
        "id": account["id"],
        "account_id": account["id"],
        "code": account["code"],
        "type": "internal" if unlimited else "user",
        "currency": account["currency"],
        "metadata": account["metadata"],
        "created_at": account["opened_at"],
    }


def balance_words(balance: Answered, account_id: str) -> dict[str, Any]:
    """A balance on the account's normal side, posted (`balance`) and available."""
    return {
        "account_id": account_id,
        "code": balance["account"],
        "currency": balance["currency"],
        "ccy": balance["currency"],
        "balance": balance["posted"],
        "available": balance["available"],
        "balance_type": BALANCE_TYPE[balance["normal_side"]],
        "sequence": balance["sequence"],
    }


Ids = Mapping[str, str]
"""Account code -> account id. A position account that a dry run would open has none yet."""


def transaction_words(entry: Answered, ids: Ids, key: str, functional: Currency) -> dict[str, Any]:
    """An entry with `direction` and ids, and each line's value in the functional currency, where that is known."""
    currencies = sorted({line["currency"] for line in entry["lines"]})
    return {
        "id": entry["id"],
        "reference": entry["external_id"],
        "idempotency_key": key,
        "description": entry["description"],
        "currency": currencies[0] if len(currencies) == 1 else None,
        "status": "reversed" if entry["reversed_by"] else "posted",
        "entries": [_transaction_line(entry, line, ids, functional) for line in entry["lines"]],
        "metadata": entry["metadata"],
        "effective_on": entry["effective_on"],
        "sequence": entry["sequence"],
        "reverses": entry["reverses"],
        "reversed_by": entry["reversed_by"],
        "created_at": entry["recorded_at"],
    }


def _transaction_line(entry: Answered, line: Answered, ids: Ids, functional: Currency) -> dict[str, Any]:
    value = functional_value(line, entry["rates"], functional)
    debit = line["side"] == "debit"
    return {
        "account_id": ids.get(line["account"]),
        "account_code": line["account"],
        "direction": line["side"],
        "amount": line["amount"],
        "currency": line["currency"],
        "dr_amount": line["amount"] if debit else None,
        "cr_amount": None if debit else line["amount"],
        "dr_value": value if debit else None,
        "cr_value": None if debit else value,
    }


def functional_value(line: Answered, rates: Iterable[Mapping[str, str]], functional: Currency) -> str | None:
    """A line's amount in the functional currency, by a rate the entry itself states; None where it states none."""
    if line["currency"] == functional.code:
        amount: str = line["amount"]
        return amount
    for stated in rates:
        if {stated["base"], stated["counter"]} == {line["currency"], functional.code}:
            foreign = Currency(line["currency"], len(line["amount"].partition(".")[2]))
            rate = Rate(stated["base"], stated["counter"], stated["rate"])
            minor = worth_at(rate, from_text(line["amount"], foreign.exponent), foreign, functional)
            return to_text(minor, functional.exponent)
    return None


def journal_words(entry: Answered, functional: Currency) -> dict[str, Any]:
    """An entry as a journal lists it, by account codes."""
    return {
        "id": entry["id"],
        "date": entry["effective_on"],
        "posted_at": entry["recorded_at"],
        "description": entry["description"],
        "reference": entry["external_id"],
        "sequence": entry["sequence"],
        "reverses": entry["reverses"],
        "lines": [
            {
                "account": line["account"],
                "side": line["side"],
                "amount": line["amount"],
                "ccy": line["currency"],
                "value": functional_value(line, entry["rates"], functional),
            }
            for line in entry["lines"]
        ],
    }


def transfer_words(entry: Answered, form: Form) -> dict[str, Any]:
    """A posted transfer: the form's own members, and which entry it became."""
    asked = {name: value for name, value in form.items() if name not in ("amount", "idempotency_key", "client_ref")}
    line = entry["lines"][0]
    return {
        "id": entry["id"],
        "transaction_id": entry["id"],
        "status": "posted",
        **asked,
        "amount": line["amount"],
        "ccy" if "from" in form else "currency": line["currency"],
        "sequence": entry["sequence"],
        "created_at": entry["recorded_at"],
    }


def events_of(record: Answered, code: str, account_id: str) -> list[dict[str, Any]]:
    """What a log record says of one account: a debit or credit for each line on it, or what else happened."""
    common = {"sequence": record["sequence"], "account_id": account_id}
    entry = record.get("entry")
    if entry is None or record["type"] != "entry-posted":
        event_id = f"{record['sequence']}"
        return [{"event_id": event_id, **common, "event_type": record["type"], "created_at": record["recorded_at"]}]
    return [
        {
            "event_id": f"{record['sequence']}/{place}",
            **common,
            "event_type": line["side"],
            "amount": line["amount"],
            "currency": line["currency"],
            "balance_after": line["balance_after"],
            "transaction_id": entry["id"],
            "metadata": entry.get("metadata", {}),
            "created_at": record["recorded_at"],
        }
        for place, line in enumerate(entry["lines"])
        if line["account"] == code
    ]


def trial_balance_words(report: Answered, currency: Currency) -> dict[str, Any]:
    """A trial balance in one currency; a row's balance is its debits less its credits."""
    nothing = to_text(0, currency.exponent)
    totals: Mapping[str, str] = next(
        (total for total in report["totals"] if total["currency"] == currency.code),
        {"debits": nothing, "credits": nothing},
    )
    return {
        "currency": currency.code,
        "rows": [
            {
                "account_code": row["account"],
                "account_name": row["name"],
                "account_type": row["type"],
                "debits": row["debits"],
                "credits": row["credits"],
                "balance": row["balance"] if row["normal_side"] == "debit" else negated(row["balance"]),
            }
            for row in report["rows"]
        ],
        "total_debits": totals["debits"],
        "total_credits": totals["credits"],
        "balanced": report["balanced"],
        "sequence": report["sequence"],
    }


def profit_and_loss_words(statement: StatementAnswer, unit: Currency) -> dict[str, Any]:
    """A profit and loss in one currency: `net` is income less expense."""
    totals, lines = _figures(statement, unit)
    return {
        "currency": unit.code,
        "income": totals["income"],
        "expense": totals["expense"],
        "net": lines["result"],
        **_range(statement),
    }


def balance_sheet_words(statement: StatementAnswer, unit: Currency) -> dict[str, Any]:
    """A balance sheet in one currency, debits less credits by account type: the three figures add up to nothing.

    `equity` has the results in it that no closing entry has moved yet; `earnings` are these alone.
    """
    totals, lines = _figures(statement, unit)
    earnings = [from_text(lines[name], unit.exponent) for name in _EARNINGS]
    return {
        "currency": unit.code,
        "asset": totals["assets"],
        "liability": negated(totals["liabilities"]),
        "equity": negated(lines["total-equity"]),
        "earnings": to_text(-sum(earnings), unit.exponent),
        "balanced": statement["holds"],
        **_range(statement),
    }


_EARNINGS: Final = ("current-earnings", "earlier-earnings-not-closed")


def _figures(statement: StatementAnswer, unit: Currency) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Section totals and lines by name in the first column; zeros where no account has the currency."""
    for part in statement["currencies"]:
        if part["currency"] == unit.code:
            totals = {section["name"]: section["totals"][0] for section in part["sections"]}
            return totals, {line["name"]: line["amounts"][0] for line in part["lines"]}
    nothing = to_text(0, unit.exponent)
    totals = dict.fromkeys(("income", "expense", "assets", "liabilities"), nothing)
    return totals, dict.fromkeys(("result", "total-equity", *_EARNINGS), nothing)


def _range(statement: StatementAnswer) -> dict[str, Any]:
    column = statement["columns"][0]
    return {"from": column["since"], "to": column["through"], "sequence": statement["sequence"]}


def negated(amount: str) -> str:
    """The amount with the other sign; nothing has none.

    >>> negated("1.50"), negated("-1.50"), negated("0.00")
    ('-1.50', '1.50', '0.00')
    """
    if not amount.strip("-0."):
        return amount
    return amount[1:] if amount.startswith("-") else f"-{amount}"


def ledger_line_words(row: Answered, decimals: int) -> dict[str, Any]:
    """One line of an account's own listing."""
    return {
        "date": row["effective_on"].isoformat(),
        "amount": to_text(int(row["amount"]), decimals),
        "is_debit": row["debit"],
        "entry_id": str(row["entry_id"]),
        "sequence": row["sequence"],
    }
