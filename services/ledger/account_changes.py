"""The rules of changing an account that is open: what it is called, where it stands, and whether it takes lines. Pure.

What is asked is held against what the tables say (`state.described`), under the ledger's row lock: two changes of one
account never pass each other, and `expected_version` says which one the asker looked at.
"""

from dataclasses import replace
from typing import Any

import orjson

from libs.common.account_changes import AccountChangeRequest, AccountPatch, StandingRequest
from libs.common.errors import Fault, Rejection
from libs.common.journal import METADATA_BYTES_MAX
from libs.common.money import to_minor, to_text
from services.ledger.account_records import AccountChanged, AccountStanding
from services.ledger.accounts import PAIR_PREFIXES
from services.ledger.rejections import reject
from services.ledger.state import Account, Described, LedgerState, Parent


def patch_faults(patch: AccountPatch) -> list[Fault]:
    """What is wrong with a patch whatever the ledger holds; answered as malformed."""
    faults = []
    if not patch.keys() - {"expected_version"}:
        faults.append(Fault("", "says nothing that is to change"))
    overdraft = patch.get("overdraft")
    if overdraft is not None and overdraft.policy == "limit" and overdraft.limit is None:
        faults.append(Fault("/overdraft/limit", "is required by the policy limit"))
    if overdraft is not None and overdraft.policy != "limit" and overdraft.limit not in (None, "0", "0.00"):
        faults.append(Fault("/overdraft/limit", "belongs to the policy limit alone"))
    return faults


def change_account(state: LedgerState, request: AccountChangeRequest) -> AccountChanged | Rejection:
    """The account as the patch makes it."""
    patch, faults = request.patch, list[Fault]()
    metadata = patch.get("metadata")
    if metadata is not None and len(orjson.dumps(metadata)) > METADATA_BYTES_MAX:
        return reject("metadata-too-large", errors=[Fault("/metadata", "is too large")])
    found = _found(state, request.code)
    if isinstance(found, Rejection):
        return found
    account, described = found
    standing = _overdraft(account, patch)
    if isinstance(standing, Rejection):
        return standing
    refused = _moved_on(account, described, patch.get("expected_version"))
    if refused is not None:
        return refused
    changes: dict[str, Any] = {
        name: value for name, value in patch.items() if name not in ("expected_version", "overdraft", "parent")
    }
    if "parent" in patch:
        parent = _parent(state, account, patch["parent"], described)
        if isinstance(parent, Rejection):
            return parent
        changes["parent"] = parent
    if account.code.startswith(PAIR_PREFIXES):
        return reject("account-is-position", account=account.code)
    sheet = replace(described.sheet, **changes)
    if sheet.cash and sheet.cash_flow_class is not None:
        faults.append(Fault("/cash_flow_class", "classes what cash is exchanged for; a cash account has none"))
        return Rejection("malformed", "A cash account has no cash-flow class.", {}, faults)
    return AccountChanged(
        account=account, sheet=sheet, standing=standing, change="changed", reason=None, version=described.version
    )


def change_standing(state: LedgerState, request: StandingRequest) -> AccountChanged | Rejection:
    """The account frozen, unfrozen or closed; a closed one stays as it is."""
    found = _found(state, request.code)
    if isinstance(found, Rejection):
        return found
    account, described = found
    if account.closed:
        return reject("account-closed", account=account.code)
    refused = _moved_on(account, described, request.expected_version)
    if refused is not None:
        return refused
    if account.code.startswith(PAIR_PREFIXES):
        return reject("account-is-position", account=account.code)
    if request.change == "closed" and (refused := _not_empty(account, described)):
        return refused
    standing = AccountStanding(
        overdraft_policy=account.overdraft_policy,
        overdraft_limit=account.overdraft_limit,
        frozen=request.direction if request.change == "frozen" else None,
        closed=request.change == "closed",
    )
    return AccountChanged(
        account=account,
        sheet=described.sheet,
        standing=standing,
        change=request.change,
        reason=request.reason,
        version=described.version,
    )


def _found(state: LedgerState, code: str) -> tuple[Account, Described] | Rejection:
    account, described = state.accounts.get(code), state.described.get(code)
    if account is None or described is None:
        return reject("unknown-account", account=code)
    return account, described


def _moved_on(account: Account, described: Described, expected_version: int | None) -> Rejection | None:
    """Whether the account is not what the asker looked at."""
    if expected_version is None or expected_version == described.version:
        return None
    return reject(
        "version-conflict",
        f"{account.code} is at version {described.version}, not {expected_version}.",
        [Fault("/expected_version", f"is {described.version} now")],
        account=account.code,
        version=described.version,
        expected=expected_version,
    )


def _overdraft(account: Account, patch: AccountPatch) -> AccountStanding | Rejection:
    policy, limit = account.overdraft_policy, account.overdraft_limit
    overdraft = patch.get("overdraft")
    if overdraft is not None:
        policy, limit = overdraft.policy, 0
        if overdraft.limit is not None and overdraft.limit.strip("0."):
            minor = to_minor(overdraft.limit, account.exponent)
            if isinstance(minor, str):
                return reject(minor, errors=[Fault("/overdraft/limit", minor)], amount=overdraft.limit)
            limit = minor
    return AccountStanding(policy, limit, account.frozen, account.closed)


def _parent(state: LedgerState, account: Account, code: str | None, described: Described) -> Parent | Rejection | None:
    """The parent that is wanted: of the account's type, open unless it is the parent already, and not below it."""
    if code is None:
        return None
    parent = state.accounts.get(code)
    if parent is None:
        return reject("unknown-parent", errors=[Fault("/parent", "is not known")], parent=code)
    if parent.type != account.type:
        return reject(
            "parent-type-differs",
            errors=[Fault("/parent", f"is {parent.type}, the account is {account.type}")],
            parent=code,
        )
    stands_at = described.sheet.parent
    if parent.closed and (stands_at is None or stands_at.code != code):
        return reject("parent-is-closed", errors=[Fault("/parent", "is closed")], parent=code)
    if account.code in described.above:
        return reject(
            "parent-is-below", errors=[Fault("/parent", f"is {account.code} itself or stands below it")], parent=code
        )
    return Parent(parent.no, code)


def _not_empty(account: Account, described: Described) -> Rejection | None:
    if account.posted or account.pending_debits or account.pending_credits:
        return reject(
            "account-not-empty",
            account=account.code,
            currency=account.currency,
            posted=to_text(account.posted, account.exponent),
            pending_debits=to_text(account.pending_debits, account.exponent),
            pending_credits=to_text(account.pending_credits, account.exponent),
        )
    if described.open_children:
        return reject("account-not-empty", account=account.code, open_children=described.open_children[:20])
    return None
