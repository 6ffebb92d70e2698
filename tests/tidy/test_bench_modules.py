"""Every benchmark can be loaded: nothing it names was moved or renamed since it was last run."""

import importlib
import pkgutil

import pytest

import bench

MODULES = sorted(found.name for found in pkgutil.iter_modules(bench.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_can_be_loaded(name: str) -> None:
    assert importlib.import_module(f"bench.{name}").__doc__


def test_the_benchmarks_are_found() -> None:
    assert {"ledger", "load", "report"} <= set(MODULES)
