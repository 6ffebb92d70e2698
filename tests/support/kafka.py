"""The run's real Kafka as tests see it: one broker, topics with names of their own."""

import hashlib
from collections.abc import Mapping
from uuid import uuid4

from libs.devstack import topics
from tests.support import run


class KafkaBroker:
    """Fixture `kafka`."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._prefix = f"t{hashlib.sha256(run.run_secret().encode()).hexdigest()[:8]}.{uuid4().hex[:8]}"

    def topic(self, name: str) -> str:
        """The name with a prefix that is this worker's own; the same name gives the same topic."""
        return f"{self._prefix}.{name}"

    def unique_topic(self, name: str) -> str:
        """A name nobody else has, at every call another."""
        return f"{self._prefix}.{uuid4().hex[:8]}.{name}"

    async def create_topics(self, partitions: Mapping[str, int], config: Mapping[str, str] | None = None) -> None:
        """Creates topics (full name -> number of partitions) with these settings, and waits until they can be used."""
        await topics.ensure(
            self.bootstrap, [topics.Topic(name, count, config or {}) for name, count in partitions.items()]
        )
