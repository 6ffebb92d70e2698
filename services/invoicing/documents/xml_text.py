"""XML as text, written in order: elements in, escaped and checked text out. Only what our own documents need.

    <cbc:ID>7</cbc:ID>      leaf("cbc:ID", "7")
    <cac:Party>...</...>    node("cac:Party", leaf(...), None, node(...))

`None` is left out, so that an optional element is an expression in its place. Characters that XML 1.0 cannot carry are
refused before (see en16931.py).
"""

import re
from collections.abc import Iterable, Mapping

_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")

Part = str | None


def unfit(text: str) -> bool:
    """Whether the text has characters that XML 1.0 cannot carry."""
    return bool(_UNFIT.search(text))


def leaf(name: str, text: str | None, **attributes: str | None) -> Part:
    """An element with text; left out where there is none."""
    if text is None or text == "":
        return None
    return f"<{name}{_attributes(attributes)}>{_escaped(text)}</{name}>"


def node(name: str, *parts: Part | Iterable[Part]) -> Part:
    """An element with elements inside; left out where there are none."""
    inside = _joined(parts)
    return f"<{name}>{inside}</{name}>" if inside else None


def document(name: str, namespaces: Mapping[str, str], *parts: Part | Iterable[Part]) -> str:
    """The whole text, with the declaration and the root's namespaces ("" is the default one)."""
    spaces = "".join(
        f' xmlns{":" if prefix else ""}{prefix}="{_escaped(address)}"' for prefix, address in namespaces.items()
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}{spaces}>{_joined(parts)}</{name}>\n'


def _joined(parts: Iterable[Part | Iterable[Part]]) -> str:
    return "".join(part if isinstance(part, str) else _joined(part) for part in parts if part is not None)


def _attributes(attributes: Mapping[str, str | None]) -> str:
    return "".join(f' {name}="{_escaped(text)}"' for name, text in attributes.items() if text)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
