"""Fetching Kafka's jars: from a real repository server on loopback, offline, damaged, altered, several at once.

The server offers the jars of the machine's own cache; a machine without one fetches them like any first start.
"""

import asyncio
import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from libs.devstack import jars

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).resolve().parents[2]

ENSURE = """
import sys, threading
from pathlib import Path
from libs.devstack import errors, jars
try:
    paths = jars.ensure(Path(sys.argv[1]), print, threading.Event())
    print("complete", len(paths))
except errors.StackError as failure:
    print(failure)
    raise SystemExit(1)
"""


class Repository(ThreadingHTTPServer):
    """Serves jars by their repository path; counts requests; can alter one file."""

    def __init__(self, source: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.source = source
        self.served: list[str] = []
        self.altered: str | None = None
        self.broken_once: set[str] = set()

    @property
    def address(self) -> str:
        """Its base address."""
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        path = self.server.source / name
        if not path.exists():
            self.send_error(404)
            return
        content = path.read_bytes()
        self.server.served.append(name)
        if name == self.server.altered:
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if name in self.server.broken_once:
            self.server.broken_once.remove(name)
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def cached() -> Path:
    folder = jars.cache_folder()
    jars.ensure(folder, print, threading.Event())
    return folder


@pytest.fixture
def repository_server(cached: Path) -> Iterator[Repository]:
    with Repository(cached) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def _ensure(folder: Path, **settings: str) -> tuple[int, str]:
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder.parent), **settings}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ENSURE, str(folder), cwd=ROOT, env=clean,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await child.communicate()
    assert child.returncode is not None
    return child.returncode, said.decode()


def _copy_all_but(source: Path, target: Path, absent: set[str]) -> None:
    target.mkdir()
    for jar in jars.pinned():
        if jar.file_name not in absent:
            (target / jar.file_name).symlink_to(source / jar.file_name)


def test_the_list_pins_46_different_files() -> None:
    pinned = jars.pinned()
    assert len(pinned) == len({jar.file_name for jar in pinned}) == 46
    assert all(len(bytes.fromhex(jar.sha256)) == 32 and jar.size > 0 for jar in pinned)


async def test_two_at_once_fetch_every_jar_once(tmp_path: Path, repository_server: Repository) -> None:
    folder = tmp_path / "cache"
    ends = await asyncio.gather(
        *(_ensure(folder, LEDGERBUS_JAR_REPOSITORY=repository_server.address) for _ in range(2))
    )
    assert [code for code, _ in ends] == [0, 0], ends
    assert all("complete 46" in said for _, said in ends)
    assert sum("fetching Kafka: 12 of 46 jars" in said for _, said in ends) == 1
    assert sorted(repository_server.served) == sorted(jar.file_name for jar in jars.pinned())
    assert not list(folder.glob("fetch-*"))


async def test_a_damaged_and_a_half_file_are_fetched_again(
    tmp_path: Path, cached: Path, repository_server: Repository
) -> None:
    damaged, half = jars.pinned()[0], jars.pinned()[1]
    folder = tmp_path / "cache"
    _copy_all_but(cached, folder, {damaged.file_name, half.file_name})
    (folder / damaged.file_name).write_bytes(b"\0" * damaged.size)
    (folder / half.file_name).write_bytes((cached / half.file_name).read_bytes()[: half.size // 2])
    code, said = await _ensure(folder, LEDGERBUS_JAR_REPOSITORY=repository_server.address)
    assert code == 0, said
    assert sorted(repository_server.served) == sorted([damaged.file_name, half.file_name])
    assert hashlib.sha256((folder / damaged.file_name).read_bytes()).hexdigest() == damaged.sha256


async def test_a_download_that_breaks_off_is_tried_again(
    tmp_path: Path, cached: Path, repository_server: Repository
) -> None:
    jar = jars.pinned()[3]
    _copy_all_but(cached, tmp_path / "cache", {jar.file_name})
    repository_server.broken_once.add(jar.file_name)
    code, said = await _ensure(tmp_path / "cache", LEDGERBUS_JAR_REPOSITORY=repository_server.address)
    assert code == 0, said
    assert repository_server.served == [jar.file_name] * 2


async def test_an_altered_file_is_not_used(tmp_path: Path, cached: Path, repository_server: Repository) -> None:
    jar = jars.pinned()[5]
    _copy_all_but(cached, tmp_path / "cache", {jar.file_name})
    repository_server.altered = jar.file_name
    code, said = await _ensure(tmp_path / "cache", LEDGERBUS_JAR_REPOSITORY=repository_server.address)
    assert code == 1
    assert f"pinned is {jar.sha256}. It was not used." in said
    assert not (tmp_path / "cache" / jar.file_name).exists()


async def test_a_repository_without_the_file_is_named(
    tmp_path: Path, cached: Path, repository_server: Repository
) -> None:
    jar = jars.pinned()[7]
    _copy_all_but(cached, tmp_path / "cache", {jar.file_name})
    repository_server.source = tmp_path
    code, said = await _ensure(tmp_path / "cache", LEDGERBUS_JAR_REPOSITORY=repository_server.address)
    assert code == 1
    assert f"does not offer {jar.file_name}" in said


async def test_offline_says_what_to_do(tmp_path: Path) -> None:
    code, said = await _ensure(tmp_path / "cache", LEDGERBUS_JAR_REPOSITORY="http://127.0.0.1:1")
    assert code == 1
    assert "could not be fetched" in said
    assert f"copy a filled cache to {tmp_path / 'cache'}" in said
    assert "Traceback" not in said


async def test_a_filled_cache_needs_no_network(tmp_path: Path, cached: Path) -> None:
    _copy_all_but(cached, tmp_path / "cache", set())
    code, said = await _ensure(tmp_path / "cache", LEDGERBUS_JAR_REPOSITORY="http://127.0.0.1:1")
    assert (code, said.strip()) == (0, "complete 46")


async def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, said = await _ensure(tmp_path / "file" / "cache")
    assert code == 1
    assert "LEDGERBUS_CACHE" in said
