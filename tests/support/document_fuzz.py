"""Schemathesis against a running service: everything its OpenAPI document promises, asked well and asked badly.

    found = await asyncio.to_thread(ask_as_documented, Target(url, headers={...}, places={"ledger": "main"}), DEPTH)
    assert not found.wrong, found.told()

Requests are drawn from the document: such as it allows (positive), and such as it does not (negative). Of every answer:
no 5xx; status, content type, headers and body as the document says; what breaks the document's shape is refused, and
what fits it is understood: refused by a rule perhaps, but not for its shape.

What is not checked, and why:
* `positive_data_acceptance` is told that a refusal is an answer: whether an account exists or a day is closed is in no
  schema. `Understood` looks at the code instead: a request that fits the document may not be called malformed, unless
  its operation and the place it is said of are in `Target.beyond_schema`, with the reason.
* `use_after_free`, `ensure_resource_availability`: nothing is ever deleted here, and what was made is in a ledger that
  another scenario does not know.
* `unsupported_method` wants 405 with `Allow` for every method of every path: tests/common/test_http.py has that.
* `allow_header_conformance`: an address like /entries/bulk fits /entries/{id} too: `Allow` names the methods of both.
* `ignored_auth` needs a server that takes anonymous requests for some; tests/common/test_http.py and test_auth.py have
  what a token must be.
* NUL characters are drawn nowhere (`allow-x00`): a schema cannot say that a text has none. They are refused, which
  tests/ledger/hostile.py shows.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import orjson
import schemathesis
from hypothesis import strategies
from schemathesis.checks import CheckContext
from schemathesis.config import SchemathesisConfig
from schemathesis.core.transport import Response
from schemathesis.engine import events, from_schema
from schemathesis.generation.case import Case

SHAPE_CODES: Final = frozenset({"malformed", "json-invalid", "body-missing", "content-type-not-supported"})
ANSWERS: Final = ("2xx", "404", "409", "413", "415", "422")
"""Statuses of requests that fit the document: done, or refused by a rule (`Understood` looks closer)."""
WRITTEN_AS_A_FRACTION: Final = "is a JSON number, but must be a whole number"
"""JSON Schema counts 1.0 among the integers; here a whole number is written as one."""
OFF: Final = (
    "use_after_free", "ensure_resource_availability", "unsupported_method", "allow_header_conformance", "ignored_auth",
)  # fmt: skip
TOLD_MAX: Final = 600
DAYS: Final = strategies.one_of(strategies.dates(date(1900, 1, 1), date(2999, 12, 31)), strategies.dates()).map(
    date.isoformat
)
"""Days as often from 1900 to 2999 as from all: of all, a document that takes the former alone refuses nine in ten."""

schemathesis.openapi.format("date", DAYS)


@dataclass(frozen=True, slots=True)
class Target:
    """A service, and who asks it about what.

    `headers` go with every request; `headers_of` with those to a path instead. `places` are values of path parameters
    that are there, by name; `places_of` by path. `left_out`: paths that nobody asks, with the reason. `beyond_schema`:
    where the shape has rules that no schema can say: regular expressions of a path and of a pointer, with the rule.
    `told_by_line`: paths that take a stream and answer 200 with a result for each of its lines, also for what is wrong.
    """

    url: str
    headers: Mapping[str, str]
    headers_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    places_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    beyond_schema: Mapping[tuple[str, str], str] = field(default_factory=dict)
    told_by_line: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Depth:
    """How much is asked: examples an operation and mode; `coverage` adds every boundary of every schema in turn.

    The same every time, or, where `other`, something else each time.
    """

    examples: int = 4
    coverage: bool = False
    other: bool = False

    @classmethod
    def of_environment(cls) -> "Depth":
        """What every test run asks, or what `make schemathesis` says."""
        examples = os.environ.get("SCHEMATHESIS_EXAMPLES")
        return cls() if examples is None else cls(int(examples), coverage=True, other=True)


@dataclass(slots=True)
class Found:
    """What came of it: what was wrong, each once, and how many requests got which status."""

    wrong: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    operations: set[str] = field(default_factory=set)

    def told(self) -> str:
        """All of it for a person."""
        counts = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        return "\n\n".join((*self.wrong, f"{len(self.operations)} operations were answered {counts}"))


@schemathesis.check
class Understood:
    """A request that fits the document is not refused for its shape."""

    def __init__(self, beyond_schema: Sequence[Sequence[str]] = ()) -> None:
        self._beyond_schema = [(re.compile(path), re.compile(pointer)) for path, pointer in beyond_schema]

    def after_response(self, _ctx: CheckContext, response: Response, case: Case) -> None:
        """Raises AssertionError with what the refusal says."""
        if case.meta is None or not case.meta.generation.mode.is_positive or not 400 <= response.status_code < 500:
            return
        problem = orjson.loads(response.content)
        if problem["code"] not in SHAPE_CODES:
            return
        faults = problem["errors"] or [{"pointer": "", "detail": problem["detail"]}]
        if not all(self._is_beyond(case.operation.path, fault) for fault in faults):
            told = [fault["pointer"] for fault in faults]
            raise AssertionError(f"what the document allows is {problem['code']}: {problem['detail']} {told}")

    def _is_beyond(self, path: str, fault: Mapping[str, str]) -> bool:
        if fault["detail"] == WRITTEN_AS_A_FRACTION:
            return True
        return any(at.fullmatch(path) and of.fullmatch(fault["pointer"]) for at, of in self._beyond_schema)


@schemathesis.serializer("application/x-ndjson", "application/jsonl")
def _as_sent(_context: Any, value: Any) -> bytes:
    """A text is a body as it stands; whatever else is drawn for one is sent as a line of JSON."""
    return value.encode(errors="surrogatepass") if isinstance(value, str) else orjson.dumps(value, default=repr)


def ask_as_documented(target: Target, depth: Depth) -> Found:
    """Asks; blocks the thread it is in, so give it one of its own beside a server of this process."""
    schema = schemathesis.openapi.from_url(
        f"{target.url}/openapi.json", config=SchemathesisConfig.from_dict(_configuration(target, depth))
    )
    found, seen = Found(), set[str]()
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError):
            found.wrong.append(f"{event.label}: {event.value}")
        elif isinstance(event, events.FatalError):
            raise event.exception
        elif isinstance(event, events.ScenarioFinished):
            found.operations.add(event.recorder.label)
            found.statuses.update(
                interaction.response.status_code
                for interaction in event.recorder.interactions.values()
                if interaction.response is not None
            )
            for told in _failures(event.recorder):
                if (kind := told.partition("\n")[0]) not in seen:
                    seen.add(kind)
                    found.wrong.append(told)
                    if depth.other:
                        print(told, flush=True)  # it may go on for hours
    return found


def _configuration(target: Target, depth: Depth) -> dict[str, Any]:
    """As it would stand in schemathesis.toml."""
    generation = {
        "mode": "all", "max-examples": depth.examples, "deterministic": not depth.other, "allow-x00": False,
    }  # fmt: skip
    checks: dict[str, Any] = {name: {"enabled": False} for name in OFF}
    checks["positive_data_acceptance"] = {"expected-statuses": list(ANSWERS)}
    checks["Understood"] = {"beyond_schema": [list(places) for places in target.beyond_schema]}
    paths = {*target.headers_of, *target.places_of}
    operations: list[dict[str, Any]] = [
        {
            "include-path": path,
            **({"headers": dict(target.headers_of[path])} if path in target.headers_of else {}),
            **({"parameters": _in_path(target.places_of[path])} if path in target.places_of else {}),
        }
        for path in sorted(paths)
    ]
    operations += [{"include-path": path, "enabled": False} for path in sorted(target.left_out)]
    operations += [
        {"include-path": path, "checks": {"negative_data_rejection": {"enabled": False}}}
        for path in sorted(target.told_by_line)
    ]
    return {
        **({} if depth.other else {"seed": 1}),
        "base-url": target.url,
        "headers": dict(target.headers),
        "parameters": _in_path(target.places),
        "workers": 1,
        "continue-on-failure": True,
        "request-timeout": 20,
        "warnings": False,
        "generation": generation,
        "checks": checks,
        "phases": {
            "examples": {"enabled": False},
            "coverage": {"enabled": depth.coverage},
            "stateful": {"enabled": False},
        },
        "operations": operations,
    }


def _in_path(places: Mapping[str, str]) -> dict[str, str]:
    return {f"path.{name}": value for name, value in places.items()}


def _failures(recorder: Any) -> Iterator[str]:
    """Each check that failed: the operation and what is wrong, then the request and the answer."""
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info is None:
                continue
            failure = check.failure_info.failure
            interaction = recorder.interactions.get(case_id)
            answer = interaction.response if interaction is not None else None
            request = interaction.request if interaction is not None else None
            told = f"{recorder.label} {check.name}: {failure.title}"
            yield "\n".join(
                (
                    told,
                    f"  {failure.message[:TOLD_MAX]}",
                    f"  {request.method} {request.uri} {(request.body or b'')[:TOLD_MAX]!r}" if request else "",
                    f"  {answer.status_code} {answer.content[:TOLD_MAX]!r}" if answer is not None else "",
                )
            )
