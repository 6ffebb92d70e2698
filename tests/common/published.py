"""What was published: read back, and its order checked."""

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common.bus import Message


async def read(bootstrap: str, topic: str) -> list[tuple[int, bytes, bytes]]:
    """(partition, key, value) of everything that is committed in the topic."""
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await reader.start()
    try:
        places = [TopicPartition(topic, number) for number in range(3)]
        reader.assign(places)
        await reader.seek_to_beginning(*places)
        ends = await reader.end_offsets(places)
        found: list[tuple[int, bytes, bytes]] = []
        while any([await reader.position(place) < ends[place] for place in places]):
            for place, records in (await reader.getmany(timeout_ms=500)).items():
                found += [(place.partition, record.key, record.value) for record in records]
        return found
    finally:
        await reader.stop()


def numbered(topic: str, count: int, keys: int = 50) -> list[Message]:
    return [Message(topic, b"key-%d" % (number % keys), b"%d" % number, [("n", b"1")]) for number in range(count)]


def assert_in_order(found: Sequence[tuple[int, bytes, bytes]], keys: int = 50) -> None:
    """Within each key the numbers rise by the number of keys, once what was published again is passed over."""
    last: dict[bytes, int] = {}
    for _, key, value in found:
        number = int(value)
        expected = last.get(key, int(key[4:]) - keys) + keys
        assert number <= expected, f"{key!r}: {number} came where {expected} was due"
        last[key] = max(number, last.get(key, -1))
