"""The judgement over payments finds what it is there to find: each row spoils one thing in a good round."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.reliability.evidence import Books, KeptInvoice, KeptPayment, LogRecord, Receivables
from tests.reliability.payment_judgement import judge_payments, lost_and_doubled
from tests.reliability.payment_wishes import Invoice, Payment, Trade, draw_trade, events


@dataclass(slots=True)
class Round:
    """A round as the judgement gets it."""

    trade: Trade
    books: Books
    kept: Receivables
    proof: dict[str, Any]

    def findings(self) -> list[str]:
        return list(judge_payments(self.trade, self.books, self.kept, self.proof))


def posted(sequence: int, entry: str, amount: str) -> LogRecord:
    lines = [{"side": "debit", "amount": amount}, {"side": "credit", "amount": amount}]
    body = {"type": "entry-posted", "request": {"service": "invoicing"}, "entry": {"id": entry, "lines": lines}}
    return LogRecord(sequence, b"", b"", body)


def good_round() -> Round:
    """One invoice, paid with too much; one payment for nothing in particular."""
    invoice = Invoice("own-0", 100, paid=100, number="2026-000001")
    trade = Trade(
        [invoice], [Payment("py-0", 150, invoice, False, 100, 0, 50), Payment("py-1", 7, None, False, 0, 7, 0)]
    )
    log = [posted(1, "i-0", "1.00"), posted(2, "p-0", "1.50"), posted(3, "p-1", "0.07")]
    kept = Receivables(
        [KeptInvoice("2026-000001", 1, "paid", "posted", 100, 100, 0)],
        [KeptPayment("py-0", 150, 100, 0, 50, "p-0"), KeptPayment("py-1", 7, 0, 7, 0, "p-1")],
        {},
        1,
        0,
    )
    proof = {"complete": True, "ties": True, "unposted": {"count": 0}, "by_others": [], "rows": []}
    return Round(trade, Books(1, 3, b"", log, 0, 0), kept, proof)


def change(round_: Round, **changes: Any) -> None:
    round_.kept = replace(round_.kept, **changes)


def a_payment_is_gone(round_: Round) -> None:
    change(round_, payments=round_.kept.payments[:1])


def a_payment_is_there_twice(round_: Round) -> None:
    change(round_, payments=[*round_.kept.payments, round_.kept.payments[0]])


def a_stranger_s_payment_is_there(round_: Round) -> None:
    change(round_, payments=[*round_.kept.payments, KeptPayment("py-9", 1, 0, 1, 0, "p-9")])


def a_payment_went_elsewhere(round_: Round) -> None:
    change(round_, payments=[replace(round_.kept.payments[0], unapplied=50, to_credit=0), round_.kept.payments[1]])


def a_payment_is_not_in_the_ledger(round_: Round) -> None:
    round_.books = replace(round_.books, log=round_.books.log[:2])


def a_payment_is_in_the_ledger_twice(round_: Round) -> None:
    round_.books = replace(round_.books, log=[*round_.books.log, posted(4, "p-1", "0.07")])


def a_payment_is_posted_with_another_amount(round_: Round) -> None:
    round_.books = replace(round_.books, log=[*round_.books.log[:2], posted(3, "p-1", "0.08")])


def an_entry_has_no_document(round_: Round) -> None:
    round_.books = replace(round_.books, log=[*round_.books.log, posted(4, "x-1", "0.07")])


def an_invoice_is_gone(round_: Round) -> None:
    change(round_, invoices=[], last_serial=0)


def an_invoice_is_paid_less(round_: Round) -> None:
    change(round_, invoices=[replace(round_.kept.invoices[0], status="part-paid", paid=99, open=1)])


def an_invoice_is_not_posted(round_: Round) -> None:
    change(round_, invoices=[replace(round_.kept.invoices[0], posting="requested")])


def a_stranger_s_invoice_is_there(round_: Round) -> None:
    more = KeptInvoice("2026-000002", 2, "issued", "posted", 1, 0, 1)
    change(round_, invoices=[*round_.kept.invoices, more], last_serial=2)


def a_number_was_left_out(round_: Round) -> None:
    change(round_, last_serial=2)


def a_posting_is_under_way(round_: Round) -> None:
    change(round_, unposted={"requested": 1})


def a_message_waits(round_: Round) -> None:
    change(round_, waiting=1)


def the_tie_out_differs(round_: Round) -> None:
    round_.proof = {**round_.proof, "ties": False}


def another_hand_posted(round_: Round) -> None:
    round_.proof = {**round_.proof, "by_others": [{"sequence": 9}]}


SPOILED: list[tuple[Callable[[Round], None], str]] = [
    (a_payment_is_gone, "payment py-1 was told and is not there"),
    (a_payment_is_there_twice, "payment py-0 is there 2 times"),
    (a_stranger_s_payment_is_there, "nobody told of payment py-9"),
    (a_payment_went_elsewhere, "payment py-0 (amount, allocated, unapplied, credit) is (150, 100, 50, 0)"),
    (a_payment_is_not_in_the_ledger, "payment py-1 is in the ledger 0 times"),
    (a_payment_is_in_the_ledger_twice, "payment py-1 is in the ledger 2 times"),
    (a_payment_is_posted_with_another_amount, "payment py-1 of 7 is in the ledger with 8"),
    (an_entry_has_no_document, "4 entries of invoicing are in the ledger, invoices and payments are 3"),
    (an_invoice_is_gone, "invoice 2026-000001 is not there"),
    (an_invoice_is_paid_less, "is ('part-paid', 'posted', 100, 99, 1), it should be ('paid', 'posted', 100, 100, 0)"),
    (an_invoice_is_not_posted, "is ('paid', 'requested', 100, 100, 0)"),
    (a_stranger_s_invoice_is_there, "nobody asked for invoice 2026-000002"),
    (a_number_was_left_out, "1 invoices have numbers to 2"),
    (a_posting_is_under_way, "1 postings are requested"),
    (a_message_waits, "1 messages are parked or not published"),
    (the_tie_out_differs, "the tie-out differs"),
    (another_hand_posted, "the tie-out differs"),
]


def test_a_good_round_has_no_findings() -> None:
    round_ = good_round()
    assert round_.findings() == []
    assert lost_and_doubled(round_.trade, round_.books, round_.kept) == ([], [])


@pytest.mark.parametrize(("spoil", "finding"), SPOILED, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_spoiled_is_found(spoil: Callable[[Round], None], finding: str) -> None:
    round_ = good_round()
    spoil(round_)
    found = round_.findings()
    assert any(finding in sentence for sentence in found), found


def test_lost_and_doubled_are_counted() -> None:
    round_ = good_round()
    a_payment_is_not_in_the_ledger(round_)
    assert lost_and_doubled(round_.trade, round_.books, round_.kept) == (["py-1"], [])
    round_ = good_round()
    a_payment_is_in_the_ledger_twice(round_)
    assert lost_and_doubled(round_.trade, round_.books, round_.kept) == ([], ["py-1"])


def test_every_cent_of_a_drawn_trade_has_its_place_and_some_is_told_twice() -> None:
    trade = draw_trade(500, random.Random(1))
    for payment in trade.payments:
        assert payment.amount == payment.allocated + payment.unapplied + payment.to_credit
    for invoice in trade.invoices:
        assert invoice.paid == sum(each.allocated for each in trade.payments if each.invoice is invoice)
    assert {invoice.status for invoice in trade.invoices} == {"paid", "part-paid"}
    assert {bool(each.to_credit) for each in trade.payments} == {bool(each.unapplied) for each in trade.payments}
    told = events("o", trade.payments, random.Random(1))
    ids = [dict(message.headers)["ce_id"] for message in told]
    assert len(told) > len(set(ids)) > len(trade.payments)
