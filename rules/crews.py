"""Field units as a simulation: they answer orders in the demo, in replays and in tests, and repeat exactly.

What a unit does follows from the id of its order alone (`models.ids.share`): no clock, no chance. The caller shows
what the Desk publishes (`see`) and asks what has been done by now (`advance`); the answers are records for
`dispatch.feedback` and `commands`, to be fed to the Desk like any others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import Literal, NamedTuple

import msgspec

from geo.distance import distance_m
from models.dispatch import Command, DispatchOrder, Feedback
from models.ids import content_id, share
from models.incidents import Incident, State
from models.times import SECOND_US, parse_rfc3339_us
from rules.incidents.desk import Output, StateMismatch, Unit
from rules.incidents.reasons import Reason

ACCEPT_S = (5.0, 25.0)
ARRIVE_S = (40.0, 180.0)
HANDLE_S = (60.0, 300.0)
INSPECT_S = 60.0
PREPARE_S = 40.0  # before a unit whose way is known gets going
SPEED_MPS = 9.0  # about 32 km/h, lights and queues included
LONGEST_WAY_S = 900.0
RETURNED_SHARE = 0.06
REFUSALS = ("不在管辖范围", "装备不符，需其他部门", "正在处置其他事件", "地址有误，现场未找到")
NOTES = ("已到场处置", "已劝离", "已恢复正常", "已清理完毕")
ENDED = frozenset({State.CLOSED, State.WITHDRAWN, State.FALSE_ALARM, State.MERGED})
TO_INSPECT = frozenset({Reason.VERIFICATION_INCONCLUSIVE.value, Reason.PERSON_MUST_CLOSE.value})
KEPT_INCIDENTS = 20_000  # open ones with an order, several times what a city's day brings; the oldest goes first
VERSION = 1

What = Literal["accepted", "returned", "arrived", "handled", "close"]


class Said(NamedTuple):
    """A record to feed: `key` is the command centre."""

    topic: str
    key: str
    value: bytes


class Job(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Something that will be done. `subject` is the order, or the incident for a close."""

    due_us: int
    subject: str
    what: What
    incident_id: str
    actor: str


class Scene(msgspec.Struct):
    """What the crews know of an incident."""

    lon: float | None = None
    lat: float | None = None
    orders: int = 0
    seen: list[str] = []
    """Its orders, doubled ones known; an incident has few."""


class Shift(msgspec.Struct):
    """A snapshot."""

    version: int
    now_us: int
    scenes: dict[str, Scene]
    jobs: list[Job]
    live: dict[str, str]


class Crews:
    """`units` give the distances; `inspect` False leaves the closing of what no stream can verify to people."""

    def __init__(self, *, units: Sequence[Unit] = (), centre: str = "city", inspect: bool = True) -> None:
        self._bases = {unit.id: (unit.lon, unit.lat) for unit in units}
        self._centre, self._inspect = centre, inspect
        self._shift = Shift(VERSION, 0, {}, [], {})

    def see(self, outputs: Iterable[Output]) -> None:
        """What the Desk has published, in its order; other topics are passed over."""
        for output in outputs:
            match output.value:
                case DispatchOrder() as order:
                    self._order(order)
                case Incident() as incident:
                    self._incident(incident)

    def advance(self, to_us: int) -> list[Said]:
        """What has been done by `to_us`, in the order of its time."""
        shift = self._shift
        shift.now_us = max(shift.now_us, to_us)
        said: list[Said] = []
        while shift.jobs and shift.jobs[0].due_us <= to_us:
            job = heappop(shift.jobs)
            if job.subject in shift.live:
                said.append(self._say(job))
                if job.what in ("handled", "returned", "close"):
                    del shift.live[job.subject]
        return said

    def next_us(self) -> int | None:
        """When something will next be done."""
        return self._shift.jobs[0].due_us if self._shift.jobs else None

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self._shift)

    def restore(self, blob: bytes) -> None:
        """Raises StateMismatch for a snapshot of another version."""
        shift = msgspec.msgpack.decode(blob, type=Shift)
        if shift.version != VERSION:
            raise StateMismatch(f"snapshot version {shift.version}, this is {VERSION}")
        heapify(shift.jobs)
        self._shift = shift

    # ------------------------------------------------------------------------------------------------- hearing

    def _order(self, order: DispatchOrder) -> None:
        shift = self._shift
        if order.cancelled:
            shift.live.pop(order.order_id, None)
            return
        scene = self._scene(order.incident_id)
        if order.order_id in scene.seen:
            return
        scene.seen.append(order.order_id)
        scene.orders += 1
        shift.live[order.order_id] = order.incident_id
        due_us = parse_rfc3339_us(order.issued_at) + between(ACCEPT_S, f"{order.order_id}/accepted")
        if scene.orders == 1 and share(f"{order.order_id}/returned") < RETURNED_SHARE:
            self._plan(order, "returned", due_us)
            return
        self._plan(order, "accepted", due_us)
        due_us += self._way_us(order, scene)
        self._plan(order, "arrived", due_us)
        self._plan(order, "handled", due_us + between(HANDLE_S, f"{order.order_id}/handled"))

    def _incident(self, incident: Incident) -> None:
        shift = self._shift
        identity = incident.incident_id
        if incident.state in ENDED:
            shift.scenes.pop(identity, None)
            shift.live.pop(identity, None)
            return
        scene = self._scene(identity)
        scene.lon, scene.lat = incident.place.lon, incident.place.lat
        if incident.state != State.VERIFYING:
            shift.live.pop(identity, None)
        elif self._inspect and incident.reason in TO_INSPECT and identity not in shift.live:
            shift.live[identity] = identity
            due_us = parse_rfc3339_us(incident.changed_at) + round(INSPECT_S * SECOND_US)
            heappush(shift.jobs, Job(due_us, identity, "close", identity, "inspector"))

    def _scene(self, incident_id: str) -> Scene:
        scenes = self._shift.scenes
        scene = scenes.get(incident_id)
        if scene is None:
            scene = scenes[incident_id] = Scene()
            if len(scenes) > KEPT_INCIDENTS:
                del scenes[next(iter(scenes))]
        return scene

    def _way_us(self, order: DispatchOrder, scene: Scene) -> int:
        base = self._bases.get(order.unit_id or "")
        if base is None or scene.lon is None or scene.lat is None:
            return between(ARRIVE_S, f"{order.order_id}/arrived")
        way_s = distance_m(*base, scene.lon, scene.lat) / SPEED_MPS
        return round(PREPARE_S + min(way_s, LONGEST_WAY_S)) * SECOND_US

    def _plan(self, order: DispatchOrder, what: What, due_us: int) -> None:
        actor = order.unit_id or order.department
        heappush(self._shift.jobs, Job(due_us, order.order_id, what, order.incident_id, actor))

    # ------------------------------------------------------------------------------------------------- saying

    def _say(self, job: Job) -> Said:
        if job.what == "close":
            command = Command(
                command_id=content_id("c", job.incident_id, job.due_us),
                incident_id=job.incident_id,
                command="close",
                actor=job.actor,
                role="verifier",
                time=job.due_us // 1000,
                args={"finding": "现场核查通过"},
            )
            return Said("commands", self._centre, msgspec.json.encode(command))
        note = None
        if job.what == "returned":
            note = pick(REFUSALS, f"{job.subject}/why")
        elif job.what == "handled":
            note = pick(NOTES, f"{job.subject}/note")
        feedback = Feedback(
            feedback_id=content_id("f", job.subject, job.what),
            order_id=job.subject,
            incident_id=job.incident_id,
            action=job.what,
            actor=job.actor,
            time=job.due_us // 1000,
            note=note,
        )
        return Said("dispatch.feedback", self._centre, msgspec.json.encode(feedback))


def between(span_s: tuple[float, float], identity: str) -> int:
    """A duration in the span in whole milliseconds (as microseconds), fixed by the id."""
    low, high = span_s
    return round((low + (high - low) * share(identity)) * 1000) * 1000


def pick(choices: Sequence[str], identity: str) -> str:
    return choices[int(share(identity) * len(choices))]
