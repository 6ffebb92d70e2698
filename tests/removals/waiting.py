"""The guards of what invoicing waits for: the ledger's reading, a rate, Kafka; and what is not credited twice."""

from tests.removals.removal import Removal

RESENDING, READING = "services/invoicing/resending.py", "libs/common/group_reading.py"
RATES, NOTES = "libs/common/heard_rates.py", "services/invoicing/credit_notes.py"

LOOPS, HEARD = "tests/invoicing/test_loops.py::", "tests/invoicing/test_rates.py::"
ACCESS = "tests/deploy/test_access.py::"
NOTED = "tests/invoicing/test_credit_notes.py::"

WAITING = [
    Removal(
        "resent-while-unread",
        "Nothing is sent again while the ledger has not read what was sent before.",
        RESENDING,
        "        if await self._lags(now - RESEND_FIRST / 2):\n",
        "        if await self._lags(now - RESEND_FIRST / 2) and not now:\n",
        (LOOPS + "test_the_loop_asks_again_unless_the_ledger_is_behind",),
    ),
    Removal(
        "unread-partition",
        "A group is behind where it never committed, or less than what was written before.",
        READING,
        "place not in committed or committed[place].offset < end for",
        "place in committed and committed[place].offset < end for",
        (LOOPS + "test_a_group_is_behind_while_what_was_written_before_is_unread",),
    ),
    Removal(
        "written-since",
        "What was written since does not put a group behind.",
        READING,
        "last[place] if later[place] is None else later[place].offset for",
        "last[place] if later[place] is None else last[place] for",
        (LOOPS + "test_a_group_is_behind_while_what_was_written_before_is_unread",),
    ),
    Removal(
        "hidden-group",
        "A group that the broker does not show counts as read: requests are resent by time alone.",
        READING,
        "        except Hidden as hidden:\n            self._show(hidden)\n            return False\n",
        "        except Hidden as hidden:\n            self._show(hidden)\n            return True\n",
        (ACCESS + "test_a_group_that_is_hidden_is_said_once_and_counts_as_read",),
    ),
    Removal(
        "hidden-group-is-said",
        "That a group is hidden is said once.",
        READING,
        "        if hidden is not None and not was:\n",
        "        if hidden is not None:\n",
        (ACCESS + "test_a_group_that_is_hidden_is_said_once_and_counts_as_read",),
    ),
    Removal(
        "rates-come",
        "New rates wake those who wait for one.",
        RESENDING,
        "        self._looks = 0\n        self._awake.set()\n",
        "        self._looks = 0\n",
        (LOOPS + "test_what_waits_for_a_rate_is_tried_as_soon_as_rates_came_however_many_wait",),
    ),
    Removal(
        "all-that-wait",
        "However many wait for a rate, each is tried.",
        RESENDING,
        '            after = rows[-1]["created_at"], rows[-1]["id"]\n',
        "            return\n",
        (LOOPS + "test_what_waits_for_a_rate_is_tried_as_soon_as_rates_came_however_many_wait",),
    ),
    Removal(
        "rates-heard-again",
        "A rate that is heard again wakes nobody.",
        RATES,
        "        if new:\n",
        "        if rates:\n",
        (HEARD + "test_rates_are_kept_once_and_it_is_said_when_new_ones_came",),
    ),
    Removal(
        "given-up-and-credited",
        "What was given up of an invoice is not credited too.",
        NOTES,
        "amounts.total - amounts.credited - amounts.written_off - to_credit",
        "amounts.total - amounts.credited - to_credit",
        (NOTED + "test_what_is_given_up_is_not_credited_too",),
    ),
]
