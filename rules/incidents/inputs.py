"""Records of the Desk's topics to typed inputs, one each, or the failure that says why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from models.columns import RawRecord, Scalar, scalar
from models.decode import Decoded
from models.detections import Detection
from models.dispatch import Command, Feedback
from models.observations import DecodeFailure
from models.ticks import tick_us
from models.times import parse_time_us
from rules.incidents.places import Places

MAX_ADDRESS = 1024
"""Characters of where a citizen says it is."""


class Decoder(Protocol):
    """What the Desk needs of `models.decode.Decoder`."""

    def decode(self, topic: str, records: Sequence[RawRecord]) -> Decoded: ...
    def decode_feedback(self, record: RawRecord, number: int = 0) -> Feedback | DecodeFailure: ...
    def decode_command(self, record: RawRecord, number: int = 0) -> Command | DecodeFailure: ...
    def decode_detection(self, record: RawRecord, number: int = 0) -> Detection | DecodeFailure: ...


class Ticket(NamedTuple):
    """A citizen's call: texts masked, the caller a token."""

    ticket_id: str
    time_us: int
    category: str | None
    text: str | None
    address: str | None
    urgency: str | None
    caller: str | None
    lon: float | None
    lat: float | None
    error_m: float | None
    area: str | None
    line: str | None = None
    kind: str | None = None

    def fields(self) -> dict[str, Scalar]:
        """What an expression of a rule may ask of it."""
        return self._asdict()


class Position(NamedTuple):
    """Where a vehicle is, and the unit it belongs to."""

    vehicle_id: str
    time_us: int
    unit_id: str | None
    lon: float | None
    lat: float | None
    on_duty: bool | None


class Tick(NamedTuple):
    time_us: int


Input = Detection | Ticket | Position | Feedback | Command | Tick | DecodeFailure


def read(
    decoder: Decoder, places: Places, topic: str, records: Sequence[RawRecord]
) -> Iterator[tuple[int, int, Input]]:
    """(index of the record, its time, the input) in the order of the records. A failure's time is 0."""
    if topic in ("hotline.tickets", "vehicle.positions"):
        yield from read_columns(decoder, places, topic, records)
        return
    for number, record in enumerate(records):
        tick = tick_us(record)
        if tick is not None:
            yield number, tick, Tick(tick)
            continue
        found: Detection | Feedback | Command | DecodeFailure
        match topic:
            case "detections":
                found = decoder.decode_detection(record, number)
                stamp = found.event_time if isinstance(found, Detection) else 0
            case "dispatch.feedback":
                found = decoder.decode_feedback(record, number)
                stamp = found.time if isinstance(found, Feedback) else 0
            case "commands":
                found = decoder.decode_command(record, number)
                stamp = found.time if isinstance(found, Command) else 0
            case _:
                raise LookupError(f"the Desk does not read {topic!r}")
        yield number, parse_time_us(stamp), found


def read_columns(
    decoder: Decoder, places: Places, topic: str, records: Sequence[RawRecord]
) -> Iterator[tuple[int, int, Input]]:
    """Rows back to single inputs: tickets and positions are few, and each is decided by itself."""
    found: dict[int, tuple[int, Input]] = {}
    data = []
    for number, record in enumerate(records):
        tick = tick_us(record)
        if tick is None:
            data.append(number)
        else:
            found[number] = (tick, Tick(tick))
    if data:
        decoded = decoder.decode(topic, [records[n] for n in data])
        batch, areas, failures = places.locate(decoded, [records[n].key for n in data])
        for failure in failures:
            found[data[failure.record]] = (0, failure._replace(record=data[failure.record]))
        for row in range(len(batch)):
            time_us = int(batch.time_us[row])
            cell = {name: scalar(column, row) for name, column in batch.columns.items()}
            made = ticket(cell, time_us, areas[row]) if topic == "hotline.tickets" else position(cell, time_us)
            found[data[int(batch.record[row])]] = (time_us, made)
    for number in sorted(found):
        yield (number, *found[number])


def ticket(cell: dict[str, Scalar], time_us: int, area: str | None) -> Ticket:
    return Ticket(
        ticket_id=str(cell["ticket_id"]),
        time_us=time_us,
        category=text(cell, "category"),
        text=text(cell, "text"),
        address=shortened(text(cell, "address")),
        urgency=text(cell, "urgency"),
        caller=text(cell, "caller"),
        lon=number(cell, "lon"),
        lat=number(cell, "lat"),
        error_m=number(cell, "error_m"),
        area=area,
        line=text(cell, "line"),
        kind=text(cell, "kind"),
    )


def position(cell: dict[str, Scalar], time_us: int) -> Position:
    duty = cell.get("on_duty")
    return Position(
        vehicle_id=str(cell["vehicle_id"]),
        time_us=time_us,
        unit_id=text(cell, "unit_id"),
        lon=number(cell, "lon"),
        lat=number(cell, "lat"),
        on_duty=duty if isinstance(duty, bool) else None,
    )


def text(cell: dict[str, Scalar], name: str) -> str | None:
    value = cell.get(name)
    return value if isinstance(value, str) else None


def shortened(said: str | None) -> str | None:
    """What is published with every revision, in two languages, must fit a message."""
    return said if said is None or len(said) <= MAX_ADDRESS else said[: MAX_ADDRESS - 1] + "…"


def number(cell: dict[str, Scalar], name: str) -> float | None:
    value = cell.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
