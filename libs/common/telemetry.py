"""Logs and traces of every service. This file gives the names the code uses; traces.py records spans, exporting.py
takes them out of the process.

    get_logger(__name__).info("entry-posted", ledger=code)      one JSON line: time, level, service, trace, fields
    with start_span("post_journal", attributes={...}):         a span; what is logged inside carries its trace id

Logs: an event is a slug, everything variable is a field. Fields named like a secret are masked whatever they hold;
values of request bodies and personal data are not logged at all. Records of other libraries (uvicorn, aiokafka) come
through the same formatter, from WARNING on.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, Literal

import orjson
import structlog

from libs.common.traces import (
    Span,
    SpanContext,
    configure_tracing,
    context_from,
    current_span,
    current_trace_id,
    current_traceparent,
    flush_tracing,
    new_traceparent,
    start_span,
)

__all__ = [
    "Span",
    "SpanContext",
    "bind",
    "configure_logging",
    "configure_tracing",
    "context_from",
    "current_span",
    "current_trace_id",
    "current_traceparent",
    "flush_tracing",
    "get_logger",
    "new_traceparent",
    "redact",
    "start_span",
    "unbind",
]

MASK: Final = "[redacted]"
_SECRET_PARTS: Final = ("authorization", "password", "passwd", "token", "secret", "cookie", "api_key", "apikey", "dsn")
_OTHERS_LEVEL: Final = logging.WARNING

Logger = structlog.stdlib.BoundLogger
Record = MutableMapping[str, Any]


def get_logger(name: str) -> Logger:
    """A logger; `name` is the module's. Usable before `configure_logging`, which then applies to it too."""
    return structlog.stdlib.get_logger(name)


def bind(**fields: object) -> Mapping[str, Any]:
    """Add fields (request_id, organization) to every line of this task from now on; give the result to `unbind`."""
    return structlog.contextvars.bind_contextvars(**fields)


def unbind(tokens: Mapping[str, Any]) -> None:
    """Take back what `bind` added."""
    structlog.contextvars.reset_contextvars(**tokens)


def configure_logging(service: str, format: Literal["json", "console"] = "json", level: str = "INFO") -> None:  # noqa: A002
    """Once per process, before anything is logged. `level` is DEBUG, INFO, WARNING or ERROR."""

    def name_service(_logger: object, _method: str, record: Record) -> Record:
        record["service"] = service
        return record

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_service,
        _add_trace,
        redact,
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if format == "console"
        else [structlog.processors.format_exc_info, _as_json]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    output = logging.StreamHandler(sys.stdout)
    output.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [output]
    root.setLevel(_OTHERS_LEVEL)
    for own in ("libs", "services"):
        logging.getLogger(own).setLevel(level.upper())


def redact(_logger: object, _method: str, record: Record) -> Record:
    """Mask fields whose name tells a secret, in mappings of any depth."""
    for name, value in record.items():
        if _is_secret(name):
            record[name] = MASK
        elif isinstance(value, Mapping):
            record[name] = _masked(value)
    return record


def _masked(fields: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(name): MASK if _is_secret(str(name)) else _masked(value) if isinstance(value, Mapping) else value
        for name, value in fields.items()
    }


def _is_secret(name: str) -> bool:
    folded = name.lower().replace("-", "_")
    return any(part in folded for part in _SECRET_PARTS)


def _add_trace(_logger: object, _method: str, record: Record) -> Record:
    if span := current_span():
        record.setdefault("trace_id", span.trace_id)
        record.setdefault("span_id", span.span_id)
    return record


def _as_json(_logger: object, _method: str, record: Record) -> str:
    return orjson.dumps(record, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
