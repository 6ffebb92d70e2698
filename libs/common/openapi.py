"""OpenAPI entries for routes that FastAPI cannot see, and the parts all entries share.

A hot route's entry is written by hand as an `Operation`; its models' schemas are made by pydantic. Every operation gets
the problem+json answer as its default, in the place of FastAPI's own form of 422.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

REF: Final = "#/components/schemas/{model}"

PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "code", "detail", "facts", "errors", "retryable", "request_id", "trace_id"],
    "properties": {
        "type": {"type": "string", "description": "Where the code is explained."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable; programs decide by it."},
        "detail": {"type": "string", "description": "A sentence for a person."},
        "facts": {"type": "object", "additionalProperties": True},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {
                        "type": "string",
                        "description": "RFC 6901 pointer into the body, or to a query parameter by its name.",
                    },
                    "detail": {"type": "string"},
                },
            },
        },
        "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
        "request_id": {"type": "string"},
        "trace_id": {"type": "string"},
    },
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One hand-written entry. `scope` becomes its security requirement ("" where it takes no token); `models` name
    schemas that `entry` refers to.

    `entry` is an OpenAPI operation object; schemas are referred to as `REF.format(model=name)`.
    """

    method: str
    path: str
    scope: str
    entry: Mapping[str, Any]
    models: Mapping[str, tuple[TypeAdapter[Any], JsonSchemaMode]] = field(default_factory=dict)


def openapi_document(generated: dict[str, Any], operations: Sequence[Operation]) -> dict[str, Any]:
    """The application's document: what FastAPI generated, the hand-written entries, and problems as default answers."""
    paths = generated.setdefault("paths", {})
    components = generated.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for operation in operations:
        security = [{"bearer": [operation.scope]}] if operation.scope else []
        entry = {**operation.entry, "security": security}
        paths.setdefault(operation.path, {})[operation.method.lower()] = entry
        for name, (adapter, mode) in operation.models.items():
            schema = adapter.json_schema(mode=mode, ref_template=REF)
            schemas.update(schema.pop("$defs", {}))
            schemas[name] = schema
    for path in paths.values():
        for entry in path.values():
            responses = entry.setdefault("responses", {})
            if "HTTPValidationError" in str(responses.get("422", "")):
                del responses["422"]
            responses.setdefault("default", {"$ref": "#/components/responses/Problem"})
    for own in ("HTTPValidationError", "ValidationError"):
        schemas.pop(own, None)
    schemas["Problem"] = PROBLEM_SCHEMA
    components.setdefault("securitySchemes", {})["bearer"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    components.setdefault("responses", {})["Problem"] = {
        "description": "A problem, told as RFC 9457 says.",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    return generated
