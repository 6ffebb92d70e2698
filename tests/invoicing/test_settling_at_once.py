"""Commands that settle and give back, many at once on one invoice, payment or credit: what is there is spent, no more.

Each is asked over HTTP with a key of its own. Whoever comes too late is refused with the numbers; nobody waits in a
ring (the database's own count of deadlocks stays where it was), and the books tie out afterwards.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import pytest

from libs.common.db import Pool
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.serving import Service, invoicing_service
from tests.invoicing.test_settling import did, tied

LINES = [{"description": "Work", "unit_price": "100.00", "tax": {"category": "S", "rate": "20"}}]
AT_ONCE = 8


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    async with invoicing_service(writer, receivables, tmp_path) as running:
        yield running


async def invoice(service: Service, **more: Any) -> dict[str, Any]:
    """An invoice over 120.00, 2 % off within a year."""
    body = {
        "customer": "Acme Corp", "currency": "USD", "lines": LINES, "issue": True,
        "early_payment": {"percent": "2", "within_days": 365}, **more,
    }  # fmt: skip
    return await did(service, "/invoices", body)


async def on_invoice(service: Service) -> str:
    return f"/invoices/{(await invoice(service))['id']}"


async def given_up(service: Service) -> str:
    path = await on_invoice(service)
    await did(service, f"{path}/write-off")
    return path


async def relievable(service: Service) -> str:
    done = await did(service, f"{await on_invoice(service)}/write-off")
    return f"/write-offs/{done['write_off']['id']}"


async def on_payment(service: Service) -> str:
    made = await invoice(service)
    paid = await did(service, "/payments", {"invoice_id": made["id"], "amount": "120.00"})
    return f"/payments/{paid['id']}"


async def unplaced(service: Service, amount: str = "50.00") -> str:
    loose = await did(service, "/payments", {"currency": "USD", "amount": amount})
    await did(service, f"/payments/{loose['id']}/customer", {"customer": "Acme Corp"}, 200)
    return f"/payments/{loose['id']}"


async def kept(service: Service) -> str:
    path = await unplaced(service)
    await did(service, f"{path}/keep-as-credit", None, 200)
    _, read, _ = await service.send("GET", path)
    return f"/kept-credits/{read['kept_as_credit'][0]['id']}"


async def credited(service: Service) -> str:
    await kept(service)
    await invoice(service)
    return f"/customers/{service.acme.customer}"


async def promised(service: Service) -> str:
    done = await did(service, f"{await credited(service)}/refunds-payable", {"currency": "USD"})
    return f"/refunds-payable/{done['id']}"


async def promised_and_paid(service: Service) -> str:
    path = await promised(service)
    await did(service, f"{path}/pay", None, 200)
    return path


async def refunded(service: Service) -> str:
    done = await did(service, f"{await on_payment(service)}/refunds", {"amount": "50.00"})
    return f"/refunds/{done['id']}"


async def disputed(service: Service) -> str:
    done = await did(service, f"{await on_payment(service)}/disputes", {"amount": "50.00"})
    return f"/disputes/{done['id']}"


async def paid_out(service: Service) -> str:
    return f"/payouts/{(await did(service, '/payouts', {'currency': 'USD', 'amount': '50.00'}))['id']}"


class Race(NamedTuple):
    """A command that is asked many times at once: on what, how often it can be, and the sum that is left then."""

    prepare: Callable[[Service], Awaitable[str]]
    step: str
    body: dict[str, Any]
    done: int
    left: str
    sum: int


_OPEN = "select open from invoices"
_PAYMENT = "select allocated + unapplied + to_credit from payments order by id desc limit 1"
_UNAPPLIED = "select unapplied from payments order by id desc limit 1"
_CREDIT = "select coalesce(sum(balance), 0) from customer_credits"
_CLEARING = "select coalesce(sum(amount), 0) from movements where role = 'processor-clearing'"
_RECOVERED = "select 12000 - sum(amount) from write_offs where kind = 'recovery'"
RACES = {
    "write-off": Race(on_invoice, "/write-off", {"amount": "50.00"}, 2, _OPEN, 2000),
    "write-off of all": Race(on_invoice, "/write-off", {}, 1, _OPEN, 0),
    "withholding": Race(on_invoice, "/withholding", {"amount": "50.00"}, 2, _OPEN, 2000),
    "discount": Race(on_invoice, "/discount", {"amount": "1.00"}, 2, _OPEN, 11800),
    "recovery": Race(given_up, "/recoveries", {"amount": "50.00"}, 2, _RECOVERED, 2000),
    "relief": Race(relievable, "/relief", {}, 1, "select sum(amount) from write_offs where kind = 'relief'", 2000),
    "refund": Race(on_payment, "/refunds", {"amount": "50.00"}, 2, _PAYMENT, 2000),
    "refund of all": Race(on_payment, "/refunds", {}, 1, _PAYMENT, 0),
    "return": Race(on_payment, "/return", {"amount": "50.00"}, 2, _PAYMENT, 2000),
    "dispute": Race(on_payment, "/disputes", {"amount": "50.00"}, 2, _PAYMENT, 2000),
    "keep as credit": Race(unplaced, "/keep-as-credit", {"amount": "20.00"}, 2, _UNAPPLIED, 1000),
    "apply credit": Race(credited, "/credit/apply", {"currency": "USD", "amount": "20.00"}, 2, _CREDIT, 1000),
    "promise": Race(credited, "/refunds-payable", {"currency": "USD", "amount": "20.00"}, 2, _CREDIT, 1000),
    "pay what was promised": Race(
        promised, "/pay", {"amount": "20.00"}, 2, "select amount - paid - cancelled from refunds_payable", 1000
    ),
    "promise bounced": Race(
        promised_and_paid, "/bounced", {"amount": "20.00"}, 2, "select paid from refunds_payable", 1000
    ),
    "kept credit taken back": Race(kept, "/take-back", {}, 1, _UNAPPLIED, 5000),
    "payout taken back": Race(paid_out, "/take-back", {}, 1, _CLEARING, 0),
    "refund bounced": Race(refunded, "/bounced", {}, 1, _PAYMENT, 12000),
    "dispute won": Race(disputed, "/won", {}, AT_ONCE, _PAYMENT, 12000),
}


@pytest.mark.parametrize("race", RACES.values(), ids=RACES)
async def test_what_is_there_is_spent_and_no_more(service: Service, race: Race) -> None:
    path = f"{await race.prepare(service)}{race.step}"
    before = await deadlocks(service)
    answers = await asyncio.gather(*(service.send("POST", path, race.body) for _ in range(AT_ONCE)))
    done = [answer for status, answer, _ in answers if status in (200, 201)]
    late = [(status, answer) for status, answer, _ in answers if status not in (200, 201)]
    assert len(done) == race.done, late
    assert all(status in (409, 422) for status, _ in late), late
    row = await service.acme.one(race.left)
    assert int(row[0]) == race.sum
    assert await deadlocks(service) == before
    await tied(service)


Wish = tuple[str, dict[str, Any]]


async def asked_at_once(service: Service, wishes: Sequence[Wish]) -> list[tuple[int, Any]]:
    """The answers; each is done or refused, and nobody waited in a ring."""
    before = await deadlocks(service)
    answers = await asyncio.gather(*(service.send("POST", path, body) for path, body in wishes))
    found = [(status, answer) for status, answer, _ in answers]
    assert {status for status, _ in found} <= {200, 201, 409, 422}, found
    assert any(status in (200, 201) for status, _ in found), found
    assert await deadlocks(service) == before
    return found


async def test_all_that_settles_at_once_on_one_invoice(service: Service) -> None:
    path = await unplaced(service, "300.00")
    await did(service, f"{path}/keep-as-credit", {"amount": "150.00"}, 200)
    made = await invoice(service)
    at, named = f"/invoices/{made['id']}", {"invoice_id": made["id"]}
    credit = {"currency": "USD", "allocations": [{**named, "amount": "25.00"}]}
    wishes: list[Wish] = [
        (f"{at}/write-off", {"amount": "25.00"}),
        (f"{at}/withholding", {"amount": "25.00"}),
        (f"{at}/discount", {"amount": "1.00"}),
        (f"/customers/{service.acme.customer}/credit/apply", credit),
        (f"{path}/allocations", {**named, "amount": "25.00"}),
        ("/credit-notes", {**named, "amount": "25.00", "reason": "Damaged"}),
    ]
    answers = await asked_at_once(service, wishes * 4)
    settled = [wish for wish, (status, _) in zip(wishes * 4, answers, strict=True) if status in (200, 201)]
    assert len([path for path, _ in settled if not path.endswith("/discount")]) >= 4
    row = await service.acme.one("select total, paid, credited, written_off, open from invoices")
    assert row["open"] >= 0
    assert row["total"] == row["paid"] + row["credited"] + row["written_off"] + row["open"]
    counted = {step: len([path for path, _ in settled if path.endswith(step)]) for step in ("write-off", "withholding")}
    assert row["written_off"] == 2500 * counted["write-off"]
    used = len([path for path, _ in settled if path.endswith("/credit/apply")])
    noted = await service.acme.one("select coalesce(sum(to_credit), 0) as amount from credit_notes")
    balance = await service.acme.one("select balance from customer_credits")
    assert balance["balance"] == 15000 - 2500 * used + noted["amount"]
    await tied(service)


async def test_all_that_takes_from_one_payment_at_once(service: Service) -> None:
    made = await invoice(service)
    paid = await did(service, "/payments", {"invoice_id": made["id"], "amount": "60.00"})
    loose = await did(service, "/payments", {"currency": "USD", "amount": "100.00"})
    path = f"/payments/{loose['id']}"
    await did(service, f"{path}/customer", {"customer": "Acme Corp"}, 200)
    await did(service, f"{path}/allocations", {"invoice_id": made["id"], "amount": "30.00"})
    wishes: list[Wish] = [
        (f"{path}/refunds", {"amount": "15.00"}),
        (f"{path}/return", {"amount": "15.00"}),
        (f"{path}/disputes", {"amount": "15.00"}),
        (f"{path}/keep-as-credit", {"amount": "15.00"}),
        (f"{path}/allocations", {"invoice_id": made["id"], "amount": "15.00"}),
        (f"/payments/{paid['id']}/refunds", {"amount": "15.00"}),
    ]
    answers = await asked_at_once(service, wishes * 4)
    gone = sum(
        1
        for (where, _), (status, _) in zip(wishes * 4, answers, strict=True)
        if status in (200, 201)
        and where.startswith(path)
        and where.rpartition("/")[2] in ("refunds", "return", "disputes")
    )
    row = await service.acme.one("select * from payments where amount = 10000")
    assert row["refunded"] == 1500 * gone
    assert row["allocated"] + row["unapplied"] + row["to_credit"] == 10000 - row["refunded"]
    await tied(service)


async def test_all_that_uses_one_credit_at_once(service: Service) -> None:
    path = await unplaced(service, "100.00")
    for _ in range(4):
        await did(service, f"{path}/keep-as-credit", {"amount": "25.00"}, 200)
    _, read, _ = await service.send("GET", path)
    made, customer = await invoice(service), f"/customers/{service.acme.customer}"
    backs = [(f"/kept-credits/{each['id']}/take-back", {}) for each in read["kept_as_credit"]]
    wishes: list[Wish] = [
        (f"{customer}/credit/apply", {"currency": "USD", "amount": "15.00"}),
        (f"{customer}/refunds-payable", {"currency": "USD", "amount": "15.00"}),
        (f"{path}/refunds", {"amount": "15.00"}),
    ]
    await asked_at_once(service, [*(wishes * 4), *backs])
    sums = await service.acme.one(
        "select (select coalesce(sum(balance), 0) from customer_credits) as credit,"
        " (select coalesce(sum(amount), 0) from refunds_payable) as promised,"
        " (select coalesce(sum(amount), 0) from credit_applications) as used,"
        " (select refunded + unapplied from payments) as gone"
    )
    assert min(sums) >= 0
    assert sum(sums) == 10000
    assert (await service.acme.one("select open from invoices where id = $1", made["id"]))["open"] == 12000 - sums[
        "used"
    ]
    await tied(service)


async def test_the_count_of_deadlocks_counts(service: Service) -> None:
    for _ in range(2):
        await invoice(service)
    ids = [row["id"] for row in await service.acme.all("select id from invoices order by id")]
    before, both = await deadlocks(service), asyncio.Barrier(2)

    async def lock(first: UUID, second: UUID) -> None:
        async with service.acme.pool.acquire() as connection, connection.transaction():
            await connection.execute("select 1 from invoices where id = $1 for update", first)
            await both.wait()
            await connection.execute("select 1 from invoices where id = $1 for update", second)

    answers = await asyncio.gather(lock(*ids), lock(*reversed(ids)), return_exceptions=True)
    assert sum(isinstance(answer, asyncpg.DeadlockDetectedError) for answer in answers) == 1
    assert await deadlocks(service) == before + 1


async def deadlocks(service: Service) -> int:
    """How often somebody waited in a ring in this database, every connection of ours having told what it saw."""
    pool = service.acme.pool
    async with asyncio.TaskGroup() as flushing:
        for _ in range(pool.get_max_size()):
            flushing.create_task(_flushed(pool))
    count: int = await pool.fetchval("select deadlocks from pg_stat_database where datname = current_database()")
    return count


async def _flushed(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.fetchval("select pg_stat_force_next_flush()")
        await connection.fetchval("select pg_sleep(0.05)")
