"""A request's spans as a tree, from the files the local stack's services write (one JSON object per line).

A batch serves many requests and belongs to none: its span is in a trace of its own and links to the requests' spans.
Such a span, with everything below it, is shown under the span it links to, marked as linked.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.text import Text
from rich.tree import Tree

from libs.common import clock

_POLL_S = 0.1
_QUIET_S = 0.6
_ATTRIBUTES_MAX = 8
_VALUE_MAX = 60


@dataclass(frozen=True, slots=True)
class Span:
    """One span; `started_ns` counts from 1970, `links` are (trace id, span id), `error` is an exception's name."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    service: str
    started_ns: int
    duration_ns: int
    attributes: Mapping[str, Any]
    links: Sequence[tuple[str, str]]
    error: str | None


async def wait_for(folder: Path, trace_id: str, patience_s: float) -> list[Span]:
    """The spans of a trace, once no new ones come; services write them a moment after the answer."""
    give_up_s = clock.monotonic_s() + patience_s
    found: list[Span] = []
    grown_s = clock.monotonic_s()
    while clock.monotonic_s() < give_up_s:
        now = await asyncio.to_thread(read, folder, trace_id)
        if len(now) != len(found):
            found, grown_s = now, clock.monotonic_s()
        elif found and clock.monotonic_s() - grown_s > _QUIET_S:
            break
        await asyncio.sleep(_POLL_S)
    return found


def read(folder: Path, trace_id: str) -> list[Span]:
    """The spans of a trace and of what is linked to it, by start. A line that is being written is left out."""
    found = list(_naming(folder, {trace_id}))
    batches = {span.trace_id for span in found} - {trace_id}
    if batches:
        found = list(_naming(folder, {trace_id, *batches}))
    return sorted((span for span in found if span.trace_id in {trace_id, *batches}), key=lambda span: span.started_ns)


def _naming(folder: Path, trace_ids: Collection[str]) -> Iterator[Span]:
    """Spans that belong to one of the traces or link to it; lines that name none are not parsed."""
    words = [trace_id.encode() for trace_id in trace_ids]
    for path in sorted(folder.glob("*.jsonl*")):
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n") and any(word in line for word in words):
                    yield parsed(orjson.loads(line))


def parsed(fields: Mapping[str, Any]) -> Span:
    """A span from its JSON object; a link is a traceparent."""
    return Span(
        trace_id=fields["trace_id"],
        span_id=fields["span_id"],
        parent_id=fields["parent_id"],
        name=fields["name"],
        service=fields["service"],
        started_ns=fields["started_ns"],
        duration_ns=fields["duration_ns"],
        attributes=fields["attributes"],
        links=[(link[3:35], link[36:52]) for link in fields["links"]],
        error=fields["error"],
    )


def tree(trace_id: str, spans: Sequence[Span]) -> Tree:
    """The spans as a tree with durations and attributes; a span whose parent was not recorded stands at the top."""
    children: defaultdict[str | None, list[Span]] = defaultdict(list)
    linked: defaultdict[str, list[Span]] = defaultdict(list)
    known = {span.span_id for span in spans}
    for span in spans:
        targets = [link[1] for link in span.links if link[0] == trace_id and link[1] in known]
        if span.trace_id != trace_id and targets:
            linked[targets[0]].append(span)
        else:
            children[span.parent_id if span.parent_id in known else None].append(span)
    root = Tree(Text(f"trace {trace_id}", style="bold"))
    _grow(root, children[None], children, linked)
    return root


def _grow(
    branch: Tree,
    spans: Iterable[Span],
    children: Mapping[str | None, Sequence[Span]],
    linked: Mapping[str, Sequence[Span]],
) -> None:
    for span in spans:
        below = branch.add(_label(span, is_linked=False))
        _grow(below, children.get(span.span_id, ()), children, linked)
        for batch in linked.get(span.span_id, ()):
            _grow(below.add(_label(batch, is_linked=True)), children.get(batch.span_id, ()), children, linked)


def _label(span: Span, *, is_linked: bool) -> Text:
    label = Text()
    if is_linked:
        label.append("linked: ", style="dim")
    label.append(f"{span.service} ", style="cyan")
    label.append(span.name, style="bold red" if span.error else "bold")
    if span.duration_ns:
        label.append(f"  {span.duration_ns / 1e6:.1f} ms")
    if span.error:
        label.append(f"  {span.error}", style="red")
    shown = [f"{name}={_short(value)}" for name, value in sorted(span.attributes.items())[:_ATTRIBUTES_MAX]]
    if shown:
        label.append(f"  {' '.join(shown)}", style="dim")
    return label


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= _VALUE_MAX else f"{text[: _VALUE_MAX - 1]}…"
