"""Random histories of receivables, made by the commands themselves at instants and days of one's own, and remembered.

What an event did to an invoice is the difference of what stood on it before and after, at the event's own day and
instant: nothing is read of the rows that carry those dates.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from libs.common.db import Connection, transaction
from libs.common.errors import Rejection
from libs.common.money import ISO_4217
from services.invoicing import credit_applications, discounts, refunds_payable, withholding
from services.invoicing.allocations import AllocationWish, allocate, apply_credit, unallocate
from services.invoicing.asking import Done
from services.invoicing.credit_notes import NoteWish, issue_credit_note
from services.invoicing.customers import CustomerWish, create_customer
from services.invoicing.drafts import TaxTerms
from services.invoicing.invoice_plans import LineWish
from services.invoicing.invoices import make_invoices
from services.invoicing.payments import record_payments
from services.invoicing.refunds import BackWish, take_back
from services.invoicing.voiding import void_invoice
from services.invoicing.write_offs import reverse_write_off, write_off
from tests.invoicing.trading import LEDGER, ORGANIZATION, Company, payment

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
RATES = (
    TaxTerms("S", Decimal(20)),
    TaxTerms("S", Decimal(5)),
    TaxTerms("Z", Decimal(0)),
)

Act = Callable[[Connection], Coroutine[Any, Any, Any]]


class Effect(NamedTuple):
    """What one event put on an invoice (less of it is open), by its day, known at its instant."""

    invoice: UUID
    amount: int
    on: date
    at: datetime


class Made(NamedTuple):
    """An invoice as it was issued."""

    id: UUID
    customer: UUID
    currency: str
    total: int
    issued_on: date
    due_on: date
    at: datetime


@dataclass(slots=True)
class Trader:
    """A company whose day goes by as the random numbers say."""

    company: Company
    chosen: Random
    at: datetime = START
    currencies: tuple[str, ...] = ("USD",)
    customers: list[UUID] = field(default_factory=list)
    made: dict[UUID, Made] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    voided: dict[UUID, datetime] = field(default_factory=dict)
    refusals: int = 0
    _payments: int = 0

    async def begin(self, customers: int = 3) -> None:
        """The customers that are traded with."""
        for number in range(customers):
            async with transaction(self.company.pool) as connection:
                wish = CustomerWish(name=f"Customer {number}")
                done = await create_customer(connection, self.company.sealer, ORGANIZATION, wish, self.at)
            assert isinstance(done, Done)
            self.customers.append(done.body["id"])

    async def live(self, events: int) -> None:
        """So many events, one after another."""
        acts = [*[self.issue] * 4, *[self.pay] * 5, self.take_off, self.put_on, self.credit, self.use_credit,
                self.give_up, self.give_up_no_more, self.send_back, self.void, self.discount,
                self.discount_no_more, self.withhold, self.withhold_no_more, self.use_credit_no_more, self.promise,
                self.keep_promise]  # fmt: skip
        for _ in range(events):
            self.at += timedelta(hours=self.chosen.randrange(1, 90))
            await self.chosen.choice(acts)()

    def day(self) -> date:
        """Mostly today, else some days ago."""
        back = self.chosen.randrange(1, 25) if self.chosen.random() < 0.4 else 0
        return self.at.date() - timedelta(days=back)

    async def done(self, act: Act, on: date) -> Any:
        """What came of a command; its effects are remembered."""
        before = await self._standing()
        async with transaction(self.company.pool) as connection:
            answer = await act(connection)
        if isinstance(answer, Rejection) or (isinstance(answer, list) and isinstance(answer[0], Rejection)):
            self.refusals += 1
            return None
        for invoice, amount in (await self._standing()).items():
            if amount != before.get(invoice, 0):
                self.effects.append(Effect(invoice, amount - before.get(invoice, 0), on, self.at))
        return answer[0] if isinstance(answer, list) else answer

    async def _standing(self) -> dict[UUID, int]:
        rows = await self.company.all("select id, paid + credited + written_off as gone from invoices")
        return {row["id"]: int(row["gone"]) for row in rows}

    async def _pick(self, sql: str, *arguments: Any) -> Any:
        rows = await self.company.all(f"{sql} order by 1", *arguments)
        return self.chosen.choice(rows) if rows else None

    def currency(self) -> str:
        """One of those that are invoiced in."""
        return self.currencies[0] if len(self.currencies) == 1 else self.chosen.choice(self.currencies)

    async def issue(self) -> None:
        on = self.day()
        lines = tuple(
            LineWish(
                description="Work",
                unit_price=Decimal(self.chosen.randrange(1, 99_999)) / 100,
                tax=self.chosen.choice(RATES),
            )
            for _ in range(self.chosen.randrange(1, 4))
        )
        wish = self.company.wish(
            customer=str(self.chosen.choice(self.customers)), issued_on=on, lines=lines, currency=self.currency(),
            due_on=on + timedelta(days=self.chosen.randrange(0, 60)),
            early_payment=self.chosen.choice((None, (Decimal(2), 30), (Decimal("3.5"), 14))),
        )  # fmt: skip
        done = await self.done(lambda connection: make_invoices(connection, self.company.sealer, [wish], self.at), on)
        if done is not None:
            row = await self.company.one("select * from invoices where id = $1", done.body["id"])
            self.made[row["id"]] = Made(
                row["id"], row["customer"], row["currency"], int(row["total"]), on, row["due_on"], self.at
            )

    async def pay(self) -> None:
        """Some of an invoice, all of it, or more than that."""
        invoice = await self._pick(
            "select id, customer, open, currency from invoices where status in ('issued', 'part-paid')"
        )
        if invoice is None:
            return
        self._payments += 1
        part = self.chosen.choice((Decimal(1), Decimal("0.3"), Decimal("0.5"), Decimal("1.2"), Decimal("0.9801")))
        amount = max(1, int(invoice["open"] * part))
        on = self.day()
        received = payment(
            str(Decimal(amount) / 100), f"p-{self._payments}", currency=invoice["currency"], received_on=on,
            created_at=self.at, customer=str(invoice["customer"]),
            on_invoices=((invoice["id"], min(amount, int(invoice["open"]))),),
        )  # fmt: skip
        await self.done(lambda connection: record_payments(connection, [received], self.at), on)

    async def take_off(self) -> None:
        row = await self._pick(
            """
            select a.id, a.source_id from allocations a
            where a.source = 'payment' and a.undoes is null
              and not exists (select from allocations u where u.undoes = a.id)
            """
        )
        if row is not None:
            on = self.day()
            await self.done(
                lambda connection: unallocate(connection, ORGANIZATION, row["source_id"], row["id"], on, self.at), on
            )

    async def put_on(self) -> None:
        money = await self._pick("select id, customer from payments where unapplied > 0")
        if money is None:
            return
        invoice = await self._pick(
            "select id from invoices where customer = $1 and status in ('issued', 'part-paid')", money["customer"]
        )
        if invoice is not None:
            on, wishes = self.day(), [AllocationWish(invoice["id"], None)]
            await self.done(lambda connection: allocate(connection, ORGANIZATION, money["id"], wishes, on, self.at), on)

    async def credit(self) -> None:
        invoice = await self._pick("select id, total from invoices where status not in ('draft', 'void') and total > 0")
        if invoice is None:
            return
        on = self.day()
        amount = str(Decimal(max(1, int(invoice["total"]) * self.chosen.randrange(1, 50) // 100)) / 100)
        wish = NoteWish(
            organization=ORGANIZATION, invoice=invoice["id"], lines=None, amount=amount, reason="it broke", issued_on=on
        )
        await self.done(lambda connection: issue_credit_note(connection, wish, self.at), on)

    async def use_credit(self) -> None:
        row = await self._pick("select customer, currency from customer_credits where balance > 0")
        if row is not None:
            on, currency = self.day(), ISO_4217[row["currency"]]
            await self.done(
                lambda connection: apply_credit(
                    connection, ORGANIZATION, LEDGER, row["customer"], currency, (), None, on, self.at
                ),
                on,
            )

    async def give_up(self) -> None:
        invoice = await self._pick("select id, open from invoices where status in ('issued', 'part-paid')")
        if invoice is not None:
            on = self.day()
            amount = str(Decimal(max(1, int(invoice["open"]) // self.chosen.randrange(1, 4))) / 100)
            await self.done(
                lambda connection: write_off(connection, ORGANIZATION, invoice["id"], amount, on, self.at), on
            )

    async def give_up_no_more(self) -> None:
        row = await self._pick(
            """
            select w.id from write_offs w
            where w.kind = 'write-off' and not exists (select from write_offs u where u.undoes = w.id)
            """
        )
        if row is not None:
            on = self.day()
            await self.done(lambda connection: reverse_write_off(connection, ORGANIZATION, row["id"], on, self.at), on)

    async def send_back(self) -> None:
        money = await self._pick("select id, amount from payments where refunded < amount")
        if money is not None:
            on = self.day()
            wish = BackWish(
                organization=ORGANIZATION, payment=money["id"], event="refund", provider="stripe",
                name=f"r-{self.at:%j%H}", amount=max(1, int(money["amount"]) // 3), currency=None, on=on,
                created_at=self.at,
            )  # fmt: skip
            await self.done(lambda connection: take_back(connection, wish, self.at), on)

    async def void(self) -> None:
        invoice = await self._pick("select id from invoices where status = 'issued'")
        if invoice is not None and self.chosen.random() < 0.5:
            done = await self.done(
                lambda connection: void_invoice(connection, ORGANIZATION, invoice["id"], None, self.at), self.at.date()
            )
            if done is not None:
                self.voided[invoice["id"]] = self.at

    async def discount(self) -> None:
        """Some of what the terms allow, or all of it."""
        row = await self._pick(
            """
            select i.id from invoices i join discount_terms t on t.invoice = i.id
            where i.status in ('issued', 'part-paid')
            """
        )
        if row is not None:
            on, amount = self.day(), self.chosen.choice((None, 7))
            await self.done(
                lambda connection: discounts.grant(connection, ORGANIZATION, row["id"], amount, on, self.at), on
            )

    async def discount_no_more(self) -> None:
        row = await self._pick("select id from discounts where kind = 'discount'")
        if row is not None:
            on = self.day()
            await self.done(
                lambda connection: discounts.take_back(connection, ORGANIZATION, row["id"], on, self.at), on
            )

    async def withhold(self) -> None:
        invoice = await self._pick("select id, open from invoices where status in ('issued', 'part-paid')")
        if invoice is not None:
            on, amount = self.day(), max(1, int(invoice["open"]) // self.chosen.randrange(1, 8))
            await self.done(
                lambda connection: withholding.withhold(
                    connection, ORGANIZATION, invoice["id"], amount, None, on, self.at
                ),
                on,
            )

    async def withhold_no_more(self) -> None:
        row = await self._pick("select id from withholdings where kind = 'withheld'")
        if row is not None:
            on = self.day()
            await self.done(
                lambda connection: withholding.take_back(connection, ORGANIZATION, row["id"], on, self.at), on
            )

    async def use_credit_no_more(self) -> None:
        row = await self._pick("select id from credit_applications")
        if row is not None:
            on = self.day()
            await self.done(
                lambda connection: credit_applications.take_back(connection, ORGANIZATION, row["id"], on, self.at), on
            )

    async def promise(self) -> None:
        row = await self._pick("select customer, currency, balance from customer_credits where balance > 0")
        if row is not None:
            on = self.day()
            wish = refunds_payable.PromiseWish(
                organization=ORGANIZATION, ledger=LEDGER, customer=row["customer"], currency=ISO_4217[row["currency"]],
                amount=max(1, int(row["balance"]) // self.chosen.randrange(1, 4)), on=on,
            )  # fmt: skip
            await self.done(lambda connection: refunds_payable.promise(connection, wish, self.at), on)

    async def keep_promise(self) -> None:
        """Some of a promised refund is paid, or what is left is not given back after all."""
        row = await self._pick("select id, amount - paid - cancelled as left from refunds_payable")
        if row is None:
            return
        on, amount = self.day(), max(1, int(row["left"]) // 2)
        if self.chosen.random() < 0.3:
            await self.done(
                lambda connection: refunds_payable.cancel(connection, ORGANIZATION, row["id"], on, self.at), on
            )
            return
        await self.done(
            lambda connection: refunds_payable.pay(
                connection, ORGANIZATION, row["id"], amount, None, "transfer", on, self.at
            ),
            on,
        )

    def open_at(self, as_of: date, known_at: datetime) -> dict[UUID, int]:
        """What was open on each invoice at the end of a day, as it was known at an instant: added up one by one."""
        found: dict[UUID, int] = {}
        for invoice in self.made.values():
            void = self.voided.get(invoice.id)
            if invoice.issued_on > as_of or invoice.at > known_at:
                continue
            if void is not None and void <= known_at and void.date() <= as_of:
                continue
            gone = sum(
                effect.amount
                for effect in self.effects
                if effect.invoice == invoice.id and effect.on <= as_of and effect.at <= known_at
            )
            found[invoice.id] = invoice.total - gone
        return found
