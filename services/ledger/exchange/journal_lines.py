"""Entries of a journal while they are read: signed amounts become sides, a missing one is what is left open.

Sums are whole numbers of 10**-30 units, so that any amount the API takes adds up exactly without knowing its currency.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.ledger.exchange.found import Found, FoundEntry, LeftOut, Unreadable
from services.ledger.exchange.labels import entry_body, line_body

_SCALE: Final = 30


class Unbalanced(ValueError):  # noqa: N818 - said of an entry
    """The amounts of an entry leave something open."""


@dataclass(slots=True)
class JournalLine:
    """One line as a journal has it; `number` is signed text, debits positive, None where it is to be worked out."""

    name: str
    number: str | None = None
    currency: str | None = None
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class OpenEntry:
    """An entry whose lines are still coming; `line` is its first in the file."""

    line: int
    effective_on: str
    description: str
    value_on: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    lines: list[JournalLine] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def label(self, name: str, text: str) -> None:
        """A label of the last line, or of the entry before its first."""
        (self.lines[-1].labels if self.lines else self.labels)[name] = text

    def found(self, own: bool) -> Iterator[Found]:
        """The entry with what it leaves out; labels count only in a file of our `own`."""
        for what in self.left_out:
            yield LeftOut(self.line, what)
        try:
            body = self._body(own)
        except Unbalanced as wrong:
            yield Unreadable(self.line, "entry-not-balanced", f"{wrong}")
        except ValueError as wrong:
            yield Unreadable(self.line, "syntax-not-taken", f"{wrong}")
        else:
            reverses = body.pop("reverses", None)
            if body["lines"]:
                yield FoundEntry(self.line, body, reverses)
            else:
                yield LeftOut(self.line, "entry of nothing but zero")

    def _body(self, own: bool) -> dict[str, Any]:
        body: dict[str, Any] = {"effective_on": self.effective_on, "description": self.description[:2_000]}
        if self.value_on is not None:
            body["value_on"] = self.value_on
        if self.metadata:
            body["metadata"] = self.metadata
        lines = entry_lines(self.lines)
        if own:
            body |= entry_body(self.labels)
            pairs = zip(lines, self.lines, strict=True)
            lines = [{**line, **line_body(written.labels)} for line, written in pairs]
        return {**body, "lines": [line for line in lines if line["amount"] != "0"]}


def scaled(number: str) -> int:
    """A signed decimal text as a whole number of 10**-30 units. Raises ValueError."""
    whole, _, decimals = number.lstrip("+-").partition(".")
    if len(decimals) > _SCALE or len(whole) > 2 * _SCALE:
        raise ValueError(f"{number[:60]!r} has more digits than an amount may have")
    value = int((whole or "0") + decimals.ljust(_SCALE, "0"))
    return -value if number.startswith("-") else value


def text_of(value: int) -> str:
    """The shortest decimal text of 10**-30 units.

    >>> text_of(scaled("-1.50")), text_of(scaled("1500.00"))
    ('-1.5', '1500')
    """
    whole, decimals = divmod(abs(value), 10**_SCALE)
    tail = f"{decimals:0{_SCALE}d}".rstrip("0")
    return f"{'-' if value < 0 else ''}{whole}{'.' + tail if tail else ''}"


def still_open(sides: Iterable[tuple[str, str, str]]) -> dict[str, int]:
    """Debits less credits by currency where they differ, of (currency, side, amount) each. Raises ValueError."""
    sums: dict[str, int] = {}
    for currency, side, amount in sides:
        value = scaled(amount)
        sums[currency] = sums.get(currency, 0) + (value if side == "debit" else -value)
    return {currency: value for currency, value in sums.items() if value}


def sentence_of(left: Mapping[str, int]) -> str:
    """What debits are more than credits, for a person."""
    said = ", ".join(f"{text_of(value)} {currency}" for currency, value in left.items())
    return f"Debits less credits is {said}; it has to be nothing in each currency."


def entry_lines(written: Sequence[JournalLine]) -> list[dict[str, Any]]:
    """The lines of an entry, in order; one may lack its amount. Raises ValueError."""
    missing = [line for line in written if line.number is None]
    if len(missing) > 1:
        raise ValueError("more than one amount is missing; which is which is unclear")
    sums: dict[str, int] = {}
    for line in written:
        if line.number is not None and line.currency is not None:
            sums[line.currency] = sums.get(line.currency, 0) + scaled(line.number)
    left = {currency: value for currency, value in sums.items() if value}
    if missing:
        if len(left) != 1:
            raise ValueError("an amount is missing, and what is left open is not in one currency")
        ((missing[0].currency, value),) = left.items()
        missing[0].number = text_of(-value)
    elif left:
        raise Unbalanced(sentence_of(left))
    return [_line(line) for line in written]


def _line(written: JournalLine) -> dict[str, Any]:
    assert written.number is not None
    value = scaled(written.number)
    return {
        "account": written.name,
        "side": "credit" if value < 0 else "debit",
        "amount": text_of(abs(value)),
        "currency": written.currency,
    }
