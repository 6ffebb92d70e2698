"""The list of rights in Kafka: of topics that there are, and the same on its page."""

import json
from pathlib import Path

from libs.common.bus import DEAD_LETTER_SUFFIX
from libs.devstack import topics
from tests.support.guarded_kafka import ACCESS, listed


def test_every_topic_is_made_and_what_is_read_has_dead_letters() -> None:
    rights = listed()
    assert {right.name for right in rights if right.kind == "topic"} <= {topic.name for topic in topics.listed()}
    groups = {(right.service, right.name) for right in rights if right.kind == "group" and right.operation == "Read"}
    dead = {(right.service, right.name) for right in rights if right.name.endswith(DEAD_LETTER_SUFFIX)}
    assert len(groups) == len(dead) > 0


def test_the_page_says_what_the_list_says(repository: Path) -> None:
    page = (repository / "docs" / "guides" / "kafka-access.md").read_text(encoding="utf-8")
    found = [line for line in page.splitlines() if line.startswith(("| ledger", "| invoicing"))]
    assert found == [
        f"| {row['service']} | {kind} `{row[kind]}` | {', '.join(row['operations'])} |"
        for row in json.loads(ACCESS.read_text(encoding="utf-8"))
        for kind in ("topic", "group")
        if kind in row
    ]
