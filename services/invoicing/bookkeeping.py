"""What the posting rules have to know of ledgers: mapping, tax basis, and the day's rates where a currency is foreign.

    (organization, ledger, currency, day) of each document -> one read of terms, one of rates for each day that needs it

A ledger without settings has no functional currency yet: whatever is to be booked there is `mapping-missing`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import field
from datetime import date
from decimal import Decimal, localcontext
from typing import NamedTuple

from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217
from libs.common.values import value
from services.invoicing.catalog_store import LedgerKey, LedgerTerms, ledger_terms
from services.invoicing.entry_drafts import RATE_DECIMALS, Books
from services.invoicing.rates_store import DayRate, rates_on
from services.invoicing.rejections import reject


class BooksKey(NamedTuple):
    """Whose books, and what of them a document needs."""

    organization: str
    ledger: str
    currency: str
    on: date


@value(frozen=True, slots=True)
class Bookkeeping:
    """Ledgers' terms, and rates by organization and day."""

    terms: Mapping[LedgerKey, LedgerTerms]
    rates: Mapping[tuple[str, date], Mapping[str, Decimal]]
    known: dict[BooksKey, Books | Rejection] = field(default_factory=dict, compare=False)

    def books(self, key: BooksKey) -> Books | Rejection:
        """What the rules have to know for one document; many ask for the same."""
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = self._books(key)
        return found

    def _books(self, key: BooksKey) -> Books | Rejection:
        terms = self.terms[key.organization, key.ledger]
        functional = ISO_4217.get(terms.functional_currency)
        if functional is None:
            said = f"ledger {key.ledger} has no account mapping yet"
            return reject("mapping-missing", f"{said}.".capitalize(), [Fault("/ledger", said)], ledger=key.ledger)
        return Books(
            functional=functional,
            mapping=terms.mapping,
            tax_basis="cash" if terms.tax_basis == "cash" else "accrual",
            rates=self.rates.get((key.organization, key.on), {}),
        )


async def bookkeeping_for(connection: Connection, keys: Iterable[BooksKey]) -> Bookkeeping:
    """What is needed for documents, whatever their number."""
    wanted = set(keys)
    terms = await ledger_terms(connection, sorted({(key.organization, key.ledger) for key in wanted}))
    pairs: dict[tuple[str, date], set[tuple[str, str]]] = {}
    for key in wanted:
        functional = terms[key.organization, key.ledger].functional_currency
        if functional and key.currency != functional:
            pairs.setdefault((key.organization, key.on), set()).add((key.currency, functional))
    rates: dict[tuple[str, date], Mapping[str, Decimal]] = {}
    for (organization, on), of_day in pairs.items():
        found = await rates_on(connection, organization, sorted(of_day), on)
        rates[organization, on] = {base: per_unit(base, day_rate) for (base, _), day_rate in found.items()}
    return Bookkeeping(terms, rates)


def per_unit(base: str, found: DayRate) -> Decimal:
    """The rate for one unit of `base`, also where it was published the other way round."""
    if found.base == base:
        return found.rate
    with localcontext() as context:
        context.prec = 60
        return (1 / found.rate).quantize(Decimal(1).scaleb(-RATE_DECIMALS)).normalize()
