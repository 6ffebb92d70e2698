"""Kafka's 46 jar files, each pinned by coordinate and SHA-256 in `kafka-4.3.1-jars.tsv`.

Every jar is fetched by its own coordinate; a resolver's idea of transitive versions differs from the one Kafka was
released with. `LEDGERBUS_JAR_REPOSITORY` names the base address of a mirror. Jars live in the cache folder under their
final name only after their checksum was compared, so a half fetched or damaged file is never used and is fetched
again. A file lock lets several processes start at once: one fetches, the others wait and find everything there.
"""

import concurrent.futures
import csv
import fcntl
import hashlib
import os
import shutil
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from libs.devstack.errors import FetchError, StackError

KAFKA_VERSION = "4.3.1"
_LIST = Path(__file__).with_name(f"kafka-{KAFKA_VERSION}-jars.tsv")
_FETCHERS = 8
_TRIES = 3
_PROGRESS_EVERY = 6

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar."""

    group: str
    artifact: str
    version: str
    classifier: str
    sha256: str
    size: int

    @property
    def file_name(self) -> str:
        """The name in the cache folder."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{classifier}.jar"


def pinned() -> tuple[Jar, ...]:
    """The jars Kafka needs, as the repository pins them."""
    with _LIST.open(encoding="utf-8", newline="") as rows:
        return tuple(
            Jar(row["group"], row["artifact"], row["version"], row["classifier"], row["sha256"], int(row["bytes"]))
            for row in csv.DictReader(rows, delimiter="\t")
        )


def cache_folder() -> Path:
    """LEDGERBUS_CACHE, else ~/.cache/ledgerbus; the jars are in a folder per Kafka version."""
    named = os.environ.get("LEDGERBUS_CACHE")
    return (Path(named) if named else Path.home() / ".cache" / "ledgerbus").resolve() / f"kafka-{KAFKA_VERSION}"


def ensure(folder: Path, progress: Progress, given_up: threading.Event) -> tuple[Path, ...]:
    """The paths of all jars, checked; fetches what is absent or damaged. Blocks.

    Raises FetchError, also soon after `given_up` was set by the thread that no longer waits.
    """
    jars = pinned()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock"):
            wanting = [jar for jar in jars if not _is_intact(folder / jar.file_name, jar)]
            if wanting:
                _fetch_all(wanting, folder, len(jars), progress, given_up)
    except OSError as failure:
        raise FetchError(
            f"Kafka's files cannot be kept in {folder}: {failure.strerror or failure}",
            "free some space, or name another folder with LEDGERBUS_CACHE",
        ) from failure
    return tuple(folder / jar.file_name for jar in jars)


def _is_intact(path: Path, jar: Jar) -> bool:
    return path.is_file() and path.stat().st_size == jar.size and _sha256(path) == jar.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_all(wanting: list[Jar], folder: Path, total: int, progress: Progress, given_up: threading.Event) -> None:
    present = total - len(wanting)
    progress(f"fetching Kafka: {present} of {total} jars")
    with (
        _system_certificates(),
        tempfile.TemporaryDirectory(prefix="fetch-", dir=folder) as scratch,
        concurrent.futures.ThreadPoolExecutor(_FETCHERS) as pool,
    ):
        running = [pool.submit(_fetch, jar, Path(scratch), folder) for jar in wanting]
        try:
            for fetched in concurrent.futures.as_completed(running):
                fetched.result()
                if given_up.is_set():
                    raise FetchError("Fetching Kafka was stopped.", "start again; what was fetched is kept")
                present += 1
                if present % _PROGRESS_EVERY == 0 or present == total:
                    progress(f"fetching Kafka: {present} of {total} jars")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch(jar: Jar, scratch: Path, folder: Path) -> None:
    import requests
    from jgo.maven import MavenContext

    cause: Exception | None = None
    for attempt in range(_TRIES):
        # A scratch folder per attempt: a half file of an earlier one must not be found again.
        cache = scratch / f"{jar.file_name}.{attempt}"
        context = MavenContext(repo_cache=cache, local_repos=[], remote_repos=_mirror(), timeout=30)
        component = context.project(jar.group, jar.artifact).at_version(jar.version)
        artifact = component.artifact(classifier=jar.classifier) if jar.classifier else component.artifact()
        try:
            path = artifact.resolve()
        except requests.RequestException as failure:
            cause = failure
            continue
        except RuntimeError as failure:
            raise FetchError(
                f"The repository does not offer {jar.file_name}.", "check the network's proxy or mirror, then try again"
            ) from failure
        if (found := _sha256(path)) != jar.sha256:
            raise FetchError(
                f"{jar.file_name} has SHA-256 {found}, pinned is {jar.sha256}. It was not used.",
                "something on the way alters files: check the network's proxy or mirror",
            )
        shutil.move(path, folder / jar.file_name)
        return
    raise FetchError(
        f"{jar.file_name} could not be fetched: {_root(cause)}",
        f"go online once and start again, or copy a filled cache to {folder}",
    ) from cause


def _mirror() -> dict[str, str] | None:
    """The repository to ask; None is the public one."""
    address = os.environ.get("LEDGERBUS_JAR_REPOSITORY")
    return {"mirror": address.rstrip("/")} if address else None


def _root(failure: BaseException | None) -> str:
    """The innermost reason in one line; the outer ones repeat addresses and pools."""
    reason = getattr(failure.args[0], "reason", failure) if failure is not None and failure.args else failure
    return str(reason).splitlines()[0][:200]


@contextmanager
def _system_certificates() -> Iterator[None]:
    """Lets the fetch trust what the operating system trusts (company and sandbox proxies), not only a bundled list."""
    try:
        import truststore
    except ImportError as absent:
        raise StackError(
            "The embedded Kafka is not installed.", "install the project with its extra 'stack'"
        ) from absent
    before = ssl.SSLContext
    truststore.inject_into_ssl()
    try:
        yield
    finally:
        if ssl.SSLContext is not before:
            truststore.extract_from_ssl()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
