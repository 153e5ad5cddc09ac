"""The closed schema of test files."""

from __future__ import annotations

from rules.explaining.whynot import Verdict
from rules.language.clauses import Keys

VERSION = 1

FILE = Keys(("version", "rules", "world", "streams", "tests", "equivalent"), required=("version", "tests"))
WORLD = Keys(("zones", "registry", "tables", "start"))
TEST = Keys(
    ("name", "start", "streams", "disturb", "feedback", "crews", "expect", "same_as"), required=("name", "streams")
)
FEED = Keys(("use", "set", "path", "values", "every", "from", "for", "until", "at", "drop", "delay", "key", "empty"))
WAYPOINT = Keys(("at", "zone", "lon", "lat", "north", "east"), required=("at",))
SPAN = Keys(("from", "to"), required=("from", "to"))
DISTURB = Keys(("shuffle_within", "duplicate", "drop", "seed"))
FEEDBACK = Keys(("at", "rule", "say", "command", "args"), required=("at", "rule"))
EQUIVALENT = Keys(("rule", "path", "reason"), required=("rule", "path", "reason"))

TOLD = {
    "incidents": "incidents",
    "detections": "detections",
    "orders": "dispatch.orders",
    "verdicts": "verification.results",
    "notices": "notices",
    "looks": "recognition.requests",
    "replies": "hotline.replies",
}
"""What can be expected as a list, and the topic that tells it."""

EXPECT = Keys(("at", "rule", "count", "transitions", "why_not", *TOLD), required=("at",))
WHY_NOT = Keys(("rule", "key", "stage", "contains"), required=("rule", "stage"))
STAGES = tuple(verdict for verdict in Verdict if verdict != Verdict.RAISED)
SAID = ("accepted", "arrived", "handled", "returned", "extension_requested", "rejected", "note")
COMMANDS = (
    "confirm", "withdraw", "dispatch", "suspend", "resume", "escalate", "false_alarm", "close", "reopen", "acknowledge",
)  # fmt: skip
