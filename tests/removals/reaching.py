"""Guards of money that is told by hand, crosses currencies, or is taken back."""

from tests.removals.removal import Removal

SQL = "services/invoicing/migrations/0010_reaching.sql"
CROSSING, BY_HAND = "tests/invoicing/test_other_currency.py::", "tests/invoicing/test_money_back.py::"
LISTS = "tests/invoicing/test_money_lists.py::"


TAKING_BACK = "tests/invoicing/test_taking_back.py::"


def _back(name: str, guard: str, old: str, new: str, case: str) -> Removal:
    return Removal(name, guard, SQL, old, new, (f"{TAKING_BACK}test_the_database_refuses[{case}]",))


def _row(name: str, guard: str, old: str, new: str, case: str) -> Removal:
    return Removal(name, guard, SQL, old, new, (f"{CROSSING}test_the_database_refuses[{case}]",))


REACHING = [
    _row("sql-stated-rate-whole", "A rate is stated whole.",
         "    add constraint rate_stated_whole check ((stated_base is null) = (stated_counter is null)\n"
         "        and (stated_base is null) = (stated_rate is null)),\n", "", "half a rate"),
    _row("sql-stated-rate-positive", "A rate is greater than zero.", "check (stated_rate > 0)", "check (true)",
         "a rate of nothing"),
    _row("sql-stated-rate-own", "A payment's rate is of its own currency.",
         "check (stated_base <> stated_counter and currency in (stated_base, stated_counter))", "check (true)",
         "a rate of others"),
    _row("sql-stated-rate-fixed", "The rate that was stated stays.",
         "          is distinct from (old.stated_base, old.stated_counter, old.stated_rate))\n",
         "          is distinct from (new.stated_base, new.stated_counter, new.stated_rate))\n", "another rate"),
    _row("sql-paid-positive", "Something was paid.", "check (paid > 0)", "check (true)", "nothing paid"),
    _row("sql-paid-by-a-payment", "Only payments cross currencies.", "check (paid is null or source = 'payment')",
         "check (true)", "credit that crosses"),
    _row("sql-paid-currency", "Where the currencies differ, what was paid is said.",
         "(a.paid is null) <> (p.currency = i.currency)", "false", "an allocation that does not say what was paid"),
    _row("sql-undone-paid", "An undoing is of what was paid.",
         "'(a.source, a.source_id, a.invoice, a.amount, a.paid)'",
         "'(a.source, a.source_id, a.invoice, a.amount, u.paid)'",
         "another amount taken back"),
    Removal(
        "crossing-amounts-fit",
        "What was paid and what it settles fit the rate.",
        "services/invoicing/placing.py",
        "    return (wanted.amount, paid) if unfit is None else unfit\n",
        "    return wanted.amount, paid\n",
        (CROSSING + "test_what_does_not_fit_is_refused_with_its_numbers[amounts that do not fit]",),
    ),
    Removal(
        "crossing-part-not-nothing",
        "A part of a crossed payment goes back with a part of what it settled.",
        "services/invoicing/refunds.py",
        "    if 0 < settled < whole:\n",
        "    if settled <= whole:\n",
        (CROSSING + "test_too_small_a_part_is_refused",),
    ),
    Removal(
        "money-of-its-ledger",
        "Money settles invoices of its own ledger.",
        "services/invoicing/allocations.py",
        '        if row["ledger"] != ledger:\n',
        "        if False:\n",
        (CROSSING + "test_money_settles_invoices_of_its_own_ledger",),
    ),
    Removal(
        "dispute-ends-once",
        "A dispute that ended does not end in another way.",
        "services/invoicing/disputes.py",
        '    if dispute["status"] != "opened":\n',
        "    if False:\n",
        (BY_HAND + "test_a_lost_dispute_stays_open_and_does_not_end_twice",),
    ),
    Removal(
        "dispute-fee",
        "No more of a dispute's fee is given back than was taken.",
        "services/invoicing/disputes.py",
        '    if end.fee > int(dispute["fee"]):\n',
        "    if False:\n",
        (BY_HAND + "test_a_lost_dispute_stays_open_and_does_not_end_twice",),
    ),
    Removal(
        "one-return-of-a-name",
        "A name is of one return of one payment.",
        "services/invoicing/refunds.py",
        '    if same_kind and known["payment"] == wish.payment and wish.amount in (None, int(known["amount"])):\n',
        "    if True:\n",
        (BY_HAND + "test_a_name_is_of_one_return_and_one_dispute",),
    ),
    Removal(
        "payout-held",
        "A payout that is told twice at once is recorded once.",
        "services/invoicing/money_back_api.py",
        "    await payment_store.hold_payments(connection, [payout.held])\n",
        "",
        (BY_HAND + "test_a_payout_is_recorded_once",),
    ),
    Removal(
        "list-by-organization",
        "A list is asked as the role that sees its organization alone.",
        "services/invoicing/receivable_reads.py",
        'settings={"ledgerbus.organization": organization}',
        'settings={"ledgerbus.organization": "demo"}',
        (LISTS + "test_a_list_is_its_organization_s_alone",),
    ),
    _back("sql-relief-once", "A write-off is relieved or taken back once.",
          "    if new.kind in ('reversal', 'relief') and exists (", "    if false and exists (", "relief twice"),
    _back("sql-part-taken-back-whole", "Relief and recoveries are taken back whole.",
          "    if new.kind in ('relief-taken-back', 'recovery-taken-back') and not exists (",
          "    if false and not exists (", "relief taken back in part"),
    _back("sql-recovered-no-more", "No more comes in than was given up.",
          "    if sums.recovered > sums.given_up then\n", "    if false then\n", "more recovered than given up"),
    _back("sql-part-taken-back-once", "A recovery is taken back once.",
          "    where kind in ('reversal', 'relief-taken-back', 'recovery-taken-back');\n",
          "    where kind in ('reversal', 'relief-taken-back');\n", "a recovery taken back twice"),
    _back("sql-payout-taken-back-once", "A payout is taken back once.",
          "    constraint payout_taken_back unique (organization, payout)\n",
          "    constraint payout_taken_back unique (organization, payout, id)\n", "a payout taken back twice"),
    _back("sql-kept-taken-back-whole", "Kept credit is taken back whole.",
          "    if new.kind = 'taken-back' and not exists (", "    if false and not exists (",
          "kept credit taken back in part"),
    _back("sql-kept-names", "What takes kept credit back names it.",
          "check ((kind = 'taken-back') = (undoes is not null))", "check (true)", "kept credit taken back as nothing"),
    _back("sql-bounced-whole", "A refund comes back whole.",
          "          and r.payment = new.payment and r.currency = new.currency and r.amount = new.amount)\n",
          "          and r.payment = new.payment)\n", "a refund bounced in part"),
    _back("sql-bounced-names", "What comes back names its refund.",
          "check ((kind = 'bounced') = (undoes is not null))", "check (true)", "a refund bounced without a name"),
    _back("sql-bounced-once", "A refund comes back once.",
          "create unique index refund_bounced on refunds (undoes, organization) where undoes is not null;\n", "",
          "a refund bounced twice"),
    _back("sql-promise-bounced-adds-up", "What of a promise is paid falls by what came back alone.",
          "r.id = new.id and (r.paid <> s.paid or r.cancelled <> s.cancelled)", "false",
          "a promise that came back by nothing"),
    Removal(
        "promise-bounced-no-more",
        "No more of a promise comes back than was paid.",
        "services/invoicing/refunds_payable.py",
        "    if wanted <= 0 or wanted > paid:\n",
        "    if wanted <= 0:\n",
        (TAKING_BACK + "test_a_promised_refund_that_bounced_is_left_again",),
    ),
    Removal(
        "relief-repaid",
        "Relief that was repaid stays.",
        "services/invoicing/undoing.py",
        "    if repaid <= left:\n",
        "    if True:\n",
        (TAKING_BACK + "test_a_recovery_is_taken_back_with_the_relief_that_it_repaid",),
    ),
    Removal(
        "recovery-newest-first",
        "Recoveries whose tax was repaid are taken back newest first.",
        "services/invoicing/undoing.py",
        '    if all(each["draft"] is None for each in later):\n',
        "    if True:\n",
        (TAKING_BACK + "test_a_recovery_is_taken_back_with_the_relief_that_it_repaid",),
    ),
    Removal(
        "kept-credit-still-there",
        "Kept credit that was used is not unapplied again.",
        "services/invoicing/undoing.py",
        '    there = min(balance, int(row["to_credit"]))\n',
        "    there = balance\n",
        (TAKING_BACK + "test_kept_credit_that_went_back_is_not_unapplied_again",),
    ),
    Removal(
        "recovered-stays-given-up",
        "A write-off is not reversed beneath what came in for it.",
        "services/invoicing/write_offs.py",
        "    if recovered > left:\n",
        "    if False:\n",
        (TAKING_BACK + "test_a_write_off_that_was_recovered_is_not_reversed_beneath_it",),
    ),
    Removal(
        "reversal-keeps-its-day",
        "A reversal that is tried again keeps its day.",
        "services/invoicing/posting_requests.py",
        '    return date.fromisoformat(orjson.loads(row["value"])["effective_on"])\n',
        "    return None\n",
        (TAKING_BACK + "test_a_reversal_that_is_tried_again_keeps_its_day",),
    ),
]  # fmt: skip
