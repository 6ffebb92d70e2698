"""What a data folder remembers, also one that an older version made."""

import json
from pathlib import Path

from libs.devstack.databases import ROLES, SERVICES_WITH_DATABASE
from libs.devstack.folder import StackFolder


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
