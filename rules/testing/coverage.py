"""What the tests of a rule reach: whether it fires and keeps silent, and which of its clauses make a difference.

A clause is covered when, without it, some test would tell something else. So an override that no test takes, an
exemption that none hits, a close path that none goes is found by the same measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.streams import MEASUREMENTS, STATES
from rules.language.model import Rule
from rules.testing.model import Test, Told
from rules.testing.mutants import Mutant
from rules.testing.running import Run

CLAUSES = (
    "overrides", "exempt", "any_of", "all_of", "stages", "close", "escalate", "active", "not_in", "merge", "cooldown",
    "flap", "suppressed_by", "neighbours", "close_when",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Covered:
    """One thing of a rule that a test can reach."""

    rule: str
    what: str
    covered: bool


def topics_of(rule: Rule) -> frozenset[str]:
    """The inputs that reach the rule: its parts' and those its joins look at; of states what they are made of."""
    joined = (source.topic for join in rule.joins for source in getattr(join, "sources", ()))
    read = (*(part.topic for part in rule.parts or (rule,)), *joined)
    return frozenset(MEASUREMENTS if topic == STATES else topic for topic in read)


def tests_of(rule: Rule, tests: Sequence[Test]) -> list[Test]:
    """Those that send it something."""
    return [test for test in tests if test.topics & topics_of(rule)]


def fired(rule: str, told: Sequence[Told]) -> bool:
    return any(one.value.get("rule") == rule for one in told if one.topic in ("detections", "incidents"))


def firing(rule: Rule, runs: Sequence[Run]) -> list[Covered]:
    """Whether some test makes it fire, and some test that sends it something does not."""
    fed = [fired(rule.id, run.told) for run in runs if run.test.topics & topics_of(rule)]
    return [Covered(rule.id, "fires", any(fed)), Covered(rule.id, "keeps silent", not all(fed) if fed else False)]


def is_clause(mutant: Mutant) -> bool:
    """Whether it leaves out something that counts as a clause of its own."""
    steps = mutant.path.split(".")
    if not mutant.is_dropped or "where" in steps[-1:]:
        return False
    return steps[-1] in ("active", "not_in", "merge", "cooldown", "close_when") or any(
        step in CLAUSES for step in steps[-2:-1]
    )


def share(found: Sequence[Covered]) -> float:
    return sum(one.covered for one in found) / len(found) if found else 1.0
