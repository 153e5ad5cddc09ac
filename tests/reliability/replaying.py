"""What the core makes of a load without a broker, as it would stand on topics."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

from models.streams import DETECTOR_TOPICS
from streams.city import City, build_city
from streams.feeding import TICKED_TOPICS
from streams.recording import RecordedLine
from streams.replay import Replay, Summary
from streams.settings import SHIPPED_REGISTRY, SHIPPED_ZONES, Settings
from streams.topics import partition_for
from tests.reliability.load import DRAIN_S, Load
from tests.reliability.outputs import TP, Kept, Run

RULES = Path(__file__).parent / "rules.yaml"
PARTITIONS = 4


@cache
def city() -> City:
    """The shipped places under the harness's rules."""
    return build_city(Settings.read(), rules=[RULES], zones=[SHIPPED_ZONES], registry=SHIPPED_REGISTRY)


def replayed(load: Load) -> tuple[list[RecordedLine], Summary]:
    """Everything that a replay publishes, and its bins."""
    run = Replay(city(), partitions=PARTITIONS)
    return list(run.run(load.lines(), drain_ms=DRAIN_S * 1000)), run.summary


def as_run(lines: list[RecordedLine], load: Load) -> Run:
    """A replay's outputs as if they stood on topics, beside the load, all of it done, by one Desk."""
    run, ends = Run(), Counter[TP]()
    for line in [*load.lines(), *lines]:
        assert line.topic is not None
        partition = partition_for(line.key or b"", PARTITIONS) if line.topic in DETECTOR_TOPICS else 0
        headers = (*line.headers, ("ce_epoch", b"1"))
        offset = ends[line.topic, partition]
        run.records[line.topic].append(
            Kept(line.topic, partition, offset, line.timestamp_ms, line.key, line.value, headers)
        )
        ends[line.topic, partition] += 1
    run.ends = {tp: end for tp, end in ends.items() if tp[0] in TICKED_TOPICS}
    run.committed = dict(run.ends)
    return run
