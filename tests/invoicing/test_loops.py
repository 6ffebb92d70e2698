"""The loops beside the requests: what is old is forgotten, what has no answer is asked again, what waits is tried."""

from datetime import timedelta

from libs.common.clock import now
from libs.common.db import Pool, transaction
from services.invoicing.asking import Asker, Done, Wish, answer, fingerprint_of
from services.invoicing.catalog import MappingWish, put_mapping
from services.invoicing.posting_requests import RESEND_FIRST
from services.invoicing.redrafting import redraft
from services.invoicing.resending import Resending
from services.invoicing.tidying import Tidying
from tests.invoicing.trading import LEDGER, ORGANIZATION, company


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

    async def lags() -> bool:
        return True

    late = lambda: now() + RESEND_FIRST * 2  # noqa: E731 - a clock
    behind = Resending(writer, late, wake=lambda: woken.append(None), redraft=redraft, lags=lags)
    assert (await behind.step(), woken) == (0, [])
    again = Resending(writer, late, wake=lambda: woken.append(None), redraft=redraft)
    assert (await again.step(), woken) == (1, [None])
    assert await again.step() == 0


async def test_the_loop_tries_what_waits_for_a_rate(writer: Pool) -> None:
    acme = await company(writer)
    await acme.issued(currency="EUR")
    loop = Resending(writer, now, wake=lambda: None, redraft=redraft)
    await loop.step()
    assert (await acme.one("select state from postings"))["state"] == "waiting"
    await writer.execute(
        "insert into rates (organization, provider, base, counter, rate, rate_on, published_at, known_at, event_source,"
        " event_id) values (null, 'ecb', 'USD', 'EUR', 0.8, '2026-03-01', now(), now(), 'fx', '1')"
    )
    async with transaction(writer) as connection:
        await put_mapping(connection, ORGANIZATION, LEDGER, MappingWish(standard=True, currencies=["EUR"]), now())
    await Resending(writer, now, wake=lambda: None, redraft=redraft).step()
    row = await acme.one("select state, value from postings")
    assert (row["state"], b'"rate":"1.25"' in row["value"]) == ("requested", True)
