"""E-invoices in both syntaxes: the cents to the minor unit, the gaps that are named, the order the syntax wants."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.errors import Fault
from services.invoicing.arithmetic import Totals
from services.invoicing.documents import cents, cii, en16931, ubl
from services.invoicing.documents.printed import Address, PrintedInvoice
from services.invoicing.drafts import TaxTerms
from tests.invoicing.printing import BUYER, IN_GROSS, SELLER, SEVERAL, documents, printed
from tests.properties.drawn_invoices import invoices

WRITERS: dict[str, Callable[[PrintedInvoice], str]] = {"ubl": ubl.write, "cii": cii.write}
DOCUMENTS = documents()


@pytest.mark.parametrize("syntax", WRITERS)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_whole_and_its_cents_are_right(name: str, syntax: str) -> None:
    document = DOCUMENTS[name]
    assert en16931.check(document) is None
    assert cents.check(WRITERS[syntax](document), document.totals.policy) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_both_syntaxes_say_the_same_figures(name: str) -> None:
    assert cents.read(ubl.write(DOCUMENTS[name])) == cents.read(cii.write(DOCUMENTS[name]))


@settings(max_examples=100, deadline=None)
@given(invoices(), st.sampled_from(sorted(WRITERS)))
def test_any_invoice_that_can_be_written_has_its_cents_right(found: Totals, syntax: str) -> None:
    document = printed(found)
    if en16931.check(document) is None:
        assert cents.check(WRITERS[syntax](document), found.policy) == []


@pytest.mark.parametrize("syntax", WRITERS)
@pytest.mark.parametrize("name", ["several", "discount", "gross-discount", "cash", "prepaid", "note-lines"])
def test_any_figure_changed_by_one_minor_unit_is_found(name: str, syntax: str) -> None:
    """Every amount of the document in turn; those that only repeat what a rule does not use are named."""
    document = DOCUMENTS[name]
    root = ElementTree.fromstring(WRITERS[syntax](document))
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        if not tag.endswith("Amount") or tag in {"BaseAmount", "PriceAmount", "ChargeAmount"}:
            continue
        if tag == "BasisAmount" and element.text == _before_discount(document):
            continue
        whole, _, decimals = (element.text or "").rpartition(".")
        kept, element.text = element.text, f"{whole}.{(int(decimals) + 1) % 100:02}"
        found = cents.check(ElementTree.tostring(root, encoding="unicode"), document.totals.policy)
        if not (tag in {"TaxAmount", "CalculatedAmount"} and document.kind == "credit-note"):
            assert found, f"{tag} {kept} -> {element.text}"
        element.text = kept


def _before_discount(document: PrintedInvoice) -> str:
    return en16931.amount(document, document.totals.lines[0].before_discount)


def test_a_fault_names_its_place_and_both_figures() -> None:
    text = ubl.write(DOCUMENTS["standard"]).replace(">55.83<", ">55.84<")
    assert [tuple(fault) for fault in cents.check(text, "net-sum-half-up")] == [
        ("/taxes/0/amount", "is 5584 minor units, on 27916 it is 5583"),
        ("/gross", "is 334.99, is made 335.00"),
    ]


def test_a_line_without_a_row_of_tax_is_a_fault() -> None:
    text = ubl.write(DOCUMENTS["standard"])
    category = "<cac:ClassifiedTaxCategory><cbc:ID>S</cbc:ID>"
    found = cents.check(text.replace(category, category.replace(">S<", ">Z<"), 1), "net-sum-half-up")
    assert Fault("/taxes", "have no row of Z 20") in found


def test_what_is_no_document_of_ours_is_not_read() -> None:
    declaring = ubl.write(DOCUMENTS["standard"]).replace("<Invoice ", "<!DOCTYPE Invoice [<!ENTITY a 'b'>]><Invoice ")
    with pytest.raises(ValueError, match="it declares things"):
        cents.read(declaring)
    with pytest.raises(ValueError, match="no e-invoice: other"):
        cents.read("<other/>")


GAPS: list[tuple[PrintedInvoice, str]] = [
    (replace(printed("EUR | 1 x 1 S20"), seller=replace(SELLER, vat_id=None, tax_id=None)), "/seller/vat_id"),
    (replace(printed("EUR | 1 x 1 Z0"), seller=replace(SELLER, vat_id=None, tax_id=None)), "/seller/vat_id"),
    (replace(printed("EUR | 1 x 1 K0"), seller=replace(SELLER, vat_id=None)), "/seller/vat_id"),
    (replace(printed("EUR | 1 x 1 G0"), seller=replace(SELLER, vat_id=None)), "/seller/vat_id"),
    (replace(printed("EUR | 1 x 1 AE0"), buyer=replace(BUYER, vat_id=None, legal_id=None)), "/buyer/vat_id"),
    (replace(printed("EUR | 1 x 1 K0"), buyer=replace(BUYER, vat_id=None)), "/buyer/vat_id"),
    (replace(printed("EUR | 1 x 1 K0"), delivered_on=None), "/delivered_on"),
    (replace(printed("EUR | 1 x 1 K0"), deliver_to=None), "/deliver_to"),
    (replace(printed("EUR | 1 x 1 O0"), seller=replace(SELLER, legal_id=None)), "/seller/legal_id"),
    (replace(printed("EUR | 1 x 1 S20"), seller=replace(SELLER, vat_id=None, legal_id=None)), "/seller/legal_id"),
    (replace(printed("EUR | 1 x 1 S20"), due_on=None, terms=""), "/due_on"),
    (replace(printed("EUR | 1 x 1 S20"), kind="credit-note"), "/preceding"),
    (replace(printed("EUR | 1 x 1 S20"), buyer=replace(BUYER, name="")), "/buyer/name"),
    (
        replace(printed("EUR | 1 x 1 S20"), buyer=replace(BUYER, address=Address())),
        "/buyer/address/country",
    ),
    (replace(printed("EUR | 1 x 1 S20"), deliver_to=Address()), "/deliver_to/country"),
    (replace(printed("EUR | 1 x 1 S20"), buyer=replace(BUYER, vat_id="123")), "/buyer/vat_id"),
    (replace(printed("EUR | 1 x 1 S20"), seller=replace(SELLER, endpoint_scheme=None)), "/seller/endpoint_scheme"),
    (replace(printed("EUR | 1 x 1 S20"), note="a\x00b"), "/note"),
    (replace(printed("EUR | 1 x 1 S20"), buyer=replace(BUYER, name="a\x1f")), "/buyer/name"),
    (printed("KWD | 1 x 1 S20"), "/currency"),
    (printed("EUR | 1 x 1 S20 S5"), "/lines/0/further_taxes"),
]


@pytest.mark.parametrize(("document", "pointer"), GAPS, ids=[pointer for _, pointer in GAPS])
def test_a_gap_is_named_with_its_place(document: PrintedInvoice, pointer: str) -> None:
    refused = en16931.check(document)
    assert refused is not None
    assert (refused.code, [fault.pointer for fault in refused.errors]) == ("e-invoice-incomplete", [pointer])
    assert pointer in refused.detail


def test_an_empty_description_is_a_gap() -> None:
    draft = printed("EUR | 1 x 1 S20").totals.draft
    refused = en16931.check(printed(replace(draft, lines=(replace(draft.lines[0], description=""),))))
    assert refused is not None
    assert [fault.pointer for fault in refused.errors] == ["/lines/0/description"]


def test_every_gap_is_named_at_once() -> None:
    refused = en16931.check(replace(printed("EUR | 1 x 1 K0"), delivered_on=None, deliver_to=None, note="\x01"))
    assert refused is not None
    assert [fault.pointer for fault in refused.errors] == ["/delivered_on", "/deliver_to", "/note"]


def test_texts_are_escaped() -> None:
    for write in WRITERS.values():
        root = ElementTree.fromstring(write(DOCUMENTS["standard"]))
        assert "Acme <Corp>" in [element.text for element in root.iter()]


def test_exemption_reasons_stand_in_the_row_of_tax() -> None:
    draft = printed("EUR | 1 x 100 E0").totals.draft
    terms = TaxTerms("E", draft.lines[0].tax.rate, "VATEX-EU-132-1I", "Education")
    document = printed(replace(draft, lines=(replace(draft.lines[0], tax=terms),)))
    for write in WRITERS.values():
        texts = [element.text for element in ElementTree.fromstring(write(document)).iter()]
        assert texts.count("VATEX-EU-132-1I") == texts.count("Education") == 1


def test_what_is_not_subject_to_tax_names_no_vat_id_and_no_rate() -> None:
    for write in WRITERS.values():
        text = write(DOCUMENTS["not-subject"])
        assert "DE123456789" not in text
        assert "Percent" not in text


def test_a_price_with_tax_is_written_without_it_and_comes_to_the_net_again() -> None:
    large = printed("EUR | 123456789.12 x 0.07 S19; 3 x 18.33 less 10% S20 | gross")
    for write in WRITERS.values():
        assert cents.check(write(large), large.totals.policy) == []
    assert en16931.check(printed(IN_GROSS)) is None
    assert en16931.check(replace(printed(SEVERAL), issued_on=date(2026, 1, 1))) is None
