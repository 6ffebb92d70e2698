"""Processor time of each part of the stack, and of the load itself, for one entry.

It says where the time goes, and it varies less than the machine's speed does: what waits costs nothing here.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psutil

from bench.report import Report

PARTS: Final = ("ledger", "gateway", "postgres", "kafka")
LOAD: Final = "load"


@dataclass(slots=True)
class Run:
    """One run; `entries` is filled in while it goes on."""

    entries: int = 0


class Processors:
    """Adds up what the parts used in the runs of one measurement; `tell` puts it into the report and begins anew."""

    def __init__(self, status: Mapping[str, Any], parts: Sequence[str] = PARTS, unit: str = "us/entry") -> None:
        self._unit = unit
        self._parts = {name: psutil.Process(status[name]["pid"]) for name in parts} | {LOAD: psutil.Process()}
        self._seen_s: dict[str, dict[int, float]] = {name: {} for name in self._parts}
        self._spent_us: dict[str, list[float]] = {name: [] for name in self._parts}

    @contextmanager
    def run(self) -> Iterator[Run]:
        """What is used until the block ends is that of its entries."""
        run, before = Run(), self._used_s()
        yield run
        after = self._used_s()
        for name, spent in self._spent_us.items():
            spent.append((after[name] - before[name]) / run.entries * 1_000_000)

    def tell(self, report: Report, name: str) -> None:
        """Adds a figure for each part."""
        for part, spent in self._spent_us.items():
            report.add(f"{name}: {part}", spent, self._unit)
        self._spent_us = {part: [] for part in self._parts}

    def _used_s(self) -> dict[str, float]:
        """Seconds since each part's start, its children's too, also of those that ended meanwhile."""
        for name, process in self._parts.items():
            for one in (process, *process.children(recursive=True)) if name != LOAD else (process,):
                try:
                    times = one.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                self._seen_s[name][one.pid] = times.user + times.system
        return {name: sum(seen.values()) for name, seen in self._seen_s.items()}
