"""Rules of several sources for the Desk's tests, as the loader makes them: parts to be watched, joins of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from models.times import HOUR_US, MINUTE_US
from rules.language.model import (
    Absent,
    AllOf,
    Close,
    Correlate,
    Detect,
    Event,
    Hold,
    InOrder,
    InSequence,
    Join,
    NearBy,
    Rule,
    Source,
    Step,
)
from tests.rules.incidents.city import JAM, LAT, LON, SITES, Always, Said, detection, rule

TICKETS = "hotline.tickets"
M = 1 / 95_800  # degrees of longitude a metre here


class Says:
    """An expression that is true when a text field holds a word."""

    def __init__(self, field: str, word: str) -> None:
        self.field, self.word = field, word
        self.text, self.fields = f"{field} == {word}", frozenset({field})

    def mask(self, batch):
        raise NotImplementedError

    def value(self, record):
        value = record.get(self.field)
        return None if value is None else value == self.word


class Gauge(Always):
    """Like `gauge.value >= limit`."""

    def value(self, record):
        value = record.get("gauge.value")
        return None if not isinstance(value, int | float) else value >= self.limit


GAUGE = Hold("value", Always(15), Always(8), 0, 10 * MINUTE_US)
ANY = Says("never", "")


def part_of(whole: Rule, name: str, detect: Detect, topic: str, *, suspects: bool = True) -> Rule:
    variants = tuple(replace(variant, detect=detect) for variant in whole.variants)
    return replace(
        whole, part=name, suspects=suspects, topic=topic, variants=variants, fingerprint=f"{whole.id}/{name}"
    )


def whole(identity: str, parts: dict[str, tuple[Detect, str]], *joins: Join, own: Any = None, **more: Any) -> Rule:
    """`parts` belong to the joins, those of `own` are raises by themselves."""
    made = replace(rule(identity, **more), topic="", by=(), joins=joins)
    joined = [part_of(made, name, *part) for name, part in parts.items()]
    alone = [part_of(made, name, *part, suspects=False) for name, part in (own or {}).items()]
    return replace(made, parts=(*joined, *alone))


def correlate(name: str = "correlate", **more: Any) -> Correlate:
    given: dict[str, Any] = {
        "radius_m": 200.0,
        "within_us": 15 * MINUTE_US,
        "need": 2,
        "sources": (
            Source("gauge", "gauge", "sensor.readings", ANY, 0.9),
            Source("call", "", TICKETS, Says("category", "道路积水"), 0.6, "caller"),
            Source("camera", "camera", "camera.events", ANY, 0.7),
        ),
        "require_any": ("gauge", "camera"),
    }
    return Correlate(name, **(given | more))


PARTS: dict[str, tuple[Detect, str]] = {
    "gauge": (GAUGE, "sensor.readings"),
    "camera": (Event(1, 15 * MINUTE_US), "camera.events"),
}
PONDING = whole("ponding", PARTS, correlate(), type_code="0406", severity="major", close=Close(timeout_us=6 * HOUR_US))
FIRE = whole(
    "fire",
    {"1.smoke": (GAUGE, "sensor.readings"), "1.camera": (Event(1, 2 * MINUTE_US), "camera.events")},
    correlate(
        "1.correlate",
        radius_m=80.0,
        within_us=2 * MINUTE_US,
        sources=(
            Source("smoke", "1.smoke", "sensor.readings", ANY),
            Source("camera", "1.camera", "camera.events", ANY),
            Source("call", "", TICKETS, Says("category", "火情")),
        ),
        require_any=(),
    ),
    own={"3.event": (Event(3, 10_000_000), "camera.events")},
    type_code="X2104",
    severity="critical",
    life_safety=True,
)
BOTH = whole(
    "both",
    {"a": (GAUGE, "sensor.readings"), "b": (Event(1, MINUTE_US), "camera.events")},
    AllOf("all_of", ("a", "b"), 5 * MINUTE_US, 100.0),
    type_code="C01",
)
CLOSE = whole(
    "close",
    {"a": (GAUGE, "sensor.readings"), "b": (GAUGE, "camera.tracks")},
    NearBy("near", ("a", "b"), 50.0, 2 * MINUTE_US),
    type_code="C01",
)
ORDER = whole(
    "order",
    {"a": (Event(1, MINUTE_US), "sensor.readings"), "b": (Event(1, MINUTE_US), "camera.events")},
    InOrder("sequence", InSequence((Step("first", ANY, part="a"), Step("then", ANY, part="b")), 5 * MINUTE_US)),
    type_code="C01",
)
LEFT_OUT = whole(
    "left-out",
    {"a": (Event(1, MINUTE_US), "sensor.readings"), "b": (Event(1, MINUTE_US), "camera.events")},
    InOrder(
        "sequence",
        InSequence((Step("first", ANY, part="a"), Step("not", ANY, negated=True, part="b")), 5 * MINUTE_US),
    ),
    type_code="C01",
)
SILENT = rule("silent", type_code="C01", detect=Absent(HOUR_US, suspect=True, parent="gateway"))
QUEUE = replace(rule("queue", type_code="X2101", detect=JAM.base.detect), upstream_segments=2)
CITY = replace(
    SITES,
    gateways={f"tilt-{n}": "gw-1" for n in range(600)} | {"tilt-x": "gw-2"},
    next_segments={"s3": ("s2",), "s2": ("s1",), "s1": ("s0",)},
)


def says(
    of: Rule, part: str, seconds: float, kind: str = "raised", *, who: str = "dev-1", metres: float = 0.0, **more: Any
) -> Said:
    """A part's transition; `metres` east of the middle. It opened at 120 s where nothing else is said."""
    teller = next(one for one in of.parts if one.part == part)
    given: dict[str, Any] = {
        "opened": seconds if kind == "raised" else 120.0,
        "suspected": teller.suspects,
        "topic": teller.topic,
        "zone": None,
        "lon": LON + metres * M,
        "lat": LAT,
        "error_m": 0.0,
    }
    return detection(seconds, kind, of=of, part=part, key={"device_id": who}, **(given | more))
