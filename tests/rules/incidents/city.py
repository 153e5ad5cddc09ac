"""A small city for the Desk's tests: rules made by hand, three police units, and records of every topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import orjson

from models.decode import Decoder
from models.detections import Text
from models.ids import content_id
from models.privacy import Tokens
from models.problems import Place
from models.times import MINUTE_US, SECOND_US, format_time, parse_time_us, zone_info
from rules.incidents.desk import Crew, Desk, DeskOutcome, Output, Sites
from rules.language.model import (
    Bundle,
    Close,
    Detect,
    DispatchClause,
    Dwell,
    Escalation,
    Event,
    Hold,
    Merge,
    Message,
    Rule,
    Stage,
    Variant,
)
from rules.tables import Tables, read_tables

ZONE = zone_info("Asia/Shanghai")
START_US = parse_time_us("2026-03-02T07:10:00+08:00")
REPOSITORY = Path(__file__).resolve().parents[3]
LON, LAT = 121.02, 30.69
STREET = "no-parking/xinhua-road-n"


@cache
def tables() -> Tables:
    found, problems = read_tables(REPOSITORY / "rules" / "tables")
    assert found is not None, problems
    return found


class Always:
    """An expression that is true when the value reaches a limit."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.text, self.fields = f"value >= {limit}", frozenset({"value"})

    def mask(self, batch):
        raise NotImplementedError

    def value(self, record):
        value = record.get("value")
        return None if not isinstance(value, int | float) else value >= self.limit


DWELL = Dwell(2 * MINUTE_US, 3.0, 20 * SECOND_US, 5)
HOLD = Hold("level", Always(4), Always(2), 3 * MINUTE_US, 5 * MINUTE_US)
STAGES = (
    Stage(2 * MINUTE_US, "remind_owner"),
    Stage(7 * MINUTE_US, "second_look"),
    Stage(7 * MINUTE_US, "open_case"),
)


def rule(
    identity: str,
    *,
    type_code: str = "0505",
    detect: Detect = DWELL,
    stages: tuple[Stage, ...] = (),
    severity: str = "minor",
    life_safety: bool = False,
    status: Any = "active",
    merge: Merge | None = None,
    escalate: tuple[Escalation, ...] = (),
    dispatch: DispatchClause | None = None,
    cooldown_us: int = 0,
    close: Close | None = None,
) -> Rule:
    base = Variant(None, None, severity, detect, stages, close or Close(absent_for_us=60 * SECOND_US))
    return Rule(
        id=identity,
        revision=1,
        name=Text(identity, identity),
        owner="desk",
        status=status,
        type=type_code,
        severity=severity,
        life_safety=life_safety,
        topic="camera.tracks",
        where=None,
        zones=None,
        by=("sensor_id", "track_id", "zone"),
        neighbours=None,
        active=None,
        variants=(base,),
        no_data="unknown",
        exempt=(),
        merge=merge,
        escalate=escalate,
        dispatch=dispatch or DispatchClause(clear_for_us=180 * SECOND_US),
        message=Message(
            zh=(("zone.name", ()), " 违停 ", ("plate", ("mask",)), "，已停 ", ("held", ("minutes",)), " 分钟"),
            en=(("plate", ("mask",)), " stationary ", ("held", ("minutes",)), " min in ", ("zone.name", ())),
            fields=frozenset({"zone", "plate", "held"}),
        ),
        cooldown_us=cooldown_us,
        fingerprint="f",
        place=Place("city.yaml"),
    )


PARKING = rule("parking", stages=STAGES, merge=Merge(True, 5.0, 30 * MINUTE_US))
MINUTE = DispatchClause(clear_for_us=60 * SECOND_US)
JAM = rule("jam", type_code="X2101", detect=HOLD, severity="moderate", dispatch=MINUTE)
COVER = rule("cover", type_code="C01", detect=Event(), severity="critical")
SOS = rule("sos", type_code="X2103", detect=Event(), severity="critical", life_safety=True)
SMOKE = rule("smoke", type_code="X2104", detect=HOLD, severity="critical", life_safety=True)
VENDOR = rule("vendor", type_code="0501", detect=HOLD, cooldown_us=20 * MINUTE_US)
SHADOW = rule("trial", status="shadow")
LOST = rule("lost", type_code="Z99", detect=HOLD)
RULES = (PARKING, JAM, COVER, SOS, SMOKE, VENDOR, SHADOW, LOST)

UNITS = (
    Crew("u-near", "traffic-police", LON + 0.001, LAT, 2),
    Crew("u-mid", "traffic-police", LON + 0.01, LAT, 2),
    Crew("u-far", "traffic-police", LON + 0.05, LAT, 2),
    Crew("u-works", "municipal-works", LON, LAT + 0.01, 2),
)
SITES = Sites(
    units=UNITS,
    zones={STREET: Text("新华路北段", "Xinhua Road N")},
    area="danghu",
)


@dataclass(frozen=True)
class Record:
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def decoder() -> Decoder:
    return Decoder(Tokens(b"test"), {})


def desk(*rules: Rule, sites: Sites = SITES) -> Desk:
    bundle = Bundle(rules or RULES, {}, "digest")
    return Desk(bundle, tables(), sites, zone=ZONE, decoder=decoder())


def at(seconds: float) -> int:
    return START_US + round(seconds * SECOND_US)


def stamp(seconds: float) -> str:
    return format_time(at(seconds), ZONE)


Said = tuple[str, Record]


def record(topic: str, seconds: float, value: dict[str, Any]) -> Said:
    return topic, Record(0, at(seconds) // 1000, b"city", orjson.dumps(value))


def detection(
    seconds: float,
    kind: str,
    stage: str | None = None,
    *,
    of: Rule = PARKING,
    track: str = "17",
    opened: float | None = None,
    lon: float | None = LON,
    lat: float | None = LAT,
    zone: str | None = STREET,
    value: Any = None,
    began: float = 0.0,
    sensor: str = "cam-1",
    severity: str | None = None,
    suspected: bool = False,
    topic: str = "camera.tracks",
    part: str | None = None,
    key: dict[str, str] | None = None,
    error_m: float | None = 1.5,
    coverage: float = 0.98,
) -> Said:
    """A transition; `opened` names the opening (default: 120 s, when a parked car is first reported)."""
    opened_at = 120.0 if opened is None else opened
    key = key or {"sensor_id": sensor, "track_id": track}
    return record(
        "detections",
        seconds,
        {
            "detection_id": detection_id(of, key, zone, opened_at, part),
            "kind": kind,
            "stage": stage,
            "rule": of.id,
            "rule_revision": 1,
            "type": of.type,
            "severity": severity or of.severity,
            "key": key,
            "zone": zone,
            "area": "danghu",
            "lon": lon,
            "lat": lat,
            "error_m": error_m,
            "suspected": suspected,
            "event_time": stamp(seconds),
            "opened_event_time": stamp(opened_at),
            "value": value,
            "unit": "s",
            "held_s": seconds - began,
            "coverage": coverage,
            "sources": [topic],
            "evidence": [{"topic": topic, "partition": 2, "offset": round(seconds)}],
            "part": part,
            "attributes": {"plate": {"token": f"pt-{track}", "mask": "浙F·**345"}},
        },
    )


def detection_id(of: Rule, key: dict[str, str], zone: str | None, opened: float, part: str | None = None) -> str:
    return content_id("d", of.id, *key.values(), zone, round(opened), *([] if part is None else [part]))


def feedback(seconds: float, order_id: str, incident_id: str, action: str, *, actor: str = "u", n: int = 0) -> Said:
    value = {
        "feedback_id": f"f-{order_id}-{action}-{n}",
        "order_id": order_id,
        "incident_id": incident_id,
        "action": action,
        "actor": actor,
        "time": at(seconds) // 1000,
    }
    return record("dispatch.feedback", seconds, value)


def command(
    seconds: float, incident_id: str, name: str, *, role: str = "dispatcher", args: dict[str, Any] | None = None
) -> Said:
    value = {
        "command_id": f"c-{incident_id}-{name}-{seconds}",
        "incident_id": incident_id,
        "command": name,
        "actor": "zhang",
        "role": role,
        "time": at(seconds) // 1000,
        "args": args or {},
    }
    return record("commands", seconds, value)


def ticket(
    seconds: float,
    identity: str,
    category: str | None,
    *,
    lon: float | None = LON,
    lat: float | None = LAT,
    error_m: float | None = None,
    caller: str | None = "13800001234",
    urgency: str = "normal",
    text: str = "请尽快处理",
) -> Said:
    value = {
        "ticket_id": identity,
        "line": "12345",
        "call_time": at(seconds) // 1000,
        "category": category,
        "text": text,
        "address": "当湖路新华路口",
        "lon": lon,
        "lat": lat,
        "error_m": error_m,
        "caller": caller,
        "urgency": urgency,
    }
    return record("hotline.tickets", seconds, value)


def position(seconds: float, unit: str, *, lon: float = LON, lat: float = LAT, on_duty: bool | None = True) -> Said:
    value = {
        "vehicle_id": f"v-{unit}",
        "time": at(seconds) // 1000,
        "lon": lon,
        "lat": lat,
        "role": "police",
        "on_duty": on_duty,
        "unit_id": unit,
    }
    return record("vehicle.positions", seconds, value)


class Told:
    """A Desk and everything it has said."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.outputs: list[Output] = []
        self.counts: dict[str, int] = {}

    def tell(self, *said: Said) -> list[Output]:
        made: list[Output] = []
        for topic, one in said:
            made += self.take(self.desk.feed(topic, [one]))
        return made

    def until(self, seconds: float) -> list[Output]:
        return self.take(self.desk.advance(at(seconds)))

    def take(self, outcome: DeskOutcome) -> list[Output]:
        assert not outcome.failures, outcome.failures
        self.outputs += outcome.outputs
        for name, count in outcome.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        return outcome.outputs

    def restart(self, *rules: Rule) -> None:
        entries = self.desk.snapshot()
        self.desk = desk(*rules)
        self.desk.restore(entries)

    def of(self, topic: str) -> list[Any]:
        return [o.value for o in self.outputs if o.topic == topic]

    @property
    def states(self) -> list[tuple[str, str]]:
        """(state, reason) of every revision, of all incidents."""
        return [(i.state.value, i.reason) for i in self.of("incidents")]

    @property
    def last(self) -> Any:
        return self.of("incidents")[-1]

    @property
    def order(self) -> Any:
        return [o for o in self.of("dispatch.orders") if not o.cancelled][-1]

    def feedback(self, seconds: float, *actions: str) -> None:
        """What the unit of the newest order says, one after the other."""
        for n, action in enumerate(actions):
            order = self.order
            self.tell(feedback(seconds + n, order.order_id, order.incident_id, action, actor=order.unit_id or "-"))


def parked(track: str = "17", **more: Any) -> list[Said]:
    """A car is seen for two minutes, then five more: reminder, second look, case."""
    return [
        detection(120, "raised", "remind_owner", track=track, **more),
        detection(420, "stage", "second_look", track=track, **more),
        detection(420, "stage", "open_case", track=track, **more),
    ]


def bytes_of(outputs: Sequence[Output]) -> list[tuple[str, str, str, bytes]]:
    return [(o.topic, o.key, o.id, msgspec.json.encode(o.value)) for o in outputs]
