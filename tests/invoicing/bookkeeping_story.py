"""A ledger in a test's memory that posts what invoicing asks for, tells its log, and answers; each at its own pace."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from libs.common.clock import now
from libs.common.db import Pool, transaction
from services.invoicing.facts_consumer import decode, keep
from services.invoicing.posting_requests import Answer, PostedAnswer, answered
from services.invoicing.tying import Proof, prove
from tests.invoicing.hearing import Log, as_record
from tests.invoicing.trading import DAY


@dataclass(slots=True)
class Books:
    """The books of one ledger: `post` takes requests, `tell` gives facts, `reply` gives answers."""

    pool: Pool
    log: Log = field(default_factory=Log)
    entries: dict[UUID, list[dict[str, Any]]] = field(default_factory=dict)
    facts: list[Any] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    async def open(self) -> None:
        """The first record of the log."""
        self.facts.append(self.log.open())
        await self.tell()

    async def post(self, most: int = 1_000) -> int:
        """Posts so many of the requests that are under way, in the order in which they were made."""
        rows = await self.pool.fetch(
            "select id, type, value from postings where state = 'requested' and organization = $2"
            " order by requested_at, id limit $1",
            most + 50,
            self.log.organization,
        )
        fresh = [row for row in rows if row["id"] not in self.entries][:most]
        for row in fresh:
            lines = self.decided(row["type"], row["value"])
            self.entries[row["id"]] = lines
            self.add(lines, row["id"], "invoicing")
            posted = PostedAnswer(self.log.organization, row["id"], self.log.sequence, DAY, now())
            self.answers.append(posted)
        return len(fresh)

    def decided(self, type_: str, value: bytes) -> list[dict[str, Any]]:
        """The lines of the entry that a request asks for: as they are asked for."""
        wanted = orjson.loads(value)
        return list(wanted["lines"]) if "lines" in wanted else self._turned(UUID(wanted["entry_id"]))

    def add(self, lines: list[dict[str, Any]], entry: UUID | None, service: str) -> None:
        """One entry more in the log."""
        told = [
            " ".join(
                (line["account"], line["side"], line["amount"], line.get("party") or "-", line.get("currency") or "USD")
            )
            for line in lines
        ]
        self.facts.append(self.log.post(*told, service=service, id_=entry))

    def _turned(self, entry: UUID) -> list[dict[str, Any]]:
        sides = {"debit": "credit", "credit": "debit"}
        return [{**line, "side": sides[line["side"]]} for line in self.entries[entry]]

    async def tell(self, most: int = 1_000) -> None:
        """Facts reach invoicing."""
        told, self.facts = self.facts[:most], self.facts[most:]
        if told:
            async with transaction(self.pool) as connection:
                assert await keep(connection, [decode(as_record(each)) for each in told], now(), set()) == []

    async def reply(self, most: int = 1_000) -> None:
        """Answers reach invoicing."""
        told, self.answers = self.answers[:most], self.answers[most:]
        if told:
            async with transaction(self.pool) as connection:
                await answered(connection, told, now())

    async def settle(self) -> None:
        """Everything asked for is posted, told and answered."""
        while await self.post() or self.facts or self.answers:
            await self.tell()
            await self.reply()

    async def proof(self, sequence: int) -> Proof:
        async with self.pool.acquire() as connection:
            return await prove(connection, self.log.organization, self.log.ledger, sequence)
