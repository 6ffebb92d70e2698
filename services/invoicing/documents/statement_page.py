"""A customer's statement as one HTML page that stands alone, as the invoice's page does."""

from collections.abc import Mapping
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(told: Mapping[str, Any], seller: str | None) -> str:
    """The page of a statement as callers are told it."""
    return _TEMPLATE.render(told=told, seller=seller)


_TEMPLATE: Final = Environment(
    loader=PackageLoader("services.invoicing.documents"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
).get_template("statement.html")
