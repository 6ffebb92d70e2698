"""All of invoicing's routes, each noun's in a file of its own."""

from dataclasses import dataclass

from libs.common.http import App
from services.invoicing.catalog_api import CatalogApi
from services.invoicing.customer_api import CustomerApi
from services.invoicing.delivering import Delivering
from services.invoicing.delivery_api import DeliveryApi
from services.invoicing.parked_api import ParkedApi
from services.invoicing.parking import Apply
from services.invoicing.tie_out_api import TieOutApi
from services.invoicing.webhook_api import WebhookApi
from services.invoicing.webhook_intake import Intake
from services.invoicing.writing import Tools


@dataclass(frozen=True, slots=True)
class InvoicingApi:
    """What the routes work on. `private_allowed` lets webhooks go to private addresses, on one's own machine."""

    tools: Tools
    apply: Apply
    intake: Intake
    delivering: Delivering
    private_allowed: bool = False

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        tools = self.tools
        CustomerApi(tools).add_to(app)
        CatalogApi(tools).add_to(app)
        TieOutApi(tools.reader, tools.clock).add_to(app)
        ParkedApi(tools.writer, tools.reader, tools.clock, self.apply).add_to(app)
        WebhookApi(self.intake, tools.reader).add_to(app)
        DeliveryApi(
            tools.writer, tools.reader, tools.clock, tools.sealer, self.delivering, self.private_allowed
        ).add_to(app)
