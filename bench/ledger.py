"""How fast the ledger posts: writer direct, over HTTP, through the gateway, over Kafka, as a bulk; and a bare COPY.

    python -m bench.ledger [--only writer,http,gateway,kafka,bulk,export] [--seconds 4] [--runs 3] [--json FILE]

`writer` runs on a PostgreSQL of its own (fsync on), the others on a whole stack of their own in a temporary folder,
with every guard and projection on. The load comes from this process, on the same machine. At the end the books are
verified.
"""

import argparse
import asyncio
import os
from pathlib import Path

import uvloop

from bench import stack_load, writer_direct
from bench.report import Report

PARTS = ("writer", "http", "gateway", "kafka", "bulk", "export")


async def measure(parts: list[str], runs: int, seconds: float, json_file: Path | None) -> None:
    """Measures the parts asked for and prints them."""
    ratio = os.environ.get("LEDGERBUS_TRACE_SAMPLE_RATIO", stack_load.SAMPLE_RATIO)
    report = Report(
        "ledger",
        {"runs": str(runs), "seconds a run": str(seconds), "postgres": "18, fsync on", "trace sample ratio": ratio},
    )
    report.head()
    if "writer" in parts:
        await writer_direct.measure(report, runs, seconds)
    if rest := [part for part in parts if part != "writer"]:
        await stack_load.measure(report, rest, runs, seconds, ratio)
    if json_file is not None:
        report.write(json_file)


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="bench.ledger", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts to measure, separated by commas")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    parts = [part for part in chosen.only.split(",") if part]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(parts, chosen.runs, chosen.seconds, chosen.json))


if __name__ == "__main__":
    main()
