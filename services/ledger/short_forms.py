"""The short paths' words: bodies as other ledgers write them in, requests in our own vocabulary out.

    account_request(form, ...), wallet_request(form, ...)            -> AccountRequest
    journal_request(form), transaction_request(form)                 -> EntryRequest
    transfer_request(form), wallet_transfer_request(form)            -> TransferRequest

Forms are typed dicts, checked at the edge before they come here; faults say what a form's own members do not agree on.
An account is named by code or id in every form: `accounts_named` lists the names, so that the edge can look the ids up
and `by_code` put codes in their place. `own_faults` puts pointers, which speak of our requests, into the form's words.
What is answered is in short_words.py.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from libs.common.errors import Fault
from libs.common.journal import (
    AccountRequest,
    AccountType,
    AmountText,
    CodeText,
    CurrencyText,
    EntryRequest,
    Heading,
    LineRequest,
    LongText,
    Metadata,
    Overdraft,
    Pattern,
    ShortText,
    Side,
    TransferRequest,
)

BalanceType = Literal["dr", "cr"]
KeyText = Annotated[str, Pattern(r"^[!-~]{1,200}$")]
NameText = Annotated[str, Len(1, 128)]
HeadingNumber = Annotated[int, Ge(0), Le(10**9)]

SIDE_OF: Final[Mapping[BalanceType, Side]] = {"dr": "debit", "cr": "credit"}


class HeadingForm(TypedDict):
    """The group of an account in reports: its name, its place, and what accounts below it are."""

    heading: ShortText
    number: HeadingNumber
    heading_type: NotRequired[AccountType | None]
    balance_type: NotRequired[BalanceType | None]


class AccountForm(TypedDict):
    """An account in the words of several ledgers. Without a code it gets one; without a currency, the ledger's own."""

    name: ShortText
    code: NotRequired[CodeText | None]
    number: NotRequired[CodeText | None]
    account_type: NotRequired[AccountType | None]
    type: NotRequired[AccountType | None]
    currency: NotRequired[CurrencyText | None]
    ccy: NotRequired[CurrencyText | None]
    heading: NotRequired[HeadingForm | None]
    balance_type: NotRequired[BalanceType | None]
    parent: NotRequired[NameText | None]
    is_control_account: NotRequired[bool | None]
    is_reconcilable: NotRequired[bool | None]
    metadata: NotRequired[Metadata | None]
    client_ref: NotRequired[KeyText | None]
    idempotency_key: NotRequired[KeyText | None]


class WalletForm(TypedDict):
    """An account that the platform owes to somebody: `user` may not fall below zero, `internal` may."""

    currency: CurrencyText
    type: Literal["user", "internal"]
    metadata: NotRequired[Metadata | None]
    client_ref: NotRequired[KeyText | None]
    idempotency_key: NotRequired[KeyText | None]


class JournalLineForm(TypedDict):
    """A line with its side as a yes or no."""

    account_code: NameText
    amount: AmountText
    is_debit: bool
    currency: NotRequired[CurrencyText | None]


class JournalForm(TypedDict):
    """A journal entry by account codes."""

    description: LongText
    lines: list[JournalLineForm]
    client_ref: NotRequired[KeyText | None]
    idempotency_key: NotRequired[KeyText | None]


class TransactionEntryForm(TypedDict):
    """A line by the account's id."""

    account_id: NameText
    direction: Side
    amount: AmountText


class TransactionForm(TypedDict):
    """A journal entry in one currency, by account ids, with a reference that no other entry has."""

    entries: list[TransactionEntryForm]
    currency: CurrencyText
    reference: NotRequired[ShortText | None]
    description: NotRequired[LongText | None]
    metadata: NotRequired[Metadata | None]
    client_ref: NotRequired[KeyText | None]
    idempotency_key: NotRequired[KeyText | None]


class WalletTransferForm(TypedDict):
    """Money from one account to another, by id."""

    source_account_id: NameText
    destination_account_id: NameText
    amount: AmountText
    currency: NotRequired[CurrencyText | None]
    metadata: NotRequired[Metadata | None]
    client_ref: NotRequired[KeyText | None]
    idempotency_key: NotRequired[KeyText | None]


TransferForm = TypedDict(
    "TransferForm",
    {
        "from": NameText,
        "to": NameText,
        "amount": AmountText,
        "ccy": NotRequired[CurrencyText | None],
        "currency": NotRequired[CurrencyText | None],
        "description": NotRequired[LongText | None],
        "reference": NotRequired[ShortText | None],
        "client_ref": NotRequired[KeyText | None],
        "idempotency_key": NotRequired[KeyText | None],
    },
)
"""Money from one account to another, by code or id."""

Form = Mapping[str, Any]


class OneOf(NamedTuple):
    """A member that goes by several names: which one was used, what it says, and whether they say different things."""

    name: str
    value: Any
    faults: list[Fault]


def one_of(form: Form, *names: str) -> OneOf:
    """The value under the first of the names that has one; all that have one must say the same."""
    given = [name for name in names if form.get(name) is not None]
    if not given:
        return OneOf(names[0], None, [])
    first = given[0]
    faults = [
        Fault(f"/{name}", f"says something else than {first}; give one of them")
        for name in given[1:]
        if form[name] != form[first]
    ]
    return OneOf(first, form[first], faults)


def key_in(form: Form, header: str | None) -> tuple[str | None, list[Fault]]:
    """The idempotency key: the header's, else the body's. Two that differ are a fault: nobody knows which is meant."""
    key = one_of(form, "idempotency_key", "client_ref")
    faults = key.faults
    if header is not None and key.value is not None and key.value != header:
        faults = [*faults, Fault(f"/{key.name}", "differs from the Idempotency-Key header; give one of them")]
    return header or key.value, faults


class Opening(NamedTuple):
    """An account to be opened, the names its form used for our words, and what the form does not agree on."""

    request: AccountRequest
    words: Mapping[str, str]
    faults: list[Fault]


def account_request(form: Form, *, code: str, currency: str, type_: AccountType | None = None) -> Opening:
    """An account from its form. `code` and `currency` are for a form without; `type_` None makes a type required."""
    heading: Form = form.get("heading") or {}
    summary = bool(form.get("is_control_account"))
    chosen_code, chosen_currency = one_of(form, "code", "number"), one_of(form, "currency", "ccy")
    chosen_type = one_of(form, "account_type", "type")
    faults = [*chosen_code.faults, *chosen_currency.faults, *chosen_type.faults]
    kind = chosen_type.value or heading.get("heading_type") or type_
    if kind is None:
        faults.append(Fault("/account_type", "is missing"))
    elif heading.get("heading_type") not in (None, kind):
        faults.append(Fault("/heading/heading_type", f"is {heading['heading_type']}, the account is {kind}"))
    balance_type = form.get("balance_type") or heading.get("balance_type")
    if heading.get("balance_type") not in (None, balance_type):
        faults.append(Fault("/heading/balance_type", "says something else than balance_type; give one of them"))
    request = AccountRequest(
        code=chosen_code.value or code,
        name=form["name"],
        type=kind or "asset",
        currency=chosen_currency.value or (None if summary else currency),
        normal_side=SIDE_OF[balance_type] if balance_type else None,
        heading=Heading(number=heading["number"], name=heading["heading"]) if heading else None,
        parent=form.get("parent"),
        summary=summary,
        reconcilable=bool(form.get("is_reconcilable")),
        metadata=form.get("metadata") or {},
    )
    words = {
        "code": chosen_code.name,
        "currency": chosen_currency.name,
        "type": chosen_type.name if chosen_type.value or not heading.get("heading_type") else "heading/heading_type",
        "normal_side": "balance_type",
        "summary": "is_control_account",
        "reconcilable": "is_reconcilable",
    }
    return Opening(request, words, faults)


def wallet_request(form: Form, *, code: str) -> AccountRequest:
    """A liability account; its name is the metadata's where that has a usable one, else its code."""
    metadata = form.get("metadata") or {}
    name = metadata.get("name")
    return AccountRequest(
        code=code,
        name=name if isinstance(name, str) and 1 <= len(name) <= 200 else code,
        type="liability",
        currency=form["currency"],
        overdraft=Overdraft(policy="none" if form["type"] == "user" else "unlimited"),
        metadata=metadata,
    )


def journal_request(form: Form) -> EntryRequest:
    """An entry from lines that say `is_debit`."""
    lines = [
        LineRequest(
            line["account_code"], "debit" if line["is_debit"] else "credit", line["amount"], line.get("currency")
        )
        for line in form["lines"]
    ]
    return EntryRequest(lines=lines, description=form["description"])


def transaction_request(form: Form) -> EntryRequest:
    """An entry from entries that say `direction`, all in the form's currency; the reference is its external id."""
    return EntryRequest(
        lines=[
            LineRequest(entry["account_id"], entry["direction"], entry["amount"], form["currency"])
            for entry in form["entries"]
        ],
        description=form.get("description") or "",
        external_id=form.get("reference"),
        metadata=form.get("metadata") or {},
    )


def wallet_transfer_request(form: Form) -> TransferRequest:
    """A transfer by ids; its description is the metadata's where that has a usable one."""
    metadata = form.get("metadata") or {}
    description = metadata.get("description")
    return TransferRequest(
        source=form["source_account_id"],
        target=form["destination_account_id"],
        amount=form["amount"],
        currency=form.get("currency"),
        description=description if isinstance(description, str) and len(description) <= 2_000 else "",
        metadata=metadata,
    )


def transfer_request(form: Form) -> TransferRequest:
    """A transfer by codes or ids; the reference is its external id."""
    return TransferRequest(
        source=form["from"],
        target=form["to"],
        amount=form["amount"],
        currency=one_of(form, "ccy", "currency").value,
        description=form.get("description") or "",
        external_id=form.get("reference"),
    )


def accounts_named(request: Any) -> list[str]:
    """The accounts a request names, by code or id."""
    if isinstance(request, AccountRequest):
        return [request.parent] if request.parent is not None else []
    if isinstance(request, TransferRequest):
        return [request.source, request.target]
    assert isinstance(request, EntryRequest)
    return list(dict.fromkeys(line.account for line in request.lines))


def by_code(request: Any, codes: Mapping[str, str]) -> None:
    """Puts codes in the place of ids; what is no known id stays as it is, and the rules say what they think of it."""
    if isinstance(request, AccountRequest):
        request.parent = codes.get(request.parent or "", request.parent)
    elif isinstance(request, TransferRequest):
        request.source = codes.get(request.source, request.source)
        request.target = codes.get(request.target, request.target)
    else:
        assert isinstance(request, EntryRequest)
        for line in request.lines:
            line.account = codes.get(line.account, line.account)


JOURNAL_WORDS: Final = {"account": "account_code", "side": "is_debit"}
TRANSACTION_WORDS: Final = {
    "lines": "entries", "account": "account_id", "side": "direction", "external_id": "reference",
}  # fmt: skip
WALLET_WORDS: Final = {"overdraft": "type", "name": "metadata/name"}
WALLET_TRANSFER_WORDS: Final = {"from": "source_account_id", "to": "destination_account_id"}
TRANSFER_WORDS: Final = {"external_id": "reference"}


def own_faults(faults: Iterable[Fault], form: Form, words: Mapping[str, str]) -> list[Fault]:
    """The faults with pointers into the form that was sent, each once. `words`: our member -> the form's."""
    return list(dict.fromkeys(Fault(_own(fault.pointer, form, words), fault.detail) for fault in faults))


def _own(pointer: str, form: Form, words: Mapping[str, str]) -> str:
    steps = [words.get(step, step) for step in pointer.split("/")]
    if len(steps) == 4 and steps[3] == "currency" and steps[1] == "entries":
        return "/currency"
    if steps[-1] == "currency" and len(steps) == 2 and "currency" not in form and form.get("ccy") is not None:
        return "/ccy"
    return "/".join(steps)
