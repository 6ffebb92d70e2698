"""The loops beside the requests: what is old is forgotten, what has no answer is asked again, what waits is tried."""

import asyncio
from datetime import datetime, timedelta

from libs.common.bus import KafkaSettings
from libs.common.clock import now
from libs.common.db import Pool, transaction
from libs.common.group_reading import GroupReading
from services.invoicing.asking import Asker, Done, Wish, answer, fingerprint_of
from services.invoicing.catalog import MappingWish, put_mapping
from services.invoicing.posting_requests import RESEND_FIRST
from services.invoicing.redrafting import redraft
from services.invoicing.resending import Resending
from services.invoicing.tidying import Tidying
from tests.invoicing.hearing import event, eventually, running, telling
from tests.invoicing.trading import LEDGER, ORGANIZATION, company
from tests.support.kafka import KafkaBroker


async def never_lags(_: datetime) -> bool:
    return False


async def test_old_answers_and_events_are_forgotten_and_young_ones_kept(writer: Pool) -> None:
    wish = Wish(Asker("demo", "api/alice"), "key", fingerprint_of("x"))

    async def act(_: object) -> Done:
        return Done({"done": True})

    assert (await answer(writer, wish, now(), act)).replayed is False
    await writer.execute("insert into inbox (source, event_id) values ('shop', '1')")
    assert await Tidying(writer, now).step() == 0
    assert (await answer(writer, wish, now(), act)).replayed is True
    assert await Tidying(writer, lambda: now() + timedelta(days=31)).step() == 1
    assert await writer.fetchval("select count(*) from inbox") == 0
    assert (await answer(writer, wish, now(), act)).replayed is False


async def test_the_loop_asks_again_unless_the_ledger_is_behind(writer: Pool) -> None:
    acme = await company(writer)
    await acme.issued()
    woken: list[None] = []
    asked_for: list[datetime] = []

    async def lags(before: datetime) -> bool:
        asked_for.append(before)
        return True

    late = lambda: now() + RESEND_FIRST * 2  # noqa: E731 - a clock
    behind = Resending(writer, late, wake=lambda: woken.append(None), redraft=redraft, lags=lags)
    assert (await behind.step(), woken) == (0, [])
    sent_at = await writer.fetchval("select requested_at from postings")
    assert sent_at < asked_for[0] < late()
    again = Resending(writer, late, wake=lambda: woken.append(None), redraft=redraft, lags=never_lags)
    assert (await again.step(), woken) == (1, [None])
    assert await again.step() == 0
    early = Resending(writer, now, wake=lambda: None, redraft=redraft, lags=lags)
    assert (await early.step(), len(asked_for)) == (0, 1)  # nothing is due, so nobody asks Kafka


async def learn_rate(pool: Pool) -> None:
    await pool.execute(
        "insert into rates (organization, provider, base, counter, rate, rate_on, published_at, known_at, event_source,"
        " event_id) values (null, 'ecb', 'USD', 'EUR', 0.8, '2026-03-01', now(), now(), 'fx', '1')"
    )
    async with transaction(pool) as connection:
        await put_mapping(connection, ORGANIZATION, LEDGER, MappingWish(standard=True, currencies=["EUR"]), now())


async def test_the_loop_tries_what_waits_for_a_rate(writer: Pool) -> None:
    acme = await company(writer)
    await acme.issued(currency="EUR")
    loop = Resending(writer, now, wake=lambda: None, redraft=redraft, lags=never_lags)
    await loop.step()
    assert (await acme.one("select state from postings"))["state"] == "waiting"
    await learn_rate(writer)
    await Resending(writer, now, wake=lambda: None, redraft=redraft, lags=never_lags).step()
    row = await acme.one("select state, value from postings")
    assert (row["state"], b'"rate":"1.25"' in row["value"]) == ("requested", True)


async def test_what_waits_for_a_rate_is_tried_as_soon_as_rates_came_however_many_wait(writer: Pool) -> None:
    acme = await company(writer)
    for _ in range(3):
        await acme.issued(currency="EUR")
    await acme.issued(currency="GBP")
    loop = Resending(writer, now, wake=lambda: None, redraft=redraft, lags=never_lags, look_every_s=3600, batch=2)

    async def requested() -> bool:
        return bool(await writer.fetchval("select count(*) = 3 from postings where state = 'requested'"))

    async with running(loop.run):
        await asyncio.sleep(0.1)
        await learn_rate(writer)
        loop.rates_came()
        await eventually(requested)
    assert await writer.fetchval("select count(*) from postings where state = 'waiting'") == 1


async def test_a_group_is_behind_while_what_was_written_before_is_unread(kafka: KafkaBroker) -> None:
    async with telling(kafka, "requests") as told:
        reading = GroupReading(told.kafka, told.topic, told.topic)

        async def has_read_all() -> bool:
            return not await reading.is_behind(now())

        await eventually(has_read_all)  # nothing was ever written; a broker's first group is coordinated after a moment
        await told.say(event("a.v1", {}, "1"), event("a.v1", {}, "2", key=b"other"))
        written = now() + timedelta(seconds=1)
        assert await reading.is_behind(written)
        assert not await reading.is_behind(now() - timedelta(minutes=1))  # what was written since does not count
        reader = told.kafka.consumer(told.topic, None)
        reader.subscribe([told.topic])

        async def assigned() -> bool:
            return len(reader.assignment()) == 2

        await reader.start()
        try:
            await eventually(assigned)
            ends = await reader.end_offsets(reader.assignment())
            one, other = ends
            await reader.commit({one: ends[one], other: 0})
            assert await reading.is_behind(written) is (ends[other] > 0)
            await reader.commit(ends)
            assert not await reading.is_behind(written)
        finally:
            await reader.stop()
    assert await GroupReading(KafkaSettings("127.0.0.1:9"), "nobody", "none").is_behind(now())
