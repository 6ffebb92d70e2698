"""Every example is a body that its service's document allows."""

from collections.abc import Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from services.gateway.examples import EXAMPLES
from services.gateway.routes import TABLE
from tests.gateway.invoicing_openapi import invoicing_document
from tests.gateway.ledger_openapi import ledger_document

WITHOUT = {("POST", "/api/v1/webhooks/{provider}/{endpoint}")}
"""What providers send is theirs to say."""
UPSTREAMS = {(passage.method, passage.path): passage.upstream for passage in TABLE}


@pytest.fixture(scope="module")
def documents() -> Mapping[str, Any]:
    return {"ledger": ledger_document(), "invoicing": invoicing_document()}


@pytest.mark.parametrize("route", EXAMPLES, ids=" ".join)
def test_an_example_is_allowed_by_the_document(documents: Mapping[str, Any], route: tuple[str, str]) -> None:
    document = documents[UPSTREAMS[route]]
    body = document["paths"][route[1]][route[0].lower()]["requestBody"]["content"]["application/json"]["schema"]
    schema = {**body, "components": document["components"]}
    faults = [fault.message for fault in Draft202012Validator(schema).iter_errors(EXAMPLES[route])]
    assert not faults


def test_every_body_that_invoicing_takes_has_an_example(documents: Mapping[str, Any]) -> None:
    document = documents["invoicing"]
    takes = {
        (method.upper(), path): operation["requestBody"]["content"]["application/json"]["schema"]
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation
    }
    empty = {"$ref": "#/components/schemas/EmptyRequest"}
    missing = {route for route, schema in takes.items() if schema != empty} - EXAMPLES.keys() - WITHOUT
    assert not missing
