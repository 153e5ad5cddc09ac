"""The zone index: building it and looking points up, by number of zones and by depth of overlap.

    python -m benchmarks.bench_index [--quick] [--json]

Three ways side by side: compiled, numpy, and shapely's STRtree with prepared polygons as one would write it. Zones are
stars of 30 corners, 40 to 160 m wide; each set lies in a square so large that a point drawn from it is in 0.7 zones on
average, or as many as the depth says. Every answer is compared with STRtree's. Times are the best of several rounds
that take turns, as the machine may be shared; figures of one run compare, those of two need not.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from math import cos, radians, sqrt
from time import perf_counter
from typing import Any

import numpy as np
import shapely
from shapely import STRtree

from geo.index import ZoneIndex
from geo.raster import Raster
from geo.raster_build import build
from geo.raster_loop import compiled
from geo.zones import Zone
from models.columns import F64, I64

CORNERS = 30
LON, LAT = 121.0, 30.65
PER_DEGREE_M = 111_320.0
SIZES = (10, 100, 1_000, 10_000, 100_000)
QUICK_SIZES = (10, 1_000, 10_000)
DEPTHS = (0.7, 5.0, 50.0)
BATCHES = (1, 10, 50, 1_000)
USUAL = 0.7
ROUNDS = 5
ROUND_S = 0.1  # how long one way's turn takes, about

Look = Callable[[F64, F64], tuple[I64, I64]]


@dataclass(frozen=True, slots=True)
class City:
    """Zones in a square, and points drawn from it."""

    zones: int
    depth: float = USUAL
    points: int = 100_000
    seed: int = 7

    def make(self) -> tuple[list[Zone], F64, F64]:
        random = np.random.default_rng(self.seed)
        radius = random.uniform(20.0, 80.0, self.zones)
        reach = radius[:, None] * random.uniform(0.8, 1.1, (self.zones, CORNERS))
        turn = np.linspace(0.0, 2 * np.pi, CORNERS, endpoint=False)
        area = 0.5 * np.sin(turn[1]) * (reach * np.roll(reach, 1, axis=1)).sum()
        side = sqrt(area / self.depth)
        x, y = (random.uniform(0.0, side, self.zones)[:, None] + reach * wave(turn) for wave in (np.cos, np.sin))
        shapes: Any = shapely.polygons(np.dstack(in_degrees(x, y)))
        zones = [Zone(f"k/{n}", "k", str(n), None, None, None, None, {}, shape) for n, shape in enumerate(shapes)]
        lon, lat = in_degrees(*random.uniform(0.0, side, (2, self.points)))
        return zones, lon, lat


def in_degrees(x: F64, y: F64) -> tuple[F64, F64]:
    return LON + x / (PER_DEGREE_M * cos(radians(LAT))), LAT + y / PER_DEGREE_M


def tree_of(shapes: Any) -> Look:
    tree = STRtree(shapes)
    shapely.prepare(shapes)

    def look(lon: F64, lat: F64) -> tuple[I64, I64]:
        rows, zones = tree.query(shapely.points(lon, lat))
        inside = shapely.intersects_xy(shapes[zones], lon[rows], lat[rows])
        rows, zones = rows[inside], zones[inside]
        order = np.lexsort((zones, rows))
        return rows[order], zones[order]

    return look


def through(index: ZoneIndex, find: Callable[[Raster, F64, F64], Any]) -> Look:
    """The index's own look-up by the back end named, whatever the process has chosen."""

    def look(lon: F64, lat: F64) -> tuple[I64, I64]:
        return index.lookup_by(find, lon, lat)

    return look


def ways(index: ZoneIndex, shapes: Any) -> dict[str, Look]:
    found = {"strtree": tree_of(shapes), "numpy": through(index, Raster.find)}
    fill = compiled()
    if fill is not None:
        found["numba"] = through(index, lambda raster, lon, lat: raster.find_with(fill, lon, lat))
    return found


def per_point_us(looks: dict[str, Look], lon: F64, lat: F64, size: int) -> dict[str, float]:
    """Microseconds a point in batches of so many, each way's best round; batches come from all over the city."""
    batches = [(lon[at : at + size].copy(), lat[at : at + size].copy()) for at in range(0, len(lon), size)]
    best = dict.fromkeys(looks, float("inf"))
    counts = dict.fromkeys(looks, min(len(batches), 20))
    for _ in range(ROUNDS + 1):
        for name, look in looks.items():
            some = batches[: counts[name]]
            began = perf_counter()
            for x, y in some:
                look(x, y)
            took = perf_counter() - began
            best[name] = min(best[name], took / len(some) / size * 1e6)
            counts[name] = max(1, min(len(batches), int(len(some) * ROUND_S / took)))
    return best


def measure(city: City, batches: tuple[int, ...]) -> dict[str, Any]:
    zones, lon, lat = city.make()
    shapes = np.array([zone.geometry for zone in zones], dtype=np.object_)
    builds = []
    for _ in range(3 if city.zones <= 10_000 else 1):
        began = perf_counter()
        build(shapes)
        builds.append(perf_counter() - began)
    index = ZoneIndex(zones)
    looks = ways(index, shapes)
    expected = looks["strtree"](lon, lat)
    for name, look in looks.items():
        if not all(np.array_equal(*both) for both in zip(look(lon, lat), expected, strict=True)):
            raise SystemExit(f"{name} answers something else than STRtree")
    return {
        "zones": city.zones,
        "memberships_per_point": round(len(expected[0]) / len(lon), 3),
        "build_s": round(min(builds), 4),
        "bytes_per_zone": round(index.nbytes / city.zones),
        "us_per_point": {
            str(size): {name: round(us, 4) for name, us in per_point_us(looks, lon, lat, size).items()}
            for size in batches
        },
    }


def run(*, quick: bool) -> dict[str, Any]:
    points = 20_000 if quick else 100_000
    by_zones = [measure(City(zones, points=points), BATCHES) for zones in (QUICK_SIZES if quick else SIZES)]
    by_depth = [measure(City(1_000, depth, points=points), (1_000,)) for depth in DEPTHS]
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "shapely": shapely.__version__,
        "numba": compiled() is not None,
        "corners": CORNERS,
        "by_zones": by_zones,
        "by_depth": by_depth,
    }


def show(result: dict[str, Any]) -> None:
    print(f"Python {result['python']}, numpy {result['numpy']}, shapely {result['shapely']}; µs a point by batch size")
    for part, key in (("zones", "by_zones"), ("depth of overlap, 1,000 zones", "by_depth")):
        print(f"\nby {part}")
        for row in result[key]:
            print(
                f"{row['zones']:>7,} zones, {row['memberships_per_point']:.2f} memberships: "
                f"built in {row['build_s']:.3f} s, {row['bytes_per_zone']:,} bytes a zone"
            )
            for size, times in row["us_per_point"].items():
                cells = "   ".join(f"{name} {us:8.3f}" for name, us in times.items())
                print(f"{int(size):>13,} a batch: {cells}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    arguments = parser.parse_args()
    result = run(quick=arguments.quick)
    if arguments.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
