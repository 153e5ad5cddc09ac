"""Small things of one kind that the Desk keeps for a while: a ticket's note, a vehicle's spot, an early feedback.

Each is an entry of its own. They stand in the order of their keeping, which decides what is forgotten first; each
carries its number in that order, so that a restart finds it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, Protocol, TypeVar

import msgspec

from rules.incidents.marks import Marks

ENCODER = msgspec.msgpack.Encoder()


class Numbered(Protocol):
    number: int


T = TypeVar("T", bound=Numbered)


class Shelf(Generic[T]):
    """Things by id. `letter` begins the names of their entries: `<letter>/<id>`."""

    def __init__(self, letter: str, kind: type[T]) -> None:
        self.letter = letter
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._things: dict[str, T] = {}
        self._marks = Marks()
        self.next_number = 0

    def __contains__(self, identity: str) -> bool:
        return identity in self._things

    def __len__(self) -> int:
        return len(self._things)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return iter(self._things.items())

    def look(self, identity: str) -> T | None:
        """To be read only."""
        return self._things.get(identity)

    def change(self, identity: str) -> T | None:
        """To be changed in place."""
        found = self._things.get(identity)
        if found is not None:
            self._marks.changed(identity)
        return found

    def keep(self, identity: str, thing: T) -> None:
        """Behind all others, instead of what had this id."""
        if self._things.pop(identity, None) is None:
            self._marks.added(identity)
        else:
            self._marks.changed(identity)
        thing.number = self.next_number
        self.next_number += 1
        self._things[identity] = thing

    def drop(self, identity: str) -> T | None:
        found = self._things.pop(identity, None)
        if found is not None:
            self._marks.dropped(identity)
        return found

    def first(self) -> tuple[str, T] | None:
        """What has been kept longest."""
        return next(iter(self._things.items()), None)

    # ------------------------------------------------------------------------------------------------- entries

    def snapshot(self) -> dict[str, bytes]:
        return {f"{self.letter}/{identity}": ENCODER.encode(thing) for identity, thing in self._things.items()}

    def changes(self) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {}
        for identity in self._marks:
            thing = self._things.get(identity)
            found[f"{self.letter}/{identity}"] = None if thing is None else ENCODER.encode(thing)
        self._marks.clear()
        return found

    def restore(self, entries: Mapping[str, bytes], next_number: int) -> None:
        """`entries` by id, in any order."""
        things = [(identity, self._decoder.decode(blob)) for identity, blob in entries.items()]
        things.sort(key=lambda one: one[1].number)
        self._things, self.next_number = dict(things), next_number
        self._marks.clear()
