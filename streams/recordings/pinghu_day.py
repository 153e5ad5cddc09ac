"""What happens in the synthetic Pinghu: two scenes, a Monday's morning peak and a quiet dawn.

Seconds count from the first second of the recording. What is true is claimed here by name; make_pinghu.py takes its
exact times from the data, so a claim cannot drift from what the recording shows.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import pairwise

from streams.recordings.pinghu_map import Point
from streams.recordings.pinghu_traffic import ENDS, BusLine, Halt, Limit, Seen

WARM_UP_S = 300
"""Simulated before the recording begins, so that the streets are already full."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody or something SUMO doesn't drive: at the points of its path at their times, between them in between."""

    name: str
    kind: str
    path: tuple[tuple[float, float, float], ...]

    def at(self, t: float) -> Seen | None:
        if not self.path[0][0] <= t <= self.path[-1][0]:
            return None
        for (t0, u0, v0), (t1, u1, v1) in pairwise(self.path):
            if t <= t1:
                share = (t - t0) / (t1 - t0)
                du, dv = u1 - u0, v1 - v0
                angle = math.degrees(math.atan2(du, dv)) % 360
                return Seen(
                    self.name, self.kind, u0 + du * share, v0 + dv * share, math.hypot(du, dv) / (t1 - t0), angle
                )
        return None


@dataclass(frozen=True, slots=True)
class Curve:
    """A number that changes in straight lines between its knots, with a slow wave on top."""

    knots: tuple[tuple[float, float], ...]
    wave: float = 0.0
    wave_period_s: float = 97.0

    def at(self, t: float) -> float:
        value = self.knots[-1][1]
        for (t0, y0), (t1, y1) in pairwise(self.knots):
            if t < t1:
                value = y0 + (y1 - y0) * max(0.0, t - t0) / (t1 - t0)
                break
        return value + self.wave * math.sin(2 * math.pi * t / self.wave_period_s)


@dataclass(frozen=True, slots=True)
class BoxEvent:
    """What an AI box reports by itself, on camera.events."""

    event_id: str
    at_s: float
    camera: int
    label: str
    confidence: float
    place: Point


@dataclass(frozen=True, slots=True)
class Ticket:
    ticket_id: str
    at_s: float
    line: str
    kind: str
    category: str
    text: str
    address: str
    caller: str
    urgency: str = "normal"
    place: Point | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """One true incident, or one decoy, and where in the data it shows: exactly one of the four `by_…` fields."""

    claim_id: str
    kind: str
    expect_rule: str | None
    note: str
    decoy: bool = False
    zone: str | None = None
    by_tracks: tuple[str, ...] = ()
    by_device: tuple[str, str] | None = None
    """Device and metric."""
    by_segment: str | None = None
    by_events: tuple[str, ...] = ()
    window_s: tuple[float, float] | None = None
    """For devices and segments: when the condition holds, to the next reading."""
    tickets: tuple[str, ...] = ()
    outcome: str | None = None
    """Where the shipped rules should take it: `case`, or `withdrawn` when it leaves in the grace."""


@dataclass(frozen=True, slots=True)
class Scene:
    name: str
    start_ms: int
    length_s: int
    share: float
    """How much of `hourly_flow` drives."""
    halts: list[Halt]
    buses: list[BusLine]
    limits: list[Limit]
    actors: list[Actor]
    levels_cm: dict[str, Curve]
    tilts_deg: dict[str, Curve]
    tilt_watch_s: dict[str, tuple[float, float]]
    """While moved, a tilt sensor reports every 10 s instead of every minute."""
    smoke_s: dict[str, tuple[float, float]]
    sos_s: dict[str, float]
    events: list[BoxEvent]
    tickets: list[Ticket]
    claims: list[Claim]
    spoilt: bool
    """With the bad records and the duplicates every real recording has."""
    temperature_c: Curve = Curve(((0, 8.4), (1500, 9.1)), 0.1)


def hourly_flow(end: str) -> float:
    """Vehicles an hour that enter the map at an end: 当湖路 and 新华路 are the busy ones."""
    column, row = ENDS[end]
    if end.startswith(("left", "right")) and row == 1:
        return 480
    return 420 if end.startswith(("bottom", "top")) and column == 1 else 260


def _passers_by(rng: random.Random, name: str, centre: Point, length_s: int, every_s: float) -> list[Actor]:
    """People who walk across a square, one after the other."""
    actors: list[Actor] = []
    t = -60.0
    while (t := t + rng.expovariate(1 / every_s)) < length_s:
        angle, turn, pace = rng.uniform(0, 2 * math.pi), rng.uniform(-0.6, 0.6), rng.uniform(0.9, 1.5)
        a = (centre[0] + 58 * math.cos(angle), centre[1] + 58 * math.sin(angle))
        b = (centre[0] - 58 * math.cos(angle + turn), centre[1] - 58 * math.sin(angle + turn))
        actors.append(Actor(f"{name}-{len(actors)}", "person", ((t, *a), (t + math.dist(a, b) / pace, *b))))
    return actors


def _crowd(rng: random.Random, centre: Point, size: int, from_s: float, to_s: float) -> list[Actor]:
    """People who come together, mill about and go."""
    actors = []
    for n in range(size):
        angle = rng.uniform(0, 2 * math.pi)
        spot = (centre[0] + rng.uniform(-11, 11), centre[1] + rng.uniform(-11, 11))
        outside = (centre[0] + 50 * math.cos(angle), centre[1] + 50 * math.sin(angle))
        come, go = from_s + rng.uniform(-40, 0), to_s + rng.uniform(0, 30)
        path = [(come - 40, *outside), (come, *spot)]
        t = come
        while (t := t + rng.uniform(30, 80)) < go:
            path.append((t, spot[0] + rng.uniform(-2, 2), spot[1] + rng.uniform(-2, 2)))
        path += [(go, *spot), (go + 40, *outside)]
        actors.append(Actor(f"crowd-{n}", "person", tuple(path)))
    return actors


def _still(name: str, kind: str, at: Point, from_s: float, to_s: float) -> Actor:
    return Actor(name, kind, ((from_s, *at), (to_s, *at)))


def _stalls(length_s: int) -> list[Actor]:
    return [_still(f"market-{n}", "vendor_stall", (738.0 + 16 * n, 559.0), -10, length_s + 10) for n in range(2)]


def morning(seed: int) -> Scene:
    """Monday 2026-03-02, 07:10 to 07:35."""
    length = 1500
    rng = random.Random(f"people {seed}")
    w = float(WARM_UP_S)
    halts = [
        Halt("illegal-a", "B1B2", 129.6, w + 60, 600),
        Halt("illegal-b", "B1C1", 269.6, w + 180, 720),
        Halt("illegal-c", "C2D2", 59.6, w + 420, 480, vtype="van"),
        Halt("illegal-d", "A1B1", 289.6, w + 300, 270),
        Halt("leaver-a", "A2A1", 189.6, w + 240, 180),
        Halt("permit-a", "B1B2", 299.6, w + 100, 930),
        Halt("police-a", "D1D2", 219.6, w + 300, 360, vtype="police"),
        Halt("kerb-a", "B3C3", 169.6, w + 400, 60),
        Halt("school-run-a", "A1B1", 264.0, w + 120, 45),
        Halt("school-run-b", "A1B1", 262.0, w + 660, 50),
        Halt("crash-a", "A2B2", 226.0, w + 800, 300, kerb=False),
        Halt("crash-b", "A2B2", 220.2, w + 808, 300, kerb=False),
        Halt("ambulance-120-03", "D0D1", 209.6, 120, 840, vtype="ambulance"),
    ]
    buses = [
        BusLine("k1", "C1C2", 184.0, 75, 270, 35),
        BusLine("k2", "C1B1", 139.6, 160, 330, 32),
    ]
    limits = [Limit("C1D1", 2.5, w + 170, w + 700), Limit("A1A0", 6.7, 0, w + length + 60)]
    stall = Actor("stall-a", "vendor_stall", ((178, 812, 500), (204, 770, 505), (692, 770, 505), (718, 814, 500)))
    goods = [
        _still(f"goods-{n}", "shop_goods", at, 360 + 9 * n, 1000 + 4 * n)
        for n, at in enumerate(((895.0, 825.0), (899.0, 825.4), (925.0, 824.6)))
    ]
    people = [
        *_passers_by(rng, "square", (765, 515), length, 45),
        *_passers_by(rng, "old-town", (535, -60), length, 40),
        *_passers_by(rng, "plaza", (1340, 720), length, 40),
        *_crowd(rng, (1340, 720), 20, 720, 1000),
    ]
    events = [
        BoxEvent("e-0081", 512.4, 16, "cover_missing", 0.88, (4, 985)),
        BoxEvent("e-0082", 571.9, 16, "cover_missing", 0.91, (4, 985)),
        BoxEvent("e-0087", 905.3, 2, "cover_missing", 0.70, (424, 760)),
        BoxEvent("e-0079", 431.7, 15, "ponding", 0.78, (652, -9)),
        BoxEvent("e-0083", 761.2, 15, "fire", 0.94, (706, -21)),
        BoxEvent("e-0084", 764.2, 15, "fire", 0.96, (706, -21)),
        BoxEvent("e-0085", 768.3, 15, "fire", 0.95, (706, -21)),
        BoxEvent("e-0086", 846.0, 14, "accident", 0.90, (229, 835)),
        BoxEvent("e-0080", 480.5, 6, "shop_goods", 0.83, (897, 825)),
        BoxEvent("e-0088", 790.8, 12, "crowd", 0.86, (1340, 720)),
    ]
    tickets = [
        Ticket(
            "T20260302-0041",
            262,
            "12345",
            "complaint",
            "违法停车",
            "新华路北段靠近润发街有一辆小车一直停在禁停路段，公交进站很困难",
            "新华路北段",
            "13800000041",
            place=(426, 566),
        ),
        Ticket(
            "T20260302-0042",
            455,
            "12345",
            "help",
            "道路积水",
            "南河头路新华路口往东一点积水很深，电瓶车过不去",
            "南河头路新华路至关帝庙街段",
            "13800000042",
            place=(662, -6),
        ),
        Ticket(
            "T20260302-0043",
            486,
            "12345",
            "complaint",
            "交通拥堵",
            "当湖路关帝庙街到吾悦路向东堵得走不动",
            "当湖路关帝庙街至吾悦路段",
            "13800000043",
            place=(1060, 416),
        ),
        Ticket(
            "T20260302-0044",
            540,
            "12345",
            "report",
            "井盖破损",
            "三港路中段路边一只窨井盖翘起来了，很危险",
            "三港路中段西侧",
            "13800000044",
            place=(-5, 502),
        ),
        Ticket(
            "T20260302-0045",
            572,
            "12345",
            "complaint",
            "道路积水",
            "刚才打过电话，南河头路的积水还没有退，请尽快处理",
            "南河头路新华路至关帝庙街段",
            "13800000042",
            urgency="urgent",
        ),
        Ticket(
            "T20260302-0046",
            515,
            "12345",
            "complaint",
            "流动摊贩",
            "关帝庙广场上有人摆摊卖早点，占了走道",
            "关帝庙广场",
            "13800000046",
            place=(772, 500),
        ),
        Ticket(
            "T20260302-0047",
            640,
            "12345",
            "complaint",
            "噪音扰民",
            "体育路小区旁边工地清早就开始施工，噪音很大",
            "体育路新华路口以北",
            "13800000047",
        ),
        Ticket(
            "T20260302-0048",
            782,
            "119",
            "help",
            "火情",
            "南河头路沿街店铺后面冒烟有明火",
            "南河头路中段",
            "13800000048",
            urgency="urgent",
            place=(700, -18),
        ),
        Ticket(
            "T20260302-0049",
            868,
            "122",
            "report",
            "交通事故",
            "润发街三港路往东两辆车追尾，占着右边车道",
            "润发街三港路至新华路段",
            "13800000049",
            place=(236, 834),
        ),
    ]
    claims = [
        Claim(
            "illegal-a",
            "illegal_parking",
            "illegal-parking",
            "at the kerb for ten minutes: reminded, then a case",
            zone="no-parking/xinhua-road-n",
            by_tracks=("illegal-a",),
            tickets=("T20260302-0041",),
        ),
        Claim(
            "illegal-b",
            "illegal_parking",
            "illegal-parking",
            "twelve minutes; its camera sends columns",
            zone="no-parking/danghu-road-e",
            by_tracks=("illegal-b",),
        ),
        Claim(
            "illegal-c",
            "illegal_parking",
            "illegal-parking",
            "a van, eight minutes; its camera declares gcj02",
            zone="no-parking/rt-mart-front",
            by_tracks=("illegal-c",),
        ),
        Claim(
            "illegal-d",
            "illegal_parking",
            "illegal-parking",
            "at the school gate in school hours, gone before seven minutes: a case only by the school-gate order",
            zone="no-parking/school-danghu-primary",
            by_tracks=("illegal-d",),
        ),
        Claim(
            "leaver-a",
            "illegal_parking_left_in_grace",
            "illegal-parking",
            "reminded at two minutes, leaves at three: withdrawn",
            outcome="withdrawn",
            zone="no-parking/sangang-road-m",
            by_tracks=("leaver-a",),
        ),
        Claim(
            "stall-a",
            "street_vendor",
            "street-vendor",
            "one stall in a vendor-free square, in street-trade hours",
            zone="core/guandimiao-square",
            by_tracks=("stall-a",),
            tickets=("T20260302-0046",),
        ),
        Claim(
            "ponding-w-12",
            "ponding",
            "ponding",
            "over 15 cm for minutes, back under 8 cm; two calls of one citizen, a camera",
            by_device=("w-12", "water_level"),
            tickets=("T20260302-0042", "T20260302-0045"),
        ),
        Claim(
            "tilt-t-03",
            "manhole_cover_tilted",
            "cover-tilt",
            "22 degrees, then put back",
            by_device=("t-03", "tilt"),
            tickets=("T20260302-0044",),
        ),
        Claim(
            "cover-1",
            "manhole_cover_missing",
            "cover-missing",
            "seen twice within two minutes",
            by_events=("e-0081", "e-0082"),
        ),
        Claim(
            "fire-1",
            "fire",
            "fire",
            "seen three times within ten seconds; the smoke detector sm-21 confirms",
            by_events=("e-0083", "e-0084", "e-0085"),
            tickets=("T20260302-0048",),
        ),
        Claim(
            "smoke-sm-21",
            "smoke_alarm",
            None,
            "the smoke detector of the same fire",
            by_device=("sm-21", "smoke_alarm"),
        ),
        Claim("sos-0031", "elder_sos", "elder-sos", "one press of the button", by_device=("sos-0031", "sos")),
        Claim(
            "congestion-1",
            "congestion",
            "congestion",
            "walking pace for minutes, then free flow",
            by_segment="danghu-rd-04",
            tickets=("T20260302-0043",),
        ),
        Claim(
            "crash-1",
            "traffic_accident",
            None,
            "two cars stand nose to tail in the right lane, away from any light",
            by_tracks=("crash-a", "crash-b"),
            tickets=("T20260302-0049",),
        ),
        Claim(
            "goods-1",
            "goods_beyond_shop_line",
            None,
            "越门经营: goods on the pavement",
            zone="shopfront/rt-mart-row",
            by_tracks=("goods-0", "goods-1", "goods-2"),
        ),
        Claim(
            "crowd-1",
            "crowd",
            None,
            "twenty people in one place",
            zone="core/wuyue-square",
            by_tracks=tuple(f"crowd-{n}" for n in range(20)),
        ),
        Claim(
            "permit-a",
            "parked_in_a_permit_bay",
            None,
            "legal: the bay lies inside a no-parking zone",
            decoy=True,
            zone="permit/xinhua-bays",
            by_tracks=("permit-a",),
        ),
        Claim(
            "police-a",
            "police_on_duty",
            None,
            "exempt by its role",
            decoy=True,
            zone="no-parking/wuyue-plaza-front",
            by_tracks=("police-a",),
        ),
        Claim(
            "kerb-a",
            "short_stop",
            None,
            "a minute at the kerb",
            decoy=True,
            zone="no-parking/stadium-gate",
            by_tracks=("kerb-a",),
        ),
        Claim(
            "school-run-a",
            "short_stop",
            None,
            "a child is let out",
            decoy=True,
            zone="no-parking/school-danghu-primary",
            by_tracks=("school-run-a",),
        ),
        Claim(
            "school-run-b",
            "short_stop",
            None,
            "a child is let out",
            decoy=True,
            zone="no-parking/school-danghu-primary",
            by_tracks=("school-run-b",),
        ),
        Claim(
            "bus-k1",
            "bus_at_its_stop",
            None,
            "the second bus of line K1",
            decoy=True,
            zone="no-parking/guandimiao-street",
            by_tracks=("k1.2",),
        ),
        Claim(
            "market-stalls",
            "stalls_in_a_market",
            None,
            "allowed there",
            decoy=True,
            zone="market/guandimiao-morning",
            by_tracks=("market-0", "market-1"),
        ),
        Claim(
            "gauge-w-07",
            "high_water_below_the_limit",
            None,
            "wobbles between 10 and 14 cm",
            decoy=True,
            by_device=("w-07", "water_level"),
        ),
        Claim("cover-doubtful", "one_doubtful_look", None, "one report at 0.70", decoy=True, by_events=("e-0087",)),
        Claim(
            "slow-sangang",
            "slow_but_moving",
            None,
            "between 15 and 30 km/h all the time",
            decoy=True,
            by_segment="sangang-rd-09",
        ),
    ]
    return Scene(
        name="pinghu",
        start_ms=1_772_406_600_000,
        length_s=length,
        share=1.3,
        halts=halts,
        buses=buses,
        limits=limits,
        actors=[stall, *_stalls(length), *goods, *people],
        levels_cm={
            "w-12": Curve(
                ((0, 3.0), (180, 3.2), (330, 16.0), (450, 24.0), (600, 22.0), (720, 14.0), (840, 6.0), (1000, 3.4)), 0.2
            ),
            "w-07": Curve(((0, 12.0), (1500, 12.0)), 1.7, 211),
        },
        tilts_deg={
            "t-03": Curve(((0, 1.2), (396, 1.2), (400, 22.0), (640, 23.5), (646, 1.8)), 0.1),
            "t-08": Curve(((0, 0.6), (9, 0.6)), 0.1),
            "t-11": Curve(((0, 2.1), (9, 2.1)), 0.1),
        },
        tilt_watch_s={"t-03": (398, 700)},
        smoke_s={"sm-21": (771, 1000)},
        sos_s={"sos-0031": 622.5},
        events=events,
        tickets=tickets,
        claims=claims,
        spoilt=True,
    )


def dawn(seed: int) -> Scene:
    """The same Monday, 05:00 to 05:16: few drive, nothing is wrong, nothing may open."""
    length = 960
    rng = random.Random(f"dawn people {seed}")
    w = float(WARM_UP_S)
    claims = [
        Claim(
            "dawn-permit",
            "parked_in_a_permit_bay",
            None,
            "stands there from before to after",
            decoy=True,
            zone="permit/xinhua-bays",
            by_tracks=("permit-dawn",),
        ),
        Claim(
            "dawn-kerb",
            "short_stop",
            None,
            "newspapers are delivered",
            decoy=True,
            zone="no-parking/guandimiao-street",
            by_tracks=("kerb-dawn",),
        ),
        Claim(
            "dawn-bus",
            "bus_at_its_stop",
            None,
            "the first bus",
            decoy=True,
            zone="no-parking/guandimiao-street",
            by_tracks=("k1.0",),
        ),
        Claim(
            "dawn-stalls",
            "stalls_in_a_market",
            None,
            "allowed there",
            decoy=True,
            zone="market/guandimiao-morning",
            by_tracks=("market-0", "market-1"),
        ),
        Claim(
            "dawn-gauge",
            "high_water_below_the_limit",
            None,
            "wobbles between 10 and 14 cm",
            decoy=True,
            by_device=("w-07", "water_level"),
        ),
        Claim("dawn-cover", "one_doubtful_look", None, "one report at 0.70", decoy=True, by_events=("e-0011",)),
        Claim(
            "dawn-steam",
            "one_doubtful_look",
            None,
            "steam of a breakfast kitchen, taken for smoke once",
            decoy=True,
            by_events=("e-0012",),
        ),
    ]
    return Scene(
        name="pinghu-dawn",
        start_ms=1_772_398_800_000,
        length_s=length,
        share=0.1,
        halts=[
            Halt("permit-dawn", "B1B2", 299.6, 200, 2000),
            Halt("kerb-dawn", "C1C2", 215.0, w + 330, 60, vtype="van"),
        ],
        buses=[BusLine("k1", "C1C2", 184.0, 480, 600, 35)],
        limits=[],
        actors=[*_stalls(length), *_passers_by(rng, "square", (765, 515), length, 150)],
        levels_cm={"w-12": Curve(((0, 3.0), (9, 3.0)), 0.2), "w-07": Curve(((0, 12.0), (9, 12.0)), 1.7, 211)},
        tilts_deg={d: Curve(((0, y), (9, y)), 0.1) for d, y in (("t-03", 1.2), ("t-08", 0.6), ("t-11", 2.1))},
        tilt_watch_s={},
        smoke_s={},
        sos_s={},
        events=[
            BoxEvent("e-0011", 402.2, 16, "cover_missing", 0.70, (4, 985)),
            BoxEvent("e-0012", 655.8, 6, "smoke", 0.55, (920, 826)),
        ],
        tickets=[],
        claims=claims,
        spoilt=False,
        temperature_c=Curve(((0, 5.2), (960, 5.0)), 0.1),
    )
