"""A guard, how it is taken away, and the tests that must fail then."""

import ast
from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Removal(NamedTuple):
    """`old` occurs exactly once in the file `path` and becomes `new`; every one of `tests` must fail then.

    `guard` says in a sentence what is taken away. `tests` are pytest's node ids; one without parameters counts as
    failed where any of its cases fails.
    """

    name: str
    guard: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """The file without the guard."""
        return text.replace(self.old, self.new)


def faults(removal: Removal, tree: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with an entry of the list, for the texts of the repository's files by their paths."""
    text = tree.get(removal.path)
    if text is None:
        yield f"{removal.name}: there is no file {removal.path}"
        return
    if (count := text.count(removal.old)) != 1:
        yield f"{removal.name}: the text to remove occurs {count} times in {removal.path}, not once"
    elif removal.applied(text) == text:
        yield f"{removal.name}: nothing is removed"
    elif removal.path.endswith(".py"):
        try:
            ast.parse(removal.applied(text))
        except SyntaxError as error:
            yield f"{removal.name}: what is left of {removal.path} is no Python: {error}"
    if not removal.tests:
        yield f"{removal.name}: no test is named"
    for test in removal.tests:
        path, _, function = test.partition("::")
        if f"def {function.partition('[')[0]}(" not in tree.get(path, ""):
            yield f"{removal.name}: there is no test {test}"
