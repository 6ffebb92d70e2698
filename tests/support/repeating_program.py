"""A process that makes recurring invoices as the service does, to be killed while it does so.

    python -m tests.support.repeating_program DSN KEY-HEX HASH-KEY-HEX

Says "looking" when it begins, and makes what is due until it is ended.
"""

import asyncio
import sys

from libs.common.sealing import Sealer
from services.invoicing.pools import create_writer_pool
from services.invoicing.recurring_api import read_template
from services.invoicing.repeating import Repeating


async def main() -> None:
    """Looks for what is due, without a pause, two at a time."""
    dsn, key, hash_key = sys.argv[1:]
    pool = await create_writer_pool(dsn, max_size=2)
    loop = Repeating(pool, Sealer([bytes.fromhex(key)], bytes.fromhex(hash_key)), read_template, batch=2)
    print("looking", flush=True)
    while True:
        if not await loop.step():
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(main())
