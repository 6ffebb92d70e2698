"""Every way to say no over HTTP, as RFC 9457 problem+json.

One function turns any exception into a Problem, one turns a Problem into bytes, one turns pydantic's errors into
sentences with RFC 6901 pointers. Nothing of what was sent is echoed at length, nothing of what broke inside is told.
"""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from libs.common.errors import Fault, Problem, Rejection, Transient
from libs.common.json_text import pointer_token

CONTENT_TYPE: Final = "application/problem+json"
FAULTS_MAX: Final = 50
ECHO_MAX: Final = 40

_AMOUNT_NAMES: Final = frozenset({
    "amount", "available_at_least", "posted_equals", "limit", "fee", "total", "rate", "quantity", "unit_price",
})  # fmt: skip
_TYPE_NAMES: Final = {
    bool: "true or false", int: "a JSON number", float: "a JSON number", str: "a text", list: "a list",
    dict: "an object", type(None): "null",
}  # fmt: skip
_WANTED: Final = {
    "string_type": "a text", "int_type": "a whole number", "int_parsing": "a whole number",
    "int_from_float": "a whole number", "bool_type": "true or false", "bool_parsing": "true or false",
    "dict_type": "an object", "model_type": "an object", "model_attributes_type": "an object",
    "dataclass_type": "an object", "list_type": "a list", "tuple_type": "a list", "uuid_type": "a UUID",
    "uuid_parsing": "a UUID", "date_type": "a date such as 2026-11-21", "date_parsing": "a date such as 2026-11-21",
    "date_from_datetime_parsing": "a date such as 2026-11-21",
    "datetime_type": "an instant such as 2026-11-21T09:30:00Z",
    "datetime_parsing": "an instant such as 2026-11-21T09:30:00Z",
    "datetime_from_date_parsing": "an instant such as 2026-11-21T09:30:00Z",
}  # fmt: skip


def problem_document(problem: Problem, request_id: str, trace_id: str) -> bytes:
    """The problem as JSON text: type, title, status, code, detail, facts, errors, retryable, request_id, trace_id."""
    return orjson.dumps(
        {
            "type": f"/docs/errors#{problem.code}",
            "title": problem.code.replace("-", " ").capitalize(),
            "status": problem.status,
            "code": problem.code,
            "detail": problem.detail,
            "facts": problem.facts,
            "errors": [{"pointer": fault.pointer, "detail": fault.detail} for fault in problem.errors],
            "retryable": problem.retryable,
            "request_id": request_id,
            "trace_id": trace_id,
        },
        default=str,
    )


def rejection_problem(rejection: Rejection, status: int = 422) -> Problem:
    """The HTTP form of a business answer "no": its code, sentence, facts and places stay what they are."""
    return Problem(status, rejection.code, rejection.detail, facts=rejection.facts, errors=rejection.errors)


def problem_of(error: Exception) -> Problem | None:
    """The problem that tells a caller of `error`; None for a defect, which is answered 500 and logged by the caller."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Transient):
        retry_after = {"Retry-After": str(max(1, error.retry_after_s))}
        return Problem(503, "unavailable", error.detail, retryable=True, headers=retry_after)
    if isinstance(error, RequestValidationError):
        return malformed(faults_of(error.errors(), None))
    if isinstance(error, HTTPException):
        return _http_problem(error)
    return None


def malformed(faults: Sequence[Fault]) -> Problem:
    """422 for a request of a wrong shape; the first fault is the sentence."""
    first = faults[0]
    more = f" ({len(faults) - 1} more)" if len(faults) > 1 else ""
    return Problem(422, "malformed", f"{first.pointer or 'The request'} {first.detail}.{more}", errors=faults)


def malformed_by(error: ValidationError, value: Any) -> Problem:
    """422 for a model's refusal of `value`, the parsed body."""
    return malformed(faults_of(error.errors(include_url=False), value))


def faults_of(errors: Iterable[ErrorDetails | Mapping[str, Any]], value: Any) -> list[Fault]:
    """pydantic's errors as faults, `FAULTS_MAX` at most.

    `value` is the parsed body: steps of a location that are not in it (names of a union's members) are left out. The
    pointer to a query parameter is its name.
    """
    faults: list[Fault] = []
    for error in errors:
        where = tuple(error["loc"])
        if where and where[0] == "query":
            faults.append(Fault(f"/{pointer_token(str(where[-1])[:60])}", _sentence(error)))
        elif where and where[0] in ("path", "header", "cookie"):
            faults.append(Fault("", f"{where[0]} parameter {str(where[-1])[:60]!r} {_sentence(error)}"))
        else:
            steps = where[1:] if where and where[0] == "body" and value is None else where
            faults.append(Fault(_pointer(steps, value, error["type"]), _sentence(error)))
        if len(faults) == FAULTS_MAX:
            break
    return faults


def _pointer(steps: Sequence[str | int], value: Any, kind: str) -> str:
    pointer = ""
    known = value is not None
    for position, step in enumerate(steps):
        last = position == len(steps) - 1
        if known and not (last and kind == "missing"):
            if not _has(value, step):
                continue
            value = value[step]
        pointer += f"/{pointer_token(step)}"
    return pointer


def _has(value: Any, step: str | int) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value)


def _sentence(error: ErrorDetails | Mapping[str, Any]) -> str:
    kind, given = error["type"], error.get("input")
    if kind == "missing":
        return "is missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return "is not a known field"
    if kind == "string_type" and type(given) in (int, float):
        name = str(error["loc"][-1]) if error["loc"] else ""
        hint = '; amounts are strings such as "12.50"' if name in _AMOUNT_NAMES else "; write it in quotes"
        return f"is a JSON number{hint}"
    if kind in _WANTED:
        return f"is {_shown(given)}, but must be {_WANTED[kind]}"
    said = str(error["msg"])
    for prefix in ("Value error, ", "Assertion failed, ", "Input "):
        said = said.removeprefix(prefix)
    return f"{said[:1].lower()}{said[1:300]}"


def _shown(given: Any) -> str:
    if isinstance(given, str) and 0 < len(given) <= ECHO_MAX and given.isprintable():
        return repr(given)
    return _TYPE_NAMES.get(type(given), "something else")


def _http_problem(error: HTTPException) -> Problem:
    status = error.status_code
    code, detail = _HTTP_CODES.get(status, (_phrase(status).lower().replace(" ", "-"), str(error.detail)[:300]))
    return Problem(status, code, detail, headers=error.headers)


_HTTP_CODES: Final = {
    400: ("request-invalid", "The request cannot be read."),
    404: ("route-unknown", "There is nothing at this path."),
    405: ("method-not-allowed", "This path does not take that method; the Allow header lists those it takes."),
}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
