"""Runs the stack with webhooks that may go to this machine: `python -m tests.support.private_stack FOLDER`."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from libs.devstack.services import SERVICES
from libs.devstack.stack import run_stack

PRIVATE = {"LEDGERBUS_INVOICING_PRIVATE_WEBHOOKS": "true"}
SPECS = [
    replace(spec, environment={**spec.environment, **PRIVATE}) if spec.name == "invoicing" else spec
    for spec in SERVICES
]

if __name__ == "__main__":
    asyncio.run(run_stack(Path(sys.argv[1]), specs=SPECS))
