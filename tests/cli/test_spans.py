"""A trace's spans as a tree: nesting, order, linked batches, what is left out."""

from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from libs.cli import spans

TRACE, BATCH, OTHER = "a" * 32, "b" * 32, "c" * 32
SPAN = "2" * 16


def span(trace_id: str, span_id: str, parent_id: str | None, name: str, start_ms: int, **more: Any) -> dict[str, Any]:
    """A line as the services write it."""
    ids = {"trace_id": trace_id, "span_id": span_id, "parent_id": parent_id, "name": name, "service": "ledger"}
    times = {"started_ns": start_ms * 1_000_000, "duration_ns": 1_500_000}
    return {**ids, **times, "attributes": {}, "links": [], "error": None, **more}


def written(folder: Path, **files: list[dict[str, Any]]) -> Path:
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return folder


def rendered(folder: Path) -> list[str]:
    console = Console(width=120, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(spans.tree(TRACE, spans.read(folder, TRACE)))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_tree_joins_services_in_order_and_shows_linked_batches(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        gateway=[span(TRACE, "1", "unrecorded", "POST /transfers", 10, service="gateway", attributes={"status": 201})],
        ledger=[
            span(BATCH, "8", "7", "insert", 14),
            span(BATCH, "7", None, "write batch", 13, links=[f"00-{TRACE}-{SPAN}-01"]),
            span(TRACE, "3", SPAN, "answer", 16, attributes={"b": 2, "a": "x" * 80}),
            span(TRACE, SPAN, "1", "post_journal", 12, error="Transient"),
            span(OTHER, "9", None, "somebody else's", 1),
        ],
    )
    assert rendered(folder) == [
        f"trace {TRACE}",
        "└── gateway POST /transfers  1.5 ms  status=201",
        "    └── ledger post_journal  1.5 ms  Transient",
        f"        ├── ledger answer  1.5 ms  a={'x' * 59}… b=2",
        "        └── linked: ledger write batch  1.5 ms",
        "            └── ledger insert  1.5 ms",
    ]


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    folder = written(tmp_path, ledger=[span(TRACE, "1", None, "post_journal", 1)])
    with (folder / "ledger.jsonl").open("ab") as file:
        file.write(b'{"trace_id": "' + TRACE.encode())
    assert rendered(folder) == [f"trace {TRACE}", "└── ledger post_journal  1.5 ms"]


async def test_waiting_ends_when_nothing_more_comes(tmp_path: Path) -> None:
    folder = written(tmp_path, ledger=[span(TRACE, "1", None, "post_journal", 1)])
    assert [found.name for found in await spans.wait_for(folder, TRACE, 5.0)] == ["post_journal"]
    assert await spans.wait_for(folder, OTHER, 0.2) == []
