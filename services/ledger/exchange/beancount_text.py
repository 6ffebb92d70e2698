"""Journals as beancount reads them: written whole, read in the subset that moves money the same way in our books.

Written: an `open` directive an account on the first day there is (an entry may be dated before its account was opened),
one transaction an entry, debits positive, no costs and no prices: each currency adds up to zero by itself.

Read beside that: transactions whose lines say plain amounts (one may be missing), metadata, tags and links, several
commodities in one account. What would move other amounts than it says (costs, prices on lines, padding, plugins,
includes, arithmetic) is refused with its line. Balances, prices, notes, documents, events and closings move nothing and
are left out. Written from the description of the language, without any code of beancount's.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final

from libs.common.journal import NORMAL_SIDE
from services.ledger.exchange.found import Found, FoundAccount, LeftOut, Unreadable
from services.ledger.exchange.journal_lines import JournalLine, OpenEntry
from services.ledger.exchange.labels import MARK, account_body, account_labels, entry_labels, line_labels, shown
from services.ledger.exchange.names import TYPES, account_name
from services.ledger.exchange.written import Extent

_FIRST_DAY: Final = "1900-01-01"
"""The earliest effective date the ledger takes."""


class BeancountWriter:
    """Writes one journal; `written.Writer` says how it is used."""

    def __init__(self, extent: Extent) -> None:
        self._extent = extent
        self._names: dict[str, str] = {}
        self._currencies: set[str] = set()

    def head(self) -> str:
        extent = self._extent
        between = f"; entries from {extent.from_on or 'the first'} to {extent.to_on or 'the last'}\n"
        only = between if extent.from_on or extent.to_on else ""
        return (
            f"{MARK}\n{only}option {_quoted('title')} {_quoted(f'{extent.organization}/{extent.ledger}')}\n"
            f"option {_quoted('operating_currency')} {_quoted(extent.functional_currency)}\n\n"
        )

    def account(self, account: Mapping[str, Any]) -> str:
        name = account_name(account["type"], account["code"])
        self._names[account["code"]] = name
        currency = account["currency"]
        lines = []
        if currency is not None and currency not in self._currencies:
            self._currencies.add(currency)
            lines.append(f"{_FIRST_DAY} commodity {currency}\n  decimals: {account['decimals']}\n\n")
        lines.append(f"{_FIRST_DAY} open {name}{f' {currency}' if currency else ''}\n")
        labels = account_labels(account, NORMAL_SIDE[account["type"]])
        lines += [f"  {label}: {_quoted(text)}\n" for label, text in labels]
        return "".join([*lines, "\n"])

    def entry(self, sequence: int, entry: Mapping[str, Any]) -> str:
        lines = [f"{entry['effective_on']} * {_quoted(shown(entry['description']))}\n  sequence: {sequence}\n"]
        lines += [f"  {label}: {_quoted(text)}\n" for label, text in entry_labels(entry)]
        for line in entry["lines"]:
            sign = "" if line["side"] == "debit" else "-"
            lines.append(f"  {self._names[line['account']]}  {sign}{line['amount']} {line['currency']}\n")
            lines += [f"    {label}: {_quoted(text)}\n" for label, text in line_labels(line)]
        return "".join([*lines, "\n"])

    def tail(self) -> str:
        return f"; {self._extent.sentence()}\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# --- reading ----------------------------------------------------------------------------------------------------------

_TOKEN: Final = re.compile(r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<comment>;.*)|(?P<word>[^\s";]+))', re.DOTALL)
_DATE: Final = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})")
_KEY: Final = re.compile(r"[a-z][A-Za-z0-9_-]*:")
_NUMBER: Final = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?")
_CURRENCY: Final = re.compile(r"[A-Z][A-Z0-9'._-]*")
_ACCOUNT: Final = re.compile(r"[^\W\d_][\w-]*(?::[\w-]+)+")
_COMMENTS: Final = frozenset(";*#!&?%:")
"""What begins a line that says nothing: comments and the headings of outlines."""
_FLAG: Final = re.compile(r"[*!&#?%A-Z]")
_LEFT_OUT: Final = frozenset({"balance", "price", "note", "document", "event", "query", "custom", "close"})
_UNESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r"}


class _Wrong(ValueError):  # noqa: N818 - said of a line
    """The line says something that is not taken over."""


class BeancountReader:
    """Reads one journal; `found.Reader` says how it is used."""

    def __init__(self) -> None:
        self._own = False
        self._skips = False
        self._account: tuple[int, str, tuple[str, ...], dict[str, str]] | None = None
        self._entry: OpenEntry | None = None
        self._number = 0

    def take(self, number: int, text: str) -> Iterator[Found]:
        self._number = number
        if number == 1:
            self._own = text.rstrip() == MARK
        try:
            if not text.strip():
                yield from self.end()
            elif text[0] in " \t":
                self._indented(text.strip())
            elif text[0] not in _COMMENTS:
                yield from self.end()
                yield from self._outer(_tokens(text))
        except ValueError as wrong:
            self._account = self._entry = None
            self._skips = True
            yield Unreadable(number, "syntax-not-taken", f"{wrong}")

    def end(self) -> Iterator[Found]:
        account, self._account = self._account, None
        entry, self._entry = self._entry, None
        self._skips = False
        if account is not None:
            yield self._found_account(*account)
        if entry is not None:
            yield from entry.found(self._own)

    def _outer(self, tokens: list[str]) -> Iterator[Found]:
        first, second = tokens[0], tokens[1] if len(tokens) > 1 else ""
        if first == "option":
            if second == '"operating_currency' or not second.startswith('"name_'):
                return
            raise _Wrong(
                "the roots of account names are beancount's own: Assets, Liabilities, Equity, Income, Expenses"
            )
        if (day := _DATE.fullmatch(first)) is None:
            raise _Wrong(f"{first[:40]!r} is not taken over: it may change what other lines mean")
        effective_on = date(int(day[1]), int(day[2]), int(day[3])).isoformat()
        if second == "open":
            self._open(tokens[2:])
        elif second in _LEFT_OUT or second == "commodity":
            self._skips = True
            if second != "commodity":
                yield LeftOut(self._number, second)
        elif second == "txn" or _FLAG.fullmatch(second):
            self._entry = _first(self._number, effective_on, second, tokens[2:])
        else:
            raise _Wrong(f"{second[:40]!r} is not taken over")

    def _open(self, tokens: list[str]) -> None:
        name = tokens[0] if tokens else ""
        if not _ACCOUNT.fullmatch(name):
            raise _Wrong(f"{name[:80]!r} is no account's name")
        words = ",".join(token for token in tokens[1:] if token[0] != '"').split(",")
        currencies = tuple(word for word in words if word)
        if wrong := [word for word in currencies if not _CURRENCY.fullmatch(word)]:
            raise _Wrong(f"{wrong[0][:40]!r} is no currency")
        self._account = (self._number, name, currencies, {})

    def _indented(self, text: str) -> None:
        if self._skips or text[0] == ";":
            return
        tokens = _tokens(text)
        is_label = _KEY.fullmatch(tokens[0]) is not None
        if self._account is not None and is_label:
            self._account[3][tokens[0][:-1]] = _value(tokens[1:])
        elif self._entry is not None and is_label:
            self._entry.label(tokens[0][:-1], _value(tokens[1:]))
        elif self._entry is not None:
            _next(self._entry, tokens)
        else:
            raise _Wrong("an indented line that belongs to nothing")

    def _found_account(self, line: int, name: str, currencies: tuple[str, ...], labels: dict[str, str]) -> Found:
        type_ = TYPES.get(name.partition(":")[0])
        if not self._own:
            return FoundAccount(line, name, None, type_, currencies)
        try:
            body = account_body(labels)
        except ValueError as wrong:
            return Unreadable(line, "syntax-not-taken", f"the labels of the account cannot be read: {wrong}")
        currency = currencies[0] if currencies else None
        return FoundAccount(line, name, {**body, "type": type_, "currency": currency}, type_, currencies)


def _tokens(text: str) -> list[str]:
    """Words and texts of a line up to its comment; a text keeps its opening quote to tell it from a word."""
    tokens: list[str] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _Wrong("a text that does not end on its line")
        at = found.end()
        if found["comment"] is not None:
            break
        if found["text"] is not None:
            tokens.append('"' + _unquoted(found["text"]))
        elif found["word"] is not None:
            tokens.append(found["word"])
    if not tokens:
        raise _Wrong("nothing is said")
    return tokens


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _UNESCAPED.get(found[1], found[1]), text[1:-1], flags=re.DOTALL)


def _value(tokens: list[str]) -> str:
    return tokens[0].removeprefix('"') if tokens else ""


def _first(number: int, effective_on: str, flag: str, tokens: list[str]) -> OpenEntry:
    """An entry from its first line; a payee, which may be a person, is left out."""
    texts = [token[1:] for token in tokens if token[0] == '"']
    metadata: dict[str, Any] = {} if flag in ("*", "txn") else {"flag": flag}
    for name, mark in (("tags", "#"), ("links", "^")):
        if marked := sorted(token[1:] for token in tokens if token[0] == mark):
            metadata[name] = marked
    if any(token[0] not in '"#^' for token in tokens):
        raise _Wrong("a transaction's first line is a date, a flag, texts, tags and links")
    description = texts[-1] if texts else ""
    return OpenEntry(line=number, effective_on=effective_on, description=description, metadata=metadata)


def _next(entry: OpenEntry, tokens: list[str]) -> None:
    """One line of an entry. Raises ValueError."""
    if _FLAG.fullmatch(tokens[0]):
        tokens = tokens[1:]
    if not tokens or not _ACCOUNT.fullmatch(tokens[0]):
        if tokens and tokens[0][0] in "#^":
            return
        raise _Wrong("a line of a transaction is an account and an amount")
    name, *amount = tokens
    if any(token[0] in "{@" for token in amount):
        raise _Wrong("costs and prices are not taken over here: write the lines of the position pair instead")
    if not amount:
        entry.lines.append(JournalLine(name))
        return
    if len(amount) > 2 and amount[0] in "+-":
        amount = [amount[0] + amount[1], *amount[2:]]
    if len(amount) != 2 or not _NUMBER.fullmatch(amount[0]) or not _CURRENCY.fullmatch(amount[1]):
        raise _Wrong(f"{' '.join(amount)[:60]!r} is no plain amount with its currency")
    entry.lines.append(JournalLine(name, amount[0].replace(",", ""), amount[1]))
