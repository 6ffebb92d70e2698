"""The source held to the house rules, by tests over the source. The rules and their samples are in tests/tidy."""

import os
from pathlib import Path

import pytest

from tests.tidy import place_rules, proof_rules, repository_rules, size_rules, tree, word_rules
from tests.tidy.tree import Rule, Tree

RULES = [
    *size_rules.RULES,
    *word_rules.RULES,
    *place_rules.RULES,
    *proof_rules.RULES,
    *repository_rules.RULES,
]
_EACH = pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])


@pytest.fixture(scope="session")
def source(repository: Path) -> Tree:
    return tree.read(repository)


@_EACH
def test_the_source_keeps_the_rule(rule: Rule, source: Tree) -> None:
    findings = list(rule.find(source))
    assert not findings, "\n".join(["", *findings])


@_EACH
def test_the_rule_refuses_its_bad_sample(rule: Rule) -> None:
    assert list(rule.find(rule.bad))


@_EACH
def test_the_rule_lets_its_good_sample_through(rule: Rule) -> None:
    assert list(rule.find(rule.good)) == []


def test_rule_names_are_unique() -> None:
    names = [rule.name for rule in RULES]
    assert len(names) == len(set(names))


def test_scripts_can_be_executed(repository: Path) -> None:
    for script in (".ci/run", ".ci/environment"):
        assert os.access(repository / script, os.X_OK), script
