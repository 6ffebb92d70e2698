"""Shows every metric of the catalogue over HTTP, each moving with every scrape, as a service under load would.

    python -m tests.deploy.exposition PORT

In a process of its own, because the registry belongs to the process.
"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import product

from prometheus_client import Counter, Gauge, Histogram

from libs.common import metrics

_VALUES = {
    "service": ("ledger", "invoicing", "gateway"),
    "status": ("201", "503"),
    "job": ("ledger",),
    "state": ("used", "limit", "needs-attention"),
}


def move() -> None:
    """One step of every series."""
    described = {row.name.removesuffix("_total"): row for row in metrics.CATALOGUE}
    for metric in vars(metrics).values():
        if not isinstance(metric, Counter | Gauge | Histogram):
            continue
        row = described[next(iter(metric.describe())).name]
        for values in product(*(_VALUES.get(label, ("a",)) for label in row.labels)):
            series = metric.labels(*values) if values else metric
            if isinstance(series, Histogram):
                series.observe(3)
            else:
                series.inc()


class Answer(BaseHTTPRequestHandler):
    """GET anything: the metrics."""

    def do_GET(self) -> None:
        move()
        content = metrics.render()
        self.send_response(200)
        self.send_header("Content-Type", metrics.CONTENT_TYPE)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        return


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
