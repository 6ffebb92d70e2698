"""Many clients, two books, one ledger: what they were told fits the log and real time. And whoever says so is tested.

`python -m tests.properties.history_clients` gathers more histories.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import pytest

from libs.common.metrics import LEDGER_SERIALIZATION_RETRIES
from tests.properties.history_checker import Chart, Logged, Part, Told, findings
from tests.properties.history_clients import CHART, gather_history
from tests.properties.model_play import Place, place_at
from tests.support.postgres import PostgresServer

SEEDS = range(1, 6)


@pytest.fixture(scope="session")
async def place(postgres: PostgresServer, ledger_template: str) -> AsyncIterator[Place]:
    """One database, with a new ledger for each history."""
    async with place_at(postgres, ledger_template) as made:
        yield made


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_many_clients_are_told_fits_the_order_of_the_log(place: Place, seed: int) -> None:
    lost = LEDGER_SERIALIZATION_RETRIES._value.get()
    told, log = await gather_history(place, seed)
    assert not list(findings(CHART, told, log))
    assert LEDGER_SERIALIZATION_RETRIES._value.get() > lost, "the two books never met"
    assert {answer.kind for answer in told} == {"write", "dry-run", "read"}
    assert {"insufficient-funds", None} <= {answer.code for answer in told}


async def test_a_real_history_with_two_answers_exchanged_or_a_record_lost_is_found(place: Place) -> None:
    told, log = await gather_history(place, 99)
    first, second = [place for place, answer in enumerate(told) if answer.kind == "write" and answer.sequence][:2]
    exchanged = list(told)
    exchanged[first] = replace(told[first], sequence=told[second].sequence)
    exchanged[second] = replace(told[second], sequence=told[first].sequence)
    assert list(findings(CHART, exchanged, log))
    assert list(findings(CHART, told, log[:9] + log[10:]))


# --- a small history, doctored in one way each ------------------------------------------------------------------------

SMALL = Chart({"BANK": "debit", "ALICE": "credit"}, frozenset({"ALICE"}))


def deposit(sequence: int, key: str, amount: int, after: int) -> Logged:
    return Logged(sequence, key, [Part("BANK", "debit", amount, after), Part("ALICE", "credit", amount, after)])


def spending(sequence: int, key: str, amount: int, after: int) -> Logged:
    return Logged(sequence, key, [Part("ALICE", "debit", amount, after), Part("BANK", "credit", amount, after)])


LOG = [
    Logged(1, ""),
    deposit(2, "first", 10, 10),
    deposit(3, "second", 5, 15),
    Logged(4, "held", pending=[Part("ALICE", "debit", 3), Part("BANK", "credit", 3)]),
    spending(5, "third", 12, 3),
]
TOLD = {
    "first": Told("write", "first", 1.0, 2.0, 2),
    "second": Told("write", "second", 3.0, 4.0, 3),
    "held": Told("write", "held", 5.0, 6.0, 4, needs={"ALICE": 3}),
    "read": Told("read", "read", 6.1, 6.2, 4, balances={"BANK": 15, "ALICE": -15}),
    "third": Told("write", "third", 7.0, 9.0, 5, needs={"ALICE": 12}),
    "again": Told("write", "first", 9.1, 9.2, 2, replayed=True),
    "early": Told("write", "early", 2.1, 2.2, code="insufficient-funds", needs={"ALICE": 11}),
    "late": Told("write", "late", 8.0, 9.5, code="insufficient-funds", needs={"ALICE": 1}),
    "tried": Told("dry-run", "tried", 7.5, 8.5, needs={"ALICE": 12}),
}


@dataclass(frozen=True)
class Doctored:
    """What is done to the history, and a part of what has to be found."""

    found: str
    answers: Callable[[dict[str, Told]], dict[str, Told]] = lambda told: told
    log: Callable[[list[Logged]], list[Logged]] = lambda log: log


def told_as(name: str, **changes: object) -> Callable[[dict[str, Told]], dict[str, Told]]:
    """One answer otherwise."""
    return lambda told: {**told, name: replace(told[name], **changes)}  # type: ignore[arg-type] # as each case has them


def logged_as(sequence: int, record: Logged) -> Callable[[list[Logged]], list[Logged]]:
    """One record otherwise."""
    return lambda log: [record if old.sequence == sequence else old for old in log]


DOCTORED = [
    Doctored("the log has sequence 4 at place 3", log=lambda log: log[:2] + log[3:]),
    Doctored("the log has sequence 3 at place 2", log=lambda log: [log[0], log[2], log[1], *log[3:]]),
    Doctored("first was told 3, the log has it at 2", told_as("first", sequence=3)),
    Doctored("second was told 3, the log has it at None", log=logged_as(3, Logged(3, ""))),
    Doctored("late was told insufficient-funds, the log has it at 4", log=logged_as(4, Logged(4, "late"))),
    Doctored("first was posted 2 times", log=logged_as(3, deposit(3, "first", 5, 15))),
    Doctored("nobody is in the log", log=logged_as(4, Logged(4, "nobody"))),
    Doctored("second became 3 after 4 was answered", told_as("held", began_s=1.0, answered_s=2.5)),
    Doctored("third became 5 after 5 was answered", told_as("read", sequence=5)),
    Doctored("read read 3 after 4 was answered", told_as("read", sequence=3)),
    Doctored("read read what was not so", told_as("read", balances={"BANK": 14, "ALICE": -14})),
    Doctored("balances that add up to 1", told_as("read", balances={"BANK": 16, "ALICE": -15})),
    Doctored("which is beyond the log", told_as("read", sequence=6)),
    Doctored("3 leaves BANK at 14", log=logged_as(3, deposit(3, "second", 5, 14))),
    Doctored("5 leaves ALICE with -1 available", log=logged_as(5, spending(5, "third", 13, 2))),
    Doctored("early was told insufficient-funds", told_as("early", needs={"ALICE": 10})),
    Doctored("late was told insufficient-funds", told_as("late", began_s=6.5, answered_s=6.9)),
    Doctored("tried was told it would do", told_as("tried", needs={"ALICE": 13})),
    Doctored("tried was told it would do", told_as("tried", began_s=9.3, answered_s=9.4)),
]


def test_the_small_history_fits() -> None:
    assert not list(findings(SMALL, list(TOLD.values()), LOG))


@pytest.mark.parametrize("doctored", DOCTORED, ids=lambda doctored: doctored.found)
def test_a_doctored_history_is_found(doctored: Doctored) -> None:
    found = list(findings(SMALL, list(doctored.answers(TOLD).values()), doctored.log(LOG)))
    assert any(doctored.found in finding for finding in found), found
