"""What was asked and answered, held against the books and against Kafka. Every finding is one sentence; none is good.

An acknowledged entry is one that somebody was told of: by a 201 over REST, or by request-posted over Kafka. Lost is
what was acknowledged and is not in the log; doubled is what is there twice.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from libs.common.events import REQUEST_POSTED, REQUEST_REJECTED
from tests.reliability.evidence import Books, LogRecord, Published
from tests.reliability.kafka_requester import Heard, KafkaRequester
from tests.reliability.rest_clients import RestClients, Told
from tests.reliability.wishes import Wish

REJECTED_WITH = "entry-not-balanced"


@dataclass(frozen=True, slots=True)
class Tally:
    """Keys by what became of them."""

    acknowledged: int
    rejected: int
    lost: Sequence[str]
    doubled: Sequence[str]


def tally(books: Books, rest: RestClients, kafka: KafkaRequester) -> Tally:
    """How many were acknowledged and rejected, and which keys were lost or doubled."""
    counts = Counter(record.key for record in books.log)
    acknowledged = {key for key, told in rest.told.items() if told.status == 201}
    acknowledged |= {key for key, heard in kafka.heard.items() if heard[0].type == REQUEST_POSTED.name}
    answered = len(rest.told) + len(kafka.heard)
    asked = {**rest.asked, **kafka.asked}
    return Tally(
        len(acknowledged),
        answered - len(acknowledged),
        sorted(key for key in acknowledged if counts[key] == 0),
        sorted(key for key in asked if counts[key] > 1),
    )


def judge(books: Books, published: Published, rest: RestClients, kafka: KafkaRequester) -> Iterator[str]:
    """Every finding of a round."""
    by_key: defaultdict[str, list[LogRecord]] = defaultdict(list)
    for record in books.log:
        if record.body["type"] == "entry-posted":
            by_key[record.key or ""].append(record)
    yield from log_is_whole(books)
    yield from nothing_unasked({**rest.asked, **kafka.asked}, by_key)
    yield from rest_is_kept(rest, by_key)
    yield from kafka_is_answered(kafka, by_key)
    yield from money_is_conserved(books, {**rest.asked, **kafka.asked})
    yield from facts_are_the_log(books, published)


def log_is_whole(books: Books) -> Iterator[str]:
    """Sequences from 1 to the head without a gap, each hash over the one before."""
    head = b""
    for place, record in enumerate(books.log, 1):
        head = sha256(head + record.payload).digest()
        if record.sequence != place or record.hash != head or record.body["sequence"] != place:
            yield f"the log breaks at sequence {record.sequence}, place {place}"
            return
    if (len(books.log), head) != (books.sequence, books.hash):
        yield f"the head says sequence {books.sequence}, the log ends at {len(books.log)}"


def nothing_unasked(asked: Mapping[str, Wish], by_key: Mapping[str, Sequence[LogRecord]]) -> Iterator[str]:
    """Each wish is in the books once at most, those that cannot be posted never, and nothing else is there."""
    for key, records in by_key.items():
        wish = asked.get(key)
        if wish is None:
            yield f"nobody asked for {key}, posted as {records[0].sequence}"
        elif not wish.can_be_posted:
            yield f"{key} does not balance and is in the books as {records[0].sequence}"
        elif len(records) > 1:
            yield f"{key} is in the books {len(records)} times"


def rest_is_kept(rest: RestClients, by_key: Mapping[str, Sequence[LogRecord]]) -> Iterator[str]:
    """Every wish over REST has its answer, and the books have what the answer says."""
    yield from (f"{key} was never answered" for key in rest.asked.keys() - rest.told.keys())
    if rest.troubles["500 internal-error"]:
        yield f"{rest.troubles['500 internal-error']} answers were 500 internal-error"
    for key, told in rest.told.items():
        if not rest.asked[key].can_be_posted:
            if (told.status, told.body.get("code")) != (422, REJECTED_WITH):
                yield f"{key} does not balance and was answered {told.status} {told.body.get('code')}"
        elif told.status != 201:
            yield f"{key} was answered {told.status} {told.body.get('code')}"
        elif not any(_is(record, told.body) for record in by_key.get(key, ())):
            yield f"{key} was acknowledged as sequence {told.body['sequence']} and is not there"


def kafka_is_answered(kafka: KafkaRequester, by_key: Mapping[str, Sequence[LogRecord]]) -> Iterator[str]:
    """Every request has one answer, however often it came, and the books have what it says."""
    yield from (f"{key} was never answered over Kafka" for key in kafka.asked.keys() - kafka.heard.keys())
    for key, heard in kafka.heard.items():
        first = heard[0]
        if len({_content(one) for one in heard}) > 1:
            yield f"{key} was answered in {len({_content(one) for one in heard})} ways over Kafka"
        if sum(not one.value["replayed"] for one in heard) > 1:
            yield f"{key} was told twice as new"
        wanted = REQUEST_POSTED.name if kafka.asked[key].can_be_posted else REQUEST_REJECTED.name
        if first.type != wanted:
            yield f"{key} was answered {first.type} {first.value.get('code')}"
        elif wanted == REQUEST_POSTED.name and not any(
            _is(record, first.value["entry"]) and first.value["sequence"] == record.sequence
            for record in by_key.get(key, ())
        ):
            yield f"{key} was acknowledged over Kafka as sequence {first.value['sequence']} and is not there"


def same_again(rest: RestClients, again: Mapping[str, Told]) -> Iterator[str]:
    """A wish that is asked again after everything gets the answer it had, marked as replayed."""
    for key, told in again.items():
        first = rest.told[key]
        if not told.replayed:
            yield f"{key} was asked again and answered as new"
        if told.status != first.status or _lasting(told.body) != _lasting(first.body):
            yield f"{key} was asked again and answered otherwise"


def money_is_conserved(books: Books, asked: Mapping[str, Wish]) -> Iterator[str]:
    """Debits and credits over all accounts are the sum of what was asked for and can be posted, to the cent."""
    wanted = sum(wish.cents for wish in asked.values())
    if not books.debits == books.credits == wanted:
        yield f"debits are {books.debits}, credits {books.credits}, asked for and answered were {wanted} cents"


def facts_are_the_log(books: Books, published: Published) -> Iterator[str]:
    """Kafka has every log record at least once, first occurrences in order, byte by byte; the head is the ledger's."""
    last, head = 0, b""
    for fact in published.facts:
        sequence = orjson.loads(fact.value)["sequence"]
        if sequence > len(books.log) or fact.value != books.log[sequence - 1].payload:
            yield f"sequence {sequence} on Kafka is not what the log has"
            return
        headers = dict(fact.headers)
        previous = books.log[sequence - 2].hash if sequence > 1 else b""
        if (headers["ce_hash"], headers["ce_previoushash"]) != (
            books.log[sequence - 1].hash.hex().encode(),
            previous.hex().encode(),
        ):
            yield f"sequence {sequence} on Kafka names other hashes than the log"
        if sequence > last + 1:
            yield f"Kafka goes from sequence {last} to {sequence}"
            return
        if sequence == last + 1:
            last, head = sequence, sha256(head + fact.value).digest()
    if (last, head) != (books.sequence, books.hash):
        yield f"Kafka ends at sequence {last}, the ledger at {books.sequence}"
    said = (published.head.get("epoch"), published.head["sequence"], published.head.get("hash"))
    if said != (books.epoch, books.sequence, books.hash.hex()):
        yield f"the head on Kafka is {said[:2]}, the ledger's is {(books.epoch, books.sequence)}"


def _is(record: LogRecord, told: Mapping[str, Any]) -> bool:
    """Whether a record is the entry that an answer tells of."""
    return (record.body["entry"]["id"], record.sequence, record.hash.hex()) == (
        told["id"],
        told["sequence"],
        told["hash"],
    )


def _content(heard: Heard) -> bytes:
    """An answer without the mark that tells a repetition."""
    value = {**heard.value, "replayed": None}
    return orjson.dumps([heard.event_id, heard.type, value], option=orjson.OPT_SORT_KEYS)


def _lasting(body: Mapping[str, Any]) -> dict[str, Any]:
    """An answer without what names the single exchange."""
    return {name: value for name, value in body.items() if name not in ("request_id", "trace_id")}
