"""Account and currency names as hledger and beancount take them, and back: each code has one name, each name one code.

A name is the type's root (Assets, Liabilities, Equity, Income, Expenses) and the code behind it; colons in a code stay
colons. A part of a name begins with A-Z or 0-9 and goes on with A-Z, a-z, 0-9 and '-' (beancount's rule, hledger takes
it too). Any other character is written `--<hex>-`; so is a '-' behind a '-', which keeps `--` for that alone. A part
that would begin otherwise gets `X--0-` in front: no code contains the character 0.

    1010-CASH (asset) -> Assets:1010-CASH      cash_eur (asset) -> Assets:X--0-cash--5f-eur
"""

import re
from typing import Final

from libs.common.journal import AccountType

ROOTS: Final[dict[AccountType, str]] = {
    "asset": "Assets",
    "liability": "Liabilities",
    "equity": "Equity",
    "income": "Income",
    "expense": "Expenses",
}
TYPES: Final[dict[str, AccountType]] = {root: type_ for type_, root in ROOTS.items()}

_MARK: Final = "X--0-"
_ESCAPE: Final = re.compile(r"--([0-9a-f]{1,6})-")
_PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_FIRST: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_LETTERS: Final = re.compile(r"[A-Za-z]+")

_HLEDGER_TYPES: Final[tuple[tuple[re.Pattern[str], AccountType], ...]] = (
    (re.compile(r"assets?(:|$)", re.IGNORECASE), "asset"),
    (re.compile(r"(debts?|liabilit(y|ies))(:|$)", re.IGNORECASE), "liability"),
    (re.compile(r"equity(:|$)", re.IGNORECASE), "equity"),
    (re.compile(r"(income|revenues?)(:|$)", re.IGNORECASE), "income"),
    (re.compile(r"expenses?(:|$)", re.IGNORECASE), "expense"),
)
"""How hledger guesses a type from a name."""


def account_name(type_: AccountType, code: str) -> str:
    """The name of an account's code under its type.

    >>> account_name("asset", "1010-CASH"), account_name("equity", "a:b")
    ('Assets:1010-CASH', 'Equity:X--0-a:X--0-b')
    """
    parts = code.split(":")
    if "" in parts:
        return f"{ROOTS[type_]}:{_part(code)}"
    return ":".join([ROOTS[type_], *map(_part, parts)])


def account_code(name: str) -> tuple[AccountType, str]:
    """Type and code of a name that `account_name` gave. Raises ValueError for any other name."""
    root, _, rest = name.partition(":")
    if root not in TYPES or not rest:
        raise ValueError(f"{name[:80]!r} begins with none of {', '.join(TYPES)}")
    code = ":".join(_unescaped(part) for part in rest.split(":"))
    if account_name(TYPES[root], code) != name:
        raise ValueError(f"{name[:80]!r} is no name of a code")
    return TYPES[root], code


def type_of(name: str) -> AccountType | None:
    """The type that a name of any journal begins with, as hledger guesses it; None where it says none."""
    return next((type_ for pattern, type_ in _HLEDGER_TYPES if pattern.match(name)), None)


def quoted_currency(code: str) -> str:
    """A currency as hledger writes it: in quotes unless it is letters alone."""
    return code if _LETTERS.fullmatch(code) else f'"{code}"'


def _part(text: str) -> str:
    written: list[str] = []
    plain_dash = False
    for letter in text:
        if letter in _PLAIN or (letter == "-" and not plain_dash):
            written.append(letter)
            plain_dash = letter == "-"
        else:
            written.append(f"--{ord(letter):x}-")
            plain_dash = False
    first = "" if text[:1] in _FIRST and text[:1] else _MARK
    return first + "".join(written)


def _unescaped(part: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), part.removeprefix(_MARK))
