"""What a round came to, in one line for a person, and the ledger's own proof of its books."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from libs.cli import books as cli_books
from libs.cli.client import connect
from libs.cli.session import Stack
from tests.reliability.wishes import LEDGER

VERIFY_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One round: what was done and counted, and everything that was found wrong."""

    part: str
    event: str
    acknowledged: int
    rejected: int
    requests: int
    resent: int
    troubles: Counter[str]
    lost: int
    doubled: int
    findings: Sequence[str]
    seconds: float

    def line(self) -> str:
        """The round in one line, with its findings below."""
        troubles = ", ".join(f"{count} x {name}" for name, count in sorted(self.troubles.items())) or "none"
        told = (
            f"{self.part:13} {self.seconds:5.1f} s  acknowledged {self.acknowledged:5}  rejected {self.rejected:4}  "
            f"over Kafka {self.requests:4} ({self.resent} resent)  lost {self.lost}  doubled {self.doubled}  "
            f"[{self.event}; in place of answers: {troubles}]"
        )
        return "\n".join([told, *(f"    FOUND: {finding}" for finding in self.findings)])


async def verified(stack: Stack, organization: str) -> list[str]:
    """What the ledger's own proof of its books finds."""
    token = stack.token(organization, ["controller"])
    async with connect(stack.gateway, token, patience_s=VERIFY_PATIENCE_S) as client:
        proof = await cli_books.verify(client, LEDGER)
    return [] if proof["ok"] else [f"the books do not verify: {proof['invariants']}"]
