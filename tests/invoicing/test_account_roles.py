"""Roles become accounts by the mapping, and by nothing else."""

from pathlib import Path

import orjson
import pytest

from libs.common.errors import Rejection
from services.invoicing import account_roles
from services.invoicing.account_roles import CONTROLLED, ROLES, STANDARD, Mapping, Role, books_currency, resolve

MAPPING: Mapping = {
    ("receivable", ""): "AR",
    ("receivable", "EUR"): "AR-EUR",
    ("revenue", ""): "SALES",
    ("revenue", "GBP"): "SALES-GBP",
    ("bank", "USD"): "BANK",
}


@pytest.mark.parametrize(
    ("role", "currency", "account"),
    [
        ("receivable", "USD", "AR"),
        ("receivable", "EUR", "AR-EUR"),
        ("receivable", "GBP", None),
        ("revenue", "EUR", None),
        ("bank", "USD", "BANK"),
        ("bank", "EUR", None),
        ("fees", "USD", None),
    ],
)
def test_resolve(role: Role, currency: str, account: str | None) -> None:
    found = resolve(role, currency, MAPPING, "USD")
    if account is None:
        assert isinstance(found, Rejection)
        assert (found.code, dict(found.facts)) == ("mapping-missing", {"role": role, "currency": currency})
    else:
        assert found == account


@pytest.mark.parametrize(
    ("role", "currency", "goes_in"),
    [
        ("receivable", "GBP", "GBP"),
        ("customer-credit", "EUR", "EUR"),
        ("revenue", "EUR", "USD"),
        ("revenue", "GBP", "GBP"),
        ("deferred-revenue", "GBP", "GBP"),
        ("deferred-revenue", "EUR", "USD"),
        ("tax-due", "EUR", "USD"),
        ("revenue", "USD", "USD"),
    ],
)
def test_what_is_owed_stays_in_its_currency_results_do_not(role: Role, currency: str, goes_in: str) -> None:
    assert books_currency(role, currency, MAPPING, "USD") == goes_in


def test_the_standard_has_one_account_for_each_role() -> None:
    assert [standard.role for standard in STANDARD] == list(ROLES)
    assert {standard.role for standard in STANDARD if standard.control_owner == "invoicing"} == CONTROLLED


def test_the_standard_mapping_names_accounts_that_its_requests_open() -> None:
    mapping = account_roles.standard_mapping("USD", ["USD", "EUR", "KWD"])
    requests = account_roles.standard_accounts("USD", ["USD", "EUR", "KWD"])
    assert {request.code for request in requests} == set(mapping.values())
    assert len(requests) == len(mapping) == len(STANDARD) + 2 * len(account_roles.OWED_IN_ITS_CURRENCY)
    for (role, currency), code in mapping.items():
        (request,) = [request for request in requests if request.code == code]
        assert request.currency == (currency or "USD")
        assert resolve(role, currency or "USD", mapping, "USD") == code


def test_the_standard_is_the_chart_of_a_small_business(repository: Path) -> None:
    """Where a seeded ledger has the account, it is the same one."""
    chart = orjson.loads((repository / "libs/cli/charts/small-business.json").read_bytes())
    seeded = {account["code"]: account for account in chart["accounts"]}
    both = [standard.request("USD", "USD") for standard in STANDARD if standard.code in seeded]
    assert len(both) >= 12
    for request in both:
        account = seeded[request.code]
        for member in ("type", "currency", "control_owner", "cash", "reconcilable", "monetary", "normal_side"):
            default = True if member == "monetary" else None
            asked, stands = getattr(request, member), account.get(member, default)
            assert (asked or None) == (stands or None), (request.code, member)
