"""docs/errors.md says what the code says: every code of every service with its status, and the exit codes."""

import re
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from libs.cli.exits import Exit
from services.invoicing import rejections as of_invoicing
from services.invoicing.webhook_signatures import SignatureFault
from services.ledger import rejections as of_ledger
from services.ledger.rejections import NOT_REMEMBERED

_CODE_IN_SOURCE = re.compile(
    r"""Problem\(\s*(?P<status>\d{3}),\s*"(?P<code>[a-z][a-z-]+)"|_unauthorized\("(?P<token>[a-z-]+)"|"""
    r"""^\s+(?P<mapped_status>\d{3}): \("(?P<mapped>[a-z-]+)",""",
    re.MULTILINE,
)

Table = dict[str, str]


def _section(page: str, heading: str) -> list[list[str]]:
    text = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row] for row in rows]


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "errors.md").read_text(encoding="utf-8")


SERVICES = [("Rejections of the ledger", of_ledger), ("Rejections of invoicing", of_invoicing)]


@pytest.mark.parametrize(("heading", "service"), SERVICES, ids=["ledger", "invoicing"])
def test_rejections_stand_in_order_of_precedence(page: str, heading: str, service: ModuleType) -> None:
    assert [row[0] for row in _section(page, heading)] == list(service.REJECTIONS) == list(service.PRECEDENCE)


@pytest.mark.parametrize(("heading", "service"), SERVICES, ids=["ledger", "invoicing"])
def test_rejections_have_their_status(page: str, heading: str, service: ModuleType) -> None:
    assert set(service.REJECTIONS) >= service.NOT_FOUND | service.CONFLICTS
    for code, status, *_ in _section(page, heading):
        wanted = "404" if code in service.NOT_FOUND else "409" if code in service.CONFLICTS else "422"
        assert (code, status) == (code, wanted)


def test_invoicing_keeps_no_rejection_that_it_never_gives(repository: Path) -> None:
    paths = [path for path in (repository / "services" / "invoicing").rglob("*.py") if path.name != "rejections.py"]
    source = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    assert [code for code in of_invoicing.REJECTIONS if f'"{code}"' not in source] == []


def test_rejections_that_leave_no_trace_say_so(page: str) -> None:
    silent = {row[0] for row in _section(page, "Rejections of the ledger") if row[3].endswith("Not remembered.")}
    assert silent == NOT_REMEMBERED


def _problems(repository: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for folder in ("libs/common", "services"):
        for path in sorted((repository / folder).rglob("*.py")):
            for match in _CODE_IN_SOURCE.finditer(path.read_text(encoding="utf-8")):
                code = match["code"] or match["token"] or match["mapped"]
                status = match["status"] or match["mapped_status"] or "401"
                found.setdefault(code, set()).add(status)
    return found


def test_every_problem_of_the_source_is_explained(page: str, repository: Path) -> None:
    explained = {row[0]: row[1] for row in _section(page, "Refused before the ledger looks")}
    problems = _problems(repository)
    assert len(problems) > 20, "the source is not read any more as it was"
    for code in (*of_ledger.REJECTIONS, *of_invoicing.REJECTIONS):
        problems.pop(code, None)
    assert {code: set(status.split(" or ")) for code, status in explained.items()} == problems


def test_every_fault_of_an_imported_file_is_explained(page: str, repository: Path) -> None:
    paths = [
        *(repository / "services/ledger/exchange").glob("*.py"),
        *(repository / "services/ledger").glob("import*.py"),
    ]
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    found = set(re.findall(r'"((?:[a-z0-9]+-)+[a-z0-9]+)", (?:f"|detail|fault\.|self)', text))
    found |= set(re.findall(r'"code": "([a-z-]+)"', text))
    explained = {row[0] for row in _section(page, "Lines of an import")}
    assert len(found) > 5
    assert found - {"entry-not-balanced"} <= explained
    assert all(f'"{code}"' in text for code in explained)


def test_every_refusal_of_a_webhook_is_explained(page: str) -> None:
    assert [row[0] for row in _section(page, "Webhooks that are refused")] == list(get_args(SignatureFault))


def test_exit_codes_are_the_command_s(page: str) -> None:
    assert [row[0] for row in _section(page, "Exit codes of `ledgerbus`")] == [str(int(code)) for code in Exit]
