"""The import contracts refuse what they are there to refuse: each tried on a copy of the source with one bad file."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LEDGER_LAYERS = "importlinter:contract:ledger-layers"
PURE = "importlinter:contract:pure"


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("libs", "services"):
        shutil.copytree(repository / folder, tmp_path / folder, ignore=ignore)
    shutil.copy(repository / ".importlinter", tmp_path)
    return tmp_path


def _lint(folder: Path) -> str:
    command = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    arguments = [sys.executable, "-c", command, "--no-cache", "--no-logo"]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "line", "contract"),
    [
        ("services/ledger/domain.py", "import services.gateway", "Services never import one another"),
        ("libs/common/money.py", "import services.ledger", "Services stand on libraries"),
        ("services/gateway/__init__.py", "import libs.devstack", "No service knows the embedded stack"),
        ("services/ledger/domain.py", "import services.ledger.store", "The ledger from its entrance down"),
        ("services/ledger/stray.py", "", "The ledger from its entrance down"),
        ("services/gateway/stray.py", "", "The gateway from its entrance down"),
        ("libs/stray/__init__.py", "", "The command stands on the embedded stack"),
        ("libs/common/stray.py", "", "The common library from what owns"),
        ("libs/common/db.py", "import libs.common.bus", "The common library from what owns"),
        ("services/ledger/rejections.py", "import time", "Pure files take values"),
        ("libs/common/journal.py", "import libs.common.clock", "Pure files take values"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(copy: Path, path: str, line: str, contract: str) -> None:
    target = copy / path
    target.parent.mkdir(exist_ok=True)
    with target.open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    said = _lint(copy)
    broken = [spoken for spoken in said.splitlines() if spoken.endswith("BROKEN")]
    assert any(spoken.startswith(contract) for spoken in broken), said


def test_all_that_lies_below_the_store_is_pure(repository: Path) -> None:
    settings = configparser.ConfigParser()
    settings.read(repository / ".importlinter", encoding="utf-8")
    lines = settings[LEDGER_LAYERS]["layers"].split("\n")
    store = next(place for place, line in enumerate(lines) if "store" in line.split(" | "))
    below = lines[store + 1 :]
    names = {name.strip() for line in below for name in line.split("|") if not name.strip().startswith("(")}
    pure = {module.rpartition(".")[2] for module in settings[PURE]["source_modules"].split() if ".ledger." in module}
    assert names == pure
