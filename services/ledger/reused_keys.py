"""What differs where a request comes under a key that another request was posted under. Pure."""

from collections.abc import Mapping
from typing import Any

import orjson

from libs.common.errors import Fault, Rejection
from services.ledger.domain import Request


def name_difference(rejection: Rejection, record: Mapping[str, Any], request: Request) -> Rejection:
    """Where the request under a used key is not the one that was posted under it."""
    posted = record.get("entry") or record.get("account") or record.get("hold") or {}
    asked = orjson.loads(orjson.dumps(request))
    faults = [
        Fault(f"/{name}", f"was {str(posted[name])[:100]}, is {str(value)[:100]} now")
        for name, value in asked.items()
        if name in posted and name != "lines" and value is not None and value != posted[name]
    ]
    for place, line in enumerate(asked.get("lines") or ()):
        before = posted["lines"][place] if place < len(posted.get("lines", ())) else {}
        faults += [
            Fault(f"/lines/{place}/{name}", f"was {before.get(name)}, is {value} now")
            for name, value in line.items()
            if value is not None and value != before.get(name)
        ]
    return Rejection(rejection.code, rejection.detail, {**rejection.facts, "posted": posted.get("id")}, faults[:50])
