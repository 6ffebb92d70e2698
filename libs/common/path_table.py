"""Templates of paths, found in one step per segment instead of one regular expression per route."""

from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class _Node(Generic[T]):
    __slots__ = ("literals", "parameter", "values")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        self.values: dict[str, T] = {}


class PathTable(Generic[T]):
    """A value for each method and template (`/ledgers/{ledger}`); a literal segment wins over a parameter."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, method: str, template: str, value: T) -> None:
        """Put a value in; nothing may be there yet."""
        node = self._root
        for segment in segments_of(template):
            if segment.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        assert method not in node.values, f"{method} {template} is there twice"
        node.values[method] = value

    def find(self, path: str) -> Mapping[str, T]:
        """The values at a decoded path by method; empty where there is nothing. No parameter is empty."""
        return _walk(self._root, segments_of(path), 0)


def segments_of(path: str) -> list[str]:
    """What is between the slashes; a last slash makes an empty one."""
    return path[1:].split("/")


def path_params(template: str, path: str) -> dict[str, str]:
    """The parameters of a path that was found by its template."""
    pairs = zip(template.split("/"), path.split("/"), strict=True)
    return {name[1:-1]: value for name, value in pairs if name.startswith("{")}


def _walk(node: _Node[T], segments: list[str], position: int) -> dict[str, T]:
    if position == len(segments):
        return node.values
    literal = node.literals.get(segments[position])
    if literal is not None:
        found = _walk(literal, segments, position + 1)
        if found:
            return found
    if node.parameter is not None and segments[position]:
        return _walk(node.parameter, segments, position + 1)
    return {}
