"""A process that posts to a ledger's database on its own: `python -m tests.support.posting_program DSN COUNT WAITING`.

COUNT entries of 1.00 from B to A, WAITING of them at a time, each under a key of its own and sent again while the
answer is "later". It says "ready", begins when it reads a line, and prints the sequences it was told as a JSON list.
"""

import asyncio
import sys

import orjson

from libs.common.clock import new_id, now
from libs.common.errors import Transient
from services.ledger.commands import Books
from services.ledger.pools import create_writer_pool
from tests.ledger.asking import entry, tell


async def post(dsn: str, count: int, waiting: int) -> list[int]:
    """The sequences of the entries posted."""
    pool = await create_writer_pool(dsn, max_size=4)
    books = Books(pool, now)
    await books.get("demo", "main")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    keys = iter([str(new_id()) for _ in range(count)])
    sequences: list[int] = []

    async def poster() -> None:
        sequences.extend([await posted(books, key) for key in keys])

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(waiting):
                group.create_task(poster())
    finally:
        await pool.close()
    return sequences


async def posted(books: Books, key: str) -> int:
    """One entry's sequence, however often it has to be asked for."""
    lookup = False
    while True:
        try:
            answer = await tell(books, entry("A debit 1.00", "B credit 1.00"), key, lookup=lookup)
        except Transient:
            lookup = True
            continue
        assert answer.rejection is None, answer.rejection
        return answer.sequence


def main() -> None:
    """Posts and prints."""
    dsn, count, waiting = sys.argv[1:]
    sys.stdout.buffer.write(orjson.dumps(asyncio.run(post(dsn, int(count), int(waiting)))))


if __name__ == "__main__":
    main()
