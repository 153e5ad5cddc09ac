"""Systems of coordinates. Everything inside is WGS-84 lon, lat; this file is the only way in and out of the others.

GCJ-02 (Amap, Tencent) and BD-09 (Baidu) distort WGS-84 by published formulae inside China's rectangle; their inverses
are found by iteration. CGCS2000 is WGS-84 for our purposes (centimetres). Metres come from LocalGrid.

The formula of GCJ-02 ends at the rectangle with a jump of some hundreds of metres: beyond the edge it is the identity.
In a strip that wide along the edge a GCJ-02 position may thus have two origins, or none; no place of China is there.
Away from it, there and back is the same place to a fraction of a millimetre. Of BD-09 a second reading goes about (its
small wave in sin π·lat instead of sin 3000π/180·lat), some ten metres off; this is the one most libraries have.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from pyproj import Transformer

from models.columns import F64, Mask

SEMI_MAJOR_M = 6378245.0  # Krasovsky 1940, as the published formula has it
ECCENTRICITY_2 = 0.00669342162296594323
CHINA = (72.004, 0.8293, 137.8347, 55.8271)  # lon, lat, lon, lat: outside it GCJ-02 is WGS-84
BD_TURN = np.pi * 3000.0 / 180.0
CLOSE_ENOUGH_DEG = 1e-11
MAX_ROUNDS = 30  # six are enough in China; the rest is room for the edge of the rectangle

Convert = Callable[[F64, F64], tuple[F64, F64]]


def in_china(lon: F64, lat: F64) -> Mask:
    west, south, east, north = CHINA
    inside: Mask = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
    return inside


def wgs84_to_gcj02(lon: F64, lat: F64) -> tuple[F64, F64]:
    x, y = lon - 105.0, lat - 35.0
    root = np.sqrt(np.abs(x))
    wave = (20.0 * np.sin(6.0 * x * np.pi) + 20.0 * np.sin(2.0 * x * np.pi)) * 2.0 / 3.0
    north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root + wave
    north += (20.0 * np.sin(y * np.pi) + 40.0 * np.sin(y / 3.0 * np.pi)) * 2.0 / 3.0
    north += (160.0 * np.sin(y / 12.0 * np.pi) + 320.0 * np.sin(y * np.pi / 30.0)) * 2.0 / 3.0
    east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root + wave
    east += (20.0 * np.sin(x * np.pi) + 40.0 * np.sin(x / 3.0 * np.pi)) * 2.0 / 3.0
    east += (150.0 * np.sin(x / 12.0 * np.pi) + 300.0 * np.sin(x / 30.0 * np.pi)) * 2.0 / 3.0
    radians = np.radians(lat)
    magic = 1.0 - ECCENTRICITY_2 * np.sin(radians) ** 2
    meridian = SEMI_MAJOR_M * (1.0 - ECCENTRICITY_2) / (magic * np.sqrt(magic))
    parallel = SEMI_MAJOR_M / np.sqrt(magic) * np.cos(radians)
    inside = in_china(lon, lat)
    return (
        np.where(inside, lon + np.degrees(east / parallel), lon),
        np.where(inside, lat + np.degrees(north / meridian), lat),
    )


def gcj02_to_bd09(lon: F64, lat: F64) -> tuple[F64, F64]:
    radius = np.hypot(lon, lat) + 0.00002 * np.sin(lat * BD_TURN)
    angle = np.arctan2(lat, lon) + 0.000003 * np.cos(lon * BD_TURN)
    return radius * np.cos(angle) + 0.0065, radius * np.sin(angle) + 0.006


def wgs84_to_bd09(lon: F64, lat: F64) -> tuple[F64, F64]:
    return gcj02_to_bd09(*wgs84_to_gcj02(lon, lat))


def inverse(forward: Convert) -> Convert:
    """The inverse of a small distortion: take away what it adds at the guess until the guess stands still.

    A point is done by itself: what else is in the batch does not change a bit of it.
    """

    def backward(lon: F64, lat: F64) -> tuple[F64, F64]:
        x, y = lon.copy(), lat.copy()
        moving = np.ones(lon.shape, dtype=np.bool_)
        for _ in range(MAX_ROUNDS):
            seen_x, seen_y = forward(x, y)
            dx, dy = lon - seen_x, lat - seen_y
            x, y = np.where(moving, x + dx, x), np.where(moving, y + dy, y)
            moving &= (np.abs(dx) > CLOSE_ENOUGH_DEG) | (np.abs(dy) > CLOSE_ENOUGH_DEG)
            if not moving.any():
                break
        return x, y

    return backward


def same(lon: F64, lat: F64) -> tuple[F64, F64]:
    return lon, lat


FROM_WGS84: dict[str, Convert] = {
    "wgs84": same,
    "cgcs2000": same,
    "gcj02": wgs84_to_gcj02,
    "bd09": wgs84_to_bd09,
}
TO_WGS84: dict[str, Convert] = {
    "wgs84": same,
    "cgcs2000": same,
    "gcj02": inverse(wgs84_to_gcj02),
    "bd09": inverse(wgs84_to_bd09),
}


def to_wgs84(crs: str, lon: F64, lat: F64) -> tuple[F64, F64]:
    """Degrees to degrees; NaN stays NaN. KeyError for a system that the contract does not name."""
    return TO_WGS84[crs](lon, lat)


def from_wgs84(crs: str, lon: F64, lat: F64) -> tuple[F64, F64]:
    return FROM_WGS84[crs](lon, lat)


NATIONAL_GRID = "EPSG:4549"  # CGCS2000 / 3-degree Gauss–Krüger, central meridian 120° E
NATIONAL_EXTENT = (118.5, 18.0, 121.5, 54.0)  # lon, lat, lon, lat it is made for


class LocalGrid:
    """East and north in metres for a place: EPSG:4549 where it covers the place, else a transverse Mercator centred on
    it. Within a city lengths are right to about 0.1 per mille."""

    def __init__(self, lon: float, lat: float) -> None:
        west, south, east, north = NATIONAL_EXTENT
        if west <= lon <= east and south <= lat <= north:
            self.crs = NATIONAL_GRID
        else:
            self.crs = f"+proj=tmerc +lat_0={lat:.6f} +lon_0={lon:.6f} +ellps=GRS80 +units=m +no_defs"
        self._forward = transformer("EPSG:4326", self.crs)
        self._backward = transformer(self.crs, "EPSG:4326")

    def metres(self, lon: F64, lat: F64) -> tuple[F64, F64]:
        """(east, north) of each point; infinite where the projection has none."""
        return self._forward(lon, lat)

    def degrees(self, east: F64, north: F64) -> tuple[F64, F64]:
        """(lon, lat), the inverse of `metres`."""
        return self._backward(east, north)


@lru_cache(maxsize=32)
def transformer(source: str, target: str) -> Convert:
    transform = Transformer.from_crs(source, target, always_xy=True).transform

    def convert(x: F64, y: F64) -> tuple[F64, F64]:
        a, b = transform(x, y)
        return np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)

    return convert
