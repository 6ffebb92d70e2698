"""import, export: whole books in and out, through the gateway.

A file that is written to disk is complete or not there: it is written beside its place, checked to end with the record
the ledger named, and then moved.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Annotated, Any, Final

import typer

from libs.cli import beancount_journal, journal_import, output, session
from libs.cli.book_commands import AsJson, Ledger, Organization, ensure_organization
from libs.cli.exits import Ended, Exit
from libs.cli.session import Stack

commands = typer.Typer()

EXPORTS: Final = ("ndjson", "hledger", "beancount", "accounts-csv", "entries-csv")


@commands.command("import")
def import_file(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True)],
    organization: Organization = "demo",
    ledger: Ledger = "main",
    format_: Annotated[str, typer.Option("--format", help=f"{', '.join(journal_import.FORMATS)}.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check shape and balance.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a file over: a journal, an exported log, entries as NDJSON, or a chart of accounts.

    The same file twice posts nothing twice. A beancount journal that some other program wrote goes through beancount's
    own loader: it brings its currencies, its ledger is opened where it does not exist, and every balance is compared
    with beancount's own afterwards.
    """
    if format_ not in journal_import.FORMATS:
        raise Ended(f"There is no format {format_}; there are {', '.join(journal_import.FORMATS)}.", Exit.USAGE)
    chosen = journal_import.format_of(path) if format_ == "auto" else format_
    journal = beancount_journal.read(path, organization) if chosen == "beancount-loader" else None
    if journal is not None and dry_run:
        raise Ended("--dry-run is for what the ledger reads itself: say --format beancount.", Exit.USAGE)

    async def run(stack: Stack) -> journal_import.Imported:
        await ensure_organization(stack, organization)
        async with stack.client(organization) as client:
            if journal is not None:
                return await journal_import.import_journal(client, ledger, journal)
            return await journal_import.take_over(client, ledger, path, chosen, dry_run=dry_run)

    imported = asyncio.run(run(session.running(context.obj)))
    if as_json:
        output.print_json(imported)
    else:
        output.facts().print(imported.sentence())
    imported.require_whole()


@commands.command("export")
def export_books(
    context: typer.Context,
    organization: Organization = "demo",
    ledger: Ledger = "main",
    format_: Annotated[str, typer.Option("--format", help=f"{', '.join(EXPORTS)}.")] = "hledger",
    out: Annotated[Path | None, typer.Option("--out", dir_okay=False, help="Standard output where absent.")] = None,
    sequence: Annotated[int | None, typer.Option(min=1, help="The books as they were at that record.")] = None,
    from_on: Annotated[str | None, typer.Option("--from", help="Entries from this effective date on.")] = None,
    to_on: Annotated[str | None, typer.Option("--to", help="Entries up to this effective date.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the books as a file: the log with its chain of hashes, a journal, or tables."""
    if format_ not in EXPORTS:
        raise Ended(f"There is no format {format_}; there are {', '.join(EXPORTS)}.", Exit.USAGE)
    if as_json and out is None:
        raise Ended("--json tells of a file: say --out FILE.", Exit.USAGE)
    given = {"sequence": sequence, "from": from_on, "to": to_on}
    parameters = {name: str(value) for name, value in given.items() if value is not None}
    stack = session.running(context.obj)
    path = f"/ledgers/{ledger}/export/{format_}"
    if out is None:
        asyncio.run(_export(stack, organization, path, parameters, sys.stdout.buffer))
        return
    part = out.with_name(f"{out.name}.part")
    try:
        with part.open("wb") as file:
            headers, size = asyncio.run(_export(stack, organization, path, parameters, file))
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    answer = {"file": str(out), "format": format_, "bytes": size, "sequence": int(headers["Ledger-Sequence"]),
              "hash": headers["Ledger-Hash"]}  # fmt: skip
    if as_json:
        output.print_json(answer)
    else:
        output.facts().print(f"{out}: {size} bytes, the books up to record {answer['sequence']} ({answer['hash']}).")


async def _export(
    stack: Stack, organization: str, path: str, parameters: Mapping[str, str], file: IO[bytes]
) -> tuple[Mapping[str, Any], int]:
    """Copies the export into the file; headers and size in bytes."""
    with output.progress("exporting, bytes", None) as advance:
        async with stack.client(organization) as client, client.download(path, **parameters) as coming:
            size = await _copy(coming.pieces, file, advance, coming.headers["Ledger-Hash"], path.endswith("-csv"))
            return coming.headers, size


async def _copy(pieces: Any, file: IO[bytes], advance: Callable[[int], None], hash_: str, is_table: bool) -> int:
    size, last_line = 0, b""
    async for piece in pieces:
        file.write(piece)
        size += len(piece)
        last_line += piece
        last_line = last_line[last_line.rfind(b"\n", 0, -1) + 1 :]
        advance(size)
    file.flush()
    if not is_table and hash_.encode() not in last_line:
        raise Ended("The export broke off before its last record; try again.")
    return size
