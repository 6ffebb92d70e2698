"""Checks an exported ledger with nothing but Python's standard library: python verify_export.py FILE [HEAD]

FILE is the export of GET /api/v1/ledgers/{ledger}/log, NDJSON from sequence 1: {"sequence", "hash", "payload"} a line.
HEAD is a saved GET .../head; its signature is not checked here (Python has no Ed25519): `ledgerbus verify --head` does.
Proven: hash = SHA-256(previous hash + payload) with no gap, every entry balances in each currency, and each line's
balance_after is the sum of all lines before. Printed: the trial balance and the head. Exit code 1: does not verify.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from decimal import Context, Decimal, Inexact, InvalidOperation, setcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

setcontext(Context(prec=200, traps=[Inexact, InvalidOperation]))


class Books:
    """What the records say, added up: account -> [debits, credits]."""

    def __init__(self) -> None:
        self.ledger, self.recorded_at, self.sequence, self.hash = "", "", 0, b""
        self.accounts: dict[str, dict[str, Any]] = {}
        self.sums: dict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])

    def follow(self, sequence: int, hash_: str, payload: str) -> None:
        """The next record of the chain, and the lines it posts."""
        require(sequence == self.sequence + 1, f"{self.sequence + 1} was expected: a record is missing or twice")
        self.sequence, self.hash = sequence, sha256(self.hash + payload.encode()).digest()
        require(self.hash.hex() == hash_, f"its hash is {self.hash.hex()}, the export says {hash_}")
        record = json.loads(payload)
        self.ledger = self.ledger or record["ledger_id"]
        require(record["sequence"] == sequence and record["ledger_id"] == self.ledger, "the record is of another place")
        require(record["recorded_at"] >= self.recorded_at, "it is earlier than the one before")
        self.recorded_at = record["recorded_at"]
        if record["type"] == "account-opened":
            self.accounts[record["account"]["code"]] = record["account"]
        lines = record["entry"]["lines"] if record["type"] == "entry-posted" else []
        off: dict[str, Decimal] = defaultdict(Decimal)
        for line in lines:
            account, amount, debit = self.accounts[line["account"]], Decimal(line["amount"]), line["side"] == "debit"
            require(amount > 0, f"the amount {amount} is not positive")
            require(line["currency"] == account["currency"], f"{line['account']} is not kept in {line['currency']}")
            off[line["currency"]] += amount if debit else -amount
            sums = self.sums[line["account"]]
            sums[0 if debit else 1] += amount
            after = sums[0] - sums[1] if account["normal_side"] == "debit" else sums[1] - sums[0]
            require(after == Decimal(line["balance_after"]), f"{line['account']} has {after} after it")
        require(not any(off.values()), f"the entry does not balance: {dict(off)}")


def require(holds: bool, sentence: str) -> None:
    """Raises ValueError where it does not hold."""
    if not holds:
        raise ValueError(sentence)


def trial_balance(books: Books) -> Iterator[str]:
    """A line for each account with lines, and each currency's totals."""
    totals: dict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for code, (debits, credits_) in sorted(books.sums.items()):
        total = totals[books.accounts[code]["currency"]]
        total[0], total[1] = total[0] + debits, total[1] + credits_
        yield f"{code:24} {books.accounts[code]['currency']:8} {debits:>22} {credits_:>22} {debits - credits_:>22}"
    for currency, (debits, credits_) in sorted(totals.items()):
        yield f"{'TOTAL':24} {currency:8} {debits:>22} {credits_:>22} {debits - credits_:>22}"


def main(path: str, head_path: str | None = None) -> int:
    """Checks the export; returns the exit code."""
    books, there = Books(), None
    head = json.loads(Path(head_path).read_text("utf-8")) if head_path else None
    with Path(path).open(encoding="utf-8") as lines:
        try:
            for line in lines:
                row = json.loads(line)
                books.follow(row["sequence"], row["hash"], row["payload"])
                there = row["hash"] if head and head["sequence"] == row["sequence"] else there
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            print(f"DOES NOT VERIFY at or after sequence {books.sequence}: {error!r}", file=sys.stderr)
            return 1
    print(*trial_balance(books), f"ledger {books.ledger}, {books.sequence} records", sep="\n")
    print(f"chain head {books.hash.hex()} at {books.sequence}, recorded at {books.recorded_at}")
    if head and (there, head["ledger_id"]) != (head["hash"], books.ledger):
        print(f"HISTORY WAS REWRITTEN: the saved head has {head['hash']} at {head['sequence']}", file=sys.stderr)
        return 1
    if head:
        print(f"the saved head at {head['sequence']} is part of it (its signature: `ledgerbus verify --head`)")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]) if len(sys.argv) > 1 else __doc__)
