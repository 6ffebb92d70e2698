"""Random histories of a company, through invoicing's real database and the ledger's real rules.

    happenings, a few at a time -> requests -> decided by the ledger's own rules, in memory -> facts and answers

Requests, facts and answers each go at their own pace, no faster than the one before. A history has an organization of
its own, so that a thousand of them fit into one database, many at once.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, get_args
from uuid import UUID

from pydantic import TypeAdapter

from libs.common.clock import now
from libs.common.db import Connection, Pool, transaction
from libs.common.events import ENTRY_WANTED, EntryWanted, ReversalWanted
from libs.common.journal import Rate
from libs.common.money import to_text
from services.invoicing.account_roles import standard_accounts
from services.invoicing.allocations import AllocationWish, allocate, unallocate
from services.invoicing.bouncing import bounce
from services.invoicing.credit_notes import NoteWish, issue_credit_note
from services.invoicing.entry_drafts import TaxBasis
from services.invoicing.keeping import assign, keep_as_credit
from services.invoicing.payments import Recorded
from services.invoicing.recoveries import record_recovery
from services.invoicing.undoing import take_back_kept, take_back_payout, take_back_write_off_part
from services.invoicing.voiding import void_invoice
from services.invoicing.write_offs import write_off
from services.ledger.domain import Accepted, Request
from services.ledger.records import EntryPosted
from tests.invoicing.bookkeeping_story import Books
from tests.invoicing.hearing import Log
from tests.invoicing.paying import tell, told
from tests.invoicing.trading import DAY, Company, company, payment
from tests.ledger.attempts import Attempt
from tests.ledger.plain_books import PlainBooks

HAPPENINGS: Final = (
    "invoice", "invoice", "pay", "pay", "pay", "pay", "refund", "dispute", "won", "void", "payout", "credit",
    "write-off", "allocate", "unallocate", "cross", "keep", "unkeep", "bounce", "unpaid-out", "recover", "unrecover",
)  # fmt: skip
ROUNDS: Final = 12
_LAST: Final = {
    "keep": "select id from payments where organization = $1 and unapplied > 0 order by id desc limit 1",
    "unkeep": "select id from kept_credits where organization = $1 and kind = 'kept' order by id desc limit 1",
    "bounce": "select id from refunds where organization = $1 and kind <> 'bounced' order by id desc limit 1",
    "unpaid-out": "select id from payouts where organization = $1 order by id desc limit 1",
    "unrecover": "select id from write_offs where organization = $1 and kind = 'recovery' order by id desc limit 1",
}
"""What may be taken back last."""
_ENTRY: Final = TypeAdapter(EntryWanted)
_REVERSAL: Final = TypeAdapter(ReversalWanted)


@dataclass(slots=True)
class RuledBooks(Books):
    """Books in which the ledger's own rules decide on every request."""

    plain: PlainBooks = field(default_factory=PlainBooks)

    def __post_init__(self) -> None:
        for request in standard_accounts("USD", ["EUR"]):
            self._decide(request, "opened")

    def decided(self, type_: str, value: bytes) -> list[dict[str, Any]]:
        """The lines as the ledger records them; a request that it refuses fails."""
        wanted = (_ENTRY if type_ == ENTRY_WANTED.name else _REVERSAL).validate_json(value)
        record = self._decide(wanted.request(), "posted").records[-1]
        assert isinstance(record, EntryPosted)
        return [
            {
                "account": line.account.code,
                "side": line.side,
                "amount": to_text(line.amount, line.account.exponent),
                "party": line.party,
                "currency": line.account.currency,
            }
            for line in record.entry_lines
        ]

    def _decide(self, request: Request, verdict: str) -> Accepted:
        key = f"{verdict} {len(self.plain.state.requests)}"
        attempt = Attempt(key, request, verdict, {}, "invoicing", key, sha256(key.encode()).digest())
        decision = self.plain.decide(attempt)
        assert isinstance(decision, Accepted), f"{request}\n  gives {decision}"
        return decision


@dataclass(slots=True)
class Trade:
    """A company, its books, and what it wrote."""

    acme: Company
    books: RuledBooks
    chance: random.Random
    invoices: list[dict[str, Any]] = field(default_factory=list)
    payments: list[dict[str, str]] = field(default_factory=list)
    disputes: list[dict[str, str]] = field(default_factory=list)
    number: int = 0

    async def happen(self) -> None:
        """One thing of a company's day; what cannot be is refused, and nothing happens."""
        self.number += 1
        what = self.chance.choice(HAPPENINGS)
        if what == "invoice" or not self.invoices:
            currency = "EUR" if self.chance.random() < 0.3 else "USD"
            self.invoices.append(await self.acme.issued(f"{self.chance.randint(1, 9) * 6}.00", currency=currency))
        elif what == "cross":
            await self._crossed(self.chance.choice(self.invoices))
        elif what in ("pay", "refund", "dispute", "won", "payout"):
            await self._told(what)
        else:
            await self._done(what, self.chance.choice(self.invoices))

    async def _told(self, what: str) -> None:
        amount = f"{self.chance.randint(1, 40)}.00"
        common = {"organization": self.acme.organization}
        unknown = common | {"payment_id": f"nobody-{self.number}", "dispute_id": f"d-{self.number}"}
        if what == "pay":
            invoice = self.chance.choice(self.invoices)
            reference = self.chance.choice([invoice["number"], invoice["number"], "nobody knows"])
            paid = common | {"payment_id": f"p-{self.number}", "currency": invoice["currency"]}
            self.payments.append(paid)
            event = told("received", amount, reference=reference, fee="0.30", **paid)
        elif what == "refund":
            paid = self.chance.choice([*self.payments, unknown])
            event = told("refunded", amount, refund_id=f"r-{self.number}", **_without(paid, "dispute_id"))
        elif what == "dispute":
            dispute = {**self.chance.choice([*self.payments, unknown]), "dispute_id": f"d-{self.number}"}
            self.disputes.append(dispute | {"amount": amount})
            event = told("disputed", status="opened", **self.disputes[-1])
        elif what == "won":
            event = told("disputed", status="won", **self.chance.choice([*self.disputes, unknown]))
        else:
            event = told("paid", amount, payout_id=f"po-{self.number}", **common)
        await tell(self.acme.pool, event)

    async def _crossed(self, invoice: dict[str, Any]) -> None:
        """Pays an invoice in the other currency, at a rate that is stated either way round."""
        currency = "USD" if invoice["currency"] == "EUR" else "EUR"
        stated = self.chance.choice([Rate("EUR", "USD", "1.0837"), Rate("USD", "EUR", "0.9227")])
        name, placed = f"p-{self.number}", ((UUID(str(invoice["id"])), None),)
        amount = f"{self.chance.randint(1, 40)}.{self.chance.randint(10, 99)}"
        (recorded,) = await self.acme.record(
            payment(
                amount, name, currency=currency, stated=stated, on_invoices=placed, fee=30,
                organization=self.acme.organization,
            )
        )  # fmt: skip
        if isinstance(recorded, Recorded):
            self.payments.append({"organization": self.acme.organization, "payment_id": name, "currency": currency})

    async def _done(self, what: str, invoice: dict[str, Any]) -> None:
        organization, id_ = self.acme.organization, UUID(str(invoice["id"]))
        amount = f"{self.chance.randint(1, 20)}.00"
        async with transaction(self.acme.pool) as connection:
            if what == "void":
                await void_invoice(connection, organization, id_, None, now())
            elif what == "credit":
                wish = NoteWish(
                    organization=organization, invoice=id_, lines=None, amount=amount, reason="?", issued_on=DAY
                )
                await issue_credit_note(connection, wish, now())
            elif what == "write-off":
                await write_off(connection, organization, id_, amount, DAY, now())
            elif what == "recover":
                await record_recovery(connection, organization, id_, amount, None, DAY, now())
            elif what in ("keep", "unkeep", "bounce", "unpaid-out", "unrecover"):
                await self._undone(connection, what)
            else:
                await self._moved(connection, what, id_)

    async def _moved(self, connection: Connection, what: str, invoice: UUID) -> None:
        organization = self.acme.organization
        if what == "allocate":
            unplaced = await connection.fetchval(
                "select id from payments where organization = $1 and unapplied > 0 order by id limit 1", organization
            )
            if unplaced is not None:
                wishes = [AllocationWish(invoice, None)]
                await allocate(connection, organization, unplaced, wishes, DAY, now())
            return
        row = await connection.fetchrow(
            "select id, source_id from allocations where organization = $1 and source = 'payment' and undoes is null"
            " and invoice = $2 order by id desc limit 1",
            organization,
            invoice,
        )
        if row is not None:
            await unallocate(connection, organization, row["source_id"], row["id"], DAY, now())

    async def _undone(self, connection: Connection, what: str) -> None:
        """Takes back the last that was kept, given back, paid out or recovered; or keeps what is unapplied."""
        organization = self.acme.organization
        id_ = await connection.fetchval(_LAST[what], organization)
        if id_ is None:
            return
        if what == "keep":
            await assign(connection, organization, id_, self.acme.customer)
            await keep_as_credit(connection, organization, id_, None, DAY, now())
        elif what == "unkeep":
            await take_back_kept(connection, organization, id_, DAY, now())
        elif what == "bounce":
            await bounce(connection, organization, id_, DAY, None, now())
        elif what == "unpaid-out":
            await take_back_payout(connection, organization, id_, DAY, None, now())
        else:
            await take_back_write_off_part(connection, organization, id_, DAY, now())

    async def check(self, sequence: int) -> None:
        """The tie-out at a sequence that was heard."""
        proof = await self.books.proof(sequence)
        assert proof.ties, (sequence, [row for row in proof.rows if not row.ties])
        assert not proof.by_others


def _without(members: dict[str, str], name: str) -> dict[str, str]:
    return {each: value for each, value in members.items() if each != name}


async def play(pool: Pool, seed: int, organization: str) -> int:
    """One history from its first invoice to its last answer; ties at every sequence. Gives how many entries it made."""
    chance = random.Random(seed)
    basis = get_args(TaxBasis)[seed % len(get_args(TaxBasis))]
    acme = await company(pool, basis, organization, ["EUR"])
    trade = Trade(acme, RuledBooks(pool, Log(organization)), chance)
    books = trade.books
    await books.open()
    paces: tuple[Callable[[int], Awaitable[object]], ...] = (books.post, books.tell, books.reply)
    for _ in range(ROUNDS):
        for _ in range(chance.randint(1, 3)):
            await trade.happen()
        for pace in paces:
            if chance.random() < 0.7:
                await pace(chance.randint(1, 6))
        heard = await pool.fetchval("select sequence from heads where organization = $1", organization)
        await trade.check(chance.randint(0, heard))
    await books.settle()
    for sequence in range(books.log.sequence + 1):
        await trade.check(sequence)
    await _documents_say_the_same(trade)
    return len(books.entries)


async def _documents_say_the_same(trade: Trade) -> None:
    """What is open on invoices and unapplied of payments is what the books have, in each currency."""
    organization, pool = trade.acme.organization, trade.acme.pool
    proof = await trade.books.proof(trade.books.log.sequence)
    assert proof.unposted_count == 0, proof.unposted
    rows = await pool.fetch(
        "select 'receivable' as role, currency, sum(open)::bigint as amount from invoices"
        " where organization = $1 and status not in ('draft', 'void') group by currency having sum(open) <> 0"
        " union all select 'unapplied-receipts', currency, -sum(unapplied)::bigint from payments"
        " where organization = $1 group by currency having sum(unapplied) <> 0",
        organization,
    )
    said = {(row["role"], row["currency"]): row["amount"] for row in rows}
    found: dict[tuple[str, str], int] = {}
    for row in proof.rows:
        for role in set(row.roles) & {"receivable", "unapplied-receipts"}:
            found[role, row.currency] = found.get((role, row.currency), 0) + row.books
    assert {key: amount for key, amount in found.items() if amount} == said
