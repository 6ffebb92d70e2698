"""Invoicing as a process: what it cannot start with is named before anything is connected to."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

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
