"""Every PromQL expression of the dashboards and alerts, and the metrics and labels it names.

Grafana's own variables are filled in; what remains is what Prometheus reads. Names are found by their shape: an
identifier that is followed by no bracket and is neither a word of PromQL nor a label.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

_WORDS = frozenset({"and", "or", "unless", "bool", "inf", "nan"})
_RANGE = re.compile(r"\[[^\]]*\]|\boffset\s+\w+")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"(?<![\w.])([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{([^}]*)\})?")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_HISTOGRAM_ENDINGS = ("_bucket", "_count", "_sum")


class Query(NamedTuple):
    """One expression and where it stands."""

    place: str
    expression: str


def of_dashboard(path: Path) -> Iterator[Query]:
    """The queries of every panel."""
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "15s")
            yield Query(f"{path.stem}: {panel['title']}", expression)


def of_alerts(path: Path) -> Iterator[Query]:
    """The expressions of every rule."""
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            yield Query(f"{path.stem}: {rule.get('alert') or rule['record']}", rule["expr"])


def metrics_of(expression: str) -> dict[str, set[str]]:
    """Metric -> labels that are asked of it, by matchers or by groupings around it."""
    bare = _STRING.sub('""', expression)
    grouped = {label.strip() for inside in _GROUPING.findall(bare) for label in inside.split(",")} - {""}
    plain = _GROUPING.sub(" ", _RANGE.sub(" ", bare))
    found: dict[str, set[str]] = {}
    for match in _SELECTOR.finditer(plain):
        name, matchers = match[1], match[2] or ""
        is_function = plain[match.end() :].lstrip().startswith("(")
        if name not in _WORDS and not is_function:
            found.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers), grouped)
    return found


def family(metric: str) -> str:
    """The catalogue's name of a series: histograms show three series each."""
    for ending in _HISTOGRAM_ENDINGS:
        if metric.endswith(ending):
            return metric.removesuffix(ending)
    return metric
