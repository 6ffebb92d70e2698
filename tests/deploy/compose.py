"""docker-compose.yml as docker compose would read it: variables filled in from an env file, anchors merged."""

import re
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?])([^}]*))?\}")


def environment_file(path: Path) -> dict[str, str]:
    """NAME=value lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def variables(text: str) -> dict[str, str | None]:
    """Variable -> its default; None where there is none."""
    return {name: default if "-" in kind else None for name, kind, default in _VARIABLE.findall(text)}


def read(path: Path, environment: dict[str, str]) -> dict[str, Any]:
    """The whole file. Raises AssertionError for a variable that is not set and has no default."""

    def fill(match: re.Match[str]) -> str:
        name, kind, given = match[1], match[2] or "", match[3] or ""
        value = environment.get(name)
        if value is None or (value == "" and kind.startswith(":")):
            assert "-" in kind, f"{name} is not set and has no default"
            return given
        return value

    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    loaded: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(fill, "\n".join(lines)))
    return loaded
