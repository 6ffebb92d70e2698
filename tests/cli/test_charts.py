"""The charts that come with the product are valid and hold what they promise."""

from pathlib import Path

import pytest

from libs.cli import charts
from libs.cli.exits import Ended, Exit
from libs.common.journal import AccountRequest
from services.invoicing.account_roles import ROLES, standard_accounts, standard_mapping


@pytest.mark.parametrize("name", charts.names())
def test_chart_is_valid_and_says_what_it_is(name: str) -> None:
    chart = charts.read(name)
    assert chart.name == name
    assert chart.description
    assert all(charts.account_json(account)["code"] == account.code for account in chart.accounts)


def test_starter_is_the_promised_chart() -> None:
    rows = [
        (account.code, account.type, account.currency, account.reconcilable, account.cash)
        for account in charts.read("starter").accounts
    ]
    assert rows == [
        ("1000-AR", "asset", "USD", False, False),
        ("1010-CASH", "asset", "USD", True, True),
        ("2000-AP", "liability", "USD", False, False),
        ("3000-EQUITY", "equity", "USD", False, False),
        ("4000-REVENUE", "income", "USD", False, False),
        ("5000-EXPENSE", "expense", "USD", False, False),
    ]


def test_demo_adds_the_wallets() -> None:
    accounts = {account.code: account for account in charts.read("demo").accounts}
    assert len(accounts) == 9
    policies = {code: account.overdraft.policy for code, account in accounts.items() if account.type == "liability"}
    assert policies == {"2000-AP": "unlimited", "2000-FLOAT": "unlimited", "2001-ALICE": "none", "2002-BOB": "none"}


def test_of_two_charts_that_map_a_role_the_later_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "shop.json"
    path.write_text('{"description": "x", "includes": ["starter"], "mapping": {"bank": "1000-AR"}, "accounts": []}')
    assert charts.read("demo").mapping == charts.read("starter").mapping
    assert charts.read(str(path)).mapping == {**charts.read("starter").mapping, "bank": "1000-AR"}


def test_the_receivables_are_invoicing_s_standard_accounts() -> None:
    chart = charts.read("receivables")
    assert sorted(chart.accounts, key=by_code) == sorted(standard_accounts("USD"), key=by_code)
    assert {(role, ""): code for role, code in chart.mapping.items()} == standard_mapping("USD")


def by_code(account: AccountRequest) -> str:
    return account.code


@pytest.mark.parametrize("name", charts.names())
def test_a_mapping_names_roles_that_there_are(name: str) -> None:
    mapping = charts.read(name).mapping
    assert mapping.keys() <= set(ROLES)
    assert {"receivable", "revenue", "bank"} <= mapping.keys()


@pytest.mark.parametrize("name", ["small-business", "marketplace"])
def test_a_larger_chart_is_fit_for_every_report(name: str) -> None:
    accounts = {account.code: account for account in charts.read(name).accounts}
    numbers: dict[int, str] = {}
    for account in accounts.values():
        assert account.heading is not None, f"{account.code} has no place in reports"
        assert numbers.setdefault(account.heading.number, account.heading.name) == account.heading.name
        assert account.cash or account.summary or account.cash_flow_class, f"{account.code} is in no cash flow"
        assert account.summary == (account.currency is None)
        if account.parent is not None:
            parent = accounts[account.parent]
            assert (parent.summary, parent.type) == (True, account.type)
    assert {account.type for account in accounts.values()} == {"asset", "liability", "equity", "income", "expense"}
    assert [code for code in accounts if code.endswith("-AR")]
    owners = {account.control_owner for account in accounts.values()}
    assert owners == {None, "invoicing"}, "what no service owns could never be posted to"


def test_own_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "shop.json"
    path.write_text('{"description": "x", "accounts": [{"code": "1", "name": "Till", "type": "asset"}]}')
    chart = charts.read(str(path))
    assert [account.code for account in chart.accounts] == ["1"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            None,
            "There is no chart .*; there are demo, marketplace, receivables, small-business, starter, or name a file",
        ),
        ("{", "cannot be read"),
        ('{"description": "x", "accounts": [{"code": "1", "name": "Till", "type": "till"}]}', "cannot be read"),
        ('{"description": "x", "accounts": [], "headings": []}', "cannot be read"),
        ('{"description": "x", "includes": ["starter", "starter"], "accounts": []}', "names .*1000-AR.* twice"),
        ('{"description": "x", "accounts": [], "mapping": {"bank": "1010-TILL"}}', "maps 1010-TILL"),
    ],
    ids=["absent", "broken", "unknown type", "unknown field", "twice", "mapped elsewhere"],
)
def test_a_bad_chart_is_a_usage_error(tmp_path: Path, text: str | None, sentence: str) -> None:
    path = tmp_path / "chart.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(Ended, match=sentence) as ended:
        charts.read(str(path))
    assert ended.value.code == Exit.USAGE
