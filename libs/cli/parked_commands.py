"""parked list, show, fix, release, dismiss, replay: payment events that wait for a person, through the gateway."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from libs.cli import output, session
from libs.cli.client import Client
from libs.cli.exits import Ended, Exit
from libs.cli.session import Stack

commands = typer.Typer(help="Payment events that wait for a person, and what to do with them.", no_args_is_help=True)

Organization = Annotated[str, typer.Option("--org", help="The organization's slug.")]
Number = Annotated[int, typer.Argument(metavar="ID", help="As `parked list` tells it.")]
Note = Annotated[str, typer.Option("--note", help="Kept with the message: why.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_COLUMNS: Final = ("id", "state", "reason", "document", "type", "parked_at")


@commands.command("list")
def list_(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Those that were released or dismissed too.")] = False,
    organization: Organization = "demo",
    as_json: AsJson = False,
) -> None:
    """What waits, and why."""
    path = "/parked" if every else "/parked?state=waiting"

    async def run(client: Client) -> list[dict[str, Any]]:
        return await client.items(path)

    found = _asked(context, organization, run)
    if as_json:
        output.print_json(found)
        return
    rows = [[str(each[name]) for name in _COLUMNS] for each in found]
    output.facts().print(output.table("", dict.fromkeys(_COLUMNS, "left"), rows))


@commands.command()
def show(context: typer.Context, number: Number, organization: Organization = "demo") -> None:
    """One message whole, with the value that came."""
    output.print_json(_asked(context, organization, lambda client: client.get(f"/parked/{number}")))


@commands.command()
def fix(
    context: typer.Context,
    number: Number,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The event's value as JSON; - for stdin.")],
    note: Note,
    organization: Organization = "demo",
) -> None:
    """Put another value in a message's place; `release` then tries it."""
    try:
        value = orjson.loads(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes())
    except (OSError, orjson.JSONDecodeError) as failure:
        raise Ended(f"{file} cannot be read as JSON: {failure}", Exit.USAGE) from failure
    body = {"value": value, "note": note}
    _tell(_asked(context, organization, lambda client: client.put(f"/parked/{number}/value", body)))


@commands.command()
def release(context: typer.Context, number: Number, organization: Organization = "demo") -> None:
    """Try a message again, and what queues behind it about the same payment."""
    _tell(_posted(context, organization, f"/parked/{number}/release", {}))


@commands.command()
def dismiss(context: typer.Context, number: Number, note: Note, organization: Organization = "demo") -> None:
    """Let a message have no effect, so that what queues behind it may go on."""
    _tell(_posted(context, organization, f"/parked/{number}/dismiss", {"note": note}))


@commands.command()
def replay(context: typer.Context, number: Number, organization: Organization = "demo") -> None:
    """Try a dismissed message after all."""
    _tell(_posted(context, organization, f"/parked/{number}/replay", {}))


def _asked(context: typer.Context, organization: str, ask: Any) -> Any:
    async def run(stack: Stack) -> Any:
        async with stack.client(organization) as client:
            return await ask(client)

    return asyncio.run(run(session.running(context.obj)))


def _posted(context: typer.Context, organization: str, path: str, body: Any) -> Any:
    async def run(client: Client) -> Any:
        return (await client.post(path, body)).body

    return _asked(context, organization, run)


def _tell(found: dict[str, Any]) -> None:
    """How the message stands now."""
    output.facts().print(f"Message {found['id']} of {found['document']}: {found['state']}, {found['reason']}.")
