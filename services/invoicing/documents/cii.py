"""UN/CEFACT Cross Industry Invoice (D16B) by EN 16931's syntax binding: what Factur-X and ZUGFeRD carry.

The same document as ubl.py writes, in the order this schema wants; invoices and credit notes share one root. A document
that `en16931.check` lets through is accepted by the schema of the profile EN 16931 and by the official rules.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

from services.invoicing.arithmetic import LineTotal, TaxTotal
from services.invoicing.documents import en16931
from services.invoicing.documents.en16931 import amount, number
from services.invoicing.documents.printed import Address, Party, PrintedInvoice
from services.invoicing.documents.xml_text import Part, document, leaf, node

_SPACES = {
    "rsm": "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100",
    "ram": "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100",
    "qdt": "urn:un:unece:uncefact:data:standard:QualifiedDataType:100",
    "udt": "urn:un:unece:uncefact:data:standard:UnqualifiedDataType:100",
}


def write(printed: PrintedInvoice) -> str:
    """The document as CII; it was checked before."""
    code = en16931.INVOICE_CODE if printed.kind == "invoice" else en16931.CREDIT_NOTE_CODE
    return document(
        "rsm:CrossIndustryInvoice",
        _SPACES,
        node(
            "rsm:ExchangedDocumentContext",
            node("ram:GuidelineSpecifiedDocumentContextParameter", leaf("ram:ID", en16931.SPECIFICATION)),
        ),
        node(
            "rsm:ExchangedDocument",
            leaf("ram:ID", printed.number),
            leaf("ram:TypeCode", code),
            _day("ram:IssueDateTime", printed.issued_on),
            node("ram:IncludedNote", leaf("ram:Content", printed.note)),
        ),
        node(
            "rsm:SupplyChainTradeTransaction",
            [_line(printed, place, line) for place, line in enumerate(printed.totals.lines, 1)],
            _agreement(printed),
            _delivery(printed),
            _settlement(printed),
        ),
    )


def _day(name: str, day: date | None, form: str = "udt:DateTimeString") -> Part:
    return node(name, leaf(form, f"{day:%Y%m%d}", format="102")) if day else None


def _line(printed: PrintedInvoice, place: int, line: LineTotal) -> Part:
    draft = line.draft
    return node(
        "ram:IncludedSupplyChainTradeLineItem",
        node("ram:AssociatedDocumentLineDocument", leaf("ram:LineID", str(place))),
        node(
            "ram:SpecifiedTradeProduct",
            leaf("ram:SellerAssignedID", draft.product),
            leaf("ram:Name", draft.description),
        ),
        node(
            "ram:SpecifiedLineTradeAgreement",
            node(
                "ram:NetPriceProductTradePrice",
                leaf("ram:ChargeAmount", number(en16931.unit_price(printed, line))),
                leaf("ram:BasisQuantity", number(draft.base_quantity), unitCode=draft.unit),
            ),
        ),
        node(
            "ram:SpecifiedLineTradeDelivery",
            leaf("ram:BilledQuantity", number(draft.quantity), unitCode=draft.unit),
        ),
        node(
            "ram:SpecifiedLineTradeSettlement",
            _category("ram:ApplicableTradeTax", en16931.row_of_line(printed, line)),
            node(
                "ram:BillingSpecifiedPeriod",
                _day("ram:StartDateTime", draft.service_from),
                _day("ram:EndDateTime", draft.service_to),
            ),
            _line_discount(printed, line),
            node(
                "ram:SpecifiedTradeSettlementLineMonetarySummation",
                leaf("ram:LineTotalAmount", amount(printed, line.net)),
            ),
        ),
    )


def _category(name: str, row: TaxTotal) -> Part:
    return node(
        name,
        leaf("ram:TypeCode", "VAT"),
        leaf("ram:CategoryCode", row.terms.category),
        leaf("ram:RateApplicablePercent", en16931.rate(row)),
    )


def _line_discount(printed: PrintedInvoice, line: LineTotal) -> Part:
    if not (off := en16931.line_discount(printed, line)):
        return None
    percent = line.draft.discount_percent if not line.draft.allowance else None
    return _allowance(
        amount(printed, off), percent, amount(printed, line.before_discount) if percent else None, category=None
    )


def _allowance(off: str, percent: Decimal | None, base: str | None, category: Part) -> Part:
    return node(
        "ram:SpecifiedTradeAllowanceCharge",
        node("ram:ChargeIndicator", leaf("udt:Indicator", "false")),
        leaf("ram:CalculationPercent", number(percent) if percent else None),
        leaf("ram:BasisAmount", base),
        leaf("ram:ActualAmount", off),
        leaf("ram:ReasonCode", en16931.DISCOUNT_CODE),
        leaf("ram:Reason", en16931.DISCOUNT),
        category,
    )


def _agreement(printed: PrintedInvoice) -> Part:
    return node(
        "ram:ApplicableHeaderTradeAgreement",
        leaf("ram:BuyerReference", printed.buyer_reference),
        node("ram:SellerTradeParty", _party(printed, printed.seller)),
        node("ram:BuyerTradeParty", _party(printed, printed.buyer)),
        node("ram:BuyerOrderReferencedDocument", leaf("ram:IssuerAssignedID", printed.order)),
    )


def _party(printed: PrintedInvoice, party: Party) -> Iterator[Part]:
    vat_id = None if en16931.without_vat_ids(printed) else party.vat_id
    yield leaf("ram:Name", party.name)
    yield node("ram:SpecifiedLegalOrganization", leaf("ram:ID", party.legal_id, schemeID=party.legal_scheme))
    yield node(
        "ram:DefinedTradeContact",
        leaf("ram:PersonName", party.contact),
        node("ram:TelephoneUniversalCommunication", leaf("ram:CompleteNumber", party.phone)),
        node("ram:EmailURIUniversalCommunication", leaf("ram:URIID", party.email)),
    )
    yield node("ram:PostalTradeAddress", _address(party.address))
    yield node("ram:URIUniversalCommunication", leaf("ram:URIID", party.endpoint, schemeID=party.endpoint_scheme))
    yield node("ram:SpecifiedTaxRegistration", leaf("ram:ID", party.tax_id, schemeID="FC"))
    yield node("ram:SpecifiedTaxRegistration", leaf("ram:ID", vat_id, schemeID="VA"))


def _address(address: Address) -> Iterator[Part]:
    first, second, *others = (*address.lines, "", "")
    yield leaf("ram:PostcodeCode", address.postcode)
    yield leaf("ram:LineOne", first)
    yield leaf("ram:LineTwo", second)
    yield leaf("ram:LineThree", ", ".join(line for line in others if line))
    yield leaf("ram:CityName", address.city)
    yield leaf("ram:CountryID", address.country)
    yield leaf("ram:CountrySubDivisionName", address.region)


def _delivery(printed: PrintedInvoice) -> Part:
    """Always there, if empty: the schema wants it."""
    where = node("ram:PostalTradeAddress", _address(printed.deliver_to)) if printed.deliver_to else None
    inside = node(
        "ram:ApplicableHeaderTradeDelivery",
        node("ram:ShipToTradeParty", where),
        node(
            "ram:ActualDeliverySupplyChainEvent",
            _day("ram:OccurrenceDateTime", printed.delivered_on),
        ),
    )
    return inside or "<ram:ApplicableHeaderTradeDelivery/>"


def _settlement(printed: PrintedInvoice) -> Part:
    return node(
        "ram:ApplicableHeaderTradeSettlement",
        leaf("ram:PaymentReference", printed.creditor_reference or printed.number),
        leaf("ram:TaxCurrencyCode", en16931.declared_in(printed)),
        leaf("ram:InvoiceCurrencyCode", printed.currency.code),
        _payment(printed),
        [_row(printed, row) for row in printed.totals.taxes],
        [
            _allowance(amount(printed, each.amount), None, None, _category("ram:CategoryTradeTax", each.row))
            for each in en16931.allowances(printed)
        ],
        node(
            "ram:SpecifiedTradePaymentTerms",
            leaf("ram:Description", printed.terms),
            _day("ram:DueDateDateTime", printed.due_on),
        ),
        _totals(printed),
        _preceding(printed),
    )


def _payment(printed: PrintedInvoice) -> Part:
    account = printed.pay_to
    if account is None:
        return None
    return node(
        "ram:SpecifiedTradeSettlementPaymentMeans",
        leaf("ram:TypeCode", en16931.CREDIT_TRANSFER),
        node(
            "ram:PayeePartyCreditorFinancialAccount",
            leaf("ram:IBANID", account.iban),
            leaf("ram:AccountName", account.name),
        ),
        node("ram:PayeeSpecifiedCreditorFinancialInstitution", leaf("ram:BICID", account.bic)),
    )


def _row(printed: PrintedInvoice, row: TaxTotal) -> Part:
    return node(
        "ram:ApplicableTradeTax",
        leaf("ram:CalculatedAmount", amount(printed, row.amount)),
        leaf("ram:TypeCode", "VAT"),
        leaf("ram:ExemptionReason", row.terms.exemption_reason),
        leaf("ram:BasisAmount", amount(printed, row.base)),
        leaf("ram:CategoryCode", row.terms.category),
        leaf("ram:ExemptionReasonCode", row.terms.exemption_code),
        _day("ram:TaxPointDate", printed.tax_point_on, "udt:DateString"),
        leaf("ram:RateApplicablePercent", en16931.rate(row)),
    )


def _totals(printed: PrintedInvoice) -> Part:
    totals, declared = printed.totals, en16931.declared_tax(printed)
    return node(
        "ram:SpecifiedTradeSettlementHeaderMonetarySummation",
        leaf("ram:LineTotalAmount", amount(printed, en16931.lines_net(printed))),
        leaf("ram:AllowanceTotalAmount", amount(printed, totals.discount) if totals.discount else None),
        leaf("ram:TaxBasisTotalAmount", amount(printed, totals.net)),
        leaf("ram:TaxTotalAmount", amount(printed, totals.tax), currencyID=printed.currency.code),
        leaf("ram:TaxTotalAmount", declared, currencyID=en16931.declared_in(printed)),
        leaf("ram:RoundingAmount", amount(printed, totals.rounding) if totals.rounding else None),
        leaf("ram:GrandTotalAmount", amount(printed, totals.net + totals.tax)),
        leaf("ram:TotalPrepaidAmount", amount(printed, printed.prepaid) if printed.prepaid else None),
        leaf("ram:DuePayableAmount", amount(printed, printed.payable)),
    )


def _preceding(printed: PrintedInvoice) -> Part:
    if printed.preceding is None:
        return None
    return node(
        "ram:InvoiceReferencedDocument",
        leaf("ram:IssuerAssignedID", printed.preceding.number),
        _day("ram:FormattedIssueDateTime", printed.preceding.issued_on, "qdt:DateTimeString"),
    )
