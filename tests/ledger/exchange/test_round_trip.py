"""What leaves a ledger comes back: export, import into another ledger, equal balances, nothing twice."""

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
from beancount import loader
from beancount.core import realization

from services.ledger.exchange.names import account_code, account_name
from tests.ledger.exchange.conftest import Exchange

FORMATS = ("ndjson", "hledger", "beancount")


def summed(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The last line, the others being in order."""
    assert [result["index"] for result in results] == list(range(len(results)))
    return results[-1]


@pytest.mark.parametrize("format_", FORMATS)
async def test_an_export_taken_over_gives_equal_balances(exchange: Exchange, format_: str) -> None:
    status, file, headers = await exchange.export(format_)
    assert status == 200
    results = await exchange.take(format_, file)
    summary = summed(results)
    assert summary["status"] == "done", results
    entries = summary["entries"]["posted"]
    assert summary["accounts"] == {"opened": 13}
    assert await exchange.balances("copy") == await exchange.balances("main")
    assert (await exchange.get("/copy/verify"))["ok"]

    again = await exchange.take(format_, file)
    assert summed(again)["entries"] == {"unchanged": entries}
    assert summed(again)["accounts"] == {"unchanged": 13}
    assert headers["Ledger-Hash"] in file.decode().splitlines()[-1]


@pytest.mark.parametrize("format_", FORMATS)
async def test_entries_and_accounts_are_the_same_in_every_field(exchange: Exchange, format_: str) -> None:
    _, file, _ = await exchange.export(format_)
    await exchange.take(format_, file)
    here, there = [await exchange.get(f"/{ledger}/entries?limit=100") for ledger in ("main", "copy")]
    for wanted, found in zip(here["items"], there["items"], strict=True):
        for name in ("ledger", "sequence", "recorded_at", "hash", "actor"):
            del wanted[name], found[name]
        assert found == wanted
    here, there = [await exchange.get(f"/{ledger}/accounts?limit=100") for ledger in ("main", "copy")]
    for wanted, found in zip(here["items"], there["items"], strict=True):
        for name in ("id", "ledger", "version", "opened_at"):
            del wanted[name], found[name]
        assert found == wanted


async def test_a_file_of_the_ledger_itself_changes_nothing(exchange: Exchange) -> None:
    for format_ in FORMATS:
        _, file, _ = await exchange.export(format_)
        summary = summed(await exchange.take(format_, file, ledger="main"))
        assert set(summary["entries"]) == set(summary["accounts"]) == {"unchanged"}


async def test_a_dry_run_posts_nothing(exchange: Exchange) -> None:
    _, file, _ = await exchange.export("ndjson")
    summary = summed(await exchange.take("ndjson", file, "?dry_run=true"))
    assert summary["status"] == "checked"
    assert summary["entries"] == {"checked": 11}
    assert (await exchange.get("/copy"))["sequence"] == 1


async def test_the_log_says_what_it_left_out(exchange: Exchange) -> None:
    _, file, headers = await exchange.export("ndjson")
    summary = summed(await exchange.take("ndjson", file, f"?head={headers['Ledger-Hash']}"))
    assert summary["left_out"] == {"ledger-opened": 1, "position account": 4}
    assert summary["chain_head"] == headers["Ledger-Hash"]


async def test_an_older_sequence_is_the_file_of_then(exchange: Exchange) -> None:
    _, whole, _ = await exchange.export("ndjson")
    status, then, headers = await exchange.export("ndjson", "?sequence=20")
    assert status == 200
    assert whole.startswith(then)
    assert orjson.loads(then.splitlines()[-1])["hash"] == headers["Ledger-Hash"]
    assert (await exchange.export("ndjson", "?sequence=999"))[0] == 422


async def test_days_choose_among_entries(exchange: Exchange) -> None:
    _, file, _ = await exchange.export("hledger", "?from=2026-01-31&to=2026-02-01")
    assert [line[:10] for line in file.decode().splitlines() if line[:2] == "20"] == ["2026-01-31", "2026-02-01"]
    assert (await exchange.export("ndjson", "?from=2026-01-31"))[0] == 422


async def test_a_chart_taken_over_is_the_same_chart(exchange: Exchange) -> None:
    _, chart, headers = await exchange.export("accounts-csv")
    assert headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in headers["Content-Disposition"]
    summary = summed(await exchange.take("accounts-csv", chart))
    assert summary["accounts"] == {"opened": 13}
    assert summary["left_out"] == {"position account": 4}
    _, again, _ = await exchange.export("accounts-csv", ledger="copy")
    assert set(again.splitlines()) == {line for line in chart.splitlines() if b"FX-" not in line}


async def test_beancount_reports_the_same_balances(exchange: Exchange, tmp_path: Path) -> None:
    _, file, _ = await exchange.export("beancount")
    path = tmp_path / "books.beancount"
    path.write_bytes(file)
    directives, faults, _ = loader.load_file(str(path))
    assert not faults
    report = await exchange.get("/main/reports/trial-balance")
    real_root = realization.realize(directives)  # type: ignore[no-untyped-call]
    for row in report["rows"]:
        name = account_name(row["type"], row["account"])
        assert account_code(name) == (row["type"], row["account"])
        held = realization.get(real_root, name).balance  # type: ignore[no-untyped-call]
        units = held.get_currency_units(row["currency"]).number
        assert f"{units if row['normal_side'] == 'debit' else -units:.{places(row)}f}" == row["balance"], row


async def test_hledger_reports_the_same_balances(exchange: Exchange, tmp_path: Path) -> None:
    hledger = shutil.which("hledger")
    if hledger is None:
        pytest.skip("not run: hledger is not installed")
    _, file, _ = await exchange.export("hledger")
    path = tmp_path / "books.journal"
    path.write_bytes(file)
    command = [hledger, "-f", str(path), "balance", "--flat", "--no-total", "-O", "csv", "--layout", "bare"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    found = {tuple(line.replace('"', "").split(",")[:3]) for line in done.stdout.splitlines()[1:]}
    report = await exchange.get("/main/reports/trial-balance")
    for row in report["rows"]:
        balance = row["balance"] if row["normal_side"] == "debit" else f"-{row['balance']}".replace("--", "")
        if row["balance"].strip("0."):
            assert (account_name(row["type"], row["account"]), row["currency"], balance) in found


def places(row: dict[str, Any]) -> int:
    return len(row["balance"].partition(".")[2])
