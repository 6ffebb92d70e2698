"""Every route of the platform, as a table: this is the list a reviewer reads to know who may reach what.

A route says where it leads, which scope it needs (the service asks for it again), how long it may take, how long its
body may be, which rate limit it counts against, and whether it streams. Streams have no deadline and no body limit;
they are held to a pace and a number instead. An open route takes no token: the service checks what was signed, and the
rate limit counts by address. A test compares the table with the services' OpenAPI, both ways.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from libs.common.path_table import PathTable, segments_of

RateClass = Literal["read", "write", "report", "stream", "webhook"]

OPEN: Final = ""
"""The scope of a route that takes no token."""

KIB: Final = 1024
MIB: Final = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Passage:
    """One route. `timeout_s` covers everything from the request's last byte to the answer's first.

    `ledger` is the one that a path without `{ledger}` speaks of, so that its requests meet at one instance.
    """

    method: str
    path: str
    upstream: str
    scope: str
    timeout_s: float = 10.0
    body_bytes_max: int = 64 * KIB
    rate_class: RateClass = "read"
    stream: bool = False
    ledger: str = ""


def _read(path: str, scope: str = "ledger:read", *, timeout_s: float = 10.0, upstream: str = "ledger") -> Passage:
    return Passage("GET", f"/api/v1{path}", upstream, scope, timeout_s, 0)


def _write(
    path: str, scope: str, *, body_bytes_max: int = 64 * KIB, method: str = "POST", upstream: str = "ledger"
) -> Passage:
    return Passage(method, f"/api/v1{path}", upstream, scope, 15.0, body_bytes_max, "write")


def _report(path: str, scope: str = "ledger:read", *, timeout_s: float = 60.0, upstream: str = "ledger") -> Passage:
    return Passage("GET", f"/api/v1{path}", upstream, scope, timeout_s, 0, "report")


def _stream(method: str, path: str, scope: str) -> Passage:
    return Passage(method, f"/api/v1{path}", "ledger", scope, 30.0, 0, "stream", stream=True)


def _unversioned(passage: Passage) -> Passage:
    """The passage under /api instead of /api/v1."""
    return replace(passage, path=passage.path.replace("/api/v1", "/api", 1))


LEDGER: Final = (
    _write("/organizations", "organization:create"),
    _read("/organizations", "organization:read"),
    _write("/currencies", "currency:write"),
    _read("/currencies"),
    _write("/ledgers", "ledger:create"),
    _read("/ledgers"),
    _read("/ledgers/{ledger}"),
    _write("/ledgers/{ledger}/accounts", "account:write"),
    _read("/ledgers/{ledger}/accounts"),
    _read("/ledgers/{ledger}/accounts/{code}"),
    _write("/ledgers/{ledger}/accounts/{code}", "account:write", method="PATCH"),
    _write("/ledgers/{ledger}/accounts/{code}/freeze", "account:write"),
    _write("/ledgers/{ledger}/accounts/{code}/unfreeze", "account:write"),
    _write("/ledgers/{ledger}/accounts/{code}/close", "account:write"),
    _read("/ledgers/{ledger}/accounts/{code}/history"),
    _read("/ledgers/{ledger}/accounts/{code}/balance"),
    _read("/ledgers/{ledger}/accounts/{code}/events"),
    _stream("GET", "/ledgers/{ledger}/accounts/{code}/statement", "ledger:read"),
    _report("/ledgers/{ledger}/accounts/{code}/lines"),
    _report("/ledgers/{ledger}/accounts/{code}/totals"),
    _write("/ledgers/{ledger}/entries", "ledger:post", body_bytes_max=MIB),
    _read("/ledgers/{ledger}/entries"),
    _read("/ledgers/{ledger}/entries/{id}"),
    _write("/ledgers/{ledger}/entries/{id}/reverse", "ledger:post"),
    _stream("POST", "/ledgers/{ledger}/entries/bulk", "ledger:post"),
    _write("/ledgers/{ledger}/transfers", "ledger:post"),
    _write("/ledgers/{ledger}/holds", "ledger:post", body_bytes_max=MIB),
    _read("/ledgers/{ledger}/holds"),
    _read("/ledgers/{ledger}/holds/{id}"),
    _write("/ledgers/{ledger}/holds/{id}/capture", "ledger:post", body_bytes_max=MIB),
    _write("/ledgers/{ledger}/holds/{id}/release", "ledger:post"),
    _write("/ledgers/{ledger}/days/{date}/close", "period:close"),
    _read("/ledgers/{ledger}/days/{date}"),
    _write("/ledgers/{ledger}/periods/{period}/soft-close", "period:close"),
    _write("/ledgers/{ledger}/periods/{period}/close", "period:close"),
    _write("/ledgers/{ledger}/periods/{period}/reopen", "period:reopen"),
    _read("/ledgers/{ledger}/periods"),
    _report("/ledgers/{ledger}/periods/{period}/close-check"),
    _write("/ledgers/{ledger}/years/{year}/close", "period:close"),
    _write("/ledgers/{ledger}/years/{year}/reopen", "period:reopen"),
    _stream("GET", "/ledgers/{ledger}/log", "ledger:read"),
    _stream("GET", "/ledgers/{ledger}/export/{format}", "ledger:export"),
    _stream("POST", "/ledgers/{ledger}/import/{format}", "ledger:import"),
    _read("/ledgers/{ledger}/head"),
    _read("/ledger-keys"),
    _report("/ledgers/{ledger}/reports/trial-balance"),
    _report("/ledgers/{ledger}/reports/account-tree"),
    _stream("GET", "/ledgers/{ledger}/reports/general-ledger", "ledger:read"),
    _stream("GET", "/ledgers/{ledger}/reports/journal", "ledger:read"),
    _report("/ledgers/{ledger}/reports/profit-and-loss"),
    _report("/ledgers/{ledger}/reports/balance-sheet"),
    _report("/ledgers/{ledger}/reports/cash-flow"),
    _report("/ledgers/{ledger}/verify", "ledger:verify", timeout_s=600.0),
)


def _receivables(method: str, path: str, scope: str, *, body_bytes_max: int = 64 * KIB) -> Passage:
    if method == "GET":
        return _read(path, scope, upstream="invoicing")
    return _write(path, scope, method=method, body_bytes_max=body_bytes_max, upstream="invoicing")


INVOICING: Final = (
    _receivables("POST", "/customers", "customer:write"),
    _receivables("GET", "/customers", "customer:read"),
    _receivables("GET", "/customers/{id}", "customer:read"),
    _receivables("PATCH", "/customers/{id}", "customer:write"),
    _receivables("POST", "/customers/{id}/credit/apply", "payment:write"),
    _receivables("POST", "/customers/{id}/refunds-payable", "payment:write"),
    _receivables("POST", "/credit-applications/{id}/take-back", "payment:write"),
    _receivables("POST", "/customers/{id}/erase", "customer:write"),
    _receivables("POST", "/products", "product:write"),
    _receivables("GET", "/products", "invoice:read"),
    _receivables("PATCH", "/products/{id}", "product:write"),
    _receivables("POST", "/tax-rates", "tax:write"),
    _receivables("GET", "/tax-rates", "tax:read"),
    _receivables("PUT", "/ledgers/{ledger}/account-mapping", "mapping:write", body_bytes_max=MIB),
    _receivables("GET", "/ledgers/{ledger}/account-mapping", "invoice:read"),
    _receivables("POST", "/invoices", "invoice:write", body_bytes_max=MIB),
    _receivables("GET", "/invoices", "invoice:read"),
    _receivables("GET", "/invoices/{id}", "invoice:read"),
    _report("/invoices/{id}/document", "invoice:read", upstream="invoicing"),
    _receivables("GET", "/invoices/{id}/e-invoice", "invoice:read"),
    _receivables("PUT", "/invoices/{id}", "invoice:write", body_bytes_max=MIB),
    _receivables("DELETE", "/invoices/{id}", "invoice:write"),
    _receivables("POST", "/invoices/{id}/issue", "invoice:write"),
    _receivables("POST", "/invoices/{id}/void", "invoice:write"),
    _receivables("POST", "/invoices/{id}/write-off", "invoice:write-off"),
    _receivables("POST", "/invoices/{id}/discount", "invoice:write"),
    _receivables("POST", "/discounts/{id}/take-back", "invoice:write"),
    _receivables("POST", "/invoices/{id}/withholding", "payment:write"),
    _receivables("POST", "/withholdings/{id}/take-back", "payment:write"),
    _receivables("POST", "/credit-notes", "invoice:write", body_bytes_max=MIB),
    _receivables("GET", "/credit-notes", "invoice:read"),
    _receivables("GET", "/credit-notes/{id}", "invoice:read"),
    _report("/credit-notes/{id}/document", "invoice:read", upstream="invoicing"),
    _receivables("GET", "/credit-notes/{id}/e-invoice", "invoice:read"),
    _receivables("POST", "/payments", "payment:write"),
    _receivables("GET", "/payments", "payment:read"),
    _receivables("GET", "/payments/{id}", "payment:read"),
    _receivables("POST", "/payments/{id}/allocations", "payment:write"),
    _receivables("DELETE", "/payments/{id}/allocations/{allocation}", "payment:write"),
    _receivables("POST", "/payments/{id}/refunds", "payment:write"),
    _receivables("POST", "/payments/{id}/customer", "payment:write"),
    _receivables("POST", "/payments/{id}/keep-as-credit", "payment:write"),
    _receivables("POST", "/payments/{id}/return", "payment:write"),
    _receivables("POST", "/payments/{id}/disputes", "payment:write"),
    _receivables("POST", "/disputes/{id}/won", "payment:write"),
    _receivables("POST", "/disputes/{id}/lost", "payment:write"),
    _receivables("POST", "/payouts", "payment:write", body_bytes_max=MIB),
    _receivables("POST", "/refunds/{id}/bounced", "payment:write"),
    _receivables("POST", "/payouts/{id}/take-back", "payment:write"),
    _receivables("POST", "/kept-credits/{id}/take-back", "payment:write"),
    _receivables("GET", "/refunds", "payment:read"),
    _receivables("GET", "/refunds/{id}", "payment:read"),
    _receivables("GET", "/disputes", "payment:read"),
    _receivables("GET", "/disputes/{id}", "payment:read"),
    _receivables("GET", "/credit-applications", "payment:read"),
    _receivables("GET", "/credit-applications/{id}", "payment:read"),
    _receivables("GET", "/payouts", "payment:read"),
    _receivables("GET", "/payouts/{id}", "payment:read"),
    _receivables("GET", "/refunds-payable", "payment:read"),
    _receivables("GET", "/refunds-payable/{id}", "payment:read"),
    _receivables("POST", "/refunds-payable/{id}/pay", "payment:write"),
    _receivables("POST", "/refunds-payable/{id}/bounced", "payment:write"),
    _receivables("POST", "/refunds-payable/{id}/cancel", "payment:write"),
    _receivables("PUT", "/ledgers/{ledger}/dunning-levels", "mapping:write", body_bytes_max=MIB),
    _receivables("GET", "/ledgers/{ledger}/dunning-levels", "invoice:read"),
    _receivables("POST", "/dunning/run", "invoice:write"),
    _receivables("GET", "/dunning/preview", "invoice:read"),
    _receivables("GET", "/dunning/letters", "invoice:read"),
    _receivables("GET", "/dunning/letters/{id}", "invoice:read"),
    _report("/dunning/letters/{id}/document", "invoice:read", upstream="invoicing"),
    _receivables("POST", "/dunning/holds", "invoice:write"),
    _receivables("GET", "/dunning/holds", "invoice:read"),
    _receivables("POST", "/dunning/holds/{id}/release", "invoice:write"),
    _receivables("POST", "/recurring-invoices", "invoice:write", body_bytes_max=MIB),
    _receivables("GET", "/recurring-invoices", "invoice:read"),
    _receivables("GET", "/recurring-invoices/{id}", "invoice:read"),
    _receivables("PATCH", "/recurring-invoices/{id}", "invoice:write", body_bytes_max=MIB),
    _receivables("POST", "/recurring-invoices/{id}/pause", "invoice:write"),
    _receivables("POST", "/recurring-invoices/{id}/resume", "invoice:write"),
    _receivables("POST", "/recurring-invoices/{id}/cancel", "invoice:write"),
    _receivables("GET", "/recurring-invoices/{id}/preview", "invoice:read"),
    _receivables("GET", "/recurring-invoices/{id}/occurrences", "invoice:read"),
    _receivables("POST", "/recurring-invoices/{id}/occurrences/{occurrence}/retry", "invoice:write"),
    _receivables("GET", "/postings", "invoice:read"),
    _receivables("POST", "/postings/{id}/retry", "invoice:write"),
    _receivables("POST", "/deferrals/run", "invoice:write"),
    _report("/receivables/ageing", "invoice:read", upstream="invoicing"),
    _report("/receivables/tie-out", "invoice:read", upstream="invoicing"),
    _report("/customers/{id}/statement", "customer:read", upstream="invoicing"),
    _report("/cash-forecast", "invoice:read", upstream="invoicing"),
    _receivables("POST", "/tax-numbers", "tax:write"),
    _receivables("GET", "/tax-numbers", "tax:read"),
    _report("/tax/report", "tax:read", upstream="invoicing"),
    _receivables("POST", "/tax-returns", "tax:write"),
    _receivables("GET", "/tax-returns", "tax:read"),
    _report("/tax-returns/{id}", "tax:read", upstream="invoicing"),
    _receivables("DELETE", "/tax-returns/{id}", "tax:write"),
    _receivables("POST", "/tax-returns/{id}/file", "tax:write"),
    _receivables("GET", "/parked", "payment:read"),
    _receivables("GET", "/parked/{id}", "payment:read"),
    _receivables("POST", "/parked/{id}/dismiss", "payment:write"),
    _receivables("POST", "/parked/{id}/release", "payment:write"),
    _receivables("POST", "/parked/{id}/replay", "payment:write"),
    _receivables("PUT", "/parked/{id}/value", "payment:write", body_bytes_max=MIB),
    _receivables("POST", "/webhook-endpoints", "mapping:write"),
    _receivables("GET", "/webhook-endpoints", "invoice:read"),
    _receivables("GET", "/webhook-endpoints/{id}/received", "invoice:read"),
    _receivables("POST", "/webhook-endpoints/{id}/secrets", "mapping:write"),
    _receivables("POST", "/webhook-endpoints/{id}/switch", "mapping:write"),
    _receivables("POST", "/webhook-targets", "mapping:write"),
    _receivables("GET", "/webhook-targets", "invoice:read"),
    _receivables("GET", "/webhook-targets/{id}/deliveries", "invoice:read"),
    _receivables("POST", "/webhook-targets/{id}/deliveries/{delivery}/replay", "mapping:write"),
    _receivables("POST", "/webhook-targets/{id}/secrets", "mapping:write"),
    _receivables("POST", "/webhook-targets/{id}/switch", "mapping:write"),
    Passage("POST", "/api/v1/webhooks/{provider}/{endpoint}", "invoicing", OPEN, 15.0, MIB, "webhook"),
    _receivables("GET", "/write-offs", "invoice:read"),
    _receivables("GET", "/write-offs/{id}", "invoice:read"),
    _receivables("POST", "/write-offs/{id}/take-back", "invoice:write-off"),
    _receivables("POST", "/write-offs/{id}/reverse", "invoice:write-off"),
    _receivables("POST", "/write-offs/{id}/relief", "invoice:write-off"),
    _receivables("POST", "/invoices/{id}/recoveries", "payment:write"),
)

_SHORT: Final = (
    _write("/accounts", "account:write"),
    _read("/accounts"),
    _read("/accounts/{account}"),
    _read("/accounts/{account}/balance"),
    _write("/journal", "ledger:post", body_bytes_max=MIB),
    _write("/transactions", "ledger:post", body_bytes_max=MIB),
    _read("/transactions"),
    _read("/transactions/{id}"),
    _write("/ledger/account", "account:write"),
    _write("/ledger/account/", "account:write"),
    _write("/ledger/transfer", "ledger:post"),
    _write("/ledger/transfer/", "ledger:post"),
    _read("/ledger/account/{account}/balance"),
    _read("/ledger/events"),
    _read("/ledger/events/"),
    _report("/reports/trial_balance"),
    _report("/reports/pnl"),
    _report("/reports/balance_sheet"),
    _report("/reports/ledger/{account}"),
    _unversioned(_write("/accounts", "account:write")),
    _unversioned(_read("/accounts/{account}/balance")),
    _unversioned(_write("/transfers", "ledger:post")),
    _unversioned(_read("/journals")),
)
SHORT_PATHS: Final = tuple(replace(passage, ledger="main") for passage in _SHORT)
"""What clients of other small ledgers send, answered from the ledger `main`; the same with and without a last slash."""

SHORT_HEALTH: Final = ("/health", "/api/health")
"""Answered by the gateway itself, without a token."""

TABLE: Final = LEDGER + INVOICING + SHORT_PATHS


class RouteTable:
    """Finds the passages at a decoded path; a literal wins over a parameter."""

    def __init__(self, passages: Iterable[Passage]) -> None:
        self.passages = tuple(passages)
        self._table: PathTable[Passage] = PathTable()
        for passage in self.passages:
            self._table.add(passage.method, passage.path, passage)

    def find(self, path: str) -> Mapping[str, Passage]:
        """The passages at a path by method; empty where there is nothing.

        Dot segments lead nowhere, and empty ones neither, but for a last slash that a passage has too.
        """
        segments = segments_of(path)
        if "" in segments[:-1] or "." in segments or ".." in segments:
            return {}
        return self._table.find(path)
