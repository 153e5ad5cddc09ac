"""Where the scanner puts the fields of a topic (`models.scanner.Fields`), for loops that read them there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.columns import I64
from models.scanner import Layout, layouts, loops

ROW, HEAD = range(2)
"""What each row says, and what its record says once."""
ROW_NUMBERS, ROW_TEXTS, HEAD_NUMBERS, HEAD_TEXTS, LON, LAT = range(6)
"""Of `Places.shape`: how many numbers and texts an entry of each level has, and where among a row's numbers it is."""


class Place(NamedTuple):
    """Of a field: its level, and which it is of the numbers or texts of an entry."""

    level: int
    slot: int


class Places:
    """Of a topic. Where it has no objects the record is the row."""

    def __init__(self, topic: str) -> None:
        head, row = layouts(topic, loops())
        self.head, self.row = (head, row) if row.kinds else (Layout(loops()), head)
        widths = [len(part) for level in (self.row, self.head) for part in (level.numbers, level.texts)]
        self.shape: I64 = np.array([*widths, self.row.numbers["lon"], self.row.numbers["lat"]], dtype=np.int64)

    def number(self, name: str) -> Place | None:
        return place(name, self.row.numbers, self.head.numbers)

    def text(self, name: str) -> Place | None:
        return place(name, self.row.texts, self.head.texts)


def place(name: str, row: dict[str, int], head: dict[str, int]) -> Place | None:
    if name in row:
        return Place(ROW, row[name])
    return Place(HEAD, head[name]) if name in head else None
