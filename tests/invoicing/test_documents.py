"""Invoices as pages and PDF: what is shown adds up, texts are escaped, nothing is fetched, the same gives the same."""

import re
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings

from libs.common.errors import Problem
from libs.common.money import from_text
from services.invoicing.arithmetic import Totals
from services.invoicing.documents import html, pdf
from services.invoicing.documents.printed import PrintedInvoice
from services.invoicing.drafts import TaxTerms
from tests.invoicing.printing import BUYER, SEVERAL, documents, printed
from tests.properties.drawn_invoices import invoices

DOCUMENTS = documents()


class Shown(HTMLParser):
    """The amounts of a page by the part they play, from the text that is shown."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: dict[str, list[tuple[str, int]]] = {}
        self._open: tuple[str, int] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if (minor := given.get("data-minor")) and (part := given.get("data-part")):
            self._open = part, int(minor)

    def handle_data(self, data: str) -> None:
        if self._open:
            self.parts.setdefault(self._open[0], []).append((data, self._open[1]))
            self._open = None

    def sum(self, part: str, exponent: int) -> int:
        """By what is read, not by the attribute; both are the same."""
        amounts = [(from_text(text.replace(",", ""), exponent), minor) for text, minor in self.parts.get(part, [])]
        assert all(read == minor for read, minor in amounts)
        return sum(read for read, _ in amounts)


def adds_up(document: PrintedInvoice) -> None:
    shown, exponent = Shown(html.render(document)), document.currency.exponent

    def of(part: str) -> int:
        return shown.sum(part, exponent)

    on_top = 0 if document.totals.draft.prices_include_tax else of("tax")
    assert of("line") + of("discount") + on_top + of("rounding") == of("total") == document.totals.total
    if "lines" in shown.parts:
        assert of("line") == of("lines")
    if not document.totals.draft.prices_include_tax:
        assert of("line") + of("discount") == of("net")
    assert of("tax") + of("tax-inside") == document.totals.tax
    if document.prepaid:
        assert of("total") + of("prepaid") == of("payable")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_page_shows_adds_up(name: str) -> None:
    adds_up(DOCUMENTS[name])


@settings(max_examples=100, deadline=None)
@given(invoices())
def test_what_any_page_shows_adds_up(found: Totals) -> None:
    adds_up(replace(printed(found), prepaid=found.total // 3))


def test_a_page_says_what_the_law_wants_said() -> None:
    page = html.render(DOCUMENTS["several"])
    for text in (
        "Invoice 2026-000001", "Ledger &amp; Sons GmbH", "DE123456789", "Acme &lt;Corp&gt;", "BE0123456789",
        "2026-11-26", "2026-12-26", "VAT 22%", "VAT 7%", "Exempt from tax: reason of E", "RF42 2026 0000 01",
        "DE89370400440532013000", "348.35", "5,350.66", "4%", "30 days net", "Thank you",
    ):  # fmt: skip
        assert text in page, text
    assert "Reverse charge" in html.render(DOCUMENTS["reverse-charge"])
    note = html.render(DOCUMENTS["note-lines"])
    assert "Credit note C-2026-000001" in note
    assert "Invoice 2026-000001 of 2026-11-26" in note
    assert "IBAN" not in note
    assert "2026-01-01 to 2026-12-31" in html.render(DOCUMENTS["period"])
    assert "Tax in EUR" in html.render(DOCUMENTS["dollars"])
    assert "you withhold" in html.render(printed("EUR | 1 x 100 S21 | withheld 15%"))


def test_prices_keep_their_decimals_and_have_the_currency_s() -> None:
    page = html.render(printed("EUR | 1 x 1234567.5 S20; 3 x 0.00000001 S20; 2 x 3 per 7 S20"))
    for text in ("1,234,567.50", "0.00000001", "3.00 per 7"):
        assert text in page, text


def test_taxes_with_names_are_called_by_them() -> None:
    draft = printed("CAD | 1 x 100 S5").totals.draft
    taxes = (TaxTerms("S", Decimal("9.975"), name="QST"),)
    line = replace(draft.lines[0], tax=replace(draft.lines[0].tax, name="GST"), further_taxes=taxes)
    assert "GST 5%, QST 9.975%" in html.render(printed(replace(draft, lines=(line,))))


def test_a_page_stands_alone_and_runs_nothing() -> None:
    hostile = replace(
        printed(SEVERAL), buyer=replace(BUYER, name='"><script>alert(1)</script><img src=x>'), note="{{ 7 * 7 }}"
    )
    page = html.render(hostile)
    assert "<script" not in page
    assert "<img" not in page
    assert "{{ 7 * 7 }}" in page
    assert not re.search(r"<[^>]+\b(src|href|on\w+)=", page)
    assert "url(" not in page


def test_the_same_document_gives_the_same_bytes() -> None:
    page = html.render(printed(SEVERAL))
    assert page == html.render(printed(SEVERAL))
    assert html.hash_of(page) != html.hash_of(html.render(replace(printed(SEVERAL), number="2026-000002")))
    assert len(html.hash_of(page)) == 32


@pytest.fixture
def engine() -> pdf.Engine:
    found = pdf.engine()
    if found is None:
        pytest.skip("not run: WeasyPrint does not run here")
    return found


_SUBSET = pytest.mark.filterwarnings("ignore:HarfBuzz-Subset:DeprecationWarning")
"""WeasyPrint wishes for a newer system library than there may be."""


@_SUBSET
def test_a_page_becomes_a_pdf(engine: pdf.Engine) -> None:
    made = pdf.write(html.render(DOCUMENTS["several"]), engine)
    assert made.startswith(b"%PDF-")
    assert len(made) > 5_000


@_SUBSET
def test_nothing_is_fetched_while_a_page_is_laid_out(engine: pdf.Engine, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret", encoding="utf-8")
    made = pdf.write(f"<link rel=attachment href='{secret.as_uri()}'><p>a</p><img src='{secret.as_uri()}'>", engine)
    assert made.startswith(b"%PDF-")
    assert b"EmbeddedFile" not in made


def test_where_the_extra_does_not_run_there_is_no_engine() -> None:
    program = (
        "import sys; sys.modules['weasyprint'] = None\n"
        "from services.invoicing.documents import pdf; print(pdf.engine())"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "None"


def test_without_the_extra_a_pdf_is_refused_with_a_sentence() -> None:
    with pytest.raises(Problem, match="the extra `pdf`") as refused:
        pdf.write("<p>a</p>", None)
    assert (refused.value.status, refused.value.code) == (406, "pdf-not-available")
