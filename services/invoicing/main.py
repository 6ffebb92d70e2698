"""Invoicing's start: settings read, parts built, handed to the runtime."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, get_args

from pydantic import Field, SecretStr

from libs.common import db, metrics, runtime, settings, telemetry
from libs.common.auth import Verifier
from libs.common.bus import KafkaSettings, Publisher
from libs.common.clock import now
from libs.common.errors import Misconfigured
from libs.common.events import REQUESTS
from libs.common.group_reading import GroupReading
from libs.common.heard_rates import RatesConsumer
from libs.common.http import create_app
from libs.common.outbox import Relay
from libs.common.sealing import read_sealer
from services.invoicing.answers_consumer import AnswersConsumer
from services.invoicing.api import InvoicingApi, MessagesApi
from services.invoicing.customers import reseal_customers
from services.invoicing.deferrals import Outcome
from services.invoicing.deliveries_consumer import DeliveriesConsumer
from services.invoicing.delivering import Delivering
from services.invoicing.facts_consumer import FactsConsumer
from services.invoicing.gauge_reads import Underway, underway
from services.invoicing.hashing import Hashing
from services.invoicing.issued_parties import reseal_parties
from services.invoicing.parked_sweep import ParkedSweep
from services.invoicing.payment_effects import apply
from services.invoicing.payments_consumer import PaymentsConsumer
from services.invoicing.pools import MIGRATIONS, create_writer_pool
from services.invoicing.rates_store import store_rates
from services.invoicing.recognising import Recognising
from services.invoicing.recurring_api import read_template
from services.invoicing.redrafting import redraft
from services.invoicing.repeating import Repeating
from services.invoicing.resealing import Resealing
from services.invoicing.resending import Resending
from services.invoicing.tidying import Tidying
from services.invoicing.tying import TieOutGauge
from services.invoicing.webhook_certificates import Certificates
from services.invoicing.webhook_events import Provider
from services.invoicing.webhook_intake import Intake
from services.invoicing.webhook_resealing import reseal_secrets, reseal_webhooks
from services.invoicing.writing import Tools

VERSION: Final = "0.1.0"
log = telemetry.get_logger("services.invoicing.main")

OBSERVE_S: Final = 2.0
RATES_GROUP: Final = "invoicing-rates"
LEDGER_GROUP: Final = "ledger-requests"
"""The group in which the ledger reads requests."""


class InvoicingSettings(settings.ServiceSettings):
    """What invoicing can be told from outside."""

    migrator_dsn: SecretStr | None = Field(
        None, alias="LEDGERBUS_POSTGRES_MIGRATOR_DSN", description="owner of the tables; needed to migrate on start"
    )
    writer_dsn: SecretStr = Field(alias="LEDGERBUS_POSTGRES_WRITER_DSN", description="role that writes")
    reader_dsn: SecretStr = Field(
        alias="LEDGERBUS_POSTGRES_READER_DSN", description="role that reads one organization's rows"
    )
    auditor_dsn: SecretStr = Field(alias="LEDGERBUS_POSTGRES_AUDITOR_DSN", description="role that reads all: gauges")
    writer_connections: int = Field(
        12, ge=2, alias="LEDGERBUS_INVOICING_WRITER_CONNECTIONS", description="transactions under way at once"
    )
    member: str | None = Field(
        None,
        alias="LEDGERBUS_INVOICING_MEMBER",
        description="this process in the consumer groups, kept over restarts; two processes never share one",
    )
    sealing_keys: Path = Field(
        alias="LEDGERBUS_INVOICING_SEALING_KEYS",
        description="file of the keys that seal customers' personal data; keep it apart from the database's backups",
    )
    private_webhooks: bool = Field(
        False,
        alias="LEDGERBUS_INVOICING_PRIVATE_WEBHOOKS",
        description="our own webhooks may go to private addresses over http; for one's own machine",
    )


async def migrate(chosen: InvoicingSettings) -> None:
    """Brings the tables up to date, or makes sure that they are."""
    if chosen.migrate_on_start:
        if chosen.migrator_dsn is None:
            raise Misconfigured("MIGRATE_ON_START needs LEDGERBUS_POSTGRES_MIGRATOR_DSN, or set it to false")
        await db.migrate(chosen.migrator_dsn.get_secret_value(), MIGRATIONS)
    else:
        await db.check_migrated(chosen.auditor_dsn.get_secret_value(), MIGRATIONS)


async def start() -> int:
    """Build invoicing and run it until it is told to stop."""
    chosen = settings.load(InvoicingSettings, os.environ)
    telemetry.configure_logging("invoicing", chosen.log_format, chosen.log_level)
    telemetry.configure_tracing(
        "invoicing",
        VERSION,
        otlp_endpoint=chosen.otlp_endpoint,
        span_file=chosen.span_file,
        sample_ratio=chosen.trace_sample_ratio,
    )
    if chosen.environment == "production" and chosen.private_webhooks:
        raise Misconfigured("LEDGERBUS_INVOICING_PRIVATE_WEBHOOKS is for one's own machine, not for production")
    jwks = chosen.jwks_file or chosen.jwks_url
    if jwks is None:
        raise Misconfigured("set LEDGERBUS_JWKS_FILE or LEDGERBUS_JWKS_URL: where the keys of tokens are")
    verifier = Verifier(chosen.jwt_issuer, chosen.jwt_audience, jwks)
    await verifier.start()
    sealer = read_sealer(chosen.sealing_keys)
    await migrate(chosen)
    publisher = Publisher(KafkaSettings.of(chosen), name="invoicing")
    writer = await create_writer_pool(chosen.writer_dsn.get_secret_value(), max_size=chosen.writer_connections)
    reader = await db.create_pool(chosen.reader_dsn.get_secret_value(), name="invoicing-reader", max_size=8)
    auditor = await db.create_pool(chosen.auditor_dsn.get_secret_value(), name="invoicing-auditor", max_size=4)
    relay = Relay(chosen.writer_dsn.get_secret_value(), publisher.publish, name="invoicing")
    private = chosen.private_webhooks
    lags = GroupReading(KafkaSettings.of(chosen), LEDGER_GROUP, REQUESTS).is_behind
    resending = Resending(writer, now, wake=relay.wake, redraft=redraft, lags=lags)
    delivering = Delivering(writer, now, sealer, private_allowed=private)
    intake = Intake(writer, now, sealer, Certificates(), apply)
    readiness = runtime.Readiness()
    app = create_app("invoicing", VERSION, readiness=readiness, verifier=verifier)
    tools = Tools(writer, reader, now, sealer, relay.wake)
    InvoicingApi(tools).add_to(app)
    MessagesApi(tools, apply, intake, delivering, private).add_to(app)
    metrics.BUILD_INFO.labels("invoicing", VERSION).set(1)
    begin_at_zero()
    return await runtime.run(
        "invoicing",
        app=app,
        host=chosen.http_host,
        port=chosen.http_port,
        tasks={
            "outbox": relay.run,
            **_consumers(chosen, writer, relay, delivering, resending),
            "resending": resending.run,
            "parked": ParkedSweep(writer, now, apply, committed=relay.wake).run,
            "webhooks": intake.run,
            "delivering": delivering.run,
            "repeating": Repeating(writer, sealer, read_template, wake=relay.wake).run,
            "recognising": Recognising(writer, now, wake=relay.wake).run,
            "tie-out": TieOutGauge(auditor).run,
            "tidying": Tidying(writer, now).run,
            "hashing": Hashing(writer, sealer).run,
            "resealing": Resealing(
                writer, sealer, [reseal_customers, reseal_parties, reseal_secrets, reseal_webhooks]
            ).run,
            "gauges": observing(auditor, {"writer": writer, "reader": reader, "auditor": auditor}),
        },
        closers=[
            ("outbox", relay.stop),
            ("publisher", publisher.stop),
            ("writer pool", writer.close),
            ("reader pool", reader.close),
            ("auditor pool", auditor.close),
            ("verifier", verifier.close),
        ],
        readiness=readiness,
    )


def _consumers(
    chosen: InvoicingSettings, writer: db.Pool, relay: Relay, delivering: Delivering, resending: Resending
) -> Mapping[str, runtime.Task]:
    """What invoicing hears, each topic in a group of its own."""
    kafka, member = KafkaSettings.of(chosen), chosen.member
    return {
        "answers": AnswersConsumer(writer, now, kafka, wake=relay.wake, member=member).run,
        "payments": PaymentsConsumer(writer, now, kafka, apply, committed=relay.wake, member=member).run,
        "rates": RatesConsumer(
            writer, now, kafka, store=store_rates, group=RATES_GROUP, committed=resending.rates_came, member=member
        ).run,
        "facts": FactsConsumer(writer, now, kafka, member=member).run,
        "deliveries": DeliveriesConsumer(writer, now, kafka, committed=delivering.wake, member=member).run,
    }


def observing(auditor: db.Pool, pools: Mapping[str, db.Pool]) -> runtime.Task:
    """The task that sets the gauges of postings and pools. A database that is away leaves them as they were."""

    async def observe(stopping: runtime.Stopping) -> None:
        while not stopping.is_set():
            try:
                async with auditor.acquire() as connection:
                    _show(await underway(connection))
            except Exception as error:
                if not db.transient(error):
                    raise
                log.warning("gauges-wait", error=str(error) or repr(error))
            for name, pool in pools.items():
                metrics.DB_POOL_CONNECTIONS.labels(name, "idle").set(pool.get_idle_size())
                metrics.DB_POOL_CONNECTIONS.labels(name, "used").set(pool.get_size() - pool.get_idle_size())
                metrics.DB_POOL_CONNECTIONS.labels(name, "limit").set(pool.get_max_size())
            try:
                await asyncio.wait_for(stopping.wait(), OBSERVE_S)
            except TimeoutError:
                continue

    return observe


def begin_at_zero() -> None:
    """Gives every series its first value: one that begins with its first event hides that from `rate` and alerts."""
    for outcome in ("applied", "known", "parked", "released"):
        metrics.INVOICING_PAYMENT_EVENTS.labels(outcome)
    metrics.INVOICING_PARKED.labels("unknown-payment")
    for provider in get_args(Provider):
        for outcome in ("taken", "known", "ignored", "unreadable", "signature-wrong"):
            metrics.INVOICING_WEBHOOKS.labels(provider, outcome)
    for outcome in ("delivered", "failed", "dead"):
        metrics.INVOICING_WEBHOOK_DELIVERIES.labels(outcome)
    for outcome in ("made", "needs-attention"):
        metrics.INVOICING_OCCURRENCES.labels(outcome)
    for outcome in get_args(Outcome):
        metrics.INVOICING_RECOGNITIONS.labels(outcome)


def _show(found: Underway) -> None:
    metrics.INVOICING_POSTINGS.labels("waiting").set(found.waiting)
    metrics.INVOICING_POSTINGS.labels("requested").set(found.requested)
    metrics.INVOICING_POSTINGS.labels("needs-attention").set(found.needs_attention)
    metrics.INVOICING_OLDEST_REQUEST_SECONDS.set(found.oldest.total_seconds() if found.oldest is not None else 0)


if __name__ == "__main__":
    runtime.main(start)
