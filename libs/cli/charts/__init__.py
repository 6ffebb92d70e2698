"""Charts of accounts that come with the product, one JSON file each, and how one is read.

A chart has a `description`, its `accounts` in the words of `POST /accounts` (parents before their children), and may
include others by name. Its `mapping` says which account plays which part for invoicing: role -> code, in the ledger's
own currency; of two charts that map a role the later one counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import orjson
from pydantic import TypeAdapter, ValidationError

from libs.cli.exits import Ended, Exit
from libs.common.journal import AccountRequest

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart of accounts, its includes resolved into `accounts`."""

    name: str
    description: str
    accounts: Sequence[AccountRequest]
    mapping: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _ChartFile:
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    description: str
    accounts: list[AccountRequest]
    includes: list[str] = field(default_factory=list)
    mapping: dict[str, str] = field(default_factory=dict)


def names() -> list[str]:
    """The charts that come with the product."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def read(chart: str) -> Chart:
    """A chart by its name, or by the path of a JSON file of the same shape. Raises Ended with the reason."""
    path = _FOLDER / f"{chart}.json" if chart in names() else Path(chart)
    try:
        file = TypeAdapter(_ChartFile).validate_json(path.read_bytes())
    except FileNotFoundError as absent:
        raise Ended(
            f"There is no chart {chart}; there are {', '.join(names())}, or name a file.", Exit.USAGE
        ) from absent
    except (OSError, ValidationError) as failure:
        raise Ended(f"The chart {chart} cannot be read: {failure}", Exit.USAGE) from failure
    included = [read(name) for name in file.includes]
    accounts = [*(account for one in included for account in one.accounts), *file.accounts]
    mapping = {role: code for one in included for role, code in one.mapping.items()} | file.mapping
    codes = [account.code for account in accounts]
    if twice := {code for code in codes if codes.count(code) > 1}:
        raise Ended(f"The chart {chart} names {', '.join(sorted(twice))} twice.", Exit.USAGE)
    if strangers := set(mapping.values()) - set(codes):
        raise Ended(f"The chart {chart} maps {', '.join(sorted(strangers))}, which it has not.", Exit.USAGE)
    return Chart(name=path.stem, description=file.description, accounts=accounts, mapping=mapping)


def account_json(account: AccountRequest) -> dict[str, Any]:
    """The account as the body of `POST /accounts`."""
    body: dict[str, Any] = orjson.loads(orjson.dumps(account))
    return body
