"""Amounts of the short paths: a JSON number is taken for the decimal text it is written as, never for a float.

`exact_amounts` gives a parsed body back with the numbers at named places turned into text. The body is read a second
time for that, with numbers kept as they stand in it, and only where such a place holds one. A number's own zeros behind
the point say nothing (1500.0 is what a whole float is written as) and are left out; an exponent is refused, so that
nothing grows. All other numbers stay what they are: a name that is a number is as wrong here as anywhere.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from libs.common.errors import Fault

EVERY: Final = "*"
"""A step of a place that stands for each item of a list."""

Place = Sequence[str]

_PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class _Number(NamedTuple):
    text: str


def exact_amounts(raw: bytes, value: Any, places: Sequence[Place]) -> tuple[Any, list[Fault]]:
    """`value`, which `raw` was parsed into, with the numbers at `places` as text, and what is wrong with them."""
    if not any(_is_number(container[step]) for place in places for _, container, step in _found(value, place)):
        return value, []
    exact = json.loads(raw, parse_int=_Number, parse_float=_Number)
    faults: list[Fault] = []
    for place in places:
        found = zip(_found(value, place), _found(exact, place), strict=True)
        for (pointer, container, step), (_, written, _) in found:
            if not _is_number(container[step]):
                continue
            text = written[step].text
            if _PLAIN.fullmatch(text):
                container[step] = _shortest(text)
            else:
                faults.append(Fault(pointer, "is a number with an exponent; write all its digits"))
    return value, faults


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shortest(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _found(value: Any, place: Place, pointer: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Pointer, container and step of every value at a place; a body of another shape has none."""
    step, *rest = place
    steps: Sequence[Any] = ()
    if step == EVERY and isinstance(value, list):
        steps = range(len(value))
    elif isinstance(value, dict) and step in value:
        steps = (step,)
    for inner in steps:
        if rest:
            yield from _found(value[inner], rest, f"{pointer}/{inner}")
        else:
            yield f"{pointer}/{inner}", value, inner
