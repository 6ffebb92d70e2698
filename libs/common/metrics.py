"""Every metric of every service: its name, kind, unit, labels, and what to do when it moves.

    catalogue (this file)  ->  constants used by the code  ->  /metrics  ->  dashboards and alerts
                           ->  docs/metrics.md (rendered, compared by a test)

A name that is not here does not exist. Labels are bounded: route templates, codes, topics, never ids. A call of
`.labels(...)` takes a lock and a lookup, so hot paths keep the child it gives. A service shows only what it has
touched: metrics with labels appear with their first value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

disable_created_metrics()  # type: ignore[no-untyped-call] # halves what a scrape carries; restarts show in process_

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

LATENCY_MS: Final = (0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 150, 250, 500, 1_000, 2_500, 5_000, 10_000)
RECORDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)


@dataclass(frozen=True, slots=True)
class Described:
    """One row of the catalogue. `unit` is what a value counts, `action` what a person does when it moves."""

    name: str
    kind: str
    unit: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...]
    meaning: str
    action: str


CATALOGUE: Final[list[Described]] = []

_M = TypeVar("_M", Counter, Gauge, Histogram)


def _described(metric: _M, row: Described) -> _M:
    CATALOGUE.append(row)
    return metric


def _counter(name: str, unit: str, labels: Sequence[str], meaning: str, action: str) -> Counter:
    row = Described(name, "counter", unit, tuple(labels), (), meaning, action)
    return _described(Counter(name, meaning, labels), row)


def _gauge(name: str, unit: str, labels: Sequence[str], meaning: str, action: str) -> Gauge:
    row = Described(name, "gauge", unit, tuple(labels), (), meaning, action)
    return _described(Gauge(name, meaning, labels), row)


def _histogram(
    name: str, unit: str, labels: Sequence[str], buckets: tuple[float, ...], meaning: str, action: str
) -> Histogram:
    row = Described(name, "histogram", unit, tuple(labels), buckets, meaning, action)
    return _described(Histogram(name, meaning, labels, buckets=buckets), row)


# --- every service: requests, process ---------------------------------------------------------------------------------

BUILD_INFO = _gauge(
    "build_info", "1", ["service", "version"], "1 for the version that runs.",
    "Two versions for long after a deployment: one instance was not replaced.",
)  # fmt: skip
HTTP_REQUESTS = _counter(
    "http_requests_total", "requests", ["service", "method", "route", "status"], "Answered requests by route template.",
    "5xx: read the log by trace id. 429 or 503: see queue wait and pool use of the service behind it.",
)  # fmt: skip
HTTP_REQUEST_DURATION_MS = _histogram(
    "http_request_duration_ms", "ms", ["service", "method", "route"], LATENCY_MS, "Time from request head to answer.",
    "Compare with ledger_statement_duration_ms and event_loop_lag_ms: database, or a busy process.",
)  # fmt: skip
EVENT_LOOP_LAG_MS = _gauge(
    "event_loop_lag_ms", "ms", ["service"], "How late the event loop wakes: the worst of the last second.",
    "Above 100: CPU work on the loop; heartbeats and health checks suffer next. Profile, or add an instance.",
)  # fmt: skip
DB_POOL_CONNECTIONS = _gauge(
    "db_pool_connections", "connections", ["pool", "state"], "Database connections by state: idle, used, limit.",
    "used = limit for minutes: requests wait for connections. Look for slow statements before raising the limit.",
)  # fmt: skip

# --- ledger -----------------------------------------------------------------------------------------------------------

LEDGER_TX = _counter(
    "ledger_tx_total", "requests", ["kind", "outcome"], "Decided requests; outcome is posted, rejected or replayed.",
    "A jump of rejected: see ledger_rejections_total by code. Fall to zero: is the writer alive, is a lease stuck?",
)  # fmt: skip
LEDGER_POSTING_LATENCY_MS = _histogram(
    "ledger_posting_latency_ms", "ms", [], LATENCY_MS,
    "From taking a posting request, over REST or from Kafka (bulk left out), to its durable outcome.",
    "Split it: ledger_queue_wait_ms (too much at once) or ledger_statement_duration_ms (the database).",
)  # fmt: skip
LEDGER_SERIALIZATION_RETRIES = _counter(
    "ledger_serialization_retries_total", "retries", [], "Batches decided again because another process wrote first.",
    "Steady growth: two processes write one ledger; look at the writer lease.",
)  # fmt: skip
LEDGER_RECON_MISMATCHES = _counter(
    "ledger_recon_mismatches_total", "mismatches", [], "Differences found between books and bank or within the books.",
    "Follow the runbook on breaks; within the books run the verification and stop posting if it fails.",
)  # fmt: skip
LEDGER_BATCH_ENTRIES = _histogram(
    "ledger_batch_entries", "requests", [], RECORDS, "Requests written by one statement.",
    "Always at the upper limit: the writer is saturated. Always 1 under load: group commit does not gather.",
)  # fmt: skip
LEDGER_QUEUE_WAIT_MS = _histogram(
    "ledger_queue_wait_ms", "ms", [], LATENCY_MS, "Time a request waits before its batch is taken.",
    "Rises with load before latency does: add a ledger process or move ledgers to another shard.",
)  # fmt: skip
LEDGER_STATEMENT_DURATION_MS = _histogram(
    "ledger_statement_duration_ms", "ms", [], LATENCY_MS, "Time of the one writing statement, commit included.",
    "Rises alone: disk or synchronous standby; check checkpoint and standby delay, and the oldest snapshot.",
)  # fmt: skip
LEDGER_RELAY_LAG_RECORDS = _gauge(
    "ledger_relay_lag_records", "records", [], "Log records committed and not yet acknowledged by Kafka.",
    "Growing: Kafka is down or the relay stopped; nothing is lost, consumers are late.",
)  # fmt: skip
LEDGER_RELAY_PUBLISHED = _counter(
    "ledger_relay_published_total", "records", [], "Log records acknowledged by Kafka.",
    "Flat while ledger_tx_total grows: see ledger_relay_lag_records.",
)  # fmt: skip
LEDGER_REJECTIONS = _counter(
    "ledger_rejections_total", "requests", ["code"], "Refused requests by rejection code.",
    "One code jumps: a client changed. account-not-found or period-closed after a deployment: its configuration.",
)  # fmt: skip
LEDGER_WRITER_QUEUE_LENGTH = _gauge(
    "ledger_writer_queue_length", "requests", [], "Requests waiting for the writer.",
    "At its limit requests are refused with 503; see ledger_statement_duration_ms.",
)  # fmt: skip
LEDGER_CACHED_ACCOUNTS = _gauge(
    "ledger_cached_accounts", "accounts", [], "Accounts with balances held in the writer's memory.",
    "Near the limit with falling speed: raise the cache limit or give the process fewer ledgers.",
)  # fmt: skip
LEDGER_INVARIANT_VIOLATIONS = _gauge(
    "ledger_invariant_violations", "violations", ["invariant"], "Violations found by the last proof of each ledger.",
    "Anything above 0: stop posting to the ledger named in the log and follow the runbook on broken books.",
)  # fmt: skip
LEDGER_PROOF_FAILED_LEDGERS = _gauge(
    "ledger_proof_failed_ledgers", "ledgers", [], "Ledgers whose last proof found violations.",
    "One: a projection or one history. Many at once: a migration, or somebody with rights in the database.",
)  # fmt: skip
LEDGER_PROOF_LAG_RECORDS = _gauge(
    "ledger_proof_lag_records", "records", [], "Log records that no proof has covered yet, over all ledgers.",
    "Grows for a day: the background proof is too slow; raise LEDGERBUS_LEDGER_PROOF_DUTY.",
)  # fmt: skip
LEDGER_PROOF_AGE_SECONDS = _gauge(
    "ledger_proof_age_seconds", "s", [], "Age of the oldest of the ledgers' last proofs.",
    "Above two rounds: the background proof hangs, is off, or is too slow for the books.",
)  # fmt: skip
LEDGER_PROOF_LAST_SECONDS = _gauge(
    "ledger_proof_last_seconds", "s", [], "Time since any ledger's proof ended.",
    "Far above what the largest ledger needs: the background proof hangs.",
)  # fmt: skip
LEDGER_PROOF_ROUND_SECONDS = _gauge(
    "ledger_proof_round_seconds", "s", [], "Time the last full round over all ledgers took.",
    "Near the alert's two days: raise LEDGERBUS_LEDGER_PROOF_DUTY.",
)  # fmt: skip

# --- invoicing --------------------------------------------------------------------------------------------------------

INVOICING_POSTINGS = _gauge(
    "invoicing_postings", "postings", ["state"],
    "Entries asked of the ledger that are not in the books: waiting, requested or needs-attention; counted to 100,000.",
    "needs-attention: list them and correct the cause, then retry. waiting: a rate or a mapping is missing. requested: "
    "the ledger is slow or down; nothing is lost.",
)  # fmt: skip
INVOICING_OLDEST_REQUEST_SECONDS = _gauge(
    "invoicing_oldest_request_seconds", "s", [], "Age of the oldest request that the ledger has not answered.",
    "Growing: the ledger, its topics or the consumer of answers stand still; requests are sent again by themselves.",
)  # fmt: skip
INVOICING_RESEALED = _gauge(
    "invoicing_resealed", "1", [], "1 when everything sealed is sealed with the newest key, 0 until then.",
    "1 after a rotation: older keys may be dropped. Stays 0: read the log, and keep the older keys.",
)  # fmt: skip
INVOICING_PAYMENT_EVENTS = _counter(
    "invoicing_payment_events_total", "events", ["outcome"],
    "Payment events by outcome: applied, known (heard before), parked, released (from waiting).",
    "parked jumps: see invoicing_parked_total. Flat while payments.events.v1 grows: the consumer stands still.",
)  # fmt: skip
INVOICING_PARKED = _counter(
    "invoicing_parked_total", "events", ["reason"], "Payment events that could not have their effect, by rejection.",
    "unknown-payment ends by itself when the payment comes; others need a person: list, fix or dismiss, release.",
)  # fmt: skip
INVOICING_PARKED_WAITING = _gauge(
    "invoicing_parked_waiting", "messages", [], "Parked messages that wait.",
    "Above 0 for hours: list them with their reasons; only documents that they are about stand still.",
)  # fmt: skip
INVOICING_OCCURRENCES = _counter(
    "invoicing_occurrences_total", "occurrences", ["outcome"],
    "Days on which recurring invoices were due: made or needs-attention.",
    "needs-attention: list recurring invoices with needs_attention=true; each occurrence says why, and is tried again.",
)  # fmt: skip
INVOICING_RECOGNITIONS = _counter(
    "invoicing_recognitions_total", "period ends", ["outcome"],
    "Period ends done for invoices that defer revenue: recognised, nothing (to recognise) or refused (comes again).",
    "refused: an issue waits for a rate, or the ledger has no mapping; deferrals says why, invoice by invoice.",
)  # fmt: skip
INVOICING_RECOGNITION_LAG_DAYS = _gauge(
    "invoicing_recognition_lag_days", "days", [],
    "Days since the oldest period end for which deferred revenue is not recognised, over all ledgers that do so.",
    "Above 0 for hours: the loop is behind, refused, or a ledger's calendar was not heard; see the runbook.",
)  # fmt: skip
INVOICING_TIE_OUT_DIFFERENCES = _gauge(
    "invoicing_tie_out_differences", "comparisons", [],
    "Comparisons of receivables with the books that differ, by party and currency, over all ledgers.",
    "Anything above 0 for longer than an answer takes: ask for the tie-out of the ledger named in the log.",
)  # fmt: skip
INVOICING_ENTRIES_BY_OTHERS = _gauge(
    "invoicing_entries_by_others", "lines", [], "Lines on receivables' own accounts that invoicing did not ask for.",
    "Above 0: somebody posted there by hand; the tie-out lists them. Reverse them, and make the account controlled.",
)  # fmt: skip
INVOICING_WEBHOOKS = _counter(
    "invoicing_webhooks_total", "webhooks", ["provider", "outcome"],
    "Webhooks received: taken, known, ignored (moves no money), unreadable, or why the signature was refused.",
    "signature-wrong: a forgery, or a secret replaced on one side only. unreadable: the provider's shape changed.",
)  # fmt: skip
INVOICING_WEBHOOK_DELIVERIES = _counter(
    "invoicing_webhook_deliveries_total", "deliveries", ["outcome"],
    "Tries to deliver our own webhooks: delivered, failed (comes again) or dead.",
    "dead: the receiver was away for days or refuses; tell them, then replay.",
)  # fmt: skip

# --- Kafka ------------------------------------------------------------------------------------------------------------

KAFKA_CONSUMER_LAG_RECORDS = _gauge(
    "kafka_consumer_lag_records", "records", ["topic", "partition"], "Records of the partition not handled yet.",
    "Growing: handler too slow, or the partition is paused; see kafka_consumer_retries_total and the log.",
)  # fmt: skip
KAFKA_CONSUMER_AGE_SECONDS = _gauge(
    "kafka_consumer_age_seconds", "s", ["topic", "partition"], "Age of the last handled record, 0 when caught up.",
    "Old: what this service tells is stale; clients see late facts.",
)  # fmt: skip
KAFKA_CONSUMER_BATCH_RECORDS = _histogram(
    "kafka_consumer_batch_records", "records", ["topic"], RECORDS, "Records handled in one transaction.",
    "Always at the limit: the consumer is behind.",
)  # fmt: skip
KAFKA_CONSUMER_RETRIES = _counter(
    "kafka_consumer_retries_total", "retries", ["topic"], "Batches tried again after a transient failure.",
    "The database or Kafka is not well; the partition is paused meanwhile and nothing is skipped.",
)  # fmt: skip
KAFKA_DEAD_LETTERS = _counter(
    "kafka_dead_letters_total", "records", ["topic", "code"], "Records that could not be decoded, by reason.",
    "Read the dead letter's headers, fix the producer, replay it. Many at once stop the consumer on purpose.",
)  # fmt: skip
KAFKA_GROUP_HIDDEN = _gauge(
    "kafka_group_hidden", "1", ["group"], "1 while Kafka's access rules hide how far the group has read.",
    "1: let this service describe the group (deploy/kafka/access.json); requests are resent by time alone meanwhile.",
)  # fmt: skip
KAFKA_IGNORED_EVENTS = _counter(
    "kafka_ignored_events_total",
    "records",
    ["topic"],
    "Events of a type that this service does not know.",
    "Expected after a producer gained a new type; else compare the versions of both services.",
)
KAFKA_PUBLISH_DURATION_MS = _histogram(
    "kafka_publish_duration_ms", "ms", [], LATENCY_MS, "From a call to publish to the acknowledgement of all messages.",
    "Slow: broker disk, replication, or in-sync replicas missing.",
)  # fmt: skip
KAFKA_PUBLISHER_REBUILT = _counter(
    "kafka_publisher_rebuilt_total", "producers", [], "Producers thrown away after an error and built anew.",
    "A few during a broker change are normal; steady growth: the broker refuses us, read the log.",
)  # fmt: skip
OUTBOX_UNPUBLISHED = _gauge(
    "outbox_unpublished", "messages", [], "Outbox rows not yet acknowledged by Kafka.",
    "Growing: Kafka is down or no relay holds the lock; nothing is lost, others hear late.",
)  # fmt: skip

# --- gateway ----------------------------------------------------------------------------------------------------------

GATEWAY_UPSTREAM_REQUESTS = _counter(
    "gateway_upstream_requests_total", "requests", ["upstream", "outcome"], "Requests passed on, by outcome.",
    "outcome other than answered: the service is down or too slow for the gateway's limits.",
)  # fmt: skip
GATEWAY_UPSTREAM_DURATION_MS = _histogram(
    "gateway_upstream_duration_ms", "ms", ["upstream"], LATENCY_MS, "Time the service behind took.",
    "Compare with http_request_duration_ms of the gateway: the difference is the gateway itself.",
)  # fmt: skip
GATEWAY_INFLIGHT = _gauge(
    "gateway_inflight", "requests", ["upstream"], "Requests on their way to a service.",
    "At the limit: the gateway answers 503 for this service to protect the others.",
)  # fmt: skip


def render() -> bytes:
    """What /metrics answers in the text format that every Prometheus reads (`CONTENT_TYPE`)."""
    return bytes(generate_latest(REGISTRY))


def render_openmetrics() -> bytes:
    """The same with exemplars (trace ids), for a scraper that asks for OpenMetrics (`OPENMETRICS_CONTENT_TYPE`)."""
    return bytes(generate_openmetrics(REGISTRY))  # type: ignore[no-untyped-call]


def table() -> str:
    """The catalogue as a page of Markdown: docs/metrics.md."""
    head = (
        "# Metrics\n\n"
        "Rendered from `libs/common/metrics.py`; a test compares. Every service also shows the usual `process_`,\n"
        "`python_info` and `python_gc_` metrics of its runtime.\n\n"
        "| metric | kind | unit | labels | meaning | when it moves |\n|---|---|---|---|---|---|\n"
    )
    return head + "".join(
        f"| `{row.name}` | {row.kind} | {row.unit} | {', '.join(f'`{label}`' for label in row.labels)} "
        f"| {row.meaning} | {row.action} |\n"
        for row in CATALOGUE
    )
