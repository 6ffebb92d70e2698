"""The ledger's start: settings read, parts built, handed to the runtime.

`python -m services.ledger.main rebuild ORGANIZATION LEDGER [--restore-history]` makes projections what the log says
instead, with the owner's rights and while no ledger service runs (rebuild.py).
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr

from libs.common import db, metrics, runtime, settings, telemetry
from libs.common.auth import Verifier
from libs.common.bus import KafkaSettings
from libs.common.clock import now
from libs.common.errors import Misconfigured
from libs.common.heard_rates import RatesConsumer
from libs.common.http import create_app
from libs.common.signing import SigningKeys, read_keys
from services.ledger import books_store
from services.ledger.api import LedgerApi
from services.ledger.commands import Books
from services.ledger.consumer import RequestsConsumer
from services.ledger.expiry import HoldExpiry
from services.ledger.pools import MIGRATIONS, WRITER_CONNECTIONS, create_writer_pool
from services.ledger.prover import DUTY, ROUND_HOURS, Prover
from services.ledger.queued import Limits
from services.ledger.rates_store import store_rates
from services.ledger.rebuild import CannotRebuild, rebuild
from services.ledger.relay import Relay

VERSION = "0.1.0"
OBSERVE_S = 1.0
EXIT_BOOKS_DIFFER = 4

log = telemetry.get_logger("services.ledger.main")


class LedgerSettings(settings.ServiceSettings):
    """What the ledger can be told from outside."""

    migrator_dsn: SecretStr | None = Field(
        None, alias="LEDGERBUS_POSTGRES_MIGRATOR_DSN", description="owner of the tables; needed to migrate on start"
    )
    writer_dsn: SecretStr = Field(alias="LEDGERBUS_POSTGRES_WRITER_DSN", description="role that posts")
    reader_dsn: SecretStr = Field(
        alias="LEDGERBUS_POSTGRES_READER_DSN", description="role that reads one organization's rows"
    )
    auditor_dsn: SecretStr = Field(
        alias="LEDGERBUS_POSTGRES_AUDITOR_DSN", description="role that reads all: relay and proof"
    )
    writer_connections: int = Field(
        WRITER_CONNECTIONS,
        ge=2,
        alias="LEDGERBUS_LEDGER_WRITER_CONNECTIONS",
        description="statements under way at once; more where commits wait for a standby",
    )
    member: str | None = Field(
        None,
        alias="LEDGERBUS_LEDGER_MEMBER",
        description="this process in the consumer group, kept over restarts; two processes never share one",
    )
    batch_requests: int = Field(
        1_000, ge=1, alias="LEDGERBUS_LEDGER_BATCH_REQUESTS", description="requests in one statement at most"
    )
    signing_key: Path | None = Field(
        None,
        alias="LEDGERBUS_LEDGER_SIGNING_KEY",
        description="PEM file of Ed25519 keys, the newest first: it signs chain heads; absent: they are not signed",
    )
    proof_duty: settings.Ratio = Field(
        DUTY,
        alias="LEDGERBUS_LEDGER_PROOF_DUTY",
        description="share of the time that the background proof of the books works; 0 switches it off",
    )
    proof_round_hours: int = Field(
        ROUND_HOURS,
        ge=1,
        alias="LEDGERBUS_LEDGER_PROOF_ROUND_HOURS",
        description="quiet ledgers are proven again this often",
    )
    cached_accounts: int = Field(
        200_000, ge=1_000, alias="LEDGERBUS_LEDGER_CACHED_ACCOUNTS", description="accounts kept in memory at most"
    )


async def migrate(chosen: LedgerSettings) -> None:
    """Brings the tables up to date, or makes sure that they are."""
    if chosen.migrate_on_start:
        if chosen.migrator_dsn is None:
            raise Misconfigured("MIGRATE_ON_START needs LEDGERBUS_POSTGRES_MIGRATOR_DSN, or set it to false")
        await db.migrate(chosen.migrator_dsn.get_secret_value(), MIGRATIONS)
    else:
        await db.check_migrated(chosen.auditor_dsn.get_secret_value(), MIGRATIONS)


async def start() -> int:
    """Build the ledger and run it until it is told to stop."""
    chosen = settings.load(LedgerSettings, os.environ)
    telemetry.configure_logging("ledger", chosen.log_format, chosen.log_level)
    telemetry.configure_tracing(
        "ledger",
        VERSION,
        otlp_endpoint=chosen.otlp_endpoint,
        span_file=chosen.span_file,
        sample_ratio=chosen.trace_sample_ratio,
    )
    jwks = chosen.jwks_file or chosen.jwks_url
    if jwks is None:
        raise Misconfigured("set LEDGERBUS_JWKS_FILE or LEDGERBUS_JWKS_URL: where the keys of tokens are")
    verifier = Verifier(chosen.jwt_issuer, chosen.jwt_audience, jwks)
    await verifier.start()
    keys = read_keys(chosen.signing_key) if chosen.signing_key is not None else SigningKeys()
    await migrate(chosen)
    writer = await create_writer_pool(chosen.writer_dsn.get_secret_value(), max_size=chosen.writer_connections)
    reader = await db.create_pool(chosen.reader_dsn.get_secret_value(), name="ledger-reader", max_size=8)
    auditor = await db.create_pool(chosen.auditor_dsn.get_secret_value(), name="ledger-auditor", max_size=6)
    limits = Limits(batch_requests=chosen.batch_requests, cached_accounts=chosen.cached_accounts)
    relay = Relay(auditor, KafkaSettings.of(chosen), keys=keys)
    books = Books(writer, now, limits, relay.wake)
    consumer = RequestsConsumer(books, KafkaSettings.of(chosen), member=chosen.member)
    rates = RatesConsumer(
        writer, now, KafkaSettings.of(chosen), store=store_rates, group="ledger-rates", member=chosen.member
    )
    prover = Prover(auditor, duty=chosen.proof_duty, round_every=timedelta(hours=chosen.proof_round_hours))
    readiness = runtime.Readiness()
    app = create_app("ledger", VERSION, readiness=readiness, verifier=verifier)
    LedgerApi(books, reader, auditor, keys).add_to(app)
    metrics.BUILD_INFO.labels("ledger", VERSION).set(1)
    return await runtime.run(
        "ledger",
        app=app,
        host=chosen.http_host,
        port=chosen.http_port,
        tasks={
            "relay": relay.run,
            "requests": consumer.run,
            "rates": rates.run,
            "proof": prover.run,
            "expiry": HoldExpiry(books, auditor).run,
            "gauges": observing(books, {"writer": writer, "reader": reader, "auditor": auditor}),
        },
        closers=[
            ("relay", relay.flush),
            ("writer pool", writer.close),
            ("reader pool", reader.close),
            ("auditor pool", auditor.close),
            ("verifier", verifier.close),
        ],
        readiness=readiness,
    )


def observing(books: Books, pools: Mapping[str, db.Pool]) -> runtime.Task:
    """The task that sets the gauges of queues, caches and pools."""

    async def observe(stopping: runtime.Stopping) -> None:
        while not stopping.is_set():
            books.observe()
            for name, pool in pools.items():
                metrics.DB_POOL_CONNECTIONS.labels(name, "idle").set(pool.get_idle_size())
                metrics.DB_POOL_CONNECTIONS.labels(name, "used").set(pool.get_size() - pool.get_idle_size())
                metrics.DB_POOL_CONNECTIONS.labels(name, "limit").set(pool.get_max_size())
            try:
                await asyncio.wait_for(stopping.wait(), OBSERVE_S)
            except TimeoutError:
                continue

    return observe


async def start_rebuild(organization: str, code: str, *, restore_history: bool) -> int:
    """Rebuild one ledger's projections; the exit code is 0 where the books verify afterwards."""
    chosen = settings.load(LedgerSettings, os.environ)
    telemetry.configure_logging("ledger-rebuild", chosen.log_format, chosen.log_level)
    if chosen.migrator_dsn is None:
        raise Misconfigured("a rebuild needs LEDGERBUS_POSTGRES_MIGRATOR_DSN")
    owner = await db.create_pool(chosen.migrator_dsn.get_secret_value(), name="ledger-rebuild", max_size=2)
    try:
        async with owner.acquire() as connection:
            ledger = await books_store.load_ledger(connection, organization, code)
        if ledger is None:
            raise Misconfigured(f"there is no ledger {code!r} of an organization {organization!r}")

        def advance(folded: int, head: int) -> None:
            log.info("rebuild-progress", folded=folded, head=head)

        replaced, report = await rebuild(owner, ledger, restore_history=restore_history, advance=advance)
        log.info("rebuilt", replaced=replaced, ok=report.ok, checked_through=report.checked_through)
        return runtime.EXIT_CLEAN if report.ok else EXIT_BOOKS_DIFFER
    except CannotRebuild as refusal:
        log.critical("cannot-rebuild", error=str(refusal))
        return runtime.EXIT_TASK_DIED
    finally:
        await owner.close()


def _start_of(arguments: Sequence[str]) -> Callable[[], Coroutine[Any, Any, int]]:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="services.ledger.main")
    commands = parser.add_subparsers(dest="command")
    asked = commands.add_parser("rebuild", help="make a ledger's projections what its log says")
    asked.add_argument("organization")
    asked.add_argument("ledger")
    asked.add_argument("--restore-history", action="store_true", help="append-only tables too")
    wanted = parser.parse_args(arguments)
    if wanted.command is None:
        return start
    return lambda: start_rebuild(wanted.organization, wanted.ledger, restore_history=wanted.restore_history)


if __name__ == "__main__":
    runtime.main(_start_of(sys.argv[1:]))
