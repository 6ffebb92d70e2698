"""Journals as hledger reads them: written whole, read in the subset that moves money the same way in our books.

Written: one `account` directive an account, one `commodity` a currency, one entry an entry, debits positive. Every
entry balances to zero in each currency as it stands, the position pairs being equity accounts like any other.

Read beside that: the plain part of hledger's syntax. One amount of an entry may be missing; amounts have their symbol
on either side, `$ € £ ¥` stand for USD, EUR, GBP and JPY, commas group thousands. What would move other amounts than
it says (costs, virtual lines, automated and periodic entries, includes, aliases) is refused with its line. Prices,
assertions, payees and comments move nothing and are left out.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final

from libs.common.journal import NORMAL_SIDE, AccountType
from services.ledger.exchange.found import Found, FoundAccount, LeftOut, Unreadable
from services.ledger.exchange.journal_lines import JournalLine, OpenEntry
from services.ledger.exchange.labels import MARK, account_body, account_labels, entry_labels, line_labels, shown
from services.ledger.exchange.names import account_name, quoted_currency, type_of
from services.ledger.exchange.written import Extent

_TYPE_LETTERS: Final[dict[AccountType, str]] = {
    "asset": "A", "liability": "L", "equity": "E", "income": "R", "expense": "X",
}  # fmt: skip
_LETTER_TYPES: Final[dict[str, AccountType]] = {
    **{letter: type_ for type_, letter in _TYPE_LETTERS.items()},
    "C": "asset", "V": "equity",
    **{name.capitalize(): name for name in _TYPE_LETTERS},
    "Revenue": "income", "Cash": "asset", "Conversion": "equity",
}  # fmt: skip


class HledgerWriter:
    """Writes one journal; `Writer` says how it is used."""

    def __init__(self, extent: Extent) -> None:
        self._extent = extent
        self._names: dict[str, str] = {}
        self._currencies: set[str] = set()

    def head(self) -> str:
        extent = self._extent
        between = f", entries from {extent.from_on or 'the first'} to {extent.to_on or 'the last'}"
        only = between if extent.from_on or extent.to_on else ""
        return (
            f"{MARK}\n; ledger {extent.organization}/{extent.ledger} in {extent.functional_currency}{only}\n"
            "decimal-mark .\n\n"
        )

    def account(self, account: Mapping[str, Any]) -> str:
        name = account_name(account["type"], account["code"])
        self._names[account["code"]] = name
        currency = account["currency"]
        lines = []
        if currency is not None and currency not in self._currencies:
            self._currencies.add(currency)
            lines.append(f"commodity {_sample(account['decimals'])} {quoted_currency(currency)}\n\n")
        lines.append(f"account {name}\n    ; type: {_TYPE_LETTERS[account['type']]}\n")
        if currency is not None:
            lines.append(f"    ; currency: {currency}\n")
        labels = account_labels(account, NORMAL_SIDE[account["type"]])
        lines += [f"    ; {label}: {text}\n" for label, text in labels]
        return "".join([*lines, "\n"])

    def entry(self, sequence: int, entry: Mapping[str, Any]) -> str:
        lines = [f"{entry['effective_on']} * ({sequence}) {shown(entry['description'])}".rstrip(), "\n"]
        lines += [f"    ; {label}: {text}\n" for label, text in entry_labels(entry)]
        for line in entry["lines"]:
            sign = "" if line["side"] == "debit" else "-"
            name, unit = self._names[line["account"]], quoted_currency(line["currency"])
            lines.append(f"    {name}  {sign}{line['amount']} {unit}\n")
            lines += [f"    ; {label}: {text}\n" for label, text in line_labels(line)]
        return "".join([*lines, "\n"])

    def tail(self) -> str:
        return f"; {self._extent.sentence()}\n"


def _sample(decimals: int) -> str:
    """An amount that shows hledger how many decimals a currency has."""
    return "1000." + "0" * decimals


# --- reading ----------------------------------------------------------------------------------------------------------

_DATE: Final = r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})"
_FIRST: Final = re.compile(
    rf"{_DATE}(?:={_DATE})?(?:\s+(?:[*!](?=\s|\(|;|$)))?(?:\s*\((?P<code>[^)]*)\))?(?P<rest>(?:\s|;).*)?$"
)
_SYMBOL: Final = r'"[^"]+"|[^\s\d"\-+.,;@={}()\[\]*]+'
_NUMBER: Final = r"\d[\d,]*(?:\.\d*)?|\.\d+"
_AMOUNT: Final = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:(?P<before>{_SYMBOL})\s*)?(?P<sign2>[-+]?)(?P<number>{_NUMBER})(?:\s*(?P<after>{_SYMBOL}))?$"
)
_GROUPED: Final = re.compile(r"\d{1,3}(,\d{3})+(\.\d*)?|[^,]*")
_LABEL: Final = re.compile(r"[a-z_]+")
_GAP: Final = re.compile(r"\s{2,}|\t")
_AMOUNT_LETTERS_MAX: Final = 200
_SYMBOLS: Final = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY"}
_LEFT_OUT: Final = {
    "P": "price", "payee": "payee directive", "tag": "tag directive", "D": "default commodity", "format": "format",
    "commodity": "",
}  # fmt: skip


class _Wrong(ValueError):  # noqa: N818 - said of a line
    """The line says something that is not taken over."""


class HledgerReader:
    """Reads one journal; `found.Reader` says how it is used."""

    def __init__(self) -> None:
        self._own = False
        self._in_comment = False
        self._broken = False
        self._account: tuple[int, str, dict[str, str]] | None = None
        self._entry: OpenEntry | None = None
        self._number = 0

    def take(self, number: int, text: str) -> Iterator[Found]:
        self._number = number
        if number == 1:
            self._own = text.rstrip() == MARK
        if self._in_comment:
            self._in_comment = text.strip() != "end comment"
            return
        try:
            if not text.strip():
                yield from self.end()
            elif text[0] in " \t":
                self._indented(text.strip())
            else:
                yield from self.end()
                yield from self._outer(text.rstrip())
        except (ValueError, KeyError) as wrong:
            self._account = self._entry = None
            self._broken = True
            yield Unreadable(number, "syntax-not-taken", f"{wrong}")

    def end(self) -> Iterator[Found]:
        account, self._account = self._account, None
        entry, self._entry = self._entry, None
        self._broken = False
        if account is not None:
            yield self._found_account(*account)
        if entry is not None:
            yield from entry.found(self._own)

    def _outer(self, text: str) -> Iterator[Found]:
        word, _, rest = text.partition(" ")
        if text[0] in ";#*":
            return
        if text[0].isdigit():
            self._entry = _first(self._number, text)
        elif word == "account":
            name, comment = _cut_comment(rest)
            self._account = (self._number, name, {})
            _add_account_labels(comment, self._account[2])
        elif word == "comment":
            self._in_comment = True
        elif word == "decimal-mark":
            if rest.strip() != ".":
                raise _Wrong("the decimal mark of the amounts must be '.'")
        elif word in _LEFT_OUT:
            if what := _LEFT_OUT[word]:
                yield LeftOut(self._number, what)
        else:
            raise _Wrong(f"{word[:40]!r} is not taken over: it may change what other lines mean")

    def _indented(self, text: str) -> None:
        if self._broken:
            return
        if self._account is not None:
            _add_account_labels(text.lstrip("; "), self._account[2])
        elif self._entry is not None:
            _next(self._entry, text)
        elif not text.startswith((";", "format", "note")):
            raise _Wrong("an indented line that belongs to nothing")

    def _found_account(self, line: int, name: str, labels: dict[str, str]) -> Found:
        type_ = _LETTER_TYPES.get(labels.get("type", ""), type_of(name))
        if not self._own:
            return FoundAccount(line, name, None, type_)
        try:
            body = account_body(labels)
        except ValueError as wrong:
            return Unreadable(line, "syntax-not-taken", f"the labels of the account cannot be read: {wrong}")
        currency = labels.get("currency")
        return FoundAccount(line, name, {**body, "type": type_, "currency": currency}, type_)


def _add_account_labels(comment: str, labels: dict[str, str]) -> None:
    for part in comment.split(","):
        if (found := _label(part)) is not None:
            labels[found[0]] = found[1]


def _label(comment: str) -> tuple[str, str] | None:
    name, colon, text = comment.strip().partition(":")
    return (name, text.strip()) if colon and _LABEL.fullmatch(name) else None


def _first(number: int, text: str) -> OpenEntry:
    """An entry from its first line. Raises ValueError."""
    found = _FIRST.fullmatch(text)
    if found is None:
        raise _Wrong("an entry begins with its date as YYYY-MM-DD, a status, a code in brackets, a description")
    description, comment = _cut_comment(found["rest"] or "")
    value_on = date(int(found[4]), int(found[5]), int(found[6])).isoformat() if found[4] else None
    effective_on = date(int(found[1]), int(found[2]), int(found[3])).isoformat()
    entry = OpenEntry(line=number, effective_on=effective_on, description=description, value_on=value_on)
    _add_label(comment, entry)
    return entry


def _next(entry: OpenEntry, text: str) -> None:
    """One indented line of an entry. Raises ValueError."""
    if text.startswith(";"):
        _add_label(text[1:], entry)
        return
    before, comment = _cut_comment(text)
    if before[0] in "*!":
        before = before[1:].lstrip()
    name, *rest = _GAP.split(before, 1)
    if not name:
        raise _Wrong("a line of an entry is an account, two spaces, and an amount")
    if name[0] in "([":
        raise _Wrong("virtual lines are not taken over: books have none")
    amount, asserted, _ = "".join(rest).partition("=")
    if asserted:
        entry.left_out.append("balance assertion")
    if "@" in amount or "{" in amount:
        raise _Wrong("a cost is not taken over: write the lines of the position pair instead")
    entry.lines.append(JournalLine(name, *_amount(amount.strip())) if amount.strip() else JournalLine(name))
    _add_label(comment, entry)


def _add_label(comment: str, entry: OpenEntry) -> None:
    if (found := _label(comment)) is not None:
        entry.label(*found)


def _cut_comment(text: str) -> tuple[str, str]:
    before, _, comment = text.partition(";")
    return before.strip(), comment


def _amount(text: str) -> tuple[str, str]:
    """Signed number and currency of an amount. Raises ValueError."""
    found = _AMOUNT.fullmatch(text) if len(text) <= _AMOUNT_LETTERS_MAX else None
    if found is None or (found["sign"] and found["sign2"]):
        raise _Wrong(f"{text[:60]!r} is no amount")
    symbol = found["before"] or found["after"]
    if symbol is None or (found["before"] and found["after"]):
        raise _Wrong(f"{text[:60]!r} has no currency of its own")
    number = found["number"]
    if not _GROUPED.fullmatch(number):
        raise _Wrong(f"{number[:40]!r} groups its digits in a way that could mean another amount")
    sign = "-" if "-" in (found["sign"], found["sign2"]) else ""
    symbol = symbol.strip('"')
    return sign + number.replace(",", ""), _SYMBOLS.get(symbol, symbol)
