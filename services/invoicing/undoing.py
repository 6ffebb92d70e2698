"""What was done wrongly, taken back: relief, recoveries, payouts, and credit that was kept.

    relief     no more stays repaid than stays claimed        recovery   the newest first: tax is repaid cumulatively
    payout     the processor holds the money again            kept credit   as far as the customer still has it

Each is a dated row that names what it takes back, whole and once; its entries are reversed at the ledger. What was
used since is not taken back: the answer has the numbers.
"""

from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

from libs.common.clock import new_id
from libs.common.db import Connection
from libs.common.errors import Rejection
from services.invoicing import invoice_store, money_reads, note_store, payment_store, payout_store, settlement_store
from services.invoicing.asking import OK, Done
from services.invoicing.money_words import payout_words, write_off_words
from services.invoicing.posting_requests import DRAFT, document_name, want
from services.invoicing.rejections import reject
from services.invoicing.reversing import Reversed, reversals
from services.invoicing.rows import Row
from services.invoicing.words import amount_text, payment_words

# --- what became of write-offs ----------------------------------------------------------------------------------------


async def take_back_write_off_part(
    connection: Connection, organization: str, document: UUID, on: date, now: datetime
) -> Done | Rejection:
    """Relief that was claimed, or money that came in, is taken back. Twice is `already-undone`."""
    done = await note_store.read_write_off(connection, organization, document)
    if done is None or done["kind"] not in ("relief", "recovery"):
        return reject("unknown-write-off", write_off=str(document))
    key = organization, done["invoice"]
    invoice = (await invoice_store.lock_invoices(connection, [key]))[key]
    if await note_store.is_write_off_undone(connection, organization, document):
        return reject("already-undone", write_off=str(document))
    standing = await note_store.standing_recoveries(connection, organization, done["invoice"])
    if done["kind"] == "relief":
        claimed = (await note_store.written_off_sums(connection, organization, done["invoice"]))["relief"]
        refused = _relief_used(done, claimed, standing, invoice["currency"])
        purposes = ["relief"]
    else:
        refused = _recovery_followed(done, standing, invoice["currency"])
        purposes = ["relief_repaid", "recovery"]
    if refused is not None:
        return refused
    taking_back, kind = new_id(), f"{done['kind']}-taken-back"
    name, by = document_name("write-off", document), document_name("write-off", taking_back)
    entries = [Reversed(name, purpose, done["created_at"], by, f"{purpose}_reversed") for purpose in purposes]
    prepared = await reversals(connection, organization, invoice["ledger"], entries, on, now)
    if isinstance(prepared, Rejection):
        return prepared
    await note_store.insert_write_off(
        connection,
        [organization, taking_back, done["ledger"], done["invoice"], kind, done["amount"], done["tax"], on, document,
         "requested", now],
    )  # fmt: skip
    await want(connection, prepared, now)
    row = await money_reads.read_write_off(connection, organization, taking_back)
    assert row is not None, "it is stored"
    return Done(write_off_words(row), OK)


def _relief_used(relief: Row, claimed: int, recoveries: Sequence[Row], currency: str) -> Rejection | None:
    """Why the relief stays: what is left of it without this one is less than was repaid."""
    repaid = sum(
        line.amount
        for each in recoveries
        if each["draft"] is not None
        for line in DRAFT.validate_json(each["draft"]).lines
        if line.tax is not None and line.side == "credit"
    )
    left = claimed - int(relief["amount"])
    if repaid <= left:
        return None
    amount, back, rest = (amount_text(minor, currency) for minor in (relief["amount"], repaid, left))
    return reject("relief-repaid", f"{back} was repaid.", amount=amount, repaid=back, left=rest)


def _recovery_followed(recovery: Row, recoveries: Sequence[Row], currency: str) -> Rejection | None:
    """Why the recovery stays: a later one's tax was counted on from it."""
    places = [each["id"] for each in recoveries]
    later = recoveries[places.index(recovery["id"]) + 1 :]
    if all(each["draft"] is None for each in later):
        return None
    amount = sum(int(each["amount"]) for each in later)
    own, further = amount_text(recovery["amount"], currency), amount_text(amount, currency)
    return reject("recovery-followed", amount=own, later=further, recovery=str(later[-1]["id"]))


# --- payouts ----------------------------------------------------------------------------------------------------------


async def take_back_payout(
    connection: Connection, organization: str, payout: UUID, on: date, reason: str | None, now: datetime
) -> Done | Rejection:
    """A payout that was none, or another one. Twice is `already-undone`; its provider's id stays taken."""
    row = await payout_store.lock_payout(connection, organization, payout)
    if row is None:
        return reject("unknown-payout", payout=str(payout))
    if await payout_store.is_taken_back(connection, organization, payout):
        return reject("already-undone", payout=str(payout))
    name = document_name("payout", payout)
    entry = Reversed(name, "payout", row["created_at"], name, "payout_reversed")
    prepared = await reversals(connection, organization, row["ledger"], [entry], on, now)
    if isinstance(prepared, Rejection):
        return prepared
    await payout_store.insert_reversal(connection, [organization, new_id(), payout, on, reason, now])
    await want(connection, prepared, now)
    told = {**dict(row), "taken_back_on": on, "posting": "requested"}
    return Done(payout_words(told), OK)


# --- kept credit ------------------------------------------------------------------------------------------------------


async def take_back_kept(
    connection: Connection, organization: str, kept: UUID, on: date, now: datetime
) -> Done | Rejection:
    """What of a payment was kept as credit is unapplied again, where the customer still has it."""
    known = await settlement_store.read_kept_credit(connection, organization, kept)
    if known is None:
        return reject("unknown-kept-credit", kept_credit=str(kept))
    row = await payment_store.lock_payment(connection, organization, known["payment"])
    assert row is not None, "what was kept is of a payment"
    if await settlement_store.is_kept_taken_back(connection, organization, kept):
        return reject("already-undone", kept_credit=str(kept))
    amount = int(known["amount"])
    credit_key = organization, row["ledger"], row["customer"], row["currency"]
    balance = await payment_store.lock_credit(connection, credit_key)
    there = min(balance, int(row["to_credit"]))
    if amount > there:
        given, left, held = (amount_text(minor, row["currency"]) for minor in (amount, there, balance))
        return reject("kept-credit-used", f"{left} of {given} is left.", amount=given, left=left, balance=held)
    name = document_name("payment", row["id"])
    entry = Reversed(
        name, f"kept_as_credit/{kept}", known["created_at"], name, f"kept_as_credit_reversed/{kept}"
    )  # fmt: skip
    prepared = await reversals(connection, organization, row["ledger"], [entry], on, now)
    if isinstance(prepared, Rejection):
        return prepared
    after = {
        **dict(row),
        "unapplied": int(row["unapplied"]) + amount,
        "to_credit": int(row["to_credit"]) - amount,
        "reason": "it was not to be kept as credit",
        "posting": "requested",
        "version": row["version"] + 1,
    }
    await settlement_store.insert_kept_credit(
        connection, [organization, new_id(), row["id"], "taken-back", amount, on, kept, now]
    )
    await payment_store.store_placing(connection, organization, row["id"], after)
    await payment_store.move_credit(connection, {credit_key: -amount})
    await want(connection, prepared, now)
    return Done(payment_words(after), OK)
