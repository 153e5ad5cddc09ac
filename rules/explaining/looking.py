"""One row as the stateless part of a rule sees it, clause by clause, each asked of the rule's own masks."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from geo.atlas import Atlas
from models.columns import I64, Batch, Columns, Scalar, scalar
from rules.detection.condition import BASE
from rules.detection.select import Bound, Selector
from rules.explaining.places import nearest_zone
from rules.explaining.trees import Seen, seen
from rules.language.model import Exemption, Hold, Variant

ClauseName = Literal["arrived", "by", "where", "zones", "active", "exempt", "value"]
Fate = Literal["in time", "late", "duplicate"]


class Clause(msgspec.Struct, frozen=True, omit_defaults=True):
    """A clause, whether it lets the row pass (null: unknown, which does not), and the numbers that say why."""

    clause: ClauseName
    truth: bool | None
    facts: dict[str, Scalar] = {}
    tree: Seen | None = None


class Overriding(msgspec.Struct, frozen=True):
    """An override as it was considered for a row."""

    reason: str
    applies: bool
    severity: str


class Look(msgspec.Struct, frozen=True):
    """A row and what became of it: the clauses in the order of a rule, and the zones it counted in."""

    time_us: int
    offset: int
    lon: float | None
    lat: float | None
    clauses: tuple[Clause, ...]
    zones: tuple[str, ...]
    overrides: tuple[Overriding, ...]
    severity: str

    @property
    def passed(self) -> bool:
        return all(clause.truth is True for clause in self.clauses)

    @property
    def failed(self) -> Clause | None:
        """The first clause that did not let it pass."""
        return next((clause for clause in self.clauses if clause.truth is not True), None)


class Looker:
    """Looks at rows for one rule of a lane."""

    def __init__(self, selector: Selector, number: int, atlas: Atlas, zone: str | None) -> None:
        self.selector, self.number, self.atlas, self.zone = selector, number, atlas, zone
        self.bound: Bound = selector.bound[number]
        self.rule = self.bound.rule

    def look(self, batch: Batch, row: int, offset: int, fate: Fate) -> Look:
        one = only(batch, row)
        record = record_of(one, self.fields())
        at = np.zeros(1, dtype=np.int64)
        zones, zone_clause = self._zones(one, at)
        variants = self._variants(one, zones)
        clauses = [
            Clause("arrived", fate == "in time", {"fate": fate}),
            self._keyed(record),
            self._where(one, record),
            zone_clause,
            self._active(one),
            self._exempt(one, record),
            *self._value(record, variants),
        ]
        chosen = self.rule.variants[variants[0] if variants else BASE]
        return Look(
            int(one.time_us[0]), offset, number_or_none(record["lon"]), number_or_none(record["lat"]),
            tuple(clauses), tuple(self.selector.paths[z] for z in zones if z >= 0),
            self._overrides(variants), chosen.severity,
        )  # fmt: skip

    def fields(self) -> frozenset[str]:
        rule, named = self.rule, {"lon", "lat"}
        expressions = [rule.where, *(e.where for e in rule.exempt)]
        expressions += [v.applies.where for v in rule.variants if v.applies is not None]
        for variant in rule.variants:
            if isinstance(variant.detect, Hold):
                expressions += [variant.detect.open_when, variant.detect.close_when]
                named.add(variant.detect.value_field)
        named.update(field for e in expressions if e is not None for field in e.fields)
        named.update(name for name in rule.by if name != "zone")
        return frozenset(named & set(self.selector.stream.fields))

    # the clauses

    def _keyed(self, record: dict[str, Scalar]) -> Clause:
        missing = [name for name in self.rule.by if name != "zone" and record.get(name) is None]
        return Clause("by", not missing, {"missing": ", ".join(missing)} if missing else {})

    def _where(self, one: Batch, record: dict[str, Scalar]) -> Clause:
        where = self.rule.where
        if where is None:
            return Clause("where", True)
        tree = seen(where, record)
        return Clause("where", True if bool(where.mask(one)[0]) else tree.truth, {}, tree)

    def _zones(self, one: Batch, at: I64) -> tuple[list[int], Clause]:
        """The zones it counts in (NONE: the rule has none), those of the key alone where it names one."""
        clause, rule = self.bound.zones, self.rule
        if clause is None or rule.zones is None:
            return [-1], Clause("zones", True)
        lon, lat = float(one.numbers("lon")[0]), float(one.numbers("lat")[0])
        if lon != lon or lat != lat:
            return [], Clause("zones", None, {"position": None})
        inside = self.selector._lookup(self.selector.index, one, at)
        _, zones, entered = self.selector._in_zones(clause, one, at, inside)
        paths = self.selector.paths
        excluded = [paths[z] for z in inside[1].tolist() if clause.exclude[z]]
        mine = [int(z) for z in zones.tolist() if self.zone is None or paths[z] == self.zone or "zone" not in rule.by]
        facts: dict[str, Scalar] = {}
        if mine:
            facts["zone"] = paths[mine[0]]
            facts["inside"] = bool(entered[zones.tolist().index(mine[0])])
        elif excluded:
            facts["excluded_by"] = excluded[0]
        elif (near := nearest_zone(self.atlas.zones, rule.zones, lon, lat)) is not None:
            facts["nearest"], facts["metres"] = near[0], round(near[1], 1)
        return mine, Clause("zones", bool(mine), facts)

    def _active(self, one: Batch) -> Clause:
        active = self.rule.active
        if active is None:
            return Clause("active", True)
        return Clause("active", bool(active.mask(one.time_us)[0]), {"calendar": active.name})

    def _exempt(self, one: Batch, record: dict[str, Scalar]) -> Clause:
        """True where no exemption holds."""
        holding = [e for e in self.rule.exempt if self._exempts(e, one)]
        if not holding:
            return Clause("exempt", True, {"considered": len(self.rule.exempt)})
        return Clause("exempt", False, {"reason": holding[0].reason}, seen(holding[0].where, record))

    @staticmethod
    def _exempts(exemption: Exemption, one: Batch) -> bool:
        ended = exemption.until_us is not None and int(one.time_us[0]) >= exemption.until_us
        return not ended and bool(exemption.where.mask(one)[0])

    def _value(self, record: dict[str, Scalar], variants: list[int]) -> list[Clause]:
        detect = self.rule.variants[variants[0] if variants else BASE].detect
        if not isinstance(detect, Hold):
            return []
        value = record.get(detect.value_field)
        return [Clause("value", value is not None, {"value": value}, seen(detect.open_when, record))]

    # overrides

    def _variants(self, one: Batch, zones: list[int]) -> list[int]:
        """The variant of each zone it counts in, as the Detector chooses it."""
        if not zones:
            return []
        rows = np.zeros(len(zones), dtype=np.int64)
        return [int(v) for v in self.selector._variants(self.bound, one, rows, np.array(zones, dtype=np.int64))]

    def _overrides(self, variants: list[int]) -> tuple[Overriding, ...]:
        chosen = variants[0] if variants else BASE
        return tuple(
            Overriding(reason_of(variant), number == chosen, variant.severity)
            for number, variant in enumerate(self.rule.variants[:-1])
        )


def reason_of(variant: Variant) -> str:
    return variant.reason or ""


def number_or_none(value: Scalar) -> float | None:
    return value if isinstance(value, float) else None


def only(batch: Batch, row: int) -> Batch:
    """The one row, every field of it ready to be asked for."""
    rows = np.array([row], dtype=np.int64)
    columns = Columns({}, lambda name: batch.columns[name].take(rows))
    return Batch(batch.topic, batch.time_us[rows], batch.record[rows], columns, batch.seen_time_us[:0],
                 batch.seen_record[:0], batch.masks)  # fmt: skip


def record_of(one: Batch, fields: frozenset[str]) -> dict[str, Scalar]:
    record: dict[str, Scalar] = {name: scalar(one.columns[name], 0) for name in sorted(fields)}
    record["time_us"] = int(one.time_us[0])
    return record
