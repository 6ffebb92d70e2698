"""The stand-alone check of an export: alone in an empty folder, without site packages; each wrong record is named."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest

LEDGER_ID = "82aebb8c-2336-5546-a4e1-b06bee84aa35"
Records = list[dict[str, Any]]


def line(account: str, side: str, amount: str, after: str, currency: str = "USD") -> dict[str, str]:
    return {"account": account, "side": side, "amount": amount, "currency": currency, "balance_after": after}


def history() -> Records:
    """A ledger's records without their places: accounts, entries, and a type the check knows nothing of."""
    opened = [
        {"type": "account-opened", "account": {"code": code, "currency": currency, "normal_side": side}}
        for code, currency, side in (
            ("CASH", "USD", "debit"), ("SALES", "USD", "credit"), ("ETHER", "ETH", "debit"), ("MINED", "ETH", "credit"),
        )
    ]  # fmt: skip
    whole = "12345678901234567890.123456789012345678"
    return [
        {"type": "ledger-opened", "opened": {"code": "main"}},
        *opened,
        {"type": "entry-posted", "entry": {"lines": [
            line("CASH", "debit", "100.00", "100.00"), line("SALES", "credit", "100.00", "100.00")]}},
        {"type": "day-closed", "day": {"closed_through": "2026-01-31"}},
        {"type": "entry-posted", "entry": {"lines": [
            line("SALES", "debit", "30.05", "69.95"), line("CASH", "credit", "30.05", "69.95"),
            line("ETHER", "debit", whole, whole, "ETH"), line("MINED", "credit", whole, whole, "ETH")]}},
    ]  # fmt: skip


def export(path: Path, records: Records, **places: Any) -> Path:
    """The records as the log's export writes them, each with its place and the chain's hash."""
    previous, rows = b"", []
    for sequence, record in enumerate(records, 1):
        place = {"ledger_id": LEDGER_ID, "sequence": sequence, "recorded_at": f"2026-01-01T00:00:{sequence:02}.000000Z"}
        payload = orjson.dumps({**place, **record})
        previous = sha256(previous + payload).digest()
        rows.append({"sequence": sequence, "hash": previous.hex(), "payload": payload.decode(), **places})
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


@pytest.fixture
def check(repository: Path, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Runs a copy of the script in a folder of its own; gives exit code and everything it said."""
    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copy(repository / "libs" / "cli" / "verify_export.py", folder)

    def run(*arguments: Path) -> tuple[int, str]:
        said = subprocess.run(
            [sys.executable, "-I", "-S", "verify_export.py", *map(str, arguments)],
            cwd=folder,
            env={},
            capture_output=True,
            text=True,
            check=False,
        )
        return said.returncode, said.stdout + said.stderr

    return run


def test_a_good_export_verifies(check: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    path = export(tmp_path / "log.ndjson", history())
    code, said = check(path)
    assert code == 0, said
    rows = [row.split() for row in said.splitlines()]
    assert ["CASH", "USD", "100.00", "30.05", "69.95"] in rows
    assert ["TOTAL", "USD", "130.05", "130.05", "0.00"] in rows
    whole = "12345678901234567890.123456789012345678"
    assert ["MINED", "ETH", "0", whole, f"-{whole}"] in rows
    last = orjson.loads(path.read_bytes().splitlines()[-1])
    assert f"chain head {last['hash']} at 8, recorded at 2026-01-01T00:00:08.000000Z" in said


def changed(number: int, change: Callable[[dict[str, Any]], object]) -> Records:
    records = history()
    change(records[number])
    return records


WRONG: dict[str, tuple[Records, str]] = {
    "another place": (changed(3, lambda record: record.update(sequence=9)), "sequence 4: .*another place"),
    "another ledger": (changed(3, lambda record: record.update(ledger_id="x")), "sequence 4: .*another place"),
    "earlier": (changed(3, lambda record: record.update(recorded_at="2025")), "sequence 4: .*earlier"),
    "does not balance": (
        changed(5, lambda record: record["entry"]["lines"].pop()), "sequence 6: .*does not balance.*USD"),
    "balance after": (
        changed(5, lambda record: record["entry"]["lines"][0].update(balance_after="1.0")), "sequence 6: .*CASH has"),
    "negative": (
        changed(5, lambda record: record["entry"]["lines"][0].update(amount="-100.00")), "sequence 6: .*not positive"),
    "other currency": (
        changed(5, lambda record: record["entry"]["lines"][0].update(currency="EUR")), "sequence 6: .*not kept in EUR"),
    "unknown account": (
        changed(5, lambda record: record["entry"]["lines"][0].update(account="X")), "sequence 6: .*KeyError"),
    "no number": (
        changed(5, lambda record: record["entry"]["lines"][0].update(amount="1O0")), "sequence 6: .*InvalidOperation"),
}  # fmt: skip


@pytest.mark.parametrize("what", list(WRONG))
def test_a_record_that_is_wrong_is_named(check: Callable[..., tuple[int, str]], tmp_path: Path, what: str) -> None:
    records, sentence = WRONG[what]
    code, said = check(export(tmp_path / "log.ndjson", records))
    assert code == 1
    assert re.search(sentence, said), said


def rewritten(path: Path, number: int, change: Callable[[dict[str, Any]], object]) -> None:
    rows = [orjson.loads(row) for row in path.read_bytes().splitlines()]
    change(rows[number])
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def test_a_changed_byte_breaks_the_chain(check: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    path = export(tmp_path / "log.ndjson", history())
    rewritten(path, 6, lambda row: row.update(payload=row["payload"].replace("01-31", "01-30")))
    code, said = check(path)
    assert (code, "sequence 7: " in said, "its hash is" in said) == (1, True, True), said


def test_a_record_left_out_is_missed(check: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    path = export(tmp_path / "log.ndjson", history())
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(rows[:3] + rows[4:]))
    code, said = check(path)
    assert (code, "4 was expected" in said) == (1, True), said


def test_a_saved_head_is_part_of_the_chain_or_history_was_rewritten(
    check: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    records = history()
    path = export(tmp_path / "log.ndjson", records)
    sixth = orjson.loads(path.read_bytes().splitlines()[5])
    head = tmp_path / "head.json"
    head.write_bytes(orjson.dumps({"ledger_id": LEDGER_ID, "sequence": 6, "hash": sixth["hash"]}))
    code, said = check(path, head)
    assert (code, "the saved head at 6 is part of it" in said) == (0, True), said
    records[0]["opened"]["code"] = "mine"
    code, said = check(export(path, records), head)
    assert (code, "HISTORY WAS REWRITTEN" in said) == (1, True), said
    code, said = check(export(path, history()[:5]), head)
    assert (code, "HISTORY WAS REWRITTEN" in said) == (1, True), said


def test_the_script_is_short_and_stands_alone(repository: Path) -> None:
    text = (repository / "libs" / "cli" / "verify_export.py").read_text(encoding="utf-8")
    assert text.count("\n") < 100
    assert "import libs" not in text
    assert "from libs" not in text
