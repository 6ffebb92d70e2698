"""The table of routes: found in the right order, guarded everywhere, and the same as what the services serve."""

from collections.abc import Callable

import pytest

from libs.common.auth import OPERATOR_SCOPES, ROLES
from services.gateway.routes import OPEN, SHORT_PATHS, TABLE, Passage, RouteTable
from services.gateway.upstreams import PAUSE_S_MAX, Circuit, Upstream
from tests.gateway.invoicing_openapi import invoicing_operations
from tests.gateway.ledger_openapi import ledger_operations

KNOWN_SCOPES = frozenset().union(*ROLES.values())


def test_a_literal_wins_over_a_parameter() -> None:
    table = RouteTable(TABLE)
    assert table.find("/api/v1/ledgers/main/entries/bulk")["POST"].path.endswith("/entries/bulk")
    assert table.find("/api/v1/ledgers/main/entries/7")["GET"].path.endswith("/entries/{id}")
    assert table.find("/api/v1/ledgers/main/entries/bulk")["POST"].stream


def test_a_literal_that_leads_nowhere_gives_way_to_a_parameter() -> None:
    table = RouteTable([Passage("GET", "/a/b/c", "x", "s"), Passage("GET", "/a/{p}/d", "x", "s")])
    assert table.find("/a/b/d")["GET"].path == "/a/{p}/d"


@pytest.mark.parametrize("path", ["", "/", "/api", "/api/v1/ledgers/", "/api/v1/ledgers/main/entries/7/8/9"])
def test_nothing_is_found_where_nothing_is(path: str) -> None:
    assert RouteTable(TABLE).find(path) == {}


def test_a_last_slash_leads_only_where_a_passage_has_one() -> None:
    table = RouteTable(
        [Passage("GET", "/a", "x", "s"), Passage("GET", "/a/", "x", "s"), Passage("GET", "/b", "x", "s")]
    )
    assert table.find("/a")["GET"].path == "/a"
    assert table.find("/a/")["GET"].path == "/a/"
    assert [table.find(path) for path in ("/b/", "/a//", "//a/", "/a/.")] == [{}, {}, {}, {}]
    assert RouteTable(TABLE).find("/api/v1/accounts/") == {}, "no parameter is empty"


@pytest.mark.parametrize("passage", TABLE, ids=lambda passage: f"{passage.method} {passage.path}")
def test_every_route_is_guarded_and_bounded(passage: Passage) -> None:
    assert (passage.scope == OPEN) == passage.path.startswith("/api/v1/webhooks/"), "only what is signed takes no token"
    assert (passage.scope == OPEN) == (passage.rate_class == "webhook")
    assert passage.scope == OPEN or passage.scope in KNOWN_SCOPES
    assert passage.path.startswith("/api/v1/" if passage not in SHORT_PATHS else "/api/")
    assert 0 < passage.timeout_s <= 600
    assert passage.stream or passage.method == "GET" or passage.body_bytes_max > 0
    assert passage.body_bytes_max <= 1024 * 1024
    assert ("organizations" in passage.path) == (passage.scope in OPERATOR_SCOPES)


def test_only_operators_have_operator_scopes() -> None:
    for role, scopes in ROLES.items():
        assert bool(scopes & OPERATOR_SCOPES) == (role == "operator"), role
    assert ROLES["viewer"] < ROLES["accountant"] < ROLES["controller"]
    assert "ledger:post" not in ROLES["operator"] | ROLES["viewer"]


def test_a_circuit_opens_tries_and_closes() -> None:
    circuit = Circuit()
    for _ in range(6):
        assert circuit.allows(10.0)
        circuit.failed(10.0)
    assert not circuit.allows(10.4)
    assert circuit.allows(10.5)
    assert not circuit.allows(10.6), "one try in every pause"
    circuit.failed(10.6)
    assert not circuit.allows(11.5), "a failed try doubles the pause"
    assert circuit.allows(11.7)
    circuit.succeeded()
    assert circuit.allows(11.7)
    assert circuit.failures == 0


def test_the_pause_is_bounded() -> None:
    circuit = Circuit()
    for _ in range(50):
        circuit.failed(0.0)
    assert circuit.pause_s == PAUSE_S_MAX


def test_requests_of_one_ledger_go_to_one_instance() -> None:
    upstream = Upstream("ledger", ["http://a", "http://b", "http://c"])
    first = {f"demo/l{number}": upstream.ranked(f"demo/l{number}")[0].url for number in range(300)}
    assert first == {key: upstream.ranked(key)[0].url for key in first}
    assert all(list(first.values()).count(url) > 50 for url in ("http://a", "http://b", "http://c"))
    fewer = Upstream("ledger", ["http://a", "http://b"])
    moved = [key for key, url in first.items() if url != "http://c" and fewer.ranked(key)[0].url != url]
    assert moved == [], "an instance that leaves moves only its own ledgers"


@pytest.mark.parametrize(
    ("upstream", "operations"), [("ledger", ledger_operations), ("invoicing", invoicing_operations)]
)
def test_the_table_and_a_service_s_openapi_are_the_same(
    upstream: str, operations: Callable[[], dict[tuple[str, str], str]]
) -> None:
    table = {(passage.method, passage.path): passage.scope for passage in TABLE if passage.upstream == upstream}
    assert operations() == table
