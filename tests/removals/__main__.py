"""Takes each guard out in turn and sees that a test notices.

    python -m tests.removals [name ...] [--list]

One PostgreSQL and one Kafka are started for all trials (or taken from BACKEND as the tests do). First the named tests
run with every guard in place; then each removal is tried by itself. The exit code is 0 where every removal was noticed,
1 where one was not, 2 where the list itself is wrong.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.removals.catalogue import REMOVALS
from tests.removals.removal import Removal, faults
from tests.removals.trial import TrialError, check_whole, copy_tree, try_removal
from tests.support import run
from tests.tidy import tree as source

REPOSITORY = Path(__file__).resolve().parents[2]


def _chosen(names: Sequence[str]) -> list[Removal]:
    unknown = set(names) - {removal.name for removal in REMOVALS}
    if unknown:
        raise TrialError(f"no removal is called {', '.join(sorted(unknown))}")
    return [removal for removal in REMOVALS if not names or removal.name in names]


def _try_all(removals: Sequence[Removal], folder: Path) -> int:
    """Prints a row per removal; gives how many were not noticed."""
    copy_tree(REPOSITORY, folder)
    environment = {
        "BACKEND": "external",
        "LEDGERBUS_TEST_POSTGRES_DSN": run.need("postgres").address,
        "LEDGERBUS_TEST_KAFKA_BOOTSTRAP": run.need("kafka").address,
    }
    width = max(len(removal.name) for removal in removals)
    tests = sorted({test for removal in removals for test in removal.tests})
    print(
        f"{'(nothing)':{width}}  {check_whole(folder, tests, environment):5.1f} s  {len(tests)} tests pass", flush=True
    )
    missed = 0
    for removal in removals:
        verdict = try_removal(folder, removal, environment)
        told = "NOT NOTICED by " + ", ".join(verdict.unmoved) if verdict.unmoved else "noticed"
        print(f"{removal.name:{width}}  {verdict.elapsed_s:5.1f} s  {told}", flush=True)
        if verdict.unmoved:
            missed += 1
            print(verdict.said, file=sys.stderr)
    print(f"{len(removals)} guards removed in turn, {missed} not noticed")
    return missed


def main(arguments: Sequence[str]) -> int:
    """Gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.removals", description="Shows that each guard matters.")
    parser.add_argument("names", nargs="*", metavar="name", help="which removals (all where none is named)")
    parser.add_argument("--list", action="store_true", help="name the removals and what each guard is, try none")
    chosen = parser.parse_args(arguments)
    try:
        removals = _chosen(chosen.names)
        if chosen.list:
            for removal in removals:
                print(f"{removal.name}: {removal.guard} ({removal.path})")
            return 0
        files = source.read(REPOSITORY)
        wrong = [fault for removal in removals for fault in faults(removal, files)]
        if wrong:
            raise TrialError("\n".join(wrong))
        run.begin()
        try:
            with tempfile.TemporaryDirectory(prefix="ledgerbus-removals-") as folder:
                return 1 if _try_all(removals, Path(folder)) else 0
        finally:
            run.end()
    except TrialError as broken:
        print(broken, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
