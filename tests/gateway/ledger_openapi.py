"""What the ledger says it serves, read from its own OpenAPI document."""

from typing import Any, cast

from libs.common.auth import Verifier
from libs.common.http import create_app
from libs.common.runtime import Readiness
from services.ledger.api import LedgerApi


def ledger_document() -> dict[str, Any]:
    """The document needs no database, so none is given."""
    app = create_app("ledger", "0", readiness=Readiness(), verifier=Verifier("x", "x", {"keys": []}))
    LedgerApi(cast(Any, None), cast(Any, None), cast(Any, None)).add_to(app)
    return dict(app.openapi())


def ledger_operations() -> dict[tuple[str, str], str]:
    """(method, path) -> scope."""
    return {
        (method.upper(), path): entry["security"][0]["bearer"][0]
        for path, entries in ledger_document()["paths"].items()
        for method, entry in entries.items()
    }
