"""Rounds of load with one fault in each, and the books judged after each of them.

    python -m tests.reliability.rounds --rounds 5 --seed 1 --parts ledger,gateway,postgres,kafka,payments

Every part gets that many rounds, on one stack of their own. A round has an organization of its own; clients post over
REST while a service asks over Kafka, the fault strikes at a moment drawn from the seed, the load goes on until the
stack is whole again and a little longer, everybody gets an answer, and then everything is judged. The same seed draws
the same faults, moments, amounts and accounts. Two parts are of another kind (payment_rounds.py): `payments`, 2,000 of
them and every part on their way killed, and `restored`, a backup of invoicing's database put back among them. Exit code
0: nothing was found.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from libs.cli.session import Stack, running
from libs.devstack.stack import reset_stack, start_detached, stop_stack
from tests.reliability.evidence import read_books, read_published
from tests.reliability.faults import KILLED, PARTS, PAYMENTS, RESTORED, may_end, pids, staged
from tests.reliability.judgement import judge, same_again, tally
from tests.reliability.kafka_requester import KafkaRequester
from tests.reliability.payment_rounds import KEEP, RESTORE, play_payments
from tests.reliability.rest_clients import RestClients
from tests.reliability.verdict import Verdict, verified
from tests.reliability.wishes import open_books

CLIENTS = 8
STRIKES_AFTER_S = (0.5, 2.0)
GOES_ON_S = 1.5
ASKED_AGAIN = 25
RESTORED_PAYMENTS = 500


async def play(stack: Stack, part: str, name: str, seed: str) -> Verdict:
    """One round with a fault of `part`, in the organization `name`; the same seed draws the same round."""
    if part == PAYMENTS:
        return await play_payments(stack, name, seed)
    if part == RESTORED:
        return await play_payments(stack, name, seed, payments=RESTORED_PAYMENTS, struck=(KEEP, "ledger", RESTORE))
    began = time.monotonic()
    chosen = random.Random(seed)
    await open_books(stack, name)
    token = stack.token(name, ["controller"], subject="reliability")
    over, running_before = asyncio.Event(), pids(stack)
    async with staged(part, stack, chosen) as scene:
        rest = RestClients(scene.urls, token, f"{name}-rest", random.Random(f"{seed}-rest"))
        kafka = KafkaRequester(stack.bootstrap, name, f"{name}-kafka", random.Random(f"{seed}-kafka"))
        async with asyncio.TaskGroup() as load:
            load.create_task(rest.run(CLIENTS, over))
            load.create_task(kafka.run(over))
            await asyncio.sleep(chosen.uniform(*STRIKES_AFTER_S))
            event = await scene.strike()
            await asyncio.sleep(GOES_ON_S)
            over.set()
        again = await rest.ask_again(chosen.sample(sorted(rest.told), min(ASKED_AGAIN, len(rest.told))))
    books = await read_books(stack, name)
    published = await read_published(stack, name, books.sequence)
    findings = [*judge(books, published, rest, kafka), *same_again(rest, again), *await verified(stack, name)]
    running_after = pids(stack)
    findings += [
        f"{other} ended although nobody hurt it; its log tells why"
        for other in sorted(running_before.keys() - may_end(part))
        if running_after[other] != running_before[other]
    ]
    counted = tally(books, rest, kafka)
    return Verdict(
        part=part,
        event=event,
        acknowledged=counted.acknowledged,
        rejected=counted.rejected,
        requests=len(kafka.asked),
        resent=kafka.resent,
        troubles=rest.troubles + kafka.troubles,
        lost=len(counted.lost),
        doubled=len(counted.doubled),
        findings=findings,
        seconds=time.monotonic() - began,
    )


async def _play_all(parts: Sequence[str], rounds: int, seed: int) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="ledgerbus-reliability-"))
    await asyncio.to_thread(start_detached, folder, quiet=True)
    verdicts: list[Verdict] = []
    try:
        stack = running(folder)
        for number in range(1, rounds + 1):
            for part in parts:
                verdict = await play(stack, part, f"round-{number}-{part}", f"{seed}-{number}-{part}")
                verdicts.append(verdict)
                print(f"round {number:3}  {verdict.line()}", flush=True)
    finally:
        await asyncio.to_thread(stop_stack, folder)
    good = not any(verdict.findings for verdict in verdicts)
    print(_summary(verdicts))
    if good:
        reset_stack(folder)
    else:
        print(f"data and logs of this run are kept in {folder}")
    return good


def _summary(verdicts: Sequence[Verdict]) -> str:
    return (
        f"{len(verdicts)} rounds, {len(verdicts)} faults, "
        f"{sum(verdict.acknowledged for verdict in verdicts)} acknowledged, "
        f"{sum(verdict.lost for verdict in verdicts)} lost, {sum(verdict.doubled for verdict in verdicts)} doubled, "
        f"{sum(len(verdict.findings) for verdict in verdicts)} findings"
    )


def main() -> None:
    """Plays the rounds that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.rounds", description="Faults under load.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds for each part")
    parser.add_argument("--seed", type=int, default=None, help="draws the same rounds again; drawn and told if absent")
    parser.add_argument("--parts", default=",".join((*KILLED, PAYMENTS, RESTORED)), help=f"some of {', '.join(PARTS)}")
    asked = parser.parse_args()
    parts = asked.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    print(f"seed {seed}", flush=True)
    sys.exit(0 if asyncio.run(_play_all(parts, asked.rounds, seed)) else 1)


if __name__ == "__main__":
    main()
