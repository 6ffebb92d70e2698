"""The HTML page as PDF, where WeasyPrint is installed (the extra `pdf`, and the system's Pango).

Nothing is fetched while a page is laid out: the page stands alone, and whatever its texts say, no address is followed.
Laying out takes a few tenths of a second of one core, so callers do it off the event loop.
"""

from collections.abc import Callable

from libs.common.errors import Problem

Engine = Callable[[str], bytes]
"""A page in, a PDF out."""


def engine() -> Engine | None:
    """What lays pages out, or None where it is not installed."""
    try:
        import weasyprint
        from weasyprint.urls import URLFetcher
    except (ImportError, OSError):
        return None

    def lay_out(page: str) -> bytes:
        made: bytes = weasyprint.HTML(string=page, url_fetcher=URLFetcher(allowed_protocols=())).write_pdf()
        return made

    return lay_out


def write(page: str, found: Engine | None) -> bytes:
    """The page as PDF; a Problem that says what to do where nothing lays it out."""
    if found is None:
        raise Problem(
            406,
            "pdf-not-available",
            "This installation makes no PDF: the extra `pdf` (WeasyPrint) is not installed. Ask for text/html.",
        )
    return found(page)
