"""A round of payments: invoices issued beforehand, payments told over Kafka, every part on their way killed meanwhile.

invoices -> { payments told, a few at a time | kill -9 of each part in turn, at a drawn moment } -> all of it posted
         -> model, receivables, ledger's log, Kafka and tie-out held against each other
"""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

from libs.cli.client import connect
from libs.cli.session import Stack
from tests.reliability.evidence import read_books, read_published, read_receivables
from tests.reliability.faults import kill, pids
from tests.reliability.judgement import facts_are_the_log, log_is_whole
from tests.reliability.payment_judgement import judge_payments, lost_and_doubled
from tests.reliability.payment_service import PaymentService, open_business
from tests.reliability.payment_wishes import draw_trade, events
from tests.reliability.restoring import keep, restore
from tests.reliability.verdict import Verdict, verified
from tests.reliability.wishes import LEDGER

KEEP, RESTORE = "keep", "restore"
ON_THE_WAY = ("invoicing", "ledger", "kafka", "postgres")
PAYMENTS = 2_000
STRIKES_AFTER_S = (0.5, 2.0)
POSTED_TIME_LIMIT_S = 180.0
TIE_OUT_TIME_LIMIT_S = 60.0
PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.3


async def play_payments(
    stack: Stack, name: str, seed: str, *, payments: int = PAYMENTS, struck: Sequence[str] = ON_THE_WAY
) -> Verdict:
    """One round in the organization `name`, with a kill of each of `struck`; the same seed draws the same round.

    `keep` and `restore` among `struck`: invoicing's database is put back to what it was in between.
    """
    began = time.monotonic()
    chosen = random.Random(seed)
    trade = draw_trade(payments, chosen)
    await open_business(stack, name, trade.invoices)
    service = PaymentService(stack.bootstrap, events(name, trade.payments, chosen))
    order = _order(struck, chosen)
    async with asyncio.TaskGroup() as load:
        load.create_task(service.run())
        told, ended = await _strike(stack, order, chosen)
    await _until_posted(stack, name, len(trade.payments))
    proof = await _tie_out(stack, name)
    books, kept = await read_books(stack, name), await read_receivables(stack, name)
    published = await read_published(stack, name, books.sequence)
    lost, doubled = lost_and_doubled(trade, books, kept)
    findings = [
        *judge_payments(trade, books, kept, proof),
        *log_is_whole(books),
        *facts_are_the_log(books, published),
        *await verified(stack, name),
        *ended,
    ]
    return Verdict(
        part="restored" if RESTORE in struck else "payments",
        event="; ".join(told),
        acknowledged=len(trade.payments) - len(lost),
        rejected=0,
        requests=len(trade.payments),
        resent=service.repeated,
        troubles=service.troubles,
        lost=len(lost),
        doubled=len(doubled),
        findings=findings,
        seconds=time.monotonic() - began,
    )


def _order(struck: Sequence[str], chosen: random.Random) -> list[str]:
    """In any order, but what is restored was kept before."""
    order = chosen.sample(struck, len(struck))
    kept_first = iter(sorted({KEEP, RESTORE} & set(struck)))
    return [next(kept_first) if strike in (KEEP, RESTORE) else strike for strike in order]


async def _do(stack: Stack, strike: str) -> str:
    match strike:
        case "keep":
            return await keep(stack)
        case "restore":
            return await restore(stack)
    return await kill(stack, strike)


async def _strike(stack: Stack, order: Sequence[str], chosen: random.Random) -> tuple[list[str], list[str]]:
    """Each strike in turn; what was done, and which others ended of it."""
    told, ended = [], []
    for part in order:
        await asyncio.sleep(chosen.uniform(*STRIKES_AFTER_S))
        before = pids(stack)
        told.append(await _do(stack, part))
        after = pids(stack)
        hurt = "invoicing" if part in (KEEP, RESTORE) else part
        ended += [
            f"{other} ended when {part} was killed; its log tells why"
            for other in sorted(before.keys() - {hurt})
            if after[other] != before[other]
        ]
    return told, ended


async def _until_posted(stack: Stack, organization: str, payments: int) -> None:
    """Until all payments are there and nothing is under way, or the time limit; what is missing is found later."""
    give_up_s = time.monotonic() + POSTED_TIME_LIMIT_S
    while time.monotonic() < give_up_s:
        kept = await read_receivables(stack, organization)
        if len(kept.payments) >= payments and not kept.unposted and not kept.waiting:
            return
        await asyncio.sleep(_LOOK_EVERY_S)


async def _tie_out(stack: Stack, organization: str) -> dict[str, Any]:
    """The tie-out's proof, as soon as it has heard the whole log and all is well, or after the time limit."""
    sequence = (await read_books(stack, organization)).sequence
    token = stack.token(organization, ["controller"])
    give_up_s = time.monotonic() + TIE_OUT_TIME_LIMIT_S
    async with connect(stack.gateway, token, patience_s=PATIENCE_S) as client:
        while True:
            proof: dict[str, Any] = await client.get("/receivables/tie-out", ledger=LEDGER)
            if (proof["heard_through"] >= sequence and proof["ties"]) or time.monotonic() > give_up_s:
                return proof
            await asyncio.sleep(_LOOK_EVERY_S)
