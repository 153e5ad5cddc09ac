"""The stateless part of every rule of a lane, a batch at a time: where, exempt, active, zones, overrides → hits.

Masks are numpy over the whole batch; Python touches only the rows that pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from models.columns import F64, I8, I64, Batch, Column, Mask, Mixed, Numbers, Texts, scalar
from models.streams import STREAMS
from rules.detection.condition import BASE, Hit
from rules.detection.hold import CLOSES, OPENS
from rules.language.model import Hold, Rule
from rules.language.zones import zone_matches


class Lookup(Protocol):
    """Points to (row, zone number) pairs."""

    def lookup(self, lon: F64, lat: F64) -> tuple[I64, I64]: ...


class ZoneLookup(Lookup, Protocol):
    """The index over all zones; with a buffer it answers for the zones grown by so many metres."""

    def with_buffer(self, metres: float) -> Lookup: ...


def matching(patterns: Sequence[str], paths: Sequence[str]) -> Mask:
    """For each zone path, whether any of the globs matches it."""
    return np.array([any(zone_matches(p, path) for p in patterns) for path in paths], dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class ZoneFilter:
    """A rule's zone clause bound to the zones of today: flags by zone number, and where leaving is looked up."""

    include: Mask
    exclude: Mask
    leaving: Lookup | None


class Selector:
    """All rules of one topic against one set of zones."""

    def __init__(self, topic: str, rules: Sequence[Rule], zone_paths: Sequence[str], index: ZoneLookup) -> None:
        self.stream, self.rules, self.paths, self.index = STREAMS[topic], tuple(rules), tuple(zone_paths), index
        self.filters = [self._bind(rule) for rule in self.rules]
        self.override_zones = [
            [matching(v.applies.zones, self.paths) if v.applies and v.applies.zones is not None else None
             for v in rule.variants]
            for rule in self.rules
        ]  # fmt: skip
        self.carried = [
            sorted({f for f in (*rule.message.fields, *_asked_fields(rule)) if f in self.stream.fields})
            for rule in self.rules
        ]

    def _bind(self, rule: Rule) -> ZoneFilter | None:
        if rule.zones is None:
            return None
        buffer_m = rule.zones.edge_buffer_m
        return ZoneFilter(
            matching(rule.zones.include, self.paths),
            matching(rule.zones.exclude, self.paths),
            self.index.with_buffer(buffer_m) if buffer_m > 0 else None,
        )

    def hits(
        self,
        batch: Batch,
        sources: Texts,
        areas: Texts,
        usable: dict[int, Mask],
        natural_keys: Sequence[bytes | None],
        offsets: Sequence[int],
    ) -> list[Hit]:
        """Hits of all rules. `usable[n]`: which rows rule n may look at (late ones where it is decided at once)."""
        rows_of = [self._rows(n, rule, batch, usable[n]) for n, rule in enumerate(self.rules)]
        zoned = [rows for rows, f in zip(rows_of, self.filters, strict=True) if f is not None]
        inside = self._lookup(self.index, batch, np.unique(np.concatenate(zoned))) if zoned else None
        found: list[Hit] = []
        for number, rule in enumerate(self.rules):
            rows = rows_of[number]
            if len(rows):
                found += self._rule_hits(number, rule, batch, sources, areas, rows, inside, natural_keys, offsets)
        return found

    def _rows(self, number: int, rule: Rule, batch: Batch, usable: Mask) -> I64:
        mask = usable if rule.where is None else rule.where.mask(batch) & usable
        if rule.active is not None and mask.any():
            mask = mask & rule.active.mask(batch.time_us)
        for exemption in rule.exempt:
            if mask.any():
                exempt = exemption.where.mask(batch)
                if exemption.until_us is not None:
                    exempt &= batch.time_us < exemption.until_us
                mask = mask & ~exempt
        return np.flatnonzero(mask)

    @staticmethod
    def _lookup(index: Lookup, batch: Batch, rows: I64) -> tuple[I64, I64]:
        lon, lat = batch.numbers("lon"), batch.numbers("lat")
        local, zone = index.lookup(lon[rows], lat[rows])
        return rows[local], zone

    def _rule_hits(
        self,
        number: int,
        rule: Rule,
        batch: Batch,
        sources: Texts,
        areas: Texts,
        rows: I64,
        inside: tuple[I64, I64] | None,
        natural_keys: Sequence[bytes | None],
        offsets: Sequence[int],
    ) -> list[Hit]:
        zone_filter = self.filters[number]
        if zone_filter is None:
            zone = np.full(len(rows), -1, dtype=np.int64)
            entered = np.ones(len(rows), dtype=np.bool_)
        else:
            assert inside is not None
            rows, zone, entered = self._in_zones(zone_filter, batch, rows, inside)
            if "zone" not in rule.by:  # the first zone it is in, else the first it may not have left yet
                order = np.lexsort((zone, ~entered, rows))
                first = order[np.unique(rows[order], return_index=True)[1]]
                rows, zone, entered = rows[first], zone[first], entered[first]
        if len(rows) == 0:
            return []
        variant = self._variants(number, rule, batch, rows, zone)
        signal, rows_ok = self._signals(rule, batch, rows, variant)
        if not rows_ok.all():
            rows, zone, entered = rows[rows_ok], zone[rows_ok], entered[rows_ok]
            variant, signal = variant[rows_ok], signal[rows_ok]
        return self._build(number, rule, batch, sources, areas, rows, zone, entered, variant, signal, natural_keys, offsets)

    def _in_zones(self, f: ZoneFilter, batch: Batch, rows: I64, inside: tuple[I64, I64]) -> tuple[I64, I64, Mask]:
        """(row, zone) pairs of a rule: included zones, rows in no excluded one; whether the point is inside proper."""
        mine = np.zeros(len(batch), dtype=np.bool_)
        mine[rows] = True
        pair_row, pair_zone = inside
        keep = mine[pair_row]
        pair_row, pair_zone = pair_row[keep], pair_zone[keep]
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

    def _variants(self, number: int, rule: Rule, batch: Batch, rows: I64, zone: I64) -> I64:
        chosen = np.full(len(rows), BASE, dtype=np.int64)
        for at in range(len(rule.variants) - 2, -1, -1):
            applies = rule.variants[at].applies
            assert applies is not None
            mask = np.ones(len(rows), dtype=np.bool_)
            by_zone = self.override_zones[number][at]
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
        """For holds, what each row's value says; a row whose value is null says nothing at all."""
        signal = np.zeros(len(rows), dtype=np.int8)
        usable = np.ones(len(rows), dtype=np.bool_)
        for at, v in zip((*range(len(rule.variants) - 1), BASE), rule.variants, strict=True):
            if isinstance(v.detect, Hold):
                mine = variant == at
                signal[mine & v.detect.close_when.mask(batch)[rows]] = CLOSES
                signal[mine & v.detect.open_when.mask(batch)[rows]] = OPENS
                usable[mine & ~_present(batch.columns[v.detect.value_field])[rows]] = False
        return signal, usable

    def _build(
        self,
        number: int,
        rule: Rule,
        batch: Batch,
        sources: Texts,
        areas: Texts,
        rows: I64,
        zone: I64,
        entered: Mask,
        variant: I64,
        signal: I8,
        natural_keys: Sequence[bytes | None],
        offsets: Sequence[int],
    ) -> list[Hit]:
        by = [_words(batch.columns[name], rows) for name in rule.by if name != "zone"]
        lon, lat, error = (batch.numbers(name)[rows].tolist() for name in ("lon", "lat", "error_m"))
        source, area = _words(sources.take(batch.record[rows]), np.arange(len(rows))), _words(areas, rows)
        value = self._values(rule, batch, rows)
        records = batch.record[rows].tolist()
        carried = self._carried(number, batch, rows)
        zones = [self.paths[z] if z >= 0 else "" for z in zone.tolist()]
        keys = list(zip(*by, strict=True)) if by else [()] * len(rows)
        return [
            Hit(
                time_us, number, key, zones[i], natural_keys[record] or b"",
                row, source[i] or "", area[i] or "", offsets[record], which, was_inside, sign, lon[i], lat[i],
                None if error[i] != error[i] else error[i], value[i], carried[i],
            )
            for i, (time_us, key, record, row, which, was_inside, sign) in enumerate(
                zip(batch.time_us[rows].tolist(), keys, records, rows.tolist(), variant.tolist(), entered.tolist(),
                    signal.tolist(), strict=True)
            )
            if None not in key
        ]  # fmt: skip

    @staticmethod
    def _values(rule: Rule, batch: Batch, rows: I64) -> list[Any]:
        detect = rule.base.detect
        name = detect.value_field if isinstance(detect, Hold) else "value"
        column = batch.columns.get(name)
        return [None] * len(rows) if column is None else [scalar(column, int(row)) for row in rows]

    def _carried(self, number: int, batch: Batch, rows: I64) -> list[dict[str, Any]]:
        names = self.carried[number]
        if not names:
            return [{}] * len(rows)
        return [{name: self._cell(batch, name, int(row)) for name in names} for row in rows]

    def _cell(self, batch: Batch, name: str, row: int) -> Any:
        column = batch.columns[name]
        if self.stream.fields[name].tokenised and isinstance(column, Texts):
            code = int(column.codes[row])
            return None if code < 0 else {"token": column.words[code], "mask": batch.masks[name][code]}
        return scalar(column, row)


def _asked_fields(rule: Rule) -> set[str]:
    """What the Desk asks of a detection: the fields of escalations and of overrides."""
    asked = [e.when for e in rule.escalate] + [v.applies.where for v in rule.variants if v.applies is not None]
    return {field for expression in asked if expression is not None for field in expression.fields}


def _words(column: Column, rows: I64) -> list[str | None]:
    if isinstance(column, Texts):
        words = column.words
        return [None if code < 0 else words[code] for code in column.codes[rows].tolist()]
    cells = (scalar(column, int(row)) for row in rows)
    return [None if cell is None else f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in cells]


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
