"""Invoicing's REST entrance: every noun's routes on one application."""

from dataclasses import dataclass

from libs.common.http import App
from services.invoicing.ageing_api import AgeingApi
from services.invoicing.catalog_api import CatalogApi
from services.invoicing.credit_note_api import CreditNoteApi
from services.invoicing.customer_api import CustomerApi
from services.invoicing.delivering import Delivering
from services.invoicing.delivery_api import DeliveryApi
from services.invoicing.document_api import DocumentApi
from services.invoicing.dunning_api import DunningApi
from services.invoicing.follow_up_api import FollowUpApi
from services.invoicing.invoice_api import InvoiceApi
from services.invoicing.issuing import IssueQueue
from services.invoicing.money_api import MoneyApi
from services.invoicing.money_back_api import MoneyBackApi
from services.invoicing.parked_api import ParkedApi
from services.invoicing.parking import Apply
from services.invoicing.payment_api import PaymentApi
from services.invoicing.posting_api import PostingApi
from services.invoicing.recurring_api import RecurringApi
from services.invoicing.settlement_api import SettlementApi
from services.invoicing.taking_back_api import TakingBackApi
from services.invoicing.tax_api import TaxApi
from services.invoicing.tie_out_api import TieOutApi
from services.invoicing.webhook_api import WebhookApi
from services.invoicing.webhook_intake import Intake
from services.invoicing.writing import Tools


@dataclass(frozen=True, slots=True)
class InvoicingApi:
    """Documents and money: what the routes work with."""

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
        MoneyApi(tools).add_to(app)
        MoneyBackApi(tools).add_to(app)
        TakingBackApi(tools).add_to(app)
        RecurringApi(tools).add_to(app)
        SettlementApi(tools).add_to(app)
        PostingApi(tools).add_to(app)
        AgeingApi(tools).add_to(app)
        TaxApi(tools).add_to(app)
        FollowUpApi(tools).add_to(app)
        DocumentApi(tools).add_to(app)
        DunningApi(tools).add_to(app)
        TieOutApi(tools.reader, tools.clock).add_to(app)


@dataclass(frozen=True, slots=True)
class MessagesApi:
    """Messages that wait, and webhooks in and out. `private_allowed` lets ours go to private addresses."""

    tools: Tools
    apply: Apply
    intake: Intake
    delivering: Delivering
    private_allowed: bool = False

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        tools = self.tools
        ParkedApi(tools.writer, tools.reader, tools.clock, self.apply).add_to(app)
        WebhookApi(self.intake, tools.reader).add_to(app)
        DeliveryApi(
            tools.writer, tools.reader, tools.clock, tools.sealer, self.delivering, self.private_allowed
        ).add_to(app)
