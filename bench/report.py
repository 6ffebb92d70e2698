"""What a benchmark prints: machine, settings, every figure with its runs and spread, and a reference beside it."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Figure:
    """One measured figure: the median of its runs, their spread ((max - min) / median), and its reference."""

    name: str
    value: float
    unit: str
    runs: list[float]
    spread: float
    reference: float | None = None
    ratio: float | None = None
    note: str = ""


@dataclass(slots=True)
class Report:
    """All figures of one program on one machine."""

    program: str
    settings: dict[str, str]
    figures: list[Figure] = field(default_factory=list)

    def add(
        self, name: str, runs: Sequence[float], unit: str, reference: float | None = None, note: str = ""
    ) -> Figure:
        """Adds a figure from its runs and prints it."""
        value = statistics.median(runs)
        spread = (max(runs) - min(runs)) / value if value else 0.0
        figure = Figure(name, value, unit, [round(run, 2) for run in runs], round(spread, 3), reference, None, note)
        if reference:
            figure.ratio = round(value / reference, 3)
        self.figures.append(figure)
        against = f"  {figure.ratio:6.1%} of {reference:,.0f}" if reference else ""
        print(f"{name:58s} {value:12,.1f} {unit:10s} spread {spread:5.0%}{against}  {note}", flush=True)
        return figure

    def head(self) -> None:
        """Prints the machine and the settings."""
        for name, value in {**machine(), **self.settings}.items():
            print(f"{name:20s} {value}")
        print(flush=True)

    def write(self, path: Path) -> None:
        """Writes the figures as a JSON list, with machine and settings beside it in <path>.machine.json."""
        path.write_text(json.dumps([asdict(figure) for figure in self.figures], indent=2) + "\n")
        about = {"program": self.program, "machine": machine(), "settings": self.settings}
        path.with_suffix(".machine.json").write_text(json.dumps(about, indent=2) + "\n")


def machine() -> dict[str, str]:
    """Processor, cores, memory, load and versions."""
    processor = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    memory_kib = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "processor": processor,
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory_kib) / 1024**2:.0f} GiB",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "commit": commit or "none",
    }


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []
