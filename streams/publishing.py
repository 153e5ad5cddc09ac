"""What the doors return, as messages ready to send: topic, key, bytes, content id. No clock, no sockets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import msgspec

from models.columns import RawRecord
from models.dead_letters import Vault, dead_letter, late_record
from models.detections import Detection
from models.faults import MAX_ID, is_id
from models.incidents import Incident
from models.observations import DeadReason, DecodeFailure
from models.streams import DESK_TOPICS, URGENT_DETECTIONS
from models.traffic import TrafficState
from rules.detection.detector import LaneOutcome, Late
from rules.incidents.desk import Output

CENTRE_PARTITION = 0
"""The partition of the one command centre in every topic the Desk reads."""


class Letters(NamedTuple):
    """What becomes of a dead letter's body: sealed where there is a vault, else kept only if `keep_clear`."""

    vault: Vault | None = None
    keep_clear: bool = False


class Message(NamedTuple):
    """A record to publish. `topic` is the short name; `partition` None: by the key. `id` and `source` go out as `ce_id`
    and `ce_source`."""

    topic: str
    key: str
    value: bytes
    id: str
    partition: int | None = None
    source: str = "desk"


def encode(value: msgspec.Struct) -> bytes:
    """Compact JSON, fields in the order of the type."""
    return msgspec.json.encode(value)


def detector_source(partition: int) -> str:
    """Names the Detector of a partition in headers."""
    return f"detector/{partition}"


def detection_messages(
    detections: Iterable[Detection], centre: str, partition: int, urgent: Collection[str] = ()
) -> list[Message]:
    """To the Desk's partition, keyed by its command centre; those of urgent rules on a topic of their own."""
    return [
        Message(
            URGENT_DETECTIONS if d.rule in urgent else "detections",
            centre,
            encode(d),
            f"{d.detection_id}/{d.kind}/{d.stage or ''}/{d.event_time}",
            CENTRE_PARTITION,
            detector_source(partition),
        )
        for d in detections
    ]


def state_messages(states: Iterable[TrafficState], partition: int) -> list[Message]:
    """Keyed by segment, of which the newest is kept. `partition`: of the Detector that made them."""
    return [
        Message(
            "traffic.states",
            s.segment_id,
            encode(s),
            f"{s.segment_id}/{s.end_time}/{s.revision}",
            source=detector_source(partition),
        )
        for s in states
    ]


def is_area(key: bytes) -> bool:
    """Whether a key can be the id of an area."""
    try:
        return is_id(key.decode())
    except UnicodeDecodeError:
        return False


def stray(record: int, topic: str, key: bytes | None, partition: int) -> DecodeFailure:
    """A record of an input topic that no door is fed: nobody reads here what it is about, or its key, which may be its
    area, is no id."""
    if topic in DESK_TOPICS or topic == URGENT_DETECTIONS:
        detail = f"expected partition {CENTRE_PARTITION}, found {partition}"
    elif key is not None and not is_area(key):
        detail = f"expected a key of 1 to {MAX_ID} printable characters, found {len(key)} bytes that are none"
        return DecodeFailure(record, "route", DeadReason.BAD_ID, "$", detail)
    else:
        found = "no key" if key is None else "a key of another partition"
        detail = f"expected a key that murmur2 puts on partition {partition}, found {found}"
    return DecodeFailure(record, "route", DeadReason.WRONG_PARTITION, "$", detail)


def dead_messages(
    failures: Iterable[DecodeFailure], records: Sequence[RawRecord], topic: str, partition: int, letters: Letters
) -> list[Message]:
    """One dead letter a failed record."""
    return [
        Message(
            "dead-letters",
            topic,
            encode(dead_letter(topic, partition, records[f.record], f, *letters)),
            f"x-{topic}/{partition}/{records[f.record].offset}",
        )
        for f in failures
    ]


def late_messages(late: Iterable[Late], records: Sequence[RawRecord], topic: str, partition: int) -> list[Message]:
    return [
        Message(
            "late",
            topic,
            encode(late_record(topic, partition, records[at.record], at.late_by_us)),
            f"l-{topic}/{partition}/{records[at.record].offset}",
        )
        for at in late
    ]


def lane_letters(
    outcome: LaneOutcome, records: Sequence[RawRecord], topic: str, partition: int, letters: Letters
) -> list[Message]:
    """What a lane's outcome says of records that were not used."""
    return [
        *dead_messages(outcome.dead, records, topic, partition, letters),
        *late_messages(outcome.late, records, topic, partition),
    ]


def desk_messages(outputs: Iterable[Output]) -> list[Message]:
    """The Desk's outputs; every incident also to the compacted topic of newest states."""
    messages = []
    for output in outputs:
        value = encode(output.value)
        messages.append(Message(output.topic, output.key, value, output.id))
        if isinstance(output.value, Incident):
            messages.append(Message("incidents.state", output.key, value, output.id))
    return messages


def shadow_messages(outputs: Iterable[Output]) -> list[Message]:
    """What rules on trial would have made."""
    return [Message(output.topic, output.key, encode(output.value), output.id, source="shadow") for output in outputs]
