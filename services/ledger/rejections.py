"""Every business answer "no" of the ledger: a closed set in order of precedence. The slugs are API.

Where a request is wrong in several ways, the answer is the one that stands first here, whatever the order of its lines.
A new code is added at its place, with its sentence here, a row in the table tests and one in docs/errors.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from libs.common.errors import Fault, Rejection

REJECTIONS: Mapping[str, str] = {
    "unknown-ledger": "The organization has no such ledger.",
    "key-reused-with-other-content": "This idempotency key was used before for a request with other content.",
    "duplicate-entry-id": "An entry with this id exists already.",
    "duplicate-external-id": "An entry with this external id exists already.",
    "duplicate-hold-id": "A hold with this id exists already.",
    "entry-too-large": "The entry's record would be larger than 512 KiB.",
    "metadata-too-large": "The metadata is larger than 8 KiB.",
    "too-few-lines": "An entry has at least two lines.",
    "too-many-lines": "An entry has at most 1,000 lines.",
    "unknown-entry": "The ledger has no such entry.",
    "already-reversed": "The entry is reversed already.",
    "unknown-hold": "The ledger has no such hold.",
    "hold-not-pending": "The hold was captured whole, released or has expired.",
    "hold-expired": "The hold's time is over.",
    "hold-not-expired": "The hold's time is not over yet.",
    "unknown-hold-line": "The hold has no such line.",
    "capture-needs-lines": "A hold of more than two lines is captured line by line.",
    "unknown-account": "The ledger has no such account.",
    "account-is-summary": "A summary account takes no lines.",
    "account-is-control": "A control account takes entries from its owner alone.",
    "account-closed": "The account is closed.",
    "account-frozen": "The account is frozen for lines on this side.",
    "party-missing": "A line on a control account names a party.",
    "currency-mismatch": "The line's currency is not its account's.",
    "amount-not-positive": "An amount is greater than zero; the side says which way it goes.",
    "too-many-decimals": "The amount has more decimals than its currency.",
    "amount-out-of-range": "The amount, or the balance after it, is larger than the ledger keeps.",
    "transfer-sides-differ": "A transfer is between accounts of one normal side; post an entry instead.",
    "capture-exceeds-hold": "The capture is more than what is left of the hold.",
    "rate-missing": "The entry crosses currencies and names no rate for one of them.",
    "rate-mismatch": "The lines do not fit the stated rate.",
    "entry-not-balanced": "Debits and credits differ.",
    "closing-kind-not-permitted": "Entries of kind closing are the year end's; by hand they take period:adjust.",
    "day-closed": "The day is closed.",
    "period-closed": "The period is closed.",
    "effective-date-out-of-range": "The effective date is too far away.",
    "expiry-not-ahead": "A hold expires after it is placed.",
    "insufficient-funds": "The account has not enough available for this.",
    "balance-condition-failed": "The line's condition on the balance does not hold.",
    "version-conflict": "What was changed is not at the version that was expected.",
    "account-code-taken": "An account with this code exists already.",
    "unknown-currency": "The currency is neither in ISO 4217 nor one of the organization's own.",
    "unknown-parent": "The ledger has no such parent account.",
    "parent-type-differs": "An account and its parent are of one type.",
    "parent-is-closed": "The parent account is closed.",
    "parent-is-below": "An account's parent is not the account itself, nor one below it.",
    "account-is-position": "The ledger keeps the accounts of position pairs itself.",
    "account-not-empty": "An account is closed with nothing on it: no balance, no holds, no open children.",
    "period-not-ended": "It has not ended yet.",
    "period-out-of-order": "Periods are closed in their order and reopened in reverse.",
    "retained-earnings-missing": "There is no equity account for the retained earnings.",
}
"""Code and sentence, first match wins."""

PRECEDENCE = {code: rank for rank, code in enumerate(REJECTIONS)}

CONFLICTS = frozenset({
    "duplicate-entry-id", "duplicate-external-id", "duplicate-hold-id", "already-reversed", "hold-not-pending",
    "hold-expired", "account-code-taken", "version-conflict",
})  # fmt: skip
"""Answered as 409 over HTTP: the winner's id is among the facts."""

NOT_FOUND = frozenset({"unknown-ledger", "unknown-entry", "unknown-hold"})
"""Answered as 404 over HTTP."""

NOT_REMEMBERED = frozenset({"unknown-ledger", "key-reused-with-other-content", "hold-not-expired"})
"""Leave no trace under the request's key: there is no ledger to keep it, the key is another request's, or the same will
be true later."""


def reject(code: str, detail: str = "", errors: Sequence[Fault] = (), **facts: Any) -> Rejection:
    """The rejection `code` with its sentence, what is particular to this case, and its facts (JSON values)."""
    sentence = REJECTIONS[code]
    return Rejection(code, f"{sentence} {detail}".strip(), facts, errors)
