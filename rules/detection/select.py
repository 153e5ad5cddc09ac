"""The stateless part of every rule of a lane, a batch at a time: where, exempt, active, zones, overrides → hits.

A hit is a row of numbers. Here is the plain way, with masks of numpy over the whole batch; where loops are compiled
`rules.detection.fused` does the same to a batch that came through the scanner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson

from models.columns import (
    F64,
    I8,
    I32,
    I64,
    U64,
    Batch,
    Column,
    Columns,
    Mask,
    Mixed,
    Numbers,
    Spans,
    Texts,
    scalar,
)
from models.scanner import ScannedColumns
from models.streams import STREAMS
from models.words import Words
from rules.detection.carried import Carried, Cells, masked_cell
from rules.detection.condition import BASE
from rules.detection.hold import CLOSES, OPENS
from rules.detection.looks import is_plain_hold, looked_at, sees_more, signals, value_field
from rules.detection.rows import HIT, MENDED, MOST_KEY_FIELDS, NONE, Rows, taken
from rules.language.model import Count, Hold, Rule, Transition
from rules.language.zones import zone_matches


class Lookup(Protocol):
    """Points to (row, zone number) pairs."""

    def lookup(self, lon: F64, lat: F64) -> tuple[I64, I64]: ...


class ZoneLookup(Lookup, Protocol):
    """The index over all zones; with a buffer it answers for the zones grown by so many metres."""

    def with_buffer(self, metres: float) -> Lookup: ...


class Fed(NamedTuple):
    """What is known of each record of one call: offset, print (see `models.prints`), number of its source."""

    offsets: I64
    prints: U64
    sources: I32


def matching(patterns: Sequence[str], paths: Sequence[str]) -> Mask:
    """For each zone path, whether any of the globs matches it."""
    return np.array([any(zone_matches(p, path) for p in patterns) for path in paths], dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class ZoneFilter:
    """A rule's zone clause bound to the zones of today: flags by zone number, and where leaving is looked up."""

    include: Mask
    exclude: Mask
    excludes: bool
    leaving: Lookup | None


class Bound(NamedTuple):
    """A rule and what the zones of today make of it.

    sees     which rows it looks at, as a mask of the batch
    leaving  which look-up says that a zone is not left yet; 0 is that of the zones themselves
    applies  for each variant, flags of the zones where it applies; None where it names none
    keys     the fields of its key by their places in a row
    """

    rule: Rule
    sees: int
    zones: ZoneFilter | None
    leaving: int
    applies: list[Mask | None]
    keys: list[str]


class Matches(NamedTuple):
    """(row, zone) pairs of one rule, the zone NONE where the rule has no zones."""

    rows: I64
    zone: I64
    entered: Mask
    variant: I64
    signal: I8 | I32


LEAST_ROWS = 64
JOIN = "+"  # no field's name has it


def key_places(names: Sequence[str]) -> list[str]:
    """The fields of a key by their places in a row; those that have none of their own are joined in the last."""
    if len(names) <= MOST_KEY_FIELDS:
        return list(names)
    return [*names[: MOST_KEY_FIELDS - 1], JOIN.join(names[MOST_KEY_FIELDS - 1 :])]


class Selector:
    """All rules of one topic against one set of zones. `sees`: which rows each looks at, as a mask of a batch."""

    def __init__(
        self,
        topic: str,
        rules: Sequence[Rule],
        zone_paths: Sequence[str],
        index: ZoneLookup,
        sees: Sequence[int],
        *,
        compiled: bool,
    ) -> None:
        self.stream, self.rules, self.paths, self.index = STREAMS[topic], tuple(rules), tuple(zone_paths), index
        self.leaving: dict[float, Lookup] = {0.0: index}
        self.bound = [self._bind(rule, mask) for rule, mask in zip(self.rules, sees, strict=True)]
        self.carried = [
            sorted({f for f in (*rule.message.fields, *_asked_fields(rule)) if f in self.stream.fields})
            for rule in self.rules
        ]
        self.fused: Any = None
        everyone = list(range(len(self.rules)))
        self.plainly = [number for number in everyone if sees_more(self.rules[number])]
        self.fusedly = [number for number in everyone if not sees_more(self.rules[number])]
        if compiled and self.fusedly:
            fused = import_module("rules.detection.fused")
            mine = [self.bound[number] for number in self.fusedly]
            self.fused = fused.Fused(topic, mine, list(self.leaving.values()), len(self.paths))
        self._masks = self._room(LEAST_ROWS)

    def _bind(self, rule: Rule, sees: int) -> Bound:
        applies = [
            matching(v.applies.zones, self.paths) if v.applies and v.applies.zones is not None else None
            for v in rule.variants
        ]
        keys = key_places([name for name in rule.by if name != "zone"])
        if rule.zones is None:
            return Bound(rule, sees, None, 0, applies, keys)
        buffer_m = rule.zones.edge_buffer_m
        if buffer_m not in self.leaving:
            self.leaving[buffer_m] = self.index.with_buffer(buffer_m)
        exclude = matching(rule.zones.exclude, self.paths)
        zones = ZoneFilter(
            matching(rule.zones.include, self.paths),
            exclude,
            bool(exclude.any()),
            self.leaving[buffer_m] if buffer_m > 0 else None,
        )
        return Bound(rule, sees, zones, list(self.leaving).index(buffer_m), applies, keys)

    def masks(self, rows: int) -> Mask:
        """Room for what is said of so many rows: FRESH, ANYHOW and MENDED are the caller's, the others a scratch."""
        if rows > self._masks.shape[1]:
            self._masks = self._room(2 * rows)
        return self._masks

    def _room(self, rows: int) -> Mask:
        count = MENDED + 1 if self.fused is None else self.fused.masks
        return np.zeros((count, rows), dtype=np.bool_)

    def hits(self, batch: Batch, number: int, masks: Mask, fed: Fed, words: Words, areas: I32) -> list[Rows]:
        """Hits of all rules as HIT rows, those of one rule together, until the next call. `masks` say which rows there
        are for whom; `areas`, by source, are words; `number` names the batch."""
        columns = batch.columns
        if self.fused is not None and isinstance(columns, ScannedColumns) and columns.fields is not None:
            found = self.fused.hits(batch, columns.fields, number, masks, fed, words, areas)
            found = [self._with_keys(hits, batch, words, self.fused.left_keys) for hits in found]
            if not self.plainly:
                return found
            for hits in found:
                hits["rule"] = self.fusedly[hits["rule"][0]] if len(hits) else NONE
            return found + self._plain_hits(self.plainly, batch, number, masks[:, : len(batch)], fed, words, areas)
        everyone = range(len(self.rules))
        return self._plain_hits(everyone, batch, number, masks[:, : len(batch)], fed, words, areas)

    def _plain_hits(
        self, rules: Sequence[int], batch: Batch, number: int, masks: Mask, fed: Fed, words: Words, areas: I32
    ) -> list[Rows]:
        bounds = [self.bound[rule] for rule in rules]
        rows_of = [np.flatnonzero(masks[bound.sees] & asked(bound.rule, batch)) for bound in bounds]
        zoned = [rows for rows, b in zip(rows_of, bounds, strict=True) if b.zones is not None and len(rows)]
        inside = None
        if zoned:
            looked_up = zoned[0] if len(zoned) == 1 else np.unique(np.concatenate(zoned))
            inside = self._lookup(self.index, batch, looked_up)
        found: list[Rows] = []
        for rule, bound, rows in zip(rules, bounds, rows_of, strict=True):
            if len(rows):
                matches = self._rule_hits(bound, batch, rows, inside)
                if matches is not None:
                    hits = self._build(rule, batch, number, matches, fed, words)
                    hits["area"] = areas[hits["source"]]
                    found.append(hits)
        return found

    @staticmethod
    def _lookup(index: Lookup, batch: Batch, rows: I64) -> tuple[I64, I64]:
        lon, lat = batch.numbers("lon"), batch.numbers("lat")
        local, zone = index.lookup(lon[rows], lat[rows])
        return rows[local], zone

    def _rule_hits(self, bound: Bound, batch: Batch, rows: I64, inside: tuple[I64, I64] | None) -> Matches | None:
        rule, zone_filter = bound.rule, bound.zones
        fixes = rows if isinstance(rule.base.detect, Transition) and zone_filter is not None else None
        if zone_filter is None:
            zone = np.full(len(rows), NONE, dtype=np.int64)
            entered = np.ones(len(rows), dtype=np.bool_)
        else:
            assert inside is not None
            rows, zone, entered = self._in_zones(zone_filter, batch, rows, inside)
            if fixes is not None:  # each fix by itself, whatever zones it is in
                outside = np.full(len(fixes), NONE, dtype=np.int64)
                rows, zone = np.concatenate([fixes, rows]), np.concatenate([outside, zone])
                entered = np.concatenate([outside > NONE, entered])
            elif "zone" not in rule.by and len(rows):  # the first it is in, else the first it may not have left yet
                order = np.lexsort((zone, ~entered, rows))
                first = order[np.unique(rows[order], return_index=True)[1]]
                rows, zone, entered = rows[first], zone[first], entered[first]
        if len(rows) == 0:
            return None
        variant = self._variants(bound, batch, rows, zone)
        if sees_more(rule):
            return Matches(rows, zone, entered, variant, signals(rule, batch, rows, variant))
        if not is_plain_hold(rule.base.detect):
            return Matches(rows, zone, entered, variant, np.zeros(len(rows), dtype=np.int8))
        signal, said = self._signals(rule, batch, rows, variant)
        if not said.all():
            rows, zone, entered, variant, signal = rows[said], zone[said], entered[said], variant[said], signal[said]
        return Matches(rows, zone, entered, variant, signal) if len(rows) else None

    def _in_zones(self, f: ZoneFilter, batch: Batch, rows: I64, inside: tuple[I64, I64]) -> tuple[I64, I64, Mask]:
        """(row, zone) pairs of a rule: included zones, rows in no excluded one; whether the point is inside proper."""
        mine = np.zeros(len(batch), dtype=np.bool_)
        mine[rows] = True
        pair_row, pair_zone = inside
        if f.excludes:
            mine[pair_row[f.exclude[pair_zone]]] = False
        keep = mine[pair_row] & f.include[pair_zone]
        in_row, in_zone = pair_row[keep], pair_zone[keep]
        if f.leaving is None:
            return in_row, in_zone, np.ones(len(in_row), dtype=np.bool_)
        near_row, near_zone = self._lookup(f.leaving, batch, np.flatnonzero(mine))
        keep = f.include[near_zone]
        near_row, near_zone = near_row[keep], near_zone[keep]
        width = len(self.paths)
        entered = np.isin(near_row * width + near_zone, in_row * width + in_zone)
        return near_row, near_zone, entered

    @staticmethod
    def _variants(bound: Bound, batch: Batch, rows: I64, zone: I64) -> I64:
        rule = bound.rule
        chosen = np.full(len(rows), BASE, dtype=np.int64)
        for at in range(len(rule.variants) - 2, -1, -1):
            applies = rule.variants[at].applies
            assert applies is not None
            mask = np.ones(len(rows), dtype=np.bool_)
            by_zone = bound.applies[at]
            if by_zone is not None:
                mask &= by_zone[zone] & (zone >= 0) if len(by_zone) else np.zeros(len(rows), dtype=np.bool_)
            if applies.where is not None:
                mask &= applies.where.mask(batch)[rows]
            if applies.calendar is not None:
                mask &= applies.calendar.mask(batch.time_us[rows])
            chosen[mask] = at
        return chosen

    @staticmethod
    def _signals(rule: Rule, batch: Batch, rows: I64, variant: I64) -> tuple[I8, Mask]:
        """What each row's value says to a hold; a row whose value is null says nothing at all."""
        signal = np.zeros(len(rows), dtype=np.int8)
        usable = np.ones(len(rows), dtype=np.bool_)
        for at, v in zip((*range(len(rule.variants) - 1), BASE), rule.variants, strict=True):
            if isinstance(v.detect, Hold):
                mine = variant == at
                signal[mine & v.detect.close_when.mask(batch)[rows]] = CLOSES
                signal[mine & v.detect.open_when.mask(batch)[rows]] = OPENS
                usable[mine & ~_present(batch.columns[v.detect.value_field])[rows]] = False
        return signal, usable

    def _build(self, number: int, batch: Batch, batch_number: int, found: Matches, fed: Fed, words: Words) -> Rows:
        rows, record = found.rows, batch.record[found.rows]
        hits: Rows = np.zeros(len(rows), dtype=HIT)
        hits["time_us"] = batch.time_us[rows]
        hits["print_a"], hits["print_b"] = fed.prints[record, 0], fed.prints[record, 1]
        hits["offset"], hits["source"] = fed.offsets[record], fed.sources[record]
        hits["lon"], hits["lat"] = batch.numbers("lon")[rows], batch.numbers("lat")[rows]
        hits["ordinal"] = hits["row"] = rows
        hits["rule"], hits["batch"], hits["zone"] = number, batch_number, found.zone
        hits["variant"], hits["inside"], hits["signal"] = found.variant, found.entered, found.signal
        hits["k0"] = hits["k1"] = hits["k2"] = NONE
        return self._with_keys(hits, batch, words, [list(enumerate(bound.keys)) for bound in self.bound])

    def _with_keys(self, hits: Rows, batch: Batch, words: Words, places: Sequence[Sequence[tuple[int, str]]]) -> Rows:
        """The words of these fields of a rule's key filled in; a hit that lacks one is none."""
        keyed: Mask | None = None
        for place, name in places[hits["rule"][0]]:
            ids = self._key_ids(batch, hits["row"], name, words)
            hits[f"k{place}"] = ids
            if len(ids) and ids.min() < 0:
                keyed = ids >= 0 if keyed is None else keyed & (ids >= 0)
        return hits if keyed is None else taken(hits, keyed)

    @staticmethod
    def _key_ids(batch: Batch, rows: I64, name: str, words: Words) -> I32:
        """The words of a field of the key in these rows; of several fields, of all of them together."""
        if JOIN in name:
            parts = [_words(batch.columns[part], rows) for part in name.split(JOIN)]
            joined = zip(*parts, strict=True)
            return words.intern(Spans.of([None if None in one else orjson.dumps(one) for one in joined]))
        raw = batch.columns.spans_of(name)
        if raw is None:
            column = batch.columns[name]
            if isinstance(column, Texts):
                return words.intern(column.spans())[rows]
            texts = _words(column, rows)
            return words.intern(Spans.of([None if text is None else text.encode() for text in texts]))
        return words.intern(raw.take(rows))

    def key_texts(self, rule: int, ids: Sequence[int], words: Words) -> tuple[str, ...]:
        """The key of a hit or a run as the rule's fields, in order, without the zone."""
        names = self.bound[rule].keys
        texts = [words.text(word) for word in ids[: len(names)]]
        if names and JOIN in names[-1]:
            return (*texts[:-1], *orjson.loads(texts[-1]))
        return tuple(texts)

    def key_bytes(self, rule: int, key: Sequence[str]) -> list[bytes]:
        """The other way: the words of a key."""
        names = self.bound[rule].keys
        if names and JOIN in names[-1]:
            last = len(names) - 1
            return [*(text.encode() for text in key[:last]), orjson.dumps(list(key[last:]))]
        return [text.encode() for text in key]

    def cells(self, rule: int, batch: Batch, row: int) -> Cells:
        """What a detection of this rule carries of a row."""
        columns, masks, carried = batch.columns, batch.masks, self.carried[rule]
        value_of = value_field(self.rules[rule].base.detect)
        scanned = columns if isinstance(columns, ScannedColumns) and self.fused is not None else None
        if scanned is not None and scanned.fields is not None and scanned.one is not None:
            lon, lat, error_m = self.fused.position(scanned.fields, row)
            if carried or value_of in self.stream.fields:
                columns, masks = scanned.one(row)  # a whole column is much for one row
                row = 0
        else:
            lon, lat, error_m = (float(batch.numbers(name)[row]) for name in ("lon", "lat", "error_m"))
        value = scalar(columns[value_of], row) if value_of in self.stream.fields else None
        attributes = {name: self._cell(columns, masks, name, row) for name in carried}
        return lon, lat, None if error_m != error_m else error_m, value, attributes

    def carried_of(self, rule: int, batch: Batch, rows: I64) -> Carried:
        """The same of many rows."""
        value_of, fields = value_field(self.rules[rule].base.detect), self.stream.fields
        columns = {name: batch.columns[name].take(rows) for name in self.carried[rule]}
        tokenised = [name for name, column in columns.items() if fields[name].tokenised and isinstance(column, Texts)]
        return Carried(
            batch.numbers("lon")[rows],
            batch.numbers("lat")[rows],
            batch.numbers("error_m")[rows],
            batch.columns[value_of].take(rows) if value_of in fields else None,
            columns,
            {name: batch.masks[name] for name in tokenised},
        )

    def _cell(self, columns: Columns, masks: dict[str, tuple[str | None, ...]], name: str, row: int) -> Any:
        column = columns[name]
        if self.stream.fields[name].tokenised and isinstance(column, Texts):
            return masked_cell(column, masks[name], row)
        return scalar(column, row)


def _asked_fields(rule: Rule) -> set[str]:
    """What the Desk asks of a detection: the fields of escalations and of overrides; and what a count tells apart."""
    asked = [e.when for e in rule.escalate] + [v.applies.where for v in rule.variants if v.applies is not None]
    detect = rule.base.detect
    told_apart = set(detect.distinct) if isinstance(detect, Count) else set()
    return told_apart | {field for expression in asked if expression is not None for field in expression.fields}


def _words(column: Column, rows: I64) -> list[str | None]:
    if isinstance(column, Texts):
        words = column.words
        return [None if code < 0 else words[code] for code in column.codes[rows].tolist()]
    cells = (scalar(column, int(row)) for row in rows)
    return [None if cell is None else f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in cells]


def asked(rule: Rule, batch: Batch) -> Mask:
    """Where a rule looks at a row at all, as far as the row says."""
    mask = looked_at(rule, batch)
    if rule.active is not None and mask.any():
        mask = mask & rule.active.mask(batch.time_us)
    for exemption in rule.exempt:
        if mask.any():
            exempt = exemption.where.mask(batch)
            if exemption.until_us is not None:
                exempt &= batch.time_us < exemption.until_us
            mask = mask & ~exempt
    return mask


def _present(column: Column) -> Mask:
    match column:
        case Numbers(values):
            return ~np.isnan(values)
        case Texts():
            return column.codes >= 0
        case Mixed():
            return _present(column.number) | (column.flag.values >= 0) | (column.text.codes >= 0)
        case _:
            return column.values >= 0
