"""How the command speaks: facts on stdout, as tables for people or as JSON; progress and refusals on stderr.

Not on a terminal, tables are plain text 110 columns wide, the same everywhere, so that they can be compared.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import orjson
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

PLAIN_WIDTH: Final = 110
_TREE_WIDTH: Final = 1_000


def facts() -> Console:
    """Where answers go."""
    return _console(stderr=False)


def notes() -> Console:
    """Where progress and refusals go."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    on_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(
        stderr=stderr, highlight=False, soft_wrap=False, width=None if on_terminal else PLAIN_WIDTH, emoji=False
    )


def print_json(answer: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")


def counted(count: int, one: str, many: str) -> str:
    """A number with its noun.

    >>> counted(1, "entry", "entries"), counted(0, "entry", "entries")
    ('1 entry', '0 entries')
    """
    return f"{count} {one if count == 1 else many}"


def table(title: str, columns: Mapping[str, str], rows: Sequence[Sequence[str]], *, footer: int = 0) -> Table:
    """A table; `columns` are name -> "left" or "right", the last `footer` rows stand under a rule."""
    built = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for name, justify in columns.items():
        built.add_column(Text(name), justify="right" if justify == "right" else "left", no_wrap=True)
    for number, row in enumerate(rows):
        cells = [Text(cell) for cell in row]
        built.add_row(*cells, end_section=footer > 0 and number == len(rows) - footer - 1)
    return built


def trial_balance(report: Mapping[str, Any], ledger: str) -> Table:
    """The trial balance report of the API as a table, one row per account, totals per currency at its foot."""
    rows = [
        [row["account"], row["type"], row["currency"], row["debits"], row["credits"], row["balance"]]
        for row in report["rows"]
    ]
    totals = [["Total", "", total["currency"], total["debits"], total["credits"], ""] for total in report["totals"]]
    columns = dict.fromkeys(["account", "type", "currency"], "left")
    columns |= dict.fromkeys(["debits", "credits", "balance"], "right")
    verdict = "balanced" if report["balanced"] else "NOT BALANCED"
    return table(f"Trial balance of {ledger} ({verdict})", columns, [*rows, *totals], footer=len(totals))


def print_tree(tree: Tree) -> None:
    """A tree on stdout whose lines are never cut; a terminal wraps them."""
    Console(highlight=False, width=_TREE_WIDTH, emoji=False).print(tree)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A bar on a terminal, nothing elsewhere; call the result with how many are done, and a total that became known."""
    console = notes()
    if not console.is_terminal:
        yield lambda *_: None
        return
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done, of=None: bar.update(task, completed=done, total=of)
