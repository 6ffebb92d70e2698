"""The database's own guards: each as it stands in the migration, taken out of a new database."""

from tests.removals.removal import Removal

LEDGER = "services/ledger/migrations/0001_ledger.sql"
ATTACK = "tests/ledger/test_guards.py::test_an_attack_is_refused_by_its_guard_and_by_nothing_else"
APPEND_ONLY = "tests/ledger/test_guards.py::test_history_is_append_only_by_right_and_by_trigger"
ROLES, BATCHES = "tests/ledger/test_roles.py::", "tests/ledger/test_batches.py::"


def _attacks(*names: str) -> tuple[str, ...]:
    return tuple(f"{ATTACK}[{name}]" for name in names)


def _row(name: str, guard: str, old: str, new: str, *tests: str) -> Removal:
    return Removal(name, guard, LEDGER, old, new, tests)


GUARDING = [
    _row(
        "sql-must",
        "A statement that did not write what it had to fails.",
        "if ok is distinct from true then",
        "if ok is distinct from true and false then",
        BATCHES + "test_a_balance_decided_on_an_older_one_is_never_stored",
    ),
    _row(
        "sql-entry-balance",
        "The lines of an entry balance.",
        "having sum(case when debit then amount else -amount end) <> 0",
        "having false",
        *_attacks("unbalanced", "one line", "balanced over currencies"),
    ),
    _row(
        "sql-entry-balance-by-currency",
        "They balance in each currency for itself.",
        "select 1 from added group by ledger_no, sequence, currency",
        "select 1 from added group by ledger_no, sequence",
        *_attacks("balanced over currencies"),
    ),
    _row(
        "sql-currency",
        "A line is in its account's currency.",
        "is distinct from a.currency",
        "is distinct from a.currency and false",
        *_attacks("currency of another account", "account that is not", "summary account"),
    ),
    _row(
        "sql-lines-are-final",
        "No line joins an entry of an earlier transaction.",
        "is distinct from pg_current_xact_id()::xid",
        "is null",
        *_attacks("line into an old entry", "line into an old entry beside a new one"),
    ),
    _row(
        "sql-line-of-no-entry",
        "A line belongs to a record that is written with it.",
        "is distinct from pg_current_xact_id()::xid",
        "is distinct from pg_current_xact_id()::xid and false",
        *_attacks("line without a record"),
    ),
    _row(
        "sql-log-ends-at-head",
        "The log ends where its ledger's head is.",
        "is distinct from a.high\n",
        "is distinct from a.high and false\n",
        *_attacks("record without moving the head", "record of a ledger that is not"),
    ),
    _row(
        "sql-log-without-gap",
        "Each record follows the one before.",
        "p.sequence = a.low - 1) is null)",
        "p.sequence = a.low - 1) is null and false)",
        *_attacks("gap in the log"),
    ),
    _row(
        "sql-log-hash",
        "A record's hash covers its bytes and the hash before.",
        "where hash is distinct from sha256(previous || convert_to(payload, 'UTF8'))",
        "where false",
        *_attacks("payload other than hashed", "hash that leaves out the one before"),
    ),
    _row(
        "sql-head-hash",
        "The head's hash is its last record's.",
        "is distinct from (select g.hash from log g where g.ledger_no = a.ledger_no and g.sequence = a.high)",
        "is distinct from (select g.hash from log g where g.ledger_no = a.ledger_no and g.sequence = a.high) and false",
        *_attacks("head whose hash is another"),
    ),
    _row(
        "sql-append-only",
        "What was written is never changed or removed, whoever asks.",
        "    raise exception '% is append-only: % is refused', tg_table_name, lower(tg_op)\n"
        "        using errcode = '23514', constraint = 'append_only';\n",
        "    return null;\n",
        APPEND_ONLY,
        "tests/ledger/test_guards.py::test_each_half_of_append_only_holds_alone",
    ),
    *(
        _row(
            f"sql-append-only-{table}",
            f"The table {table} is append-only.",
            f"create trigger append_only before update or delete or truncate on {table} "
            "for each statement execute function refuse_change();\n",
            "",
            f"{APPEND_ONLY}[{table}-delete from {table}]",
        )
        for table in ("log", "entries", "lines", "requests", "account_changes")
    ),
    _row(
        "sql-writer-may-delete",
        "The writer's role may not even try.",
        "grant update on accounts, daily_totals, party_balances to ledger_writer;",
        "grant update, delete on accounts, daily_totals, party_balances, lines to ledger_writer;",
        f"{APPEND_ONLY}[lines-delete from lines]",
    ),
    _row(
        "sql-ledger-is-fixed",
        "What a ledger is never changes.",
        "if (new.id, new.no, new.organization_id, new.code, new.functional_currency, new.functional_decimals)\n"
        "       is distinct from",
        "if (new.id, new.no, new.organization_id, new.code, new.functional_currency, new.functional_decimals) is null\n"
        "       and new is distinct from",
        "tests/ledger/test_guards.py::test_what_a_ledger_is_never_changes",
    ),
    _row(
        "sql-sequence-falls",
        "A ledger's sequence and epoch never fall.",
        "if new.sequence < old.sequence or new.epoch < old.epoch then",
        "if new.sequence is null or new.epoch is null then",
        *_attacks("sequence that falls", "epoch that falls"),
    ),
    _row(
        "sql-time-runs-backwards",
        "No record is of before the last one.",
        "if new.recorded_at < old.recorded_at\n",
        "if new.recorded_at is null\n",
        *_attacks("time that runs backwards"),
    ),
    _row(
        "sql-time-ahead",
        "No record is of a time to come.",
        "clock_timestamp() + interval '2 seconds'",
        "clock_timestamp() + interval '2 years'",
        *_attacks("time ahead of the clock"),
    ),
    _row(
        "sql-amount-positive",
        "An amount is positive.",
        "amount numeric(38, 0) not null constraint amount_not_positive check (amount > 0),",
        "amount numeric(38, 0) not null,",
        *_attacks("amount of zero", "negative amount"),
    ),
    _row(
        "sql-one-request-per-key",
        "A request's key is used once.",
        "    primary key (ledger_no, scope, key),\n",
        "",
        *_attacks("key used twice"),
    ),
    _row(
        "sql-one-outcome",
        "A request has one outcome.",
        "check ((sequence is null) <> (rejection is null))",
        "check (true)",
        *_attacks("request with two outcomes", "request with none"),
    ),
    _row(
        "sql-one-external-id",
        "An external id is used once.",
        "create unique index duplicate_external_id",
        "create index duplicate_external_id",
        *_attacks("external id used twice"),
    ),
    _row(
        "sql-one-reversal",
        "An entry is reversed once.",
        "create unique index already_reversed",
        "create index already_reversed",
        *_attacks("entry reversed twice"),
    ),
    _row(
        "sql-one-account-per-code",
        "An account's code is used once.",
        "    constraint account_code_taken unique (ledger_no, code),\n",
        "",
        *_attacks("two accounts of one code"),
    ),
    _row(
        "sql-rows-of-other-ledgers",
        "A reader sees the rows of the ledger it asked for.",
        "using (ledger_no = nullif(current_setting(''ledgerbus.ledger'', true), '''')::integer)",
        "using (true)",
        ROLES + "test_a_reader_without_settings_sees_nothing",
        ROLES + "test_a_reader_sees_one_organization_and_one_ledger",
    ),
    _row(
        "sql-ledgers-of-other-organizations",
        "A reader sees the ledgers of one organization.",
        "create policy reads on ledgers for select to ledger_reader\n"
        "    using (organization_id = nullif(current_setting('ledgerbus.organization', true), '')::uuid);",
        "create policy reads on ledgers for select to ledger_reader\n    using (true);",
        ROLES + "test_a_reader_sees_one_organization_and_one_ledger",
    ),
    _row(
        "sql-no-row-level-security",
        "Row-level security is switched on for every table of a ledger.",
        "        execute format('alter table %I enable row level security', name);\n",
        "",
        ROLES + "test_a_reader_without_settings_sees_nothing",
        ROLES + "test_a_reader_whose_connection_was_another_callers_sees_nothing",
    ),
    Removal(
        "sql-holds-of-other-ledgers",
        "A reader sees the holds and closings of the ledger it asked for.",
        "services/ledger/migrations/0005_holds_and_closings.sql",
        "using (ledger_no = nullif(current_setting(''ledgerbus.ledger'', true), '''')::integer)",
        "using (true)",
        (ROLES + "test_a_reader_sees_one_organization_and_one_ledger",),
    ),
]
