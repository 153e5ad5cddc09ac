"""Traffic of the synthetic Pinghu, made by SUMO (PyPI eclipse-sumo): for making recordings, never for the engine.

Seconds are of the simulation, positions the local metres of pinghu_map.py. Same seed and SUMO version, same traffic.
"""

from __future__ import annotations

import math
import random
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from streams.recordings.pinghu_map import (
    BLOCK_M,
    BY_EDGE,
    CARRIAGEWAY_M,
    KERB_M,
    LAST,
    LOOPS,
    OUTSKIRT_M,
    SEGMENTS,
    Point,
    node_name,
)

CYCLE_S = 70
"""One traffic-light cycle: a red is about half of it, so nobody who drives on waits long in one place."""
VEHICLE_M = 5.0
FREE_MPS = 13.89
PULLING_IN_MPS = 1.2
PARKED = ' parking="true"'

VTYPES = """
    <vType id="car" vClass="passenger" length="4.6"/>
    <vType id="van" vClass="delivery" length="5.4"/>
    <vType id="truck" vClass="truck" length="7.5" maxSpeed="16"/>
    <vType id="bus" vClass="bus" length="12" maxSpeed="15"/>
    <vType id="police" vClass="passenger" length="4.8"/>
    <vType id="ambulance" vClass="passenger" length="5.6" speedFactor="1.3"/>
"""


@dataclass(frozen=True, slots=True)
class Halt:
    """A vehicle that drives along a street and stops once, at the kerb or in its lane, from about `about_s` on."""

    name: str
    edge: str
    position_m: float
    about_s: float
    duration_s: float
    vtype: str = "car"
    lane: int = 0
    kerb: bool = True


@dataclass(frozen=True, slots=True)
class Limit:
    """A lower speed limit on one edge for a while: what congestion is made of here."""

    edge: str
    speed_mps: float
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class BusLine:
    name: str
    edge: str
    stop_end_m: float
    first_s: float
    every_s: float
    stand_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """One vehicle in one second. `angle_deg` is clockwise from the v axis."""

    vehicle: str
    vtype: str
    u: float
    v: float
    speed_mps: float
    angle_deg: float


@dataclass(frozen=True, slots=True)
class LoopCount:
    """What one lane of a loop measured in the interval that ends at `end_s`."""

    device_id: str
    lane: int
    end_s: int
    vehicles: int
    speed_mps: float | None
    occupancy_pct: float


def sumo_home() -> Path:
    sumo = import_module("sumo")  # by name: type checking must not need it

    return Path(sumo.SUMO_HOME)


def sumo_version() -> str:
    return version("eclipse-sumo")


def _call(program: str, *arguments: str, cwd: Path) -> None:
    home = sumo_home()
    done = subprocess.run(
        [str(home / "bin" / program), *arguments],
        cwd=cwd,
        env={"SUMO_HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{program} failed: {done.stderr[-2000:]}")


def _read(path: Path) -> ET.Element:
    return ET.parse(path).getroot()  # noqa: S314  SUMO has just written it here


def _build_network(folder: Path, seed: int) -> None:
    streets = str(LAST + 1)
    _call(
        "netgenerate",
        "--grid",
        "--grid.x-number",
        streets,
        "--grid.y-number",
        streets,
        "--grid.length",
        str(BLOCK_M),
        "--grid.attach-length",
        str(OUTSKIRT_M),
        "--default.lanenumber",
        "2",
        "--default.speed",
        str(FREE_MPS),
        "--default-junction-type",
        "traffic_light",
        "--tls.cycle.time",
        str(CYCLE_S),
        "--no-turnarounds",
        "true",
        "--seed",
        str(seed),
        "--no-warnings",
        "true",
        "-o",
        "net.xml",
        cwd=folder,
    )
    edges = {e.get("id", "") for e in _read(folder / "net.xml").iter("edge")}
    missing = set(BY_EDGE) - edges
    if missing:
        raise RuntimeError(f"the network and the map disagree on {sorted(missing)}")


Crossing = tuple[int, int]
"""Column and row of a junction; -1 and LAST + 1 are the ends of the map."""

ENDS: dict[str, Crossing] = (
    {f"left{i}": (-1, i) for i in range(LAST + 1)}
    | {f"right{i}": (LAST + 1, i) for i in range(LAST + 1)}
    | {f"bottom{i}": (i, -1) for i in range(LAST + 1)}
    | {f"top{i}": (i, LAST + 1) for i in range(LAST + 1)}
)


def _on_row(end: Crossing) -> bool:
    return end[0] in (-1, LAST + 1)


def _opposite(end: Crossing) -> Crossing:
    return (LAST - end[0], end[1]) if _on_row(end) else (end[0], LAST - end[1])


def _corners(origin: Crossing, target: Crossing, via: int) -> list[Crossing]:
    """Where a drive turns: never, once, or twice (then along street number `via`)."""
    if _on_row(origin):
        if not _on_row(target):
            return [origin, (target[0], origin[1]), target]
        return [origin, target] if origin[1] == target[1] else [origin, (via, origin[1]), (via, target[1]), target]
    if _on_row(target):
        return [origin, (origin[0], target[1]), target]
    return [origin, target] if origin[0] == target[0] else [origin, (origin[0], via), (target[0], via), target]


def _edges(corners: list[Crossing]) -> list[str]:
    nodes = [corners[0]]
    for goal in corners[1:]:
        while nodes[-1] != goal:
            (c, r), (gc, gr) = nodes[-1], goal
            nodes.append((c + (gc > c) - (gc < c), r + (gr > r) - (gr < r)))
    names = [node_name(*n) for n in nodes]
    return [a + b for a, b in pairwise(names)]


def _route(corners: list[Crossing]) -> str:
    return f'<route edges="{" ".join(_edges(corners))}"/>'


def _straight(edge: str) -> list[Crossing]:
    """The whole street that `edge` lies on, in its direction."""
    return next([o, _opposite(o)] for o in ENDS.values() if edge in _edges([o, _opposite(o)]))


def lead_s(edge: str, position_m: float) -> float:
    """About how long a vehicle drives from the end of the map to there, lights included."""
    before = _edges(_straight(edge)).index(edge)
    return OUTSKIRT_M / 12.5 + max(0, before - 1) * BLOCK_M / 12.5 + before * 14 + position_m / 12.5


Vehicle = tuple[float, str]
"""Departure and its XML."""


def _ordinary(rng: random.Random, until_s: float, hourly: dict[str, float], share: float) -> Iterator[Vehicle]:
    """Ordinary traffic from every end of the map: mostly straight on, the others turn somewhere."""
    for end, origin in ENDS.items():
        at, n = 0.0, 0
        while (at := at + rng.expovariate(hourly[end] * share / 3600) + 1.5) <= until_s:
            others = [e for e in ENDS.values() if e != origin]
            target = _opposite(origin) if rng.random() < 0.8 else rng.choice(others)
            route = _route(_corners(origin, target, rng.randint(0, LAST)))
            vtype = rng.choices(("car", "van", "truck"), (88, 9, 3))[0]
            head = f'id="{end}.{n}" type="{vtype}" depart="{at:.1f}" departLane="{rng.randint(0, 1)}" departSpeed="10"'
            yield at, f"<vehicle {head}>{route}</vehicle>"
            n += 1


def _halting(halts: list[Halt]) -> Iterator[Vehicle]:
    for h in halts:
        begin = max(0.0, h.position_m - VEHICLE_M - 1.5)
        place = f'lane="{h.edge}_{h.lane}" startPos="{begin:.1f}" endPos="{h.position_m:.1f}"'
        stop = f'<stop {place} duration="{h.duration_s:.0f}"{PARKED if h.kerb else ""}/>'
        depart = max(0.0, h.about_s - lead_s(h.edge, h.position_m))
        head = f'id="{h.name}" type="{h.vtype}" depart="{depart:.1f}" departLane="{h.lane}" departSpeed="10"'
        yield depart, f"<vehicle {head}>{_route(_straight(h.edge))}{stop}</vehicle>"


def _buses(lines: list[BusLine], until_s: float) -> Iterator[Vehicle]:
    for line in lines:
        at, n = line.first_s, 0
        while at < until_s:
            stop = f'<stop busStop="{line.name}" duration="{line.stand_s:.0f}"/>'
            head = f'id="{line.name}.{n}" type="bus" depart="{at:.1f}" departLane="0"'
            yield at, f"<vehicle {head}>{_route(_straight(line.edge))}{stop}</vehicle>"
            at, n = at + line.every_s, n + 1


def _roadside(buses: list[BusLine], limits: list[Limit]) -> Iterator[str]:
    for loop in LOOPS:
        for lane in (0, 1):
            where = f'lane="{SEGMENTS[loop.segment_id].edge}_{lane}" pos="{loop.position_m}"'
            yield f'<inductionLoop id="{loop.device_id}/{lane}" {where} period="60" file="loops.xml"/>'
    for b in buses:
        where = f'lane="{b.edge}_0" startPos="{b.stop_end_m - 15:.1f}" endPos="{b.stop_end_m:.1f}"'
        yield f'<busStop id="{b.name}" {where}/>'
    for n, limit in enumerate(limits):
        steps = ((0, FREE_MPS), (limit.from_s, limit.speed_mps), (limit.to_s, FREE_MPS))
        inner = "".join(f'<step time="{at:.0f}" speed="{speed}"/>' for at, speed in steps)
        yield f'<variableSpeedSign id="limit{n}" lanes="{limit.edge}_0 {limit.edge}_1">{inner}</variableSpeedSign>'


def run(
    folder: Path,
    seed: int,
    until_s: int,
    *,
    hourly: dict[str, float],
    share: float,
    halts: list[Halt],
    buses: list[BusLine],
    limits: list[Limit],
) -> tuple[Iterator[tuple[int, list[Seen]]], list[LoopCount]]:
    """Simulate; gives the vehicles second by second (read lazily from `folder`) and what the loops counted a minute."""
    _build_network(folder, seed)
    vehicles = [
        *_ordinary(random.Random(f"traffic {seed}"), until_s, hourly, share),
        *_halting(halts),
        *_buses(buses, until_s),
    ]
    vehicles.sort(key=lambda v: v[0])
    (folder / "routes.xml").write_text(
        "\n".join(["<routes>", VTYPES, *(x for _, x in vehicles), "</routes>"]), encoding="utf-8"
    )
    (folder / "roadside.xml").write_text(
        "\n".join(["<additional>", *_roadside(buses, limits), "</additional>"]), encoding="utf-8"
    )
    _call(
        "sumo",
        "-n",
        "net.xml",
        "-r",
        "routes.xml",
        "-a",
        "roadside.xml",
        "--end",
        str(until_s + 1),
        "--seed",
        str(seed),
        "--fcd-output",
        "fcd.xml",
        "--fcd-output.attributes",
        "id,x,y,angle,type,speed",
        "--no-step-log",
        "--no-warnings",
        "--time-to-teleport",
        "-1",
        "--threads",
        "1",
        cwd=folder,
    )
    return _vehicles(folder / "fcd.xml", {h.name: _kerb_place(h) for h in halts if h.kerb}), _loops(
        folder / "loops.xml"
    )


def _kerb_place(halt: Halt) -> Point:
    return BY_EDGE[halt.edge].along(halt.position_m, KERB_M - CARRIAGEWAY_M)


def _vehicles(path: Path, kerbs: dict[str, Point]) -> Iterator[tuple[int, list[Seen]]]:
    """SUMO stops a vehicle in its lane and puts it at the kerb a second later: until it is there, it is pulling in."""
    for _, step in ET.iterparse(path, events=("end",)):  # noqa: S314  SUMO has just written it here
        if step.tag == "timestep":
            rows = [dict(v.attrib) for v in step]
            seen = [
                Seen(
                    r["id"],
                    r["type"],
                    float(r["x"]) - OUTSKIRT_M,
                    float(r["y"]) - OUTSKIRT_M,
                    float(r["speed"]),
                    float(r["angle"]),
                )
                for r in rows
            ]
            for n, s in enumerate(seen):
                off_m = math.dist((s.u, s.v), kerbs.get(s.vehicle, (s.u, s.v)))
                if s.speed_mps < PULLING_IN_MPS and 1 < off_m < VEHICLE_M:
                    seen[n] = replace(s, speed_mps=PULLING_IN_MPS)
            yield round(float(step.attrib["time"])), sorted(seen, key=lambda s: s.vehicle)
            step.clear()


def _loops(path: Path) -> list[LoopCount]:
    counts = []
    for i in _read(path).iter("interval"):
        device_id, lane = i.attrib["id"].split("/")
        speed, vehicles = float(i.attrib["speed"]), int(i.attrib["nVehContrib"])
        counts.append(
            LoopCount(
                device_id,
                int(lane),
                round(float(i.attrib["end"])),
                vehicles,
                speed if vehicles else None,
                float(i.attrib["occupancy"]),
            )
        )
    return counts
