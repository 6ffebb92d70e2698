"""What many clients asked and were told, held against the ledger's log: does it all fit one order, the log's own? Pure.

Strict serializability, ledger by ledger: the log is the serial order; every answer has a place in it (the sequence it
names); and the places agree with real time: whatever was answered before something else began stands before it. A read
and a rejection are of one state of that order, of the time they were asked in. Every finding is one sentence.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal, NamedTuple

INFINITE = 2**62


class Part(NamedTuple):
    """A line, or a part of what is pending. Minor units; `balance_after` as the log has it, of posted lines alone."""

    account: str
    side: str
    amount: int
    balance_after: int = 0


@dataclass(frozen=True)
class Logged:
    """One record of the log: the lines it posts, and by how much it moves what is pending."""

    sequence: int
    key: str
    lines: Sequence[Part] = ()
    pending: Sequence[Part] = ()


@dataclass(frozen=True)
class Told:
    """One answer, with the times (seconds of one clock) at which it was asked for and given.

    `sequence`: of a write its last record, of a read the one it is true at, 0 where nothing was posted. `needs` is what
    was to be available, of what can be short of it. `balances` are debits less credits.
    """

    kind: Literal["write", "dry-run", "read"]
    key: str
    began_s: float
    answered_s: float
    sequence: int = 0
    code: str | None = None
    replayed: bool = False
    needs: Mapping[str, int] = field(default_factory=dict)
    balances: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Chart:
    """Normal sides by account, and the accounts that have no overdraft."""

    normal: Mapping[str, str]
    without_overdraft: frozenset[str]


def findings(chart: Chart, told: Sequence[Told], log: Sequence[Logged]) -> Iterator[str]:
    """Everything that does not fit."""
    yield from is_gapless(log)
    yield from is_there_once(told, log)
    yield from agrees_with_real_time(told)
    states = States(chart)
    yield from states.replay(log)
    yield from reads_are_states(told, states)
    yield from verdicts_are_of_their_time(told, states)


def is_gapless(log: Sequence[Logged]) -> Iterator[str]:
    """Sequences from 1 on, each once."""
    for place, record in enumerate(log, 1):
        if record.sequence != place:
            yield f"the log has sequence {record.sequence} at place {place}"
            return


def is_there_once(told: Sequence[Told], log: Sequence[Logged]) -> Iterator[str]:
    """What was accepted is in the log under the sequence that was told, once; what was not accepted is not there."""
    last = {record.key: record.sequence for record in log}
    entries = Counter(record.key for record in log if record.lines)
    for key, count in entries.items():
        if count > 1:
            yield f"{key} was posted {count} times"
    writes = [answer for answer in told if answer.kind == "write"]
    accepted = {answer.key for answer in writes if answer.code is None}
    for answer in writes:
        if answer.code is None and last.get(answer.key) != answer.sequence:
            yield f"{answer.key} was told {answer.sequence}, the log has it at {last.get(answer.key)}"
        if answer.code is not None and answer.key in last:
            yield f"{answer.key} was told {answer.code}, the log has it at {last[answer.key]}"
    yield from (f"{key} is in the log and was never told" for key in last if key and key not in accepted)


def agrees_with_real_time(told: Sequence[Told]) -> Iterator[str]:
    """Whoever began after an answer stands behind it: a write has a higher sequence, a read sees it."""
    before = Floors(told)
    for answer in told:
        floor = before.at(answer.began_s)
        if answer.kind == "read" and answer.sequence < floor:
            yield f"{answer.key} read {answer.sequence} after {floor} was answered"
        if answer.kind == "write" and answer.sequence and not answer.replayed and answer.sequence <= floor:
            yield f"{answer.key} became {answer.sequence} after {floor} was answered"


class Floors:
    """The highest sequence that anybody was told of by a time."""

    def __init__(self, told: Sequence[Told]) -> None:
        by_time = sorted((answer.answered_s, answer.sequence) for answer in told)
        self._times = [answered_s for answered_s, _ in by_time]
        self._highest = list(accumulate((sequence for _, sequence in by_time), max))

    def at(self, time_s: float) -> int:
        """Of what was answered before."""
        place = bisect_left(self._times, time_s)
        return self._highest[place - 1] if place else 0


class Ceilings:
    """The lowest sequence of the writes that began after a time: nothing asked before can have seen it."""

    def __init__(self, told: Sequence[Told]) -> None:
        made = (answer for answer in told if answer.kind == "write" and answer.sequence and not answer.replayed)
        by_time = sorted(((answer.began_s, answer.sequence) for answer in made), reverse=True)
        self._times = [began_s for began_s, _ in by_time][::-1]
        self._lowest = list(accumulate((sequence for _, sequence in by_time), min))[::-1]

    def at(self, time_s: float) -> int:
        """Of what began later."""
        place = bisect_right(self._times, time_s)
        return self._lowest[place] if place < len(self._times) else INFINITE


class States:
    """Every account after every record: debits less credits, and what is available."""

    def __init__(self, chart: Chart) -> None:
        self._chart = chart
        self._posted: defaultdict[str, int] = defaultdict(int)
        self._out: defaultdict[str, int] = defaultdict(int)
        self.balances: list[dict[str, int]] = [{}]
        self.available: list[dict[str, int]] = [{}]

    def replay(self, log: Sequence[Logged]) -> Iterator[str]:
        """Adds the log up; what its lines say of balances has to be the sum, and nothing is overdrawn."""
        for record in log:
            for line in record.lines:
                self._posted[line.account] += line.amount if line.side == "debit" else -line.amount
                if line.balance_after != self._on_normal_side(line.account):
                    yield f"{record.sequence} leaves {line.account} at {line.balance_after}, the lines add up otherwise"
            for part in record.pending:
                if part.side != self._chart.normal[part.account]:
                    self._out[part.account] += part.amount
            self.balances.append(dict(self._posted))
            available = {code: self._on_normal_side(code) - self._out[code] for code in self._chart.normal}
            self.available.append(available)
            for code in self._chart.without_overdraft:
                if available[code] < 0 and not _inside_a_capture(record):
                    yield f"{record.sequence} leaves {code} with {available[code]} available"

    def _on_normal_side(self, code: str) -> int:
        return self._posted[code] if self._chart.normal[code] == "debit" else -self._posted[code]


def _inside_a_capture(record: Logged) -> bool:
    """What a capture lifts is posted by the record behind it."""
    return not record.lines and any(part.amount < 0 for part in record.pending)


def reads_are_states(told: Sequence[Told], states: States) -> Iterator[str]:
    """What was read is what the log adds up to at the sequence that the read names, and comes to nothing in all."""
    for answer in told:
        if answer.kind != "read":
            continue
        if sum(answer.balances.values()):
            yield f"{answer.key} read balances that add up to {sum(answer.balances.values())}"
        if answer.sequence >= len(states.balances):
            yield f"{answer.key} read {answer.sequence}, which is beyond the log"
            continue
        state = states.balances[answer.sequence]
        if any(balance != state.get(code, 0) for code, balance in answer.balances.items()):
            yield f"{answer.key} read what was not so at {answer.sequence}"


def verdicts_are_of_their_time(told: Sequence[Told], states: States) -> Iterator[str]:
    """Who was refused for want of money was short of it, and whose dry run passed had it, at some moment meanwhile."""
    before, after = Floors(told), Ceilings(told)
    for answer in told:
        short = answer.code == "insufficient-funds"
        if answer.replayed or not answer.needs or not (short or (answer.kind == "dry-run" and answer.code is None)):
            continue
        last = min(after.at(answer.answered_s), len(states.available))
        seen = states.available[before.at(answer.began_s) : last]
        if not any(_is_short(state, answer.needs) == short for state in seen):
            yield f"{answer.key} was told {answer.code or 'it would do'}, which was never so meanwhile"


def _is_short(state: Mapping[str, int], needs: Mapping[str, int]) -> bool:
    return any(state.get(code, 0) < amount for code, amount in needs.items())
