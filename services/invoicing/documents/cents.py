"""Our own check of an e-invoice's cents, stricter than the official rules: to the minor unit, without any tolerance.

It reads the written text, in either syntax, and adds it all up again: each line from quantity, price and discount; the
lines, discounts and rows of tax by category and rate; the totals. A row's tax is what its recorded policy makes of its
base: round(base x rate) where tax was put on top, the tax inside base + tax where it was taken out, and for a credit
note what the difference of two rounded sums may be off by. The official rules let a whole unit pass there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final
from xml.etree import ElementTree

from libs.common.errors import Fault
from libs.common.money import ISO_4217, Rounding, from_text, round_ratio, to_text
from services.invoicing.arithmetic import GROSS_POLICY, NET_POLICY

_UBL: Final = {
    "cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
    "cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
}
_CII: Final = {
    "ram": "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100",
    "rsm": "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100",
}

_Key = tuple[str, Decimal]
"""Category and rate; what has no rate has zero."""


@dataclass(frozen=True, slots=True)
class WrittenLine:
    """A line as it is written; amounts in minor units."""

    quantity: Fraction
    price: Fraction
    base_quantity: Fraction
    discount: int
    net: int
    key: _Key


@dataclass(frozen=True, slots=True)
class Written:
    """An e-invoice's figures as they are written; amounts in minor units."""

    lines: list[WrittenLine]
    discounts: list[tuple[_Key, int]]
    rows: list[tuple[_Key, int, int]]
    lines_net: int
    discount: int
    net: int
    tax: int
    gross: int
    prepaid: int
    rounding: int
    payable: int
    exponent: int


def check(text: str, policy: str) -> list[Fault]:
    """Every figure of a written e-invoice that is not what the others make it, with the place of each."""
    written = read(text)
    return [*_lines(written), *_rows(written, policy), *_sums(written)]


def read(text: str) -> Written:
    """The figures of one of our own documents, UBL or CII; raises ValueError where it is none."""
    if "<!" in text:
        raise ValueError("no document of ours: it declares things")
    root = ElementTree.fromstring(text.encode())  # noqa: S314 - our own text, without declarations
    if root.tag.endswith("}CrossIndustryInvoice"):
        return _read_cii(root)
    if root.tag.endswith(("}Invoice", "}CreditNote")):
        return _read_ubl(root)
    raise ValueError(f"no e-invoice: {root.tag}")


def _lines(written: Written) -> Iterator[Fault]:
    for place, line in enumerate(written.lines):
        exact = line.quantity * line.price / line.base_quantity * 10**written.exponent
        computed = _half_up(exact) - line.discount
        if computed != line.net:
            yield _off(written, f"/lines/{place}/net", line.net, computed)


def _rows(written: Written, policy: str) -> Iterator[Fault]:
    bases: dict[_Key, int] = {}
    for line in written.lines:
        bases[line.key] = bases.get(line.key, 0) + line.net
    for key, discount in written.discounts:
        bases[key] = bases.get(key, 0) - discount
    for place, (key, base, amount) in enumerate(written.rows):
        computed = bases.pop(key, 0)
        if computed != base:
            yield _off(written, f"/taxes/{place}/base", base, computed)
        if fault := _tax_fault(key[1], base, amount, policy):
            yield Fault(f"/taxes/{place}/amount", fault)
    for category, rate in bases:
        yield Fault("/taxes", f"have no row of {category} {rate}")


def _tax_fault(rate: Decimal, base: int, amount: int, policy: str) -> str | None:
    share = Fraction(rate) / 100
    if policy == NET_POLICY:
        computed = _half_up(base * share)
        return None if amount == computed else f"is {amount} minor units, on {base} it is {computed}"
    if policy == GROSS_POLICY:
        computed = _half_up((base + amount) * share / (1 + share))
        return None if amount == computed else f"is {amount} minor units, inside {base + amount} it is {computed}"
    return None if abs(amount - base * share) <= 1 else f"is {amount} minor units, on {base} it is about {base * share}"


def _sums(written: Written) -> Iterator[Fault]:
    parts = (
        ("/lines_net", written.lines_net, sum(line.net for line in written.lines)),
        ("/discount", written.discount, sum(amount for _, amount in written.discounts)),
        ("/net", written.net, written.lines_net - written.discount),
        ("/net", written.net, sum(base for _, base, _ in written.rows)),
        ("/tax", written.tax, sum(amount for _, _, amount in written.rows)),
        ("/gross", written.gross, written.net + written.tax),
        ("/payable", written.payable, written.gross - written.prepaid + written.rounding),
    )
    for pointer, said, computed in parts:
        if said != computed:
            yield _off(written, pointer, said, computed)


def _off(written: Written, pointer: str, said: int, computed: int) -> Fault:
    return Fault(pointer, f"is {to_text(said, written.exponent)}, is made {to_text(computed, written.exponent)}")


def _half_up(exact: Fraction) -> int:
    return round_ratio(exact.numerator, exact.denominator, Rounding.HALF_UP)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Finds texts below an element by path."""

    spaces: dict[str, str]
    exponent: int

    def text(self, element: ElementTree.Element, path: str) -> str | None:
        return element.findtext(path, namespaces=self.spaces)

    def amount(self, element: ElementTree.Element, path: str) -> int:
        return from_text(self.text(element, path) or "0", self.exponent)

    def number(self, element: ElementTree.Element, path: str) -> Fraction:
        return Fraction(self.text(element, path) or "1")

    def key(self, element: ElementTree.Element, category: str, rate: str) -> _Key:
        return self.text(element, category) or "", Decimal(self.text(element, rate) or "0")

    def all(self, element: ElementTree.Element, path: str) -> list[ElementTree.Element]:
        return element.findall(path, namespaces=self.spaces)


def _read_ubl(root: ElementTree.Element) -> Written:
    code = root.findtext("cbc:DocumentCurrencyCode", namespaces=_UBL) or ""
    reader = _Reader(_UBL, ISO_4217[code].exponent)
    kind, quantity = ("Invoice", "Invoiced") if root.tag.endswith("}Invoice") else ("CreditNote", "Credited")
    lines = [
        WrittenLine(
            quantity=reader.number(line, f"cbc:{quantity}Quantity"),
            price=reader.number(line, "cac:Price/cbc:PriceAmount"),
            base_quantity=reader.number(line, "cac:Price/cbc:BaseQuantity"),
            discount=sum(reader.amount(each, "cbc:Amount") for each in reader.all(line, "cac:AllowanceCharge")),
            net=reader.amount(line, "cbc:LineExtensionAmount"),
            key=reader.key(
                line, "cac:Item/cac:ClassifiedTaxCategory/cbc:ID", "cac:Item/cac:ClassifiedTaxCategory/cbc:Percent"
            ),
        )
        for line in reader.all(root, f"cac:{kind}Line")
    ]
    category = ("cac:TaxCategory/cbc:ID", "cac:TaxCategory/cbc:Percent")
    (totals,) = reader.all(root, "cac:LegalMonetaryTotal")
    (taxes,) = [each for each in reader.all(root, "cac:TaxTotal") if reader.all(each, "cac:TaxSubtotal")]
    return Written(
        lines=lines,
        discounts=[
            (reader.key(each, *category), reader.amount(each, "cbc:Amount"))
            for each in reader.all(root, "cac:AllowanceCharge")
        ],
        rows=[
            (
                reader.key(row, *category),
                reader.amount(row, "cbc:TaxableAmount"),
                reader.amount(row, "cbc:TaxAmount"),
            )
            for row in reader.all(taxes, "cac:TaxSubtotal")
        ],
        lines_net=reader.amount(totals, "cbc:LineExtensionAmount"),
        discount=reader.amount(totals, "cbc:AllowanceTotalAmount"),
        net=reader.amount(totals, "cbc:TaxExclusiveAmount"),
        tax=reader.amount(taxes, "cbc:TaxAmount"),
        gross=reader.amount(totals, "cbc:TaxInclusiveAmount"),
        prepaid=reader.amount(totals, "cbc:PrepaidAmount"),
        rounding=reader.amount(totals, "cbc:PayableRoundingAmount"),
        payable=reader.amount(totals, "cbc:PayableAmount"),
        exponent=reader.exponent,
    )


def _read_cii(root: ElementTree.Element) -> Written:
    (trade,) = root.findall("rsm:SupplyChainTradeTransaction", namespaces=_CII)
    (settlement,) = trade.findall("ram:ApplicableHeaderTradeSettlement", namespaces=_CII)
    code = settlement.findtext("ram:InvoiceCurrencyCode", namespaces=_CII) or ""
    reader = _Reader(_CII, ISO_4217[code].exponent)
    rate = ("ram:CategoryCode", "ram:RateApplicablePercent")
    (totals,) = reader.all(settlement, "ram:SpecifiedTradeSettlementHeaderMonetarySummation")
    return Written(
        lines=[_cii_line(reader, line) for line in reader.all(trade, "ram:IncludedSupplyChainTradeLineItem")],
        discounts=[
            (
                reader.key(
                    each, "ram:CategoryTradeTax/ram:CategoryCode", "ram:CategoryTradeTax/ram:RateApplicablePercent"
                ),
                reader.amount(each, "ram:ActualAmount"),
            )
            for each in reader.all(settlement, "ram:SpecifiedTradeAllowanceCharge")
        ],
        rows=[
            (
                reader.key(row, *rate),
                reader.amount(row, "ram:BasisAmount"),
                reader.amount(row, "ram:CalculatedAmount"),
            )
            for row in reader.all(settlement, "ram:ApplicableTradeTax")
        ],
        lines_net=reader.amount(totals, "ram:LineTotalAmount"),
        discount=reader.amount(totals, "ram:AllowanceTotalAmount"),
        net=reader.amount(totals, "ram:TaxBasisTotalAmount"),
        tax=reader.amount(totals, f"ram:TaxTotalAmount[@currencyID='{code}']"),
        gross=reader.amount(totals, "ram:GrandTotalAmount"),
        prepaid=reader.amount(totals, "ram:TotalPrepaidAmount"),
        rounding=reader.amount(totals, "ram:RoundingAmount"),
        payable=reader.amount(totals, "ram:DuePayableAmount"),
        exponent=reader.exponent,
    )


def _cii_line(reader: _Reader, line: ElementTree.Element) -> WrittenLine:
    (settled,) = reader.all(line, "ram:SpecifiedLineTradeSettlement")
    price = "ram:SpecifiedLineTradeAgreement/ram:NetPriceProductTradePrice"
    return WrittenLine(
        quantity=reader.number(line, "ram:SpecifiedLineTradeDelivery/ram:BilledQuantity"),
        price=reader.number(line, f"{price}/ram:ChargeAmount"),
        base_quantity=reader.number(line, f"{price}/ram:BasisQuantity"),
        discount=sum(
            reader.amount(each, "ram:ActualAmount") for each in reader.all(settled, "ram:SpecifiedTradeAllowanceCharge")
        ),
        net=reader.amount(settled, "ram:SpecifiedTradeSettlementLineMonetarySummation/ram:LineTotalAmount"),
        key=reader.key(
            settled, "ram:ApplicableTradeTax/ram:CategoryCode", "ram:ApplicableTradeTax/ram:RateApplicablePercent"
        ),
    )
