"""The judgement finds what it is there to find: each row spoils one thing in a good round, made up by hand."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import orjson
import pytest

from libs.common.events import REQUEST_POSTED, REQUEST_REJECTED
from tests.reliability.evidence import Books, LogRecord, Published
from tests.reliability.judgement import judge, same_again, tally
from tests.reliability.kafka_requester import Heard, KafkaRequester
from tests.reliability.rest_clients import RestClients, Told
from tests.reliability.wishes import Wish


@dataclass(frozen=True, slots=True)
class Fact:
    """What the judgement looks at of a Kafka record."""

    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(slots=True)
class Round:
    """A round as the judgement gets it."""

    books: Books
    published: Published
    rest: RestClients
    kafka: KafkaRequester

    def findings(self) -> list[str]:
        return list(judge(self.books, self.published, self.rest, self.kafka))


def chained(bodies: list[dict[str, Any]]) -> list[LogRecord]:
    """A log with these bodies."""
    head, log = b"", []
    for sequence, body in enumerate(bodies, 1):
        body = {**body, "sequence": sequence}
        payload = orjson.dumps(body)
        head = sha256(head + payload).digest()
        log.append(LogRecord(sequence, payload, head, body))
    return log


def posted(key: str, no: int) -> dict[str, Any]:
    return {"type": "entry-posted", "request": {"key": key}, "entry": {"id": f"id-{no}"}}


def facts_of(log: list[LogRecord]) -> list[Any]:
    """The log as it should be on Kafka."""
    hashes = ["", *(record.hash.hex() for record in log)]
    return [
        Fact(record.payload, [("ce_hash", hashes[no + 1].encode()), ("ce_previoushash", hashes[no].encode())])
        for no, record in enumerate(log)
    ]


def books_of(log: list[LogRecord], cents: int = 300) -> Books:
    return Books(1, len(log), log[-1].hash, log, cents, cents)


def head_of(books: Books) -> dict[str, Any]:
    return {"epoch": books.epoch, "sequence": books.sequence, "hash": books.hash.hex()}


def good_round() -> Round:
    """One entry over REST, one over Kafka, and one wish that does not balance over each."""
    log = chained([{"type": "ledger-opened"}, posted("r-1", 1), posted("k-1", 2)])
    books = books_of(log)
    rest = RestClients([], "", "r", random.Random(1))
    rest.asked = {"r-1": Wish("r-1", {}, 100), "r-2": Wish("r-2", {}, 0)}
    rest.told = {
        "r-1": Told(201, {"id": "id-1", "sequence": 2, "hash": log[1].hash.hex()}, False, 1),
        "r-2": Told(422, {"code": "entry-not-balanced", "request_id": "a"}, False, 1),
    }
    kafka = KafkaRequester("", "o", "k", random.Random(1))
    kafka.asked = {"k-1": Wish("k-1", {}, 200), "k-2": Wish("k-2", {}, 0)}
    entry = {"id": "id-2", "sequence": 3, "hash": log[2].hash.hex()}
    first = Heard("e-1", REQUEST_POSTED.name, {"sequence": 3, "entry": entry, "replayed": False})
    kafka.heard = {
        "k-1": [first, replace(first, value={**first.value, "replayed": True})],
        "k-2": [Heard("e-2", REQUEST_REJECTED.name, {"code": "entry-not-balanced", "replayed": False})],
    }
    return Round(books, Published(facts_of(log), head_of(books)), rest, kafka)


def with_log(round_: Round, bodies: list[dict[str, Any]], cents: int = 300) -> None:
    """Another log, which Kafka has as it is."""
    log = chained(bodies)
    round_.books = books_of(log, cents)
    round_.published = Published(facts_of(log), head_of(round_.books))


def an_entry_is_gone(round_: Round) -> None:
    with_log(round_, [{"type": "ledger-opened"}, posted("k-1", 2)])


def an_entry_is_there_twice(round_: Round) -> None:
    with_log(round_, [record.body for record in round_.books.log] + [posted("r-1", 1)])


def a_stranger_s_entry_is_there(round_: Round) -> None:
    with_log(round_, [record.body for record in round_.books.log] + [posted("x-1", 9)])


def an_entry_that_does_not_balance_is_there(round_: Round) -> None:
    with_log(round_, [record.body for record in round_.books.log] + [posted("k-2", 9)])


def a_payload_was_altered(round_: Round) -> None:
    log = list(round_.books.log)
    log[1] = replace(log[1], payload=log[1].payload + b" ")
    round_.books = replace(round_.books, log=log)


def the_log_lost_its_end(round_: Round) -> None:
    round_.books = replace(round_.books, log=round_.books.log[:-1])


def a_cent_is_missing(round_: Round) -> None:
    round_.books = replace(round_.books, credits=299)


def a_wish_has_no_answer(round_: Round) -> None:
    del round_.rest.told["r-2"]


def another_sequence_was_told(round_: Round) -> None:
    told = round_.rest.told["r-1"]
    round_.rest.told["r-1"] = replace(told, body={**told.body, "sequence": 3})


def a_good_wish_was_refused(round_: Round) -> None:
    round_.rest.told["r-1"] = Told(409, {"code": "duplicate-entry-id"}, False, 2)


def a_bad_wish_was_acknowledged(round_: Round) -> None:
    round_.rest.told["r-2"] = replace(round_.rest.told["r-1"])


def the_platform_broke_inside(round_: Round) -> None:
    round_.rest.troubles["500 internal-error"] += 1


def a_request_has_no_answer(round_: Round) -> None:
    del round_.kafka.heard["k-2"]


def a_request_has_two_answers(round_: Round) -> None:
    round_.kafka.heard["k-1"].append(replace(round_.kafka.heard["k-1"][1], event_id="e-9"))


def a_request_was_told_twice_as_new(round_: Round) -> None:
    round_.kafka.heard["k-1"].append(round_.kafka.heard["k-1"][0])


def a_good_request_was_refused(round_: Round) -> None:
    round_.kafka.heard["k-1"] = [replace(round_.kafka.heard["k-2"][0], event_id="e-1")]


def kafka_lacks_a_record(round_: Round) -> None:
    facts = list(round_.published.facts)
    round_.published = replace(round_.published, facts=facts[:1] + facts[2:])


def kafka_lacks_the_end(round_: Round) -> None:
    round_.published = replace(round_.published, facts=round_.published.facts[:-1])


def kafka_has_other_bytes(round_: Round) -> None:
    facts: list[Any] = list(round_.published.facts)
    facts[1] = replace(facts[1], value=facts[1].value + b" ")
    round_.published = replace(round_.published, facts=facts)


def kafka_names_other_hashes(round_: Round) -> None:
    facts: list[Any] = list(round_.published.facts)
    facts[1] = replace(facts[1], headers=facts[0].headers)
    round_.published = replace(round_.published, facts=facts)


def the_head_on_kafka_is_behind(round_: Round) -> None:
    round_.published = replace(round_.published, head={**round_.published.head, "sequence": 2})


SPOILED: list[tuple[Callable[[Round], None], str]] = [
    (an_entry_is_gone, "r-1 was acknowledged as sequence 2 and is not there"),
    (an_entry_is_there_twice, "r-1 is in the books 2 times"),
    (a_stranger_s_entry_is_there, "nobody asked for x-1"),
    (an_entry_that_does_not_balance_is_there, "k-2 does not balance and is in the books"),
    (a_payload_was_altered, "the log breaks at sequence 2"),
    (the_log_lost_its_end, "the head says sequence 3, the log ends at 2"),
    (a_cent_is_missing, "debits are 300, credits 299"),
    (a_wish_has_no_answer, "r-2 was never answered"),
    (another_sequence_was_told, "r-1 was acknowledged as sequence 3 and is not there"),
    (a_good_wish_was_refused, "r-1 was answered 409 duplicate-entry-id"),
    (a_bad_wish_was_acknowledged, "r-2 does not balance and was answered 201"),
    (the_platform_broke_inside, "1 answers were 500 internal-error"),
    (a_request_has_no_answer, "k-2 was never answered over Kafka"),
    (a_request_has_two_answers, "k-1 was answered in 2 ways over Kafka"),
    (a_request_was_told_twice_as_new, "k-1 was told twice as new"),
    (a_good_request_was_refused, f"k-1 was answered {REQUEST_REJECTED.name} entry-not-balanced"),
    (kafka_lacks_a_record, "Kafka goes from sequence 1 to 3"),
    (kafka_lacks_the_end, "Kafka ends at sequence 2, the ledger at 3"),
    (kafka_has_other_bytes, "is not what the log has"),
    (kafka_names_other_hashes, "sequence 2 on Kafka names other hashes"),
    (the_head_on_kafka_is_behind, "the head on Kafka is (1, 2)"),
]


def test_a_good_round_has_no_findings() -> None:
    round_ = good_round()
    assert round_.findings() == []
    counted = tally(round_.books, round_.rest, round_.kafka)
    assert (counted.acknowledged, counted.rejected, counted.lost, counted.doubled) == (2, 2, [], [])


def test_a_record_that_comes_to_kafka_again_is_no_finding() -> None:
    round_ = good_round()
    facts = list(round_.published.facts)
    round_.published = replace(round_.published, facts=[*facts[:2], *facts])
    assert round_.findings() == []


@pytest.mark.parametrize(("spoil", "finding"), SPOILED, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_spoiled_is_found(spoil: Callable[[Round], None], finding: str) -> None:
    round_ = good_round()
    spoil(round_)
    found = round_.findings()
    assert any(finding in sentence for sentence in found), found


def test_lost_and_doubled_are_counted() -> None:
    round_ = good_round()
    an_entry_is_gone(round_)
    assert tally(round_.books, round_.rest, round_.kafka).lost == ["r-1"]
    round_ = good_round()
    an_entry_is_there_twice(round_)
    assert tally(round_.books, round_.rest, round_.kafka).doubled == ["r-1"]


def test_an_answer_that_changes_is_found() -> None:
    rest = good_round().rest
    again = {key: replace(told, replayed=True) for key, told in rest.told.items()}
    again["r-2"] = replace(again["r-2"], body={**again["r-2"].body, "request_id": "another"})
    assert list(same_again(rest, again)) == []
    assert list(same_again(rest, rest.told)) == [f"{key} was asked again and answered as new" for key in rest.told]
    again["r-1"] = replace(again["r-1"], body={**again["r-1"].body, "id": "id-7"})
    assert list(same_again(rest, again)) == ["r-1 was asked again and answered otherwise"]
