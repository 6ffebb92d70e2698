"""Runs a stack of PostgreSQL, Kafka and two tiny services: `python -m tests.support.child_stack FOLDER`."""

import asyncio
import sys
from pathlib import Path

from libs.devstack.errors import StackError
from libs.devstack.services import ServiceSpec
from libs.devstack.stack import run_stack

SERVICE = ("-m", "tests.support.child_service")
SPECS = (
    ServiceSpec("ledger", (*SERVICE, "ledger"), database=True),
    ServiceSpec("gateway", (*SERVICE, "gateway"), calls=("ledger",)),
)


def main() -> None:
    """Ends with code 1 and the sentence when the stack does not start."""
    try:
        asyncio.run(run_stack(Path(sys.argv[1]), specs=SPECS))
    except StackError as failure:
        print(failure, flush=True)
        raise SystemExit(1) from failure


if __name__ == "__main__":
    main()
