"""A financial statement as CSV: one table, its first row the names of its columns.

    kind      fact (what the statement says of itself), row, total, line, rate, tie-out
    amounts   one column for each column of the statement, by its name

A `rate` row stands under the row or line it belongs to and has the translated amount in the statement's column it is
of. Cells are those of `csv_text`: no text is a formula.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from libs.common.csv_text import Amount, table
from services.ledger.reports.sections import CurrencyAnswer, LineAnswer, PartAnswer, RateStep, StatementAnswer

FIRST: Final = ("kind", "currency", "section", "heading_number", "heading", "account", "name", "level")


def as_csv(statement: StatementAnswer) -> bytes:
    """The table, with CRLF line ends (RFC 4180)."""
    names = [column["name"] for column in statement["columns"]]
    return table([[*FIRST, *names], *_rows(statement, len(names))])


def _rows(statement: StatementAnswer, columns: int) -> Iterator[Sequence[str]]:
    for name, values in _facts(statement):
        yield _row("fact", name=name, amounts=values if len(values) == columns else [*values, *[""] * (columns - 1)])
    for part in statement["currencies"]:
        yield from _of_currency(part, columns)


def _facts(statement: StatementAnswer) -> Iterator[tuple[str, list[str]]]:
    yield "report", [statement["report"]]
    yield "ledger", [statement["ledger"]]
    yield "sequence", [str(statement["sequence"])]
    yield "from", [column["since"] or "" for column in statement["columns"]]
    yield "to", [column["through"] for column in statement["columns"]]
    translation = statement["translation"]
    if translation is not None:
        yield "translated to", [translation["to"]]
        yield "rates known at", [translation["rates_known_at"] or ""]
        yield "rates of", [translation["rates_provider"] or "every provider"]
        yield (
            "income and expense",
            [
                f"at the average of each {translation['average_rates']}"
                if translation["average_rates"]
                else "at each day's rate"
            ],
        )
        yield "rounding", [translation["rounding"]]
        yield "rules", [translation["rules"]]


def _of_currency(part: CurrencyAnswer, columns: int) -> Iterator[Sequence[str]]:
    currency = part["currency"]
    for section in part["sections"]:
        name = section["name"]
        for group in section["groups"]:
            heading = group["heading"]
            number, words = (str(heading["number"]), heading["name"]) if heading else ("", "")
            for row in group["rows"]:
                yield _row(
                    "row", currency, name, number, words, row["account"], row["name"],
                    str(row["level"]), row["amounts"],
                )  # fmt: skip
                yield from _rates(row["parts"], currency, name, columns)
            yield _row("total", currency, name, number, words, amounts=group["totals"])
        yield _row("total", currency, name, amounts=section["totals"])
    for line in part["lines"]:
        yield from _line(line, currency, "", columns)
    for tie_out in part["tie_outs"]:
        verdict = "holds" if tie_out["holds"] else "DOES NOT HOLD"
        yield _row(
            "tie-out", currency, tie_out["column"], name=f"{tie_out['name']}: {verdict}",
            amounts=[tie_out["difference"], *[""] * (columns - 1)],
        )  # fmt: skip


def _line(line: LineAnswer, currency: str, before: str, columns: int) -> Iterator[Sequence[str]]:
    name = before + line["name"]
    yield _row("line", currency, name=name, amounts=line["amounts"])
    yield from _rates(line["parts"], currency, name, columns)
    for piece in line["made_of"]:
        yield from _line(piece, currency, f"{name}: ", columns)


def _rates(parts: Sequence[Sequence[PartAnswer]], currency: str, name: str, columns: int) -> Iterator[Sequence[str]]:
    for place, column in enumerate(parts):
        for part in column:
            amounts = [""] * columns
            amounts[place] = part["translated"]
            steps = " and ".join(map(_rate, part["rates"]))
            words = f"{part['currency']} {part['amount']} of {part['day']} at {steps or 'the worth it was earned at'}"
            yield _row("rate", currency, name, account=part["account"] or "", name=words, amounts=amounts)


def _rate(step: RateStep) -> str:
    average = step.get("average")
    on = step["on"] if average is None else f"average of {average['days']} days of {average['period']}"
    inverse = " inverse" if step["inverse"] else ""
    return f"{step['base']}/{step['counter']} {step['rate']}{inverse} ({step['provider']}, {on})"


def _row(
    kind: str, currency: str = "", section: str = "", number: str = "", heading: str = "", account: str = "",
    name: str = "", level: str = "", amounts: Iterable[str] = (),
) -> list[str]:  # fmt: skip
    return [kind, currency, section, number, heading, account, name, level, *map(Amount, amounts)]
