"""Random rules of every primitive, for the properties that hold whatever a rule says."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from random import Random

from models.times import SECOND_US
from rules.language.model import (
    Absent,
    Aggregate,
    Change,
    Close,
    Count,
    Detect,
    Event,
    Flap,
    Hold,
    InSequence,
    Near,
    Rule,
    Step,
    Transition,
    ZoneSelector,
)
from tests.rules.detection.made import device, expression, rule, staged
from tests.rules.detection.stage import Stage, square

TRACKS, EVENTS, READINGS = "camera.tracks", "camera.events", "sensor.readings"
ZONES = [square("a"), square("b", east_m=15), square("bay", "permit", north_m=15, side_m=8)]
DEVICES = [device("w-1", "gw", "water_level"), device("w-2", "gw", "water_level"), device("s-1", "gw", "sos")]


def span(rng: Random, *seconds: int) -> int:
    return rng.choice(seconds) * SECOND_US


def over(rng: Random) -> Aggregate:
    fn = rng.choice(["mean", "median", "p85", "min", "max", "sum", "rate", "count"])
    return Aggregate(fn, span(rng, 6, 10, 25), span(rng, 2, 5), rng.randint(1, 3))  # type: ignore[arg-type]


def hold(rng: Random) -> Detect:
    opens, closes = rng.choice([("value >= 15", "value < 8"), ("value > 2", "value <= 2"), ("value > 0", "value < 0")])
    return Hold(
        "value", expression(READINGS, opens), expression(READINGS, closes), span(rng, 0, 4), span(rng, 0, 4), over(rng)
    )


def sequence(rng: Random) -> Detect:
    values = rng.sample(["value < 6", "value between 8 and 10", "value >= 16", "value == 20"], 3)
    steps = tuple(
        Step(f"s{n}", expression(READINGS, text), n > 0 and rng.random() < 0.3, span(rng, 0, 0, 3))
        for n, text in enumerate(values)
    )
    return InSequence(steps, span(rng, 10, 20), None, span(rng, 5))


def on_readings(rng: Random) -> Rule:
    kind = rng.choice(["hold", "hold", "absent", "change", "sequence", "burst"])
    close, flap, where = Close(), None, 'metric == "water_level"'
    detect: Detect
    if kind == "hold":
        detect, flap = hold(rng), rng.choice([None, Flap(2, span(rng, 20))])
    elif kind == "absent":
        parent = rng.choice([None, "gateway"])
        detect = Absent(span(rng, 4, 9), suspect=True, parent=parent, listed=rng.random() < 0.5)
        close = Close(timeout_us=rng.choice([None, span(rng, 40)]))
    elif kind == "change":
        direction = rng.choice(["up", "down", "either"])
        detect = Change("value", span(rng, 4, 9), rng.choice([5, 10]), False, direction)  # type: ignore[arg-type]
    elif kind == "sequence":
        detect = sequence(rng)
    else:
        detect = Event(1, span(rng, 3, 8))
        close = rng.choice([close, Close(when=expression(READINGS, "value < 8"), for_us=span(rng, 0, 3))])
        where += " and value >= 16"
    return rule(READINGS, detect, where, close=close, flap=flap, no_data=rng.choice(["unknown", "close", "hold"]))


def on_tracks(rng: Random) -> Rule:
    kind = rng.choice(["count", "transition", "transition", "near"])
    zones = ZoneSelector(("no-parking/*",), rng.choice([(), ("permit/*",)]), rng.choice([0, 1.0]))
    if kind == "count":
        distinct = rng.choice([("track_id",), ("plate",), (), ("sensor_id", "track_id")])
        detect = Count(distinct, span(rng, 6, 10), span(rng, 2, 5), rng.randint(1, 3), span(rng, 0, 3))
        close = Close(below=rng.choice([None, 1]), for_us=span(rng, 0, 4))
        return rule(TRACKS, detect, "speed_mps < 0.5", by=["zone"], zones=zones, close=close)
    if kind == "transition":
        change = rng.choice(["enter", "exit", "cross"])
        by = rng.choice([["sensor_id", "track_id", "zone"], ["sensor_id", "track_id"]])
        detect_ = Transition(change, span(rng, 0, 3))  # type: ignore[arg-type]
        return rule(TRACKS, detect_, by=by, zones=zones, close=Close(absent_for_us=span(rng, 6)))
    near = Near(expression(TRACKS, "confidence > 0.95"), 18, span(rng, 0, 4), span(rng, 3))
    return rule(TRACKS, near, by=["sensor_id", "track_id"], close=Close(absent_for_us=span(rng, 6)))


@lru_cache(maxsize=256)
def stage_of(seed: int) -> Stage:
    rng = Random(seed)
    made = [on_tracks(rng), on_tracks(rng), on_readings(rng), on_readings(rng)]
    made.append(rule(EVENTS, Event(rng.randint(1, 2), span(rng, 2, 5)), 'label == "fire"'))
    named = [
        replace(one, id=f"{type(one.base.detect).__name__}-{n}", fingerprint=f"f{n}") for n, one in enumerate(made)
    ]
    return staged(*named, zones=ZONES, devices=DEVICES)
