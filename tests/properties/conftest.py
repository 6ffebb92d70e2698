"""The ledger's databases, as the ledger's own tests make them."""

from tests.ledger.conftest import ledger_template

__all__ = ["ledger_template"]
