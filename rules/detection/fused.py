"""Selecting in two compiled calls a batch: what all rules of a lane ask of its rows, and then their hits.

Everything that does not change from batch to batch is in tables (see `rules.detection.selecting`), made once. What no
program says of a row a mask of numpy says. Only where loops are compiled; `rules.detection.select` has the plain way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from models.columns import F64, I32, I64, Batch, Mask
from models.scanner import Fields
from models.streams import STREAMS
from models.words import Words
from rules.detection import selecting as loops
from rules.detection.condition import BASE
from rules.detection.looks import is_plain_hold
from rules.detection.places import Place, Places
from rules.detection.program import DEEPEST, Unsayable, Writer
from rules.detection.rows import HIT, NONE, Rows
from rules.detection.select import JOIN, LEAST_ROWS, Bound, Fed, Lookup, asked
from rules.language.expressions import Checked
from rules.language.model import Calendar, Expression, Hold, Rule
from rules.language.typed import FieldOf, IsNull, Not, Typed

LEAST_HITS = 64
NOTHING: I64 = np.empty(0, dtype=np.int64)
MaskOf = Callable[[Batch], Mask]


class ByNumpy(NamedTuple):
    """A mask that no program makes; where it is what a rule asks of a row at all, the program has its say too."""

    rule: int
    into: int
    mask: MaskOf


class Tables:
    """The tables of the loops while they are written, rule by rule."""

    def __init__(self, topic: str) -> None:
        self.topic, self.places = topic, Places(topic)
        self.writer = Writer(self.places)
        self.filters: list[tuple[int, ...]] = []
        self.further: list[tuple[int, ...]] = []
        self.selections: list[tuple[int, ...]] = []
        self.variants: list[tuple[int, ...]] = []
        self.keys: list[tuple[int, ...]] = []
        self.flags: list[Mask] = []
        self.numbered: dict[bytes, int] = {}
        self.by_numpy: list[ByNumpy] = []
        self.masks = loops.OTHERS

    @property
    def conditions(self) -> list[tuple[int, ...]]:
        return self.filters + self.further

    def add(self, bound: Bound) -> None:
        rule, number = bound.rule, len(self.filters)
        self._filter(rule, number, bound)
        first_variant, first_key = len(self.variants), len(self.keys)
        self.variants += [self._variant(bound, number, at) for at in range(len(rule.variants))]
        for place, name in enumerate(bound.keys):
            if (found := self.plain_key(name)) is not None:
                self.keys.append((*found, place))
        zones = bound.zones
        self.selections.append(
            (
                NONE if zones is None else self._flag_row(zones.include),
                NONE if zones is None or not zones.excludes else self._flag_row(zones.exclude),
                bound.leaving,
                "zone" in rule.by,
                first_variant,
                len(rule.variants),
                first_key,
                len(self.keys) - first_key,
            )
        )

    def plain_key(self, name: str) -> Place | None:
        """Where the loop can read this field of a key; None where it can't, and it is filled in after."""
        field = None if JOIN in name else STREAMS[self.topic].fields[name]
        if field is None or field.kind != "text" or field.tokenised:
            return None
        return self.places.text(name)

    def _flag_row(self, flags: Mask) -> int:
        row = self.numbered.setdefault(flags.tobytes(), len(self.flags))
        if row == len(self.flags):
            self.flags.append(flags)
        return row

    def _next_mask(self) -> int:
        self.masks += 1
        return self.masks - 1

    def _numpy(self, rule: int, into: int, mask: MaskOf) -> None:
        self.by_numpy.append(ByNumpy(rule, into, mask))

    def _filter(self, rule: Rule, number: int, bound: Bound) -> None:
        """What a rule asks of a row at all."""
        program, into = NONE, self._next_mask()
        try:
            program = self._program(rule)
            if rule.active is not None:
                self._numpy(number, into, timely(rule.active))
        except Unsayable:
            self._numpy(number, into, lambda batch: asked(rule, batch))
        self.filters.append((number, bound.sees, program, into))

    def _program(self, rule: Rule) -> int:
        where = [] if rule.where is None else [tree_of(rule.where)]
        but = [(tree_of(one.where), one.until_us) for one in rule.exempt]
        return self.writer.write(where, but) if where or but else NONE

    def _variant(self, bound: Bound, number: int, at: int) -> tuple[int, ...]:
        variant = bound.rule.variants[at]
        where = calendar = zones = opens = closes = says = NONE
        if variant.applies is not None:
            flags = bound.applies[at]
            zones = NONE if flags is None else self._flag_row(flags)
            where = self._condition(variant.applies.where, number)
            if variant.applies.calendar is not None:
                calendar = self._next_mask()
                self._numpy(number, calendar, timely(variant.applies.calendar))
        if is_plain_hold(variant.detect):
            assert isinstance(variant.detect, Hold)
            name = variant.detect.value_field
            kind = STREAMS[self.topic].fields[name].kind
            opens = self._condition(variant.detect.open_when, number)
            closes = self._condition(variant.detect.close_when, number)
            says = self._mask(Not(IsNull(FieldOf(name, kind, mixed=kind == "mixed"))), number)
        last = at == len(bound.rule.variants) - 1
        return BASE if last else at, zones, where, calendar, opens, closes, says

    def _condition(self, expression: Expression | None, number: int) -> int:
        """The mask of a further condition of a rule."""
        if expression is None:
            return NONE
        try:
            return self._mask(tree_of(expression), number)
        except Unsayable:
            into = self._next_mask()
            self._numpy(number, into, expression.mask)
            return into

    def _mask(self, tree: Typed, number: int) -> int:
        program, into = self.writer.write([tree]), self._next_mask()
        self.further.append((number, self.filters[number][-1], program, into))
        return into


def tree_of(expression: Expression) -> Typed:
    if not isinstance(expression, Checked):
        raise Unsayable("no tree")
    return expression.tree


def timely(calendar: Calendar) -> MaskOf:
    return lambda batch: calendar.mask(batch.time_us)


def table(rows: Sequence[tuple[int, ...]], dtype: np.dtype[np.void]) -> Rows:
    made: Rows = np.array(rows, dtype=dtype)
    return made


class Fused:
    """All rules of one topic against one set of zones. `indexes`: the look-ups, that of the zones themselves first."""

    def __init__(self, topic: str, rules: Sequence[Bound], indexes: Sequence[Lookup], zones: int) -> None:
        tables = Tables(topic)
        for bound in rules:
            tables.add(bound)
        self.no_bounds: I64 = np.zeros(len(indexes) + 1, dtype=np.int64)
        self.indexes, self.by_numpy, self.masks = tuple(indexes), tables.by_numpy, tables.masks
        self.programs, self.shape = tables.writer.done(), tables.places.shape
        slots = tables.places.row.numbers
        self.row_width, self.position_slots = len(slots), (slots["lon"], slots["lat"], slots["error_m"])
        self.conditions = table(tables.conditions, loops.CONDITION)
        self.rules = len(rules)
        self.left_keys = [
            [(place, name) for place, name in enumerate(bound.keys) if tables.plain_key(name) is None]
            for bound in rules
        ]
        self.selections = table(tables.selections, loops.SELECTION)
        self.variants, self.keys = table(tables.variants, loops.VARIANT), table(tables.keys, loops.KEY)
        self.flags: Mask = np.array(tables.flags, dtype=np.bool_).reshape(len(tables.flags), zones)
        self.counts: I64 = np.zeros(len(self.conditions), dtype=np.int64)
        self.ends: I64 = np.zeros(self.rules + 1, dtype=np.int64)
        self.book: I64 = np.zeros(loops.BOOK, dtype=np.int64)
        self.stack: F64 = np.empty(DEEPEST)
        self.hit_rows: Rows = np.zeros(LEAST_HITS, dtype=HIT)
        self._make_scratch(LEAST_ROWS)

    def _make_scratch(self, rows: int) -> None:
        self.places: I32 = np.empty(rows, dtype=np.int32)
        self.points: F64 = np.empty((2, rows))

    def hits(
        self, batch: Batch, fields: Fields, number: int, masks: Mask, fed: Fed, words: Words, areas: I32
    ) -> list[Rows]:
        """Hits of all rules, those of one rule together; they stand where the next call writes its own."""
        rows = len(batch.time_us)
        if rows > len(self.places):
            self._make_scratch(2 * rows)
        if not loops.judge(
            self.conditions, self.rules, *self.programs, fields.row_numbers, fields.row_texts, fields.head_numbers,
            fields.head_texts, self.shape, fields.head, fields.buffer, batch.time_us, masks, self.stack, self.counts,
        ):  # fmt: skip
            return []
        self._judge_by_numpy(batch, masks[:, :rows])
        wanted = loops.want(
            self.conditions, self.selections, masks, self.counts, rows, fields.row_numbers, self.shape, self.places,
            self.points,
        )  # fmt: skip
        near, zone, bounds = self._look_up(wanted)
        firsts = np.empty((len(bounds) - 1, wanted + 1), dtype=np.int32)
        while True:
            table = words.flat
            self.book[loops.HELD] = table.count
            ended = loops.match(
                self.conditions, self.selections, self.variants, self.keys, masks, self.flags, self.counts,
                self.places, near, zone, bounds, firsts, batch.time_us, batch.record, fed.prints, fed.offsets,
                fed.sources, areas, number, fields.row_numbers, fields.row_texts, fields.head_texts, self.shape,
                fields.head, fields.buffer, table.slots, table.words, table.arena, self.hit_rows, self.ends, self.book,
            )  # fmt: skip
            table.count = int(self.book[loops.HELD])
            if ended == loops.DONE:
                break
            if ended == loops.NO_WORDS:
                table.make_room(int(self.book[loops.WANTING]))
            else:
                self.hit_rows = np.zeros(2 * len(self.hit_rows), dtype=HIT)
        ends: list[int] = self.ends.tolist()
        return [self.hit_rows[a:b] for a, b in pairwise(ends) if a < b]

    def _judge_by_numpy(self, batch: Batch, masks: Mask) -> None:
        for rule, into, mask in self.by_numpy:
            if self.counts[rule] == 0:
                continue
            if into == self.conditions[rule]["into"]:
                masks[into] &= mask(batch)
                self.counts[rule] = np.count_nonzero(masks[into])
            else:
                masks[into] = mask(batch)

    def position(self, fields: Fields, row: int) -> tuple[float, float, float]:
        """lon, lat and error_m of a row."""
        first = row * self.row_width
        lon, lat, error_m = (float(fields.row_numbers[first + slot]) for slot in self.position_slots)
        return lon, lat, error_m

    def _look_up(self, wanted: int) -> tuple[I64, I64, I64]:
        """(place, zone) pairs of all look-ups behind each other, and where each begins."""
        if not wanted:
            return NOTHING, NOTHING, self.no_bounds
        lon, lat = self.points[0, :wanted], self.points[1, :wanted]
        found = [index.lookup(lon, lat) for index in self.indexes]
        if len(found) == 1:
            near, zone = found[0]
            return near, zone, np.array((0, len(near)))
        bounds = np.cumsum([0, *(len(near) for near, _ in found)])
        return np.concatenate([near for near, _ in found]), np.concatenate([zone for _, zone in found]), bounds
