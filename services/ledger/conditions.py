"""Conditions of lines: what an asker wants to be sure of before an entry is posted. Pure.

The balance conditions look at the account as the whole entry leaves it, so that several lines on one account mean one
thing; the version condition looks at it as the asker saw it before. An amount that its currency cannot have is refused
with the lines (`too_fine`), long before any balance is looked at.
"""

from collections.abc import Iterator, Sequence

from libs.common.errors import Fault, Rejection
from libs.common.journal import Condition, LineRequest
from libs.common.money import from_text, to_text
from services.ledger.rejections import reject
from services.ledger.state import Account


def too_fine(condition: Condition, exponent: int) -> Iterator[tuple[str, str]]:
    """Name and text of each amount that has more decimals than the account's currency."""
    for name in ("available_at_least", "posted_equals"):
        text = getattr(condition, name)
        if text is not None and not _is_exact(text, exponent):
            yield name, text


def _is_exact(text: str, exponent: int) -> bool:
    try:
        from_text(text, exponent)
    except ValueError:
        return False
    return True


def unmet(lines: Sequence[LineRequest], moved: Sequence[tuple[Account, int, int]]) -> Rejection | None:
    """The first condition that does not hold; a balance that differs comes before a version that does."""
    versions: Rejection | None = None
    for place, line in enumerate(lines):
        if line.condition is None:
            continue
        account, debits, credits_ = next(row for row in moved if row[0].code == line.account)
        refused = _balance_differs(account, debits, credits_, line.condition, place)
        if refused is not None:
            return refused
        expected = line.condition.version_equals
        if versions is None and expected is not None and expected != account.version:
            versions = reject(
                "version-conflict",
                f"{account.code} is at version {account.version}, not {expected}.",
                [Fault(f"/lines/{place}/condition/version_equals", f"is {account.version} now")],
                account=account.code,
                version=account.version,
                expected=expected,
            )
    return versions


def _balance_differs(account: Account, debits: int, credits_: int, wanted: Condition, place: int) -> Rejection | None:
    posted = debits - credits_ if account.normal_side == "debit" else credits_ - debits
    available = posted - account.pending_out
    exponent = account.exponent
    for name, text, found in (
        ("available_at_least", wanted.available_at_least, available),
        ("posted_equals", wanted.posted_equals, posted),
    ):
        if text is None:
            continue
        pointer = f"/lines/{place}/condition/{name}"
        minor = from_text(text, exponent)
        if found < minor or (name == "posted_equals" and found != minor):
            is_now = to_text(found, exponent)
            return reject(
                "balance-condition-failed",
                f"{account.code} would have {is_now} {account.currency}.",
                [Fault(pointer, f"would be {is_now}")],
                account=account.code,
                currency=account.currency,
                **{name: text, "found": is_now},
            )
    return None
