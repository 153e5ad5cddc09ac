"""What moves and is asked for its nearest: units on the road. An R-tree in degrees finds candidates, metres decide."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

from rtree import index

from geo.distance import distance_m, metres_per_degree

FIRST_RADIUS_M = 1_000.0  # the first ring that is searched; each further one is four times as wide
HALF_WAY_ROUND_M = 20_100_000.0
WIDEST_LAT = 89.0


class MovingPoints:
    """Points by id. Ties in distance are in order of id, so the answer depends on nothing but the points."""

    def __init__(self) -> None:
        self._tree = index.Index()
        self._number: dict[str, int] = {}
        self._name: dict[int, str] = {}
        self._place: dict[str, tuple[float, float]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, name: object) -> bool:
        return name in self._place

    def place(self, name: str) -> tuple[float, float] | None:
        """(lon, lat) of a point."""
        return self._place.get(name)

    def put(self, name: str, lon: float, lat: float) -> None:
        """Insert the point or move it."""
        if not (isfinite(lon) and isfinite(lat)):
            raise ValueError(f"{name} has no position: {lon}, {lat}")
        self.remove(name)
        number = self._next
        self._next += 1
        self._number[name], self._name[number], self._place[name] = number, name, (lon, lat)
        self._tree.insert(number, (lon, lat, lon, lat))

    def remove(self, name: str) -> None:
        """Take the point away; nothing happens where there is none."""
        place = self._place.pop(name, None)
        if place is None:
            return
        number = self._number.pop(name)
        del self._name[number]
        self._tree.delete(number, (*place, *place))

    def nearest(
        self,
        lon: float,
        lat: float,
        count: int,
        within_m: float,
        wanted: Callable[[str], bool] | None = None,
    ) -> list[tuple[str, float]]:
        """Up to `count` (id, metres) at most `within_m` away, nearest first, of those that are `wanted`."""
        within_m = min(within_m, HALF_WAY_ROUND_M)
        radius_m = min(within_m, FIRST_RADIUS_M)
        while True:
            found = self._within(lon, lat, radius_m, wanted)
            if len(found) >= count or radius_m >= within_m or len(found) == len(self._place):
                return found[:count]
            radius_m = min(within_m, radius_m * 4)

    def _within(
        self, lon: float, lat: float, radius_m: float, wanted: Callable[[str], bool] | None
    ) -> list[tuple[str, float]]:
        tall = radius_m / metres_per_degree(lat)[1] * 1.02  # a little more than enough; metres decide
        narrowest, _ = metres_per_degree(min(abs(lat) + tall, WIDEST_LAT))
        wide = radius_m / max(narrowest, 1.0) * 1.02
        found: list[tuple[float, str]] = []
        for number in self._tree.intersection((lon - wide, lat - tall, lon + wide, lat + tall)):
            name = self._name[number]
            metres = distance_m(lon, lat, *self._place[name])
            if metres <= radius_m and (wanted is None or wanted(name)):
                found.append((metres, name))
        return [(name, metres) for metres, name in sorted(found)]
