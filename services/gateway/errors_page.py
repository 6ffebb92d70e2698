"""The page that every problem's `type` points at: what each code means and what to do about it."""

from html import escape
from typing import Final

CODES: Final[tuple[tuple[str, int, str], ...]] = (
    ("token-missing", 401, "Send 'Authorization: Bearer <token>'."),
    ("token-malformed", 401, "What was sent is not a usable JSON Web Token; the detail says why."),
    ("token-expired", 401, "Get a new token from the identity provider."),
    ("token-not-yet-valid", 401, "The token begins in the future; check both clocks."),
    ("token-signature-invalid", 401, "The token was changed, or signed with a key or algorithm that is not accepted."),
    ("token-issuer-wrong", 401, "The token is from another issuer than the one trusted here."),
    ("token-audience-wrong", 401, "The token was made for another audience."),
    ("token-key-unknown", 401, "The issuer does not publish the key that signed the token."),
    ("scope-missing", 403, "The token lacks the scope in facts.scope; ask for a role that grants it."),
    ("operator-only", 403, "Only operators' tokens, which name no organization, may do this."),
    ("organization-missing", 403, "The token names no organization, so it reaches operator routes only."),
    ("route-unknown", 404, "Nothing is at this path; see /docs for what there is."),
    ("method-not-allowed", 405, "The Allow header lists the methods of this path."),
    ("request-timeout", 408, "The body came too slowly. Send it again."),
    ("body-too-large", 413, "Send less at once; facts.bytes_max is the limit. Large imports go to the streams."),
    ("content-type-not-supported", 415, "Send application/json."),
    ("request-invalid", 400, "The request cannot be read at all."),
    ("header-invalid", 400, "A header has a value outside its form."),
    ("headers-too-large", 431, "Send fewer or shorter headers."),
    ("json-invalid", 400, "The body is not JSON, or uses a name twice; facts say where."),
    ("malformed", 422, "The request has a wrong shape; errors name each place."),
    ("idempotency-key-missing", 400, "Send an Idempotency-Key, so that a retry is safe."),
    ("idempotency-key-invalid", 400, "1 to 200 visible ASCII characters, once."),
    ("cursor-invalid", 422, "Start the list again without a cursor."),
    ("too-many-requests", 429, "Wait as long as Retry-After says."),
    ("internal-error", 500, "Something broke on our side. Report the request id."),
    ("upstream-unreachable", 502, "A service did not answer (503 while it is known to be away). See retryable."),
    ("upstream-overloaded", 503, "A service has as much to do as it can. Try again after Retry-After."),
    ("upstream-timeout", 504, "A service did not answer in time. Ask again with the same Idempotency-Key."),
    ("unavailable", 503, "Something the service needs is away for a moment. Try again after Retry-After."),
    ("deadline-exceeded", 503, "It took longer than the deadline. Ask again with the same Idempotency-Key."),
)
"""Code, usual status, what to do. The ledger's rejections are explained in the problem's own detail and facts."""


def errors_page() -> bytes:
    """The page as HTML, one anchor for each code."""
    rows = "".join(
        f'<tr id="{escape(code)}"><td><code>{escape(code)}</code></td><td>{status}</td><td>{escape(advice)}</td></tr>'
        for code, status, advice in CODES
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>LedgerBus errors</title>'
        "<style>body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td{padding:.3rem .6rem;vertical-align:top}tr:target{background:#fe9}</style></head><body>"
        "<h1>Errors</h1><p>Every error is problem+json (RFC 9457). Programs decide by <code>code</code>; "
        "<code>retryable</code> says whether the same request may succeed later. Codes of a service's own rules, such "
        "as <code>entry-not-balanced</code>, carry their explanation in <code>detail</code> and <code>facts</code>.</p>"
        f"<table>{rows}</table></body></html>"
    ).encode()
