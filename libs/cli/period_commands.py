"""close day, close period, close year: through the gateway, each safe to ask for again."""

import asyncio
from typing import Annotated, Any

import typer

from libs.cli import output, session
from libs.cli.session import Stack

commands = typer.Typer(help="Close a day, a month or a fiscal year of a ledger.", no_args_is_help=True)

Organization = Annotated[str, typer.Option("--org", help="The organization's slug.")]
Ledger = Annotated[str, typer.Option("--ledger", help="The ledger's code.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Kept with the record.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@commands.command()
def day(
    context: typer.Context,
    date: Annotated[str, typer.Argument(help="Such as 2026-11-20; all days before it are closed too.")],
    organization: Organization = "demo",
    ledger: Ledger = "main",
    as_json: AsJson = False,
) -> None:
    """Close a day: only who may backdate posts into it from now on."""
    _close(context, organization, f"/ledgers/{ledger}/days/{date}/close", {}, as_json)


@commands.command()
def period(
    context: typer.Context,
    month: Annotated[str, typer.Argument(help="Such as 2026-10.")],
    soft: Annotated[bool, typer.Option("--soft", help="To all but those who may adjust.")] = False,
    reason: Reason = None,
    organization: Organization = "demo",
    ledger: Ledger = "main",
    as_json: AsJson = False,
) -> None:
    """Close a month: nothing is dated in it any more."""
    step = "soft-close" if soft else "close"
    _close(context, organization, f"/ledgers/{ledger}/periods/{month}/{step}", _body(reason=reason), as_json)


@commands.command()
def year(
    context: typer.Context,
    year: Annotated[str, typer.Argument(help="The fiscal year, by the calendar year it begins in.")],
    retained_earnings: Annotated[
        str | None, typer.Option(help="The account that takes the result; the ledger's own where absent.")
    ] = None,
    reason: Reason = None,
    organization: Organization = "demo",
    ledger: Ledger = "main",
    as_json: AsJson = False,
) -> None:
    """Close a fiscal year: carry its result to retained earnings and close its last month."""
    body = _body(reason=reason, retained_earnings=retained_earnings)
    _close(context, organization, f"/ledgers/{ledger}/years/{year}/close", body, as_json)


def _body(**given: str | None) -> dict[str, str]:
    return {name: value for name, value in given.items() if value is not None}


def _close(context: typer.Context, organization: str, path: str, body: dict[str, str], as_json: bool) -> None:
    async def run(stack: Stack) -> Any:
        async with stack.client(organization) as client:
            return (await client.post(path, body)).body

    closed = asyncio.run(run(session.running(context.obj)))
    if as_json:
        output.print_json(closed)
        return
    through = [
        f"{name} through {closed[field]}"
        for name, field in (
            ("days", "days_closed_through"),
            ("softly", "soft_closed_through"),
            ("months", "closed_through"),
        )
        if closed[field] is not None
    ]
    output.facts().print(f"{closed['ledger']} is closed: {', '.join(through)} (record {closed['sequence']}).")
