"""What invoicing's pools are made of; main.py reads the settings themselves."""

from pathlib import Path
from typing import Final

from libs.common.db import Pool, create_pool

MIGRATIONS: Final = Path(__file__).with_name("migrations")

KEYED_PLANS: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""The writer only looks rows up by their keys: one plan, made once, that does not depend on how full a table was."""

WRITE_TIMEOUT_S: Final = 20.0


async def create_writer_pool(dsn: str, *, max_size: int = 16) -> Pool:
    """The pool of the role that writes; every statement of it is a keyed one."""
    return await create_pool(
        dsn,
        name="invoicing-writer",
        min_size=2,
        max_size=max_size,
        server_settings=KEYED_PLANS,
        command_timeout_s=WRITE_TIMEOUT_S,
    )
