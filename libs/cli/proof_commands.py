"""trace, bench: what happened to one request, and how fast the platform is."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from libs.cli import output, spans
from libs.cli.exits import Ended, Exit

commands = typer.Typer()

_BENCH: Final = Path(__file__).resolve().parents[2] / "bench"
_PATIENCE_S: Final = 2.0


@commands.command()
def trace(
    context: typer.Context,
    trace_id: Annotated[
        str, typer.Argument(metavar="ID", help="32 hexadecimal digits, as in a traceparent or problem.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a request's spans as a tree, from the files of the local stack."""
    if len(trace_id) != 32 or set(trace_id) - set("0123456789abcdef"):
        raise Ended(f"{trace_id} is no trace id: 32 of 0-9 and a-f.", Exit.USAGE)
    folder: Path = context.obj / "spans"
    found = asyncio.run(spans.wait_for(folder, trace_id, _PATIENCE_S))
    if not found:
        raise Ended(f"No span of trace {trace_id} is in {folder}.")
    if as_json:
        output.print_json(found)
    else:
        output.print_tree(spans.tree(trace_id, found))


@commands.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A program of bench/, such as ledger.")],
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures there, as JSON.")] = None,
) -> None:
    """Run a benchmark; what follows its name goes to the program. Exit code: the program's."""
    names = sorted(path.stem for path in _BENCH.glob("*.py") if not path.stem.startswith("_"))
    if name not in names:
        raise Ended(f"There is no benchmark {name}; there are: {', '.join(names) or 'none here'}.", Exit.USAGE)
    command = [sys.executable, "-m", f"bench.{name}", *context.args]
    if json_path is not None:
        command += ["--json", str(json_path.resolve())]
    raise typer.Exit(subprocess.run(command, cwd=_BENCH.parent, check=False).returncode)
