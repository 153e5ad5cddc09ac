"""What is tried of every input: each topic in two forms, read alone and fed among neighbours."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import orjson

from tests.poison.checks import DeskTrial, DetectorTrial, check_decoding, is_detectors
from tests.poison.world import TOPICS, at_ms, body, columns, good, key_of, readings
from tests.support import Record

CORPUS = Path(__file__).parent / "corpus.txt"
"""Inputs in base64, one a line."""
TRIALS = 64
"""Inputs that one pair of doors sees before new ones stand there: long enough for poison to add up."""
ARRIVAL_S = 100.0


class Target:
    """Takes one input after the other. Its first byte chooses the topic, the others are the value."""

    def __init__(self) -> None:
        self.number = 0
        self.detectors, self.desks = DetectorTrial(), DeskTrial()

    def take(self, data: bytes) -> None:
        """AssertionError, or whatever the code raises, where something does not hold."""
        if not data:
            return
        topic = TOPICS[data[0] % len(TOPICS)]
        record = Record(data[1:], key_of(topic), at_ms(ARRIVAL_S), offset=1)
        check_decoding(topic, record)
        self.number += 1
        second = 4.0 + self.number % TRIALS
        if self.number % TRIALS == 0:
            self.detectors.advance(ARRIVAL_S)
            self.desks.advance(3600.0)
            self.detectors, self.desks = DetectorTrial(), DeskTrial()
        among = [good(topic, second), record, good(topic, second + 0.5, offset=2)]
        if is_detectors(topic):
            self.detectors.feed(topic, among)
        else:
            self.desks.feed(topic, among)


def seeds() -> list[bytes]:
    """A good record of each topic in each of its shapes, and what reached something new in earlier runs."""
    shapes = [(topic, body(topic, 4.2)) for topic in TOPICS]
    shapes += [("camera.tracks", columns(4.2)), ("sensor.readings", readings(4.2))]
    good = [bytes([TOPICS.index(topic)]) + orjson.dumps(said) for topic, said in shapes]
    return [*good, *map(b64decode, CORPUS.read_bytes().split())]
