"""What sources have said to joins, each findable by place or by key."""

from __future__ import annotations

from collections.abc import Iterator

from models.ids import content_id
from rules.incidents.entries import Witness
from rules.incidents.near import Near
from rules.incidents.shelf import Shelf

CELL_M = 200.0  # about the radius that rules ask for
MOST_WITNESSES = 20_000  # at 1 to 2 kB each; more at a time than a city's sources say in the span of a join


def witness_id(rule: str, join: str, source: str, identity: str) -> str:
    return content_id("j", rule, join, source, identity)


class Witnesses:
    """By id, in the order of their last word."""

    def __init__(self) -> None:
        self.shelf = Shelf("j", Witness)
        self._by_place: dict[tuple[str, str], Near] = {}
        self._by_key: dict[tuple[str, str, str], dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self.shelf)

    def look(self, identity: str) -> Witness | None:
        return self.shelf.look(identity)

    def keep(self, witness: Witness) -> bool:
        """False: for this one, the one that has been silent longest had to go."""
        identity = id_of(witness)
        if identity not in self.shelf:
            self._index(identity, witness)
        self.shelf.keep(identity, witness)
        first = self.shelf.first() if len(self.shelf) > MOST_WITNESSES else None
        if first is not None:
            self.drop(first[0])
        return first is None

    def drop(self, identity: str) -> Witness | None:
        witness = self.shelf.drop(identity)
        if witness is None:
            return None
        group = witness.rule, witness.join
        if witness.lon is not None and witness.lat is not None:
            self._by_place[group].remove(identity, witness.lon, witness.lat)
        keyed = self._by_key[*group, witness.key]
        del keyed[identity]
        if not keyed:
            del self._by_key[*group, witness.key]
        return witness

    def around(self, rule: str, join: str, lon: float, lat: float, reach_m: float) -> Iterator[Witness]:
        """All of a join within the reach, and some beyond it."""
        near = self._by_place.get((rule, join))
        for identity in () if near is None else near.around(lon, lat, reach_m):
            yield self._there(identity)

    def keyed(self, rule: str, join: str, key: str) -> Iterator[Witness]:
        for identity in self._by_key.get((rule, join, key), ()):
            yield self._there(identity)

    def reindex(self) -> None:
        """After the shelf was filled from a table."""
        self._by_place, self._by_key = {}, {}
        for identity, witness in self.shelf:
            self._index(identity, witness)

    def _there(self, identity: str) -> Witness:
        found = self.shelf.look(identity)
        assert found is not None
        return found

    def _index(self, identity: str, witness: Witness) -> None:
        group = witness.rule, witness.join
        if witness.lon is not None and witness.lat is not None:
            self._by_place.setdefault(group, Near(CELL_M)).add(identity, witness.lon, witness.lat)
        self._by_key.setdefault((*group, witness.key), {})[identity] = None


def id_of(witness: Witness) -> str:
    return witness_id(witness.rule, witness.join, witness.source, witness.identity)
