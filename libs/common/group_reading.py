"""How far a consumer group has read a topic, for whoever waits for what that group does.

The lag of this very moment says little: a topic that is written to is never read to its end. So the question names an
instant: is there anything unread that was written before it? While Kafka does not answer, everything counts as unread.

Where the broker has access rules, they have to let this service describe the group (`deploy/kafka/access.json`). Where
they do not, nobody can tell, and that will not change by waiting: nothing counts as unread then, so that the asker goes
by time alone. The log says so when it begins and when it ends, the gauge says so all the while.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from libs.common import metrics
from libs.common.bus import KafkaSettings
from libs.common.errors import Failure, Misconfigured, Transient
from libs.common.telemetry import get_logger

log = get_logger(__name__)

_MS_PER_S: Final = 1_000


class Hidden(Failure):
    """The broker does not show this service what it asked for."""


class GroupReading:
    """`group` as it reads `topic`, by the offsets that it commits."""

    def __init__(self, kafka: KafkaSettings, group: str, topic: str) -> None:
        self._kafka, self._group, self._topic = kafka, group, topic
        self._is_hidden = False
        self._gauge = metrics.KAFKA_GROUP_HIDDEN.labels(group)
        self._gauge.set(0)

    async def is_behind(self, instant: datetime) -> bool:
        """Whether something that was written before `instant` is unread; False where the broker will not tell."""
        try:
            wanted = await self._written_before(instant)
            committed = await self._committed()
        except Hidden as hidden:
            self._show(hidden)
            return False
        except (Transient, KafkaError) as error:
            log.warning("group-not-seen", group=self._group, topic=self._topic, error=str(error) or repr(error))
            return True
        self._show(None)
        return any(place not in committed or committed[place].offset < end for place, end in wanted.items())

    def _show(self, hidden: Hidden | None) -> None:
        """In the gauge always, in the log where it changed."""
        was, self._is_hidden = self._is_hidden, hidden is not None
        self._gauge.set(self._is_hidden)
        if hidden is not None and not was:
            log.warning("group-hidden", group=self._group, topic=self._topic, error=str(hidden))
        elif was and hidden is None:
            log.info("group-shown", group=self._group, topic=self._topic)

    async def _committed(self) -> Mapping[TopicPartition, Any]:
        """What the group committed, by partition."""
        async with self._kafka.admin() as admin:
            try:
                found: Mapping[TopicPartition, Any] = await admin.list_consumer_group_offsets(self._group)
            except GroupAuthorizationFailedError as refused:
                raise Hidden(f"Kafka does not let us describe group {self._group}.") from refused
        return found

    async def _written_before(self, instant: datetime) -> dict[TopicPartition, int]:
        """Behind the last record before `instant`, for the partitions that have one."""
        places = [TopicPartition(self._topic, number) for number in range(await self._partitions())]
        reader = self._kafka.reader(f"{self._group}-seen")
        try:
            await reader.start()
            first = await reader.beginning_offsets(places)
            last = await reader.end_offsets(places)
            later = await reader.offsets_for_times(dict.fromkeys(places, int(instant.timestamp() * _MS_PER_S)))
        finally:
            await reader.stop()
        ends = {place: last[place] if later[place] is None else later[place].offset for place in places}
        return {place: end for place, end in ends.items() if end > first[place]}

    async def _partitions(self) -> int:
        try:
            topics = (await self._kafka.cluster([self._topic])).topics
        except Misconfigured as refused:
            raise Hidden(str(refused)) from refused
        if self._topic not in topics:
            raise Hidden(f"Kafka shows us no topic {self._topic}.")
        return topics[self._topic].partitions
