"""Many entries as one request: all of them are posted, or none. NDJSON in, one result line a line out.

body -> lines -> AtomicRequest -> one decision, one statement -> result lines, or one problem that names the entry
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import orjson
from pydantic import TypeAdapter, ValidationError

from libs.common.clock import new_id
from libs.common.errors import Fault, Problem
from libs.common.journal import EntryRequest
from libs.common.json_text import parse_json
from libs.common.problems import faults_of, malformed
from services.ledger.commands import Answer, fingerprint_of
from services.ledger.domain import AtomicRequest

ENTRIES_MAX: Final = 5_000
ATOMIC_BYTES_MAX: Final = 16 * 1024 * 1024
FAULTS_MAX: Final = 100


def atomic_request(raw: bytes, model: TypeAdapter[EntryRequest]) -> tuple[AtomicRequest, bytes]:
    """The entries of a body and its fingerprint. Raises Problem 422 that names every line and place that is wrong."""
    request, faults, prints = AtomicRequest([], [], []), list[Fault](), sha256()
    for index, line in enumerate(line for line in raw.split(b"\n") if line.strip()):
        if index >= ENTRIES_MAX:
            raise malformed([Fault(f"/{index}", f"is more than {ENTRIES_MAX} entries")])
        try:
            value = parse_json(line)
            request.entries.append(model.validate_json(line))
        except Problem as problem:
            faults += [Fault(f"/{index}{fault.pointer}", fault.detail) for fault in problem.errors] or [
                Fault(f"/{index}", problem.detail)
            ]
        except ValidationError as error:
            found = faults_of(error.errors(include_url=False), value)
            faults += [Fault(f"/{index}{fault.pointer}", fault.detail) for fault in found]
        else:
            request.entry_ids.append(new_id())
            request.sizes.append(len(line))
            prints.update(fingerprint_of(value))
        if len(faults) >= FAULTS_MAX:
            break
    if faults or not request.entries:
        raise malformed(faults or [Fault("", "has no entry")])
    return request, prints.digest()


def posted_lines(answers: Sequence[Answer]) -> bytes:
    """One result line an entry, in the order of the body."""
    lines = []
    for index, answer in enumerate(answers):
        assert answer.body is not None, "a rejection is a problem, not a line"
        result = {"index": index, "status": "posted", "id": answer.body["id"], "sequence": answer.sequence}
        lines.append(orjson.dumps({**result, "replayed": True} if answer.replayed else result))
    return b"\n".join([*lines, b""])
