"""YAML tables to `Tables`, with every finding at its place. Scalars keep their written text: nothing is guessed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import yaml

from models.detections import Text
from models.problems import Place, Problem, in_order
from rules.tables.holidays import Holidays, WorkingTime, Year
from rules.tables.model import (
    SEVERITIES,
    Clock,
    DeadlineRow,
    Department,
    IncidentType,
    Level,
    Metric,
    ResponsibilityRow,
    Status,
    Tables,
    TrafficTable,
)

NAMES = ("types", "departments", "responsibilities", "deadlines", "calendars", "metrics", "categories", "traffic")
CLOCKS: dict[str, Clock] = {"working": "working", "urgent": "urgent"}
STATUSES: dict[str, Status] = {"national": "national", "local": "local", "synthetic": "synthetic"}
DAYS = {"mon": 0, "tue": 1, "wed": 2, "thu": 3, "fri": 4, "sat": 5, "sun": 6}
UNITS_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
MINUTE_US = 60_000_000
LEVELS = 5

T = TypeVar("T")


class Bad(ValueError):
    """A value that is not what its key needs."""


def read_tables(directory: Path) -> tuple[Tables | None, list[Problem]]:
    """The tables of a directory: the one place here that opens files."""
    return load_tables({p.name: p.read_bytes() for p in sorted(directory.glob("*.yaml"))})


def load_tables(files: Mapping[str, bytes]) -> tuple[Tables | None, list[Problem]]:
    """The tables of `<name>.yaml` → bytes, and what is wrong with them. None while there is any error."""
    problems: list[Problem] = []
    heads: dict[str, Head] = {}
    for name in NAMES:
        file = f"{name}.yaml"
        if file not in files:
            problems.append(Problem(place=Place(file), code="T101", message=f"table {file!r} is missing"))
            continue
        head = compose(file, files[file], problems)
        if head is not None:
            heads[name] = head
    problems += [
        Problem(place=Place(file), code="T102", message=f"unknown table {file!r}", severity="warning")
        for file in sorted(set(files) - {f"{name}.yaml" for name in NAMES})
    ]
    tables = build(heads) if len(heads) == len(NAMES) else None
    return (None if any(p.severity == "error" for p in problems) else tables), in_order(problems)


class Head:
    """The top mapping of a file, or one row of a table: its keys with their nodes, read once each."""

    def __init__(self, file: str, node: yaml.Node, problems: list[Problem], inherit: Head | None = None) -> None:
        self.file, self.node, self.problems, self.inherit = file, node, problems, inherit
        self.values: dict[str, yaml.Node] = {}
        self.read: set[str] = set()
        if not isinstance(node, yaml.MappingNode):
            self.problem(node, "T103", "a mapping is needed here")
            return
        for key, value in node.value:
            if key.value in self.values:
                self.problem(key, "T104", f"key {key.value!r} is repeated")
            self.values[key.value] = value

    def problem(self, node: yaml.Node, code: str, message: str, hint: str | None = None) -> None:
        mark = node.start_mark
        place = Place(self.file, mark.line + 1, mark.column + 1)
        self.problems.append(Problem(place=place, code=code, message=message, hint=hint))

    def get(self, key: str, parse: Callable[[str], T], default: T) -> T:
        """The value of a key; `default` where it is absent or wrong (which is a finding)."""
        self.read.add(key)
        node = self.values.get(key)
        if node is None:
            return default
        if not isinstance(node, yaml.ScalarNode):
            self.problem(node, "T105", f"{key!r} must be a single value")
            return default
        try:
            return parse(node.value)
        except Bad as why:
            self.problem(node, "T106", f"{key!r}: {why}")
            return default

    def need(self, key: str, parse: Callable[[str], T], default: T) -> T:
        if key not in self.values:
            if self.inherit is not None and key in self.inherit.values:
                return self.inherit.get(key, parse, default)
            self.problem(self.node, "T107", f"{key!r} is missing")
        return self.get(key, parse, default)

    def items(self, key: str) -> Iterator[yaml.Node]:
        self.read.add(key)
        node = self.values.get(key)
        if not isinstance(node, yaml.SequenceNode):
            self.problem(node or self.node, "T108", f"a list {key!r} is needed")
            return
        yield from node.value

    def rows(self, key: str) -> Iterator[Head]:
        for node in self.items(key):
            row = Head(self.file, node, self.problems, inherit=self)
            yield row
            row.finish()

    def texts(self, key: str, parse: Callable[[str], T]) -> list[T]:
        found: list[T] = []
        for node in self.items(key):
            try:
                if not isinstance(node, yaml.ScalarNode):
                    raise Bad("a single value is needed")
                found.append(parse(node.value))
            except Bad as why:
                self.problem(node, "T106", f"{key!r}: {why}")
        return found

    def finish(self) -> None:
        for key, node in self.values.items():
            if key not in self.read and key not in ("source", "status"):
                near = get_close_matches(key, sorted(self.read), n=1)
                self.problem(node, "T109", f"unknown key {key!r}", f"did you mean {near[0]!r}?" if near else None)


def compose(file: str, data: bytes, problems: list[Problem]) -> Head | None:
    try:
        node = yaml.compose(data.decode(), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as why:
        mark = getattr(why, "problem_mark", None)
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        message = getattr(why, "problem", None) or "not UTF-8"
        problems.append(Problem(place=place, code="T100", message=f"not YAML: {message}"))
        return None
    if node is None:
        problems.append(Problem(place=Place(file), code="T100", message="the file is empty"))
        return None
    return Head(file, node, problems)


def build(heads: Mapping[str, Head]) -> Tables:
    departments = {d.id: d for d in map(department, heads["departments"].rows("departments"))}
    types: dict[str, IncidentType] = {}
    for row in heads["types"].rows("types"):
        kind = incident_type(row)
        if kind.code in types:
            row.problem(row.node, "T110", f"type {kind.code!r} is there twice")
        if kind.department is not None and kind.department not in departments:
            row.problem(row.values["department"], "T111", f"department {kind.department!r} is not defined")
        types[kind.code] = kind
    responsibilities = []
    for row in heads["responsibilities"].rows("responsibilities"):
        found = responsibility(row)
        if found.department not in departments:
            row.problem(row.node, "T111", f"department {found.department!r} is not defined")
        responsibilities.append(found)
    categories: dict[str, str] = {}
    for row in heads["categories"].rows("categories"):
        name, code = row.need("category", text, ""), row.need("type", text, "")
        if code not in types:
            row.problem(row.node, "T112", f"type {code!r} is not defined")
        categories[name] = code
    tables = Tables(
        types=types,
        responsibilities=tuple(responsibilities),
        deadlines=tuple(deadline(row) for row in heads["deadlines"].rows("deadlines")),
        working=working_time(heads["calendars"]),
        departments=departments,
        metrics={m.name: m for m in map(metric, heads["metrics"].rows("metrics"))},
        categories=categories,
        traffic=traffic_table(heads["traffic"]),
    )
    for head in heads.values():
        head.finish()
    return tables


# ------------------------------------------------------------------------------------------------------------- the rows


def incident_type(row: Head) -> IncidentType:
    return IncidentType(
        code=row.need("code", text, ""),
        name=names(row),
        department=row.get("department", text, ""),
        skill=row.get("skill", text, "") or None,
        clock=row.need("clock", one_of(CLOCKS), "urgent"),
        severity=row.need("severity", severity, "minor"),
        life_safety=row.get("life_safety", flag, False),
        radius_m=row.need("radius", metres, 0.0),
        window_us=row.need("window", duration_us, 0),
        raise_at=row.get("raise_at", whole, 0) or None,
        source=row.need("source", text, ""),
        status=row.need("status", one_of(STATUSES), "synthetic"),
    )


def department(row: Head) -> Department:
    return Department(row.need("id", text, ""), names(row))


def responsibility(row: Head) -> ResponsibilityRow:
    hours = row.get("hours", period, (0, 0))
    return ResponsibilityRow(
        type=row.need("type", text, ""),
        area=row.get("area", text, "*"),
        hours=None if hours == (0, 0) else hours,
        department=row.need("department", text, ""),
    )


def deadline(row: Head) -> DeadlineRow:
    return DeadlineRow(
        type=row.need("type", text, ""),
        severity=row.get("severity", severity, "minor"),
        condition=row.get("condition", text, "") or None,
        accept_us=row.need("accept", duration_us, 0),
        resolve_us=row.need("resolve", duration_us, 0),
        clock=row.need("clock", one_of(CLOCKS), "urgent"),
        source=row.need("source", text, ""),
        status=row.need("status", one_of(STATUSES), "synthetic"),
    )


def metric(row: Head) -> Metric:
    unit = row.need("unit", lambda written: written, "")
    return Metric(row.need("metric", text, ""), None if unit in ("", "null") else unit, names(row))


def traffic_table(head: Head) -> TrafficTable:
    levels = [
        Level(row.need("level", whole, 0), row.need("above", share, 0.0), names(row)) for row in head.rows("levels")
    ]
    if [row.level for row in levels] != list(range(1, LEVELS + 1)):
        head.problem(head.node, "T115", f"the levels must be 1 to {LEVELS}, from the best to the worst")
    elif any(worse.above >= better.above for better, worse in pairwise(levels)) or levels[-1].above != 0:
        head.problem(head.node, "T115", "each level begins below the one before it, and the last at 0%")
    free_flow = [(row.need("road_class", text, ""), row.need("kmh", positive, 0.0)) for row in head.rows("free_flow")]
    if not free_flow or free_flow[-1][0] != "*":
        head.problem(head.node, "T115", 'the last free-flow speed is for any other road: road_class "*"')
    return TrafficTable(tuple(levels), tuple(free_flow))


def working_time(head: Head) -> WorkingTime:
    weekdays: frozenset[int] = frozenset()
    periods: list[tuple[int, int]] = []
    head.read.add("working")
    if "working" in head.values:
        row = Head(head.file, head.values["working"], head.problems)
        weekdays = frozenset(row.texts("days", one_of(DAYS)))
        periods = sorted(row.texts("times", period))
        for start, end in periods:
            if end <= start:
                row.problem(row.node, "T113", "a working period may not run over midnight")
        if not weekdays or not periods:
            row.problem(row.node, "T113", "working time needs days and times")
        row.finish()
    else:
        head.problem(head.node, "T107", "'working' is missing")
    years: dict[int, Year] = {}
    for row in head.rows("years"):
        year = row.need("year", whole, 0)
        off = frozenset(day for days in row.texts("off", days_of) for day in days)
        work = frozenset(day for days in row.texts("work", days_of) for day in days)
        if off & work:
            row.problem(row.node, "T114", "a day is both off and worked")
        if any(day.year != year for day in off | work):
            row.problem(row.node, "T114", f"a day is not of the year {year}")
        if year in years:
            row.problem(row.node, "T110", f"year {year} is there twice")
        years[year] = Year(off, work)
    return WorkingTime(tuple(periods), Holidays(years, weekdays))


def names(row: Head) -> Text:
    return Text(row.need("zh", text, ""), row.need("en", text, ""))


# ----------------------------------------------------------------------------------------------------------- the values


def text(written: str) -> str:
    if not written.strip():
        raise Bad("a text is needed")
    return written


def whole(written: str) -> int:
    if not re.fullmatch(r"\d{1,9}", written, re.ASCII):
        raise Bad(f"{written!r} is not a whole number")
    return int(written)


def positive(written: str) -> float:
    if not re.fullmatch(r"\d{1,3}", written, re.ASCII) or int(written) == 0:
        raise Bad(f"{written!r} is not a whole number from 1 to 999")
    return float(written)


def share(written: str) -> float:
    found = re.fullmatch(r"(\d{1,2})%", written, re.ASCII)
    if found is None:
        raise Bad(f"{written!r} is not a share such as 70%")
    return int(found[1]) / 100


def flag(written: str) -> bool:
    if written not in ("true", "false"):
        raise Bad(f"{written!r} is not true or false")
    return written == "true"


def duration_us(written: str) -> int:
    found = re.fullmatch(r"(\d{1,6})([smhd])", written, re.ASCII)
    if found is None:
        raise Bad(f"{written!r} is not a duration such as 90s, 5m, 2h or 1d")
    return int(found[1]) * UNITS_US[found[2]]


def metres(written: str) -> float:
    found = re.fullmatch(r"(\d{1,6})m", written, re.ASCII)
    if found is None:
        raise Bad(f"{written!r} is not a length such as 50m")
    return float(found[1])


def severity(written: str) -> str:
    if written not in SEVERITIES:
        raise Bad(f"{written!r} is none of {', '.join(SEVERITIES)}")
    return written


def one_of(choices: Mapping[str, T]) -> Callable[[str], T]:
    def parse(written: str) -> T:
        if written not in choices:
            raise Bad(f"{written!r} is none of {', '.join(choices)}")
        return choices[written]

    return parse


def period(written: str) -> tuple[int, int]:
    """`08:00-12:00` in microseconds from midnight."""
    found = re.fullmatch(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", written, re.ASCII)
    if found is None:
        raise Bad(f"{written!r} is not a period such as 08:00-12:00")
    start, end = (int(found[i]) * 60 + int(found[i + 1]) for i in (1, 3))
    if max(start, end) > 24 * 60 or start == end:
        raise Bad(f"{written!r} is not a period of the day")
    return start * MINUTE_US, end * MINUTE_US


def days_of(written: str) -> list[date]:
    """A day, or first/last."""
    try:
        first, _, last = written.partition("/")
        start = date.fromisoformat(first)
        end = date.fromisoformat(last) if last else start
    except ValueError:
        raise Bad(f"{written!r} is not a day or first/last") from None
    if end < start:
        raise Bad(f"{written!r} ends before it begins")
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]
