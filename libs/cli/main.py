"""The `ledgerbus` command.

Facts go to stdout, as JSON with `--json`; progress and refusals go to stderr. The exit codes are in `exits.py` and in
the help.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from libs.cli import (
    book_commands,
    exchange_commands,
    output,
    parked_commands,
    period_commands,
    proof_commands,
    stack_commands,
)
from libs.cli.exits import Ended, Exit
from libs.common.errors import Failure
from libs.devstack.errors import StackError
from libs.devstack.stack import default_data_dir

_HELP = """LedgerBus: the books of a payments platform.

Exit codes: 0 done; 1 refused, or it failed; 2 the command line is wrong; 3 no stack is running, or it does not answer;
4 the books do not verify, or a balance differs; 130 interrupted.
"""

app = typer.Typer(
    name="ledgerbus",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (stack_commands, book_commands, exchange_commands, proof_commands):
    app.add_typer(group.commands)
app.add_typer(period_commands.commands, name="close")
app.add_typer(parked_commands.commands, name="parked")


@app.callback()
def choose_folder(
    context: typer.Context,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data", help="The stack's data folder; LEDGERBUS_DATA or .ledgerbus where absent."),
    ] = None,
) -> None:
    """Keeps the data folder for the commands."""
    context.obj = data_dir if data_dir is not None else default_data_dir()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits; a failure that was foreseen is one sentence on stderr and an exit code."""
    try:
        app(arguments)
    except Ended as ended:
        output.notes().print(str(ended), markup=False, soft_wrap=True)
        sys.exit(ended.code)
    except (Failure, StackError) as failure:
        output.notes().print(str(failure), markup=False, soft_wrap=True)
        sys.exit(Exit.REFUSED)


if __name__ == "__main__":
    main()
