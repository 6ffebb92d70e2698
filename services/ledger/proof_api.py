"""What an auditor asks the ledger for: the proof of its books, where its log ends, signed, and the keys to check that.

A head that was kept outside proves later that nothing before it was rewritten (docs/guides/proof.md).
"""

from dataclasses import dataclass, field
from typing import Annotated, Any

from starlette.requests import Request
from typing_extensions import TypedDict

from libs.common.auth import Caller
from libs.common.db import Pool
from libs.common.errors import Problem
from libs.common.http import App, exchange_of, requires, router
from libs.common.signing import ALGORITHM, SigningKeys
from services.ledger import proof_store, reads
from services.ledger.commands import Books
from services.ledger.prover import prove
from services.ledger.verify import Report

PREFIX = "/api/v1"

Reads = Annotated[Caller, requires("ledger:read")]


class HeadAnswer(TypedDict):
    """Where a ledger's log ends; `signature` (base64) and `key_id` are null where the ledger has no signing key."""

    organization: str
    ledger: str
    ledger_id: str
    epoch: int
    sequence: int
    hash: str
    recorded_at: str
    signature: str | None
    key_id: str | None
    algorithm: str


@dataclass(frozen=True, slots=True)
class ProofApi:
    """What the routes read from, and the keys that sign."""

    books: Books
    reader: Pool
    auditor: Pool
    keys: SigningKeys = field(default_factory=SigningKeys)

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        routes = router(PREFIX)
        routes.add_api_route("/ledgers/{ledger}/head", self.head, summary="Where the log ends, signed")
        routes.add_api_route("/ledger-keys", self.public_keys, summary="Public keys of signed heads (JWKS)")
        routes.add_api_route("/ledgers/{ledger}/verify", self.proof, summary="Proof of the books against their log")
        app.include_router(routes)

    async def head(self, ledger: str, caller: Reads) -> HeadAnswer:
        async with reads.as_reader(self.reader, caller.own_organization()) as connection:
            found = await proof_store.read_head(connection, ledger)
        if found is None:
            raise Problem(404, "unknown-ledger", f"The organization has no ledger {ledger!r}.")
        signature = self.keys.sign(found)
        return {
            "organization": found.organization,
            "ledger": found.ledger,
            "ledger_id": found.ledger_id,
            "epoch": found.epoch,
            "sequence": found.sequence,
            "hash": found.hash,
            "recorded_at": found.recorded_at,
            "signature": signature.text if signature else None,
            "key_id": signature.key_id if signature else None,
            "algorithm": ALGORITHM,
        }

    async def proof(
        self, ledger: str, request: Request, caller: Annotated[Caller, requires("ledger:verify")]
    ) -> Report:
        exchange_of(request).lift_deadline()
        return await prove(self.auditor, await self.books.get(caller.own_organization(), ledger))

    async def public_keys(self, _: Reads) -> dict[str, Any]:
        return self.keys.jwks()
