"""Invoicing's REST entrance: every noun's routes on one application."""

from dataclasses import dataclass

from libs.common.http import App
from services.invoicing.catalog_api import CatalogApi
from services.invoicing.credit_note_api import CreditNoteApi
from services.invoicing.customer_api import CustomerApi
from services.invoicing.invoice_api import InvoiceApi
from services.invoicing.issuing import IssueQueue
from services.invoicing.payment_api import PaymentApi
from services.invoicing.posting_api import PostingApi
from services.invoicing.writing import Tools


@dataclass(frozen=True, slots=True)
class InvoicingApi:
    """What the routes work with."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        tools = self.tools
        queue = IssueQueue(tools.writer, tools.clock, tools.sealer, wake=tools.wake)
        CustomerApi(tools).add_to(app)
        CatalogApi(tools).add_to(app)
        InvoiceApi(tools, queue).add_to(app)
        CreditNoteApi(tools).add_to(app)
        PaymentApi(tools).add_to(app)
        PostingApi(tools).add_to(app)
