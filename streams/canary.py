"""A synthetic reading goes the whole way, every minute and through every partition: what it takes is the delay from a
sensor to the Desk, and one that does not come back is a chain that is broken although nobody says so.

    sensor.readings ─► a Detector, rule `zhinao-canary` ─► detections ─► the Desk's agent, which measures it

The worker that holds a partition sends into it; the one with the Desk measures all of them. The devices and the rule
are added to a worker's city in memory: no file names them, and the Desk's core, its journal and its state never see
one. None is sent under the stream clock, so replays and the demo have none. Readers of `detections` tell them by their
rule.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from math import nan
from typing import NamedTuple

import msgspec

from geo.registry import Device
from models.times import BadTime, parse_rfc3339_us
from rules.language.load import Context, SourceFile, load_rules
from rules.language.model import Rule
from streams.city import City
from streams.clock import Clock
from streams.producer import SendError
from streams.publisher import Publisher
from streams.publishing import Message
from streams.settings import Settings
from streams.topics import partition_for
from streams.transport import Record

log = logging.getLogger(__name__)

RULE = "zhinao-canary"
METRIC = "zhinao_canary"
TOPIC, TOLD_ON = "sensor.readings", "detections"
DEVICE = "zhinao-canary-"
RULE_FILE = """
version: 1
rules:
  - id: zhinao-canary
    revision: 1
    name: {zh: 全链路自检, en: End-to-end check}
    owner: {department: zhinao, contact: zhinao}
    status: active
    type: {code: "X0000", severity: minor}
    from: [sensor.readings]
    where: metric == "zhinao_canary"
    by: [device_id]
    detect: {event: {}}
    dispatch: {verify: {else: person}}
    message: {zh: "自检", en: "check"}
"""
_MARK = f'"{RULE}"'.encode()
DELAY_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the histogram's buckets; a last one has what took longer."""


def device_of(partition: int) -> str:
    return f"{DEVICE}{partition}"


def area_of(partition: int, partitions: int) -> str:
    """A key that belongs on this partition, and on no map."""
    names = (f"{RULE}/{number}" for number in count())
    return next(name for name in names if partition_for(name.encode(), partitions) == partition)


def canary_rule() -> Rule:
    bundle, problems = load_rules([SourceFile(RULE, RULE_FILE.encode())], Context())
    assert bundle is not None, problems
    return bundle.rules[0]


def wanted(settings: Settings) -> bool:
    return settings.canary_s > 0 and settings.clock == "wall"


def with_canaries(city: City, partitions: int) -> City:
    """The same city with a canary in each partition. It stands nowhere, so it is in no zone."""
    devices = {
        device_of(p): Device(device_of(p), "canary", area_of(p, partitions), nan, nan) for p in range(partitions)
    }
    bundle, registry = city.bundle, city.atlas.registry
    if registry is not None:
        registry = replace(registry, devices={**registry.devices, **devices})
    return replace(
        city,
        bundle=replace(bundle, rules=(*bundle.rules, canary_rule())),
        atlas=replace(city.atlas, registry=registry),
    )


# sending


class Reading(msgspec.Struct):
    device_id: str
    metric: str
    value: int
    reading_time: int


class CanarySender:
    """Sends one into each partition a worker holds. `number` runs on as long as the process."""

    def __init__(self, publisher: Publisher, clock: Clock, partitions: int) -> None:
        self.publisher, self.clock, self.number = publisher, clock, 0
        self._areas = {partition: area_of(partition, partitions) for partition in range(partitions)}

    async def send(self, partitions: Iterable[int]) -> None:
        """What the broker does not take is told and not tried again: it will be missing."""
        self.number += 1
        now_ms = self.clock.machine_us() // 1000  # as a sensor would stamp it
        try:
            await self.publisher.send([self._message(partition, now_ms) for partition in sorted(partitions)])
        except SendError as why:
            log.warning("no canary was sent: %s", why)

    def _message(self, partition: int, now_ms: int) -> Message:
        device = device_of(partition)
        value = msgspec.json.encode(Reading(device, METRIC, self.number, now_ms))
        return Message(TOPIC, self._areas[partition], value, f"{device}/{now_ms}", partition, "canary")


# measuring


class Canary(NamedTuple):
    """One that came back, by the partition it went through."""

    partition: int
    sent_us: int


class Told(msgspec.Struct):
    """What of a detection says so."""

    rule: str
    key: dict[str, str]
    event_time: str


_TOLD = msgspec.json.Decoder(Told)


def canary(record: Record) -> Canary | None:
    """The canary that a record of `detections` tells of, if it does."""
    if record.value is None or _MARK not in record.value:
        return None
    try:
        told = _TOLD.decode(record.value)
        if told.rule != RULE:
            return None
        return Canary(int(told.key["device_id"].removeprefix(DEVICE)), parse_rfc3339_us(told.event_time))
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, ValueError, BadTime):
        return None


@dataclass(slots=True)
class Delays:
    """Of the canaries of one partition. `buckets`: how many took at most so long, by `DELAY_S`, and longer."""

    newest_s: float = nan
    count: int = 0
    total_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(DELAY_S) + 1))

    def take(self, delay_s: float) -> None:
        self.newest_s, self.count, self.total_s = delay_s, self.count + 1, self.total_s + delay_s
        self.buckets[sum(delay_s > bound for bound in DELAY_S)] += 1


class CanaryWatch:
    """What the Desk's worker knows of canaries. `on_delay(partition, seconds)` is called for each that comes back.

    One that comes twice, since its Detector or the Desk began anew, counts once in the life of a process.
    """

    def __init__(self, clock: Clock, partitions: int) -> None:
        self.clock, self.partitions = clock, partitions
        self.delays: dict[int, Delays] = {}
        self.on_delay: Callable[[int, float], None] | None = None
        self._sent_us: dict[int, int] = {}
        self._heard_s: dict[int, float] = {}

    def begin(self) -> None:
        """The Desk is ours: from now on they are missed."""
        self._heard_s = dict.fromkeys(range(self.partitions), self.clock.monotonic_s())

    def end(self) -> None:
        """The Desk is another's."""
        self._heard_s = {}

    def back(self, canaries: Sequence[Canary]) -> None:
        """They came, and the steps that would hold them are done."""
        for partition, sent_us in canaries:
            if partition not in range(self.partitions) or sent_us <= self._sent_us.get(partition, 0):
                continue
            delay_s = max(0.0, (self.clock.now_us() - sent_us) / 1e6)
            self._sent_us[partition] = sent_us
            if self._heard_s:
                self._heard_s[partition] = self.clock.monotonic_s()
            self.delays.setdefault(partition, Delays()).take(delay_s)
            if self.on_delay is not None:
                self.on_delay(partition, delay_s)

    def missing_s(self) -> Mapping[int, float]:
        """By partition: seconds since one came back, or since the Desk is ours. Nothing where it is not."""
        now_s = self.clock.monotonic_s()
        return {partition: now_s - heard_s for partition, heard_s in list(self._heard_s.items())}
