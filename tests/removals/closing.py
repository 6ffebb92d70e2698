"""The guards of closing: what is dated where, in which order days, months and years close, and who may what."""

from tests.removals.removal import Removal

RULES = "services/ledger/closing.py"
TABLE = "tests/ledger/test_domain.py::test_every_attempt_gets_its_verdict[closing]"
SQL = "services/ledger/migrations/0005_holds_and_closings.sql"
GUARDS = "tests/ledger/test_period_guards.py::"
ATTACK = GUARDS + "test_an_attack_on_what_is_closed_is_refused_by_its_guard_and_by_nothing_else"
APPEND_ONLY = GUARDS + "test_closings_are_append_only_by_right_and_by_trigger"
API = "tests/ledger/test_period_api.py::"


def _rule(name: str, guard: str, old: str, new: str, *more: str) -> Removal:
    return Removal(name, guard, RULES, old, new, (TABLE, *more))


def _sql(name: str, guard: str, old: str, new: str, *tests: str) -> Removal:
    return Removal(name, guard, SQL, old, new, tests)


def _attacks(*names: str) -> tuple[str, ...]:
    return tuple(f"{ATTACK}[{name}]" for name in names)


CLOSING = [
    _rule(
        "posted-into-a-closed-month",
        "Nothing is dated in a closed month, whoever asks.",
        "if months is not None and effective_on <= months:",
        "if months is not None and effective_on < date.min:",
    ),
    _rule(
        "posted-into-a-softly-closed-month",
        "A softly closed month takes what those post who may adjust.",
        'return None if ADJUST in permits else _closed("period-closed", effective_on, softly, closed, soft=True)',
        "return None",
    ),
    _rule(
        "posted-into-a-closed-day",
        "A closed day takes what those post who may backdate.",
        "if days is not None and effective_on <= days and BACKDATE not in permits:",
        "if days is not None and effective_on < date.min and BACKDATE not in permits:",
    ),
    _rule(
        "closing-entry-by-hand",
        "Entries of kind closing are the year end's, or of those who may adjust.",
        'if request.kind == "closing" and ADJUST not in permits:',
        'if request.kind == "closing" and effective_on < date.min:',
    ),
    _rule(
        "next-open-day-not-taken",
        "What may move to the next open day goes there.",
        "return Placed(last + timedelta(days=1), tuple(needed), False)",
        "return Placed(effective_on, tuple(needed), False)",
    ),
    _rule(
        "backdating-not-told",
        "An entry's record says which scope it took to backdate it.",
        "needed.add(BACKDATE)",
        "needed.discard(BACKDATE)",
    ),
    _rule(
        "day-not-ended",
        "A day is closed after it has ended.",
        "if day >= today:",
        "if day == date.max:",
    ),
    _rule(
        "month-not-ended",
        "A month is closed after it has ended.",
        "if ends >= today:\n        return _not_ended(step.period",
        "if ends == date.max:\n        return _not_ended(step.period",
    ),
    _rule(
        "year-not-ended",
        "A fiscal year is closed after it has ended.",
        "if ends >= today:\n        return _not_ended(str(step.year)",
        "if ends == date.max:\n        return _not_ended(str(step.year)",
    ),
    _rule(
        "months-out-of-order",
        "Months are closed in their order.",
        "if month != expected:",
        "if expected is None:",
    ),
    _rule(
        "reopened-out-of-order",
        "Months are reopened in reverse.",
        "if month != last:",
        "if last is None:",
    ),
    _rule(
        "month-of-a-closed-year-reopened",
        "A closed year's last month is reopened with its year.",
        "if year in state.closing.closed_years and month == calendar.last_month(year):",
        "if year in state.closing.closed_years and month < 0:",
    ),
    _rule(
        "year-before-its-months",
        "A year is closed after its other months.",
        "if expected != last:",
        "if expected is None:",
    ),
    _rule(
        "year-reopened-out-of-order",
        "A year is reopened while its last month is the last one closed.",
        "if _last_month(calendar, state.closed) != last:",
        "if _last_month(calendar, state.closed) is None:",
    ),
    _rule(
        "result-carried-anywhere",
        "A year's result goes to an equity account that takes lines.",
        'if named is None or named.type != "equity" or named.summary:',
        "if named is None:",
    ),
    Removal(
        "permits-of-everybody",
        "Who may adjust or backdate is in the token.",
        "services/ledger/writes.py",
        "permits = caller.scopes & PERMITS",
        "permits = PERMITS",
        (API + "test_a_month_is_closed_and_reopened_and_everyone_is_told",),
    ),
    _sql(
        "sql-dated-in-a-closed-period",
        "Nothing is dated in a closed period.",
        "           or a.earliest <= (select l.closed_through from ledgers l where l.no = a.ledger_no)\n",
        "",
        *_attacks(
            "entry in a closed month",
            "entry before everything",
            "lines in a closed month",
            "entry at the place of a record from before the closing",
        ),
    ),
    _sql(
        "sql-closing-in-force-at-the-sequence",
        "What counts is the closing in force at an entry's own sequence.",
        "where c.ledger_no = a.ledger_no and c.sequence < a.sequence order by c.sequence desc limit 1)",
        "where c.ledger_no = a.ledger_no and c.sequence < 0 order by c.sequence desc limit 1)",
        *_attacks("entry in a closed month", "entry before everything", "lines in a closed month"),
    ),
    _sql(
        "sql-place-of-an-older-record",
        "What is dated in a closed period has its record from the same transaction.",
        "or (a.effective_on <= (select l.closed_through from ledgers l where l.no = a.ledger_no)\n",
        "or (false and a.effective_on <= (select l.closed_through from ledgers l where l.no = a.ledger_no)\n",
        *_attacks("entry at the place of a record from before the closing"),
    ),
    _sql(
        "sql-entry-of-no-ledger",
        "An entry is of a ledger that is there.",
        "        from (select ledger_no, min(effective_on) as earliest from added group by ledger_no) a\n"
        "        where (tg_table_name = 'entries' and",
        "        from (select ledger_no, min(effective_on) as earliest from added group by ledger_no) a\n"
        "        where (false and",
        *_attacks("entry of no ledger"),
    ),
    _sql(
        "sql-posting-beside-a-close",
        "An entry waits for whoever closes.",
        "where l.no in (select a.ledger_no from added a) for no key update;",
        "where l.no in (select a.ledger_no from added a);",
        GUARDS + "test_an_entry_waits_for_whoever_closes",
    ),
    _sql(
        "sql-closed-by-hand",
        "What is closed moves by a record alone.",
        "    if (new.days_closed_through, new.soft_closed_through, new.closed_through) is distinct from (",
        "    if false and (new.days_closed_through, new.soft_closed_through, new.closed_through) is distinct from (",
        *_attacks(
            "days_closed_through moved to null",
            "soft_closed_through moved to null",
            "closed_through moved to null",
            "reopened beside a record that says nothing of it",
        ),
    ),
    _sql(
        "sql-closing-without-its-record",
        "A closing comes with its record.",
        "            is distinct from pg_current_xact_id()::xid\n    ) or exists (",
        "            is distinct from pg_current_xact_id()::xid and false\n    ) or exists (",
        *_attacks("closing at an older record that says what is so"),
    ),
    _sql(
        "sql-closing-that-moves-nothing",
        "A ledger's row says what its last closing says.",
        "is distinct from (a.days_closed_through, a.soft_closed_through, a.closed_through)\n    ) then",
        "is distinct from (a.days_closed_through, a.soft_closed_through, a.closed_through) and false\n    ) then",
        *_attacks("closing that its ledger does not follow"),
    ),
    *(
        _sql(
            f"sql-append-only-{table}",
            f"The table {table} is append-only.",
            f"create trigger append_only before update or delete or truncate on {table} "
            "for each statement execute function refuse_change();\n",
            "",
            f"{APPEND_ONLY}[{table}-delete from {table}]",
            f"{APPEND_ONLY}[{table}-update {table} set ledger_no = 2]",
        )
        for table in ("closings", "backdatings")
    ),
]
