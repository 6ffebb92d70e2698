"""What a data folder remembers, also one that an older version made, and who holds it."""

import fcntl
import json
import os
from pathlib import Path
from threading import Timer

import pytest

from libs.devstack.databases import ROLES, SERVICES_WITH_DATABASE
from libs.devstack.errors import FolderInUseError
from libs.devstack.folder import StackFolder
from libs.devstack.stack import stack_status


def test_passwords_are_made_once(tmp_path: Path) -> None:
    made = {service: StackFolder(tmp_path).passwords(service) for service in SERVICES_WITH_DATABASE}
    assert all(made[service].keys() == set(ROLES) for service in made)
    assert {service: StackFolder(tmp_path).passwords(service) for service in made} == made
    assert len({password for roles in made.values() for password in roles.values()}) == len(made) * len(ROLES)


def test_a_service_that_is_new_to_the_folder_gets_passwords_and_the_others_keep_theirs(tmp_path: Path) -> None:
    kept = {"ledger": {role: f"old-{role}" for role in ROLES}}
    (tmp_path / "passwords.json").write_text(json.dumps(kept), encoding="utf-8")
    folder = StackFolder(tmp_path)
    assert folder.passwords("invoicing").keys() == set(ROLES)
    assert folder.passwords("ledger") == kept["ledger"]
    assert (tmp_path / "passwords.json").stat().st_mode & 0o777 == 0o600


def test_what_a_killed_supervisor_told_is_not_told_of_the_next_one(tmp_path: Path) -> None:
    """It is left behind as it was, and the next one holds the folder for a while before it tells anything itself."""
    folder = StackFolder(tmp_path)
    gone = {"phase": "ready", "supervisor": {"pid": 2**22 + 1}, "postgres": {"dsn": "old", "pid": 2**22 + 2}}
    with folder.held():
        folder.write_status(gone)
        seen = stack_status(tmp_path)
        assert (seen["running"], seen["phase"]) == (True, "starting")
        assert "postgres" not in seen
        folder.write_status({**gone, "supervisor": {"pid": os.getpid()}})
        assert stack_status(tmp_path)["phase"] == "ready"


def test_whoever_asks_who_holds_a_folder_keeps_nobody_from_holding_it(tmp_path: Path) -> None:
    folder = StackFolder(tmp_path)
    with folder.held():
        assert folder.holder() == os.getpid()
    shared = (tmp_path / "stack.lock").open("r", encoding="ascii")
    fcntl.flock(shared, fcntl.LOCK_SH)
    asker = Timer(0.03, shared.close)
    asker.start()
    with folder.held():
        assert folder.holder() == os.getpid()
    asker.join()


def test_a_folder_is_held_once(tmp_path: Path) -> None:
    folder = StackFolder(tmp_path)
    with folder.held(), pytest.raises(FolderInUseError, match=f"process id {os.getpid()}"), folder.held():
        pass
