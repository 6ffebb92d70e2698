"""How long things may be, and what files may be called."""

import ast
import re
from collections.abc import Iterator

from tests.tidy.tree import Node, Rule, Tree, nodes, parsed, python

FUNCTION_LINES_MAX = 70
FUNCTION_LINES_USUAL = 40
FUNCTION_SHARE_USUAL = 0.95
FILE_LINES_MAX = 450
TRIVIAL_LINES = 60

_VAGUE_FILES = re.compile(
    r"(^|_)(utils?|common|helpers?|managers?|misc|shared|base|stuff|data|info|handlers?|process)(_|$)"
)
_COMMON_ONCE = re.compile(r"^(libs|tests)/common/")


def functions(tree: Tree, *starts: str) -> Iterator[tuple[Node, str, int]]:
    """Every function with its name and its length in lines, decorators left out."""
    for found in nodes(tree, *starts):
        node = found.node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield found, node.name, node.end_lineno - node.lineno + 1


def long_functions(tree: Tree) -> Iterator[str]:
    for place, name, lines in functions(tree):
        if lines > FUNCTION_LINES_MAX:
            yield f"{place}: {name} has {lines} lines, at most {FUNCTION_LINES_MAX} are allowed"


def mostly_short(tree: Tree) -> Iterator[str]:
    lengths = sorted((lines, f"{place} {name}") for place, name, lines in functions(tree, "services/", "libs/"))
    long = [where for lines, where in lengths if lines >= FUNCTION_LINES_USUAL]
    if len(long) > len(lengths) * (1 - FUNCTION_SHARE_USUAL):
        yield (
            f"{len(long)} of {len(lengths)} functions have {FUNCTION_LINES_USUAL} lines or more, "
            f"{FUNCTION_SHARE_USUAL:.0%} must be shorter: {', '.join(long)}"
        )


def long_files(tree: Tree) -> Iterator[str]:
    for path, text in python(tree):
        lines = text.count("\n")
        if lines > FILE_LINES_MAX:
            yield f"{path}: {lines} lines, at most {FILE_LINES_MAX} are allowed"


def vague_files(tree: Tree) -> Iterator[str]:
    for path in tree:
        if not path.endswith((".py", ".sql")):
            continue
        for part in _COMMON_ONCE.sub("", path).split("/"):
            stem = part.rpartition(".")[0] or part
            if _VAGUE_FILES.search(stem):
                yield f"{path}: {stem!r} names nothing; call the file by its subject"


def missing_essays(tree: Tree) -> Iterator[str]:
    for path, text in python(tree, "services/", "libs/", "bench/", "tests/"):
        if text.count("\n") > TRIVIAL_LINES and ast.get_docstring(parsed(text)) is None:
            yield f"{path}: {text.count(chr(10))} lines and no module docstring that gives shape, limits and ordering"


def missing_packages(tree: Tree) -> Iterator[str]:
    folders = {path.rpartition("/")[0] for path, _ in python(tree, "services/", "libs/", "tests/")}
    for folder in sorted(folders):
        if f"{folder}/__init__.py" not in tree:
            yield f"{folder}: Python files and no __init__.py"


def _function_of(lines: int) -> str:
    return "def long():\n" + "    x = 1\n" * (lines - 1)


RULES = [
    Rule(
        "function length",
        long_functions,
        bad={"libs/a.py": _function_of(FUNCTION_LINES_MAX + 1)},
        good={"libs/a.py": _function_of(FUNCTION_LINES_MAX)},
    ),
    Rule(
        "most functions are short",
        mostly_short,
        bad={"libs/a.py": _function_of(41) * 2 + _function_of(3) * 18},
        good={"libs/a.py": _function_of(41) + _function_of(3) * 19},
    ),
    Rule(
        "file length",
        long_files,
        bad={"libs/a.py": "\n" * (FILE_LINES_MAX + 1)},
        good={"libs/a.py": "\n" * FILE_LINES_MAX},
    ),
    Rule(
        "file names say something",
        vague_files,
        bad={"services/ledger/utils.py": "", "libs/common/date_helpers.py": "", "services/ledger/common.py": ""},
        good={"libs/common/money.py": "", "tests/common/test_money.py": ""},
    ),
    Rule(
        "modules open with an essay",
        missing_essays,
        bad={"services/ledger/writer.py": "x = 1\n" * (TRIVIAL_LINES + 1)},
        good={"services/ledger/writer.py": '"""What it is."""\n' + "x = 1\n" * TRIVIAL_LINES},
    ),
    Rule(
        "folders are packages",
        missing_packages,
        bad={"libs/new/a.py": ""},
        good={"libs/new/a.py": "", "libs/new/__init__.py": ""},
    ),
]
