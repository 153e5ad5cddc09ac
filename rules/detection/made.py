"""Streams that a Detector makes of another and reads itself: the states of segments, of their measurements.

    measurements -> their lane --(rows in time)--> sums a segment and minute --(watermark)--> states -> a lane of theirs

The states of a minute are made, told and looked at when the watermark of the measurements passes its end; the clock of
their lane is that watermark.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from models.columns import Batch, Columns, Mask, Numbers, Spans, Texts, scalar
from models.detections import Detection
from models.prints import prints
from models.streams import STATES
from models.traffic import TrafficState
from rules.detection.arrival import Arrived, Incoming, nothing_arrived
from rules.detection.lane import Lane, LaneState
from rules.detection.swapping import take_over
from rules.tables.model import TrafficTable
from rules.traffic.states import Made, Measurement, SegmentStates


class MadeState(msgspec.Struct, array_like=True):
    """What is remembered of open intervals, and by the lane of the states."""

    sums: bytes
    lane: LaneState


class TrafficStates:
    """`measured` is the lane of the measurements, `lane` that of the states."""

    def __init__(self, table: TrafficTable, measured: Lane, lane: Lane) -> None:
        registry = measured.atlas.registry
        segment_of = (lambda _: None) if registry is None else registry.segments.get
        self.states = SegmentStates(table, segment_of, measured.format_time)
        self.lane = lane
        self.made: list[TrafficState] = []
        self.measure_by(measured)

    def measure_by(self, lane: Lane) -> None:
        """Whose rows in time are summed from now on."""
        self.measured = lane
        lane.onlooker = self.look

    def look(self, batch: Batch, in_time: Mask, fed: Incoming) -> None:
        columns = batch.columns
        for row in np.flatnonzero(in_time).tolist():
            segment_id, speed = scalar(columns["segment_id"], row), scalar(columns["speed_kmh"], row)
            samples, source = scalar(columns["sample_size"], row), scalar(columns["source"], row)
            record = int(batch.record[row])
            self.states.add(
                Measurement(
                    str(segment_id),
                    (fed.keys[record] or b"").decode(errors="replace"),
                    str(source),
                    int(batch.time_us[row]),
                    speed if isinstance(speed, float) else None,
                    samples if isinstance(samples, float) else None,
                    int(fed.offsets[record]),
                )
            )

    def settle(self) -> list[Detection]:
        """Make the states that the watermark of the measurements calls for, and look at them."""
        watermark_us = self.measured.watermark_us
        told: list[Detection] = []
        made = self.states.close(watermark_us)
        if made:
            self.made += [one.state for one in made]
            told = self.lane.take(incoming_of(made), self.arrived(made)).detections
        return told + self.lane.advance(watermark_us + self.lane.lateness_us)

    def take_made(self) -> list[TrafficState]:
        """What was made since the last call."""
        made, self.made = self.made, []
        return made

    def next_us(self) -> int | None:
        """The watermark of the measurements that makes something happen here."""
        lane_us = self.lane.next_us()
        due_us = [self.states.next_us(), None if lane_us is None else lane_us - self.lane.lateness_us]
        return min((at for at in due_us if at is not None), default=None)

    def arrived(self, made: Sequence[Made]) -> Arrived:
        """States as what stands behind a door."""
        times = np.array([one.end_us for one in made], dtype=np.int64)
        names = Spans.of([one.state.segment_id.encode() for one in made])
        records = np.arange(len(made), dtype=np.int32)
        batch = Batch(STATES, times, records, self.columns(made), times, records)
        return nothing_arrived(len(made))._replace(
            batches=[batch], time_us=times, prints=prints(names, times, False), sources=self.lane.sources.numbers(names)
        )

    def columns(self, made: Sequence[Made]) -> Columns:
        states = [one.state for one in made]
        middles = [self.states.segment_of(state.segment_id) for state in states]
        numbers = {name: numbers_of([getattr(state, name) for state in states]) for name in NUMBERS}
        quality = {
            f"quality.{name}": numbers_of([getattr(state.quality, name) for state in states]) for name in QUALITY
        }
        return Columns(
            {
                "segment_id": Texts.encode([state.segment_id for state in states]),
                "free_flow_basis": Texts.encode([state.free_flow_basis for state in states]),
                "lon": numbers_of([None if at is None else at.lon for at in middles]),
                "lat": numbers_of([None if at is None else at.lat for at in middles]),
                "error_m": numbers_of([None] * len(states)),
                **numbers,
                **quality,
            }
        )

    def take_over(self, other: TrafficStates) -> list[Detection]:
        """Of one that has made nothing yet: go on where another is (`rules.detection.swapping`)."""
        self.states.restore(other.states.snapshot())
        self.made, other.made = other.made, []
        return take_over(self.lane, other.lane)

    def snapshot(self) -> MadeState:
        return MadeState(self.states.snapshot(), self.lane.snapshot())

    def restore(self, saved: MadeState) -> None:
        self.states.restore(saved.sums)
        self.lane.restore(saved.lane)


NUMBERS = ("level", "speed_kmh", "free_flow_kmh", "tti", "period_s")
QUALITY = ("samples", "sources", "age_s", "gaps")


def numbers_of(values: Sequence[float | None]) -> Numbers:
    return Numbers(np.array([np.nan if value is None else value for value in values], dtype=np.float64))


def incoming_of(made: Sequence[Made]) -> Incoming:
    count = len(made)
    return Incoming(
        (),
        np.array([one.offset for one in made], dtype=np.int64),
        np.array([one.end_us for one in made], dtype=np.int64),
        [one.area.encode() for one in made],
        [b""] * count,
        [()] * count,
        range(count),
        {},
    )
