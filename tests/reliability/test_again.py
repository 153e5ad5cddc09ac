"""F10 on a real Kafka: everything is sent again, or the group forgets where it was. Nothing comes of it twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from models.streams import DETECTOR_TOPICS
from tests.kafka.broker import KafkaBroker
from tests.reliability.bed import Bed
from tests.reliability.equations import ONCE, doubled_raw, findings, outcome
from tests.reliability.load import Load
from tests.reliability.outputs import Run

DECIDED = [topic for topic in ONCE if topic not in ("late", "dead-letters")]


def forget_group(kafka: KafkaBroker, group: str) -> None:
    admin: Any = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for result in admin.delete_consumer_groups([group]).values():
        result.result(30)


def decided(run: Run) -> dict[str, int]:
    """How many records stand on each topic of what is decided."""
    return {"detections": len(run.detections()), **{topic: len(run.of(topic)) for topic in DECIDED}}


@pytest.mark.slow
def test_what_is_sent_again_and_a_group_that_forgot_its_offsets_add_nothing(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path
) -> None:
    load = Load(61, seconds=40)
    with Bed(kafka.bootstrap, unique_prefix, tmp_path) as bed:
        bed.start_worker("first")
        with bed.feeding(load, speed=15):
            pass
        bed.settle()
        assert bed.stop() == {"first": 0}
        once = bed.read()
        assert findings(once, load, raw_at_most=0) == []
        # Without its offsets the group would begin at the earliest record; the state says where to go on.
        forget_group(kafka, unique_prefix)
        bed.start_worker("second")
        bed.settle()
        assert decided(bed.read()) == decided(once)
        with bed.feeding(load, speed=0):
            pass
        bed.settle()
        assert bed.stop() == {"second": 0}
        again = bed.read()
    data = sum(record.topic in DETECTOR_TOPICS for record in load.records)
    late, dead = (len(again.of(name)) - len(once.of(name)) for name in ("late", "dead-letters"))
    assert sum(record.value is not None for topic in DETECTOR_TOPICS for record in again.of(topic)) == 2 * data
    assert dead == sum(record.fate.startswith("dead:") for record in load.records)
    assert late == 0, "what is not two minutes old is known for a double"
    assert decided(again) == decided(once)
    assert doubled_raw(again) == 0
    assert outcome(again) == outcome(once)
