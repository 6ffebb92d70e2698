"""verify, head, rebuild, keys, trace, bench: proof of the books, one request's way, how fast the platform is."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from libs.cli import books, output, saved_heads, session, spans
from libs.cli.exits import Ended, Exit
from libs.cli.saved_heads import HeadVerdict, SavedHead
from libs.cli.session import Stack
from libs.common.jwks import VerifyingKey
from libs.common.sealing import add_sealing_key, drop_old_keys
from libs.common.signing import add_key
from libs.devstack import offline
from libs.devstack.stack import sealing_keys_path, signing_key_path

commands = typer.Typer()
keys = typer.Typer(name="keys", help="Keys that sign chain heads or seal personal data.", no_args_is_help=True)
commands.add_typer(keys)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

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


@commands.command()
def verify(
    context: typer.Context,
    organization: Annotated[str | None, typer.Option("--org", help="All where absent.")] = None,
    ledger: Annotated[str | None, typer.Option("--ledger", help="All of the organization where absent.")] = None,
    head_path: Annotated[
        Path | None,
        typer.Option("--head", metavar="FILE", exists=True, dir_okay=False, help="Heads kept earlier."),
    ] = None,
    keys_path: Annotated[
        Path | None, typer.Option("--keys", metavar="FILE", exists=True, dir_okay=False, help="A kept JWKS for --head.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove the books: chain of hashes, sums, projections, heads kept earlier. Exit code 4 where something differs."""
    if ledger is not None and organization is None:
        raise Ended("--ledger needs --org.", Exit.USAGE)
    if head_path is not None and organization is not None:
        raise Ended("--head names its organizations and ledgers itself: leave --org out.", Exit.USAGE)
    if keys_path is not None and head_path is None:
        raise Ended("--keys needs --head.", Exit.USAGE)
    kept = saved_heads.read(head_path) if head_path is not None else []
    kept_keys = saved_heads.read_keys(keys_path) if keys_path is not None else None
    stack = session.running(context.obj)
    if kept:
        wanted = list(dict.fromkeys((saved.head.organization, saved.head.ledger) for saved in kept))
    else:
        wanted = asyncio.run(_ledgers(stack, organization, ledger))
    verdicts = asyncio.run(_verdicts(stack, wanted))
    heads = asyncio.run(_heads(stack, kept, kept_keys))
    if as_json:
        found = [{**asdict(head), "ok": head.ok} for head in heads]
        output.print_json({"ledgers": verdicts, "heads": found} if kept else verdicts)
    else:
        _print_verdicts(verdicts, heads)
    if not all(verdict["ok"] for verdict in verdicts) or not all(head.ok for head in heads):
        raise typer.Exit(Exit.BOOKS_DIFFER)


@commands.command()
def head(
    context: typer.Context,
    organization: Annotated[str, typer.Option("--org", help="The organization's slug.")] = "demo",
    ledger: Annotated[str, typer.Option("--ledger", help="The ledger's code.")] = "main",
) -> None:
    """Print where a ledger's log ends, signed, as JSON: keep it, and `verify --head` proves later what was there."""

    async def run(stack: Stack) -> dict[str, Any]:
        async with stack.client(organization, "viewer") as client:
            found: dict[str, Any] = await client.get(f"/ledgers/{ledger}/head")
            return found

    output.print_json(asyncio.run(run(session.running(context.obj))))


def _print_verdicts(verdicts: Sequence[dict[str, Any]], heads: Sequence[HeadVerdict]) -> None:
    rows = [_verdict_row(verdict) for verdict in verdicts]
    columns = {"organization": "left", "ledger": "left", "ok": "left", "sequence": "right", "chain head": "left"}
    output.facts().print(output.table("Verified", columns, rows))
    for head in heads:
        answer = f"Head of {head.organization}/{head.ledger} at {head.sequence}: {head.sentence()}."
        (output.facts() if head.ok else output.notes()).print(answer, soft_wrap=True)
    for verdict in verdicts:
        for fault in _faults(verdict):
            output.notes().print(f"{verdict['organization']}/{verdict['ledger']}: {fault}")


async def _ledgers(stack: Stack, organization: str | None, ledger: str | None) -> list[tuple[str, str]]:
    """Organization and code of every ledger asked for."""
    if organization is not None and ledger is not None:
        return [(organization, ledger)]
    slugs = [organization] if organization is not None else []
    if organization is None:
        async with stack.operator() as operator:
            slugs = await books.organizations(operator)
    found: list[tuple[str, str]] = []
    for slug in slugs:
        async with stack.client(slug, "viewer") as client:
            found += [(slug, code) for code in await books.ledgers(client)]
    return found


async def _verdicts(stack: Stack, wanted: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    verdicts: list[dict[str, Any]] = []
    for slug, code in wanted:
        async with stack.client(slug, "viewer") as client:
            verdicts.append({"organization": slug, "ledger": code, **await books.verify(client, code)})
    return verdicts


async def _heads(
    stack: Stack, kept: Sequence[SavedHead], kept_keys: dict[str, VerifyingKey] | None
) -> list[HeadVerdict]:
    found = []
    for saved in kept:
        async with stack.client(saved.head.organization, "viewer") as client:
            found.append(await saved_heads.check(client, saved, kept_keys))
    return found


def _verdict_row(verdict: dict[str, Any]) -> list[str]:
    ok = "yes" if verdict["ok"] else "NO"
    return [verdict["organization"], verdict["ledger"], ok, str(verdict["checked_through"]), verdict["chain_head"]]


def _faults(verdict: dict[str, Any]) -> Iterator[str]:
    for invariant in verdict["invariants"]:
        if not invariant.get("ok", True):
            yield f"{invariant.get('name')}: {invariant.get('detail', invariant)}"


@commands.command()
def rebuild(
    context: typer.Context,
    organization: Annotated[str, typer.Option("--org", help="The organization's slug.")],
    ledger: Annotated[str, typer.Option("--ledger", help="The ledger's code.")] = "main",
    restore_history: Annotated[
        bool, typer.Option("--restore-history", help="Entries, lines, requests and their like as well.")
    ] = False,
) -> None:
    """Make a ledger's projections what its log says, on a stack that is stopped. Exit code 4: still not right."""
    words = [sys.executable, "-m", "services.ledger.main", "rebuild", organization, ledger]
    told = asyncio.run(_rebuild(context.obj, [*words, *(["--restore-history"] if restore_history else [])]))
    if told.get("event") != "rebuilt":
        raise Ended(f"Nothing was rebuilt: {told.get('error', told)}")
    rows = [[table, str(count)] for table, count in told["replaced"].items()]
    output.facts().print(output.table("Rows replaced", {"table": "left", "rows": "right"}, rows))
    output.facts().print(f"{told['checked_through']} records; the books {'verify' if told['ok'] else 'DO NOT VERIFY'}.")
    if not told["ok"]:
        raise typer.Exit(Exit.BOOKS_DIFFER)


async def _rebuild(data_dir: Path, words: Sequence[str]) -> dict[str, Any]:
    """Runs the rebuild beside the database alone, shows how far it is, and gives its last log line."""
    last: dict[str, Any] = {}
    async with offline.database_only(data_dir, "ledger") as environment:
        program = await asyncio.create_subprocess_exec(
            *words, env=environment, cwd=_BENCH.parent, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        assert program.stdout is not None
        with output.progress("records", None) as advance:
            async for line in program.stdout:
                if line.startswith(b"{"):
                    last = orjson.loads(line)
                    if last.get("event") == "rebuild-progress":
                        advance(last["folded"], last["head"])
        await program.wait()
    return last


@keys.command()
def rotate(
    context: typer.Context,
    path: Annotated[Path | None, typer.Argument(metavar="FILE", help="The local stack's keys where absent.")] = None,
    customers: Annotated[
        bool, typer.Option("--customers", help="The keys that seal customers' data, not those that sign heads.")
    ] = False,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="With --customers: make no new key, remove all but the newest.")
    ] = False,
) -> None:
    """Put a new key in front; the service reads it at its start.

    Of keys that sign chain heads the public halves of the older ones are kept. Keys that seal customers' data are kept
    whole until invoicing has sealed everything with the new one (the metric invoicing_resealed is 1); then --drop-old.
    """
    if drop_old and not customers:
        raise Ended("--drop-old needs --customers: what an older key signed is checked for ever.", Exit.USAGE)
    if not customers:
        file = path if path is not None else signing_key_path(context.obj)
        said = f"signs with {add_key(file)} once the ledger is started again."
    else:
        file = path if path is not None else sealing_keys_path(context.obj)
        if drop_old:
            said = f"holds its newest key alone; removed: {', '.join(drop_old_keys(file)) or 'none'}."
        else:
            said = f"seals with {add_sealing_key(file)} once invoicing is started again."
    output.facts().print(f"{file} {said}", soft_wrap=True)
