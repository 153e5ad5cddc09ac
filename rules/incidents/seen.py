"""Ids of feedback and commands that were taken, so that none is taken twice.

Two generations, the older one dropped whole. In the table a generation stands in blocks of ids in the order of their
coming: a save writes the last block anew and what has come since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain

import msgspec

LETTER = "s"
BLOCK = 128  # ids of an entry: at some tens of bytes each, what a save writes again is a few kB
ENCODER = msgspec.msgpack.Encoder()
IDS = msgspec.msgpack.Decoder(list[str])


class Generation:
    """`stored` of its ids are in the table."""

    def __init__(self, number: int, ids: Iterable[str] = ()) -> None:
        self.number = number
        self.order = list(ids)
        self.known = set(self.order)
        self.stored = len(self.order)

    def add(self, identity: str) -> None:
        self.order.append(identity)
        self.known.add(identity)

    def blocks(self, start: int) -> dict[str, bytes]:
        """The entries from that of the id number `start` on."""
        first = start - start % BLOCK
        return {self.name(n): ENCODER.encode(self.order[n : n + BLOCK]) for n in range(first, len(self.order), BLOCK)}

    def changes(self) -> dict[str, bytes]:
        found = self.blocks(self.stored) if self.stored < len(self.order) else {}
        self.stored = len(self.order)
        return found

    def stored_names(self) -> list[str]:
        return [self.name(n) for n in range(0, self.stored, BLOCK)]

    def name(self, start: int) -> str:
        return f"{LETTER}/{self.number}/{start // BLOCK}"


class Seen:
    """`keep_us`: an id is known for so long at least and for twice that at most."""

    def __init__(self, keep_us: int) -> None:
        self.keep_us, self.since_us = keep_us, 0
        self.old, self.new = Generation(-1), Generation(0)
        self._dropped: list[str] = []

    def __contains__(self, identity: str) -> bool:
        return identity in self.new.known or identity in self.old.known

    def add(self, identity: str, now_us: int) -> None:
        if now_us - self.since_us >= self.keep_us:
            self._dropped += self.old.stored_names()
            self.old, self.new, self.since_us = self.new, Generation(self.new.number + 1), now_us
        if identity not in self.new.known:
            self.new.add(identity)

    # ------------------------------------------------------------------------------------------------- entries

    def snapshot(self) -> dict[str, bytes]:
        return {**self.old.blocks(0), **self.new.blocks(0)}

    def changes(self) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = dict.fromkeys(self._dropped)
        found.update(self.old.changes())
        found.update(self.new.changes())
        self._dropped = []
        return found

    def restore(self, entries: Mapping[str, bytes], newest: int, since_us: int) -> None:
        """`entries` by `<generation>/<block>`, in any order; `newest` the number of the younger generation."""
        blocks: dict[int, dict[int, list[str]]] = {newest - 1: {}, newest: {}}
        for name, blob in entries.items():
            generation, _, block = name.partition("/")
            blocks[int(generation)][int(block)] = IDS.decode(blob)
        self.old, self.new = (
            Generation(number, chain.from_iterable(found[n] for n in sorted(found)))
            for number, found in sorted(blocks.items())
        )
        self.since_us, self._dropped = since_us, []
