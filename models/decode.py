"""Bytes to columns: one batch for a list of records, or the reason why a record is none.

The good path touches a record once (a typed decode built once per feed) and a row once (a gather per field); every
check on it is made on whole columns and only says *that* a record is bad. Why, and where, is found by `models.faults`.

Unknown fields: each record is first decoded by a type that refuses them; on a refusal it is decoded again by the type
that ignores them. The first COUNTED_RECORDS such records of a call are counted exactly; from then on the call decodes
with the ignoring type at once, so a feed that always sends more than we know costs the same as one that does not.
`unknown_fields` is thus a lower bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
import numpy as np

from models.building import Building
from models.columns import F64, I64, Batch, Mask, RawRecord, Texts
from models.detections import Detection
from models.dispatch import Command, Feedback
from models.faults import (
    LENIENT,
    MAX_BYTES,
    Fault,
    FaultFound,
    Row,
    check_detection,
    check_id,
    check_said,
    check_time,
    find_fault,
    read_typed,
    too_deep,
)
from models.gather import GATHER
from models.natural_keys import natural_keys
from models.observations import STRICT_TYPES, WIRE_TYPES, DeadReason, DecodeFailure
from models.privacy import Tokens, mask_text
from models.scanner import TOPICS, Scanner

STAGE = "decode"
COUNTED_RECORDS = 16  # records of one call whose unknown fields are counted exactly


class Decoded(NamedTuple):
    """What a list of records says. The batch has no rows and no sightings of failed records.

    source          a record: the sensor, device, segment or vehicle that it is of; what a failed one says means nothing
    natural_keys    a record: what makes it a duplicate of another on its topic; None where failed
    record_time_us  a record: its greatest event time; 0 where failed
    failures        in order of records, one for each that failed
    unknown_fields  fields that the contract does not name (a lower bound, see the module)
    crs             a record: the system of its positions, null for WGS-84
    columnar        a record: whether it came as columns, for the paths of later failures
    preset          a record: where its camera looks, NaN where it doesn't say; None but for camera.tracks
    """

    batch: Batch
    source: Texts
    natural_keys: list[bytes | None]
    record_time_us: I64
    failures: list[DecodeFailure]
    failed: Mask
    unknown_fields: int
    crs: Texts
    columnar: Mask
    preset: F64 | None

    def path_of(self, row: int, name: str) -> str:
        """Where in its record a field of a row stands."""
        if self.batch.topic != "camera.tracks":
            return f"$.{name}"
        record = int(self.batch.record[row])
        number = row - int(np.searchsorted(self.batch.record, record))
        return f"$.columns.{name}[{number}]" if self.columnar[record] else f"$.objects[{number}].{name}"


class Read(NamedTuple):
    """The records that could be read as their type: which (`at`), and what they say."""

    observations: list[Any]
    at: I64
    unknown_fields: int


class Decoder:
    """Built once per process; keeps no state but the tokens' cache.

    `metric_units` names the unit of each metric that has a fixed one; a reading in another unit is a failure.
    """

    def __init__(self, tokens: Tokens, metric_units: Mapping[str, str]) -> None:
        self._tokens = tokens
        self._metric_units = dict(metric_units)
        self._strict = {topic: msgspec.json.Decoder(kind).decode for topic, kind in STRICT_TYPES.items()}

    def decode(self, topic: str, records: Sequence[RawRecord]) -> Decoded:
        """One batch for all records, in their order. `topic` is one of the six observation feeds.

        Reading has no state, so a fault of ours that one record brings to light costs that record only (`internal`).
        """
        try:
            return self._decode(topic, records, {})
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 -- else the same record would end every process that comes to it
            return self._decode(topic, records, self._untouchable(topic, records))

    def _untouchable(self, topic: str, records: Sequence[RawRecord]) -> dict[int, str]:
        """The records that cannot even be read alone, and the name of what they raise."""
        found: dict[int, str] = {}
        for number, record in enumerate(records):
            try:
                self._decode(topic, [record], {})
            except MemoryError:
                raise
            except Exception as why:  # noqa: BLE001 -- as above
                found[number] = type(why).__name__
        return found

    def _decode(self, topic: str, records: Sequence[RawRecord], untouchable: Mapping[int, str]) -> Decoded:
        values = [None if number in untouchable else r.value for number, r in enumerate(records)]
        arrival_us = np.fromiter([r.timestamp for r in records], np.int64, len(records)) * 1000
        read = self._read(topic, values)
        building = Building(topic, len(records), arrival_us, read.at, GATHER[topic](read.observations))
        batch = building.batch(self._tokens, self._metric_units)
        failed = building.failed()
        failures: list[DecodeFailure] = []
        keys = natural_keys(building, records)
        record_time_us = building.record_time_us()
        if failed.any():
            batch = batch.without_records(failed)
            record_time_us[failed] = 0
            for record in np.flatnonzero(failed).tolist():
                keys[record] = None
                if record in untouchable:
                    failures.append(internal(record, untouchable[record]))
                else:
                    failures.append(self._failure(topic, record, values[record], int(arrival_us[record])))
        return Decoded(
            batch, building.sources(), keys, record_time_us, failures, failed, read.unknown_fields, building.crs(),
            building.columnar(), building.preset(),
        )  # fmt: skip

    def scanner(self, topic: str) -> Scanner | None:
        """A scanner of a topic's canonical layouts, of its own state; None for a topic that has none."""
        return Scanner(topic, self._metric_units, self._tokens) if topic in TOPICS else None

    def decode_feedback(self, record: RawRecord, number: int = 0) -> Feedback | DecodeFailure:
        """A record of `dispatch.feedback`; `number` is its index in the caller's list, for the failure.

        Phone numbers and plates in the note are masked, as in a ticket's text.
        """
        return read_one(record, number, FEEDBACK, ("feedback_id", "order_id", "incident_id", "actor"), "time")

    def decode_command(self, record: RawRecord, number: int = 0) -> Command | DecodeFailure:
        """A record of `commands`."""
        return read_one(record, number, COMMAND, ("command_id", "incident_id", "actor", "role"), "time")

    def decode_detection(self, record: RawRecord, number: int = 0) -> Detection | DecodeFailure:
        """A record of `detections`."""
        return read_one(record, number, DETECTION, ("detection_id", "rule"), "event_time", "opened_event_time")

    def _read(self, topic: str, values: Sequence[bytes | None]) -> Read:
        strict, lenient = self._strict[topic], LENIENT[topic].decode
        observations: list[Any] = []
        unread: list[int] = []
        unknown_records = unknown_fields = 0
        decode = strict
        for record, value in enumerate(values):
            try:
                if len(value) <= MAX_BYTES:  # type: ignore[arg-type]
                    observations.append(decode(value))  # type: ignore[arg-type]
                else:
                    unread.append(record)
            except (ValueError, TypeError, RecursionError):
                try:
                    observations.append(ignoring_unknown(lenient, value))
                except (ValueError, TypeError, RecursionError):
                    unread.append(record)
                    continue
                unknown_records += 1
                unknown_fields += unknown_in(value, WIRE_TYPES[topic])
                if unknown_records == COUNTED_RECORDS:
                    decode = partial(ignoring_unknown, lenient)
        at = np.arange(len(values))
        return Read(observations, np.delete(at, unread) if unread else at, unknown_fields)

    def _failure(self, topic: str, record: int, value: bytes | None, arrival_us: int) -> DecodeFailure:
        try:
            fault = find_fault(topic, value, arrival_us, self._metric_units)
        except Exception as why:  # noqa: BLE001 -- whatever a record does to the careful reading, its neighbours go on
            return internal(record, type(why).__name__)
        if fault is None:
            fault = Fault(DeadReason.INTERNAL, "$", "expected a reason, found none: the two readings disagree")
        return DecodeFailure(record, STAGE, *fault)


def internal(record: int, raised: str) -> DecodeFailure:
    """A fault of ours: what is said of it is its name only, as its message may quote the record."""
    return DecodeFailure(record, STAGE, DeadReason.INTERNAL, "$", f"expected a reason, found {raised} while reading")


def ignoring_unknown(lenient: Any, value: Any) -> Any:
    """Decoded by the type that ignores unknown fields; what they hold must still be UTF-8 and not too deep."""
    observation = lenient(value)
    if too_deep(value):
        raise ValueError("too deep")
    value.decode()
    return observation


def unknown_in(value: Any, kind: Any) -> int:
    """How many fields of a record its wire type does not have."""
    try:
        return count_unknown(msgspec.json.decode(value), kind)
    except ValueError:  # one of them holds a number that no type could: it is one at least
        return 1


def count_unknown(document: Any, kind: Any) -> int:
    """Fields of a JSON document that its wire type does not have, at every level the type describes."""
    if isinstance(document, list):
        return sum(count_unknown(item, kind) for item in document)
    struct = struct_inside(kind)
    if struct is None or not isinstance(document, dict):
        return 0
    known = known_fields(struct)
    return sum(count_unknown(part, known[name]) if name in known else 1 for name, part in document.items())


@cache
def known_fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.encode_name: field.type for field in msgspec.structs.fields(struct)}


@cache
def struct_inside(kind: Any) -> type[msgspec.Struct] | None:
    """The struct in `Struct`, `Struct | None` or `list[Struct | None] | None`."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next((found for part in getattr(kind, "__args__", ()) if (found := struct_inside(part))), None)


# -------------------------------------------------------------------------------------------------- records of the Desk

FEEDBACK = msgspec.json.Decoder(Feedback)
COMMAND = msgspec.json.Decoder(Command)
DETECTION = msgspec.json.Decoder(Detection)
FREE_SAID = ("note", "args")  # what a person wrote, and what is looked at word by word
Said = TypeVar("Said", Feedback, Command, Detection)


def read_one(
    record: RawRecord, number: int, decoder: msgspec.json.Decoder[Said], ids: Sequence[str], *times: str
) -> Said | DecodeFailure:
    """A typed record of the Desk's topics with its ids and times checked. A detection is ours and not held against its
    arrival: the clock of a replay may be ahead of the broker's."""
    try:
        said = read_typed(record.value, decoder, times[0])
        row = Row(msgspec.structs.asdict(said), "$.{}".format)
        arrival_us = -1 if decoder is DETECTION else record.timestamp * 1000
        stamps_us = [check_time(row, name, arrival_us) for name in times]
        for name in ids:
            check_id(row, name)
        if decoder is DETECTION:
            check_detection(row, stamps_us[0])
        check_said(row, FREE_SAID, len(record.value or b""))
        if isinstance(said, Feedback) and said.note is not None:
            said = msgspec.structs.replace(said, note=mask_text(said.note))
    except FaultFound as found:
        return DecodeFailure(number, STAGE, *found.fault)
    except Exception as why:  # noqa: BLE001 -- as above: one record never stops its neighbours
        return internal(number, type(why).__name__)
    return cast(Said, said)
