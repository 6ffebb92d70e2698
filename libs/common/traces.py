"""Spans of the W3C trace, recorded so cheaply that every request can have them.

    start_span  ->  _Recorded (sampled)    ->  end: into each exporter's bounded queue  ->  exporting.py, own threads
                ->  _Carried (not sampled)     nothing is kept but the ids

The OpenTelemetry SDK's own `start_as_current_span` takes some 40 us on one core, most of it in limits, locks and
copies; here a span is a slotted object whose attributes are a dict, and becomes the SDK's `ReadableSpan` only in the
exporter's thread. What leaves the process (OTLP) is the SDK's data model and its exporter. Whether a trace is sampled
is decided where it begins and then obeyed by everybody (the flag of `traceparent`).
"""

import atexit
import random
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from libs.common.clock import now
from libs.common.exporting import Attribute, Finished, Outlet, open_outlets

_ZERO_TRACE: Final = "0" * 32
_ZERO_SPAN: Final = "0" * 16
_HEX: Final = frozenset("0123456789abcdef")


class SpanContext(NamedTuple):
    """Whom to continue: 32 and 16 lower-case hex digits, and whether its trace is recorded."""

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def traceparent(self) -> str:
        """W3C Trace Context, level 1."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


class _Tracing:
    """What `configure_tracing` decided for this process."""

    def __init__(self) -> None:
        self.outlets: tuple[Outlet, ...] = ()
        self.sample_ratio = 0.0
        self.begin_ns = 0
        self.set_clock()

    def set_clock(self) -> None:
        """Spans are timed by a clock that never runs backwards, set to the wall's at start."""
        self.begin_ns = int(now().timestamp() * 1_000_000) * 1_000 - time.perf_counter_ns()


_tracing = _Tracing()
_current: ContextVar["Span | None"] = ContextVar("current_span", default=None)
_bits = random.Random().getrandbits  # noqa: S311 - ids must differ, they need not be hard to guess
_draw = random.Random().random  # noqa: S311
_clock_ns = time.perf_counter_ns


class Span:
    """A span in progress; also its own context manager. One that is not sampled carries the ids and keeps nothing."""

    __slots__ = (
        "_links",
        "_parent_id",
        "_started_ns",
        "_token",
        "attributes",
        "name",
        "sampled",
        "span_id",
        "trace_id",
    )

    def __init__(
        self,
        name: str,
        trace_id: str,
        parent_id: str | None,
        sampled: bool,
        links: Sequence[str],
        attributes: dict[str, Attribute] | None,
    ) -> None:
        self.name = name
        self.trace_id = trace_id
        self.span_id = f"{_bits(64):016x}"
        self.sampled = sampled
        self._parent_id = parent_id
        self._links = links
        self.attributes = attributes

    @property
    def traceparent(self) -> str:
        """What to send on, so that the receiver's spans become children of this one."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def set(self, name: str, value: Attribute) -> None:
        """Add an attribute; on a span that is not recorded this does nothing."""
        if self.sampled:
            if self.attributes is None:
                self.attributes = {}
            self.attributes[name] = value

    def link(self, traceparent: str | None) -> None:
        """Point to another span (a batch to each request in it)."""
        if self.sampled and traceparent is not None:
            self._links = [*self._links, traceparent]

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        self._started_ns = _clock_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        _current.reset(self._token)
        if self.sampled and _tracing.outlets:
            self._finish(error)

    def _finish(self, error: BaseException | None) -> None:
        finished = Finished(
            self.name,
            self.trace_id,
            self.span_id,
            self._parent_id,
            _tracing.begin_ns + self._started_ns,
            _tracing.begin_ns + _clock_ns(),
            self.attributes,
            self._links,
            None if error is None else type(error).__name__,
        )
        for outlet in _tracing.outlets:
            outlet.put(finished)


def configure_tracing(
    service: str, version: str, *, otlp_endpoint: str | None, span_file: Path | None, sample_ratio: float
) -> None:
    """Once per process. `sample_ratio` (0 to 1) is drawn where a trace begins; a caller's flag is obeyed.

    Without endpoint and file nothing is recorded, only ids are carried. Spans leave by OTLP over HTTP
    (`<endpoint>/v1/traces`) and into a JSON Lines file; either being down costs at most its bounded queue.
    """
    flush_tracing()
    _tracing.set_clock()
    _tracing.outlets = open_outlets(service, version, otlp_endpoint=otlp_endpoint, span_file=span_file)
    _tracing.sample_ratio = sample_ratio if _tracing.outlets else 0.0


def flush_tracing(timeout_s: float = 3.0) -> None:
    """Write out what is queued and end the exporters; called at exit too. Takes at most `timeout_s` for each."""
    outlets, _tracing.outlets = _tracing.outlets, ()
    for outlet in outlets:
        outlet.close(timeout_s)


atexit.register(flush_tracing)


def start_span(
    name: str,
    *,
    traceparent: str | None = None,
    links: Sequence[str] = (),
    attributes: dict[str, Attribute] | None = None,
) -> Span:
    """`with start_span("post_journal", links=[...], attributes={...}) as span:`

    The parent is `traceparent` where given and well formed, else this task's current span, else a new trace begins.
    `links` are traceparents. The dict of attributes is kept, not copied; texts, whole numbers and booleans.
    """
    if traceparent is not None and (context := context_from(traceparent)) is not None:
        return Span(name, context.trace_id, context.span_id, context.sampled, links, attributes)
    parent = _current.get()
    if parent is not None:
        return Span(name, parent.trace_id, parent.span_id, parent.sampled, links, attributes)
    sampled = _tracing.sample_ratio > 0.0 and _draw() < _tracing.sample_ratio
    return Span(name, f"{_bits(128):032x}", None, sampled, links, attributes)


def current_span() -> Span | None:
    """The innermost open span of this task."""
    return _current.get()


def current_trace_id() -> str | None:
    """32 hex digits, or None outside any span."""
    span = _current.get()
    return None if span is None else span.trace_id


def current_traceparent() -> str | None:
    """What to write into a header or an outbox row, or None outside any span."""
    span = _current.get()
    return None if span is None else span.traceparent


def new_traceparent() -> str:
    """A trace that begins here, without a span of ours; sampled by the ratio."""
    sampled = _tracing.sample_ratio > 0.0 and _draw() < _tracing.sample_ratio
    return SpanContext(f"{_bits(128):032x}", f"{_bits(64):016x}", sampled).traceparent


@lru_cache(maxsize=1_024)  # what is asked in one transaction comes with one traceparent
def context_from(traceparent: str | bytes | None) -> SpanContext | None:
    """The parts of a W3C traceparent, or None where it is absent or breaks the rules (then a new trace begins)."""
    if traceparent is None:
        return None
    text = traceparent.decode("latin-1") if isinstance(traceparent, bytes) else traceparent
    if len(text) < 55 or text[2] != "-" or text[35] != "-" or text[52] != "-":
        return None
    version, trace_id, span_id, flags = text[:2], text[3:35], text[36:52], text[53:55]
    if not _HEX.issuperset(version + trace_id + span_id + flags) or trace_id == _ZERO_TRACE or span_id == _ZERO_SPAN:
        return None
    if version == "ff" or (version == "00" and len(text) != 55) or (len(text) > 55 and text[55] != "-"):
        return None
    return SpanContext(trace_id, span_id, bool(int(flags, 16) & 1))


def attributes_of(values: Mapping[str, object]) -> dict[str, Attribute]:
    """What may be an attribute of a span as it is, everything else as text."""
    return {name: value if isinstance(value, str | int | bool) else str(value) for name, value in values.items()}
