"""up, demo, down, reset, status: the local stack."""

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from libs.cli import demo as demonstration
from libs.cli import output, session
from libs.cli.example_journal import FOLDER
from libs.cli.exits import Ended, Exit
from libs.common.errors import Failure
from libs.devstack import stack

commands = typer.Typer()


class _Over(Failure):
    """The demo was played and nothing else is to be done: the stack may stop."""


@commands.command()
def up(
    context: typer.Context,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when ready; stop it with `down`.")] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Play the demo once everything is ready.")] = False,
) -> None:
    """Start PostgreSQL, Kafka and the services, and keep them running until Ctrl-C."""
    data_dir: Path = context.obj
    if detach:
        status = stack.start_detached(data_dir)
        if demo:
            asyncio.run(demonstration.play(session.of_status(data_dir, status)))
        _print_urls(status)
        return

    async def ready(status: Mapping[str, Any]) -> None:
        if demo:
            await demonstration.play(session.of_status(data_dir, status))
        _print_urls(status)
        output.facts().print("Running. Ctrl-C stops it and keeps the data.")

    asyncio.run(stack.run_stack(data_dir, ready=ready))


@commands.command()
def demo(context: typer.Context) -> None:
    """Play the demo: on the running stack, else on one that is started for it and stopped afterwards."""
    data_dir: Path = context.obj
    found = stack.stack_status(data_dir)
    if found["running"]:
        asyncio.run(demonstration.play(session.of_status(data_dir, found)))
        _print_urls(found)
        return

    async def ready(status: Mapping[str, Any]) -> None:
        await demonstration.play(session.of_status(data_dir, status))
        raise _Over

    if not _played(lambda: stack.run_stack(data_dir, ready=ready)):
        raise Ended("The demo was interrupted.", Exit.INTERRUPTED)


def _played(run: Callable[[], Awaitable[None]]) -> bool:
    """True when the demo came to its end, False when a signal stopped it."""

    async def whole() -> None:
        await run()

    try:
        asyncio.run(whole())
    except _Over:
        return True
    return False


@commands.command()
def down(context: typer.Context) -> None:
    """Stop the stack and keep its data."""
    stopped = stack.stop_stack(context.obj)
    output.facts().print("Stopped; the data is kept." if stopped else "No stack was running.")


@commands.command()
def reset(
    context: typer.Context, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
) -> None:
    """Stop the stack and throw all its data away."""
    data_dir: Path = context.obj
    if not yes:
        if not sys.stdin.isatty():
            raise Ended(f"This removes all data in {data_dir.resolve()}; say --yes.", Exit.USAGE)
        typer.confirm(f"Remove all data in {data_dir.resolve()}?", abort=True)
    stack.stop_stack(data_dir)
    if (examples := data_dir / FOLDER).exists():
        shutil.rmtree(examples)
    stack.reset_stack(data_dir)
    output.facts().print(f"{data_dir.resolve()} is empty.")


@commands.command()
def status(context: typer.Context, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Tell what runs where. Exit code 3 where no stack runs or a part is not ready."""
    found = stack.stack_status(context.obj)
    services = {name: entry for name, entry in found.items() if isinstance(entry, dict) and "url" in entry}
    is_ready = found["phase"] == "ready" and all(entry["ready"] for entry in services.values())
    if as_json:
        output.print_json(found)
    else:
        _print_status(found)
    if not is_ready:
        raise typer.Exit(Exit.NOT_RUNNING)


def _print_status(found: Mapping[str, Any]) -> None:
    rows = []
    for name, entry in found.items():
        if isinstance(entry, dict):
            # The address of PostgreSQL holds its password; --json gives it to programs.
            where = entry.get("url") or entry.get("bootstrap") or str(entry.get("dsn", "")).rpartition("@")[2]
            state = "" if "ready" not in entry else "ready" if entry["ready"] else "not ready"
            rows.append([name, where, str(entry.get("pid", "")), state])
    title = f"{found['data']}: {found['phase']}"
    output.facts().print(output.table(title, dict.fromkeys(["part", "address", "pid", "state"], "left"), rows))


def _print_urls(found: Mapping[str, Any]) -> None:
    url = found["gateway"]["url"]
    rows = [["API", f"{url}/api/v1"], ["documentation", f"{url}/docs"], ["health", f"{url}/health/ready"]]
    output.facts().print(output.table("", {"what": "left", "where": "left"}, rows))
