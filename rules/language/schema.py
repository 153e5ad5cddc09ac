"""The closed schema: every key of every clause, and which of them must be there."""

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
        "flap", "suppressed_by", "evidence", "dispatch", "message",
    ),
    required=("id", "revision", "name", "status", "type", "detect", "message"),
)  # fmt: skip
TYPE = Keys(("code", "severity", "life_safety"), required=("code", "severity"))
ZONES = Keys(("in", "not_in", "edge_buffer"), required=("in",))

DWELL = Keys(("for", "max_move", "max_gap", "min_points"), required=("for",))
HOLD = Keys(("value", "open_when", "close_when", "for", "close_for"), required=("value", "open_when"))
WINDOW = Keys(("fn", "field", "window", "slide", "min_samples"), required=("fn", "window"))
"""hold.value as a mapping: an aggregate over a window."""
EVENT = Keys(("repeat",))
REPEAT = Keys(("times", "within"), required=("times", "within"))
TRANSITION = Keys(("change", "settle"), required=("change",))
COUNT = Keys(("distinct", "window", "slide", "at_least", "each_present"), required=("window", "at_least"))
ABSENT = Keys(("for", "expect_every", "then", "parent", "listed"), required=("for",))
CHANGE = Keys(("field", "over", "at_least", "direction"), required=("field", "over", "at_least"))
NEAR = Keys(("of", "within", "for", "max_gap"), required=("of", "within", "for"))
OTHER = Keys(("from", "by", "where"), required=("where",))
"""near.of: the other one."""
SEQUENCE = Keys(("steps", "within", "near", "max_gap"), required=("steps", "within"))
STEP = Keys(("as", "from", "by", "where", "not", "for"), required=("as", "where"))
CORRELATE = Keys(
    ("radius", "within", "need", "sources", "require_any", "confidence"),
    required=("radius", "within", "need", "sources"),
)
SOURCE = Keys(("as", "from", "where", "reliability", "distinct"), required=("as", "from", "where"))
ALL_OF = Keys(("of", "within", "radius"), required=("of",))

PRIMITIVES = {
    "dwell": DWELL, "hold": HOLD, "event": EVENT, "transition": TRANSITION, "count": COUNT, "absent": ABSENT,
    "change": CHANGE, "near": NEAR, "sequence": SEQUENCE, "correlate": CORRELATE,
}  # fmt: skip
OF_ITS_OWN = ("as", "from", "where", "by")
"""What a branch may say for itself; else the rule's holds."""
BRANCH = {
    kind: Keys((*OF_ITS_OWN, *keys.known) if kind != "correlate" else keys.known, keys.required)
    for kind, keys in PRIMITIVES.items()
}  # fmt: skip
DETECT = Keys((*PRIMITIVES, "any_of", "all_of"))
IN_ANY_OF = Keys((*PRIMITIVES, "all_of"))
IN_ALL_OF = Keys(tuple(kind for kind in PRIMITIVES if kind != "correlate"))
FUNCTIONS = ("mean", "median", "p85", "p95", "min", "max", "sum", "rate", "count")
CHANGES = ("enter", "exit", "cross")
DIRECTIONS = ("up", "down", "either")

NEIGHBOUR = Keys(("none", "some", "in_view", "usual_stop"))
BOX = Keys(("where", "ahead", "behind", "abeam", "at_least"), required=("where",))
IN_VIEW = Keys(("ahead", "at_least"), required=("ahead",))
USUAL_STOP = Keys(("wait",), required=("wait",))

STAGE = Keys(("at", "do"), required=("at", "do"))
CLOSE = Keys(("when", "for", "below", "absent_for", "min_coverage", "timeout"))
OVERRIDE = Keys(("zones", "where", "calendar", "set", "severity", "reason"))
EXEMPT = Keys(("where", "reason", "until"), required=("where", "reason", "until"))
ESCALATE = Keys(("after", "when", "severity", "down_after"), required=("severity",))
MERGE = Keys(("same_zone", "radius", "window", "upstream_segments"))
FLAP = Keys(("max_changes", "within"), required=("max_changes", "within"))
SUPPRESSED = Keys(("rule", "equal"), required=("rule", "equal"))
EVIDENCE = Keys(("frames", "span", "mask", "retain"), required=("frames",))
DISPATCH = Keys(("department", "plan", "accept_within", "resolve_within", "never_suppress", "verify"))
VERIFY = Keys(("clear_for", "else"))
MASKS = ("face", "plate")
