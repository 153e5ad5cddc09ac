"""Only the client: aiokafka's `getmany`, each message decoded into a typed struct, and nothing made of it.

python -m benchmarks.contestants.raw_client SERVERS TOPIC COUNT
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.commands.worker import spare_the_collector


class Seen(msgspec.Struct):
    track_id: str
    kind: str = msgspec.field(name="class")
    lon: float
    lat: float
    confidence: float
    speed_mps: float


class Frame(msgspec.Struct):
    sensor_id: str
    frame_time: int
    objects: list[Seen]


async def read(servers: str, topic: str, count: int) -> dict[str, float]:
    """The first batch starts the clock and isn't measured."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(topic, p) for p in sorted(await partitions(consumer, topic))])
    decode = msgspec.json.Decoder(Frame).decode
    messages = observations = first = 0
    began = 0.0
    while messages < count:
        for records in (await consumer.getmany(timeout_ms=1000)).values():
            frames = [decode(record.value) for record in records]
            messages += len(frames)
            observations += sum([len(frame.objects) for frame in frames])
            if not first:
                first, began = observations, time.perf_counter()
    seconds = time.perf_counter() - began
    await consumer.stop()
    return {"observations": observations, "measured": observations - first, "seconds": seconds}


async def partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    while not (found := consumer.partitions_for_topic(topic)):
        await consumer._client.force_metadata_update()
        await asyncio.sleep(0.1)
    return set(found)


if __name__ == "__main__":
    spare_the_collector()  # for the bare client as for the worker
    print(json.dumps(asyncio.run(read(sys.argv[1], sys.argv[2], int(sys.argv[3])))), flush=True)
