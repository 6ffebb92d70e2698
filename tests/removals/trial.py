"""One trial: a temporary copy of the tree without one guard, and the tests that must fail there.

    copy -> the removal is applied -> pytest on the named tests, in a process of its own -> its report -> a verdict

The copy has what git knows and what it does not ignore, as it is in the working tree. pytest runs with this
interpreter and so with its environment; the copy is the first place it imports from. What is compiled is not kept, so
that no trial meets the code of the one before.
"""

import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.removals.removal import Removal

TEST_LIMIT_S = 60
TRIAL_LIMIT_S = 900.0
SAID_CHARACTERS_MAX = 4_000


class TrialError(Exception):
    """The tests could not be run, or did not run as the list says."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a trial: the named tests that did not fail (none: the guard is noticed), seconds, what was said."""

    unmoved: tuple[str, ...]
    elapsed_s: float
    said: str


def copy_tree(repository: Path, target: Path) -> None:
    """Copies the working tree's files that git knows or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        source = repository / name
        if name and source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def check_whole(tree: Path, tests: Sequence[str], environment: Mapping[str, str]) -> float:
    """Runs the tests with every guard in place; gives the seconds. Raises TrialError where one of them fails."""
    started_s = time.monotonic()
    code, said, _ = _run_pytest(tree, tests, environment)
    if code != 0:
        raise TrialError(f"with every guard in place pytest ended with {code}:\n{said}")
    return time.monotonic() - started_s


def try_removal(tree: Path, removal: Removal, environment: Mapping[str, str]) -> Verdict:
    """Takes the guard out of the copy, runs the named tests, puts it back."""
    path, started_s = tree / removal.path, time.monotonic()
    whole = path.read_text(encoding="utf-8")
    path.write_text(removal.applied(whole), encoding="utf-8")
    try:
        code, said, failed = _run_pytest(tree, removal.tests, environment)
    finally:
        path.write_text(whole, encoding="utf-8")
    if code not in (0, 1):
        raise TrialError(f"pytest ended with {code}:\n{said}")
    unmoved = tuple(test for test in removal.tests if not any(_is_case_of(case, test) for case in failed))
    return Verdict(unmoved, time.monotonic() - started_s, said)


def _run_pytest(
    tree: Path, tests: Sequence[str], environment: Mapping[str, str]
) -> tuple[int, str, list[tuple[str, str]]]:
    """pytest's exit code, the end of what it said, and the cases that failed as (module, name)."""
    report = tree / ".removal.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", f"--junitxml={report}"]
    ended = subprocess.run(
        [*command, f"--timeout={TEST_LIMIT_S}", *tests],
        cwd=tree,
        env={**os.environ, **environment, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TRIAL_LIMIT_S,
        check=False,
    )
    cases = ElementTree.parse(report).iter("testcase") if report.exists() else ()
    failed = [(case.get("classname", ""), case.get("name", "")) for case in cases if case.find("failure") is not None]
    return ended.returncode, ended.stdout.decode(errors="replace")[-SAID_CHARACTERS_MAX:], failed


def _is_case_of(case: tuple[str, str], test: str) -> bool:
    path, _, name = test.partition("::")
    module, called = case
    return module == path.removesuffix(".py").replace("/", ".") and (called == name or called.startswith(f"{name}["))
