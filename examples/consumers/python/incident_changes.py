"""事件变化，每个只取一次 / Every incident change once: reads `incidents` from the beginning, prints a line a change.

    pip install kafka-python
    python incident_changes.py --servers localhost:9092 --silence 10

zhinao delivers at least once. Two rules make that exactly once for a reader: within a partition ignore a record whose
`ce_epoch` is lower than one seen before (it is of a Desk that has been replaced), and take each (incident_id, revision)
once. Both are remembered here in memory only, because every run reads from the beginning; who goes on from a committed
offset keeps them beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from kafka import KafkaConsumer, TopicPartition

SHOWN = ("changed_at", "incident_id", "revision", "state", "reason")


def main() -> None:
    wanted = arguments()
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a text stream, also into a pipe
    consumer = KafkaConsumer(
        bootstrap_servers=wanted.servers.split(","),
        enable_auto_commit=False,
        consumer_timeout_ms=int(wanted.silence * 1000) if wanted.silence else float("inf"),
    )
    try:
        from_the_beginning(consumer, wanted.topic)
        for number, change in enumerate(changes(consumer), start=1):
            print(line(change), flush=True)
            if number == wanted.count:
                break
    finally:
        consumer.close()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Print every incident change once.")
    parser.add_argument("--servers", default="localhost:9092", help="host:port, several with commas")
    parser.add_argument("--topic", default="zhinao.incidents.v1")
    parser.add_argument("--silence", type=float, default=0, help="end after so many seconds without a record; 0: never")
    parser.add_argument("--count", type=int, default=0, help="end after so many changes; 0: never")
    return parser.parse_args()


def from_the_beginning(consumer: KafkaConsumer, topic: str) -> None:
    partitions = consumer.partitions_for_topic(topic)
    if not partitions:
        raise SystemExit(f"no topic {topic}")
    consumer.assign([TopicPartition(topic, partition) for partition in sorted(partitions)])
    consumer.seek_to_beginning()


def changes(records: Any) -> Iterator[dict[str, Any]]:
    """The changes of incidents in Kafka records, each once."""
    epochs: dict[int, int] = {}
    taken: set[tuple[str, int]] = set()
    for record in records:
        epoch = int(dict(record.headers).get("ce_epoch", b"0"))
        if epoch < epochs.get(record.partition, 0):
            continue
        epochs[record.partition] = epoch
        change = json.loads(record.value)
        identity = (change["incident_id"], change["revision"])
        if identity not in taken:
            taken.add(identity)
            yield change


def line(change: dict[str, Any]) -> str:
    return "\t".join([*(str(change[name]) for name in SHOWN), change["message"]["zh"]])


if __name__ == "__main__":
    main()
