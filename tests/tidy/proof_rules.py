"""What tests may do: no mocks, no patches, nothing skipped in silence, each in a folder that says what it proves."""

import ast
import re
from collections.abc import Iterator

from tests.tidy.tree import Node, Rule, Tree, dotted, nodes, python

FOLDERS = frozenset(
    {"common", "devstack", "cli", "ledger", "gateway", "invoicing", "recon", "fx"}
    | {"contracts", "flows", "properties", "reliability", "deploy", "docs", "support", "tidy"}
)
"""The first row mirrors the source, the second says what kind of proof it is."""


def patches(tree: Tree) -> Iterator[str]:
    for found in nodes(tree, "tests/", "services/", "libs/"):
        node = found.node
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if any(re.search(r"\bmock\b|pytest_mock|freezegun", name) for name in names):
                yield f"{found}: a mock library; put a real part or a seam there"
        if isinstance(node, ast.arg) and node.arg in {"monkeypatch", "mocker"}:
            yield f"{found}: {node.arg}; pass the value as an argument instead of patching it in"


def silent_skips(tree: Tree) -> Iterator[str]:
    for found in nodes(tree, "tests/"):
        node = found.node
        if isinstance(node, ast.Attribute) and dotted(node) in {
            "pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail", "pytest.xfail",
        }:  # fmt: skip
            yield f"{found}: {dotted(node)}; call pytest.skip('not run: ...') where the test finds out"
        if isinstance(node, ast.Call) and dotted(node.func) in {"pytest.skip", "pytest.importorskip"}:
            given = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
            reason: ast.expr | None = (given + node.args[:1] + [None])[0]
            if isinstance(reason, ast.JoinedStr) and reason.values:
                reason = reason.values[0]
            if not (isinstance(reason, ast.Constant) and str(reason.value).startswith("not run: ")):
                yield f"{found}: a skip whose reason does not begin with 'not run: '"


def strange_folders(tree: Tree) -> Iterator[str]:
    for path, _ in python(tree, "tests/"):
        parts = path.split("/")
        if len(parts) > 2 and parts[1] not in FOLDERS:
            yield f"{path}: tests/{parts[1]} is none of the folders that mirror the source or name a kind of proof"


def _is_fixture(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    marks = [mark.func if isinstance(mark, ast.Call) else mark for mark in node.decorator_list]
    return any(dotted(mark).endswith("fixture") for mark in marks)


def _arguments(tree: Tree, *, fixtures: bool) -> Iterator[tuple[Node, str, set[str]]]:
    for found in nodes(tree):
        node = found.node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_fixture(node) == fixtures:
            yield found, node.name, {arg.arg for arg in node.args.args + node.args.kwonlyargs}


def _needed(names: set[str], fixtures: dict[str, set[str]]) -> set[str]:
    """Every fixture that these need, directly or by another."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += fixtures.get(name, ())
    return found


def markers_of_real_parts(tree: Tree) -> Iterator[str]:
    wanted = {"postgres": "database", "kafka": "kafka"}
    tests = {path: text for path, text in python(tree, "tests/") if not path.startswith("tests/tidy/")}
    for path, text in tests.items():
        folder, _, file = path.rpartition("/")
        if not file.startswith("test_"):
            continue
        near = {other: tests[other] for other in tests if other in {path, "tests/conftest.py", f"{folder}/conftest.py"}}
        fixtures = {name: arguments for _, name, arguments in _arguments(near, fixtures=True)}
        for found, name, arguments in _arguments({path: text}, fixtures=False):
            missing = [
                mark
                for fixture, mark in wanted.items()
                if fixture in _needed(arguments, fixtures) and f"mark.{mark}" not in text and "mark.stack" not in text
            ]
            if name.startswith("test_") and missing:
                yield f"{found}: {name} uses a real part and is not marked {' and '.join(missing)}"


RULES = [
    Rule(
        "no mocks, no patches",
        patches,
        bad={"tests/a.py": "from unittest import mock\ndef test_a(monkeypatch): ...\n"},
        good={"tests/a.py": "import pytest\ndef test_a(postgres): ...\n"},
    ),
    Rule(
        "nothing is skipped in silence",
        silent_skips,
        bad={"tests/a.py": "@pytest.mark.skip\ndef test_a(): pytest.skip('later')\n"},
        good={"tests/a.py": "def test_a(): pytest.skip(f'not run: no {tool}')\n"},
    ),
    Rule(
        "test folders mirror the source",
        strange_folders,
        bad={"tests/various/test_a.py": ""},
        good={"tests/ledger/test_domain.py": "", "tests/test_tidy.py": ""},
    ),
    Rule(
        "real parts are marked",
        markers_of_real_parts,
        bad={
            "tests/ledger/conftest.py": "@pytest.fixture(scope='session')\ndef books(postgres): ...\n",
            "tests/ledger/test_a.py": "async def test_a(books): ...\n",
        },
        good={"tests/ledger/test_a.py": "pytestmark = pytest.mark.database\nasync def test_a(postgres): ...\n"},
    ),
]
