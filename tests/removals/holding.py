"""The guards of holds and accounts: what is available, what may be captured, released or ended, and by whom."""

from tests.removals.removal import Removal

RULES, STATE = "services/ledger/holding.py", "services/ledger/state.py"
TABLE = "tests/ledger/test_domain.py::test_every_attempt_gets_its_verdict"
ACCOUNT_TABLE = "tests/ledger/test_accounts.py::test_every_account_gets_its_verdict"
GUARDS = "tests/ledger/test_hold_guards.py::"
ATTACK = GUARDS + "test_an_attack_on_holds_is_refused_by_its_guard_and_by_nothing_else"
KEPT, FIXED = GUARDS + "test_a_hold_is_never_removed", GUARDS + "test_what_a_hold_is_never_changes"
TABLES, ENDS = (
    "services/ledger/migrations/0005_holds_and_closings.sql",
    "services/ledger/migrations/0009_ended_holds.sql",
)


def _rule(name: str, guard: str, old: str, new: str, *tables: str) -> Removal:
    return Removal(name, guard, RULES, old, new, tuple(f"{TABLE}[{table}]" for table in tables))


def _sql(name: str, guard: str, old: str, new: str, *tests: str, path: str = TABLES) -> Removal:
    return Removal(name, guard, path, old, new, tests)


HOLDING = [
    Removal(
        "held-money-is-available",
        "What holds reserve is not available.",
        STATE,
        'return self.pending_credits if self.normal_side == "debit" else self.pending_debits',
        "return 0",
        (f"{TABLE}[holds]", "tests/ledger/test_holds.py::test_what_is_held_is_spent_by_nobody_else"),
    ),
    Removal(
        "announced-money-is-available",
        "What pends on the normal side raises nothing.",
        STATE,
        'return self.pending_credits if self.normal_side == "debit" else self.pending_debits',
        "out, into = self.pending_credits, self.pending_debits\n"
        '        return out - into if self.normal_side == "debit" else into - out',
        (f"{TABLE}[holds]",),
    ),
    _rule(
        "hold-without-funds",
        "A hold takes what is available and no more.",
        "{code: -amount for code, amount in _lowering(entry_lines).items()},",
        "{},",
        "holds",
    ),
    _rule(
        "hold-not-balanced", "A hold's lines balance.", "or balance_of(state, [], entry_lines, opened)\n", "", "holds"
    ),
    _rule(
        "hold-id-used-twice",
        "A hold's id is used once.",
        'if known is not None:\n        return reject("duplicate-hold-id"',
        'if known is not None and known.version < 0:\n        return reject("duplicate-hold-id"',
        "holds",
    ),
    _rule(
        "expiry-behind",
        "A hold expires after it is placed.",
        "if request.expires_at is None or request.expires_at > stamp.recorded_at:",
        "if request.expires_at is None or request.expires_at.year:",
        "holds-in-time",
    ),
    _rule(
        "capture-looks-at-the-hold-first",
        "What the request alone says is refused before the hold is looked at.",
        "refused = rules.envelope(state, _outline(request), stamp)",
        "refused = None",
        "holds",
    ),
    _rule(
        "ended-hold-moved",
        "A hold that has ended is neither captured, released nor ended again.",
        'if hold.status != "pending":',
        'if hold.status == "":',
        "holds",
        "holds-in-time",
    ),
    _rule(
        "capture-after-its-time",
        "A hold whose time is over is not captured.",
        "    if _is_over(hold, stamp):\n",
        '    if _is_over(hold, stamp) and hold.status == "":\n',
        "holds-in-time",
    ),
    _rule(
        "expiry-before-its-time",
        "A hold does not expire before its time.",
        "if not _is_over(hold, stamp):",
        'if hold.status == "":',
        "holds-in-time",
    ),
    _rule(
        "capture-beyond-the-hold",
        "No line is captured beyond what is left of it.",
        "if amount > hold_line.left:",
        "if amount < 0:",
        "holds",
    ),
    _rule(
        "capture-short-of-funds",
        "A capture takes only what was held, and so is never short of funds.",
        "captures = Captures(hold.id, _lifted(hold, accounts, amounts))",
        "captures = Captures(hold.id, {})",
        "holds",
    ),
    _rule(
        "released-by-anyone",
        "A hold on a control account is released by the account's owner.",
        "if account.control_owner not in (None, stamp.service):",
        'if account.control_owner == "":',
        "holds-on-control-accounts",
    ),
    Removal(
        "dry-run-of-a-hold-stored",
        "A dry run stores nothing.",
        "services/ledger/deciding.py",
        "elif wish.dry_run:",
        "elif wish.dry_run and prepared.dry_runs < 0:",
        (
            "tests/ledger/test_hold_api.py::test_a_dry_run_of_a_hold_has_the_real_one_s_verdict_and_stores_nothing",
            "tests/ledger/test_atomic.py::test_a_dry_run_gives_the_verdict_and_stores_nothing",
        ),
    ),
    Removal(
        "opened-below-a-closed-account",
        "No account is opened below a closed one.",
        "services/ledger/accounts.py",
        "    if parent.closed:\n",
        "    if parent.no < 0:\n",
        (f"{ACCOUNT_TABLE}[account-changes]",),
    ),
    Removal(
        "moved-below-a-closed-account",
        "No account is moved below a closed one.",
        "services/ledger/account_changes.py",
        "if parent.closed and (",
        "if parent.no < 0 and (",
        (f"{ACCOUNT_TABLE}[account-changes]",),
    ),
    Removal(
        "closed-with-something-on-it",
        "An account is closed with nothing on it.",
        "services/ledger/account_changes.py",
        "if account.posted or account.pending_debits or account.pending_credits:",
        "if account.no < 0:",
        (f"{ACCOUNT_TABLE}[account-changes]",),
    ),
    Removal(
        "decimals-of-conditions",
        "An amount of a condition has no more decimals than its currency, and is refused with the lines.",
        "services/ledger/entry_lines.py",
        "if line.condition is not None and any(too_fine(line.condition, account.exponent)):",
        "if line.condition is not None and account.exponent < 0:",
        (f"{TABLE}[conditions]",),
    ),
    _sql(
        "sql-captured-within-the-hold",
        "No more is captured of a line than it has.",
        "primary key (ledger_no, hold_id, line),\n"
        "    constraint capture_exceeds_hold check (captured between 0 and amount)",
        "primary key (ledger_no, hold_id, line)",
        *(
            f"{ATTACK}[{name}]"
            for name in ("captured beyond its amount", "begun beyond its amount", "begun below zero")
        ),
    ),
    _sql(
        "sql-held-amount-positive",
        "A hold's amounts are positive.",
        "amount numeric(38, 0) not null check (amount > 0),",
        "amount numeric(38, 0) not null,",
        f"{ATTACK}[nothing held]",
    ),
    _sql(
        "sql-hold-status",
        "A hold has one of four statuses.",
        "status text not null check (status in ('pending', 'captured', 'released', 'expired')),",
        "status text not null,",
        f"{ATTACK}[no status]",
    ),
    _sql(
        "sql-one-hold-per-id",
        "A hold's id is used once.",
        "    version bigint not null,\n    constraint duplicate_hold_id primary key (ledger_no, id)\n",
        "    version bigint not null\n",
        f"{ATTACK}[an id used twice]",
    ),
    _sql(
        "sql-pending-debits-not-negative",
        "What is pending is not negative.",
        "add column pending_debits numeric(38, 0) not null default 0 check (pending_debits >= 0),",
        "add column pending_debits numeric(38, 0) not null default 0,",
        f"{ATTACK}[pending debits below zero]",
    ),
    _sql(
        "sql-pending-credits-not-negative",
        "What is pending is not negative.",
        "add column pending_credits numeric(38, 0) not null default 0 check (pending_credits >= 0);",
        "add column pending_credits numeric(38, 0) not null default 0;",
        f"{ATTACK}[pending credits below zero]",
    ),
    _sql(
        "sql-hold-ends-once",
        "A hold that has ended stays as it is.",
        "when (old.status <> 'pending')",
        "when (false)",
        *(f"{ATTACK}[{name}]" for name in ("pending again", "captured after its release", "moved after its release")),
        path=ENDS,
    ),
    _sql(
        "sql-capture-is-final",
        "What was captured stays captured.",
        "when (new.captured < old.captured)",
        "when (false)",
        f"{ATTACK}[captured less than before]",
        path=ENDS,
    ),
    _sql(
        "sql-hold-is-fixed",
        "Of a hold only its status and version change.",
        "grant update (status, version) on holds to ledger_writer;",
        "grant update on holds to ledger_writer;",
        f"{FIXED}[update holds set placed_sequence = 1]",
    ),
    _sql(
        "sql-hold-line-is-fixed",
        "Of a hold's line only what is captured changes.",
        "grant update (captured) on hold_lines to ledger_writer;",
        "grant update on hold_lines to ledger_writer;",
        *(f"{FIXED}[update hold_lines set {change}]" for change in ("amount = 9", "debit = not debit")),
    ),
    *(
        _sql(
            f"sql-never-removed-{table}",
            f"No row of {table} is ever removed.",
            f"create trigger {trigger} before {verbs} on {table} "
            "for each statement execute function refuse_change();\n",
            "",
            f"{KEPT}[{table}-delete from {table}]",
            f"{KEPT}[{table}-truncate {table}]",
        )
        for table, trigger, verbs in (
            ("holds", "never_removed", "delete or truncate"),
            ("hold_lines", "never_removed", "delete or truncate"),
            ("pendings", "append_only", "update or delete or truncate"),
        )
    ),
]
