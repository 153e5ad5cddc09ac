"""`python -m tests.reliability.feed RECORDING SERVERS PREFIX SPEED DRAIN`: a load into Kafka by librdkafka.

The same order and clock as `zhinao feed`, whose client sometimes stays silent on a partition after a broker's restart
until its records expire. A load must outlive every fault.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from confluent_kafka import KafkaException, Message, Producer

from streams.feeding import TICKED_TOPICS, Feeder
from streams.recording import read_recording
from streams.topics import full_name
from tests.reliability.replaying import PARTITIONS

EXPIRE_MS = 120_000
BY_KEY = -1
BEGUN = "begun"


class Sent:
    """A record on its way."""

    def __init__(self, producer: Any) -> None:
        self.producer, self.is_done = producer, False
        self.error: object | None = None

    def delivered(self, error: object | None, _: Message) -> None:
        self.is_done, self.error = True, error

    def get(self, timeout: float) -> None:
        """Wait for its ack."""
        until = time.monotonic() + max(timeout, EXPIRE_MS / 1000 + 1)
        while not self.is_done and time.monotonic() < until:
            self.producer.poll(0.05)
        if not self.is_done or self.error is not None:
            raise KafkaException(self.error or "no ack in time")


class Sender:
    """What a Feeder asks of a producer."""

    def __init__(self, servers: str) -> None:
        self.producer: Any = Producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "message.timeout.ms": EXPIRE_MS,
                "reconnect.backoff.max.ms": 500,
                "linger.ms": 5,
                "log_level": 0,
            }
        )

    def send(
        self,
        full: str,
        *,
        value: bytes | None,
        key: bytes | None,
        partition: int | None,
        headers: list[tuple[str, bytes]],
        timestamp_ms: int,
    ) -> Sent:
        sent = Sent(self.producer)
        self.producer.produce(
            full,
            value=value,
            key=key,
            partition=BY_KEY if partition is None else partition,
            on_delivery=sent.delivered,
            timestamp=timestamp_ms,
            headers=headers,
        )
        self.producer.poll(0)
        return sent


def main(recording: str, servers: str, prefix: str, speed: str, drain_s: str) -> None:
    counts = {full_name(name, prefix): PARTITIONS for name in TICKED_TOPICS}
    sender = Sender(servers)
    sender.producer.list_topics(timeout=30)
    print(BEGUN, flush=True)

    def wait(seconds: float) -> bool:
        time.sleep(seconds)
        return False

    feeder = Feeder(sender, counts, prefix, speed=float(speed), wait=wait)
    feeder.run(read_recording(recording), drain_s=float(drain_s))


if __name__ == "__main__":
    main(*sys.argv[1:])
