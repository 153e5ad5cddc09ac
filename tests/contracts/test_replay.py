"""A whole replay against the published schemas: what is published, what the crews answer, and what came in."""

from __future__ import annotations

import json
from base64 import b64decode
from collections import defaultdict
from typing import Any

import pytest

from models.contracts import CONTRACTS
from rules.crews import Crews
from streams.city import build_city
from streams.recording import RecordedLine, read_recordings
from streams.replay import Fed, Replay
from streams.settings import Settings
from tests.conftest import REPOSITORY
from tests.contracts.judging import objections

RECORDING = REPOSITORY / "streams" / "recordings" / "pinghu.jsonl.gz"
DELAY_MS = 8_000  # longer than any topic's lateness
EVERY = 10
"""Of frames, which are many and alike, every tenth is looked at."""
Told = dict[str, list[Any]]


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


@pytest.fixture(scope="module")
def replayed() -> tuple[list[RecordedLine], Told, int]:
    """What came in, what was said by topic, and how many records died."""
    settings = Settings.read()
    city = build_city(settings)
    assert city.atlas.registry is not None
    crews = Crews(units=tuple(city.atlas.registry.units.values()), centre=city.centre)
    run = Heard(city, partitions=settings.partitions, crews=crews)
    lines = delayed(list(read_recordings([str(RECORDING)])))
    told: Told = defaultdict(list)
    for line in run.run(lines, drain_ms=3_600_000):
        told[str(line.topic)].append(json.loads(line.value or b"null"))
    for topic, value in run.heard:
        told[topic].append(json.loads(value))
    return lines, told, run.summary.bins["dead"]


def test_everything_published_and_answered_is_what_its_schema_says(replayed: tuple[Any, Told, int]) -> None:
    _, told, _ = replayed
    wrong = [(topic, said) for topic, records in told.items() for each in records if (said := objections(topic, each))]
    assert wrong == []
    sent = {topic for topic, contract in CONTRACTS.items() if contract.flow != "in"} | {"dispatch.feedback", "commands"}
    assert set(told) == sent


def test_of_what_came_in_the_schemas_refuse_the_dead_and_no_other(
    replayed: tuple[list[RecordedLine], Told, int],
) -> None:
    lines, told, dead = replayed
    died = {b64decode(letter["body_b64"]) for letter in told["dead-letters"]}
    assert len(died) == dead > 0
    frames = 0
    for line in lines:
        frames += line.topic == "camera.tracks"
        assert line.topic is not None
        assert line.value is not None
        if line.value in died:
            assert not is_json(line.value) or objections(line.topic, json.loads(line.value))
        elif line.topic != "camera.tracks" or frames % EVERY == 0:
            assert objections(line.topic, json.loads(line.value)) == []


def is_json(value: bytes) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True
