"""The catalogue of metrics: the names others rely on exist, /metrics shows them, and the page in docs is current."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from libs.common import metrics

PROMISED = [
    "ledger_tx_total{kind,outcome}",
    "ledger_posting_latency_ms",
    "ledger_serialization_retries_total",
    "ledger_recon_mismatches_total",
    "http_requests_total{service,method,route,status}",
    "http_request_duration_ms{service,method,route}",
    "ledger_batch_entries",
    "ledger_queue_wait_ms",
    "ledger_statement_duration_ms",
    "ledger_relay_lag_records",
    "ledger_relay_published_total",
    "ledger_rejections_total{code}",
    "ledger_writer_queue_length",
    "ledger_cached_accounts",
    "ledger_invariant_violations{invariant}",
    "kafka_consumer_lag_records{topic,partition}",
    "kafka_consumer_age_seconds{topic,partition}",
    "kafka_consumer_batch_records{topic}",
    "kafka_consumer_retries_total{topic}",
    "kafka_dead_letters_total{topic,code}",
    "kafka_publish_duration_ms",
    "kafka_publisher_rebuilt_total",
    "outbox_unpublished",
    "db_pool_connections{pool,state}",
    "event_loop_lag_ms{service}",
    "gateway_upstream_requests_total{upstream,outcome}",
    "gateway_upstream_duration_ms{upstream}",
    "gateway_inflight{upstream}",
    "build_info{service,version}",
]


@pytest.mark.parametrize("promised", PROMISED)
def test_a_promised_metric_exists(promised: str) -> None:
    name, _, labels = promised.rstrip("}").partition("{")
    row = next(row for row in metrics.CATALOGUE if row.name == name)
    assert row.labels == tuple(label for label in labels.split(",") if label)


def test_every_row_tells_what_to_do() -> None:
    names = [row.name for row in metrics.CATALOGUE]
    assert len(names) == len(set(names))
    for row in metrics.CATALOGUE:
        assert row.unit
        assert row.meaning.endswith((".", "?"))
        assert row.action.endswith((".", "?"))
        assert (row.kind == "counter") == row.name.endswith("_total")
        assert bool(row.buckets) == (row.kind == "histogram")
        assert list(row.buckets) == sorted(row.buckets)


def test_metrics_are_rendered_for_prometheus() -> None:
    metrics.LEDGER_TX.labels("entry", "posted").inc(3)
    metrics.LEDGER_POSTING_LATENCY_MS.observe(4)
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    values = {(sample.name, *sample.labels.values()): sample.value for sample in families["ledger_tx"].samples}
    assert values[("ledger_tx_total", "entry", "posted")] >= 3
    assert families["ledger_posting_latency_ms"].type == "histogram"
    assert not any(name.endswith("_created") for name in families)


def test_exemplars_reach_an_openmetrics_scraper() -> None:
    metrics.LEDGER_POSTING_LATENCY_MS.observe(7, {"trace_id": "0af7651916cd43dd8448eb211c80319c"})
    assert b'# {trace_id="0af7651916cd43dd8448eb211c80319c"} 7.0' in metrics.render_openmetrics()


def test_the_page_in_docs_is_the_catalogue(repository: Path) -> None:
    page = (repository / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == metrics.table(), (
        "render it: python -c 'from libs.common import metrics; print(metrics.table(), end=\"\")'"
    )
