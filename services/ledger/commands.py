"""What can be asked of the ledger: one function for every entrance, REST and Kafka alike.

`enqueue` hands a request to its ledger's writer and gives a future, so that a consumer can queue thousands and wait
once; `answers` turns what came of them into what the askers are told; `ask` is both, for one. Nothing here decides or
commits: the rules are in domain.py, the batch and its commit in writer.py. What opens books (organizations, ledgers,
currencies) is a single transaction of its own.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson

from libs.common import metrics
from libs.common.clock import Clock, monotonic_s, new_id
from libs.common.db import Pool
from libs.common.errors import Fault, Problem, Rejection
from libs.common.journal import CurrencyRequest, LedgerRequest, ledger_id, organization_id
from libs.common.money import ISO_4217, Currency
from services.ledger import books_store, closing_store, store
from services.ledger.deciding import Outcome, Preview
from services.ledger.domain import AtomicRequest, Request
from services.ledger.hold_records import hold_answer
from services.ledger.queued import Limits, QueuedWish
from services.ledger.records import entry_answer, instant
from services.ledger.rejections import reject
from services.ledger.reused_keys import name_difference
from services.ledger.state import Ledger
from services.ledger.writer import LedgerWriter

LEDGERS_CACHED_MAX = 50_000
KEY_REUSED = "key-reused-with-other-content"


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks. `scope` keeps the keys of different askers apart: the service, and over REST the token's subject.

    `permits` are the scopes that a posting into closed days may need (`periods.PERMITS`); nobody has them over Kafka.
    """

    organization: str
    service: str
    subject: str
    scope: str
    permits: frozenset[str] = frozenset()


class Wish(NamedTuple):
    """A request with what surrounds it. `size` in bytes; `lookup` where its key may have been used before."""

    asker: Asker
    ledger: str
    request: Request
    key: str
    fingerprint: bytes
    size: int
    lookup: bool
    traceparent: str | None
    dry_run: bool = False


class Answer(NamedTuple):
    """What an asker is told. `body` is the entry, account or hold as `kind` says, or None with a rejection.

    Of a capture it is both, {"hold", "entry"}. `sequence` is 0 where nothing was posted: a rejection, or a dry run.
    """

    kind: str
    body: dict[str, Any] | None
    rejection: Rejection | None
    replayed: bool
    sequence: int = 0
    hash: str = ""


@dataclass(slots=True)
class Books:
    """The ledgers of this process: their writers, and the pools they share."""

    pool: Pool
    clock: Clock
    limits: Limits = field(default_factory=Limits)
    committed: Callable[[Ledger], None] = lambda _: None
    _ledgers: dict[tuple[str, str], Ledger] = field(default_factory=dict)
    _writers: dict[int, LedgerWriter] = field(default_factory=dict)
    _at_work: dict[int, LedgerWriter] = field(default_factory=dict)

    async def find(self, organization: str, code: str) -> Ledger | None:
        """A ledger by its codes, which never change."""
        known = self._ledgers.get((organization, code))
        if known is not None:
            return known
        async with self.pool.acquire() as connection:
            ledger = await books_store.load_ledger(connection, organization, code)
        if ledger is not None:
            if len(self._ledgers) >= LEDGERS_CACHED_MAX:
                self._forget_idle()
            self._ledgers[organization, code] = ledger
        return ledger

    async def get(self, organization: str, code: str) -> Ledger:
        """A ledger that has to be there; raises Problem 404."""
        ledger = await self.find(organization, code)
        if ledger is None:
            raise Problem(404, "unknown-ledger", f"The organization has no ledger {code!r}.", facts={"ledger": code})
        return ledger

    def writer_of(self, ledger: Ledger) -> LedgerWriter:
        """The one writer this process has for a ledger."""
        writer = self._writers.get(ledger.no)
        if writer is None:
            writer = LedgerWriter(ledger, self.pool, self.clock, self.limits, self.committed)
            self._writers[ledger.no] = writer
        self._at_work[ledger.no] = writer
        return writer

    @property
    def busy(self) -> bool:
        """Whether requests wait or are being written, at any ledger."""
        while self._at_work:
            no, writer = next(iter(self._at_work.items()))
            if writer.busy:
                return True
            del self._at_work[no]
        return False

    def _forget_idle(self) -> None:
        self._ledgers.clear()
        self._writers = {no: writer for no, writer in self._writers.items() if writer.busy}

    def observe(self) -> None:
        """Sets the gauges of queues and caches, and drops caches where all together are too large."""
        writers = list(self._writers.values())
        cached = sum(writer.cached_accounts for writer in writers)
        metrics.LEDGER_WRITER_QUEUE_LENGTH.set(sum(writer.queue_length for writer in writers))
        metrics.LEDGER_CACHED_ACCOUNTS.set(cached)
        if cached > 2 * self.limits.cached_accounts:
            for writer in writers:
                writer.forget()


def fingerprint_of(body: Any) -> bytes:
    """SHA-256 of a request's canonical JSON: names sorted, no white space."""
    return sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()


def enqueue(books: Books, ledger: Ledger, wish: Wish) -> "asyncio.Future[Outcome]":
    """Queues a wish; the future is done once its answer is committed. Raises Transient where the queue is full."""
    answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    books.writer_of(ledger).put(
        QueuedWish(
            request=wish.request,
            service=wish.asker.service,
            subject=wish.asker.subject,
            scope=wish.asker.scope,
            key=wish.key,
            fingerprint=wish.fingerprint,
            size=wish.size,
            new_id=new_id(),
            lookup=wish.lookup,
            traceparent=wish.traceparent,
            dry_run=wish.dry_run,
            answer=answer,
            permits=wish.asker.permits,
        )
    )
    return answer


async def ask(books: Books, wish: Wish) -> Answer:
    """One wish and its answer. Raises Transient where no answer can be had now; the same key finds it later."""
    ledger = await books.find(wish.asker.organization, wish.ledger)
    if ledger is None:
        return Answer("", None, reject("unknown-ledger", ledger=wish.ledger), False)
    outcome = await measured(enqueue(books, ledger, wish))
    (answer,) = await answers(books, ledger, [outcome], [wish])
    return answer


def measured(outcome: "asyncio.Future[Outcome]") -> "asyncio.Future[Outcome]":
    """The same future; the time from now until it is done is observed, unless it fails or is given up."""
    taken_s = monotonic_s()

    def observe(done: "asyncio.Future[Outcome]") -> None:
        if not done.cancelled() and done.exception() is None:
            metrics.LEDGER_POSTING_LATENCY_MS.observe((monotonic_s() - taken_s) * 1000)

    outcome.add_done_callback(observe)
    return outcome


async def answers(books: Books, ledger: Ledger, outcomes: Sequence[Outcome], wishes: Sequence[Wish]) -> list[Answer]:
    """What the askers are told; records that were stored before are read, all of them in one query."""
    sequences = [outcome.sequence for outcome in outcomes if outcome.sequence and not outcome.records]
    sequences += [
        outcome.rejection.facts["sequence"]
        for outcome in outcomes
        if outcome.rejection is not None
        and outcome.rejection.code == KEY_REUSED
        and outcome.rejection.facts.get("sequence")
    ]
    stored: Stored = {}
    if sequences:
        async with books.pool.acquire() as connection:
            stored = await store.load_payloads(connection, ledger.no, sequences)
            captures = [sequence - 1 for sequence, (payload, *_) in stored.items() if b'"hold":"' in payload]
            if captures:
                stored = {**await store.load_payloads(connection, ledger.no, captures), **stored}
    return [_answer(outcome, wish, stored) for outcome, wish in zip(outcomes, wishes, strict=True)]


Stored = Mapping[int, tuple[bytes, bytes, UUID | None]]
"""Payloads of records by sequence, with their hashes, and who reversed the entry."""


def _answer(outcome: Outcome, wish: Wish, stored: Stored) -> Answer:
    if outcome.rejection is not None:
        rejection = outcome.rejection
        metrics.LEDGER_REJECTIONS.labels(rejection.code).inc()
        first = rejection.facts.get("sequence")
        if rejection.code == KEY_REUSED and isinstance(first, int) and first in stored:
            rejection = name_difference(rejection, orjson.loads(stored[first][0]), wish.request)
        return Answer("", None, rejection, outcome.replayed)
    if outcome.preview is not None:
        return Answer(*_previewed(outcome.preview, wish), None, False)
    reversed_by = None
    if outcome.records:
        payload, hash_ = outcome.records[-1].payload, outcome.records[-1].hash
    else:
        payload, hash_, reversed_by = stored[outcome.sequence]
    record = orjson.loads(payload)
    if "hold" in record:
        kind, body = "hold", hold_answer(record, hash_)
    elif "entry" not in record:
        kind, body = "account", account_answer(record)
    else:
        kind, body = "entry", entry_answer(record, hash_, reversed_by)
        if body["hold"] is not None:
            kind, body = "capture", {"hold": _captured(outcome, stored), "entry": body}
    return Answer(kind, body, None, outcome.replayed, outcome.sequence, hash_.hex())


def _captured(outcome: Outcome, stored: Stored) -> dict[str, Any]:
    """What the record before a capture's entry says of the hold."""
    if outcome.records:
        return hold_answer(orjson.loads(outcome.records[-2].payload), outcome.records[-2].hash)
    payload, hash_, _ = stored[outcome.sequence - 1]
    return hold_answer(orjson.loads(payload), hash_)


def _previewed(preview: Preview, wish: Wish) -> tuple[str, dict[str, Any]]:
    """Kind and body as they would be answered, without what only the log gives."""
    records = [
        {
            "ledger": wish.ledger,
            "sequence": None,
            "recorded_at": instant(preview.recorded_at),
            "actor": wish.asker.subject,
            **orjson.loads(orjson.dumps(body)),
        }
        for body in preview.bodies
    ]
    if "hold" in records[-1]:
        return "hold", {**hold_answer(records[-1], b""), "hash": None}
    entry = {**entry_answer(records[-1], b""), "hash": None}
    if entry["hold"] is None:
        return "entry", entry
    return "capture", {"hold": {**hold_answer(records[-2], b""), "hash": None}, "entry": entry}


async def post_atomically(books: Books, ledger: Ledger, wish: Wish) -> list[Answer]:
    """All entries of an AtomicRequest or none: their answers in order, or the one rejection. Raises Transient."""
    outcome = await enqueue(books, ledger, wish)
    if outcome.rejection is not None:
        return await answers(books, ledger, [outcome], [wish])
    records = [(record.sequence, record.payload, record.hash) for record in outcome.records]
    if not records:
        assert isinstance(wish.request, AtomicRequest)
        most = sum(1 + 2 * (1 + len(entry.rates) + len(entry.lines)) for entry in wish.request.entries)
        async with books.pool.acquire() as connection:
            records = await store.load_records_of(connection, ledger.no, outcome.sequence, most)
    posted = []
    for sequence, payload, hash_ in records:
        record = orjson.loads(payload)
        asked = record.get("request", {})
        if "entry" in record and (asked["scope"], asked["key"]) == (wish.asker.scope, wish.key):
            body = entry_answer(record, hash_)
            posted.append(Answer("entry", body, None, outcome.replayed, sequence, hash_.hex()))
    return posted


async def ask_step(books: Books, ledger: Ledger, wish: Wish) -> Answer:
    """A step of closing and the record it became, or the last one where the books stood so. Raises Transient."""
    outcome = await enqueue(books, ledger, wish)
    if outcome.rejection is not None:
        return (await answers(books, ledger, [outcome], [wish]))[0]
    for sealed in outcome.records:
        if "closing" in sealed.body:
            return _closing(sealed.payload, sealed.hash, outcome)
    async with books.pool.acquire() as connection:
        payload, hash_ = await closing_store.load_last_closing(connection, ledger.no, outcome.sequence)
    return _closing(payload, hash_, outcome)


def _closing(payload: bytes, hash_: bytes, outcome: Outcome) -> Answer:
    record = orjson.loads(payload)
    envelope = {name: record[name] for name in ("ledger", "type", "sequence", "recorded_at", "actor")}
    body = {"reason": None, "entries": [], **record["closing"], **envelope, "hash": hash_.hex()}
    return Answer("closing", body, None, outcome.replayed, record["sequence"], hash_.hex())


def account_answer(record: Mapping[str, Any]) -> dict[str, Any]:
    """An account as callers see it, from the record that opened or changed it."""
    account = dict(record["account"])
    del account["no"]
    return {
        "frozen": None,
        "closed": False,
        "opened_at": record["recorded_at"],
        **account,
        "ledger": record["ledger"],
        "version": record["sequence"],
    }


async def open_organization(books: Books, slug: str, name: str, currency: str, asker: Asker) -> dict[str, Any]:
    """A new organization with its ledger `main`; raises Problem 409 where the slug is taken."""
    unit = _currency(currency, {})
    request = LedgerRequest(code="main", name=f"Books of {name}"[:200], functional_currency=currency)
    async with books.pool.acquire() as connection, connection.transaction():
        if not await books_store.insert_organization(connection, organization_id(slug), slug, name, books.clock()):
            raise Problem(
                409, "organization-taken", f"There is an organization {slug!r} already.", facts={"slug": slug}
            )
        await _insert_ledger(connection, books.clock(), slug, request, unit, asker, None)
    return {"slug": slug, "name": name, "functional_currency": currency, "ledger": "main"}


async def open_ledger(books: Books, request: LedgerRequest, asker: Asker, traceparent: str | None) -> dict[str, Any]:
    """A new set of books; its first record is ledger-opened. Raises Problem 409 or 422."""
    try:
        ZoneInfo(request.time_zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise Problem(
            422, "malformed", "The time zone is not known.", errors=[Fault("/time_zone", "is no IANA time zone")]
        ) from error
    async with books.pool.acquire() as connection, connection.transaction():
        own = await books_store.load_currencies(connection, organization_id(asker.organization))
        unit = _currency(request.functional_currency, own)
        if not await books_store.organization_exists(connection, asker.organization):
            raise Problem(404, "unknown-organization", f"There is no organization {asker.organization!r}.")
        if not await _insert_ledger(connection, books.clock(), asker.organization, request, unit, asker, traceparent):
            raise Problem(
                409, "ledger-code-taken", f"There is a ledger {request.code!r} already.", facts={"ledger": request.code}
            )
    ledger = await books.get(asker.organization, request.code)
    books.committed(ledger)
    return ledger_answer(ledger, request)


def ledger_answer(ledger: Ledger, request: LedgerRequest) -> dict[str, Any]:
    """A new ledger as callers see it."""
    return {"id": str(ledger.id), **orjson.loads(orjson.dumps(request)), "sequence": 1, "epoch": 1}


async def _insert_ledger(
    connection: Any,
    at: datetime,
    organization: str,
    request: LedgerRequest,
    unit: Currency,
    asker: Asker,
    traceparent: str | None,
) -> bool:
    id_ = ledger_id(organization, request.code)
    payload: dict[str, Any] = {
        "type": "ledger-opened",
        "organization": organization,
        "ledger": request.code,
        "ledger_id": str(id_),
        "epoch": 1,
        "sequence": 1,
        "recorded_at": instant(at),
        "actor": asker.subject,
        "opened": {**orjson.loads(orjson.dumps(request)), "functional_decimals": unit.exponent},
    }
    if traceparent is not None:
        payload["traceparent"] = traceparent
    raw = orjson.dumps(payload)
    organization_uuid = organization_id(organization)
    return await books_store.insert_ledger(
        connection, id_, organization_uuid, request, unit, raw, sha256(raw).digest(), at
    )


def _currency(code: str, own: Mapping[str, Currency]) -> Currency:
    unit = ISO_4217.get(code) or own.get(code)
    if unit is None:
        raise Problem(
            422,
            "unknown-currency",
            f"{code} is neither in ISO 4217 nor one of the organization's own.",
            errors=[Fault("/functional_currency", "is not known")],
        )
    return unit


async def define_currency(books: Books, request: CurrencyRequest, asker: Asker) -> dict[str, Any]:
    """A unit of the organization's own; asking for an equal one again is the same. Raises Problem 409 or 422."""
    if request.code in ISO_4217:
        raise Problem(
            422,
            "currency-is-standard",
            f"{request.code} is in ISO 4217, with {ISO_4217[request.code].exponent} decimals.",
            errors=[Fault("/code", "is in ISO 4217")],
        )
    organization = organization_id(asker.organization)
    async with books.pool.acquire() as connection, connection.transaction():
        if not await books_store.organization_exists(connection, asker.organization):
            raise Problem(404, "unknown-organization", f"There is no organization {asker.organization!r}.")
        if not await books_store.insert_currency(connection, organization, request):
            existing = (await books_store.load_currencies(connection, organization))[request.code]
            if existing.exponent != request.decimals:
                raise Problem(
                    409,
                    "currency-taken",
                    f"{request.code} has {existing.exponent} decimals; what a currency is never changes.",
                    facts={"code": request.code, "decimals": existing.exponent},
                )
    return {"code": request.code, "decimals": request.decimals, "name": request.name}
