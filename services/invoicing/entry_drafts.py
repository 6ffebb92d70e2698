"""From the rules' words to an entry the ledger is asked for: parts in roles, in the books' currency, with accounts.

    parts (signed, debit positive, in the document's currency) -> in_books -> drafted -> entry_request | movements

An entry draft is balanced in every currency, or crosses to the functional one by the rates it states: the lines of the
position pair are the ledger's to add. Parts of results and tax are converted half-even, each by itself; the cents by
which they miss the worth of their sum go to the largest that is no tax, so that the pair has nothing left over.
Nothing is asked for with an amount of zero, and what falls on one account, party and tax is one line.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from datetime import date
from decimal import Decimal, localcontext
from typing import Any, Literal
from uuid import UUID

from libs.common.errors import Fault, Rejection
from libs.common.journal import OTHER_SIDE, EntryKind, Rate, Side, position_codes
from libs.common.money import Currency, Rounding, convert, to_text
from libs.common.values import value
from services.invoicing.account_roles import CONTROLLED, TIED, Role, books_currency, resolve
from services.invoicing.account_roles import Mapping as AccountMapping
from services.invoicing.drafts import TaxTerms
from services.invoicing.rejections import reject

TaxBasis = Literal["accrual", "cash"]
RATE_DECIMALS = 20
"""What a rate of an entry may have."""


@value(frozen=True, slots=True, kw_only=True)
class Books:
    """What the rules have to know of a ledger.

    `rates` are units of the functional currency for one unit of the named one, on the day that `posting_rules` says.
    """

    functional: Currency
    mapping: AccountMapping
    tax_basis: TaxBasis = "accrual"
    rates: Mapping[str, Decimal] = field(default_factory=dict)


@value(frozen=True, slots=True)
class Part:
    """What one event moves under one role: `amount` in minor units, debit positive.

    `line` is the invoice line it comes from, `account` stands in for the role's account.
    """

    role: Role
    amount: int
    currency: Currency
    party: str | None = None
    account: str | None = None
    tax: TaxTerms | None = None
    line: int | None = None


@value(frozen=True, slots=True)
class RuleLine:
    """One line of an entry draft: a positive amount on one side."""

    role: Role
    side: Side
    amount: int
    currency: Currency
    party: str | None = None
    account: str | None = None
    tax: TaxTerms | None = None


@value(frozen=True, slots=True, kw_only=True)
class EntryDraft:
    """An entry before its accounts are known. A document asks once for each purpose; without lines there is no need to.

    A document whose amounts are all zero has a draft without lines.
    """

    purpose: str
    description: str
    effective_on: date
    lines: tuple[RuleLine, ...]
    kind: EntryKind = "normal"
    rates: tuple[Rate, ...] = ()


Movement = tuple[Role, str | None, str, int]
"""Role, party, currency, minor units with debit positive: what the subledger says an entry does."""


def in_books(parts: Sequence[Part], books: Books) -> list[Part] | Rejection:
    """The parts in the currency in which each goes to the books, those of nothing left out."""
    booked = [part for part in parts if part.amount]
    foreign: dict[str, list[int]] = {}
    functional = books.functional.code
    for place, part in enumerate(booked):
        code = part.currency.code
        if code != functional and books_currency(part.role, code, books.mapping, functional) != code:
            foreign.setdefault(code, []).append(place)
    for code, places in foreign.items():
        rate = books.rates.get(code)
        if rate is None:
            return _rate_missing(code, books.functional.code)
        for place, part in zip(places, _converted([booked[place] for place in places], rate, books), strict=True):
            booked[place] = part
    return booked


def _converted(parts: list[Part], rate: Decimal, books: Books) -> list[Part]:
    """Parts of one currency in the functional one: together exactly what their sum is worth."""
    currency = parts[0].currency
    worths = [convert(part.amount, currency, books.functional, rate, Rounding.HALF_EVEN) for part in parts]
    whole = convert(sum(part.amount for part in parts), currency, books.functional, rate, Rounding.HALF_EVEN)
    largest = max(range(len(parts)), key=lambda place: (parts[place].tax is None, abs(parts[place].amount)))
    worths[largest] += whole - sum(worths)
    return [replace(part, amount=worth, currency=books.functional) for part, worth in zip(parts, worths, strict=True)]


def drafted(
    purpose: str, description: str, effective_on: date, parts: Sequence[Part], books: Books, kind: EntryKind = "normal"
) -> EntryDraft | Rejection:
    """The entry of these parts; the debits stand first."""
    booked = in_books(parts, books)
    if isinstance(booked, Rejection):
        return booked
    lines = rule_lines(booked)
    rates = _rates(booked, books)
    if isinstance(rates, Rejection):
        return rates
    if len(lines) == 1:
        lines, rates = (*lines, _worth_nothing(lines[0])), ()
    return EntryDraft(
        purpose=purpose,
        description=description,
        effective_on=effective_on,
        lines=lines,
        kind=kind,
        rates=rates,
    )


def rule_lines(booked: Iterable[Part]) -> tuple[RuleLine, ...]:
    """One line for each role, currency, party, account and tax that is left with an amount."""
    sums: dict[tuple[Role, Currency, str | None, str | None, TaxTerms | None], int] = {}
    for part in booked:
        key = (part.role, part.currency, part.party, part.account, part.tax)
        sums[key] = sums.get(key, 0) + part.amount
    lines = [
        RuleLine(role, "debit" if amount > 0 else "credit", abs(amount), currency, party, account, tax)
        for (role, currency, party, account, tax), amount in sums.items()
        if amount
    ]
    return tuple(sorted(lines, key=lambda line: line.side == "credit"))


def _worth_nothing(line: RuleLine) -> RuleLine:
    """The other side of an amount that is worth less than half a cent: the currency's position, nothing behind it."""
    position, _ = position_codes(line.currency.code)
    return replace(line, role="rounding", side=OTHER_SIDE[line.side], party=None, account=position, tax=None)


def _rates(booked: Sequence[Part], books: Books) -> tuple[Rate, ...] | Rejection:
    """A rate for each foreign currency that the entry leaves a residual in."""
    sums: dict[str, int] = {}
    for part in booked:
        sums[part.currency.code] = sums.get(part.currency.code, 0) + part.amount
    rates: list[Rate] = []
    for code, residual in sums.items():
        if residual and code != books.functional.code:
            rate = books.rates.get(code)
            if rate is None:
                return _rate_missing(code, books.functional.code)
            rates.append(Rate(code, books.functional.code, f"{rate:f}"))
    return tuple(rates)


def _rate_missing(code: str, functional: str) -> Rejection:
    said = f"{code} to {functional}"
    return reject("rate-missing", f"Wanted is {said}.", [Fault("/currency", said)], base=code, counter=functional)


def crossed(books: Books, stated: Rate) -> Books | Rejection:
    """The books with the rate that two currencies are exchanged at.

    Where neither is the functional one, the rate of the first follows from that of the second.
    """
    rate = Decimal(stated.rate)
    if not rate:
        return reject("rate-mismatch", "A rate is greater than zero.", [Fault("/rate", "is zero")])
    functional = books.functional.code
    if stated.counter == functional:
        return replace(books, rates={**books.rates, stated.base: rate})
    if stated.base == functional:
        return replace(books, rates={**books.rates, stated.counter: _ratio(Decimal(1), rate)})
    counter = books.rates.get(stated.counter)
    if counter is None:
        return _rate_missing(stated.counter, functional)
    return replace(books, rates={**books.rates, stated.base: _ratio(rate * counter, Decimal(1))})


def unlike(stated: Rate | None, paid: tuple[Currency, int], settled: tuple[Currency, int]) -> Rejection | None:
    """Whether an amount paid and an amount settled in another currency are the same at the stated rate, to the cent."""
    amounts = {currency.code: (currency, amount) for currency, amount in (paid, settled)}
    here, there = paid[0].code, settled[0].code
    if stated is None or {stated.base, stated.counter} != {here, there}:
        said = f"{here} for {there}"
        return reject("currency-mismatch", f"It is {said}.", [Fault("/currency", said)], currency=here, invoice=there)
    (base, of_base), (counter, of_counter) = amounts[stated.base], amounts[stated.counter]
    wanted = convert(of_base, base, counter, Decimal(stated.rate), Rounding.HALF_EVEN)
    if abs(wanted - of_counter) <= 1:
        return None
    given, at_rate = to_text(of_counter, counter.exponent), to_text(wanted, counter.exponent)
    said = f"{given} {counter.code}, at the rate it is {at_rate}"
    return reject("rate-mismatch", f"It is {said}.", [Fault("/rate", said)], amount=given, at_rate=at_rate)


def _ratio(numerator: Decimal, denominator: Decimal) -> Decimal:
    with localcontext() as context:
        context.prec = 60
        return (numerator / denominator).quantize(Decimal(1).scaleb(-RATE_DECIMALS)).normalize()


# --- what becomes of a draft ------------------------------------------------------------------------------------------


def movements(draft: EntryDraft) -> list[Movement]:
    """What the draft does to the accounts that invoicing ties out, summed by role, party and currency."""
    sums: dict[tuple[Role, str | None, str], int] = {}
    for line in draft.lines:
        if line.role in TIED and line.account is None:
            key = (line.role, line.party, line.currency.code)
            sums[key] = sums.get(key, 0) + (line.amount if line.side == "debit" else -line.amount)
    return [(*key, amount) for key, amount in sums.items() if amount]


def mirrored(moved: Iterable[Movement]) -> list[Movement]:
    """What the reversal of an entry does."""
    return [(role, party, currency, -amount) for role, party, currency, amount in moved]


def entry_request(
    draft: EntryDraft, books: Books, *, organization: str, ledger: str, document: str, id_: UUID, attempt: int = 1
) -> dict[str, Any] | Rejection:
    """The body of `ledger.entry-wanted.v1`: the draft on the accounts of the mapping.

    A day that is closed moves the entry to the next open one; its true date stays as `value_on`.
    """
    lines: list[dict[str, str]] = []
    for line in draft.lines:
        code = line.account or resolve(line.role, line.currency.code, books.mapping, books.functional.code)
        if isinstance(code, Rejection):
            return code
        lines.append(_line(line, code))
    on, id_text = draft.effective_on.isoformat(), str(id_)
    return {
        "organization": organization,
        "ledger": ledger,
        "idempotency_key": f"{id_text}/{attempt}",
        "document": document,
        "id": id_text,
        "kind": draft.kind,
        "effective_on": on,
        "value_on": on,
        "if_closed": "next-open-day",
        "description": draft.description,
        "origin": {"service": "invoicing", "document": document},
        "lines": lines,
        "rates": [{"base": rate.base, "counter": rate.counter, "rate": rate.rate} for rate in draft.rates],
    }


def _line(line: RuleLine, account: str) -> dict[str, str]:
    assert (line.party is not None) == (line.role in CONTROLLED), f"a party goes with a control account: {line}"
    found = {
        "account": account,
        "side": line.side,
        "amount": to_text(line.amount, line.currency.exponent),
        "currency": line.currency.code,
    }
    if line.party is not None:
        found["party"] = line.party
    if line.tax is not None:
        found["description"] = f"{line.tax.name or 'Tax'} {line.tax.category} {line.tax.rate:f} %"
    return found
