"""The rules of opening accounts: types, sides, parents, currencies, and the position pairs the ledger opens itself."""

from uuid import UUID, uuid5

import orjson

from libs.common.errors import Fault, Rejection
from libs.common.journal import METADATA_BYTES_MAX, NORMAL_SIDE, AccountRequest, Overdraft, position_codes
from libs.common.money import to_minor
from services.ledger.account_records import AccountOpened
from services.ledger.rejections import reject
from services.ledger.state import Account, AccountSheet, LedgerState, Parent

PAIR_PREFIXES = ("FX-POSITION-", "FX-EQUIVALENT-")


def pair_currency(code: str) -> str | None:
    """The currency whose position pair has an account of this code; None for any other code."""
    for prefix in PAIR_PREFIXES:
        if code.startswith(prefix):
            return code.removeprefix(prefix)
    return None


def shape_faults(request: AccountRequest) -> list[Fault]:
    """What is wrong with the request's own shape, whatever the ledger holds; answered as malformed."""
    faults = []
    if request.code.startswith(PAIR_PREFIXES):
        faults.append(Fault("/code", "is a position account's: the ledger opens those itself on first need"))
    if request.summary and request.currency is not None:
        faults.append(Fault("/currency", "a summary account has no currency: its children have theirs"))
    if not request.summary and request.currency is None:
        faults.append(Fault("/currency", "is required: an account is kept in one currency"))
    if request.summary and request.control_owner is not None:
        faults.append(Fault("/control_owner", "a summary account takes no lines, so it has no owner"))
    if request.overdraft.policy == "limit" and request.overdraft.limit is None:
        faults.append(Fault("/overdraft/limit", "is required by the policy limit"))
    if request.overdraft.policy != "limit" and request.overdraft.limit not in (None, "0", "0.00"):
        faults.append(Fault("/overdraft/limit", "belongs to the policy limit alone"))
    if request.cash_flow_class is not None and request.cash:
        faults.append(Fault("/cash_flow_class", "classes what cash is exchanged for; a cash account has none"))
    return faults


def open_account(state: LedgerState, request: AccountRequest, new_id: UUID) -> AccountOpened | Rejection:
    """An account under a code that is free, in a currency that is known, below an open parent of its type."""
    if len(orjson.dumps(request.metadata)) > METADATA_BYTES_MAX:
        return reject("metadata-too-large", errors=[Fault("/metadata", "is too large")])
    currency = state.currency(request.currency) if request.currency is not None else None
    exponent = currency.exponent if currency is not None else 0
    limit = _limit(request.overdraft, exponent)
    currency_unknown = request.currency is not None and currency is None
    if isinstance(limit, str) and (limit == "amount-not-positive" or not currency_unknown):
        return reject(limit, errors=[Fault("/overdraft/limit", limit)], amount=request.overdraft.limit)
    refused = _place(state, request)
    if refused is not None:
        return refused
    assert not isinstance(limit, str), "an unknown currency is refused with its place"
    account = Account(
        no=state.next_account_no,
        id=new_id,
        code=request.code,
        type=request.type,
        normal_side=request.normal_side or NORMAL_SIDE[request.type],
        currency=request.currency,
        exponent=exponent,
        summary=request.summary,
        control_owner=request.control_owner,
        overdraft_policy=request.overdraft.policy,
        overdraft_limit=limit,
    )
    sheet = AccountSheet(
        name=request.name,
        heading=request.heading,
        parent=Parent(state.accounts[request.parent].no, request.parent) if request.parent is not None else None,
        reconcilable=request.reconcilable,
        cash=request.cash,
        cash_flow_class=request.cash_flow_class,
        monetary=request.monetary,
        translation=request.translation,
        external_id=request.external_id,
        metadata=request.metadata,
    )
    return AccountOpened(account, sheet)


def _place(state: LedgerState, request: AccountRequest) -> Rejection | None:
    """Whether the code is free, the currency known, and the parent there, of one type with it and open."""
    taken = state.accounts.get(request.code)
    if taken is not None:
        return reject(
            "account-code-taken", errors=[Fault("/code", "is taken")], account=request.code, account_id=str(taken.id)
        )
    if request.currency is not None and state.currency(request.currency) is None:
        return reject("unknown-currency", errors=[Fault("/currency", "is not known")], currency=request.currency)
    if request.parent is None:
        return None
    parent = state.accounts.get(request.parent)
    if parent is None:
        return reject("unknown-parent", errors=[Fault("/parent", "is not known")], parent=request.parent)
    if parent.type != request.type:
        return reject(
            "parent-type-differs",
            errors=[Fault("/type", f"is {request.type}, the parent is {parent.type}")],
            parent=request.parent,
        )
    if parent.closed:
        return reject("parent-is-closed", errors=[Fault("/parent", "is closed")], parent=request.parent)
    return None


def _limit(overdraft: Overdraft, exponent: int) -> int | str:
    if overdraft.policy != "limit" or overdraft.limit is None or not overdraft.limit.strip("0."):
        return 0
    return to_minor(overdraft.limit, exponent)


def position_pair(state: LedgerState, currency_code: str, offset: int) -> list[AccountOpened] | None:
    """The two accounts through which entries cross between a foreign currency and the functional one.

    `offset` is how many accounts the same request opens before them. None where the code names no foreign currency.
    """
    functional = state.ledger.functional_currency
    currency = state.currency(currency_code)
    if currency is None or currency == functional:
        return None
    pair = []
    kept_in = zip(position_codes(currency_code), (currency, functional), ("Position in", "Equivalent of"), strict=True)
    for place, (code, unit, words) in enumerate(kept_in):
        account = Account(
            no=state.next_account_no + offset + place,
            id=uuid5(state.ledger.id, code),
            code=code,
            type="equity",
            normal_side="credit",
            currency=unit.code,
            exponent=unit.exponent,
            summary=False,
            control_owner=None,
            overdraft_policy="unlimited",
            overdraft_limit=0,
        )
        pair.append(AccountOpened(account, AccountSheet(name=f"{words} {currency_code}")))
    return pair
