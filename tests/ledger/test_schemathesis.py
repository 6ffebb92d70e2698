"""The ledger as its OpenAPI document says it: Schemathesis asks every operation, well and badly.

    make schemathesis [EXAMPLES=200]     asks much more, in another order each time

How is in tests/support/document_fuzz.py. The ledger `main` has the accounts, entries and holds that are asked of; steps
of closing are taken in the ledger `spare`, so that nothing else meets a closed period.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import pytest

from tests.ledger.serving import Service
from tests.ledger.test_openapi_fuzz import prepared
from tests.support.document_fuzz import Depth, Target, ask_as_documented

L: Final = "/api/v1/ledgers/{ledger}"
STEPS: Final = ("days/{date}/close", "periods/{period}/soft-close", "periods/{period}/close", "periods/{period}/reopen",
                "years/{year}/close", "years/{year}/reopen")  # fmt: skip
CHANGED: Final = ("", "/freeze", "/unfreeze", "/close")
BEYOND_SCHEMA: Final[Mapping[tuple[str, str], str]] = {
    (".*", "/(from|to|compare)"): "a range ends after it begins, and a day exists in the calendar",
    (".*", "/metadata"): "as a query parameter it is a JSON object in a text",
    (".*/ledgers", "/(time_zone|fiscal_year_start)"): "a zone is one of IANA's, a day one that every year has",
    (".*/accounts", "/(code|currency|control_owner|cash_flow_class|overdraft/limit)"):
        "a summary account has neither currency nor owner, any other has a currency; a limit belongs to its policy;"
        " cash has no class; codes of position accounts are the ledger's",
    (".*/accounts/{code}", "|/cash_flow_class|/overdraft/limit"): "a change changes something; and the same",
    (".*/accounts/{code}/history", "/at"): "an instant says its zone",
    (".*/holds", "/expires_at"): "instants are those of 1900 to 2200",
    (".*/holds/{id}/capture", "/lines(/[0-9]+)?"): "an amount or lines, and a line by its number or its account",
    (".*/entries/bulk", "|/[0-9]+"): "all or none of no entries is nothing, and each line is JSON",
    (".*/export/{format}", "/(from|to)"): "days choose among entries, and a log and accounts are not made of them",
    (".*/import/{format}", "|/head"): "each format has media types of its own among those of all; a head is a log's",
    (".*/reports/(profit-and-loss|balance-sheet|cash-flow)", "/(currency|rates_provider|average_rates)"):
        "a range and `currency`, `rates_provider`, `average_rates` have to fit each other and `translate_to`",
    ("/api(/v1)?/(accounts|journal|transactions|transfers|ledger/.*)", ".*"):
        "the short forms have two words for one thing, and both may be said only where they agree",
}  # fmt: skip
"""Where a shape has a rule that no schema says, by path and pointer; each has a test of its own."""

pytestmark = pytest.mark.database


async def target_of(service: Service) -> Target:
    """The running ledger, with what is there to be asked of."""
    found = await prepared(service)
    hold = {"id": found.hold}
    return Target(
        service.url,
        service.headers(),
        headers_of={"/api/v1/organizations": service.headers("operator", organization=None)},
        places={"ledger": "main", "code": "1010-CASH", "account": "1010-CASH", "id": found.entry},
        places_of={
            **{f"{L}/{step}": {"ledger": "spare"} for step in STEPS},
            **{f"{L}/holds/{{id}}{step}": hold for step in ("", "/capture", "/release")},
            **{f"{L}/accounts/{{code}}{change}": {"code": "1800-SPARE"} for change in CHANGED},
        },
        beyond_schema=BEYOND_SCHEMA,
        told_by_line=(f"{L}/entries/bulk", f"{L}/import/{{format}}"),
    )


async def test_the_ledger_is_as_its_document_says(service: Service) -> None:
    found = await asyncio.to_thread(ask_as_documented, await target_of(service), Depth.of_environment())
    print(found.told())
    assert not found.wrong, found.told()
    assert len(found.operations) > 70, "the ledger has more operations than were asked"
    _, proof, _ = await service.send("GET", "/api/v1/ledgers/main/verify")
    assert proof["ok"], proof
