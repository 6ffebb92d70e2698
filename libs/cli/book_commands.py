"""token, seed: organizations and their books, through the gateway."""

import asyncio
from typing import Annotated

import typer

from libs.cli import books, charts, output, session
from libs.cli.exits import Ended, Exit
from libs.cli.session import Stack
from libs.common.auth import ROLES

commands = typer.Typer()

Organization = Annotated[str, typer.Option("--org", help="The organization's slug.")]
Ledger = Annotated[str, typer.Option("--ledger", help="The ledger's code.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@commands.command()
def token(
    context: typer.Context,
    organization: Annotated[str | None, typer.Option("--org", help="Made where it does not exist.")] = None,
    roles: Annotated[list[str] | None, typer.Option("--role", help=f"{', '.join(ROLES)}.")] = None,
    scopes: Annotated[list[str] | None, typer.Option("--scope", help="One more, such as period:close.")] = None,
    service: Annotated[str | None, typer.Option(help="The calling service this token speaks for.")] = None,
    subject: Annotated[str, typer.Option(help="Who calls.")] = "developer",
    lifetime_s: Annotated[int, typer.Option("--lifetime", min=1, help="Seconds until it expires.")] = 3600,
) -> None:
    """Print a bare token for the running stack, and make its organization where it does not exist."""
    roles, scopes = roles or [], scopes or []
    if not roles and not scopes:
        raise Ended("Say at least one --role or --scope.", Exit.USAGE)
    if (organization is None) != ("operator" in roles):
        raise Ended("Say --org ORG, or --role operator: operators stand above all organizations.", Exit.USAGE)
    if "service" in roles and service is None:
        raise Ended("A token of role service names its service: --service NAME.", Exit.USAGE)
    stack = session.running(context.obj)
    printed = stack.token(organization, roles, scopes=scopes, service=service, lifetime_s=lifetime_s, subject=subject)
    if organization is not None:
        asyncio.run(ensure_organization(stack, organization))
    typer.echo(printed)


async def ensure_organization(stack: Stack, organization: str) -> bool:
    """Makes the organization where it does not exist."""
    async with stack.operator() as operator:
        return await books.ensure_organization(operator, organization)


@commands.command()
def seed(
    context: typer.Context,
    chart: Annotated[str | None, typer.Argument(help=f"{', '.join(charts.names())}, or a JSON file.")] = None,
    organization: Organization = "demo",
    ledger: Ledger = "main",
    as_json: AsJson = False,
) -> None:
    """Open a chart of accounts; what is there already is left alone. Without a chart, list them.

    A chart with a mapping also tells invoicing which account plays which part.
    """
    if chart is None:
        _list_charts(as_json=as_json)
        return
    wanted = charts.read(chart)

    async def run(stack: Stack) -> int:
        await ensure_organization(stack, organization)
        async with stack.client(organization) as client:
            opened = await books.open_chart(client, ledger, wanted.accounts)
            if wanted.mapping:
                await books.map_accounts(client, ledger, wanted.mapping)
            return opened

    opened = asyncio.run(run(session.running(context.obj)))
    answer = {"chart": wanted.name, "accounts": len(wanted.accounts), "opened": opened}
    if as_json:
        output.print_json(answer)
    else:
        there = len(wanted.accounts) - opened
        accounts = output.counted(opened, "account", "accounts")
        output.facts().print(f"{wanted.description}.\n{accounts} opened, {there} were there already.")


def _list_charts(*, as_json: bool) -> None:
    listed = [charts.read(name) for name in charts.names()]
    if as_json:
        output.print_json([{"chart": one.name, "accounts": len(one.accounts), "description": one.description}
                           for one in listed])  # fmt: skip
    else:
        rows = [[one.name, str(len(one.accounts)), one.description] for one in listed]
        output.facts().print(output.table("", {"chart": "left", "accounts": "right", "what it is": "left"}, rows))
