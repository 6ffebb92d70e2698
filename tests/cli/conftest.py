"""Journals of beancount's generator, made once per run and seed."""

from collections.abc import Callable
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import pytest

from libs.cli import example_journal

MakeJournal = Callable[[int], Path]


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> MakeJournal:
    """A two-year journal for a seed, as a file."""
    if find_spec("beancount") is None:
        pytest.skip("not run: beancount is not installed")
    folder = tmp_path_factory.mktemp("journals")

    def make(seed: int) -> Path:
        path = folder / f"{seed}.beancount"
        example_journal.write(path, seed=seed, begin=date(2023, 3, 1), end=date(2025, 2, 28))
        return path

    return make
