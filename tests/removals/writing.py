"""The writer's guards: races, unknown outcomes, keys, and the rules of an entry."""

from tests.removals.removal import Removal

STORE, STATEMENT = "services/ledger/store.py", "services/ledger/statement.py"
WRITER, DOMAIN = "services/ledger/writer.py", "services/ledger/domain.py"
RACES, UNKNOWN = "tests/ledger/test_races.py::", "tests/ledger/test_unknown_outcome.py::"
BATCHES, RULES = "tests/ledger/test_batches.py::", "tests/ledger/test_domain.py::"

WRITING = [
    Removal(
        "race-not-seen",
        "The statement writes only at the sequence that the batch was decided on.",
        STATEMENT,
        "and organization_id = $2 and sequence = $3",
        "and organization_id = $2 and $3::bigint is not null",
        (
            RACES + "test_contenders_lose_races_and_no_entry",
            RACES + "test_a_rejection_is_decided_on_the_state_it_is_remembered_at",
        ),
    ),
    Removal(
        "lost-race-taken-as-won",
        "A batch whose statement wrote nothing is decided again.",
        WRITER,
        "case None if won:",
        "case None if won is not None:",
        (
            RACES + "test_contenders_lose_races_and_no_entry",
            RACES + "test_what_is_there_is_spent_once",
        ),
    ),
    Removal(
        "cache-kept-after-lost-race",
        "The cache is dropped where a batch did not land.",
        WRITER,
        "if again is not None:\n                    self._state = None\n                    self._put_back(",
        "if again is not None:\n                    self._put_back(",
        (RACES + "test_contenders_lose_races_and_no_entry",),
    ),
    Removal(
        "no-lock-after-lost-races",
        "Who lost several races in a row locks the ledger's row before reading.",
        WRITER,
        "if self._lost_races >= self._limits.lost_races_before_lock:",
        "if self._lost_races < 0:",
        (RACES + "test_who_loses_every_race_gets_through_under_the_lock",),
    ),
    Removal(
        "round-under-lock-without-lock",
        "A round under the lock takes the lock.",
        WRITER,
        "sequence = await store.lock_ledger(connection, self.ledger.no)\n                state = self._state",
        "sequence, state = -1, self._state",
        (RACES + "test_who_loses_every_race_gets_through_under_the_lock",),
    ),
    Removal(
        "stale-load-taken",
        "Accounts read at another sequence than the cache's do not go into it.",
        "services/ledger/loading.py",
        "elif head.sequence not in acceptable:",
        "elif not acceptable:",
        (BATCHES + "test_a_load_of_another_sequence_is_not_taken",),
    ),
    Removal(
        "balance-version-not-compared",
        "A balance is overwritten only where it has the version it was decided on.",
        STATEMENT,
        "when matched and b.version = t.decided_on then\n"
        "        update set debits = t.debits, credits = t.credits, version = t.version\n",
        "when matched then update set debits = t.debits, credits = t.credits, version = t.version\n",
        (
            BATCHES + "test_a_balance_decided_on_an_older_one_is_never_stored",
            BATCHES + "test_a_writer_whose_cache_is_stale_finds_out_and_answers_right",
        ),
    ),
    Removal(
        "rows-not-counted",
        "The statement fails where a step wrote fewer rows than the batch has.",
        STATEMENT,
        "select must(array[{counts}]::bigint[] = {expected}",
        "select must(array[{counts}]::bigint[] <= {expected}",
        (
            BATCHES + "test_a_balance_decided_on_an_older_one_is_never_stored",
            BATCHES + "test_a_writer_whose_cache_is_stale_finds_out_and_answers_right",
        ),
    ),
    Removal(
        "key-taken-meanwhile-not-looked-up",
        "A request whose key another writer used meanwhile is looked up and decided again.",
        WRITER,
        "for wish in prepared.wishes:\n                    wish.lookup = True\n                return",
        "return",
        (RACES + "test_copies_of_one_request_at_several_writers_are_one_entry",),
    ),
    Removal(
        "key-taken-meanwhile-is-a-defect",
        "A key that another writer used meanwhile is no defect of this request.",
        WRITER,
        "case asyncpg.UniqueViolationError():",
        "case asyncpg.UniqueViolationError() if not prepared.wishes:",
        (RACES + "test_copies_of_one_request_at_several_writers_are_one_entry",),
    ),
    Removal(
        "unknown-outcome-never-committed",
        "A batch that was committed unheard is found in the books.",
        WRITER,
        "if not await store.committed(connection, self.ledger.no, prepared.batch, prepared.hash):",
        "if prepared.writes:",
        (
            UNKNOWN + "test_an_entry_whose_answer_was_lost_is_there_once[True]",
            UNKNOWN + "test_a_rejection_whose_answer_was_lost_is_remembered_once[True]",
        ),
    ),
    Removal(
        "unknown-outcome-always-committed",
        "A batch that never committed is written again.",
        WRITER,
        "if not await store.committed(connection, self.ledger.no, prepared.batch, prepared.hash):",
        "if not prepared.writes:",
        (
            UNKNOWN + "test_an_entry_whose_answer_was_lost_is_there_once[False]",
            UNKNOWN + "test_a_rejection_whose_answer_was_lost_is_remembered_once[False]",
        ),
    ),
    Removal(
        "committed-without-hash",
        "A record at the batch's last sequence is the batch's own only where the hash says so.",
        STORE,
        "return found is not None and bytes(found) == hash_",
        "return found is not None",
        (UNKNOWN + "test_a_sequence_that_another_writer_took_is_not_ones_own",),
    ),
    Removal(
        "committed-without-outcome",
        "A key in the books is the batch's own only where the remembered answer is its own.",
        STORE,
        "where r.fingerprint = k.fingerprint and r.rejection = k.rejection",
        "where k.fingerprint is not null and k.rejection is not null",
        (UNKNOWN + "test_a_key_that_another_writer_answered_meanwhile_keeps_that_answer",),
    ),
    Removal(
        "ghost-not-waited-for",
        "Whether a batch is there is asked under the row lock, when no statement of its own can commit any more.",
        WRITER,
        "await store.lock_ledger(connection, self.ledger.no)\n                    if not",
        "if not",
        (UNKNOWN + "test_a_statement_that_runs_still_is_waited_for",),
    ),
    Removal(
        "answered-before-commit",
        "Nobody is answered before the batch is committed.",
        WRITER,
        "    def _launch(self, prepared: Prepared[QueuedWish]) -> tuple[Prepared[QueuedWish], asyncio.Task[bool]]:\n",
        "    def _launch(self, prepared: Prepared[QueuedWish]) -> tuple[Prepared[QueuedWish], asyncio.Task[bool]]:\n"
        "        self._answer(prepared)\n",
        (BATCHES + "test_an_answer_is_told_after_its_commit_and_not_before",),
    ),
    Removal(
        "queue-without-end",
        "A ledger's queue has an end, and who comes after it is told at once.",
        WRITER,
        "if len(self._waiting) >= self._limits.queue_requests:",
        "if len(self._waiting) < 0:",
        (BATCHES + "test_a_full_queue_says_so_at_once",),
    ),
    Removal(
        "waiters-left-behind",
        "Who waits for a writer that ends is told to come again.",
        WRITER,
        "for wish in [*self._in_hand, *self._waiting]:\n",
        "for wish in self._in_hand[:0]:\n",
        (RACES + "test_nobody_waits_for_a_writer_that_ended",),
    ),
    Removal(
        "key-without-fingerprint",
        "A key that was used for something else is refused, not answered with that.",
        DOMAIN,
        "if known.fingerprint == stamp.fingerprint:",
        "if known.fingerprint:",
        (RULES + "test_every_attempt_gets_its_verdict[keys]",),
    ),
    Removal(
        "entry-not-balanced",
        "Debits are credits in every currency.",
        DOMAIN,
        "return _not_balanced(entry_lines, sums) if any(sums.values()) else None",
        "return None",
        (RULES + "test_every_attempt_gets_its_verdict[balance]",),
    ),
    Removal(
        "overdraft-allowed",
        "An account without overdraft never goes below zero.",
        DOMAIN,
        "unbalanced or _too_far_away(effective_on, stamp.today) or _short_of_funds(moved, entry_lines)",
        "unbalanced or _too_far_away(effective_on, stamp.today)",
        (RULES + "test_every_attempt_gets_its_verdict[overdraft]", RACES + "test_what_is_there_is_spent_once"),
    ),
    Removal(
        "reversed-twice",
        "An entry is reversed once.",
        DOMAIN,
        "if target.known.reversed_by is not None:",
        "if target is None:",
        (RULES + "test_every_attempt_gets_its_verdict[reversals]",),
    ),
]
