"""What an auditor is given over HTTP: a ledger's head, signed by a key that is published."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.common.jwks import parse_jwks
from libs.common.signing import ChainHead, is_signed_by
from services.ledger.commands import Books
from tests.ledger.conftest import LedgerDatabase
from tests.ledger.serving import ENTRIES, Service, ledger_service, rent


@pytest.fixture
async def service(books: Books, database: LedgerDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    async with ledger_service(books, database.dsns, tmp_path) as opened:
        yield opened


async def test_the_head_is_signed_by_a_published_key(service: Service) -> None:
    _, posted, _ = await service.send("POST", ENTRIES, rent())
    status, head, _ = await service.send("GET", "/api/v1/ledgers/main/head")
    assert status == 200
    assert (head["sequence"], head["hash"], head["epoch"]) == (posted["sequence"], posted["hash"], 1)
    assert (head["recorded_at"], head["organization"], head["algorithm"]) == (posted["recorded_at"], "demo", "Ed25519")
    _, keys, _ = await service.send("GET", "/api/v1/ledger-keys")
    key: Any = parse_jwks(keys)[head["key_id"]].public_key
    said = ChainHead(**{name: head[name] for name in ChainHead.__dataclass_fields__})
    assert is_signed_by(said, head["signature"], key)


async def test_a_head_is_the_organizations_own(service: Service) -> None:
    other = service.headers(organization="other")
    _, head, _ = await service.send("GET", "/api/v1/ledgers/main/head", headers=other)
    assert (head["organization"], head["sequence"]) == ("other", 1)
    status, problem, _ = await service.send("GET", "/api/v1/ledgers/nothing/head")
    assert (status, problem["code"]) == (404, "unknown-ledger")


async def test_a_proof_that_was_asked_for_counts(service: Service, database: LedgerDatabase) -> None:
    _, proof, _ = await service.send("GET", "/api/v1/ledgers/main/verify")
    assert proof["ok"], proof
    stored = await service.books.pool.fetchval("select sequence from ledgers where no = 1")
    assert proof["checked_through"] == stored
    assert database.admin
