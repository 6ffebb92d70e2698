"""Invoicing as a process: what it cannot start with is named before anything is connected to; Kafka may be away."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from libs.common.sealing import add_sealing_key
from libs.devstack.ports import LOOPBACK, free_port
from libs.devstack.services import is_ready
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.hearing import eventually

NOBODY = "postgresql://nobody:x@127.0.0.1:9/none"
GOOD = {
    "LEDGERBUS_POSTGRES_MIGRATOR_DSN": NOBODY,
    "LEDGERBUS_POSTGRES_WRITER_DSN": NOBODY,
    "LEDGERBUS_POSTGRES_READER_DSN": NOBODY,
    "LEDGERBUS_POSTGRES_AUDITOR_DSN": NOBODY,
    "LEDGERBUS_INVOICING_SEALING_KEYS": "/none/sealing.keys",
    "LEDGERBUS_JWKS_FILE": "jwks.json",
}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "the sealing keys /none/sealing.keys cannot be read"),
        ({"LEDGERBUS_INVOICING_SEALING_KEYS": ""}, "LEDGERBUS_INVOICING_SEALING_KEYS"),
        ({"LEDGERBUS_INVOICING_MEMBR": "a"}, "LEDGERBUS_INVOICING_MEMBR"),
        ({"LEDGERBUS_JWKS_FILE": ""}, "LEDGERBUS_JWKS_FILE"),
        (
            {"ENVIRONMENT": "production", "LEDGERBUS_INVOICING_PRIVATE_WEBHOOKS": "true"},
            "LEDGERBUS_INVOICING_PRIVATE_WEBHOOKS is for one's own machine",
        ),
    ],
)
async def test_a_wrong_setting_stops_the_start_and_is_named(
    repository: Path, tmp_path: Path, settings: dict[str, str], named: str
) -> None:
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    given = {**GOOD, "LEDGERBUS_JWKS_FILE": str(tmp_path / "jwks.json"), **settings}
    others = {name: value for name, value in os.environ.items() if not name.startswith("LEDGERBUS_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.invoicing.main",
        cwd=repository, env=others | given, stdout=PIPE, stderr=STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2, said.decode()
    assert named in said.decode()


async def test_kafka_that_is_away_is_waited_for_and_it_is_said(
    repository: Path, tmp_path: Path, receivables: InvoicingDatabase
) -> None:
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    add_sealing_key(tmp_path / "sealing.keys")
    port = free_port()
    given = {
        "LEDGERBUS_POSTGRES_MIGRATOR_DSN": receivables.dsns.migrator,
        "LEDGERBUS_POSTGRES_WRITER_DSN": receivables.dsns.writer,
        "LEDGERBUS_POSTGRES_READER_DSN": receivables.dsns.reader,
        "LEDGERBUS_POSTGRES_AUDITOR_DSN": receivables.dsns.auditor,
        "LEDGERBUS_INVOICING_SEALING_KEYS": str(tmp_path / "sealing.keys"),
        "LEDGERBUS_JWKS_FILE": str(tmp_path / "jwks.json"),
        "LEDGERBUS_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{free_port()}",
        "LEDGERBUS_HTTP_PORT": str(port),
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("LEDGERBUS_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.invoicing.main",
        cwd=repository, env=others | given, stdout=PIPE, stderr=STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    said = b""
    async with asyncio.timeout(60):
        while said.count(b"ear-waits-for-kafka") < 5 and (line := await process.stdout.readline()):
            said += line
        await eventually(lambda: is_ready(port))
        process.terminate()
        rest, _ = await process.communicate()
    assert process.returncode == 0, (said + rest).decode()
