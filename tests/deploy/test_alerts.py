"""Every alert fires and stays silent where it should, and names a runbook that is there."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import prometheus


@pytest.fixture(scope="module")
def rules(repository: Path) -> list[dict[str, Any]]:
    groups = prometheus.load(repository / "deploy" / "prometheus" / "alerts.yml")["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


async def test_promtool_s_unit_tests_pass(repository: Path) -> None:
    program = prometheus.tool("promtool")
    folder = repository / "deploy" / "prometheus"
    for arguments in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]):
        done = await asyncio.create_subprocess_exec(
            program, *arguments, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await done.communicate()
        assert done.returncode == 0, said.decode()


async def test_prometheus_settings_are_read(repository: Path) -> None:
    program = prometheus.tool("promtool")
    done = await asyncio.create_subprocess_exec(
        program, "check", "config", "prometheus.yml",
        cwd=repository / "deploy" / "prometheus", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await done.communicate()
    assert done.returncode == 0, said.decode()


def test_every_alert_is_tried_firing_and_silent(repository: Path, rules: list[dict[str, Any]]) -> None:
    tests = prometheus.load(repository / "deploy" / "prometheus" / "alerts.test.yml")["tests"]
    tried = [(case["alertname"], bool(case.get("exp_alerts"))) for test in tests for case in test["alert_rule_test"]]
    for rule in rules:
        assert (rule["alert"], True) in tried, f"{rule['alert']} is never seen firing"
        assert (rule["alert"], False) in tried, f"{rule['alert']} is never seen silent"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert(repository: Path, rules: list[dict[str, Any]]) -> None:
    named = {rule["annotations"]["runbook"]: rule["alert"] for rule in rules}
    pages = {f"docs/runbooks/{path.name}": path.read_text(encoding="utf-8") for path in
             (repository / "docs" / "runbooks").glob("*.md")}  # fmt: skip
    assert set(named) == set(pages)
    for page, alert in named.items():
        assert pages[page].startswith(f"# {alert}\n")
        headings = [line for line in pages[page].splitlines() if line.startswith("## ")]
        assert headings == ["## Look", "## Do", "## Afterwards"], page


def test_every_alert_says_how_urgent_it_is(rules: list[dict[str, Any]]) -> None:
    assert {rule["labels"]["severity"] for rule in rules} == {"page", "ticket"}
