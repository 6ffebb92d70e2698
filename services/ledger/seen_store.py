"""How often each content has come in one file: counts on disk, so that memory does not grow with the file.

A database of SQLite's that has no name and is gone with its connection; what does not fit its few MiB of cache lies in
a temporary file. A count takes some microseconds, so nobody waits for it on the event loop.
"""

import sqlite3
from typing import Final

CACHE_KIB: Final = 8 * 1024


class SeenStore:
    """Counts by digest, as long as the block that it is used in."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute(f"pragma cache_size = -{CACHE_KIB}")
        self._database.execute("pragma journal_mode = off")
        self._database.execute("create table seen (digest blob primary key, times integer not null) without rowid")
        self._database.execute("begin")

    def __enter__(self) -> "SeenStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def count(self, digest: bytes) -> int:
        """One more of this content: how many that makes."""
        (times,) = self._database.execute(
            """
            insert into seen (digest, times) values (?, 1)
            on conflict (digest) do update set times = times + 1
            returning times
            """,
            (digest,),
        ).fetchone()
        return int(times)
