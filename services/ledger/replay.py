"""The books as the log alone says they are: a fold over records, and what was found to differ from it.

    record -> the rows it must have left (entries, lines, accounts, requests), and the sums that move with it

It reads the published payloads, not the writer's objects, and shares no code with what wrote the tables: a mistake
there would otherwise prove itself right. Sums are kept in memory, one row for each account, day and party; rows of a
slice are given to the caller and forgotten. A record that cannot be read is a finding, not a failure. What has no
record is not proven here: rejections that are remembered.
"""

from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from hashlib import sha256
from typing import Any

import orjson

from services.ledger.state import Ledger

INVARIANTS = {
    "log-chain": "The log has no gap, and each hash covers the one before and its record.",
    "log-records": "Each record says its own place, and no record is earlier than the one before.",
    "entries-balance": "In every entry the debits of each currency are its credits.",
    "running-balances": "The balance after each line is the sum of all lines before.",
    "entries": "The entries are those of the log.",
    "lines": "The lines are those of the log.",
    "accounts": "The accounts are those the log opened.",
    "account-changes": "Each account's changes are those of the log.",
    "holds": "Each hold and its lines stand as the log left them.",
    "pendings": "What was pending after each record is what holds had added and taken.",
    "closings": "What was closed and reopened is in the log, and nothing was posted into what was closed then.",
    "backdatings": "The entries into days that were closed already are those of the log.",
    "requests": "Every posted request is remembered with its record, and no other is.",
    "balances": "Each account's balance is the sum of its lines.",
    "daily-totals": "Each day's totals are the sums of its lines.",
    "party-balances": "Each party's balance is the sum of its lines.",
    "currencies": "The organization's own currencies have the decimals of the accounts that are kept in them.",
    "head": "The ledger stands where its log ends, as its first record opened it.",
}
"""What is proven, in the order of the proof: where several fail, the first is the nearest to the cause."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the books are not what the log says. `sequence` is 0 where no record is concerned."""

    table: str
    key: str
    sequence: int
    expected: str
    found: str


@dataclass(slots=True)
class Invariant:
    """One thing that was proven, or where it fails first. `checked` counts rows or records."""

    name: str
    ok: bool = True
    checked: int = 0
    violations: int = 0
    detail: str = ""
    first_difference: Difference | None = None


@dataclass(slots=True)
class Findings:
    """Everything that was looked at."""

    invariants: dict[str, Invariant] = field(default_factory=lambda: {name: Invariant(name) for name in INVARIANTS})

    def checked(self, invariant: str, count: int = 1) -> None:
        """So many more were looked at."""
        self.invariants[invariant].checked += count

    def differ(self, invariant: str, table: str, key: str, sequence: int, expected: object, found: object) -> None:
        """One more violation; the first is kept."""
        row = self.invariants[invariant]
        row.ok = False
        row.violations += 1
        if row.first_difference is None:
            row.first_difference = Difference(table, key, sequence, str(expected)[:500], str(found)[:500])
            row.detail = f"{table} {key} at {sequence}: {str(expected)[:200]} was expected, {str(found)[:200]} is there"


@dataclass(slots=True)
class AccountSums:
    """An account and the sums of its lines so far, in minor units. `described`: the last record of it."""

    no: int
    currency: str | None
    exponent: int
    debit_normal: bool
    version: int
    debits: int = 0
    credits: int = 0
    pending_debits: int = 0
    pending_credits: int = 0
    described: int = 0


@dataclass(slots=True)
class SliceRows:
    """The rows that a slice of the log must have left, by what finds them. Amounts are texts of minor units."""

    entries: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    lines: dict[tuple[int, int], tuple[Any, ...]] = field(default_factory=dict)
    accounts: dict[int, dict[str, Any]] = field(default_factory=dict)
    requests: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    holds: dict[str, "FoldedHold"] = field(default_factory=dict)
    pendings: dict[tuple[int, int], tuple[str, str]] = field(default_factory=dict)
    closings: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    backdatings: dict[int, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class FoldedHold:
    """A hold as the log left it. Lines: account number, debit, amount, captured, party."""

    status: str
    expires_at: str | None
    placed_sequence: int
    version: int
    hold_lines: list[list[Any]]


@dataclass(slots=True)
class Replay:
    """The fold: where it stands in the log, and every sum there."""

    ledger: Ledger
    findings: Findings
    sequence: int = 0
    hash: bytes = b""
    epoch: int = 1
    recorded_at: str = ""
    opened: dict[str, Any] = field(default_factory=dict)
    accounts: dict[str, AccountSums] = field(default_factory=dict)
    daily: dict[tuple[int, date, int], list[int]] = field(default_factory=dict)
    parties: dict[tuple[int, str], list[int]] = field(default_factory=dict)
    changes: dict[tuple[int, int], None] = field(default_factory=dict)
    opened_at: dict[int, int] = field(default_factory=dict)
    holds: dict[str, FoldedHold] = field(default_factory=dict)
    closed: tuple[date | None, date | None, date | None] = (None, None, None)
    carried: set[str] = field(default_factory=set)
    taken_back: set[str] = field(default_factory=set)
    ended_holds: int = 0
    hold_lines: int = 0
    posted_requests: int = 0
    _asked: tuple[str, str, str] | None = None
    _captured: tuple[str, str] | None = None

    def follow(self, sequence: int, payload: str, hash_: bytes, rows: SliceRows) -> None:
        """The next row of the log: checks it, adds what it left to `rows`, moves the sums."""
        findings = self.findings
        findings.checked("log-chain")
        if sequence != self.sequence + 1:
            findings.differ("log-chain", "log", "sequence", sequence, self.sequence + 1, sequence)
        raw = payload.encode()
        computed = sha256(self.hash + raw).digest()
        if computed != hash_:
            findings.differ("log-chain", "log", "hash", sequence, computed.hex(), hash_.hex())
        self.sequence, self.hash = sequence, hash_
        try:
            record = orjson.loads(raw)
            self._place(record)
            self._fold(record, rows)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            findings.differ("log-records", "log", "payload", sequence, "a record that can be read", repr(error))

    def close(self, rows: SliceRows) -> None:
        """The log ends here: the last request is whole."""
        self._ask(None, rows)
        self._follow_capture({})

    def _place(self, record: dict[str, Any]) -> None:
        ledger, findings = self.ledger, self.findings
        findings.checked("log-records")
        place = (record["organization"], record["ledger"], record["ledger_id"], record["sequence"])
        own = (ledger.organization, ledger.code, str(ledger.id), self.sequence)
        if place != own:
            findings.differ("log-records", "log", "payload", self.sequence, own, place)
        epoch, recorded_at = record["epoch"], record["recorded_at"]
        if epoch < self.epoch:
            findings.differ("log-records", "log", "epoch", self.sequence, f">= {self.epoch}", epoch)
        if recorded_at < self.recorded_at:
            findings.differ("log-records", "log", "recorded_at", self.sequence, f">= {self.recorded_at}", recorded_at)
        self.epoch, self.recorded_at = epoch, recorded_at

    def _fold(self, record: dict[str, Any], rows: SliceRows) -> None:
        kind = record["type"]
        if kind == "ledger-opened":
            self.opened = record["opened"]
            return
        request = record["request"]
        self._ask((request["scope"], request["key"], request["fingerprint"]), rows)
        self._follow_capture(record.get("entry", {}))
        match kind:
            case "entry-posted":
                self._entry(record["entry"], rows)
            case "account-opened" | "account-changed":
                self._account(record["account"], rows)
            case "hold-placed":
                self._place_hold(record["hold"], rows)
            case "hold-captured" | "hold-released" | "hold-expired":
                self._lift_hold(kind, record["hold"], rows)
            case _ if kind in CLOSINGS:
                self._close(kind, record["closing"], rows)
            case _:
                raise ValueError(f"no record is of type {kind}")

    def _follow_capture(self, entry: dict[str, Any]) -> None:
        """What is captured of a hold is posted by the next record, and no other entry says that it captures one."""
        captured, self._captured = self._captured, None
        posted = (entry["hold"], entry["id"]) if "hold" in entry else None
        if posted != captured:
            self.findings.differ("holds", "log", "hold", self.sequence, captured, posted)

    def _ask(self, asked: tuple[str, str, str] | None, rows: SliceRows) -> None:
        """A request may write several records; its outcome is the last, so it is whole when another one follows."""
        before = self._asked
        if before is not None and asked != before:
            last = self.sequence if asked is None else self.sequence - 1
            rows.requests[before[0], before[1]] = (before[2], last)
            self.posted_requests += 1
            if self.carried or self.taken_back:
                self.findings.differ(
                    "closings",
                    "log",
                    "entries",
                    last,
                    "a year's entries with its closing",
                    self.carried | self.taken_back,
                )
            self.carried, self.taken_back = set(), set()
        self._asked = asked

    def _entry(self, entry: dict[str, Any], rows: SliceRows) -> None:
        sequence, findings = self.sequence, self.findings
        effective_on, origin, lines = day(entry["effective_on"]), entry.get("origin") or {}, entry["lines"]
        rows.entries[sequence] = (
            entry["id"],
            sequence,
            entry["kind"],
            effective_on,
            day(entry["value_on"]),
            entry["description"],
            entry.get("external_id"),
            origin.get("service"),
            origin.get("document"),
            entry.get("reverses"),
            len(lines),
        )
        self._check_closed(entry, effective_on, rows)
        sums: dict[str, int] = {}
        for number, line in enumerate(lines, 1):
            account = self.accounts[line["account"]]
            amount, debit, party = minor(line["amount"], account.exponent), line["side"] == "debit", line.get("party")
            currency = line["currency"]
            if debit:
                account.debits += amount
                sums[currency] = sums.get(currency, 0) + amount
            else:
                account.credits += amount
                sums[currency] = sums.get(currency, 0) - amount
            account.version = sequence
            after = account.debits - account.credits if account.debit_normal else account.credits - account.debits
            if after != minor(line["balance_after"], account.exponent):
                findings.differ(
                    "running-balances", "log", f"line {number}", sequence, after, f"{line['balance_after']} {currency}"
                )
            add(self.daily, (account.no, effective_on, sequence // 65_536), debit, amount)
            if party is not None:
                add(self.parties, (account.no, party), debit, amount)
            rows.lines[sequence, number] = (
                account.no, sequence, number, debit, str(amount), currency, str(after), effective_on, party
            )  # fmt: skip
        findings.checked("running-balances", len(lines))
        findings.checked("entries-balance")
        for currency, off in sums.items():
            if off:
                findings.differ("entries-balance", "log", currency, sequence, "debits = credits", f"off by {off}")

    def _account(self, account: dict[str, Any], rows: SliceRows) -> None:
        no, sequence, exponent = account["no"], self.sequence, account["decimals"]
        parent, limit = account["parent"], account["overdraft"]["limit"]
        known = self.accounts.get(account["code"])
        if known is None:
            known = self.accounts[account["code"]] = AccountSums(
                no, account["currency"], exponent, account["normal_side"] == "debit", sequence
            )
            self.opened_at[no] = sequence
        known.described = sequence
        rows.accounts[no] = {
            **{name: account[name] for name in _ACCOUNT_COLUMNS},
            "parent_no": self.accounts[parent].no if parent is not None else None,
            "overdraft_policy": account["overdraft"]["policy"],
            "overdraft_limit": str(minor(limit, exponent)) if limit is not None else "0",
            "opened_sequence": self.opened_at[no],
            "frozen": account.get("frozen"),
            "closed": account.get("closed", False),
            "version": sequence,
        }
        self.changes[no, sequence] = None

    def _place_hold(self, hold: dict[str, Any], rows: SliceRows) -> None:
        hold_lines = []
        for line in hold["lines"]:
            account, debit = self.accounts[line["account"]], line["side"] == "debit"
            amount = minor(line["amount"], account.exponent)
            self.hold_lines += 1
            hold_lines.append([account.no, debit, amount, 0, line.get("party")])
            self._pend(account, debit, amount, rows)
        self.holds[hold["id"]] = FoldedHold("pending", hold["expires_at"], self.sequence, self.sequence, hold_lines)

    def _lift_hold(self, kind: str, lifted: dict[str, Any], rows: SliceRows) -> None:
        hold = self.holds[lifted["id"]]
        hold.status, hold.version = lifted["status"], self.sequence
        for line in lifted["lines"]:
            account, hold_line = self.accounts[line["account"]], hold.hold_lines[line["line"] - 1]
            amount = minor(line["amount"], account.exponent)
            left = hold_line[2] - hold_line[3] - amount
            if account.no != hold_line[0] or left < 0 or left != minor(line["remaining"], account.exponent):
                place = f"line {line['line']} of {lifted['id']}"
                self.findings.differ("holds", "log", place, self.sequence, left, line)
            if kind == "hold-captured":
                hold_line[3] += amount
            self._pend(account, hold_line[1], -amount, rows)
        if kind == "hold-captured":
            self._captured = lifted["id"], lifted["entry_id"]
        if hold.status != "pending":
            self.ended_holds += 1
            rows.holds[lifted["id"]] = self.holds.pop(lifted["id"])

    def _pend(self, account: AccountSums, debit: bool, amount: int, rows: SliceRows) -> None:
        if debit:
            account.pending_debits += amount
        else:
            account.pending_credits += amount
        account.version = self.sequence
        rows.pendings[account.no, self.sequence] = (str(account.pending_debits), str(account.pending_credits))

    def _close(self, kind: str, closing: dict[str, Any], rows: SliceRows) -> None:
        through = ("days_closed_through", "soft_closed_through", "closed_through")
        days, softly, months = (day(closing[name]) if closing[name] is not None else None for name in through)
        self.closed = (days, softly, months)
        rows.closings[self.sequence] = (
            self.sequence, kind, closing["period"], closing.get("reason"), days, softly, months
        )  # fmt: skip
        entries = set(closing.get("entries", ()))
        if kind == "year-closed" and entries != self.carried:
            self.findings.differ("closings", "log", "entries", self.sequence, self.carried, entries)
        if kind == "year-closed":
            self.carried = set()
        elif kind == "year-reopened":
            self.taken_back = entries

    def _check_closed(self, entry: dict[str, Any], effective_on: date, rows: SliceRows) -> None:
        """What is dated in closed days needed a permit; a year's end has its own, for the entries its record names."""
        days, softly, months = self.closed
        permits = set(entry.get("permits", ()))
        self.findings.checked("closings")
        year_end = "period:close" in permits
        if year_end:
            self.carried.add(entry["id"])
        elif "period:reopen" in permits and entry.get("reverses") in self.taken_back:
            self.taken_back.discard(entry["reverses"])
            year_end = True
        refused = months is not None and effective_on <= months
        if not year_end:
            adjusted = entry["kind"] == "closing" or (softly is not None and effective_on <= softly)
            backdated = (
                not (softly is not None and effective_on <= softly) and days is not None and effective_on <= days
            )
            refused |= adjusted and "period:adjust" not in permits
            refused |= backdated and "period:backdate" not in permits
        if refused:
            self.findings.differ("closings", "log", "effective_on", self.sequence, self.closed, effective_on)
        if days is not None and effective_on <= days:
            rows.backdatings[self.sequence] = (self.sequence, effective_on)


CLOSINGS = (
    "day-closed", "period-soft-closed", "period-closed", "period-reopened", "year-closed", "year-reopened"
)  # fmt: skip

_ACCOUNT_COLUMNS = (
    "no", "id", "code", "name", "type", "normal_side", "currency", "decimals", "heading", "summary", "control_owner",
    "reconcilable", "cash", "cash_flow_class", "monetary", "translation", "external_id", "metadata",
)  # fmt: skip


def add(sums: dict[Any, list[int]], key: Any, debit: bool, amount: int) -> None:
    """One more line in a sum of debits and credits."""
    row = sums.get(key)
    if row is None:
        row = sums[key] = [0, 0]
    row[0 if debit else 1] += amount


def asked_by(payload: str, scope: str, key: str) -> bool:
    """Whether a record says that it comes from the request under this key."""
    try:
        request = orjson.loads(payload)["request"]
        return bool((request["scope"], request["key"]) == (scope, key))
    except (KeyError, TypeError, ValueError):
        return False


def minor(text: str, exponent: int) -> int:
    """Minor units of an amount as records write it, with all decimals of its currency."""
    if len(text.partition(".")[2]) != exponent:
        raise ValueError(f"{text} has not {exponent} decimals")
    return int(text.replace(".", ""))


@lru_cache(4_096)
def day(text: str) -> date:
    """A date as records write it."""
    return date.fromisoformat(text)
