"""The tie-out over REST: `GET /receivables/tie-out?ledger=&sequence=`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

from fastapi import Query

from libs.common.auth import Caller
from libs.common.clock import Clock
from libs.common.db import Pool, transaction
from libs.common.errors import Fault, Problem
from libs.common.http import App, requires, router
from libs.common.journal import SlugText
from services.invoicing import tie_out_reads
from services.invoicing.tie_out import Row
from services.invoicing.tying import Proof, prove
from services.invoicing.words import amount_text

PREFIX: Final = "/api/v1"

Reads = Annotated[Caller, requires("invoice:read")]


@dataclass(frozen=True, slots=True)
class TieOutApi:
    """What the route works on: the reader's pool."""

    reader: Pool
    clock: Clock

    def add_to(self, app: App) -> None:
        """Puts the route into the application."""
        routes = router(PREFIX, ["receivables"])
        routes.add_api_route("/receivables/tie-out", self.tie_out, summary="Whether receivables and books say the same")
        app.include_router(routes)

    async def tie_out(
        self,
        caller: Reads,
        ledger: SlugText = "main",
        sequence: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
    ) -> dict[str, Any]:
        """At a sequence of the ledger, else at the last one that was heard."""
        organization = caller.own_organization()
        settings = {"ledgerbus.organization": organization}
        async with transaction(self.reader, readonly=True, settings=settings) as connection:
            await tie_out_reads.hold_snapshot(connection)
            heard = await tie_out_reads.heard_through(connection, organization, ledger)
            if sequence is not None and sequence > heard:
                raise Problem(
                    422,
                    "sequence-not-heard",
                    f"The log of this ledger was heard through {heard}; ask for that, or again later.",
                    facts={"heard_through": heard},
                    errors=[Fault("/sequence", f"is above {heard}")],
                    retryable=True,
                )
            proof = await prove(connection, organization, ledger, heard if sequence is None else sequence)
        return self._told(ledger, heard, proof)

    def _told(self, ledger: str, heard: int, proof: Proof) -> dict[str, Any]:
        now = self.clock()
        return {
            "ledger": ledger,
            "sequence": proof.sequence,
            "heard_through": heard,
            "ties": proof.ties,
            "complete": proof.complete,
            "rows": [row_words(row) for row in proof.rows],
            "unposted": {
                "count": proof.unposted_count,
                "items": [
                    {**each._asdict(), "age_seconds": max(0, int((now - each.created_at).total_seconds()))}
                    for each in proof.unposted
                ],
            },
            "by_others": [
                {**each._asdict(), "amount": amount_text(each.amount, each.currency)} for each in proof.by_others
            ],
        }


def row_words(row: Row) -> Mapping[str, Any]:
    """One comparison; debits are positive."""
    amounts = {
        "subledger": row.subledger,
        "books": row.books,
        "by_others": row.by_others,
        "difference": row.difference,
    }
    told = {name: value for name, value in asdict(row).items() if name not in amounts}
    return {**told, **{name: amount_text(value, row.currency) for name, value in amounts.items()}, "ties": row.ties}
