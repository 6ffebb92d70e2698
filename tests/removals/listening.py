"""The guards of what invoicing hears and says: payment events, parked messages, the books, webhooks, the tie-out."""

from tests.removals.removal import Removal

PAYMENTS, PARKING = "services/invoicing/payments_consumer.py", "services/invoicing/parking.py"
FACTS, TIE_OUT = "services/invoicing/facts_consumer.py", "services/invoicing/tie_out.py"
SIGNATURES = "services/invoicing/webhook_signatures.py"
ADDRESSES, DELIVERING = "services/invoicing/webhook_addresses.py", "services/invoicing/delivering.py"
MIGRATION = "services/invoicing/migrations/0002_events_in.sql"

TAKEN = "tests/invoicing/test_payments_consumer.py::"
WAITS, EVENTS = "tests/invoicing/test_parked.py::", "tests/invoicing/test_payment_events.py::"
HEARD, TIED = "tests/invoicing/test_facts_consumer.py::", "tests/invoicing/test_tie_out.py::"
SIGNED, HOOKS = "tests/invoicing/test_webhook_signatures.py::", "tests/invoicing/test_webhooks_in.py::"
REACHED, SENT = "tests/invoicing/test_webhook_addresses.py::", "tests/invoicing/test_webhooks_out.py::"

LISTENING = [
    Removal(
        "payments-fence",
        "A batch of payment events moves the position it was read from, or has no effect.",
        PAYMENTS,
        "                await advance_all(connection, batches)\n",
        "",
        (TAKEN + "test_a_batch_whose_fence_was_lost_has_no_effect",),
    ),
    Removal(
        "payment-key",
        "An event under another document's key is set aside: its order is lost.",
        PAYMENTS,
        "    if record.key != expected:\n",
        "    if record.key is expected:\n",
        (TAKEN + "test_what_cannot_be_read_is_poison",),
    ),
    Removal(
        "queued-behind",
        "While a message waits, later ones of its document queue behind it.",
        PARKING,
        "            if reason is None or reason in each.unblocks:",
        "            if reason is None or reason:",
        (WAITS + "test_what_waits_holds_back_its_own_document_alone",),
    ),
    Removal(
        "waiting-released",
        "What waits for a payment is taken when the payment comes.",
        PARKING,
        "                if each.document in waiting:\n                    arrived.append(each.document)\n",
        "                if each.document in waiting:\n                    continue\n",
        (EVENTS + "test_in_any_order_all_of_it_is_done",),
    ),
    Removal(
        "fix-of-another-document",
        "A fixed message is about the same organization and document.",
        PARKING,
        '    if (event.organization, document_of(event)) != (organization, row["document"]):',
        '    if event.organization != organization and document_of(event) != row["document"]:',
        (WAITS + "test_a_fix_is_about_the_same_document",),
    ),
    Removal(
        "log-goes-on",
        "A ledger's log goes on where it was heard to, or the consumer stops.",
        FACTS,
        "    if place.sequence == expected.sequence + 1 and fact.previous_hash == expected.hash:",
        "    if place.sequence > expected.sequence:",
        (HEARD + "test_a_log_that_does_not_go_on_stops_the_consumer",),
    ),
    Removal(
        "fact-hash",
        "A fact is what its hash was computed of.",
        FACTS,
        "    if computed != hash_:\n",
        "    if computed == previous:\n",
        (HEARD + "test_an_altered_fact_is_poison",),
    ),
    Removal(
        "heard-again",
        "An account that is mapped late has its earlier lines heard again.",
        FACTS,
        "for each in new if each[:3] in used]",
        "for each in new[:0] if each[:3] in used]",
        (HEARD + "test_an_account_that_is_mapped_late_is_heard_again",),
    ),
    Removal(
        "head-never-falls",
        "How far a log was heard never falls, in the database too.",
        MIGRATION,
        "    if (new.epoch, new.sequence) <= (old.epoch, old.sequence) or new.ledger_id <> old.ledger_id then",
        "    if new.ledger_id <> old.ledger_id then",
        (HEARD + "test_what_was_heard_stays",),
    ),
    Removal(
        "other-hands",
        "What another hand posted on a controlled account is a fault.",
        TIE_OUT,
        "        return self.difference == 0 and not (self.by_others and PARTY_ROLES.intersection(self.roles))",
        "        return self.difference == 0",
        (TIED + "test_another_hand_on_a_controlled_account_is_a_fault_although_the_rest_ties",),
    ),
    Removal(
        "signature-age",
        "A webhook that was signed long ago is refused.",
        SIGNATURES,
        "abs(now_s - int(times[0])) > tolerance_s",
        "abs(now_s - int(times[0])) > 10**12",
        (SIGNED + "test_stripe_is_refused_when_it_is_old", HOOKS + "test_forgeries_leave_no_trace"),
    ),
    Removal(
        "certificate-host",
        "A certificate is fetched from PayPal's own hosts alone.",
        SIGNATURES,
        "        and parts.hostname in PAYPAL_HOSTS\n        and parts.netloc.lower() in PAYPAL_HOSTS\n",
        "",
        (SIGNED + "test_where_a_certificate_may_come_from",),
    ),
    Removal(
        "translated-address",
        "An address behind a translator is judged by what it stands for.",
        ADDRESSES,
        "        if inner is None and any(found in network for network in _TRANSLATED):",
        "        if inner is None and any(found in network for network in _TRANSLATED[:0]):",
        (REACHED + "test_an_address_that_is_not_public",),
    ),
    Removal(
        "resolved-address",
        "A name that stands for a private address is not connected to.",
        DELIVERING,
        '            if not is_public(each["host"]):',
        '            if not each["host"]:',
        (SENT + "test_a_name_that_stands_for_a_private_address_is_refused_when_it_is_connected_to",),
    ),
]
