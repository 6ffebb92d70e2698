"""No panel and no alert asks for a metric that does not exist, is empty under load, or is no PromQL."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from libs.common.metrics import CATALOGUE
from libs.devstack import ports
from tests.deploy import prometheus, queries
from tests.deploy.queries import Query

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
PANELS = [query for path in DASHBOARDS for query in queries.of_dashboard(path)]
RULES = list(queries.of_alerts(ALERTS))

OF_PROMETHEUS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}
LABELS_OF_A_SCRAPE = {"job", "instance", "le"}
DESCRIBED = {row.name: set(row.labels) for row in CATALOGUE}


@pytest.mark.parametrize("query", PANELS + RULES, ids=lambda query: query.place)
def test_every_metric_and_label_is_in_the_catalogue(query: Query) -> None:
    named = queries.metrics_of(query.expression)
    assert named, "no metric was found in it"
    for metric, labels in named.items():
        if metric in OF_PROMETHEUS:
            continue
        family = queries.family(metric)
        name = family if family in DESCRIBED else metric
        assert name in DESCRIBED, f"{metric} is not in libs/common/metrics.py"
        assert labels <= DESCRIBED[name] | LABELS_OF_A_SCRAPE, f"{metric} has no {labels - DESCRIBED[name]}"


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("sum by (a) (rate(x_total[5m]))", {"x_total": {"a"}}),
        ('x{a="1",b=~"sum"} > 14.4 * 0.01', {"x": {"a", "b"}}),
        ("histogram_quantile(0.5, sum by (le) (rate(y_ms_bucket[1m])))", {"y_ms_bucket": {"le"}}),
        ("(a_total unless a_total offset 15m) or vector(0)", {"a_total": set()}),
    ],
)
def test_names_are_found(expression: str, found: dict[str, set[str]]) -> None:
    assert queries.metrics_of(expression) == found


def test_every_metric_of_the_services_work_is_on_a_panel() -> None:
    shown = {queries.family(metric) for query in PANELS for metric in queries.metrics_of(query.expression)}
    missing = {
        name for name in DESCRIBED if name.startswith(("ledger_", "invoicing_", "kafka_consumer_", "http_"))
    } - shown
    assert missing <= {"ledger_cached_accounts", "ledger_recon_mismatches_total", "kafka_consumer_batch_records"}


def test_every_metric_of_the_catalogue_is_moved_by_the_code(repository: Path) -> None:
    """A metric that nothing sets is a promise that is not kept."""
    catalogue = (repository / "libs" / "common" / "metrics.py").read_text(encoding="utf-8")
    declared = re.findall(r"^([A-Z_]+) = _(?:counter|gauge|histogram)\(", catalogue, re.MULTILINE)
    used = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("libs/common", "services")
        for path in (repository / folder).rglob("*.py")
        if path.name != "metrics.py"
    )
    assert len(declared) == len(CATALOGUE)
    unused = {name for name in declared if not re.search(rf"\b{name}\b", used)}
    assert unused <= {"LEDGER_RECON_MISMATCHES"}, "only the recon service's metric waits for its service"


@asynccontextmanager
async def _every_metric() -> AsyncIterator[str]:
    port = ports.free_port()
    shown = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.deploy.exposition", str(port), cwd=ROOT)
    try:
        yield f"{ports.LOOPBACK}:{port}"
    finally:
        shown.terminate()
        await shown.wait()


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[prometheus.Prometheus]:
    """A real Prometheus that has scraped every metric of the catalogue, each moving."""
    folder = tmp_path_factory.mktemp("prometheus")
    async with (
        _every_metric() as target,
        prometheus.running(folder, {"ledger": target, "invoicing": target}, ALERTS) as running,
    ):
        await running.until_up(jobs=2, scrapes=4)
        yield running


async def test_a_real_prometheus_answers_every_panel(server: prometheus.Prometheus) -> None:
    empty = [query.place for query in PANELS if not await server.query(query.expression)]
    assert not empty


async def test_a_real_prometheus_evaluates_every_rule(server: prometheus.Prometheus) -> None:
    for query in RULES:
        await server.query(query.expression)
    assert await server.health_of_rules() == {"ok"}


async def test_an_empty_panel_or_a_broken_query_would_be_seen(server: prometheus.Prometheus) -> None:
    assert not await server.query("ledger_never_heard_of_total")
    with pytest.raises(AssertionError, match="parse error"):
        await server.query("sum(rate(ledger_tx_total[1m])")
