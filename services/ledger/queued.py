"""What waits at a ledger's writer: requests on their way, and the bounds of queue, batch and cache."""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

from libs.common.clock import monotonic_s
from services.ledger.deciding import Outcome
from services.ledger.domain import AtomicRequest, Request


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a batch, the queue and the cache; times in seconds."""

    batch_requests: int = 1_000
    batch_lines: int = 10_000
    batch_bytes: int = 8 * 1024 * 1024
    queue_requests: int = 20_000
    cached_accounts: int = 200_000
    lost_races_before_lock: int = 3
    rounds_under_lock: int = 50
    attempts: int = 10
    patience_s: float = 30.0
    statement_s: float = 30.0
    unknown_outcome_s: float = 15.0


@dataclass(slots=True)
class QueuedWish:
    """One request on its way. `lookup`: its key, ids or target may be known to the database already."""

    request: Request
    service: str
    subject: str
    scope: str
    key: str
    fingerprint: bytes
    size: int
    new_id: UUID
    lookup: bool
    traceparent: str | None
    answer: asyncio.Future[Outcome]
    dry_run: bool = False
    permits: frozenset[str] = frozenset()
    alone: bool = False
    attempts: int = 0
    queued_s: float = field(default_factory=monotonic_s)

    @property
    def line_count(self) -> int:
        """How many lines it brings."""
        if isinstance(self.request, AtomicRequest):
            return sum(len(entry.lines) for entry in self.request.entries)
        return len(getattr(self.request, "lines", None) or ()) or 2
