"""The command on a running stack: organizations, charts, imports, proofs, traces; everything twice."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from libs.common import clock
from libs.common.bus import KafkaSettings, Message, Publisher, cloud_event_headers
from libs.common.events_payments import PAYMENT_REFUNDED, PAYMENTS, payment_key
from tests.cli.conftest import MakeJournal

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


class Command:
    """`ledgerbus` on one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str | Path, code: int = 0) -> str:
        """Runs it, checks the exit code, returns stdout."""
        finished = subprocess.run(
            [sys.executable, "-m", "libs.cli.main", "--data", str(self.folder), *map(str, arguments)],
            capture_output=True,
            check=False,
            text=True,
            timeout=200,
            env={**os.environ, "COLUMNS": "80"},
        )
        assert finished.returncode == code, finished.stdout + finished.stderr
        return finished.stdout if code == 0 else finished.stdout + finished.stderr


@pytest.fixture(scope="module")
def ledgerbus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command on a running stack of its own."""
    command = Command(tmp_path_factory.mktemp("stack"))
    command("up", "--detach")
    yield command
    command("down")


def entries(path: Path, *amounts: str) -> Path:
    """An NDJSON file of entries from revenue to cash."""
    rows = [
        {
            "effective_on": "2026-01-31",
            "description": "Sale",
            "lines": [
                {"account": "1010-CASH", "side": "debit", "amount": amount},
                {"account": "4000-REVENUE", "side": "credit", "amount": amount},
            ],
        }
        for amount in amounts
    ]
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    return path


def test_status_names_every_part(ledgerbus: Command) -> None:
    status = orjson.loads(ledgerbus("status", "--json"))
    assert status["running"]
    assert status["gateway"]["ready"]
    assert {"postgres", "kafka", "ledger"} <= status.keys()
    assert "gateway" in ledgerbus("status")
    assert status["postgres"]["dsn"].rpartition("@")[0] not in ledgerbus("status")


def test_a_chart_is_opened_once(ledgerbus: Command) -> None:
    first = orjson.loads(ledgerbus("seed", "starter", "--org", "shop", "--json"))
    again = orjson.loads(ledgerbus("seed", "starter", "--org", "shop", "--json"))
    wider = orjson.loads(ledgerbus("seed", "demo", "--org", "shop", "--json"))
    assert [first["opened"], again["opened"], wider["opened"]] == [6, 0, 3]


def test_an_account_that_differs_is_told(ledgerbus: Command, tmp_path: Path) -> None:
    chart = tmp_path / "chart.json"
    chart.write_text('{"description":"x","accounts":[{"code":"1","name":"A","type":"asset","currency":"USD"}]}')
    ledgerbus("seed", chart, "--org", "differing")
    chart.write_text('{"description":"x","accounts":[{"code":"1","name":"A","type":"asset","currency":"EUR"}]}')
    assert "its currency is USD, wanted is EUR" in ledgerbus("seed", chart, "--org", "differing", code=1)


def test_token_is_bare_and_makes_its_organization(ledgerbus: Command) -> None:
    printed = ledgerbus("token", "--org", "wallet", "--role", "viewer")
    assert printed.count(".") == 2
    assert len(printed.split()) == 1
    assert [row["ledger"] for row in orjson.loads(ledgerbus("verify", "--org", "wallet", "--json"))] == ["main"]
    assert "There is no role boss" in ledgerbus("token", "--org", "wallet", "--role", "boss", code=2)


def test_ndjson_twice_posts_once_and_a_rejected_line_is_named(ledgerbus: Command, tmp_path: Path) -> None:
    ledgerbus("seed", "starter", "--org", "ndjson")
    path = entries(tmp_path / "sales.ndjson", "10.00", "20.00", "30.00")
    first = orjson.loads(ledgerbus("import", path, "--org", "ndjson", "--json"))["posted"]
    again = orjson.loads(ledgerbus("import", path, "--org", "ndjson", "--json"))["posted"]
    assert (first["new"], first["already_there"]) == (3, 0)
    assert (again["new"], again["already_there"]) == (0, 3)
    bad = entries(tmp_path / "bad.ndjson", "1.00", "0.00")
    refused = ledgerbus("import", bad, "--org", "ndjson", code=1)
    assert "1 of 2 entries were rejected" in refused
    assert "line 2: amount-not-positive" in refused


@pytest.mark.parametrize("format_", ["ndjson", "hledger", "beancount"])
def test_books_exported_and_imported_elsewhere_are_equal(ledgerbus: Command, tmp_path: Path, format_: str) -> None:
    here, there = f"from-{format_}", f"to-{format_}"
    ledgerbus("seed", "small-business", "--org", here)
    sale = entries(tmp_path / "sales.ndjson", "10.00", "20.50")
    sale.write_text(sale.read_text().replace("1010-CASH", "1010-BANK").replace("4000-REVENUE", "4010-SALES"))
    ledgerbus("import", sale, "--org", here)
    suffix = {"hledger": "journal"}.get(format_, format_)
    file = tmp_path / f"books.{suffix}"
    told = orjson.loads(ledgerbus("export", "--org", here, "--format", format_, "--out", file, "--json"))
    assert told["bytes"] == file.stat().st_size
    assert told["hash"] in file.read_text().splitlines()[-1]
    assert ledgerbus("export", "--org", here, "--format", format_) == file.read_text()
    assert not list(tmp_path.glob("*.part"))

    checked = ledgerbus("import", file, "--org", there, "--dry-run")
    assert "2 entries checked, nothing was posted" in checked
    first = orjson.loads(ledgerbus("import", file, "--org", there, "--json"))
    assert (first["posted"]["new"], first["accounts_opened"]) == (2, 43)
    assert "0 entries posted, 2 were there already" in ledgerbus("import", file, "--org", there)
    with file.open("a") as end:
        end.write("{")
    assert "Nothing was posted" in ledgerbus("import", file, "--org", there, code=1)


def test_beancount_journal_twice_posts_once_and_grown_posts_what_is_new(
    ledgerbus: Command, example: MakeJournal, tmp_path: Path
) -> None:
    arguments = ["--org", "books", "--ledger", "journal", "--json"]
    first = orjson.loads(ledgerbus("import", example(23), *arguments))
    again = orjson.loads(ledgerbus("import", example(23), *arguments))
    count = first["posted"]["new"]
    assert count > 500
    assert (again["posted"]["new"], again["posted"]["already_there"]) == (0, count)
    assert first["balances_compared"] == again["balances_compared"] > 60
    assert first["differences"] == again["differences"] == []
    grown = tmp_path / "grown.beancount"
    lunch = '\n2023-03-02 * "Lunch"\n  Expenses:Food:Restaurant  5.00 USD\n  Equity:Opening-Balances\n'
    grown.write_text(example(23).read_text(encoding="utf-8") + lunch, encoding="utf-8")
    more = orjson.loads(ledgerbus("import", grown, *arguments))
    assert (more["posted"]["new"], more["posted"]["already_there"]) == (1, count)
    assert more["differences"] == []


def test_a_journal_in_another_currency_than_its_ledger_is_refused(ledgerbus: Command, tmp_path: Path) -> None:
    path = tmp_path / "euro.beancount"
    path.write_text(
        'option "operating_currency" "EUR"\n2020-01-01 open Assets:Cash\n2020-01-01 open Income:Work\n'
        '2020-02-01 * "Work"\n  Assets:Cash  1.00 EUR\n  Income:Work\n'
    )
    ledgerbus("token", "--org", "euro", "--role", "viewer")
    refused = ledgerbus("import", path, "--org", "euro", code=1)
    assert "The ledger main is kept in USD, these books are in EUR." in refused


def test_verify_proves_every_ledger(ledgerbus: Command) -> None:
    ledgerbus("seed", "starter", "--org", "proven")
    verdicts = orjson.loads(ledgerbus("verify", "--json"))
    assert "proven" in {verdict["organization"] for verdict in verdicts}
    assert all(verdict["ok"] for verdict in verdicts)
    assert all(len(verdict["chain_head"]) == 64 for verdict in verdicts)


def test_a_day_is_closed_and_a_month_that_has_no_turn_is_not(ledgerbus: Command) -> None:
    ledgerbus("seed", "starter", "--org", "closing")
    closed = orjson.loads(ledgerbus("close", "day", "2025-01-20", "--org", "closing", "--json"))
    assert (closed["type"], closed["days_closed_through"]) == ("day-closed", "2025-01-20")
    assert "days through 2025-01-20" in ledgerbus("close", "day", "2025-01-20", "--org", "closing")
    assert "period-out-of-order" in ledgerbus("close", "period", "2025-01", "--soft", "--org", "closing", code=1)
    assert "period-out-of-order" in ledgerbus("close", "year", "2024", "--org", "closing", code=1)


def test_unknown_ledger_is_a_refusal(ledgerbus: Command) -> None:
    assert "unknown-ledger (404)" in ledgerbus("verify", "--org", "demo", "--ledger", "nowhere", code=1)


def test_a_kept_head_is_held_against_the_log(ledgerbus: Command, tmp_path: Path) -> None:
    ledgerbus("seed", "starter", "--org", "kept")
    kept = orjson.loads(ledgerbus("head", "--org", "kept"))
    ledgerbus("import", entries(tmp_path / "sales.ndjson", "10.00"), "--org", "kept")
    path, keys = tmp_path / "heads.ndjson", tmp_path / "keys.json"
    later = orjson.loads(ledgerbus("head", "--org", "kept"))
    path.write_bytes(orjson.dumps(kept) + b"\n" + orjson.dumps(later) + b"\n")
    answer = orjson.loads(ledgerbus("verify", "--head", path, "--json"))
    assert [head["signature"] for head in answer["heads"]] == ["valid", "valid"]
    assert [(verdict["organization"], verdict["ok"]) for verdict in answer["ledgers"]] == [("kept", True)]
    keys.write_bytes(orjson.dumps({"keys": []}))
    cases: list[tuple[dict[str, object], list[str | Path], str]] = [
        (kept | {"hash": later["hash"]}, [], "history was rewritten: the record at this sequence has another hash"),
        (kept | {"sequence": 999}, [], "history was rewritten: the log ends before this head"),
        (kept | {"ledger_id": "x"}, [], "has another id"),
        (kept | {"epoch": 7}, [], "the signature is not of this head"),
        (kept, ["--keys", keys], "the signing key is not among the known ones"),
    ]
    for head, more, sentence in cases:
        path.write_bytes(orjson.dumps(head, option=orjson.OPT_INDENT_2))
        assert sentence in ledgerbus("verify", "--head", path, *more, code=4)
    path.write_bytes(orjson.dumps(kept | {"signature": None, "key_id": None}))
    assert "not signed" in ledgerbus("verify", "--head", path)


async def wreck(dsn: str, organization: str) -> None:
    """What an owner's slip may do: the sums of an organization's ledgers are gone."""
    connection = await asyncpg.connect(f"{dsn.rpartition('/')[0]}/ledger")
    try:
        await connection.execute("set session_replication_role = replica")
        await connection.execute(
            """
            delete from daily_totals where ledger_no in (
                select l.no from ledgers l join organizations o on o.id = l.organization_id where o.slug = $1)
            """,
            organization,
        )
    finally:
        await connection.close()


def test_projections_are_rebuilt_while_the_stack_stands_still(ledgerbus: Command, tmp_path: Path) -> None:
    ledgerbus("seed", "starter", "--org", "wrecked")
    ledgerbus("import", entries(tmp_path / "sales.ndjson", "10.00"), "--org", "wrecked")
    assert "A stack is already running" in ledgerbus("rebuild", "--org", "wrecked", code=1)
    asyncio.run(wreck(orjson.loads(ledgerbus("status", "--json"))["postgres"]["dsn"], "wrecked"))
    ledgerbus("down")
    try:
        assert "there is no ledger" in ledgerbus("rebuild", "--org", "nobody", code=1)
        said = ledgerbus("rebuild", "--org", "wrecked")
        assert "the books verify" in said
        assert "daily_totals" in said
    finally:
        ledgerbus("up", "--detach")
    assert orjson.loads(ledgerbus("verify", "--org", "wrecked", "--json"))[0]["ok"]


def test_a_parked_message_is_listed_put_right_and_dismissed(ledgerbus: Command, tmp_path: Path) -> None:
    here = "parking"
    ledgerbus("seed", "receivables", "--org", here)
    status = orjson.loads(ledgerbus("status", "--json"))
    asyncio.run(refund_of_nothing(status["kafka"]["bootstrap"], here))
    waiting = poll(lambda: orjson.loads(ledgerbus("parked", "list", "--org", here, "--json")))
    number, value = str(waiting[0]["id"]), waiting[0]["value"]
    assert (waiting[0]["reason"], value["amount"]) == ("unknown-payment", "20.00")
    right = tmp_path / "right.json"
    right.write_bytes(orjson.dumps({**value, "amount": "19.00"}))
    assert "waiting" in ledgerbus("parked", "fix", number, right, "--note", "a typing error", "--org", here)
    assert orjson.loads(ledgerbus("parked", "show", number, "--org", here))["value"]["amount"] == "19.00"
    assert "unknown-payment" in ledgerbus("parked", "release", number, "--org", here)
    assert "dismissed" in ledgerbus("parked", "dismiss", number, "--note", "a test", "--org", here)
    assert orjson.loads(ledgerbus("parked", "list", "--org", here, "--json")) == []
    assert "unknown-payment" in ledgerbus("parked", "replay", number, "--org", here)
    assert "cannot be read" in ledgerbus("parked", "fix", number, tmp_path, "--note", "x", "--org", here, code=2)


def poll(look: Callable[[], list[Any]]) -> list[Any]:
    """What is there, once something is."""
    for _ in range(60):
        if found := look():
            return found
        time.sleep(0.5)
    raise AssertionError("nothing came")


async def refund_of_nothing(bootstrap: str, organization: str) -> None:
    """A refund of a payment that nobody heard of."""
    body = {
        "organization": organization, "ledger": "main", "provider": "cards", "currency": "USD", "refund_id": "re-1",
        "payment_id": "py-1", "amount": "20.00", "refunded_on": "2026-11-22",
    }  # fmt: skip
    headers = cloud_event_headers(PAYMENT_REFUNDED.name, "cards", "event-1", clock.now())
    publisher = Publisher(KafkaSettings(bootstrap), name="test-cards")
    await publisher.start()
    try:
        key = payment_key(organization, "py-1")
        await publisher.publish([Message(PAYMENTS, key, orjson.dumps(body), headers)])
    finally:
        await publisher.stop()
