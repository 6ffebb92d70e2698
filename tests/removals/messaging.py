"""The guards of what comes from Kafka and goes to it: fences, dead letters, the order of publishing."""

from tests.removals.removal import Removal

INBOX, OUTBOX, CONSUMER = "libs/common/inbox.py", "libs/common/outbox.py", "libs/common/consumer.py"
LETTERS, PUBLISHER = "libs/common/dead_letters.py", "libs/common/publisher.py"
RELAY, REQUESTS = "services/ledger/relay.py", "services/ledger/consumer.py"
FENCE, LEAVING = "tests/common/test_inbox.py::", "tests/common/test_outbox.py::"
READING, FAILING = "tests/common/test_consumer.py::", "tests/common/test_consumer_failures.py::"
RELAYED, RELAY_GUARDS = "tests/ledger/test_relay.py::", "tests/ledger/test_relay_guards.py::"
ASKED, SENT = "tests/ledger/test_consumer.py::", "tests/common/test_publisher.py::"

MESSAGING = [
    Removal(
        "fence-moves-from-anywhere",
        "The position moves only from where the batch was read.",
        INBOX,
        "           and o.next_offset = moved.expected\n",
        "           and moved.expected is not null\n",
        (FENCE + "test_a_fence_that_is_elsewhere_is_lost", FENCE + "test_of_two_consumers_one_has_the_effect"),
    ),
    Removal(
        "lost-fence-is-no-error",
        "A batch whose position has moved has no effect.",
        INBOX,
        "        if (move.topic, move.partition) not in moved:\n",
        "        if (move.topic, move.partition) not in moved and move.expected < 0:\n",
        (
            FENCE + "test_of_several_fences_one_that_is_elsewhere_is_enough",
            FENCE + "test_of_two_consumers_one_has_the_effect",
            FAILING + "test_a_lost_fence_reads_the_position_again",
        ),
    ),
    Removal(
        "position-of-another-cluster",
        "A position of another Kafka cluster stops the reader.",
        INBOX,
        'if row["cluster_id"] != cluster_id:',
        'if not row["cluster_id"]:',
        (
            FENCE + "test_positions_of_another_cluster_stop_the_reader",
            READING + "test_another_clusters_position_stops_it",
        ),
    ),
    Removal(
        "event-seen-again",
        "An event that was seen is not given again.",
        INBOX,
        "        on conflict do nothing\n        returning source, event_id",
        "        on conflict (source, event_id) do update set event_id = excluded.event_id\n"
        "        returning source, event_id",
        (FENCE + "test_an_event_is_seen_once",),
    ),
    Removal(
        "outbox-removed-before-published",
        "A message counts as published when Kafka acknowledged it.",
        OUTBOX,
        "            await self._publish(messages)\n            await remove(connection, [id_ for id_, _ in rows])\n",
        "            await remove(connection, [id_ for id_, _ in rows])\n            await self._publish(messages)\n",
        (
            LEAVING + "test_what_kafka_did_not_acknowledge_stays",
            LEAVING + "test_acknowledged_but_not_removed_is_published_again",
        ),
    ),
    Removal(
        "outbox-two-relays",
        "One process at a time relays an outbox.",
        OUTBOX,
        '"select pg_try_advisory_lock($1)"',
        '"select $1::bigint is not null"',
        (LEAVING + "test_one_relay_at_a_time_and_another_takes_over",),
    ),
    Removal(
        "outbox-oversize",
        "A message that no topic takes is refused when it is put.",
        OUTBOX,
        "if message.value is not None and len(message.value) > VALUE_BYTES_MAX:",
        "if message.value is not None and len(message.value) < 0:",
        (LEAVING + "test_an_oversize_message_is_refused_when_it_is_put",),
    ),
    Removal(
        "dead-letters-in-a-row",
        "So many dead letters in a row stop the consumer.",
        LETTERS,
        "if self._in_a_row > self._limits.consecutive or ",
        "if ",
        (READING + "test_too_many_dead_letters_stop_it_and_skip_nothing[one more in a row]",),
    ),
    Removal(
        "dead-letters-of-the-last",
        "So many dead letters among the last records stop the consumer.",
        LETTERS,
        " or len(self._places) > self._limits.most:",
        ":",
        (READING + "test_too_many_dead_letters_stop_it_and_skip_nothing[one more in the window]",),
    ),
    Removal(
        "dead-letters-never-forgotten",
        "Dead letters of long ago do not count.",
        LETTERS,
        "while self._places and self._places[0] <= self._seen - self._limits.window:",
        "while self._places and self._places[0] < 0:",
        (READING + "test_too_many_dead_letters_stop_it_and_skip_nothing[spread beyond the window]",),
    ),
    Removal(
        "dead-letter-not-written",
        "The batch around an unreadable record waits until that is set aside.",
        CONSUMER,
        "await self._dead_letters.publish([letter for letter, _ in held.dead_letters])",
        "await asyncio.sleep(0)",
        (
            READING + "test_a_dead_letter_is_acknowledged_before_the_batch_commits",
            READING + "test_a_dead_letter_that_cannot_be_written_keeps_the_batch_from_committing",
        ),
    ),
    Removal(
        "position-not-read-again",
        "After a lost fence the position is read again.",
        CONSUMER,
        "            self._assignment.unsought.add(place)\n        else:",
        "        else:",
        (FAILING + "test_a_lost_fence_reads_the_position_again",),
    ),
    Removal(
        "nothing-gathers",
        "Records that follow one another are taken together, not one by one.",
        CONSUMER,
        "                        await self._gather(stopping)\n",
        "                        await asyncio.sleep(0)\n",
        (READING + "test_records_that_follow_one_another_gather",),
    ),
    Removal(
        "reader-decides-where-to-read",
        "A position that Kafka has no record for stops the reader.",
        "libs/common/bus.py",
        '"auto_offset_reset": "none",',
        '"auto_offset_reset": "latest",',
        (READING + "test_a_position_out_of_range_stops_it",),
    ),
    Removal(
        "null-request",
        "A request without a value is set aside.",
        REQUESTS,
        '    if raw is None:\n        raise Poison("value-null", "a request has a value")\n',
        '    raw = raw or b""\n',
        (ASKED + "test_poison_is_set_aside_and_the_consumer_goes_on",),
    ),
    Removal(
        "oversize-request",
        "A request that is too long is set aside.",
        REQUESTS,
        "if len(raw) > REQUEST_BYTES_MAX:",
        "if len(raw) < 0:",
        (ASKED + "test_poison_is_set_aside_and_the_consumer_goes_on",),
    ),
    Removal(
        "record-key-not-compared",
        "A request stands under its ledger's id, so that requests keep their order.",
        REQUESTS,
        "if not faults and record.key != _ledger_id(address[0], address[1])[1]:",
        "if not faults and record.key is None:",
        (ASKED + "test_a_wrong_shape_is_answered_and_leaves_no_trace",),
    ),
    Removal(
        "unknown-request-type",
        "A type that is none of the topic's is set aside.",
        REQUESTS,
        "wanted_type = REQUEST_TYPES.get(event.type)",
        "wanted_type = REQUEST_TYPES.get(event.type, next(iter(REQUEST_TYPES.values())))",
        (ASKED + "test_poison_is_set_aside_and_the_consumer_goes_on",),
    ),
    Removal(
        "answers-of-one-id",
        "An answer that is not remembered has an event id of its own, so that no inbox drops the good one after it.",
        REQUESTS,
        "names += [rejection.code, asked.fingerprint.hex()]",
        "names += []",
        (ASKED + "test_a_wrong_shape_is_answered_and_leaves_no_trace",),
    ),
    Removal(
        "cursor-before-facts",
        "A cursor moves when its facts are acknowledged.",
        RELAY,
        "            await self._chain(round_, records)\n            await self._publish(round_)\n",
        "            await self._chain(round_, records)\n"
        "            await relay_store.move_cursors(connection, round_.begins | round_.ends)\n"
        "            await self._publish(round_)\n",
        (
            RELAY_GUARDS + "test_a_cursor_moves_after_its_facts_are_published",
            RELAY_GUARDS + "test_a_head_goes_out_after_its_facts_and_a_cursor_after_both",
        ),
    ),
    Removal(
        "heads-before-facts",
        "A head goes out when its facts are acknowledged.",
        RELAY,
        "        await self._publisher.publish(round_.facts)\n",
        "        await self._publisher.publish(\n"
        "            [head_moved(self._topics.heads, round_.heads[no], place, round_.recorded_at[no])\n"
        "             for no, place in round_.ends.items()])\n"
        "        await self._publisher.publish(round_.facts)\n",
        (RELAY_GUARDS + "test_a_head_goes_out_after_its_facts_and_a_cursor_after_both",),
    ),
    Removal(
        "heads-not-compared",
        "What Kafka has is compared with the log at the start of every session.",
        RELAY,
        "if place.epoch > head.place.epoch or (place.epoch == head.place.epoch and hash_ != place.hash):",
        "if place.epoch > head.place.epoch:",
        (RELAY_GUARDS + "test_a_quiet_ledger_whose_log_is_another_is_found_at_the_start",),
    ),
    Removal(
        "chain-not-checked",
        "A record goes out only where its hash continues the one before.",
        RELAY,
        "if sequence != place.sequence + 1 or sha256(place.hash + payload).digest() != hash_:",
        "if sequence != place.sequence + 1:",
        (RELAYED + "test_a_log_that_was_changed_is_not_relayed",),
    ),
    Removal(
        "two-relays-of-one-ledger",
        "One relay at a time works on a ledger.",
        "services/ledger/relay_store.py",
        "where pg_try_advisory_lock($2, no)",
        "where $2::integer is not null",
        (RELAY_GUARDS + "test_a_ledger_that_another_relay_works_on_is_left_alone",),
    ),
    Removal(
        "cursor-believed",
        "What Kafka has says where a relay goes on, not the cursor in the database.",
        RELAY,
        "published = self._published.places.get(head.id)\n        if published is None:\n            return Place(",
        "published = head.cursor\n        if published is None:\n            return Place(",
        (RELAYED + "test_a_new_cluster_gets_everything_again",),
    ),
    Removal(
        "producer-kept-after-failure",
        "A producer that failed is thrown away and the next publish makes another.",
        PUBLISHER,
        "            metrics.KAFKA_PUBLISHER_REBUILT.inc()\n            self._producer = None\n",
        "            metrics.KAFKA_PUBLISHER_REBUILT.inc()\n",
        ("tests/common/test_kafka_faults.py::test_a_broken_network_is_transient_and_heals[cut]",),
    ),
    Removal(
        "oversize-message-sent",
        "A message that its topic does not take is refused before anything is sent.",
        PUBLISHER,
        "if message.value is not None and len(message.value) > limit:",
        "if message.value is not None and len(message.value) < 0:",
        (SENT + "test_an_oversize_message_is_refused_before_anything_is_sent",),
    ),
    Removal(
        "small-topic-taken",
        "A topic that does not take our longest message is found at the start.",
        PUBLISHER,
        "if facts[topic].max_message_bytes < least_bytes:",
        "if facts[topic].max_message_bytes < 0:",
        (SENT + "test_start_refuses_a_topic_whose_limit_is_too_small",),
    ),
]
