"""The demo, as a person runs it: twice on one fresh folder, on a stack of its own each time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden" / "trial-balances.txt"

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


def played(folder: Path) -> str:
    """What `ledgerbus demo` printed; it must end with 0."""
    finished = subprocess.run(
        [sys.executable, "-m", "libs.cli.main", "--data", str(folder), "demo"],
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def trial_balances(printed: str) -> str:
    """From the first trial balance to the line before the chain heads, without spaces at the ends of lines."""
    lines = [line.rstrip() for line in printed.splitlines()]
    first = next(number for number, line in enumerate(lines) if line.startswith("Trial balance of main"))
    last = lines.index("Chain heads")
    return "\n".join(lines[first:last]).strip() + "\n"


def test_demo_twice_posts_once_and_prints_the_committed_trial_balances(tmp_path: Path) -> None:
    first, second = played(tmp_path / "stack"), played(tmp_path / "stack")
    assert trial_balances(first) == GOLDEN.read_text(encoding="utf-8")
    assert trial_balances(second) == trial_balances(first)
    assert "3102 entries posted, 0 were there already." in first
    assert "0 entries posted, 3102 were there already." in second
    assert "98 of 98 balances equal beancount's own." in first
    for printed in (first, second):
        assert "Receivables and books say the same at sequence" in printed
    assert endings(first, " posted") == endings(second, " was there already") == 6
    assert heads(first) == heads(second)
    assert [row[:2] for row in heads(first)] == [["main", "yes"], ["journal", "yes"]]
    for word in ("gateway", "ledger", "Kafka"):
        assert word in first


def endings(printed: str, words: str) -> int:
    """How many lines end like this."""
    return sum(line.rstrip().endswith(words) for line in printed.splitlines())


def heads(printed: str) -> list[list[str]]:
    """Ledger, verdict, sequence and hash of each ledger."""
    rows = [line.split() for line in printed.partition("Chain heads")[2].splitlines()]
    return [row for row in rows if len(row) == 4 and len(row[3]) == 64]
