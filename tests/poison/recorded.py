"""All poison in one recording among good records of every topic, and what must come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from models.streams import DETECTOR_TOPICS
from streams.publishing import CENTRE_PARTITION
from streams.recording import RecordedLine, RecordingWriter
from tests.poison.cases import Case, cases
from tests.poison.world import HOME, SECONDS, TOPICS, good, key_of

Place = tuple[str, int, int]
"""Topic, partition, offset."""


class Sent(NamedTuple):
    """A line, and what it is a case of, if it isn't good."""

    line: RecordedLine
    case: Case | None


def in_order(poison: Sequence[Case]) -> list[Sent]:
    """Good records of every topic, a second apart, and this between them, in order of arrival."""
    found = [
        Sent(RecordedLine(topic, key_of(topic), record.timestamp, record.value), None)
        for second in range(SECONDS)
        for topic in TOPICS
        for record in [good(topic, second)]
    ]
    return sorted([*found, *(Sent(line_of(case), case) for case in poison)], key=lambda sent: sent.line.timestamp_ms)


def line_of(case: Case) -> RecordedLine:
    record = case.record
    return RecordedLine(case.topic, record.key, record.timestamp, record.value, record.headers, partition_of(case))


def partition_of(case: Case) -> int:
    """Where it stands."""
    if case.partition is not None:
        return case.partition
    return HOME if case.topic in DETECTOR_TOPICS else CENTRE_PARTITION


def expected_letters() -> list[tuple[Place, Case]]:
    """The dead letters of all poison, by place."""
    counted: Counter[tuple[str, int]] = Counter()
    found: list[tuple[Place, Case]] = []
    for line, case in in_order([*harmless_cases(), *dead_cases()]):
        assert line.topic is not None
        at = line.topic, (HOME if line.topic in DETECTOR_TOPICS else 0) if line.partition is None else line.partition
        if case is not None and case.reason is not None:
            found.append(((*at, counted[at]), case))
        counted[at] += 1
    return sorted(found, key=lambda pair: pair[0])


def write(path: Path, poison: Sequence[Case]) -> None:
    """A recording of the good records and this."""
    with RecordingWriter(str(path)) as writer:
        for line, _ in in_order(poison):
            writer.write(line)


def dead_cases() -> list[Case]:
    return [case for case in cases() if case.reason is not None]


def harmless_cases() -> list[Case]:
    return [case for case in cases() if case.reason is None]
