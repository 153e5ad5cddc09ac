"""Metres between points given in degrees: a local plane on the ellipsoid within a city, a great circle beyond."""

from __future__ import annotations

from math import asin, cos, hypot, radians, sin, sqrt

import numpy as np

from models.columns import F64

EARTH_RADIUS_M = 6_371_008.8
LOCAL_DEG = 0.5  # up to here the plane is right to 0.1 per mille at our latitudes


def metres_per_degree(lat: float) -> tuple[float, float]:
    """(of longitude, of latitude) on WGS-84."""
    at = radians(lat)
    return (
        111_412.84 * cos(at) - 93.5 * cos(3 * at) + 0.118 * cos(5 * at),
        111_132.92 - 559.82 * cos(2 * at) + 1.175 * cos(4 * at) - 0.0023 * cos(6 * at),
    )


def distance_m(lon_a: float, lat_a: float, lon_b: float, lat_b: float) -> float:
    """Between two points; NaN where an ordinate is."""
    dlon, dlat = lon_b - lon_a, lat_b - lat_a
    if abs(dlon) <= LOCAL_DEG and abs(dlat) <= LOCAL_DEG:
        per_lon, per_lat = metres_per_degree((lat_a + lat_b) / 2)
        return hypot(dlon * per_lon, dlat * per_lat)
    a, b = radians(lat_a), radians(lat_b)
    square = sin((b - a) / 2) ** 2 + cos(a) * cos(b) * sin(radians(dlon) / 2) ** 2
    return 2 * EARTH_RADIUS_M * asin(min(1.0, sqrt(square))) if square == square else square


def distances_m(lon_a: F64, lat_a: F64, lon_b: F64 | float, lat_b: F64 | float) -> F64:
    """Between points in pairs, or from many to one; as `distance_m`."""
    dlon, dlat = np.asarray(lon_b - lon_a), np.asarray(lat_b - lat_a)
    middle = np.radians((lat_a + lat_b) / 2)
    per_lon = 111_412.84 * np.cos(middle) - 93.5 * np.cos(3 * middle) + 0.118 * np.cos(5 * middle)
    per_lat = 111_132.92 - 559.82 * np.cos(2 * middle) + 1.175 * np.cos(4 * middle) - 0.0023 * np.cos(6 * middle)
    metres: F64 = np.hypot(dlon * per_lon, dlat * per_lat)
    far = (np.abs(dlon) > LOCAL_DEG) | (np.abs(dlat) > LOCAL_DEG)
    if far.any():
        a, b = np.radians(lat_a), np.radians(lat_b)
        square = np.sin((b - a) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(np.radians(dlon) / 2) ** 2
        metres = np.where(far, 2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.minimum(1.0, square))), metres)
    return metres
