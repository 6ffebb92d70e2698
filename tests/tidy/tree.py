"""The repository as plain values: path -> text of every text file that belongs to it. The rules read nothing else.

A rule takes such a tree and gives findings, one sentence each, so that a rule is tried on a made-up tree of one file as
well as on the real one. Each rule carries a sample it must refuse and one it must let through: a rule that cannot fail
protects nothing.
"""

import ast
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

Tree = dict[str, str]

_SKIPPED_FOLDERS = frozenset(
    {".git", ".venv", ".ledgerbus", "__pycache__", "build", "dist", "htmlcov", "node_modules"}
    | {f".{tool}_cache" for tool in ("mypy", "ruff", "pytest", "import_linter")}
    | {".hypothesis"}
)
_TEXT_ENDINGS = frozenset(
    {".py", ".md", ".sql", ".json", ".yml", ".yaml", ".toml", ".sh", ".tsv", ".csv", ".ndjson", ".lock", ".txt", ".js"}
)
_TEXT_NAMES = frozenset(
    {"Makefile", "Dockerfile", "LICENSE", "run", "environment"}
    | {".importlinter", ".gitignore", ".dockerignore", ".env.example"}
)


class Rule(NamedTuple):
    """`find` gives one sentence per finding; `bad` must give at least one, `good` none."""

    name: str
    find: Callable[[Tree], Iterator[str]]
    bad: Tree
    good: Tree


class Node(NamedTuple):
    """One syntax node of one Python file."""

    path: str
    node: ast.AST

    def __str__(self) -> str:
        return f"{self.path}:{getattr(self.node, 'lineno', 1)}"


def read(root: Path) -> Tree:
    """The tree under a folder, without caches, environments and binary files."""
    tree = {}
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - _SKIPPED_FOLDERS)
        for path in (Path(folder, name) for name in sorted(files)):
            if path.suffix in _TEXT_ENDINGS or path.name in _TEXT_NAMES:
                tree[path.relative_to(root).as_posix()] = path.read_text(encoding="utf-8")
    return tree


@functools.lru_cache(maxsize=2_000)
def parsed(text: str) -> ast.Module:
    """The syntax tree of a Python file; the same text is read once."""
    return ast.parse(text)


def python(tree: Tree, *starts: str) -> Iterator[tuple[str, str]]:
    """The Python files whose path begins with one of `starts` (all where none is given)."""
    for path, text in tree.items():
        if path.endswith(".py") and (not starts or path.startswith(starts)):
            yield path, text


def nodes(tree: Tree, *starts: str) -> Iterator[Node]:
    """Every syntax node of those files."""
    for path, text in python(tree, *starts):
        for node in ast.walk(parsed(text)):
            yield Node(path, node)


def dotted(node: ast.AST) -> str:
    """`a.b.c` for a chain of names, "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        front = dotted(node.value)
        return f"{front}.{node.attr}" if front else ""
    return ""
