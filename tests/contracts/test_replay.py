"""A whole replay against the published schemas: what is published, what the crews answer, and what came in."""

from __future__ import annotations

import json
from base64 import b64decode

from models.contracts import CONTRACTS, Flow
from models.streams import URGENT_DETECTIONS
from tests.contracts.conftest import Replayed
from tests.contracts.judging import objections

ONLY_OF_WORKERS = {URGENT_DETECTIONS, "incidents.shadow", "rules.bundle"}
EVERY = 10
"""Of frames, which are many and alike, every tenth is looked at."""


def test_everything_published_and_answered_is_what_its_schema_says(replayed: Replayed) -> None:
    told = replayed.told
    wrong = [(topic, said) for topic, records in told.items() for each in records if (said := objections(topic, each))]
    assert wrong == []
    sent = {topic for topic, contract in CONTRACTS.items() if contract.flow is not Flow.IN} - ONLY_OF_WORKERS
    assert set(told) == sent | {"dispatch.feedback", "commands"}


def test_of_what_came_in_the_schemas_refuse_the_dead_and_no_other(replayed: Replayed) -> None:
    died = {b64decode(letter["body_b64"]) for letter in replayed.told["dead-letters"]}
    assert len(died) == replayed.dead > 0
    frames = 0
    for line in replayed.lines:
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
