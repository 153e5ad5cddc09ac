"""What must hold of any record whatever, for tests and fuzzers alike: no exception, one bin, no neighbour affected, and
every way of reading it the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from models.columns import scalar
from models.dead_letters import Vault, as_json, dead_letter, letter_body
from models.decode import Decoded
from models.detections import Detection
from models.faults import find_fault
from models.observations import WIRE_TYPES, DeadReason, DecodeFailure
from models.scanner import TOPICS as SCANNED
from models.scanner import Scanner
from models.streams import DETECTOR_TOPICS, STREAMS
from rules.detection.detector import Detector, LaneOutcome
from rules.incidents.desk import BINS, DeskOutcome
from streams.agents.desk import STEP
from streams.agents.queues import Part, Queues, Step, kept, pieces
from streams.publishing import Letters, desk_messages, detection_messages, lane_letters
from streams.topics import TOPICS as SPECS
from streams.transport import TP, Chunk
from streams.transport import Record as Fetched
from tests.poison.world import HOME, OPENING_S, at_ms, city, good
from tests.support import Record

VAULT = Vault(b"a key for tests")
UNITS = {m.name: m.unit for m in city().tables.metrics.values() if m.unit is not None}
_scanners: dict[str, Scanner | None] = {}


# ------------------------------------------------------------------------------------------------------------- decoding


def check_decoding(topic: str, record: Record) -> DecodeFailure | None:
    """The record alone, read in every way there is; why it is none, if so."""
    if topic not in WIRE_TYPES:
        return check_desk_decoding(topic, record)
    decoded = city().decoder.decode(topic, [record])
    fault = find_fault(topic, record.value, record.timestamp * 1000, UNITS)
    said = [(f.reason, f.path, f.detail) for f in decoded.failures]
    assert said == ([] if fault is None else [tuple(fault)]), (said, fault)
    if topic in SCANNED and record.value is not None:
        check_scanned(topic, record, decoded)
    return check_failure(topic, record, decoded.failures[0]) if decoded.failures else None


def check_scanned(topic: str, record: Record, decoded: Decoded) -> None:
    """What the scanner takes of it is what decoding by type gives."""
    if topic not in _scanners:
        _scanners[topic] = city().decoder.scanner(topic)
    scanner = _scanners[topic]
    if scanner is None or record.value is None:
        return
    scanned = scanner.scan([record.value], np.array([record.timestamp * 1000], dtype=np.int64))
    if not scanned.taken[0]:
        return
    assert not decoded.failures, decoded.failures
    assert decoded.unknown_fields == 0
    assert rows(scanned.batch) == rows(decoded.batch)
    assert scanned.record_time_us.tolist() == decoded.record_time_us.tolist()
    source = decoded.source.at(0)
    assert source is not None
    assert scanned.source.piece(0) == source.encode()
    if scanned.natural is not None:
        assert [scanned.natural.piece(0)] == decoded.natural_keys or record.headers


def rows(batch: Any) -> list[str]:
    """Every cell of every row as text, so that -0.0 is not 0.0 and nothing compares unequal to itself."""
    return [
        repr(
            (
                int(batch.time_us[row]),
                [(name, scalar(batch.columns[name], row)) for name in STREAMS[batch.topic].fields],
            )
        )
        for row in range(len(batch))
    ]


def check_desk_decoding(topic: str, record: Record) -> DecodeFailure | None:
    decoder = city().decoder
    decode = {
        "detections": decoder.decode_detection,
        "dispatch.feedback": decoder.decode_feedback,
        "commands": decoder.decode_command,
    }[topic]
    said = decode(record)
    return check_failure(topic, record, said) if isinstance(said, DecodeFailure) else None


def check_failure(topic: str, record: Record, failure: DecodeFailure) -> DecodeFailure:
    """A failure says what was expected and found, and its letter is whole and can be published."""
    assert failure.reason is not DeadReason.INTERNAL, failure
    assert failure.path.startswith("$")
    assert "expected" in failure.detail
    assert len(failure.detail) < 300
    assert len(failure.path) < 3000
    letter = dead_letter(topic, HOME, record, failure, VAULT)
    assert len(as_json(letter)) < 4 << 20
    assert letter_body(letter, VAULT) == (None if record.value is None else record.value[: 2 << 20])
    return failure


# ------------------------------------------------------------------------------------------------------------ detectors


class DetectorTrial:
    """Three Detectors: compiled loops and plain ones are fed everything, the third all but what the others refuse."""

    def __init__(self) -> None:
        self.compiled = city().detector(HOME)
        self.plain = city(compiled=False).detector(HOME)
        self.spared = city().detector(HOME)

    def feed(self, topic: str, records: Sequence[Record]) -> LaneOutcome:
        """All of one batch, checked; what the compiled one says."""
        outcome = self.compiled.feed(topic, records)
        check_bins(outcome, len(records))
        assert self.plain.feed(topic, records) == outcome
        dead = {failure.record for failure in outcome.dead}
        spared = [record for number, record in enumerate(records) if number not in dead]
        alone = self.spared.feed(topic, spared)
        assert alone.detections == outcome.detections
        told = detection_messages(outcome.detections, "city", HOME)
        for message in told + lane_letters(outcome, records, topic, HOME, Letters(VAULT)):
            assert len(message.value) < SPECS[message.topic].max_message_bytes
        assert bins(alone)[:4] == bins(outcome)[:4]
        assert not alone.dead
        return outcome

    def advance(self, second: float) -> list[Detection]:
        """All three told the time."""
        told: list[list[Detection]] = [each.advance(at_ms(second) * 1000) for each in self.all()]
        assert told[0] == told[1] == told[2]
        return told[0]

    def all(self) -> tuple[Detector, Detector, Detector]:
        return self.compiled, self.plain, self.spared


def bins(outcome: LaneOutcome) -> tuple[int, int, int, int, int]:
    """used, filtered, duplicate, late, dead."""
    return outcome.used, outcome.filtered, outcome.duplicate, len(outcome.late), len(outcome.dead)


def check_bins(outcome: LaneOutcome, fed: int) -> None:
    """Every record in exactly one bin."""
    assert sum(bins(outcome)) == fed
    assert min(bins(outcome)) >= 0
    named = [failure.record for failure in outcome.dead] + [late.record for late in outcome.late]
    assert len(set(named)) == len(named)
    assert set(named) <= set(range(fed))


# ---------------------------------------------------------------------------------------------------------------- desks


class DeskTrial:
    """Two Desks: one is fed everything, the other all but what the first refuses; and what goes before a Desk."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str, bytes]] = []
        self.desk, self.spared = city().desk(), city().desk()
        for desk in (self.desk, self.spared):
            desk.feed("detections", [good("detections", OPENING_S)])
        self.queues = Queues(tuple(f for f in ("detections", "hotline.tickets", "vehicle.positions")), 1, "t", {})

    def feed(self, topic: str, records: Sequence[Record]) -> DeskOutcome:
        """All of one batch, checked; what the first Desk says."""
        self.check_way(topic, records)
        outcome = self.desk.feed(topic, records)
        counted = {name: outcome.counts.get(name, 0) for name in BINS}
        assert sum(counted.values()) == len(records), outcome.counts
        assert counted["dead"] == len(outcome.failures)
        dead = {failure.record for failure in outcome.failures}
        assert len(dead) == len(outcome.failures)
        spared = [record for number, record in enumerate(records) if number not in dead]
        alone = self.spared.feed(topic, spared)
        assert not alone.failures
        made = published(outcome)
        assert published(alone) == made
        self.made += made
        assert {**outcome.counts, "dead": 0} == {**alone.counts, "dead": 0}
        return outcome

    def check_way(self, topic: str, records: Sequence[Record]) -> None:
        """What stands before a Desk takes them too: the journal gives back what it was given, a queue finds a turn."""
        step = Step([Part([(topic, [kept(record) for record in records])], None)], {topic: 1})
        for piece in pieces(step):
            blob = msgspec.msgpack.encode(piece)
            assert len(blob) < SPECS["desk.journal"].max_message_bytes
            assert STEP.decode(blob) == piece
        chunk = Chunk(TP(topic, 0), [Fetched(r.offset, r.timestamp, r.key, r.value, r.headers) for r in records])
        self.queues.put(topic, chunk)

    def advance(self, second: float) -> None:
        """Both told the time; what they remember can be kept, and says the same."""
        now_us = at_ms(second) * 1000
        assert published(self.desk.advance(now_us)) == published(self.spared.advance(now_us))
        blob = self.desk.snapshot()
        assert blob == self.spared.snapshot()
        self.desk.restore(blob)


def published(outcome: DeskOutcome) -> list[tuple[str, str, bytes]]:
    """What is sent of it; each fits its topic."""
    messages = desk_messages(outcome.outputs)
    assert all(len(m.value) < SPECS[m.topic].max_message_bytes for m in messages)
    return [(m.topic, m.id, m.value) for m in messages]


def is_detectors(topic: str) -> bool:
    return topic in DETECTOR_TOPICS
