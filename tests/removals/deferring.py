"""The guards of deferred revenue: what makes a period end come once, in turn, in time, and at its issue's rate."""

from tests.removals.removal import Removal

MIGRATION = "services/invoicing/migrations/0011_periods_and_notes.sql"
RECEIVABLES = "services/invoicing/migrations/0001_receivables.sql"
STORE, DEFERRALS = "services/invoicing/deferral_store.py", "services/invoicing/deferrals.py"
RULES, LOOP = "services/invoicing/recognition.py", "services/invoicing/recognising.py"
TESTS = "tests/invoicing/test_recognising.py::"
REFUSED = (TESTS + "test_the_database_refuses",)
IN_TURN = (TESTS + "test_after_downtime_every_period_end_is_done_once_in_turn",)
AT_ITS_RATE = (TESTS + "test_what_waits_for_a_rate_keeps_back_no_other_and_comes_at_its_issue_s_rate",)

DEFERRING = [
    Removal(
        "sql-recognised-once",
        "A period end is recognised once.",
        RECEIVABLES,
        "create unique index recognised_once on recognitions (organization, invoice, line, through_on) "
        "where kind = 'recognised';\n",
        "",
        REFUSED,
    ),
    Removal(
        "sql-recognition-never-falls",
        "How far revenue was recognised never falls.",
        MIGRATION,
        "if new.recognised_through < old.recognised_through or (old.is_over and not new.is_over) then",
        "if false then",
        REFUSED,
    ),
    Removal(
        "sql-deferral-fixed",
        "What an invoice defers is fixed with it.",
        MIGRATION,
        "       is distinct from (old.organization, old.invoice, old.ledger, old.ends_on)",
        "       is distinct from (new.organization, new.invoice, new.ledger, new.ends_on)",
        REFUSED,
    ),
    Removal(
        "sql-deferral-stays",
        "A deferral is never removed.",
        MIGRATION,
        "create trigger never_removed before delete or truncate on deferrals for each statement execute function "
        "refuse_change();\n",
        "",
        REFUSED,
    ),
    Removal(
        "sql-calendar-fixed",
        "A ledger's calendar never changes.",
        MIGRATION,
        "create trigger append_only before update or delete or truncate on calendars\n"
        "    for each statement execute function refuse_change();\n",
        "",
        REFUSED,
    ),
    Removal(
        "deferral-held",
        "What one process recognises another leaves.",
        STORE,
        "            for no key update skip locked) due\n",
        "            ) due\n",
        (TESTS + "test_two_loops_at_once_do_each_period_end_once",),
    ),
    Removal(
        "period-that-ended",
        "A period is recognised when it has ended.",
        RULES,
        "calendar.ends(calendar.month_of(today) - 1)",
        "calendar.ends(calendar.month_of(today))",
        (TESTS + "test_how_a_ledger_stands",),
    ),
    Removal(
        "period-by-period",
        "After downtime each period has its own entry.",
        DEFERRALS,
        'recognition.end_behind(calendars[organization, row["ledger"]], row["recognised_through"])',
        'next(end.on for end in ends if calendars and end[:2] == (organization, row["ledger"]))',
        IN_TURN,
    ),
    Removal(
        "recognition-by-hand",
        "Where revenue is recognised by hand nothing comes by itself.",
        STORE,
        "        where s.recognition = 'period-end'\n",
        "",
        (TESTS + "test_by_hand_nothing_comes_by_itself_until_that_is_changed",),
    ),
    Removal(
        "calendar-heard",
        "Until a ledger's calendar was heard nothing is recognised by another.",
        LOOP,
        "self.lag_days > 0 and self.ledger.time_zone is not None",
        "self.lag_days > 0",
        (TESTS + "test_until_its_calendar_was_heard_a_ledger_waits_and_the_lag_says_so",),
    ),
    Removal(
        "refused-put-off",
        "What cannot be recognised yet keeps back no other.",
        STORE,
        "and not d.is_over and (d.retry_at is null or d.retry_at <= now())",
        "and not d.is_over and (d.rejection is null or d.retry_at > now())",
        AT_ITS_RATE,
    ),
    Removal(
        "refused-alone",
        "What the database refuses of one invoice keeps back no other.",
        LOOP,
        "        except _REFUSED:\n            return await self._one_by_one(calendars, ends)\n",
        "        except ZeroDivisionError:\n            return await self._one_by_one(calendars, ends)\n",
        (TESTS + "test_what_the_database_refuses_keeps_back_no_other",),
    ),
    Removal(
        "issue-rate",
        "What corrects an invoice is booked at the rate of its issue.",
        "services/invoicing/issue_books.py",
        "return books if kept is None else replace(books, rates={**books.rates, **_rates(kept)})",
        "return books if kept is None else replace(books, rates={**_rates(kept), **books.rates})",
        (*AT_ITS_RATE, TESTS + "test_a_credit_note_abroad_takes_what_is_deferred_as_booked"),
    ),
    Removal(
        "void-earns-nothing",
        "A void invoice earns nothing any more.",
        DEFERRALS,
        'if row["status"] == "void" or row["posting"] == "none":',
        'if row["posting"] == "none":',
        (TESTS + "test_a_deferral_is_over_with_its_service_and_with_its_invoice",),
    ),
]
