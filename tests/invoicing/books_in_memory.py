"""A ledger in memory under invoicing's own rules: what the posting rules ask for goes through the ledger's decision.

The ledger is `tests.ledger.plain_books`: its real rules, with nothing below them. Its functional currency is USD. The
accounts of the standard mapping are opened in it as they are asked for.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from uuid import UUID

import orjson
from pydantic import TypeAdapter

from libs.common.errors import Rejection
from libs.common.events import EntryWanted
from libs.common.journal import ReversalRequest
from libs.common.money import ISO_4217
from services.invoicing.account_roles import Role, resolve, standard_accounts, standard_mapping
from services.invoicing.entry_drafts import Books, EntryDraft, Movement, TaxBasis, entry_request, movements
from services.ledger.domain import Accepted
from services.ledger.records import EntryPosted
from tests.ledger.attempts import Attempt
from tests.ledger.plain_books import PlainBooks

USD, EUR, GBP = (ISO_4217[code] for code in ("USD", "EUR", "GBP"))
WANTED = TypeAdapter(EntryWanted)
RATES = {"EUR": Decimal("1.08"), "GBP": Decimal("1.25")}


def books(tax_basis: TaxBasis = "accrual", rates: dict[str, Decimal] | None = None) -> Books:
    """Books in USD with the standard accounts, owed in USD, EUR and GBP."""
    mapping = standard_mapping("USD", ["EUR", "GBP"])
    return Books(functional=USD, mapping=mapping, tax_basis=tax_basis, rates=RATES if rates is None else rates)


@dataclass
class Ledger:
    """What was asked for and accepted: the entries, and what the subledger says they moved."""

    books: Books
    plain: PlainBooks = field(default_factory=PlainBooks)
    moved: list[Movement] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        for request in standard_accounts("USD", ["EUR", "GBP"]):
            self._decide(request, "opened")

    def post(self, draft: EntryDraft | Rejection | None) -> EntryPosted:
        """The entry as the ledger records it; anything but an entry that is accepted as it stands fails."""
        assert isinstance(draft, EntryDraft), draft
        self.asked += 1
        body = entry_request(
            draft,
            self.books,
            organization="demo",
            ledger="main",
            document=f"document/{self.asked}",
            id_=UUID(int=self.asked),
        )
        assert isinstance(body, dict), body
        decision = self._decide(WANTED.validate_json(orjson.dumps(body)).request(), "posted")
        record = decision.records[-1]
        assert isinstance(record, EntryPosted)
        self.moved += movements(draft)
        return record

    def reverse(self, entry: UUID, moved: Iterable[Movement]) -> None:
        """Takes an entry back whole; `moved` is what the subledger says that does."""
        self._decide(ReversalRequest(entry_id=entry), "posted")
        self.moved += moved

    def _decide(self, request: object, verdict: str) -> Accepted:
        key = f"{verdict} {len(self.plain.state.requests)}"
        attempt = Attempt(key, request, verdict, {}, "invoicing", key, sha256(key.encode()).digest())  # type: ignore[arg-type]
        decision = self.plain.decide(attempt)
        assert isinstance(decision, Accepted), f"{request}\n  gives {decision}"
        return decision

    def balance(self, role: Role, currency: str = "USD") -> int:
        """Debits less credits of the account that plays a role."""
        code = resolve(role, currency, self.books.mapping, "USD")
        assert isinstance(code, str), code
        account = self.plain.state.accounts[code]
        return account.debits - account.credits

    def by_party(self, role: Role, currency: str = "USD") -> dict[str, int]:
        """What the ledger's lines say of each party on the account, zeros left out."""
        code = resolve(role, currency, self.books.mapping, "USD")
        sums: dict[str, int] = {}
        for record in self.plain.posted:
            for line in record.entry_lines:
                if line.account.code == code and line.party is not None:
                    sums[line.party] = sums.get(line.party, 0) + (line.amount if line.side == "debit" else -line.amount)
        return {party: amount for party, amount in sums.items() if amount}


def summed(moved: Iterable[Movement]) -> dict[tuple[str, str | None, str], int]:
    """Movements added up by role, party and currency, zeros left out."""
    sums: dict[tuple[str, str | None, str], int] = {}
    for role, party, currency, amount in moved:
        sums[role, party, currency] = sums.get((role, party, currency), 0) + amount
    return {key: amount for key, amount in sums.items() if amount}
