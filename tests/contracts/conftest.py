"""One replay of the shipped recording for all tests of the contracts."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, NamedTuple

import pytest

from rules.crews import Crews
from streams.city import build_city
from streams.recording import RecordedLine, read_recordings
from streams.replay import Fed, Replay
from streams.settings import Settings
from tests.conftest import REPOSITORY

RECORDING = REPOSITORY / "streams" / "recordings" / "pinghu.jsonl.gz"
DELAY_MS = 8_000  # longer than any topic's lateness


class Replayed(NamedTuple):
    """What came in, what was said by topic, and how many records died."""

    lines: list[RecordedLine]
    told: dict[str, list[Any]]
    dead: int


class Heard(Replay):
    """A replay that keeps what the crews say to the Desk."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.heard: list[tuple[str, bytes]] = []

    def _feed_desk(self, topic: str, records: list[Fed], **more: Any) -> Any:
        if topic in ("dispatch.feedback", "commands"):
            self.heard += [(topic, record.value or b"") for record in records]
        return super()._feed_desk(topic, records, **more)


def delayed(lines: list[RecordedLine]) -> list[RecordedLine]:
    """The recording with one frame of a camera that arrives too late."""
    number = next(n for n, line in enumerate(lines) if line.topic == "camera.tracks" and n > len(lines) // 5)
    frame = lines[number]
    late = frame._replace(timestamp_ms=frame.timestamp_ms + DELAY_MS)
    return sorted([*lines[:number], late, *lines[number + 1 :]], key=lambda line: line.timestamp_ms)


@pytest.fixture(scope="session")
def replayed() -> Replayed:
    settings = Settings.read()
    city = build_city(settings)
    assert city.atlas.registry is not None
    crews = Crews(units=tuple(city.atlas.registry.units.values()), centre=city.centre)
    run = Heard(city, partitions=settings.partitions, crews=crews)
    lines = delayed(list(read_recordings([str(RECORDING)])))
    told = defaultdict[str, list[Any]](list)
    for line in run.run(lines, drain_ms=3_600_000):
        told[str(line.topic)].append(json.loads(line.value or b"null"))
    for topic, value in run.heard:
        told[topic].append(json.loads(value))
    return Replayed(lines, told, run.summary.bins["dead"])
