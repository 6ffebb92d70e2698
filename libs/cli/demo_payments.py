"""What is paid in the demo: float -> Alice -> Bob, and half of it back."""

from dataclasses import dataclass
from typing import Any, Final

ORGANIZATION: Final = "demo"
LEDGER: Final = "main"


@dataclass(frozen=True, slots=True)
class Payment:
    """Money from one wallet to another; both are liabilities, so paying debits the giver and credits the taker."""

    name: str
    sentence: str
    giver: str
    taker: str
    amount: str

    def transfer(self) -> dict[str, Any]:
        """The body of `POST /transfers`."""
        return {
            "from": self.giver,
            "to": self.taker,
            "amount": self.amount,
            "currency": "USD",
            "description": self.sentence,
        }

    def entry(self) -> dict[str, Any]:
        """The same as the body of `POST /entries`."""
        return {
            "description": self.sentence,
            "lines": [
                {"account": self.giver, "side": "debit", "amount": self.amount, "currency": "USD"},
                {"account": self.taker, "side": "credit", "amount": self.amount, "currency": "USD"},
            ],
        }


PAYMENTS: Final = (
    Payment("top-up", "Alice tops up her wallet", "2000-FLOAT", "2001-ALICE", "500.00"),
    Payment("payment", "Alice pays Bob", "2001-ALICE", "2002-BOB", "100.00"),
    Payment("refund", "Bob refunds Alice", "2002-BOB", "2001-ALICE", "50.00"),
)
