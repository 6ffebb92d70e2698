"""The guards of what recurs and of reminders: the database's, and the rows that make a thing happen once."""

from tests.removals.removal import Removal

MIGRATION = "services/invoicing/migrations/0006_recurring_and_dunning.sql"
REMINDING, DUNNING = "services/invoicing/reminding.py", "services/invoicing/dunning.py"
DUNNING_STORE = "services/invoicing/dunning_store.py"
SCHEDULES, RECURRING = "services/invoicing/schedules.py", "services/invoicing/recurring.py"
STORE = "services/invoicing/recurring_store.py"
DAYS, REPEATED = "tests/invoicing/test_schedules.py::", "tests/invoicing/test_recurring.py::"
REFUSED = (REPEATED + "test_the_database_refuses",)

RULES, DUNNED = "tests/invoicing/test_reminding.py::", "tests/invoicing/test_dunning.py::"
UNSENT = (DUNNED + "test_the_database_refuses",)

REPEATING = [
    Removal(
        "sql-one-occurrence-a-day",
        "A day that was due has one occurrence.",
        MIGRATION,
        "    constraint one_occurrence_a_day unique (recurrence, on_date, organization),\n",
        "",
        REFUSED,
    ),
    Removal(
        "sql-occurrence-in-turn",
        "An occurrence is the one its recurrence is at.",
        MIGRATION,
        "where r.organization = new.organization and r.id = new.recurrence and r.last_on = new.on_date",
        "where r.organization = new.organization and r.id = new.recurrence",
        REFUSED,
    ),
    Removal(
        "sql-recurrence-moves-on",
        "A recurrence moves on by one occurrence, the one that is due.",
        MIGRATION,
        "if (new.due_count, new.last_on) is distinct from (old.due_count, old.last_on)",
        "if false",
        REFUSED,
    ),
    Removal(
        "sql-occurrence-made",
        "An occurrence that has its invoice stays as it is.",
        MIGRATION,
        "elsif old.state = 'made'",
        "elsif false",
        REFUSED,
    ),
    Removal(
        "sql-recurrence-cancelled",
        "Nothing comes of what is cancelled.",
        MIGRATION,
        "if old.status = 'cancelled' then",
        "if false then",
        REFUSED,
    ),
    Removal(
        "sql-recurrence-version",
        "What recurs is changed with its version.",
        MIGRATION,
        "       and new.version <= old.version\n    then\n        raise exception 'every change",
        "       and false\n    then\n        raise exception 'every change",
        REFUSED,
    ),
    Removal(
        "due-by-the-database",
        "What is not due by the database's clock is not made.",
        STORE,
        "r.next_at <= now() and",
        "true and",
        (REPEATED + "test_what_is_not_due_by_the_database_s_clock_is_not_made",),
    ),
    Removal(
        "due-held",
        "What one process makes another leaves.",
        STORE,
        "        for no key update skip locked\n",
        "",
        (REPEATED + "test_two_loops_at_once_make_each_day_once",),
    ),
    Removal(
        "gap-of-the-clock",
        "What the wall clock skips is due when the gap ends.",
        SCHEDULES,
        "if at.astimezone(zone).replace(tzinfo=None) == local:",
        "if at:",
        (DAYS + "test_when_a_day_is_due",),
    ),
    Removal(
        "changed-while-due",
        "While something is due nothing is changed under it.",
        RECURRING,
        'if row["status"] == "active" and row["next_at"] <= row["clock"]:',
        'if row["status"] is None:',
        (REPEATED + "test_while_something_is_due_nothing_is_changed_under_it",),
    ),
    Removal(
        "sql-level-is-a-letter",
        "A dunning level is a letter that was sent.",
        MIGRATION,
        """    if new.dunning_round <> old.dunning_round or new.dunning_level <= old.dunning_level or not exists (""",
        """    if false and not exists (""",
        UNSENT,
    ),
    Removal(
        "sql-step-of-what-is-open",
        "A reminder is of what is open, and each level once.",
        MIGRATION,
        "and i.dunning_round = new.round and i.dunning_level < new.level",
        "and i.dunning_round = new.round",
        UNSENT,
    ),
    Removal(
        "sql-dunning-ends",
        "What is not open any more has no level.",
        MIGRATION,
        """    new.dunning_level := 0;
    new.dunning_round := old.dunning_round + 1;
""",
        "",
        (DUNNED + "test_paid_it_is_reset_and_begins_anew_when_it_is_open_again",),
    ),
    Removal(
        "sql-hold-released",
        "A hold is released once.",
        MIGRATION,
        "if old.released_at is not null\n",
        "if false\n",
        UNSENT,
    ),
    Removal(
        "dunning-in-turn",
        "Of two runs at once the second sees what the first sent.",
        DUNNING,
        "    await invoice_store.lock_invoices(connection, keys)\n",
        "",
        (DUNNED + "test_a_run_beside_another_waits_and_finds_what_it_sent",),
    ),
    Removal(
        "dunning-as-far-apart",
        "A reminder comes when the one before is as old as the levels are apart.",
        REMINDING,
        "if (on - invoice.last_on).days < wanted - levels[invoice.level - 1].days_after_due:",
        "if (on - invoice.last_on).days < 0:",
        (RULES + "test_the_level_that_an_invoice_is_due_for",),
    ),
    Removal(
        "dunning-stopped",
        "What is disputed or held is not reminded of.",
        REMINDING,
        "if level is not None and invoice.stop is not None:",
        "if level is not None and invoice.stop == level:",
        (RULES + "test_what_is_stopped_is_neither_raised_nor_listed",),
    ),
    Removal(
        "dunning-disputed",
        "An open dispute of a payment stops its invoices' reminders.",
        DUNNING_STORE,
        "and d.payment = a.source_id and d.status = 'opened'",
        "and d.payment = a.source_id and false",
        (DUNNED + "test_an_open_dispute_stops_it_until_it_is_settled",),
    ),
    Removal(
        "dunning-ahead",
        "A run is not of a day to come.",
        DUNNING,
        "if run.on > now.date() + timedelta(days=1):",
        "if run.on is None:",
        (DUNNED + "test_what_is_wrong_is_said_with_its_place",),
    ),
]
