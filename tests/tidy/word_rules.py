"""Words: what the glossary never says, what says nothing, what must not be left behind."""

import ast
import re
from collections.abc import Iterator

from tests.tidy.tree import Node, Rule, Tree, nodes

VAGUE = frozenset({"data", "info", "manager", "helper", "helpers", "util", "utils", "misc", "stuff"})
"""Say nothing; no name defined here contains one."""

STANDING = ("data_dir", "data_received", "BUILD_INFO")
"""Terms of the field: where a server's data lies, asyncio's callback, Prometheus' name for the version that runs."""

VAGUE_VERBS = frozenset({"process", "handle", "manage", "do"})
"""Say nothing as the verb a function's name begins with."""

NEVER = {
    "tenant": "organization",
    "leg": "line",
    "legs": "lines",
    "job": "event or request",
    "timestamp": "recorded_at (an instant) or effective_on (a date)",
    "remeasurement": "revaluation",
    "unallocated": "unapplied receipts",
    "txn": "entry, or db.transaction",
    "acct": "account",
    "amt": "amount",
    "qty": "quantity",
    "ccy": "currency",
    "desc": "description",
    "cfg": "settings",
}

NEVER_WHOLE = {
    "delete_entry": "reverse_entry",
    "update_entry": "reverse_entry",
    "edit_entry": "reverse_entry",
    "cancel_entry": "reverse_entry",
    "cancel_hold": "release_hold",
    "delete_hold": "release_hold",
    "created": "recorded_at",
    "created_on": "recorded_at",
    "quote_currency": "counter",
    "message_type": "event type",
    "transactions": "entries",
}
"""The glossary's "never" column, where a whole name says it."""

_KAFKA_WORDS = {"timestamp"}
_KAFKA_PLACES = re.compile(r"libs/common/(bus|consumer|messages|publisher|dead_letters)\.py")
"""Kafka's own words, where Kafka is spoken to."""

_SHORT_PATHS = ("services/ledger/short_", "tests/")
"""The compatibility paths speak the words of the systems they stand in for."""

_LEFT_BEHIND = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")


def defined_names(tree: Tree, *starts: str) -> Iterator[tuple[Node, str]]:
    """Every name these files define: functions, classes, parameters, variables and attributes."""
    for found in nodes(tree, *starts):
        node = found.node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield found, node.name
        elif isinstance(node, ast.arg):
            yield found, node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield found, node.id if isinstance(node, ast.Name) else node.attr


def words(name: str) -> list[str]:
    """The words of an identifier, in lower case: `dailyTotals` and `daily_totals` alike.

    >>> words("LedgerID_by_code")
    ['ledger', 'id', 'by', 'code']
    """
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)]


def vague_names(tree: Tree) -> Iterator[str]:
    for place, name in defined_names(tree, "services/", "libs/", "bench/"):
        standing = next((term for term in STANDING if name.endswith(term)), "")
        for word in VAGUE.intersection(words(name.removesuffix(standing))):
            yield f"{place}: {name} contains {word!r}, which says nothing"


def vague_verbs(tree: Tree) -> Iterator[str]:
    for found in nodes(tree, "services/", "libs/", "bench/"):
        if isinstance(found.node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = (words(found.node.name) or [""])[0]
            if first in VAGUE_VERBS and not found.node.name.startswith("do_"):
                yield f"{found}: {found.node.name} begins with {first!r}; name what it does"


def foreign_words(tree: Tree) -> Iterator[str]:
    for place, name in defined_names(tree, "services/", "libs/common/"):
        if place.path.startswith(_SHORT_PATHS):
            continue
        for word in words(name):
            if word in NEVER and not (word in _KAFKA_WORDS and _KAFKA_PLACES.fullmatch(place.path)):
                yield f"{place}: {name} says {word!r}; the glossary says {NEVER[word]}"
        if name in NEVER_WHOLE:
            yield f"{place}: {name}; the glossary says {NEVER_WHOLE[name]}"


def left_behind(tree: Tree) -> Iterator[str]:
    for path, text in tree.items():
        if path.endswith(".lock"):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if found := _LEFT_BEHIND.search(line):
                yield f"{path}:{number}: {found[1]} was left behind; do it, or write an issue"


RULES = [
    Rule(
        "names say something",
        vague_names,
        bad={"services/ledger/a.py": "class LedgerManager: pass\ndef f(line_data): pass\n"},
        good={"services/ledger/a.py": "class Writer: pass\ndef f(lines): database = lines\n"},
    ),
    Rule(
        "verbs say something",
        vague_verbs,
        bad={"libs/common/a.py": "async def handle_message(): pass\n"},
        good={"libs/common/a.py": "async def decode(): pass\n"},
    ),
    Rule(
        "glossary",
        foreign_words,
        bad={"services/ledger/a.py": "def f(tenant): leg = tenant\n", "libs/common/b.py": "def delete_entry(): ...\n"},
        good={"services/ledger/a.py": "def f(organization): line = organization\n"},
    ),
    Rule(
        "nothing left behind",
        left_behind,
        bad={"README.md": "TO" + "DO: write this\n"},
        good={"README.md": "What is to be done is done.\n"},
    ),
]
