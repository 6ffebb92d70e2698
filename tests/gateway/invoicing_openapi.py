"""What invoicing says it serves, read from its own OpenAPI document."""

from typing import Any, cast

from libs.common.auth import Verifier
from libs.common.http import create_app
from libs.common.runtime import Readiness
from services.invoicing.api import InvoicingApi, MessagesApi


def invoicing_document() -> dict[str, Any]:
    """The document needs no database, so none is given."""
    app = create_app("invoicing", "0", readiness=Readiness(), verifier=Verifier("x", "x", {"keys": []}))
    nothing = cast(Any, _Nothing())
    InvoicingApi(nothing).add_to(app)
    MessagesApi(nothing, nothing, nothing, nothing).add_to(app)
    return dict(app.openapi())


def invoicing_operations() -> dict[tuple[str, str], str]:
    """(method, path) -> scope, empty where no token is taken."""
    return {
        (method.upper(), path): entry["security"][0]["bearer"][0] if entry.get("security") else ""
        for path, entries in invoicing_document()["paths"].items()
        for method, entry in entries.items()
    }


class _Nothing:
    """Stands for what routes work on; asking it for anything gives it again."""

    def __getattr__(self, _: str) -> "_Nothing":
        return self
