"""The list of removals against the source it is about, without trying any: `make removals` does that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.removals.catalogue import REMOVALS
from tests.removals.removal import Removal, faults
from tests.tidy import tree
from tests.tidy.tree import Tree

MADE_UP: Tree = {"a.py": "if guard:\n    refuse()\n", "test_a.py": "def test_a() -> None: ...\n"}
GOOD = Removal("good", "A guard.", "a.py", "if guard:", "if False:", ("test_a.py::test_a[x]",))


@pytest.fixture(scope="session")
def source(repository: Path) -> Tree:
    return tree.read(repository)


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.name)
def test_what_is_removed_is_there_and_so_are_its_tests(removal: Removal, source: Tree) -> None:
    assert list(faults(removal, source)) == []


def test_names_are_unique() -> None:
    assert len({removal.name for removal in REMOVALS}) == len(REMOVALS)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"path": "b.py"}, "there is no file b.py"),
        ({"old": "guard():"}, "occurs 0 times"),
        ({"old": "u"}, "occurs 2 times"),
        ({"new": "if guard:"}, "nothing is removed"),
        ({"new": "if"}, "is no Python"),
        ({"tests": ()}, "no test is named"),
        ({"tests": ("test_a.py::test_b",)}, "there is no test test_a.py::test_b"),
    ],
)
def test_a_wrong_entry_is_told(changes: dict[str, object], fault: str) -> None:
    assert list(faults(GOOD, MADE_UP)) == []
    assert fault in next(faults(GOOD._replace(**changes), MADE_UP))  # type: ignore[arg-type]


def test_every_named_case_is_collected(repository: Path) -> None:
    """pytest knows the cases by their parameters; whatever it is asked for and does not know is an error."""
    named = sorted({test for removal in REMOVALS for test in removal.tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *named]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ended = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-3_000:] + ended.stderr[-3_000:]
