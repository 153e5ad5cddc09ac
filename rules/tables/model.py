"""The tables, typed. What no row covers is None, never a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from models.detections import SEVERITIES as SEVERITIES
from models.detections import Text
from rules.tables.holidays import WorkingTime

Clock = Literal["working", "urgent"]
Status = Literal["national", "local", "synthetic"]
DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class IncidentType:
    code: str
    name: Text
    department: str | None
    """Who usually is in charge: a hint for authors; `responsibilities` decides."""
    skill: str | None
    """Units of the department with it go first."""
    clock: Clock
    severity: str
    life_safety: bool
    radius_m: float
    window_us: int
    raise_at: int | None
    source: str
    status: Status


@dataclass(frozen=True, slots=True)
class ResponsibilityRow:
    type: str
    area: str
    hours: tuple[int, int] | None
    """Microseconds from local midnight; the end before the start: over midnight."""
    department: str

    def covers(self, code: str, area: str, of_day_us: int) -> bool:
        if not (fnmatchcase(code, self.type) and fnmatchcase(area, self.area)):
            return False
        if self.hours is None:
            return True
        start, end = self.hours
        return start <= of_day_us < end if start <= end else of_day_us >= start or of_day_us < end


@dataclass(frozen=True, slots=True)
class DeadlineRow:
    type: str
    severity: str
    """Holds from this severity on."""
    condition: str | None
    accept_us: int
    resolve_us: int
    clock: Clock
    source: str
    status: Status


@dataclass(frozen=True, slots=True)
class Department:
    id: str
    name: Text


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    unit: str | None
    text: Text


@dataclass(frozen=True, slots=True)
class Level:
    """Holds where speed is more than this share of free flow."""

    level: int
    above: float
    text: Text


@dataclass(frozen=True, slots=True)
class TrafficTable:
    """`levels` from the best to the worst; `free_flow`: road class (a glob) and km/h, the first that fits."""

    levels: tuple[Level, ...]
    free_flow: tuple[tuple[str, float], ...]

    def level_of(self, share: float) -> int:
        """Of a speed as a share of free flow; the bound belongs to the worse level."""
        return next((row.level for row in self.levels if share > row.above), self.levels[-1].level)

    def free_flow_of(self, road_class: str | None) -> float:
        return next(kmh for glob, kmh in self.free_flow if fnmatchcase(road_class or "", glob))


@dataclass(frozen=True, slots=True)
class Tables:
    types: Mapping[str, IncidentType]
    responsibilities: tuple[ResponsibilityRow, ...]
    deadlines: tuple[DeadlineRow, ...]
    working: WorkingTime
    departments: Mapping[str, Department]
    metrics: Mapping[str, Metric]
    categories: Mapping[str, str]
    traffic: TrafficTable

    def type_of(self, code: str) -> IncidentType | None:
        """The type's row; `C0112` falls back to `C01`."""
        return self.types.get(code) or (self.types.get(code[:3]) if code.startswith("C") else None)

    def department_of(self, code: str, area: str | None, of_day_us: int) -> str | None:
        """Who is in charge of this type in this area at this time of the local day."""
        for row in self.responsibilities:
            if row.covers(code, area or "", of_day_us):
                return row.department
        return None

    def deadline_of(self, code: str, severity: str) -> DeadlineRow | None:
        rank = SEVERITIES.index(severity) if severity in SEVERITIES else 0
        for row in self.deadlines:
            if fnmatchcase(code, row.type) and rank >= SEVERITIES.index(row.severity):
                return row
        return None
