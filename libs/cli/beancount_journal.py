"""A beancount file in our words: currencies, accounts, entries, and the balances beancount itself computes.

Shape. Beancount's own loader resolves the file first (interpolated amounts, booked lots, padding, plugins); what it
calls a transaction becomes one entry with one line per posting, in the posting's units. Balance, price, note, document
and event directives move no money and are left out.

One account per beancount account and commodity: the commodity it held first keeps the name (`Assets:Broker`), the
others stand behind it (`Assets:Broker.VTI`; '.' cannot occur in a beancount account's name, so no two codes collide).
A file that grows keeps the codes it had.

Several commodities in one entry. Beancount balances by *weight* (what was paid); we balance per currency. So each
currency X other than the functional one F that an entry crosses goes through its position pair: FX-POSITION-X takes
what the entry's lines leave open in X, FX-EQUIVALENT-X the weight of that in F. A weight in a third currency is valued
in F by the file's own price of that day.

Rounding, the only one: a weight has more decimals than F (3.214 shares at 104.37 are 335.44518 USD). Each equivalent
is rounded half-even to F, and what then is still open in F (beancount's tolerance, under a cent per posting) goes to
the entry's largest equivalent. Amounts of the file's own accounts are never rounded: where one has more decimals than
ISO 4217 gives its currency, the file is refused. So every balance stays exactly beancount's.

Identity. An entry's id derives from the transaction's date and content and from how many equal ones stand before it,
not from its line in the file: a file that grew at any place posts only what is new.

Payees, which may be persons, are left out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_EVEN, Decimal
from hashlib import sha256
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from libs.common import clock
from libs.common.errors import Failure
from libs.common.journal import (
    LINES_MAX,
    NORMAL_SIDE,
    AccountRequest,
    AccountType,
    CurrencyRequest,
    EntryRequest,
    LineRequest,
    Side,
    position_codes,
)
from libs.common.money import EXPONENT_MAX, ISO_4217, to_text

Exponents = Mapping[str, int]

_ZERO = Decimal(0)


class Unconvertible(Failure):
    """The file cannot be taken over exactly; the message names the place and the reason."""


@dataclass(frozen=True, slots=True)
class ExpectedBalance:
    """What beancount computes for one account and commodity, on the normal side of our account `code`."""

    code: str
    currency: str
    balance: str


@dataclass(slots=True, kw_only=True)
class ConvertedJournal:
    """A beancount file in our words, in the order it is to be posted. `digest` is the SHA-256 of its entries."""

    title: str
    functional_currency: str
    currencies: list[CurrencyRequest] = field(default_factory=list)
    accounts: list[AccountRequest] = field(default_factory=list)
    entries: list[EntryRequest] = field(default_factory=list)
    balances: list[ExpectedBalance] = field(default_factory=list)
    zero_lines_dropped: int = 0
    empty_entries_dropped: int = 0

    @property
    def digest(self) -> str:
        """Names this content: the same file gives the same digest, another one another."""
        lines = sha256()
        for entry in self.entries:
            lines.update(entry_line(entry))
        return lines.hexdigest()


def read(path: Path, organization: str) -> ConvertedJournal:
    """Loads and converts a file. Raises Unconvertible where beancount finds errors or exactness would be lost."""
    directives, faults, options = _beancount("loader").load_file(str(path))
    if faults:
        places = "\n".join(f"  {_place(fault.source)}: {fault.message}" for fault in faults[:5])
        raise Unconvertible(f"beancount refuses {path.name} ({len(faults)} found):\n{places}")
    return convert(directives, options, organization)


def convert(directives: Sequence[Any], options: Mapping[str, Any], organization: str) -> ConvertedJournal:
    """Converts what beancount's loader returned. The functional currency is the file's first operating currency."""
    words = _beancount("core.data")
    functional = (options["operating_currency"] or ["USD"])[0]
    transactions = [directive for directive in directives if isinstance(directive, words.Transaction)]
    opens = [directive for directive in directives if isinstance(directive, words.Open)]
    postings = [posting for transaction in transactions for posting in transaction.postings]
    exponents = _exponents(transactions, functional)
    codes = _codes(opens, postings, functional)
    journal = ConvertedJournal(title=str(options["title"]), functional_currency=functional)
    journal.currencies = [
        CurrencyRequest(code=code, decimals=decimals) for code, decimals in exponents.items() if code not in ISO_4217
    ]
    types = _types(options)
    journal.accounts = [_account(code, name, currency, types) for (name, currency), code in codes.items()]
    writer = _EntryWriter(organization, functional, exponents, codes, _PriceList(directives, functional))
    for transaction in transactions:
        journal.zero_lines_dropped += sum(not posting.units.number for posting in transaction.postings)
        entry = writer.entry(transaction)
        if entry is None:
            journal.empty_entries_dropped += 1
        else:
            journal.entries.append(entry)
    journal.balances = list(_balances([*opens, *transactions], codes, types, exponents))
    return journal


def entry_line(entry: EntryRequest) -> bytes:
    """The entry as one JSON line of a bulk request, without what is absent."""
    return orjson.dumps(entry, default=_stated, option=orjson.OPT_PASSTHROUGH_DATACLASS) + b"\n"


def _stated(request: Any) -> dict[str, Any]:
    """The fields that differ from their default."""
    values = ((spec, getattr(request, spec.name)) for spec in fields(request))
    return {spec.name: value for spec, value in values if value != spec.default and value not in ([], {})}


def _beancount(module: str) -> Any:
    """A module of beancount, which only an import of its files needs."""
    try:
        return import_module(f"beancount.{module}")
    except ModuleNotFoundError as absent:
        raise Unconvertible("beancount is not installed: install the project with its extra 'dev'") from absent


def _exponents(transactions: Iterable[Any], functional: str) -> dict[str, int]:
    """Decimals per commodity in the order of first use: ISO 4217's own, else the most the file gives it."""
    found: dict[str, int] = {functional: 0}
    for transaction in transactions:
        for posting in transaction.postings:
            code, decimals = posting.units.currency, _decimals(posting.units.number)
            limit = ISO_4217[code].exponent if code in ISO_4217 else EXPONENT_MAX
            if decimals > limit:
                raise Unconvertible(
                    f"{_place(posting.meta or transaction.meta)}: {posting.units} has more than the {limit} decimals "
                    f"of {code}; rounding it would change the balance of {posting.account}"
                )
            found[code] = max(found.get(code, 0), decimals)
    for code in found:
        if not 3 <= len(code) <= 24 or set(code) & {"'", "/"}:
            raise Unconvertible(f"commodity {code} has no name we can take: 3 to 24 of A-Z, 0-9, '.', '_' and '-'")
    return {code: ISO_4217[code].exponent if code in ISO_4217 else decimals for code, decimals in found.items()}


def _decimals(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _codes(opens: Iterable[Any], postings: Iterable[Any], functional: str) -> dict[tuple[str, str], str]:
    """Our account code for each beancount account and commodity, in the order the file opens them."""
    held: dict[str, dict[str, None]] = {opened.account: dict.fromkeys(opened.currencies or ()) for opened in opens}
    for posting in postings:
        held.setdefault(posting.account, {})[posting.units.currency] = None
    used = {posting.units.currency for posting in postings}
    codes: dict[tuple[str, str], str] = {}
    for name, declared in held.items():
        for number, currency in enumerate([code for code in declared if code in used] or [functional]):
            code = name if number == 0 else f"{name}.{currency}"
            if len(code) > 128:
                raise Unconvertible(f"account {code} is longer than 128 characters")
            codes[name, currency] = code
    return codes


def _types(options: Mapping[str, Any]) -> dict[str, AccountType]:
    return {
        options["name_assets"]: "asset",
        options["name_liabilities"]: "liability",
        options["name_equity"]: "equity",
        options["name_income"]: "income",
        options["name_expenses"]: "expense",
    }


def _account(code: str, name: str, currency: str, types: Mapping[str, AccountType]) -> AccountRequest:
    return AccountRequest(code=code, name=name, type=types[name.partition(":")[0]], currency=currency)


def _balances(
    directives: Sequence[Any],
    codes: Mapping[tuple[str, str], str],
    types: Mapping[str, AccountType],
    exponents: Exponents,
) -> Iterator[ExpectedBalance]:
    """Beancount's own sums (its realization, lots reduced to units), for every account of ours."""
    realization, get_units = _beancount("core.realization"), _beancount("core.convert").get_units
    real_root = realization.realize(directives)
    for (name, currency), code in codes.items():
        held = realization.get(real_root, name).balance.reduce(get_units)
        units = held.get_currency_units(currency).number
        signed = units if NORMAL_SIDE[types[name.partition(":")[0]]] == "debit" else -units
        exponent = exponents[currency]
        yield ExpectedBalance(code, currency, to_text(_minor(signed, exponent), exponent))


class _PriceList:
    """The file's own prices in the functional currency, by day."""

    def __init__(self, directives: Sequence[Any], functional: str) -> None:
        self._prices = _beancount("core.prices")
        self._price_map = self._prices.build_price_map(directives)
        self._functional = functional

    def value(self, number: Decimal, currency: str, on: date) -> Decimal | None:
        """`number` units of `currency` in the functional one by the latest price up to that day, if there is one."""
        if currency == self._functional:
            return number
        _, price = self._prices.get_price(self._price_map, (currency, self._functional), on)
        return None if price is None else number * price


class _EntryWriter:
    """Turns transactions into entries one after the other; equal ones are told apart by counting them."""

    def __init__(
        self,
        organization: str,
        functional: str,
        exponents: Exponents,
        codes: Mapping[tuple[str, str], str],
        price_list: _PriceList,
    ) -> None:
        self._organization = organization
        self._functional = functional
        self._exponents = exponents
        self._codes = codes
        self._price_list = price_list
        self._seen: Counter[bytes] = Counter()

    def entry(self, transaction: Any) -> EntryRequest | None:
        """The entry, or None where all its amounts are zero."""
        lines = [self._line(posting) for posting in transaction.postings if posting.units.number]
        if not lines:
            return None
        lines += self._pair_lines(transaction)
        if len(lines) > LINES_MAX:
            raise Unconvertible(f"{_place(transaction.meta)}: {len(lines)} lines, an entry has {LINES_MAX} at most")
        entry = EntryRequest(
            lines=lines,
            effective_on=transaction.date,
            description=(transaction.narration or "")[:2_000],
            metadata=_metadata(transaction),
        )
        self._identify(entry, transaction)
        return entry

    def _line(self, posting: Any) -> LineRequest:
        currency = posting.units.currency
        return self._signed_line(self._codes[posting.account, currency], currency, posting.units.number)

    def _signed_line(self, code: str, currency: str, number: Decimal) -> LineRequest:
        side: Side = "debit" if number > 0 else "credit"
        exponent = self._exponents[currency]
        return LineRequest(
            account=code, side=side, amount=to_text(_minor(abs(number), exponent), exponent), currency=currency
        )

    def _pair_lines(self, transaction: Any) -> list[LineRequest]:
        """The lines of the position pairs: what is open per currency, valued in the functional one."""
        open_units: dict[str, Decimal] = defaultdict(Decimal)
        for posting in transaction.postings:
            open_units[posting.units.currency] += posting.units.number
        functional_open = open_units.pop(self._functional, _ZERO)
        equivalents = self._equivalents(transaction, functional_open)
        lines = []
        for currency in dict.fromkeys(chain(open_units, equivalents)):
            position, equivalent = position_codes(currency)
            if open_units.get(currency):
                lines.append(self._signed_line(position, currency, -open_units[currency]))
            if equivalents.get(currency):
                lines.append(self._signed_line(equivalent, self._functional, equivalents[currency]))
        return lines

    def _equivalents(self, transaction: Any, functional_open: Decimal) -> dict[str, Decimal]:
        """The functional value, debit positive, of what went into each foreign currency; closes `functional_open`."""
        values: dict[str, Decimal] = defaultdict(Decimal)
        for currency, number in self._crossings(transaction):
            values[currency] += number
        quantum = Decimal(1).scaleb(-self._exponents[self._functional])
        rounded = {currency: number.quantize(quantum, ROUND_HALF_EVEN) for currency, number in values.items()}
        still_open = functional_open + sum(rounded.values(), _ZERO)
        if still_open:
            if not any(rounded.values()):
                raise Unconvertible(
                    f"{_place(transaction.meta)}: the amounts leave {still_open} {self._functional} open, "
                    "within beancount's tolerance; books balance exactly"
                )
            rounded[max(rounded, key=lambda currency: abs(rounded[currency]))] -= still_open
        return rounded

    def _crossings(self, transaction: Any) -> Iterator[tuple[str, Decimal]]:
        """(foreign currency, its gain in functional units) for each posting that is paid in another commodity."""
        get_weight = _beancount("core.convert").get_weight
        for posting in transaction.postings:
            units, weight = posting.units, get_weight(posting)
            if units.currency == weight.currency or not units.number:
                continue
            if units.currency == self._functional:
                value = units.number
            else:
                value = self._price_list.value(weight.number, weight.currency, transaction.date)
            if value is None:
                raise Unconvertible(
                    f"{_place(transaction.meta)}: {units} was paid in {weight.currency}, and the file has no price of "
                    f"{weight.currency} in {self._functional} up to {transaction.date}"
                )
            if units.currency != self._functional:
                yield units.currency, value
            if weight.currency != self._functional:
                yield weight.currency, -value

    def _identify(self, entry: EntryRequest, transaction: Any) -> None:
        """Gives the entry its id and external id, from beancount's words alone: our codes may depend on other lines."""
        get_weight = _beancount("core.convert").get_weight
        postings = [[p.account, str(p.units), str(get_weight(p))] for p in transaction.postings]
        words = [str(transaction.date), entry.description, entry.metadata, postings]
        content = sha256(orjson.dumps(words)).digest()
        self._seen[content] += 1
        document = f"{content.hex()[:32]}/{self._seen[content]}"
        midnight = datetime.combine(transaction.date, time(), UTC)
        entry.id = clock.derived_id(midnight, self._organization, "beancount", document, "import")
        entry.external_id = f"beancount/{document}"


def _metadata(transaction: Any) -> dict[str, Any]:
    labels = {
        "flag": transaction.flag,
        "tags": sorted(transaction.tags or ()),
        "links": sorted(transaction.links or ()),
    }
    return {name: value for name, value in labels.items() if value}


def _minor(number: Decimal, exponent: int) -> int:
    scaled = number.scaleb(exponent)
    assert scaled == scaled.to_integral_value(), "decimals were checked when the file was read"
    return int(scaled)


def _place(meta: Mapping[str, Any]) -> str:
    return f"{Path(str(meta.get('filename', '?'))).name}:{meta.get('lineno', '?')}"
