"""Structured creditor references (ISO 11649): "RF", two check digits, up to 21 letters and digits.

The check digits are ISO 7064's MOD 97-10 over what stands behind them, letters as 10 to 35. A bank carries them
unchanged, so a payment that names one can be placed without reading free text. On paper it stands in groups of four;
spaces and case say nothing.
"""

import re
from typing import Final

REFERENCE_MAX: Final = 21
"""Characters behind the check digits."""

_SHAPE = re.compile(r"RF[0-9]{2}[0-9A-Z]{1,21}", re.ASCII)
_INSIDE = re.compile(r"(?<![0-9A-Z])RF ?[0-9]{2}(?: ?[0-9A-Z]){1,21}(?![0-9A-Z])", re.ASCII)


def make(reference: str) -> str | None:
    """The creditor reference for an invoice's number or other text; None where too little or too much is left of it.

    Only letters and digits count.

    >>> make("539007547034")
    'RF18539007547034'
    """
    kept = _kept(reference)
    if not 1 <= len(kept) <= REFERENCE_MAX:
        return None
    return f"RF{98 - _remainder(f'{kept}RF00'):02d}{kept}"


def check(text: str) -> bool:
    """Whether the text is a creditor reference, printed in groups or not."""
    plain = text.replace(" ", "").upper()
    return bool(_SHAPE.fullmatch(plain)) and _remainder(plain[4:] + plain[:4]) == 1


def printed(reference: str) -> str:
    """In groups of four, as it stands on paper."""
    return " ".join(reference[place : place + 4] for place in range(0, len(reference), 4))


def found_in(text: str) -> list[str]:
    """The creditor references inside free text, without their spaces, in the order they stand in.

    A reference printed in groups ends where its check digits come out right, so that words after it do no harm.
    """
    found = []
    upper = text.upper()
    for start in re.finditer(r"(?<![0-9A-Z])RF(?= ?[0-9]{2})", upper, re.ASCII):
        match = _INSIDE.match(upper, start.start())
        longest = match[0] if match else ""
        ends = [place for place in range(len(longest), 4, -1) if place == len(longest) or longest[place] == " "]
        right = next((longest[:end] for end in ends if check(longest[:end])), None)
        if right is not None:
            found.append(right.replace(" ", ""))
    return list(dict.fromkeys(found))


def _kept(text: str) -> str:
    return re.sub(r"[^0-9A-Z]", "", text.upper(), flags=re.ASCII)


def _remainder(text: str) -> int:
    return int("".join(str(int(letter, 36)) for letter in text)) % 97
