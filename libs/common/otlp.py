"""Finished spans as the OpenTelemetry SDK's, sent by its OTLP exporter over HTTP. Imported only where asked for."""

import logging
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from libs.common.exporting import Finished

SEND_TIMEOUT_S: Final = 5

# Its complaints come with every try; the outlet's own comes once a minute.
logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class OtlpSpans:
    """`endpoint` is the collector's base address; spans go to `<endpoint>/v1/traces`."""

    def __init__(self, endpoint: str, service: str, version: str) -> None:
        self._resource = Resource.create({"service.name": service, "service.version": version})
        self._exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=SEND_TIMEOUT_S)

    def write(self, spans: list[Finished]) -> None:
        """Raises OSError when the collector does not take them."""
        if self._exporter.export([self._readable(span) for span in spans]) is not SpanExportResult.SUCCESS:
            raise OSError("the OTLP collector does not take spans")

    def close(self) -> None:
        """Close the exporter's connections."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _readable(self, span: Finished) -> ReadableSpan:
        trace_id = int(span.trace_id, 16)
        return ReadableSpan(
            name=span.name,
            context=SpanContext(trace_id, int(span.span_id, 16), is_remote=False, trace_flags=_SAMPLED),
            parent=None
            if span.parent_id is None
            else SpanContext(trace_id, int(span.parent_id, 16), is_remote=True, trace_flags=_SAMPLED),
            resource=self._resource,
            attributes=span.attributes or {},
            links=[_link(link) for link in span.links],
            kind=SpanKind.INTERNAL,
            status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error),
            start_time=span.started_ns,
            end_time=span.ended_ns,
        )


def _link(traceparent: str) -> Link:
    return Link(SpanContext(int(traceparent[3:35], 16), int(traceparent[36:52], 16), is_remote=True))
