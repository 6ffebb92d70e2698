"""The databases of ledger and invoicing, as their own tests make them."""

from tests.invoicing.conftest import invoicing_template, receivables, writer
from tests.ledger.conftest import ledger_template

__all__ = ["invoicing_template", "ledger_template", "receivables", "writer"]
