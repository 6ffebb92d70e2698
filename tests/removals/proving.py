"""The guards of proofs, and of who speaks for a stack's folder."""

from tests.removals.removal import Removal

TAMPERING = "tests/ledger/test_tampering.py::"
FOLDER = "tests/devstack/test_folder.py::"

PROVING = [
    Removal(
        "rows-twice-count-once",
        "A key that is there twice is a difference.",
        "services/ledger/verify_rows.py",
        "    if key in stored:\n",
        "    if False:\n",
        (
            f"{TAMPERING}test_every_row_that_is_there_twice_is_found[balances]",
            f"{TAMPERING}test_a_row_too_many_is_found_wherever_it_lies[accounts]",
        ),
    ),
    Removal(
        "ledgers-twice-unseen",
        "A ledger is there once.",
        "services/ledger/proof_store.py",
        "from ledgers group by no having count(*) > 1",
        "from ledgers group by no having false",
        (f"{TAMPERING}test_every_row_that_is_there_twice_is_found[ledgers]",),
    ),
    Removal(
        "organizations-twice-unseen",
        "An organization is there once.",
        "services/ledger/proof_store.py",
        "from organizations group by id having count(*) > 1",
        "from organizations group by id having false",
        (f"{TAMPERING}test_every_row_that_is_there_twice_is_found[organizations]",),
    ),
    Removal(
        "the-dead-speak",
        "A status is told of the supervisor that wrote it.",
        "libs/devstack/folder.py",
        'return status if status.get("supervisor", {}).get("pid") == holder else {}',
        "return status",
        (f"{FOLDER}test_what_a_killed_supervisor_told_is_not_told_of_the_next_one",),
    ),
    Removal(
        "asking-keeps-others-out",
        "Whoever only asks who holds a folder is waited for.",
        "libs/devstack/folder.py",
        "_TRIES, _TRY_EVERY_S = 20, 0.01",
        "_TRIES, _TRY_EVERY_S = 1, 0.01",
        (f"{FOLDER}test_whoever_asks_who_holds_a_folder_keeps_nobody_from_holding_it",),
    ),
]
