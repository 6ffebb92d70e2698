"""What tests may do: no mocks, no patches, nothing skipped in silence, each in a folder that says what it proves."""

import ast
import re
from collections.abc import Iterator

from tests.tidy.tree import Rule, Tree, dotted, nodes, python

FOLDERS = frozenset(
    {"common", "devstack", "cli", "ledger", "gateway", "invoicing", "recon", "fx"}
    | {"contracts", "flows", "properties", "reliability", "deploy", "docs", "removals", "support", "tidy"}
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


def ends_strangers(tree: Tree) -> Iterator[str]:
    for path, text in tree.items():
        if not path.startswith("tests/") or path == "tests/support/postgres.py" or path.startswith("tests/tidy/"):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if "pg_terminate_backend(pid)" in line:
                yield f"{path}:{number}: ends connections of other workers' databases too; use end_connections"


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
        "a test ends the connections of its own database alone",
        ends_strangers,
        bad={"tests/ledger/test_a.py": "SQL = 'select pg_terminate_backend(pid) from pg_stat_activity'\n"},
        good={"tests/ledger/test_a.py": "await end_connections(database.admin, 'test-auditor')\n"},
    ),
]
