"""The background proof: every ledger gets its turn, the work is a share of the time, and what is wrong stays told."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from libs.common import metrics
from libs.common.clock import monotonic_s
from libs.common.db import Pool, create_pool
from libs.common.journal import LedgerRequest
from services.ledger import proof_store
from services.ledger.commands import Asker, Books, open_ledger
from services.ledger.prover import Prover, prove
from services.ledger.verify import verify
from tests.ledger.asking import account, entry, open_accounts, tell
from tests.ledger.conftest import LedgerDatabase
from tests.ledger.wire import eventually, running
from tests.support.postgres import end_connections

pytestmark = pytest.mark.database
ASKER = Asker("demo", "api", "alice", "api/alice")
DAY = timedelta(days=1)


@pytest.fixture
async def auditor(database: LedgerDatabase) -> AsyncIterator[Pool]:
    """A pool of the role that proves."""
    async with await create_pool(database.dsns.auditor, name="test-auditor", max_size=2) as pool:
        yield pool


async def wreck(database: LedgerDatabase, statement: str) -> None:
    """What a superuser does whom no guard stops."""
    connection = await asyncpg.connect(database.admin)
    try:
        await connection.execute("set session_replication_role = replica")
        await connection.execute(statement)
    finally:
        await connection.close()


def gauge(found: Any) -> float:
    return float(found._value.get())


async def claimed(auditor: Pool, every: timedelta = DAY) -> str | None:
    found = await proof_store.claim_next(auditor, every, timedelta(minutes=1))
    return found[2] if found is not None else None


async def post(books: Books, ledger: str = "main") -> None:
    await tell(books, entry("A debit 1.00", "B credit 1.00"), ledger=ledger)


@pytest.fixture
async def ledgers(books: Books) -> Books:
    """The ledgers main (with two accounts), second and third."""
    await open_accounts(books, account("A"), account("B"))
    for code in ("second", "third"):
        await open_ledger(books, LedgerRequest(code=code, name=code), ASKER, None)
    return books


async def test_ledgers_take_turns_and_quiet_ones_are_left_alone(ledgers: Books, auditor: Pool) -> None:
    seen = []
    while (code := await claimed(auditor)) is not None:
        seen.append(code)
    assert sorted(seen) == ["main", "second", "third"], "each is claimed once while the claims hold"
    for code in seen:
        report = await prove(auditor, await ledgers.get("demo", code))
        assert report.ok
    assert await claimed(auditor) is None, "nothing moved"
    await post(ledgers)
    assert await claimed(auditor) == "main"
    await prove(auditor, await ledgers.get("demo", "main"))
    assert await claimed(auditor, timedelta(0)) == seen[0 if seen[0] != "main" else 1], "a round is due: oldest first"


async def test_a_claim_that_was_dropped_or_is_over_is_free_again(ledgers: Books, auditor: Pool) -> None:
    for code in ("main", "second", "third"):
        if code != "second":
            await prove(auditor, await ledgers.get("demo", code))
    over = timedelta(seconds=-1)
    assert await proof_store.claim_next(auditor, DAY, over) is not None
    assert await claimed(auditor) == "second"
    assert await claimed(auditor) is None
    no = (await ledgers.get("demo", "second")).no
    await proof_store.drop_claim(auditor, no)
    assert await claimed(auditor) == "second"


async def test_all_ledgers_are_proven_and_the_gauges_say_so(ledgers: Books, auditor: Pool) -> None:
    prover = Prover(auditor, duty=1.0, observe_s=0.01, idle_s=0.01)
    metrics.LEDGER_PROOF_ROUND_SECONDS.set(-1)

    async def lag() -> float:
        return gauge(metrics.LEDGER_PROOF_LAG_RECORDS)

    async def settled() -> bool:
        standing = await proof_store.load_standing(auditor)
        return (standing.lag_records, await lag(), gauge(metrics.LEDGER_PROOF_ROUND_SECONDS) >= 0) == (0, 0, True)

    async with running(prover.run):
        await eventually(settled)
        for _ in range(5):
            await post(ledgers)
        await eventually(settled)
    stored = await auditor.fetch("select sequence, violations, claimed_until from proofs order by ledger_no")
    assert [(row["sequence"], row["violations"], row["claimed_until"]) for row in stored] == [
        (8, "{}", None), (1, "{}", None), (1, "{}", None)]  # fmt: skip
    assert gauge(metrics.LEDGER_PROOF_FAILED_LEDGERS) == 0
    assert 0 <= gauge(metrics.LEDGER_PROOF_LAST_SECONDS) <= gauge(metrics.LEDGER_PROOF_AGE_SECONDS) < 100


async def test_a_ledger_that_does_not_verify_counts_until_a_later_proof_of_it(
    ledgers: Books, auditor: Pool, database: LedgerDatabase
) -> None:
    await post(ledgers)
    prover = Prover(auditor, duty=1.0, observe_s=0.01, idle_s=0.01, round_every=timedelta(0))
    violations = metrics.LEDGER_INVARIANT_VIOLATIONS.labels("balances")

    def shown(count: int, ledgers_failed: int) -> Any:
        async def is_shown() -> bool:
            return (gauge(violations), gauge(metrics.LEDGER_PROOF_FAILED_LEDGERS)) == (count, ledgers_failed)

        return is_shown

    async with running(prover.run):
        await eventually(shown(0, 0))
        await wreck(database, "update balances set debits = debits + 1 where account_no in (1, 2)")
        await eventually(shown(2, 1))
        for code in ("second", "third"):
            assert (await prove(auditor, await ledgers.get("demo", code))).ok
        await asyncio.sleep(0.1)
        assert await shown(2, 1)(), "another ledger's good proof says nothing of this one"
    restarted = Prover(auditor, duty=0.0, observe_s=0.01, idle_s=0.01)
    violations.set(0)
    async with running(restarted.run):
        await eventually(shown(2, 1))
        await wreck(database, "update balances set debits = debits - 1 where account_no in (1, 2)")
        assert (await prove(auditor, await ledgers.get("demo", "main"))).ok
        await eventually(shown(0, 0))


async def test_it_works_its_share_of_the_time_only(ledgers: Books, auditor: Pool) -> None:
    for _ in range(40):
        await post(ledgers)
    ledger = await ledgers.get("demo", "main")
    rests = 0

    async def pace() -> None:
        nonlocal rests
        rests += 1
        await asyncio.sleep(0)

    report = await verify(auditor, ledger, slice_records=5, pace=pace)
    assert report.ok
    assert rests >= 7, "between all slices but the last"


async def test_it_stops_between_two_slices_and_gives_its_claim_back(ledgers: Books, auditor: Pool) -> None:
    for _ in range(400):
        await post(ledgers)
    prover = Prover(auditor, duty=0.0001, observe_s=0.01, idle_s=0.01)
    begun_s = monotonic_s()

    async def is_claimed() -> bool:
        return bool(await auditor.fetchval("select count(*) from proofs where claimed_until is not null"))

    async with running(prover.run):
        await eventually(is_claimed)
        await asyncio.sleep(0.2)
    assert monotonic_s() - begun_s < 20
    assert not await is_claimed()


async def test_a_database_that_is_away_is_waited_for(database: LedgerDatabase, auditor: Pool, ledgers: Books) -> None:
    """A proof that is cut off is begun again at once, not when its claim is over."""
    for _ in range(100):
        await post(ledgers)
    prover = Prover(auditor, duty=1.0, observe_s=0.01, idle_s=0.01)
    async with running(prover.run):
        for _ in range(10):
            await end_connections(database.admin, "test-auditor")
            await asyncio.sleep(0.01)

        async def settled() -> bool:
            try:
                return (await proof_store.load_standing(auditor)).lag_records == 0
            except (asyncpg.PostgresError, asyncpg.InterfaceError):
                return False

        await eventually(settled)
    assert ledgers.pool is not None


async def test_rows_of_no_ledger_are_found_by_nobody_else(
    ledgers: Books, auditor: Pool, database: LedgerDatabase
) -> None:
    await wreck(database, "delete from ledgers where code = 'third'")
    prover = Prover(auditor, duty=1.0, observe_s=0.01, idle_s=0.01)
    strays = metrics.LEDGER_INVARIANT_VIOLATIONS.labels("strays")
    strays.set(0)

    async def told() -> bool:
        return gauge(strays) == 1

    async with running(prover.run):
        await eventually(told)
    assert [(found.table, found.key) for found in await proof_store.find_strays(auditor)] == [("log", "3")]
    assert ledgers.pool is not None
