"""Feeds and cities for tests of offsets: drawn from seeds, in degrees."""

from __future__ import annotations

import numpy as np
from shapely.geometry import LineString

from geo.crs import from_wgs84
from geo.feeds import Sample
from geo.offset import Ground
from geo.registry import Device, Registry, Segment

M_LAT = 110_900.0  # metres of a degree; exact enough to draw with
OUT_M = 3000.0  # how far nonsense lies off


class City:
    """A few square kilometres somewhere; `lines` are its roads in metres around its middle."""

    def __init__(
        self, lon: float, lat: float, lines: list[np.ndarray], devices: dict[str, Device] | None = None
    ) -> None:
        self.lon, self.lat, self.lines = lon, lat, lines
        segments = {str(n): self._segment(str(n), line) for n, line in enumerate(lines)}
        ground = Ground.of([], Registry(devices=devices or {}, segments=segments))
        assert ground is not None
        self.ground = ground

    def degrees(self, metres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        wide = M_LAT * np.cos(np.radians(self.lat))
        return self.lon + metres[:, 0] / wide, self.lat + metres[:, 1] / M_LAT

    def _segment(self, name: str, metres: np.ndarray) -> Segment:
        line = LineString(np.column_stack(self.degrees(metres)))
        return Segment(name, None, "a", None, None, None, (), line, line.centroid.x, line.centroid.y)


def winding(rng: np.random.Generator, roads: int = 30) -> list[np.ndarray]:
    """Roads that wind about as they like."""
    lines = []
    for _ in range(roads):
        steps = int(rng.integers(4, 30))
        angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.3, steps))
        ways = rng.uniform(50, 150, (steps, 1)) * np.column_stack((np.cos(angles), np.sin(angles)))
        lines.append(rng.uniform(-1800, 1800, 2) + np.cumsum(ways, axis=0))
    return lines


def blocks(size_m: float, half_m: float = 1500.0) -> list[np.ndarray]:
    """A chessboard of streets."""
    at = np.arange(-half_m, half_m + 1, size_m)
    return [np.array(ends) for a in at for ends in ([(a, -half_m), (a, half_m)], [(-half_m, a), (half_m, a)])]


def drive(line: np.ndarray, every_m: float = 12.0) -> np.ndarray:
    """Positions along a line."""
    road = LineString(line)
    return np.array([road.interpolate(at).coords[0] for at in np.arange(0, road.length, every_m)])


def stroll(rng: np.random.Generator, steps: int) -> np.ndarray:
    """Positions of one who does not care for roads."""
    walk: np.ndarray = rng.uniform(-1200, 1200, 2) + np.cumsum(rng.normal(0, rng.uniform(2, 40), (steps, 2)), axis=0)
    return walk


def noisy(rng: np.random.Generator, metres: np.ndarray, sigma_m: float, nonsense: float) -> np.ndarray:
    """GPS: every position a little off, a share of them far."""
    off = metres + rng.normal(0, sigma_m, metres.shape)
    out = np.flatnonzero(rng.random(len(off)) < nonsense)
    off[out] += rng.uniform(-OUT_M, OUT_M, (len(out), 2))
    return off


def sample_of(lon: np.ndarray, lat: np.ndarray, really: str = "wgs84") -> Sample:
    """A sample of WGS-84 positions as a feed in another system would send them."""
    sample = Sample(("x.jsonl", 1))
    x, y = from_wgs84(really, lon, lat)
    for second, (one_x, one_y) in enumerate(zip(x, y, strict=True)):
        sample.add(second * 1_000_000, np.array([one_x]), np.array([one_y]))
    return sample


def device(name: str, lon: float, lat: float, kind: str = "water_level") -> Device:
    return Device(name, kind, "a", lon, lat)
