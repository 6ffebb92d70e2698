"""UBL 2.1 Invoice and CreditNote by EN 16931's syntax binding, in the order the schema wants.

A document that `en16931.check` lets through is accepted by the schema and by the official rules. Amounts carry the
document's currency; a discount on the whole document is written once for each row of tax.
"""

from collections.abc import Iterator

from services.invoicing.arithmetic import LineTotal, TaxTotal
from services.invoicing.documents import en16931
from services.invoicing.documents.en16931 import amount, number
from services.invoicing.documents.printed import Address, Party, PrintedInvoice
from services.invoicing.documents.xml_text import Part, document, leaf, node

_ROOT = "urn:oasis:names:specification:ubl:schema:xsd:"
_SPACES = {"cac": f"{_ROOT}CommonAggregateComponents-2", "cbc": f"{_ROOT}CommonBasicComponents-2"}


def write(printed: PrintedInvoice) -> str:
    """The document as UBL; it was checked before."""
    root = "Invoice" if printed.kind == "invoice" else "CreditNote"
    return document(
        root,
        {"": f"{_ROOT}{root}-2", **_SPACES},
        leaf("cbc:CustomizationID", en16931.SPECIFICATION),
        leaf("cbc:ID", printed.number),
        leaf("cbc:IssueDate", printed.issued_on.isoformat()),
        _kind_and_dates(printed),
        leaf("cbc:DocumentCurrencyCode", printed.currency.code),
        leaf("cbc:TaxCurrencyCode", en16931.declared_in(printed)),
        leaf("cbc:BuyerReference", printed.buyer_reference),
        node("cac:OrderReference", leaf("cbc:ID", printed.order)),
        _preceding(printed),
        node("cac:AccountingSupplierParty", _party(printed, printed.seller)),
        node("cac:AccountingCustomerParty", _party(printed, printed.buyer)),
        _delivery(printed),
        _payment(printed),
        node("cac:PaymentTerms", leaf("cbc:Note", printed.terms)),
        [_allowance(printed, each) for each in en16931.allowances(printed)],
        _taxes(printed),
        _totals(printed),
        [_line(printed, place, line) for place, line in enumerate(printed.totals.lines, 1)],
    )


def _kind_and_dates(printed: PrintedInvoice) -> Iterator[Part]:
    """The two schemas differ in where the tax point stands, and a credit note has no due date here."""
    tax_point = leaf("cbc:TaxPointDate", printed.tax_point_on.isoformat() if printed.tax_point_on else None)
    if printed.kind == "invoice":
        yield leaf("cbc:DueDate", printed.due_on.isoformat() if printed.due_on else None)
        yield leaf("cbc:InvoiceTypeCode", en16931.INVOICE_CODE)
        yield leaf("cbc:Note", printed.note)
        yield tax_point
    else:
        yield tax_point
        yield leaf("cbc:CreditNoteTypeCode", en16931.CREDIT_NOTE_CODE)
        yield leaf("cbc:Note", printed.note)


def _preceding(printed: PrintedInvoice) -> Part:
    if printed.preceding is None:
        return None
    return node(
        "cac:BillingReference",
        node(
            "cac:InvoiceDocumentReference",
            leaf("cbc:ID", printed.preceding.number),
            leaf("cbc:IssueDate", printed.preceding.issued_on.isoformat()),
        ),
    )


def _party(printed: PrintedInvoice, party: Party) -> Part:
    vat_id = None if en16931.without_vat_ids(printed) else party.vat_id
    return node(
        "cac:Party",
        leaf("cbc:EndpointID", party.endpoint, schemeID=party.endpoint_scheme),
        node("cac:PostalAddress", _address(party.address)),
        _tax_scheme(vat_id, "VAT"),
        _tax_scheme(party.tax_id, "FC"),
        node(
            "cac:PartyLegalEntity",
            leaf("cbc:RegistrationName", party.name),
            leaf("cbc:CompanyID", party.legal_id, schemeID=party.legal_scheme),
        ),
        node(
            "cac:Contact",
            leaf("cbc:Name", party.contact),
            leaf("cbc:Telephone", party.phone),
            leaf("cbc:ElectronicMail", party.email),
        ),
    )


def _tax_scheme(company_id: str | None, scheme: str) -> Part:
    if not company_id:
        return None
    return node("cac:PartyTaxScheme", leaf("cbc:CompanyID", company_id), node("cac:TaxScheme", leaf("cbc:ID", scheme)))


def _address(address: Address) -> Iterator[Part]:
    first, second, *others = (*address.lines, "", "")
    yield leaf("cbc:StreetName", first)
    yield leaf("cbc:AdditionalStreetName", second)
    yield leaf("cbc:CityName", address.city)
    yield leaf("cbc:PostalZone", address.postcode)
    yield leaf("cbc:CountrySubentity", address.region)
    yield node("cac:AddressLine", leaf("cbc:Line", ", ".join(line for line in others if line)))
    yield node("cac:Country", leaf("cbc:IdentificationCode", address.country))


def _delivery(printed: PrintedInvoice) -> Part:
    where = node("cac:Address", _address(printed.deliver_to)) if printed.deliver_to else None
    return node(
        "cac:Delivery",
        leaf("cbc:ActualDeliveryDate", printed.delivered_on.isoformat() if printed.delivered_on else None),
        node("cac:DeliveryLocation", where),
    )


def _payment(printed: PrintedInvoice) -> Part:
    account = printed.pay_to
    if account is None:
        return None
    due_on = printed.due_on.isoformat() if printed.due_on and printed.kind == "credit-note" else None
    return node(
        "cac:PaymentMeans",
        leaf("cbc:PaymentMeansCode", en16931.CREDIT_TRANSFER),
        leaf("cbc:PaymentDueDate", due_on),
        leaf("cbc:PaymentID", printed.creditor_reference or printed.number),
        node(
            "cac:PayeeFinancialAccount",
            leaf("cbc:ID", account.iban),
            leaf("cbc:Name", account.name),
            node("cac:FinancialInstitutionBranch", leaf("cbc:ID", account.bic)),
        ),
    )


def _money(printed: PrintedInvoice, name: str, minor: int) -> Part:
    return leaf(name, amount(printed, minor), currencyID=printed.currency.code)


def _allowance(printed: PrintedInvoice, allowance: en16931.Allowance) -> Part:
    return node(
        "cac:AllowanceCharge",
        leaf("cbc:ChargeIndicator", "false"),
        leaf("cbc:AllowanceChargeReasonCode", en16931.DISCOUNT_CODE),
        leaf("cbc:AllowanceChargeReason", en16931.DISCOUNT),
        _money(printed, "cbc:Amount", allowance.amount),
        _category("cac:TaxCategory", allowance.row, reasons=False),
    )


def _category(name: str, row: TaxTotal, *, reasons: bool) -> Part:
    return node(
        name,
        leaf("cbc:ID", row.terms.category),
        leaf("cbc:Percent", en16931.rate(row)),
        leaf("cbc:TaxExemptionReasonCode", row.terms.exemption_code if reasons else None),
        leaf("cbc:TaxExemptionReason", row.terms.exemption_reason if reasons else None),
        node("cac:TaxScheme", leaf("cbc:ID", "VAT")),
    )


def _taxes(printed: PrintedInvoice) -> Iterator[Part]:
    yield node(
        "cac:TaxTotal",
        _money(printed, "cbc:TaxAmount", printed.totals.tax),
        [
            node(
                "cac:TaxSubtotal",
                _money(printed, "cbc:TaxableAmount", row.base),
                _money(printed, "cbc:TaxAmount", row.amount),
                _category("cac:TaxCategory", row, reasons=True),
            )
            for row in printed.totals.taxes
        ],
    )
    declared = en16931.declared_tax(printed)
    yield node("cac:TaxTotal", leaf("cbc:TaxAmount", declared, currencyID=en16931.declared_in(printed)))


def _totals(printed: PrintedInvoice) -> Part:
    totals = printed.totals
    return node(
        "cac:LegalMonetaryTotal",
        _money(printed, "cbc:LineExtensionAmount", en16931.lines_net(printed)),
        _money(printed, "cbc:TaxExclusiveAmount", totals.net),
        _money(printed, "cbc:TaxInclusiveAmount", totals.net + totals.tax),
        _money(printed, "cbc:AllowanceTotalAmount", totals.discount) if totals.discount else None,
        _money(printed, "cbc:PrepaidAmount", printed.prepaid) if printed.prepaid else None,
        _money(printed, "cbc:PayableRoundingAmount", totals.rounding) if totals.rounding else None,
        _money(printed, "cbc:PayableAmount", printed.payable),
    )


def _line(printed: PrintedInvoice, place: int, line: LineTotal) -> Part:
    name, quantity = ("Invoice", "Invoiced") if printed.kind == "invoice" else ("CreditNote", "Credited")
    draft = line.draft
    return node(
        f"cac:{name}Line",
        leaf("cbc:ID", str(place)),
        leaf(f"cbc:{quantity}Quantity", number(draft.quantity), unitCode=draft.unit),
        _money(printed, "cbc:LineExtensionAmount", line.net),
        node(
            "cac:InvoicePeriod",
            leaf("cbc:StartDate", draft.service_from.isoformat() if draft.service_from else None),
            leaf("cbc:EndDate", draft.service_to.isoformat() if draft.service_to else None),
        ),
        _line_discount(printed, line),
        node(
            "cac:Item",
            leaf("cbc:Name", draft.description),
            node("cac:SellersItemIdentification", leaf("cbc:ID", draft.product)),
            _category("cac:ClassifiedTaxCategory", en16931.row_of_line(printed, line), reasons=False),
        ),
        node(
            "cac:Price",
            leaf("cbc:PriceAmount", number(en16931.unit_price(printed, line)), currencyID=printed.currency.code),
            leaf("cbc:BaseQuantity", number(draft.base_quantity), unitCode=draft.unit),
        ),
    )


def _line_discount(printed: PrintedInvoice, line: LineTotal) -> Part:
    if not (off := en16931.line_discount(printed, line)):
        return None
    percent = line.draft.discount_percent if not line.draft.allowance else None
    return node(
        "cac:AllowanceCharge",
        leaf("cbc:ChargeIndicator", "false"),
        leaf("cbc:AllowanceChargeReasonCode", en16931.DISCOUNT_CODE),
        leaf("cbc:AllowanceChargeReason", en16931.DISCOUNT),
        leaf("cbc:MultiplierFactorNumeric", number(percent) if percent else None),
        _money(printed, "cbc:Amount", off),
        _money(printed, "cbc:BaseAmount", line.before_discount) if percent else None,
    )
