"""Payments and what came of them, held against the model and the ledger's log. Every finding is one sentence."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from tests.reliability.evidence import Books, KeptPayment, LogRecord, Receivables
from tests.reliability.payment_wishes import Payment, Trade

SERVICE = "invoicing"


def judge_payments(trade: Trade, books: Books, kept: Receivables, proof: dict[str, Any]) -> Iterator[str]:
    """Every finding of a round of payments; `proof` is what the tie-out says."""
    posted = entries(books)
    yield from payments_are_recorded(trade.payments, kept.payments)
    yield from payments_are_posted_once(kept.payments, posted)
    yield from nothing_else_is_posted(kept, posted)
    yield from invoices_end_right(trade, kept)
    yield from numbers_have_no_gap(kept)
    yield from nothing_is_under_way(kept)
    yield from receivables_tie(proof)


def entries(books: Books) -> dict[str, list[LogRecord]]:
    """Invoicing's entries in the log, by their ids."""
    found: defaultdict[str, list[LogRecord]] = defaultdict(list)
    for record in books.log:
        if record.body["type"] == "entry-posted" and record.body["request"]["service"] == SERVICE:
            found[record.body["entry"]["id"]].append(record)
    return found


def lost_and_doubled(trade: Trade, books: Books, kept: Receivables) -> tuple[list[str], list[str]]:
    """Payments that are not in the log, and those that are there more than once."""
    posted = entries(books)
    times = {payment.payment_id: len(posted.get(payment.entry, ())) for payment in kept.payments}
    lost = [payment.id for payment in trade.payments if not times.get(payment.id)]
    return lost, [payment_id for payment_id, count in times.items() if count > 1]


def payments_are_recorded(payments: Sequence[Payment], kept: Sequence[KeptPayment]) -> Iterator[str]:
    """Each payment that was told is there once, and went where the model says."""
    there = Counter(each.payment_id for each in kept)
    yield from (f"payment {payment.id} was told and is not there" for payment in payments if not there[payment.id])
    yield from (f"payment {id_} is there {count} times" for id_, count in there.items() if count > 1)
    wanted = {payment.id: payment for payment in payments}
    yield from (f"nobody told of payment {id_}" for id_ in there.keys() - wanted.keys())
    for each in kept:
        if (payment := wanted.get(each.payment_id)) is None:
            continue
        is_, ought = (
            (each.amount, each.allocated, each.unapplied, each.to_credit),
            (payment.amount, payment.allocated, payment.unapplied, payment.to_credit),
        )
        if is_ != ought:
            yield f"payment {payment.id} (amount, allocated, unapplied, credit) is {is_}, it should be {ought}"


def payments_are_posted_once(kept: Sequence[KeptPayment], posted: dict[str, list[LogRecord]]) -> Iterator[str]:
    """The ledger has one entry for each payment, and of its amount."""
    for payment in kept:
        records = posted.get(payment.entry, [])
        if len(records) != 1:
            yield f"payment {payment.payment_id} is in the ledger {len(records)} times"
        for record in records:
            debits = [line for line in record.body["entry"]["lines"] if line["side"] == "debit"]
            amount = sum(int(line["amount"].replace(".", "")) for line in debits)
            if amount != payment.amount:
                yield f"payment {payment.payment_id} of {payment.amount} is in the ledger with {amount}"


def nothing_else_is_posted(kept: Receivables, posted: dict[str, list[LogRecord]]) -> Iterator[str]:
    """As many entries as there are invoices and payments."""
    wanted = len(kept.invoices) + len(kept.payments)
    if (count := sum(map(len, posted.values()))) != wanted:
        yield f"{count} entries of invoicing are in the ledger, invoices and payments are {wanted}"


def invoices_end_right(trade: Trade, kept: Receivables) -> Iterator[str]:
    """Status and amounts as the model has them."""
    there = {invoice.number: invoice for invoice in kept.invoices}
    for invoice in trade.invoices:
        found = there.pop(invoice.number, None)
        if found is None:
            yield f"invoice {invoice.number} is not there"
            continue
        is_ = (found.status, found.posting, found.total, found.paid, found.open)
        ought = (invoice.status, "posted", invoice.total, invoice.paid, invoice.total - invoice.paid)
        if is_ != ought:
            yield f"invoice {invoice.number} (status, posting, total, paid, open) is {is_}, it should be {ought}"
    yield from (f"nobody asked for invoice {number}" for number in there)


def numbers_have_no_gap(kept: Receivables) -> Iterator[str]:
    """From 1 to the last number drawn, each once."""
    serials = [invoice.serial for invoice in kept.invoices]
    if serials != list(range(1, kept.last_serial + 1)):
        yield f"{len(serials)} invoices have numbers to {kept.last_serial}: {serials[:3]} ... {serials[-3:]}"


def nothing_is_under_way(kept: Receivables) -> Iterator[str]:
    """All is posted, and no message waits."""
    yield from (f"{count} postings are {state}" for state, count in kept.unposted.items())
    if kept.waiting:
        yield f"{kept.waiting} messages are parked or not published"


def receivables_tie(proof: dict[str, Any]) -> Iterator[str]:
    """Receivables and books say the same, by their own proof."""
    if not (proof["complete"] and proof["ties"]) or proof["unposted"]["count"] or proof["by_others"]:
        differing = [row for row in proof["rows"] if not row["ties"]]
        yield f"the tie-out differs (complete {proof['complete']}, ties {proof['ties']}): {differing}"
