"""The closed schema: every key of every clause, which of them must be there, and which are not built yet."""

from __future__ import annotations

from rules.language.clauses import Keys

SEVERITIES = ("minor", "moderate", "major", "critical")
STATUSES = ("draft", "shadow", "active")
STEPS = ("remind_owner", "second_look", "open_case")
NO_DATA = ("unknown", "hold", "close")
VERSION = 1

FILE = Keys(("version", "defaults", "lists", "macros", "calendars", "rules"), required=("version",))
DEFAULTS = Keys(("timezone", "owner", "lateness"))
OWNER = Keys(("department", "contact"), required=("department",))
CALENDAR = Keys(("days", "times", "holidays"), required=("days",))
TEXTS = Keys(("zh", "en"), required=("zh", "en"))

RULE = Keys(
    (
        "id", "revision", "name", "owner", "status", "type", "from", "where", "zones", "by", "neighbours", "active",
        "params", "overrides", "detect", "stages", "close", "no_data", "exempt", "escalate", "merge", "cooldown",
        "dispatch", "message",
    ),
    required=("id", "revision", "name", "status", "type", "detect", "message"),
    later=("flap", "suppressed_by", "evidence"),
)  # fmt: skip
TYPE = Keys(("code", "severity", "life_safety"), required=("code", "severity"))
ZONES = Keys(("in", "not_in", "edge_buffer"), required=("in",))

DETECT = Keys(
    ("dwell", "hold", "event"),
    later=("transition", "count", "absent", "sequence", "change", "near", "correlate", "any_of", "all_of"),
)
DWELL = Keys(("for", "max_move", "max_gap", "min_points"), required=("for",))
HOLD = Keys(("value", "open_when", "close_when", "for", "close_for"), required=("value", "open_when"))
EVENT = Keys(("repeat",))
REPEAT = Keys(("times", "within"), required=("times", "within"))
WINDOW = Keys((), later=("field", "of", "aggregate", "window", "slide", "min_samples"))
"""hold.value as a mapping: an aggregate over a window."""

NEIGHBOUR = Keys(("none", "some", "in_view", "usual_stop"))
BOX = Keys(("where", "ahead", "behind", "abeam", "at_least"), required=("where",))
IN_VIEW = Keys(("ahead", "at_least"), required=("ahead",))
USUAL_STOP = Keys(("wait",), required=("wait",))

STAGE = Keys(("at", "do"), required=("at", "do"))
CLOSE = Keys(("absent_for", "min_coverage", "timeout"), later=("when", "for", "below"))
OVERRIDE = Keys(("zones", "where", "calendar", "set", "severity", "reason"))
EXEMPT = Keys(("where", "reason", "until"), required=("where", "reason", "until"))
ESCALATE = Keys(("after", "when", "severity"), required=("severity",))
MERGE = Keys(("same_zone", "radius", "window"), later=("upstream_segments",))
DISPATCH = Keys(("department", "plan", "accept_within", "resolve_within", "never_suppress", "verify"))
VERIFY = Keys(("clear_for", "else"))

LATER_TOPICS = ("traffic.states",)
"""Inputs of the language that no Detector reads yet, beside those the Desk reads."""
