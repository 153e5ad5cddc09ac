"""What the tests of the language check rules against."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from models.problems import Problem
from models.streams import STREAMS
from models.times import zone_info
from rules.language.calendars import MissingYear
from rules.language.checking import Finding, Names
from rules.language.expressions import Checked, read_expression
from rules.language.load import Context, SourceFile, load_rules
from rules.language.model import Bundle, Rule

HERE = Path(__file__).parent
NEW_YEAR = date(2026, 1, 1)
MAKE_UP = date(2026, 1, 4)  # a Sunday that is worked


class Holidays2026:
    """Two days are enough."""

    def is_workday(self, day: date) -> bool:
        if day.year != 2026:
            raise MissingYear(day.year)
        return day == MAKE_UP or (day.weekday() < 5 and day != NEW_YEAR)


def token(field: str, clear: str) -> str:
    return f"{field}-token-of-{clear}"


CONTEXT = Context(
    zone_paths=["no-parking/xinhua-road-n", "no-parking/school-1", "no-parking/old-harbour", "permit/depot", "core/a"],
    types={"0505": "机动车违停", "X2101": "拥堵", "X2103": "老人求助", "0406": "积水"},
    departments=["urban-management", "traffic-police"],
    holidays=Holidays2026(),
    tokens=token,
)
HEAD = """\
version: 1
defaults:
  owner: {department: urban-management, contact: "12345-desk"}
lists:
  motor_vehicles: [car, van, truck, bus]
  wanted: ["浙F12345"]
macros:
  standing: speed_mps < 0.5 and coalesce(confidence, 1) >= 0.6
calendars:
  school_gate: {days: [mon, tue, wed, thu, fri], times: ["07:00-09:30", "16:30-19:30"], holidays: cn_public}
rules:
"""
CLAUSES = {
    "id": "r",
    "revision": "1",
    "name": "{zh: 规则, en: A rule}",
    "status": "active",
    "type": '{code: "0505", severity: minor}',
    "from": "[camera.tracks]",
    "by": "[sensor_id, track_id]",
    "detect": "{event: {}}",
    "message": "{zh: 有, en: There}",
}


def rule_text(**clauses: str) -> str:
    """One rule in YAML: the plain clauses with these put over them. `from_` is `from`; an empty text leaves one out."""
    given = {key.rstrip("_"): value for key, value in clauses.items()}
    lines = [f"{key}: {value}" for key, value in {**CLAUSES, **given}.items() if value]
    return "  - " + "\n    ".join(lines) + "\n"


def load(text: str, context: Context = CONTEXT, name: str = "rules.yaml") -> tuple[Bundle | None, list[Problem]]:
    return load_rules([SourceFile(name, text.encode())], context)


def loaded(text: str, context: Context = CONTEXT) -> Bundle:
    """The bundle of a file that must be fine."""
    bundle, problems = load(text, context)
    assert bundle is not None, "\n".join(p.text() for p in problems)
    return bundle


def one_rule(**clauses: str) -> Rule:
    (rule,) = loaded(HEAD + rule_text(**clauses)).rules
    return rule


def codes(text: str, context: Context = CONTEXT) -> list[str]:
    return [p.code for p in load(text, context)[1]]


def names(topic: str, zone: str = "Asia/Shanghai") -> Names:
    lists = {"motor_vehicles": ("car", "van"), "wanted": ("浙F12345",), "lanes": (1, 2), "none": ()}
    return Names(topic, STREAMS[topic].fields, zone_info(zone), zone, lists, {}, tokens=token)


def expression(text: str, topic: str = "camera.tracks") -> Checked:
    """An expression that must be fine."""
    found, findings = read_expression(text, names(topic))
    assert found is not None, findings
    return found


def refused(text: str, topic: str = "camera.tracks") -> Finding:
    """What is wrong with an expression: its first error."""
    found, findings = read_expression(text, names(topic))
    assert found is None
    return next(f for f in findings if f.code.startswith("E"))
