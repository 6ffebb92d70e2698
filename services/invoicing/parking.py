"""What waits: messages about one document that cannot have their effect yet, and everything behind them.

    taken     hold the documents -> those not heard before -> in rounds, each with one message of every document
              -> apply -> a rejection parks the message, and what follows of that document queues behind it
    released  a payment that others waited for has come: theirs are applied in their order until one is refused
              also by a person: fixed first where it was wrong, or dismissed so that those behind it may go on

Nothing of another document waits: one payment's trouble is its own. `Apply` is the one way in which any of these has an
effect, on the caller's transaction; it gives each event its rejection, or None. What is applied twice has its effect
once (payments, refunds, disputes and payouts are unique by their provider's ids), so a release may be repeated.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from libs.common.db import Connection
from libs.common.errors import Fault, Poison, Rejection
from libs.common.inbox import unseen
from services.invoicing import parked_store, payment_store
from services.invoicing.parked_store import Document, ParkedMessage, ParkedRow
from services.invoicing.payment_messages import ToldPayment, document_of, read_event
from services.invoicing.rejections import reject

Apply = Callable[[Connection, Sequence[ToldPayment], datetime], Awaitable[Sequence[Rejection | None]]]
"""Gives events of different documents their effect, all in one go; a rejection has left nothing behind."""

QUEUED: Final = reject("queued")


@dataclass(slots=True)
class Taken:
    """What became of events: how many had an effect, were known already, were parked, were released from waiting."""

    applied: int = 0
    known: int = 0
    parked: int = 0
    released: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


async def take(connection: Connection, told: Sequence[ToldPayment], at: datetime, apply: Apply) -> Taken:
    """Gives payment events their effect, or parks them, in the transaction of `connection`."""
    taken = Taken()
    if not told:
        return taken
    await payment_store.hold_payments(connection, [held_name(each.document) for each in told])
    fresh = await unseen(connection, [(each.source, each.event_id) for each in told])
    waiting = await parked_store.waiting_documents(connection, [each.document for each in told])
    parked: list[ParkedMessage] = []
    arrived: list[Document] = []
    for round_ in _rounds(told, fresh, taken):
        going: list[ToldPayment] = []
        for each in round_:
            reason = waiting.get(each.document)
            if reason is None or reason in each.unblocks:
                going.append(each)
            else:
                parked.append(_parked(each, QUEUED))
        for each, rejection in zip(going, await apply(connection, going, at) if going else (), strict=True):
            if rejection is None:
                taken.applied += 1
                if each.document in waiting:
                    arrived.append(each.document)
            else:
                waiting.setdefault(each.document, rejection.code)
                parked.append(_parked(each, rejection))
    for message in parked:
        taken.parked += 1
        taken.reasons[message.reason] = taken.reasons.get(message.reason, 0) + 1
    if parked:
        await parked_store.park(connection, parked, at)
    for document in sorted(set(arrived)):
        taken.released += await release(connection, document, at, apply, by="arrival")
    return taken


def held_name(document: Document) -> tuple[str, str, str]:
    """What a document is held by, while it changes: the same name as for a payment that comes by another way."""
    organization, name = document
    provider, _, id_ = name.partition("/")
    return organization, provider, id_


def _rounds(told: Sequence[ToldPayment], fresh: set[tuple[str, str]], taken: Taken) -> list[list[ToldPayment]]:
    """Events not heard before, so that a round has one of each document and rounds keep each document's order."""
    rounds: list[list[ToldPayment]] = []
    places: dict[Document, int] = {}
    left = set(fresh)
    for each in told:
        if (each.source, each.event_id) not in left:
            taken.known += 1
            continue
        left.discard((each.source, each.event_id))
        place = places.get(each.document, 0)
        places[each.document] = place + 1
        if place == len(rounds):
            rounds.append([])
        rounds[place].append(each)
    return rounds


def _parked(told: ToldPayment, rejection: Rejection) -> ParkedMessage:
    facts: Mapping[str, object] = {"detail": rejection.detail, **rejection.facts}
    return ParkedMessage(
        *told.document, told.topic, told.partition, told.offset, told.source, told.event_id, told.type, told.told_at,
        told.value, told.headers_text, rejection.code, facts,
    )  # fmt: skip


async def release(connection: Connection, document: Document, at: datetime, apply: Apply, by: str) -> int:
    """Applies what waits for a document, in its order, until one is refused; gives how many wait no more.

    Where the first waits for just what another of them says (a dispute's end for its opening), that one goes before it.
    What is refused says why, and what queued behind it keeps waiting.
    """
    await payment_store.hold_payments(connection, [held_name(document)])
    waiting = [(row.id, _told(row)) for row in await parked_store.lock_waiting(connection, document)]
    done: list[int] = []
    while waiting:
        reason = await _try(connection, waiting[0], at, apply)
        place = 0
        if reason is not None:
            place = next((each for each, (_, told) in enumerate(waiting) if each and reason in told.unblocks), 0)
            if not place or await _try(connection, waiting[place], at, apply) is not None:
                break
        done.append(waiting.pop(place)[0])
    if done:
        await parked_store.settle(connection, done, "released", at, by)
    return len(done)


async def _try(connection: Connection, waiting: tuple[int, ToldPayment], at: datetime, apply: Apply) -> str | None:
    """Gives a waiting message its effect; or the code of its rejection, which it says from now on."""
    id_, told = waiting
    (rejection,) = await apply(connection, [told], at)
    if rejection is None:
        return None
    facts = {"detail": rejection.detail, **rejection.facts}
    await parked_store.still_waiting(connection, id_, rejection.code, facts)
    return rejection.code


def _told(row: ParkedRow) -> ToldPayment:
    event = read_event(row.type, row.value)
    return ToldPayment(event, row.type, row.event_source, row.event_id, row.told_at, row.value)


async def fix(connection: Connection, organization: str, id_: int, value: bytes, note: str) -> Rejection | None:
    """Puts other words in the place of a waiting message's, about the same document; the old ones are kept."""
    row = await parked_store.lock_one(connection, organization, id_)
    if row is None:
        return reject("unknown-parked-message", id=id_)
    if row["state"] != "waiting":
        return not_waiting(row["state"])
    try:
        event = read_event(row["type"], value)
    except Poison as poison:
        return Rejection("malformed", poison.detail, errors=[Fault("/value" + poison.pointer, poison.detail)])
    if (event.organization, document_of(event)) != (organization, row["document"]):
        return reject("document-differs", document=row["document"])
    await parked_store.fix(connection, id_, value, note)
    return None


def not_waiting(state: str) -> Rejection:
    """Why it is left alone: it had its effect, or a person decided that it has none."""
    return reject("not-waiting", f"It is {state}.", state=state)
