"""Clients that ask one ledger through two books at once, and keep when they asked and what they were told.

    python -m tests.properties.history_clients --seconds 600 --seed 1

lets them, in a new ledger every round, for that long on a PostgreSQL of its own; ends with 1 where a history does not
fit. The seed draws what is asked; how it interleaves is the machine's.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

import orjson

from libs.common.clock import monotonic_s, new_id
from libs.common.holds import CaptureRequest, HoldRequest, ReleaseRequest
from libs.common.journal import EntryRequest, ReversalRequest, TransferRequest
from libs.common.money import to_text
from services.ledger import reads
from services.ledger.commands import Books, ask
from services.ledger.domain import Request
from services.ledger.state import Ledger
from services.ledger.sums import read_sums
from services.ledger.verify import verify
from tests.ledger.asking import account, entry, wish
from tests.properties.history_checker import Chart, Logged, Part, Told, findings
from tests.properties.model_play import Place, ledger_template_of, place_at
from tests.support import run
from tests.support.postgres import PostgresServer

CLIENTS: Final = 6
ASKED_BY_EACH: Final = 60
CHART: Final = Chart({"BANK": "debit", "ALICE": "credit", "BOB": "credit"}, frozenset({"ALICE", "BOB"}))
OWNERS: Final = ("ALICE", "BOB")


@dataclass
class Client:
    """One asker, which waits for each answer before it asks again; some things it asks of both books at once."""

    place: Place
    ledger: Ledger
    number: int
    random: random.Random
    told: list[Told] = field(default_factory=list)
    posted: list[UUID] = field(default_factory=list)
    held: list[UUID] = field(default_factory=list)

    async def ask_all(self, count: int) -> None:
        """Asks so many things."""
        for turn in range(count):
            key = f"{self.number}/{turn}"
            if self.random.randrange(4) == 0:
                await self._read(key)
                continue
            request, needs = self._draw()
            if isinstance(request, EntryRequest | TransferRequest) and self.random.randrange(10) == 0:
                await self._ask(self._books(), key, request, needs, "dry-run")
            elif self.random.randrange(8) == 0:
                both = (self._ask(books, key, request, needs, "write") for books in self.place.books)
                await asyncio.gather(*both)
            else:
                await self._ask(self._books(), key, request, needs, "write")

    def _books(self) -> Books:
        return self.random.choice(self.place.books)

    def _draw(self) -> tuple[Request, dict[str, int]]:
        """A request, and what has to be available for it."""
        source, target = self.random.sample(OWNERS, 2)
        amount, id_ = self.random.choice([100, 250, 700, 1_900]), new_id()
        text = to_text(amount, 2)
        match self.random.randrange(9):
            case 0 | 1:
                self.posted.append(id_)
                return entry(f"BANK debit {text}", f"{target} credit {text}", id=id_), {}
            case 2 | 3:
                return entry(f"{source} debit {text}", f"BANK credit {text}", id=id_), {source: amount}
            case 4 | 5:
                return TransferRequest(source=source, target=target, amount=text, id=id_), {source: amount}
            case 6 if self.posted:
                return ReversalRequest(entry_id=self.posted.pop(), id=id_), {}
            case 7 if self.held:
                return self._end(self.held.pop(), id_), {}
            case _:
                self.held.append(id_)
                lines = entry(f"{source} debit {text}", f"{target} credit {text}").lines
                return HoldRequest(lines=lines, id=id_), {source: amount}  # type: ignore[arg-type] # of the same shape

    def _end(self, hold_id: UUID, id_: UUID) -> Request:
        """All of a hold, a part of it, or none."""
        match self.random.randrange(3):
            case 0:
                return CaptureRequest(hold_id=hold_id, id=id_)
            case 1:
                self.held.append(hold_id)
                return CaptureRequest(hold_id=hold_id, id=id_, amount="1.00")
            case _:
                return ReleaseRequest(hold_id=hold_id)

    async def _ask(
        self, books: Books, key: str, request: Request, needs: Mapping[str, int], kind: Literal["write", "dry-run"]
    ) -> None:
        began_s = monotonic_s()
        answer = await ask(books, wish(request, key, ledger=self.ledger.code, dry_run=kind == "dry-run"))
        code = answer.rejection.code if answer.rejection is not None else None
        self.told.append(Told(kind, key, began_s, monotonic_s(), answer.sequence, code, answer.replayed, needs))

    async def _read(self, key: str) -> None:
        began_s = monotonic_s()
        async with reads.as_reader(self.place.reader, "demo", self.ledger) as connection:
            sequence, sums = await read_sums(connection, self.ledger, since=None, through=None, sequence=None)
        balances = {row.code: row.debits - row.credits for row in sums}
        self.told.append(Told("read", key, began_s, monotonic_s(), sequence, balances=balances))


async def read_log(place: Place, ledger: Ledger) -> list[Logged]:
    """The ledger's log as the checker takes it; the records of opening have no key."""
    async with place.auditor.acquire() as connection:
        rows = await connection.fetch(
            "select sequence, payload from log where ledger_no = $1 order by sequence", ledger.no
        )
    return [_logged(row["sequence"], orjson.loads(row["payload"])) for row in rows]


def _logged(sequence: int, body: Mapping[str, object]) -> Logged:
    lines: Sequence[Part] = ()
    pending: Sequence[Part] = ()
    match body:
        case {"type": "entry-posted", "entry": {"lines": list(written)}}:
            lines = [_part(line) for line in written]
        case {"type": "hold-placed", "hold": {"lines": list(written)}}:
            pending = [_part(line) for line in written]
        case {"type": "hold-captured" | "hold-released" | "hold-expired", "hold": {"lines": list(written)}}:
            pending = [part._replace(amount=-part.amount) for part in map(_part, written)]
        case {"type": "ledger-opened" | "account-opened"}:
            return Logged(sequence, "")
        case _:
            raise AssertionError(f"nobody asked for {body['type']}")
    asked = body["request"]
    assert isinstance(asked, dict)
    return Logged(sequence, asked["key"], lines, pending)


def _part(line: Mapping[str, str]) -> Part:
    """Amounts of dollars have two decimals."""
    amount, after = (int(line.get(name, "0").replace(".", "")) for name in ("amount", "balance_after"))
    return Part(line["account"], line["side"], amount, after)


async def gather_history(place: Place, seed: int) -> tuple[list[Told], list[Logged]]:
    """What the clients of one round were told, and the log they left in a new ledger, which proves well."""
    ledger = await place.open()
    for request in (account("BANK"), *(account(code, "liability", overdraft="none") for code in OWNERS)):
        assert (await ask(place.books[0], wish(request, ledger=ledger.code))).rejection is None
    clients = [Client(place, ledger, number, random.Random(f"{seed}/{number}")) for number in range(CLIENTS)]
    await asyncio.gather(*(client.ask_all(ASKED_BY_EACH) for client in clients))
    report = await verify(place.auditor, ledger)
    assert report.ok, report
    return [answer for client in clients for answer in client.told], await read_log(place, ledger)


async def _gather_for(seconds: float, seed: int) -> int:
    postgres, ends_s, rounds, answers = PostgresServer(run.need("postgres").address), time.monotonic() + seconds, 0, 0
    async with place_at(postgres, await ledger_template_of(postgres)) as place:
        while time.monotonic() < ends_s:
            told, log = await gather_history(place, seed + rounds)
            if found := list(findings(CHART, told, log)):
                print(f"seed {seed + rounds}", *found, sep="\n  ")
                return 1
            rounds, answers = rounds + 1, answers + len(told)
    print(f"{rounds} histories of {answers} answers: every one fits")
    return 0


def main() -> None:
    """Lets clients ask for as long as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.properties.history_clients", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    run.begin()
    try:
        ended = asyncio.run(_gather_for(asked.seconds, asked.seed))
    finally:
        run.end()
    sys.exit(ended)


if __name__ == "__main__":
    main()
