"""The synthetic Pinghu: a street grid laid over the real coordinates, and what stands in it.

Everything is drawn in local metres (u to the right, v up; the south-west junction is 0, 0) and mapped affinely to
WGS-84. SUMO's network has the same metres, so traffic and geography agree. Positions are invented: only the names are
the city's. Knows nothing about what happens in the city; see pinghu_day.py for that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

Point = tuple[float, float]
Feature = dict[str, Any]

BLOCK_M = 420.0
OUTSKIRT_M = 300.0
LAST = 3
"""Index of the last street in each direction: four by four streets."""
JUNCTION_M = 10.4
"""Half a junction as netgenerate builds it: edges begin and end so far from the crossing of the centre lines."""
CARRIAGEWAY_M = 3.2
"""From the centre line to the middle of one direction's two lanes."""
KERB_M = 8.0
"""From the centre line to a car parked at the kerb."""
KERB_ZONE_M = 10.5
"""No-parking zones reach so far to both sides: carriageway and kerb."""

CENTRE_LON, CENTRE_LAT = 121.015, 30.69
CENTRE_U = CENTRE_V = 1.5 * BLOCK_M
TURN_DEG = 4.0
"""The grid is turned counter-clockwise, so that no street runs exactly along a meridian."""
M_PER_DEG_LON, M_PER_DEG_LAT = 95_811.8, 110_863.7
COS, SIN = math.cos(math.radians(TURN_DEG)), math.sin(math.radians(TURN_DEG))


def to_lonlat(u: float, v: float) -> Point:
    """Local metres to WGS-84 degrees."""
    du, dv = u - CENTRE_U, v - CENTRE_V
    return CENTRE_LON + (du * COS - dv * SIN) / M_PER_DEG_LON, CENTRE_LAT + (du * SIN + dv * COS) / M_PER_DEG_LAT


def to_gcj02(lon: float, lat: float) -> Point:
    """WGS-84 to GCJ-02, the shifted datum of Chinese map services."""
    x, y = lon - 105.0, lat - 35.0
    wave = 20 * math.sin(6 * math.pi * x) + 20 * math.sin(2 * math.pi * x)
    north = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * math.sqrt(abs(x))
    north += (wave + 20 * math.sin(math.pi * y) + 40 * math.sin(math.pi / 3 * y)) * 2 / 3
    north += (160 * math.sin(math.pi / 12 * y) + 320 * math.sin(math.pi / 30 * y)) * 2 / 3
    east = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * math.sqrt(abs(x))
    east += (wave + 20 * math.sin(math.pi * x) + 40 * math.sin(math.pi / 3 * x)) * 2 / 3
    east += (150 * math.sin(math.pi / 12 * x) + 300 * math.sin(math.pi / 30 * x)) * 2 / 3
    a, ee = 6378245.0, 0.00669342162296594323
    phi = math.radians(lat)
    magic = 1 - ee * math.sin(phi) ** 2
    return (
        lon + math.degrees(east / (a / math.sqrt(magic) * math.cos(phi))),
        lat + math.degrees(north / (a * (1 - ee) / (magic * math.sqrt(magic)))),
    )


# --- streets


@dataclass(frozen=True, slots=True)
class Street:
    slug: str
    zh: str
    en: str
    road_class: str
    limit_kmh: int = 50


ROWS = (
    Street("nanhetou-rd", "南河头路", "Nanhetou Road", "tertiary"),
    Street("danghu-rd", "当湖路", "Danghu Road", "primary"),
    Street("runfa-st", "润发街", "Runfa Street", "tertiary"),
    Street("tiyu-rd", "体育路", "Tiyu Road", "secondary"),
)
COLUMNS = (
    Street("sangang-rd", "三港路", "Sangang Road", "secondary"),
    Street("xinhua-rd", "新华路", "Xinhua Road", "primary"),
    Street("guandimiao-st", "关帝庙街", "Guandimiao Street", "tertiary"),
    Street("wuyue-rd", "吾悦路", "Wuyue Road", "secondary"),
)


@dataclass(frozen=True, slots=True)
class Segment:
    """One direction of a street between two junctions (or between the outermost one and the edge of the map)."""

    segment_id: str
    edge: str
    start_node: str
    end_node: str
    start: Point
    end: Point
    street: Street
    name_zh: str
    name_en: str

    @property
    def length_m(self) -> float:
        return math.dist(self.start, self.end)

    def along(self, position_m: float, right_m: float = 0.0) -> Point:
        """The point so far along the segment, so far to the right of the middle of its carriageway."""
        cu, cv = (self.end[0] - self.start[0]) / self.length_m, (self.end[1] - self.start[1]) / self.length_m
        return self.start[0] + cu * position_m + cv * right_m, self.start[1] + cv * position_m - cu * right_m


def node_name(column: int, row: int) -> str:
    """The name netgenerate gives a junction or an end of the map."""
    if column < 0:
        return f"left{row}"
    if column > LAST:
        return f"right{row}"
    if row < 0:
        return f"bottom{column}"
    return f"top{column}" if row > LAST else f"{'ABCD'[column]}{row}"


def _metres(index: int) -> float:
    if index < 0:
        return -OUTSKIRT_M
    return index * BLOCK_M if index <= LAST else LAST * BLOCK_M + OUTSKIRT_M


def _stretch(street: Street, crossing: tuple[Street, ...], low: int, heading: str, sides: tuple[str, str]) -> Point2:
    """Names of the stretch between crossing streets `low` and `low + 1`, in Chinese and English."""
    zh, en = {
        "E": ("向东", "eastbound"),
        "W": ("向西", "westbound"),
        "N": ("向北", "northbound"),
        "S": ("向南", "southbound"),
    }[heading]
    if low < 0:
        return f"{street.zh}{crossing[0].zh}以{sides[0]}段（{zh}）", f"{street.en} before {crossing[0].en}, {en}"
    if low == LAST:
        return f"{street.zh}{crossing[LAST].zh}以{sides[1]}段（{zh}）", f"{street.en} beyond {crossing[LAST].en}, {en}"
    a, b = crossing[low], crossing[low + 1]
    return f"{street.zh}{a.zh}至{b.zh}段（{zh}）", f"{street.en}, {a.en} to {b.en}, {en}"


Point2 = tuple[str, str]


def _segments() -> dict[str, Segment]:
    found: list[Segment] = []
    for across in (False, True):
        for index, street in enumerate(COLUMNS if across else ROWS):
            for low in range(-1, LAST + 1):
                ends = [(index, low), (index, low + 1)] if across else [(low, index), (low + 1, index)]
                for back in (False, True):
                    (c0, r0), (c1, r1) = ends[::-1] if back else ends
                    centre0, centre1 = (_metres(c0), _metres(r0)), (_metres(c1), _metres(r1))
                    length = math.dist(centre0, centre1)
                    cu, cv = (centre1[0] - centre0[0]) / length, (centre1[1] - centre0[1]) / length
                    trim0 = JUNCTION_M if 0 <= c0 <= LAST and 0 <= r0 <= LAST else 0.0
                    trim1 = JUNCTION_M if 0 <= c1 <= LAST and 0 <= r1 <= LAST else 0.0
                    heading = ("S" if back else "N") if across else ("W" if back else "E")
                    number = 2 * (LAST + 2) - (low + 1) if back else low + 2
                    zh, en = _stretch(
                        street, ROWS if across else COLUMNS, low, heading, ("南", "北") if across else ("西", "东")
                    )
                    found.append(
                        Segment(
                            f"{street.slug}-{number:02d}",
                            node_name(c0, r0) + node_name(c1, r1),
                            node_name(c0, r0),
                            node_name(c1, r1),
                            (
                                centre0[0] + cu * trim0 + cv * CARRIAGEWAY_M,
                                centre0[1] + cv * trim0 - cu * CARRIAGEWAY_M,
                            ),
                            (
                                centre1[0] - cu * trim1 + cv * CARRIAGEWAY_M,
                                centre1[1] - cv * trim1 - cu * CARRIAGEWAY_M,
                            ),
                            street,
                            zh,
                            en,
                        )
                    )
    return {s.segment_id: s for s in sorted(found, key=lambda s: s.segment_id)}


SEGMENTS = _segments()
BY_EDGE = {s.edge: s for s in SEGMENTS.values()}


# --- areas and zones


@dataclass(frozen=True, slots=True)
class Area:
    slug: str
    zh: str
    en: str
    box: tuple[float, float, float, float]
    ring: tuple[Point, ...]

    def holds(self, at: Point) -> bool:
        u0, v0, u1, v1 = self.box
        return u0 < at[0] < u1 and v0 < at[1] < v1


def _area(slug: str, zh: str, en: str, box: tuple[float, float, float, float], *extra: Point) -> Area:
    """`extra` are corners of neighbours on this border: with them the rings share every vertex and tile exactly."""
    u0, v0, u1, v1 = box
    corners = [(u0, v0), (u1, v0), (u1, v1), (u0, v1), *extra]
    mid = ((u0 + u1) / 2, (v0 + v1) / 2)
    ring = sorted(corners, key=lambda p: math.atan2(p[1] - mid[1], p[0] - mid[0]))
    return Area(slug, zh, en, box, tuple(ring))


AREAS = (
    _area("sangang", "三港片区", "Sangang", (-600, -600, 140, 1860), (140, 140), (140, 980)),
    _area("nanhetou", "南河头片区", "Nanhetou", (140, -600, 1860, 140), (560, 140), (980, 140)),
    _area("danghu", "当湖片区", "Danghu", (140, 140, 560, 980)),
    _area("guandimiao", "关帝庙片区", "Guandimiao", (560, 140, 980, 980)),
    _area("wuyue", "吾悦片区", "Wuyue", (980, 140, 1860, 980)),
    _area("tiyu", "体育中心片区", "Sports centre", (140, 980, 1860, 1860), (560, 980), (980, 980)),
)


def area_of(at: Point) -> str:
    """The one area that holds the point."""
    (only,) = (a.slug for a in AREAS if a.holds(at))
    return only


@dataclass(frozen=True, slots=True)
class Zone:
    kind: str
    slug: str
    zh: str
    en: str
    box: tuple[float, float, float, float]
    grade: str | None = None
    hole: tuple[float, float, float, float] | None = None

    @property
    def path(self) -> str:
        return f"{self.kind}/{self.slug}"


def _along_row(row: int, u0: float, u1: float) -> tuple[float, float, float, float]:
    return u0, row * BLOCK_M - KERB_ZONE_M, u1, row * BLOCK_M + KERB_ZONE_M


def _along_column(column: int, v0: float, v1: float) -> tuple[float, float, float, float]:
    return column * BLOCK_M - KERB_ZONE_M, v0, column * BLOCK_M + KERB_ZONE_M, v1


ZONES = (
    Zone("no-parking", "xinhua-road-n", "新华路北段", "Xinhua Road N", _along_column(1, 440, 829.6), "strict"),
    Zone("no-parking", "danghu-road-e", "当湖路东段", "Danghu Road E", _along_row(1, 580, 829.6), "strict"),
    Zone("no-parking", "sangang-road-m", "三港路中段", "Sangang Road M", _along_column(0, 430.4, 820)),
    Zone(
        "no-parking", "guandimiao-street", "关帝庙商圈沿街", "Guandimiao Street", _along_column(2, 440, 829.6), "strict"
    ),
    Zone("no-parking", "rt-mart-front", "大润发商圈门前", "RT-Mart front", _along_row(2, 860, 960)),
    Zone(
        "no-parking",
        "wuyue-plaza-front",
        "新城吾悦广场门前",
        "Wuyue Plaza front",
        _along_column(3, 500, 829.6),
        "strict",
    ),
    Zone("no-parking", "stadium-gate", "市体育中心大门", "Sports centre gate", _along_row(3, 460, 800)),
    Zone(
        "no-parking",
        "school-danghu-primary",
        "当湖路小学门口",
        "Danghu Road primary school gate",
        _along_row(1, 220, 400),
        "strict",
    ),
    Zone("no-parking", "nanhetou-road", "南河头路沿街", "Nanhetou Road", _along_row(0, 460, 800)),
    Zone("permit", "xinhua-bays", "新华路限时泊位", "Xinhua Road bays", (426.6, 715, 429.6, 745)),
    Zone("permit", "stadium-bays", "体育中心泊位", "Sports centre bays", (680, 1250.4, 740, 1253.4)),
    Zone("core", "guandimiao-square", "关帝庙广场", "Guandimiao Square", (730, 470, 800, 550), "strict"),
    Zone("core", "wuyue-square", "吾悦广场前广场", "Wuyue Square", (1300, 680, 1380, 760), "strict"),
    Zone(
        "core",
        "nanhetou-old-street",
        "南河头历史文化街区",
        "Nanhetou old town",
        (460, -130, 620, -40),
        "strict",
        (500, -100, 560, -80),
    ),
    Zone("market", "guandimiao-morning", "关帝庙早市", "Guandimiao morning market", (730, 552, 800, 572)),
    Zone("market", "nanhetou-fair", "南河头便民疏导点", "Nanhetou fair", (630, -130, 690, -60)),
    Zone("shopfront", "rt-mart-row", "大润发沿街商铺", "RT-Mart shop row", (880, 821, 945, 829)),
    Zone("shopfront", "guandimiao-east-row", "关帝庙街东侧商铺", "Guandimiao Street east shops", (851, 540, 858, 680)),
)


# --- devices


@dataclass(frozen=True, slots=True)
class Camera:
    """What a camera sees is a circle of `radius_m` round `look`; circles of two cameras do not overlap."""

    number: int
    look: Point
    pole: Point
    radius_m: float = 55.0
    form: Literal["objects", "columns"] = "objects"
    crs: str | None = None
    text_time: bool = False
    ptz_preset: int | None = None

    @property
    def sensor_id(self) -> str:
        return f"33048200001320{self.number:06d}"

    @property
    def area(self) -> str:
        return area_of(self.look)


CAMERAS = (
    Camera(1, (420, 560), (432, 590)),
    Camera(2, (420, 770), (408, 812), radius_m=60),
    Camera(3, (690, 420), (730, 432), form="columns"),
    Camera(4, (0, 640), (12, 600)),
    Camera(5, (840, 610), (852, 650)),
    Camera(6, (910, 840), (880, 852), crs="gcj02"),
    Camera(7, (1260, 650), (1248, 690)),
    Camera(8, (600, 1260), (640, 1272), ptz_preset=1),
    Camera(9, (300, 420), (330, 432), crs="cgcs2000"),
    Camera(10, (765, 515), (800, 545)),
    Camera(11, (535, -60), (560, -40)),
    Camera(12, (1340, 720), (1380, 760), form="columns"),
    Camera(13, (420, 350), (432, 300)),
    Camera(14, (230, 840), (260, 852)),
    Camera(15, (690, 0), (650, 12), form="columns"),
    Camera(16, (0, 1000), (12, 1030), text_time=True),
)


@dataclass(frozen=True, slots=True)
class Loop:
    """An induction loop across a segment, `position_m` from its start. Some report each lane, most the carriageway."""

    device_id: str
    segment_id: str
    by_lane: bool = False
    position_m: float = 200.0


LOOPS = (
    Loop("loop-01", "danghu-rd-02"),
    Loop("loop-02", "danghu-rd-03", by_lane=True),
    Loop("loop-03", "danghu-rd-04"),
    Loop("loop-04", "danghu-rd-08"),
    Loop("loop-05", "xinhua-rd-02"),
    Loop("loop-06", "xinhua-rd-03", by_lane=True),
    Loop("loop-07", "xinhua-rd-08"),
    Loop("loop-08", "sangang-rd-09"),
    Loop("loop-09", "guandimiao-st-03", position_m=240.0),
    Loop("loop-10", "wuyue-rd-03"),
    Loop("loop-11", "tiyu-rd-03"),
    Loop("loop-12", "nanhetou-rd-03"),
    Loop("loop-13", "runfa-st-04"),
)


@dataclass(frozen=True, slots=True)
class Device:
    device_id: str
    kind: str
    at: Point
    expected_every_s: int
    owner: str | None = None
    gateway: str | None = None

    @property
    def area(self) -> str:
        return area_of(self.at)


DEVICES = (
    Device("w-12", "water_level", (650, -12), 20, gateway="gw-nanhetou"),
    Device("w-07", "water_level", (433, 180), 20, gateway="gw-danghu"),
    Device("t-03", "tilt", (-6, 500), 60, gateway="gw-sangang"),
    Device("t-08", "tilt", (846, 700), 60, gateway="gw-guandimiao"),
    Device("t-11", "tilt", (606, 1266), 60, gateway="gw-tiyu"),
    Device("sm-21", "smoke", (705, -24), 60, gateway="gw-nanhetou"),
    Device("sm-05", "smoke", (920, 815), 60, gateway="gw-guandimiao"),
    Device("sos-0031", "sos", (520, 1330), 300, owner="李某"),
    Device("sos-0017", "sos", (300, 520), 300, owner="王某"),
    Device("env-01", "temperature", (1330, 690), 30, gateway="gw-wuyue"),
    Device("temp-02", "temperature", (480, -70), 30, gateway="gw-nanhetou"),
)


@dataclass(frozen=True, slots=True)
class Unit:
    unit_id: str
    vehicle_id: str
    department: str
    at: Point
    skills: tuple[str, ...]
    zh: str
    en: str
    capacity: int = 1
    role: str | None = None
    beat: tuple[Point, ...] = field(default=())
    """Where it drives to and fro; empty: it waits at its post."""

    @property
    def area(self) -> str:
        return area_of(self.at)


UNITS = (
    Unit(
        "u-jj-01",
        "jj-01",
        "traffic-police",
        (432, 440),
        ("parking", "traffic", "accident"),
        "交警一组",
        "Traffic police 1",
        2,
        "police",
        ((432, 440), (432, 620)),
    ),
    Unit(
        "u-jj-02",
        "jj-02",
        "traffic-police",
        (852, 858),
        ("parking", "traffic", "accident"),
        "交警二组",
        "Traffic police 2",
        2,
        "police",
    ),
    Unit(
        "u-jj-03",
        "jj-03",
        "traffic-police",
        (1246, 404),
        ("parking", "traffic", "accident"),
        "交警三组",
        "Traffic police 3",
        2,
        "police",
    ),
    Unit(
        "u-cg-01",
        "cg-01",
        "urban-management",
        (14, 470),
        ("vendor", "shopfront", "parking"),
        "综合执法一队",
        "Urban management 1",
        2,
        None,
        ((14, 470), (14, 790)),
    ),
    Unit(
        "u-cg-02",
        "cg-02",
        "urban-management",
        (800, 460),
        ("vendor", "shopfront"),
        "综合执法二队",
        "Urban management 2",
        2,
    ),
    Unit(
        "u-cg-03",
        "cg-03",
        "urban-management",
        (1290, 670),
        ("vendor", "shopfront"),
        "综合执法三队",
        "Urban management 3",
        2,
    ),
    Unit(
        "u-sz-01",
        "sz-01",
        "municipal-works",
        (500, 20),
        ("drainage", "cover", "road"),
        "市政养护一班",
        "Municipal works 1",
    ),
    Unit(
        "u-sz-02",
        "sz-02",
        "municipal-works",
        (-20, 900),
        ("drainage", "cover", "road"),
        "市政养护二班",
        "Municipal works 2",
    ),
    Unit(
        "u-119-01",
        "119-01",
        "fire-119",
        (900, -60),
        ("fire", "rescue"),
        "消防南河头站",
        "Fire station Nanhetou",
        1,
        "fire",
    ),
    Unit(
        "u-119-02",
        "119-02",
        "fire-119",
        (900, 1300),
        ("fire", "rescue"),
        "消防体育路站",
        "Fire station Tiyu Road",
        1,
        "fire",
    ),
    Unit("u-120-01", "120-01", "emergency-120", (240, 440), ("first-aid",), "急救一组", "Ambulance 1", 1, "ambulance"),
    Unit("u-120-03", "120-03", "emergency-120", (1268, 220), ("first-aid",), "急救三组", "Ambulance 3", 1, "ambulance"),
    Unit(
        "u-96345-01",
        "96345-01",
        "elder-care-96345",
        (440, -30),
        ("home-visit", "call-back"),
        "96345 南河头站",
        "96345 Nanhetou",
        3,
    ),
    Unit(
        "u-96345-02",
        "96345-02",
        "elder-care-96345",
        (560, 1300),
        ("home-visit", "call-back"),
        "96345 体育路站",
        "96345 Tiyu Road",
        3,
    ),
)


# --- GeoJSON


def _position(at: Point) -> list[float]:
    return [round(c, 7) for c in to_lonlat(*at)]


def _ring(corners: tuple[Point, ...]) -> list[list[float]]:
    return [_position(p) for p in (*corners, corners[0])]


def _box_ring(box: tuple[float, float, float, float]) -> list[list[float]]:
    u0, v0, u1, v1 = box
    return _ring(((u0, v0), (u1, v0), (u1, v1), (u0, v1)))


def _feature(feature_id: str, geometry: str, coordinates: Any, properties: dict[str, Any]) -> Feature:
    kept = {k: v for k, v in properties.items() if v is not None} | {"position_quality": "synthetic"}
    return {
        "type": "Feature",
        "id": feature_id,
        "properties": kept,
        "geometry": {"type": geometry, "coordinates": coordinates},
    }


def zone_features() -> list[Feature]:
    """Areas first, then the zones; a hole is wound clockwise as RFC 7946 asks."""
    areas = [
        _feature(a.slug, "Polygon", [_ring(a.ring)], {"kind": "area", "area": a.slug, "name": {"zh": a.zh, "en": a.en}})
        for a in AREAS
    ]
    zones = []
    for z in ZONES:
        rings = [_box_ring(z.box)] + ([_box_ring(z.hole)[::-1]] if z.hole else [])
        u0, v0, u1, v1 = z.box
        name = {"zh": z.zh, "en": z.en}
        properties = {"kind": z.kind, "area": area_of(((u0 + u1) / 2, (v0 + v1) / 2)), "name": name, "grade": z.grade}
        zones.append(_feature(z.slug, "Polygon", rings, properties))
    return areas + zones


def device_features() -> list[Feature]:
    cameras = [
        _feature(
            c.sensor_id,
            "Point",
            _position(c.pole),
            {"kind": "camera", "area": c.area, "expected_every_s": 1, "ptz_preset": c.ptz_preset},
        )
        for c in CAMERAS
    ]
    loops = []
    for loop in LOOPS:
        segment = SEGMENTS[loop.segment_id]
        properties = {"kind": "loop", "area": segment_area(segment), "expected_every_s": 60}
        loops.append(_feature(loop.device_id, "Point", _position(segment.along(loop.position_m)), properties))
    others = [
        _feature(
            d.device_id,
            "Point",
            _position(d.at),
            {
                "kind": d.kind,
                "area": d.area,
                "expected_every_s": d.expected_every_s,
                "owner": d.owner,
                "gateway": d.gateway,
            },
        )
        for d in DEVICES
    ]
    return cameras + loops + others


def segment_area(segment: Segment) -> str:
    """The area of the segment's middle."""
    return area_of(segment.along(segment.length_m / 2))


def segment_features() -> list[Feature]:
    features = []
    for s in SEGMENTS.values():
        after = [n.segment_id for n in SEGMENTS.values() if n.start_node == s.end_node and n.end_node != s.start_node]
        properties = {
            "name": {"zh": s.name_zh, "en": s.name_en},
            "area": segment_area(s),
            "road_class": s.street.road_class,
            "limit_kmh": s.street.limit_kmh,
            "lanes": 2,
            "downstream": after,
        }
        features.append(_feature(s.segment_id, "LineString", [_position(s.start), _position(s.end)], properties))
    return features


def unit_features() -> list[Feature]:
    return [
        _feature(
            u.unit_id,
            "Point",
            _position(u.at),
            {
                "department": u.department,
                "skills": list(u.skills),
                "area": u.area,
                "capacity": u.capacity,
                "name": {"zh": u.zh, "en": u.en},
            },
        )
        for u in UNITS
    ]
