"""The pages that are made from code. `python -m tests.docs.rendered` (make docs) writes them; a test compares."""

from pathlib import Path

from libs.common import metrics, settings
from services.gateway.main import GatewaySettings
from services.invoicing.main import InvoicingSettings
from services.ledger.main import LedgerSettings
from tests.docs import invoice_states, receivables_postings


def pages() -> dict[str, str]:
    """Path in the repository -> what it should hold."""
    return {
        "docs/guides/invoice-states.md": invoice_states.page(),
        "docs/guides/receivables-postings.md": receivables_postings.page(),
        "docs/metrics.md": metrics.table(),
        "docs/settings.md": settings.table([LedgerSettings, InvoicingSettings, GatewaySettings]),
    }


def main() -> None:
    """Writes every page."""
    root = Path(__file__).resolve().parents[2]
    for path, text in pages().items():
        (root / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
