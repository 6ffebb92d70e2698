"""Organizations of their own on the run's shared stack."""

from uuid import uuid4

import pytest

from libs.cli import books, charts
from libs.cli.session import Stack
from tests.flows.shop import Shop, open_shop


@pytest.fixture
async def shop(stack: Stack) -> Shop:
    """An organization that nobody else uses."""
    return await open_shop(stack, f"shop-{uuid4().hex[:12]}")


@pytest.fixture(scope="module")
async def steady_shop(stack: Stack) -> Shop:
    """An organization for all tests of a module; none of them may change its books."""
    return await open_shop(stack, f"steady-{uuid4().hex[:12]}")


@pytest.fixture
async def studio(stack: Stack) -> Shop:
    """An organization whose ledger `main` has an account for every part that invoicing plays."""
    shop = await open_shop(stack, f"studio-{uuid4().hex[:12]}")
    receivables = charts.read("receivables")
    async with stack.client(shop.organization) as client:
        await books.open_accounts(client, "main", receivables.accounts)
        assert await books.map_accounts(client, "main", receivables.mapping)
    return shop
