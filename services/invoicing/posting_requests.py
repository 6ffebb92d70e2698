"""Asking the ledger: from an accounting decision to a stored request, and from its answer back to the document.

    want      entry draft -> posting (its id derived from the document) + movements + outbox     requested
                          -> the posting it depends on is not posted yet                         waiting
                          -> no rate is known yet                                                waiting, no value
                          -> no account for a role                                               needs-attention
    answered  posted      -> sequence on posting and movements, those that waited for it are requested, documents say so
              rejected    -> needs-attention, with the ledger's own words; of payments both are told as facts
    retry     needs-attention, or waiting for a rate -> made again of its draft; a refused attempt gives way to the next

The id of a posting never changes; what is raised is the attempt, and the request's key is both. So a replay, a second
instance or a restored database asks for the same entry, and the ledger answers what it answered before. Every function
here takes the transaction of its caller and works on any number of documents of any organizations at once.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import orjson
from pydantic import TypeAdapter

from libs.common.clock import derived_id
from libs.common.db import Connection
from libs.common.errors import Rejection
from libs.common.events import ENTRY_WANTED, REQUESTS, REVERSAL_WANTED
from libs.common.events_invoicing import INVOICING_SOURCE
from libs.common.journal import ledger_id
from libs.common.messages import Message, cloud_event_headers
from libs.common.outbox import put
from libs.common.telemetry import current_traceparent
from services.invoicing import posting_store
from services.invoicing.announcing import payment_settled
from services.invoicing.bookkeeping import Bookkeeping, BooksKey, bookkeeping_for
from services.invoicing.entry_drafts import EntryDraft, Part, entry_request, mirrored, movements
from services.invoicing.posting_store import Key, MovementRow, PostedRow, PostingRow, RejectedRow
from services.invoicing.rows import Row

RESEND_FIRST: Final = timedelta(seconds=30)
RESEND_LONGEST: Final = timedelta(minutes=15)

DRAFT: Final[TypeAdapter[EntryDraft]] = TypeAdapter(EntryDraft)
"""A decision as it is kept, to be made a request of again when a mapping or a rate has come."""

PARTS: Final[TypeAdapter[list[Part]]] = TypeAdapter(list[Part])
"""What of a decision is known before the rest of it."""

_WAITS_FOR_OUTSIDE: Final = frozenset({"rate-missing"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PostingWish:
    """An entry that a document asks for. `created_at` is the document's; `depends_on` is the posting that goes first.

    `draft` is the accounting decision, or what keeps it from being made now. `reverses` makes it the reversal of that
    entry, whose draft it then is.
    """

    organization: str
    ledger: str
    document: str
    purpose: str
    created_at: datetime
    draft: EntryDraft | Rejection
    depends_on: UUID | None = None
    reverses: UUID | None = None
    reversed_on: date | None = None
    id: UUID = field(init=False)

    def __post_init__(self) -> None:
        """The id follows from the rest; it is made once."""
        object.__setattr__(self, "id", posting_id(self.organization, self.document, self.purpose, self.created_at))


class Prepared(NamedTuple):
    """A wish made into a request, or why it cannot be one now."""

    wish: PostingWish
    id: UUID
    value: bytes | None
    rejection: Rejection | None

    @property
    def posting(self) -> str:
        """What the document says of it."""
        return "needs-attention" if self._stuck else "requested"

    @property
    def _stuck(self) -> bool:
        return self.rejection is not None and self.rejection.code not in _WAITS_FOR_OUTSIDE

    def state(self, depends_on_state: str | None) -> str:
        """What the posting is at first."""
        if self._stuck:
            return "needs-attention"
        if self.value is None or depends_on_state not in (None, "posted"):
            return "waiting"
        return "requested"


class PostedAnswer(NamedTuple):
    """The ledger posted an entry of ours."""

    organization: str
    id: UUID
    sequence: int
    effective_on: date
    recorded_at: datetime


class RejectedAnswer(NamedTuple):
    """The ledger refused an attempt of ours."""

    organization: str
    id: UUID
    attempt: int
    code: str
    detail: str
    facts: Row


Answer = PostedAnswer | RejectedAnswer
A = TypeVar("A", PostedAnswer, RejectedAnswer)


def posting_id(organization: str, document: str, purpose: str, created_at: datetime) -> UUID:
    """The id of the entry that a document asks for, the same whoever derives it."""
    return derived_id(created_at, organization, "invoicing", document, purpose)


def document_name(kind: str, document_id: UUID) -> str:
    """How the ledger knows a document: its kind and its id."""
    return f"{kind}/{document_id}"


# --- wanting ----------------------------------------------------------------------------------------------------------


def prepare(wish: PostingWish, books: Bookkeeping, attempt: int = 1) -> Prepared:
    """The request's bytes, or the rejection that keeps it from being one."""
    draft = wish.draft
    if isinstance(draft, Rejection):
        return Prepared(wish, wish.id, None, draft)
    if wish.reverses is not None:
        return Prepared(wish, wish.id, orjson.dumps(_reversal(wish, draft, attempt), default=str), None)
    line = draft.lines[0]
    found = books.books(BooksKey(wish.organization, wish.ledger, line.currency.code, draft.effective_on))
    body = found if isinstance(found, Rejection) else entry_request(
        draft,
        found,
        organization=wish.organization,
        ledger=wish.ledger,
        document=wish.document,
        id_=wish.id,
        attempt=attempt,
    )  # fmt: skip
    if isinstance(body, Rejection):
        return Prepared(wish, wish.id, None, body)
    return Prepared(wish, wish.id, orjson.dumps(body), None)


def _reversal(wish: PostingWish, draft: EntryDraft, attempt: int) -> dict[str, Any]:
    return {
        "organization": wish.organization,
        "ledger": wish.ledger,
        "idempotency_key": f"{wish.id}/{attempt}",
        "document": wish.document,
        "entry_id": wish.reverses,
        "id": wish.id,
        "effective_on": wish.reversed_on or draft.effective_on,
        "if_closed": "next-open-day",
        "description": f"Reversal: {draft.description}",
    }


async def want(connection: Connection, prepared: Sequence[Prepared], now: datetime) -> dict[Key, str]:
    """Stores what is asked for and sends what need not wait; gives each posting's state by (organization, id)."""
    if not prepared:
        return {}
    ours = {(each.wish.organization, each.id) for each in prepared}
    before = {
        (each.wish.organization, each.wish.depends_on) for each in prepared if each.wish.depends_on is not None
    }  # fmt: skip
    known: dict[Key, str] = await posting_store.states_of(connection, sorted(before - ours))
    states: dict[Key, str] = {}
    rows: list[PostingRow] = []
    for each in prepared:
        wish = each.wish
        depends_on = None if wish.depends_on is None else (wish.organization, wish.depends_on)
        state = each.state(None if depends_on is None else known.get(depends_on, "waiting"))
        states[wish.organization, each.id] = state
        sent = state == "requested"
        rows.append(
            PostingRow(
                wish.organization,
                each.id,
                wish.ledger,
                wish.document,
                wish.purpose,
                ENTRY_WANTED.name if wish.reverses is None else REVERSAL_WANTED.name,
                None if isinstance(wish.draft, Rejection) else DRAFT.dump_json(wish.draft),
                each.value,
                state,
                wish.depends_on,
                wish.created_at,
                now if sent else None,
                now + RESEND_FIRST if sent else None,
                rejection_text(each.rejection),
            )
        )
    new = await posting_store.insert_postings(connection, rows)
    await posting_store.insert_movements(
        connection, [row for each in prepared if (each.wish.organization, each.id) in new for row in _movements(each)]
    )
    await put(
        connection,
        [_message(row.ledger, row, 1, now) for row in rows if row.state == "requested" and row[:2] in new],
    )
    return states


def _movements(prepared: Prepared) -> list[MovementRow]:
    wish = prepared.wish
    if isinstance(wish.draft, Rejection):
        return []
    moved = movements(wish.draft)
    return [
        MovementRow(wish.organization, prepared.id, place, wish.ledger, role, party or "", currency, amount)
        for place, (role, party, currency, amount) in enumerate(moved if wish.reverses is None else mirrored(moved))
    ]


def _message(ledger: str, row: Any, attempt: int, now: datetime) -> Message:
    """The request as it goes over Kafka: the stored bytes, and an id that is the same each time they are sent."""
    return Message(
        REQUESTS,
        str(ledger_id(row.organization, ledger)).encode(),
        row.value,
        cloud_event_headers(
            row.type, INVOICING_SOURCE, f"{row.id}/{attempt}", now, traceparent=current_traceparent()
        ),
    )  # fmt: skip


def rejection_text(rejection: Rejection | None) -> str | None:
    """A rejection as it is kept."""
    if rejection is None:
        return None
    kept = {"code": rejection.code, "detail": rejection.detail, "facts": dict(rejection.facts)}
    return orjson.dumps(kept, default=str).decode()


# --- answers ----------------------------------------------------------------------------------------------------------


async def answered(connection: Connection, answers: Sequence[Answer], now: datetime) -> list[tuple[str, str]]:
    """Takes the ledger's answers in; gives the (organization, document) pairs whose posting state may be another now.

    An answer that is known already changes nothing.
    """
    posted = {(each.organization, each.id): each for each in answers if isinstance(each, PostedAnswer)}
    rejected = {
        (each.organization, each.id): each
        for each in answers
        if isinstance(each, RejectedAnswer) and (each.organization, each.id) not in posted
    }
    await posting_store.hold_documents(connection, [*posted, *rejected])
    marked = await posting_store.mark_posted(connection, [PostedRow(*each) for each in _in_order(posted.values())])
    refused = await posting_store.mark_rejected(
        connection,
        [
            RejectedRow(
                *each[:3],
                orjson.dumps({"code": each.code, "detail": each.detail, "facts": each.facts}, default=str).decode(),
            )
            for each in _in_order(rejected.values())
        ],
    )
    released = await posting_store.release(
        connection, [(row["organization"], row["id"]) for row in marked], now, now + RESEND_FIRST
    )
    await _send(connection, released, now)
    documents = sorted({(row["organization"], row["document"]) for row in (*marked, *refused)})
    shown = await posting_store.show_on_documents(connection, documents)
    await put(connection, await _settled(connection, [*marked, *refused], shown, now))
    return documents


def _in_order(answers: Iterable[A]) -> list[A]:
    """As their postings are locked. Ids compare by their integers: an id's own comparison is many times slower."""
    return sorted(answers, key=lambda each: (each.organization, each.id.int))


async def _settled(
    connection: Connection, answered: Sequence[Row], shown: Sequence[Row], now: datetime
) -> list[Message]:
    """What the ledger said of payments whose receipt is among these postings, as facts; `shown` are at hand already."""
    receipts = {
        (row["organization"], row["document"].partition("/")[2]): row for row in answered if row["purpose"] == "payment"
    }
    payments = {(row["organization"], row["id"]): row for row in shown}
    others = await posting_store.payments_told(connection, [key for key in receipts if key not in payments])
    payments |= {(row["organization"], row["id"]): row for row in others}
    return [payment_settled(payments[key], receipt, now) for key, receipt in receipts.items()]


class _Row(NamedTuple):
    organization: str
    id: UUID
    type: str
    value: bytes


async def _send(connection: Connection, rows: Sequence[Row], now: datetime) -> None:
    """Puts stored requests into the outbox."""
    await put(
        connection,
        [
            _message(
                row["ledger"], _Row(row["organization"], row["id"], row["type"], row["value"]), row["attempt"], now
            )
            for row in rows
        ],
    )  # fmt: skip


# --- again ------------------------------------------------------------------------------------------------------------


async def resend_due(connection: Connection, now: datetime, limit: int = 500) -> int:
    """Sends again, byte by byte, what was not answered in time; gives how many."""
    due = await posting_store.due_again(connection, now, RESEND_FIRST, RESEND_LONGEST, limit)
    await _send(connection, due, now)
    return len(due)


Redraft = Callable[[Connection, str, str, str], Awaitable[EntryDraft | Rejection]]
"""Makes the decision of (organization, document, purpose) again, where none could be made before."""


async def retry(
    connection: Connection, organization: str, posting: UUID, now: datetime, redraft: Redraft
) -> str | None:
    """Tries a posting again that needs attention or waits for a rate; gives its state now, None where there is none.

    An attempt that the ledger refused gives way to the next one; the entry's id stays. One that is on its way or in
    the books is left alone.
    """
    await posting_store.hold_documents(connection, [(organization, posting)])
    row = await posting_store.lock_posting(connection, organization, posting)
    if row is None:
        return None
    outside = row["state"] == "waiting" and row["value"] is None
    if row["state"] != "needs-attention" and not outside:
        state: str = row["state"]
        return state
    attempt = row["attempt"] + (row["value"] is not None)
    draft = (
        await redraft(connection, organization, row["document"], row["purpose"])
        if row["draft"] is None
        else DRAFT.validate_json(row["draft"])
    )
    wish = PostingWish(
        organization=organization,
        ledger=row["ledger"],
        document=row["document"],
        purpose=row["purpose"],
        created_at=row["created_at"],
        draft=draft,
        depends_on=row["depends_on"],
        reverses=_reversed_entry(row),
    )
    keys = [] if isinstance(draft, Rejection) else [
        BooksKey(organization, row["ledger"], line.currency.code, draft.effective_on) for line in draft.lines
    ]  # fmt: skip
    prepared = prepare(wish, await bookkeeping_for(connection, keys), attempt)
    if row["draft"] is None and not isinstance(draft, Rejection):
        await posting_store.store_draft(connection, (organization, posting), DRAFT.dump_json(draft))
        await posting_store.insert_movements(connection, _movements(prepared))
    state = await _tried(connection, prepared, row["type"], attempt, now)
    await posting_store.show_on_documents(connection, [(organization, wish.document)])
    return state


async def _tried(connection: Connection, prepared: Prepared, type_: str, attempt: int, now: datetime) -> str:
    """Stores what another try came to, and sends it where nothing goes first."""
    wish = prepared.wish
    key = wish.organization, prepared.id
    before = None
    if wish.depends_on is not None:
        depends_on = wish.organization, wish.depends_on
        before = (await posting_store.states_of(connection, [depends_on])).get(depends_on, "waiting")
    state = prepared.state(before)
    sent = state == "requested"
    await posting_store.store_attempt(
        connection,
        key,
        attempt,
        prepared.value,
        state,
        now if sent else None,
        now + RESEND_FIRST if sent else None,
        rejection_text(prepared.rejection),
    )
    if sent:
        assert prepared.value is not None
        await put(connection, [_message(wish.ledger, _Row(*key, type_, prepared.value), attempt, now)])
    return state


def _reversed_entry(row: Row) -> UUID | None:
    """A reversal's entry stands in its request, which never lacks a rate or an account."""
    if row["type"] != REVERSAL_WANTED.name or row["value"] is None:
        return None
    return UUID(orjson.loads(row["value"])["entry_id"])
