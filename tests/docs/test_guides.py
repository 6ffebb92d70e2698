"""The guides are true: their bodies fit the vocabulary, and their commands run as they stand on a running stack."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any, ClassVar

import orjson
import pytest
from pydantic import TypeAdapter, ValidationError

from libs.cli import session
from libs.common.clock import monotonic_s
from libs.common.events import EntryWanted
from libs.common.events_payments import PAYMENT_RECEIVED
from libs.common.holds import CaptureBody, HoldRequest
from libs.common.journal import AccountRequest, EntryRequest
from libs.devstack.ports import LOOPBACK
from libs.devstack.stack import start_detached, stop_stack

HOLD, CAPTURE = TypeAdapter(HoldRequest), TypeAdapter(CaptureBody)
ENTRY, ACCOUNT, WANTED = TypeAdapter(EntryRequest), TypeAdapter(AccountRequest), TypeAdapter(EntryWanted)
RECEIVABLES = ("webhooks", "dunning", "recurring-invoices", "tax-and-follow-up", "settle-receivables")
_BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_BODY = re.compile(r"--data '(\{.*?\n?\s*\})'(?!\")", re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return [text for found, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if found == language]


def bodies(page: Path) -> list[dict[str, Any]]:
    """The JSON bodies that the page's shell commands send."""
    text = "\n".join(blocks(page, "sh")).replace("'\"'\"'", "\\u0027")
    return [orjson.loads(body) for body in _BODY.findall(text)]


@pytest.mark.parametrize("name", ["README.md", "docs/guides/first-entry.md"])
def test_bodies_fit_the_vocabulary(repository: Path, name: str) -> None:
    found = bodies(repository / name)
    entries = [body for body in found if "lines" in body]
    accounts = [body for body in found if "code" in body]
    assert entries
    for body in entries:
        ENTRY.validate_json(orjson.dumps(body))
    for body in accounts:
        ACCOUNT.validate_json(orjson.dumps(body))


def test_bodies_of_the_holds_guide_fit_the_vocabulary(repository: Path) -> None:
    found = bodies(repository / "docs" / "guides" / "holds.md")
    held = [body for body in found if "expires_at" in body]
    captured = [body for body in found if "amount" in body]
    assert (len(held), len(captured)) == (1, 1)
    HOLD.validate_json(orjson.dumps(held[0]))
    CAPTURE.validate_json(orjson.dumps(captured[0]))


def test_the_kafka_request_fits_its_type(repository: Path) -> None:
    (body,) = blocks(repository / "docs" / "guides" / "kafka-requests.md", "json")
    wanted = WANTED.validate_json(body)
    assert wanted.document == "payment/4711"
    with pytest.raises(ValidationError):
        WANTED.validate_json(body.replace('"document"', '"documnet"'))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a running stack."""
    made: Path = tmp_path_factory.mktemp("stack")
    start_detached(made, quiet=True, program=("-m", "tests.support.private_stack"))
    try:
        yield made
    finally:
        stop_stack(made)


def _shell(folder: Path, script: str) -> str:
    """What a reader's shell prints: the commands as they stand, with this stack's address and data folder."""
    gateway = session.running(folder).gateway
    script = script.replace("http://127.0.0.1:8080", gateway)
    script = script.replace(".venv/bin/ledgerbus", f"{sys.executable} -m libs.cli.main --data {folder}")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=root,
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_the_readme_s_first_entry_is_posted(repository: Path, folder: Path) -> None:
    script = next(block for block in blocks(repository / "README.md", "sh") if "curl" in block)
    first, again = _shell(folder, script), _shell(folder, script)
    for said in (first, again):
        assert '"balance_after":"1000.00"' in said
        assert '"posted":"1000.00"' in said


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_the_holds_guide_runs_from_top_to_bottom(repository: Path, folder: Path) -> None:
    guides = repository / "docs" / "guides"
    steps = blocks(guides / "first-entry.md", "sh")[:2] + blocks(guides / "holds.md", "sh")
    said = _shell(folder, "\n".join(steps).replace("--org shop", "--org holder"))
    assert '"available":"40.00"' in said
    assert '"status":"pending"' in said
    assert '"remaining":"35.00"' in said
    assert '"status":"released"' in said
    assert '"detail":' not in said


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_the_first_entry_guide_runs_from_top_to_bottom(repository: Path, folder: Path) -> None:
    steps = blocks(repository / "docs" / "guides" / "first-entry.md", "sh")
    script = "\n".join(steps).replace("--org shop", "--org guide")
    rent = re.compile(r'\\?"external_id":"rent/2026-01"')
    said = _shell(
        folder, script.replace("/entries/ENTRY_ID/reverse", "/entries/00000000-0000-0000-0000-000000000000/reverse")
    )
    assert rent.search(said)
    assert '"code":"entry-not-balanced"' in said
    assert '"posted":"4000.00"' in said
    assert '"balanced":true' in said
    assert '"code":"unknown-entry"' in said


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_the_import_and_export_guide_runs_from_top_to_bottom(repository: Path, folder: Path, tmp_path: Path) -> None:
    steps = blocks(repository / "docs" / "guides" / "import-and-export.md", "sh")
    said = _shell(folder, "\n".join(steps).replace("/tmp/", f"{tmp_path}/"))
    assert "the books up to record 44" in " ".join(said.split())
    assert "43 accounts opened." in said
    assert "3 accounts opened." in said


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_the_receive_payments_guide_runs_from_top_to_bottom(repository: Path, folder: Path) -> None:
    steps = blocks(repository / "docs" / "guides" / "receive-payments.md", "sh")
    said = _shell(folder, "\n".join(steps).replace("--org studio", "--org guided-studio"))
    assert '"role":"receivable"' in said
    assert '"total":"1199.25"' in said
    assert '"status":"part-paid"' in said
    assert '"open":"599.25"' in said
    assert '"by_age"' in said
    assert '"ties":' in said
    assert '"detail":' not in said


class _Receiver(BaseHTTPRequestHandler):
    """Somebody's server: keeps what comes."""

    came: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.came.append((self.headers["LedgerBus-Signature"], raw))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def receiver() -> Iterator[str]:
    """The address of a receiver of webhooks on this machine."""
    server = HTTPServer((LOOPBACK, 0), _Receiver)
    serving = Thread(target=server.serve_forever)
    serving.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}/hook"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_the_guides_of_receivables_run_one_after_another(repository: Path, folder: Path, receiver: str) -> None:
    guides, script = repository / "docs" / "guides", []
    for name in ("receive-payments", *RECEIVABLES):
        script += [f"echo; echo '# {name}'", *blocks(guides / f"{name}.md", "sh")]
    told = "\n".join(script).replace("--org studio", "--org guided-receivables")
    parts = re.split(
        r"^# ([a-z-]+)$", _shell(folder, told.replace("https://receiver.example/hook", receiver)), flags=re.MULTILINE
    )
    said = dict(zip(parts[1::2], parts[2::2], strict=True))
    refused = {name: found for name, text in said.items() if (found := re.findall(r'"status":4.*?"request_id"', text))}
    assert refused == {}
    assert '"dunning_level":1' in said["dunning"]
    assert "<title>Reminder</title>" in said["dunning"]
    assert '"recurring_invoice":' in said["recurring-invoices"]
    assert '"state":"filed"' in said["tax-and-follow-up"]
    assert '"buckets":' in said["tax-and-follow-up"]
    assert '"credited":"2.40"' in said["settle-receivables"]
    assert '"left":"6.00"' in said["settle-receivables"]
    names: dict[str, Any] = {}
    (check,) = blocks(guides / "webhooks.md", "python")
    exec(compile(check, "webhooks.md", "exec"), names)
    give_up_s = monotonic_s() + 30
    while not _Receiver.came:
        assert monotonic_s() < give_up_s, "no webhook came"
        sleep(0.1)
    header, raw = _Receiver.came[0]
    assert orjson.loads(raw)["type"] == "invoicing.dunning-sent.v1"
    assert names["is_ours"](header, raw, b"a secret of sixteen or more")
    assert not names["is_ours"](header, raw + b" ", b"a secret of sixteen or more")
    assert not names["is_ours"](header, raw, b"another secret of sixteen")


def test_the_payment_event_of_the_guide_fits_its_type(repository: Path) -> None:
    (body,) = blocks(repository / "docs" / "guides" / "receive-payments.md", "json")
    event = PAYMENT_RECEIVED.adapter.validate_json(body)
    assert (event.amount, event.fee) == ("650.00", "19.15")
