"""The first thing a newcomer meets: `make` and the script behind it, with what is missing said in a sentence."""

import asyncio
import os
import re
import shutil
import stat
from pathlib import Path

import pytest

TOOLS = ("sh", "dirname", "cat", "rm", "env")


async def _run(repository: Path, *command: str, **environment: str) -> tuple[int | None, str]:
    done = await asyncio.create_subprocess_exec(
        *command, cwd=repository, env=environment, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await done.communicate()
    return done.returncode, said.decode()


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with a shell and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (folder / tool).symlink_to(found)
    return folder


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


async def test_no_python_is_said(repository: Path, tools: Path, tmp_path: Path) -> None:
    code, said = await _run(repository, ".ci/environment", PATH=str(tools), VENV=str(tmp_path / "venv"))
    assert code == 1
    assert "Python 3.11 or newer is needed and none was found" in said
    assert not (tmp_path / "venv").exists()


async def test_an_old_python_is_said(repository: Path, tools: Path, tmp_path: Path) -> None:
    _program(tools / "python3", "exit 1")
    venv = str(tmp_path / "venv")
    code, said = await _run(repository, ".ci/environment", PATH=str(tools), VENV=venv, PYTHON="python3")
    assert code == 1
    assert "PYTHON=python3 is older than Python 3.11 or does not run" in said


async def test_a_wrong_name_is_said(repository: Path, tools: Path, tmp_path: Path) -> None:
    venv = str(tmp_path / "venv")
    code, said = await _run(repository, ".ci/environment", PATH=str(tools), VENV=venv, PYTHON="python9")
    assert code == 1
    assert "PYTHON=python9 is not a program here" in said


async def test_a_python_without_venv_is_said_and_leaves_nothing(repository: Path, tools: Path, tmp_path: Path) -> None:
    _program(tools / "python3", 'case "$1" in -m) exit 1;; esac; exit 0')
    code, said = await _run(repository, ".ci/environment", PATH=str(tools), VENV=str(tmp_path / "venv"))
    assert code == 1
    assert "python3-venv" in said
    assert not (tmp_path / "venv").exists()


async def test_make_without_a_target_lists_every_task(repository: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("not run: make is not installed")
    targets = re.findall(r"^([a-z][a-z-]*):(?!=)", (repository / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    code, said = await _run(repository, "make", PATH=os.environ["PATH"])
    assert code == 0
    assert {"run", "demo", "test", "test-fast", "check", "reset", "bench", "lock", "clean"} <= set(targets)
    for target in targets:
        assert re.search(rf"^  make {target} +\S", said, re.MULTILINE), target
