"""Takes finished spans out of the process, by threads of its own: the event loop only appends to a queue.

    Outlet.put  ->  bounded deque (the newest is dropped when full, and counted)  ->  thread  ->  file | OTLP over HTTP

* The file holds one span per line as JSON (`ledgerbus trace ID` reads it). At its size limit it becomes `<name>.1` and
  a new one begins, so a laptop's disk holds at most twice the limit.
* OTLP: the SDK's spans and exporter. Its retries block that thread only; it complains in the log once a minute.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from libs.common.clock import monotonic_s

Attribute = str | int | bool
Link = str
"""A traceparent."""

QUEUE_SPANS: Final = 20_000
BATCH_SPANS: Final = 512
IDLE_S: Final = 0.5
FILE_BYTES: Final = 64 * 1024 * 1024


class Finished(NamedTuple):
    """A span that ended. Times are nanoseconds since 1970 in UTC, links are traceparents, error is a class's name."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    started_ns: int
    ended_ns: int
    attributes: Mapping[str, Attribute] | None
    links: Sequence[Link]
    error: str | None


Writer = Callable[[list[Finished]], None]


class Outlet:
    """A queue and the thread that empties it into `write`."""

    def __init__(self, name: str, write: Writer, shut: Callable[[], None]) -> None:
        self.dropped = 0
        self._write = write
        self._shut = shut
        self._queue: deque[Finished] = deque()
        self._wanted = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._empty, name=name, daemon=True)
        self._thread.start()

    def put(self, span: Finished) -> None:
        """Never waits; drops when the queue is full."""
        if len(self._queue) >= QUEUE_SPANS:
            self.dropped += 1
            return
        self._queue.append(span)

    def close(self, timeout_s: float) -> None:
        """Write what is queued and end the thread, within the time given."""
        self._closing = True
        self._wanted.set()
        self._thread.join(timeout_s)

    def _empty(self) -> None:
        complained_s = -60.0
        while True:
            closing = self._closing
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_SPANS))]
            if batch:
                try:
                    self._write(batch)
                except Exception as error:  # noqa: BLE001 - telemetry must not take its service down; it is told
                    self.dropped += len(batch)
                    if monotonic_s() - complained_s >= 60:
                        complained_s = monotonic_s()
                        logging.getLogger("libs.common.exporting").warning("spans are lost: %s", error)
            elif closing:
                break
            else:
                self._wanted.wait(IDLE_S)
        self._shut()


def open_outlets(
    service: str, version: str, *, otlp_endpoint: str | None, span_file: Path | None
) -> tuple[Outlet, ...]:
    """The outlets that are asked for; none costs nothing."""
    outlets = []
    if span_file is not None:
        file = SpanFile(span_file, service)
        outlets.append(Outlet("spans-to-file", file.write, file.close))
    if otlp_endpoint is not None:
        from libs.common.otlp import OtlpSpans

        otlp = OtlpSpans(otlp_endpoint, service, version)
        outlets.append(Outlet("spans-to-otlp", otlp.write, otlp.close))
    return tuple(outlets)


class SpanFile:
    """JSON Lines, appended to. Several processes may share one: a batch is one write at the file's end."""

    def __init__(self, path: Path, service: str, *, limit_bytes: int = FILE_BYTES) -> None:
        self._path = path
        self._service = service
        self._limit_bytes = limit_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, spans: list[Finished]) -> None:
        """Append; rotate first where the limit is reached (by whichever process sees it)."""
        if self._file.tell() >= self._limit_bytes:
            self._rotate()
        self._file.write(b"".join(self._line(span) for span in spans))

    def close(self) -> None:
        """End of the file's use by this process."""
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        if self._path.exists() and self._path.stat().st_size >= self._limit_bytes:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        self._file = self._path.open("ab", buffering=0)

    def _line(self, span: Finished) -> bytes:
        content = {
            "service": self._service,
            "name": span.name,
            "trace_id": span.trace_id,
            "span_id": span.span_id,
            "parent_id": span.parent_id,
            "started_ns": span.started_ns,
            "duration_ns": span.ended_ns - span.started_ns,
            "attributes": dict(span.attributes or {}),
            "links": list(span.links),
            "error": span.error,
        }
        return orjson.dumps(content, default=str, option=orjson.OPT_APPEND_NEWLINE)
