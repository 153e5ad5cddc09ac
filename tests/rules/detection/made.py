"""Rules of primitives made by hand, on the small stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from rules.language.model import Bundle, Close, Detect, Expression, Rule, ZoneSelector
from rules.language.model import Stage as AtStage
from tests.rules.detection.stage import Stage, bundle_of, tick

TEXT = """
version: 1
rules:
  - id: r
    revision: 1
    name: {{zh: 名, en: Name}}
    owner: {{department: traffic-police, contact: desk}}
    status: active
    type: {{code: "0505", severity: minor}}
    from: [{topic}]
    by: [{by}]
{where}    detect:
      event: {{}}
    message: {{zh: "在", en: "here"}}
"""
KEYS = {"camera.tracks": ("sensor_id", "track_id"), "camera.events": ("sensor_id",), "sensor.readings": ("device_id",)}
Row = tuple[float, str, str | None]


@lru_cache(maxsize=256)
def rule_of(topic: str, where: str | None) -> Rule:
    clause = "" if where is None else f"    where: '{where}'\n"
    (rule,) = bundle_of(TEXT.format(topic=topic, by=KEYS[topic][0], where=clause)).rules
    return rule


def expression(topic: str, text: str) -> Expression:
    found = rule_of(topic, text).where
    assert found is not None
    return found


def rule(
    topic: str,
    detect: Detect,
    where: str | None = None,
    by: Sequence[str] | None = None,
    zones: ZoneSelector | None = None,
    close: Close | None = None,
    stages: Sequence[AtStage] = (),
    **more: Any,
) -> Rule:
    plain = rule_of(topic, where)
    variant = replace(plain.base, detect=detect, close=close or Close(), stages=tuple(stages))
    by = KEYS[topic] if by is None else tuple(by)
    fingerprint = more.pop("fingerprint", f"{type(detect).__name__.lower()}-{more.get('id', 'r')}")
    return replace(plain, variants=(variant,), by=tuple(by), zones=zones, fingerprint=fingerprint, **more)


def staged(*rules: Rule, zones: Sequence[Any] = (), devices: Sequence[Any] = ()) -> Stage:
    return Stage(Bundle(tuple(rules), {}, "made"), zones, devices)


def device(identity: str, gateway: str | None = None, kind: str = "tilt", area: str = "danghu") -> dict[str, Any]:
    properties = {"layer": "devices", "kind": kind, "area": area}
    if gateway is not None:
        properties["gateway"] = gateway
    return {
        "type": "Feature",
        "id": identity,
        "properties": properties,
        "geometry": {"type": "Point", "coordinates": [121.02, 30.70]},
    }


def played(stage: Stage, topic: str, until_s: float) -> list[Row]:
    """The table once the clock has said so."""
    stage.feed(tick(until_s, topic))
    return stage.table()


def stills(stage: Stage) -> list[float]:
    from tests.rules.detection.stage import seconds

    return [seconds(d) for d in stage.told if d.kind == "still"]
