"""A realistic journal that nobody here wrote: the output of beancount's generator `bean-example`, the same every time.

It invents years of somebody's money: salary, taxes, rent, groceries, retirement accounts, shares bought and sold.
"""

import subprocess
import sys
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from libs.cli.beancount_journal import Unconvertible

SEED: Final = 7
BEGIN: Final = date(2018, 1, 1)
END: Final = date(2025, 12, 31)
BIRTH: Final = date(1980, 5, 12)

FOLDER: Final = "examples"
"""Below a stack's data folder, where the demo keeps what it generated."""

_PROGRAM = "from beancount.scripts.example import main; main()"


def kept_in(data_dir: Path) -> Path:
    """The demo's journal below a data folder; another version of beancount may invent another one.

    Raises Unconvertible without beancount.
    """
    try:
        found = version("beancount")
    except PackageNotFoundError as absent:
        raise Unconvertible("beancount is not installed: install the project with its extra 'dev'") from absent
    return data_dir / FOLDER / f"bean-example-{found}-{SEED}-{BEGIN}-{END}.beancount"


def write(path: Path, *, seed: int = SEED, begin: date = BEGIN, end: date = END) -> None:
    """Generates the journal into `path`, unless the file is there already. Raises Unconvertible without beancount."""
    if path.exists():
        return
    dates = ["--date-begin", str(begin), "--date-end", str(end), "--date-birth", str(BIRTH)]
    command = [sys.executable, "-c", _PROGRAM, "--seed", str(seed), *dates]
    finished = subprocess.run(command, capture_output=True, check=False)
    if finished.returncode != 0:
        reason = finished.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise Unconvertible(f"bean-example failed ({reason[0]}): install the project with its extra 'dev'")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(finished.stdout)
    part.replace(path)
