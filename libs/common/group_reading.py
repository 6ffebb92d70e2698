"""How far a consumer group has read a topic, for whoever waits for what that group does.

The lag of this very moment says little: a topic that is written to is never read to its end. So the question names an
instant: is there anything unread that was written before it? Where the broker has access rules, they have to let this
service describe the group; what cannot be seen counts as unread, and the log says so.
"""

from datetime import datetime
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from libs.common.bus import KafkaSettings
from libs.common.errors import Transient
from libs.common.telemetry import get_logger

log = get_logger(__name__)

_MS_PER_S: Final = 1_000


class GroupReading:
    """`group` as it reads `topic`, by the offsets that it commits."""

    def __init__(self, kafka: KafkaSettings, group: str, topic: str) -> None:
        self._kafka, self._group, self._topic = kafka, group, topic

    async def is_behind(self, instant: datetime) -> bool:
        """Whether something that was written before `instant` is unread, or nobody can tell."""
        try:
            wanted = await self._written_before(instant)
            async with self._kafka.admin() as admin:
                committed = await admin.list_consumer_group_offsets(self._group)
        except (Transient, KafkaError) as error:
            log.warning("group-not-seen", group=self._group, topic=self._topic, error=str(error) or repr(error))
            return True
        return any(place not in committed or committed[place].offset < end for place, end in wanted.items())

    async def _written_before(self, instant: datetime) -> dict[TopicPartition, int]:
        """Behind the last record before `instant`, for the partitions that have one."""
        partitions = (await self._kafka.cluster([self._topic])).topics[self._topic].partitions
        places = [TopicPartition(self._topic, number) for number in range(partitions)]
        reader = self._kafka.reader(f"{self._group}-seen")
        try:
            await reader.start()
            first = await reader.beginning_offsets(places)
            last = await reader.end_offsets(places)
            later = await reader.offsets_for_times(dict.fromkeys(places, int(instant.timestamp()) * _MS_PER_S))
        finally:
            await reader.stop()
        ends = {place: last[place] if later[place] is None else later[place].offset for place in places}
        return {place: end for place, end in ends.items() if end > first[place]}
