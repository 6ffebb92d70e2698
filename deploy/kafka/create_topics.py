"""Makes the topics of topics.json on the broker that LEDGERBUS_KAFKA_BOOTSTRAP names; safe to run again."""

import asyncio
import os
import sys

from libs.devstack import topics
from libs.devstack.errors import StackError


def main() -> int:
    """Exit code 1 with a sentence when the broker refuses."""
    wanted = topics.listed()
    try:
        asyncio.run(topics.ensure(os.environ["LEDGERBUS_KAFKA_BOOTSTRAP"], wanted))
    except StackError as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    sys.stdout.write(f"{len(wanted)} topics are there.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
