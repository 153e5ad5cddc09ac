"""Rules on trial (`status: shadow`): what they would have made, and nothing else.

A Desk of their own runs beside the active one, on the same steps. It knows no department, so it sends nobody; of what
it says only the incidents of its rules are told, on a topic of their own. It shares nothing with the active Desk:
nothing is merged, suppressed or counted across.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from models.columns import RawRecord
from models.incidents import Incident
from models.streams import URGENT_DETECTIONS
from rules.incidents.desk import Desk, DeskOutcome, Output
from rules.language.model import Correlate, DispatchClause, Rule
from streams.city import City

log = logging.getLogger(__name__)

TOPIC = "incidents.shadow"
TICKETS = "hotline.tickets"


class ShadowDesk:
    """The same verbs as the Desk's. What goes wrong here ends the trial and nothing else."""

    def __init__(self, desk: Desk, rules: Mapping[str, Rule]) -> None:
        self.desk, self.rules = desk, rules
        self.topics = {"detections", URGENT_DETECTIONS, *([TICKETS] if any(map(hears_calls, rules.values())) else [])}
        self.failed = False

    @classmethod
    def of(cls, city: City) -> ShadowDesk | None:
        """None where no rule is on trial."""
        rules = {rule.id: rule for rule in city.bundle.rules if rule.status == "shadow"}
        if not rules:
            return None
        trial = replace(
            city,
            bundle=replace(city.bundle, rules=tuple(map(as_active, rules.values()))),
            tables=replace(city.tables, responsibilities=()),
        )
        return cls(trial.desk(), rules)

    def feed(self, topic: str, records: Sequence[RawRecord]) -> list[Output]:
        if self.failed or topic not in self.topics:
            return []
        name = "detections" if topic == URGENT_DETECTIONS else topic
        try:
            return self._told(self.desk.feed(name, records))
        except Exception as why:  # noqa: BLE001 (a rule on trial must not stop those that are not)
            return self._fail(why)

    def advance(self, to_us: int) -> list[Output]:
        if self.failed:
            return []
        try:
            return self._told(self.desk.advance(to_us))
        except Exception as why:  # noqa: BLE001
            return self._fail(why)

    def _fail(self, why: Exception) -> list[Output]:
        self.failed = True
        log.error("试运行已停 / rules on trial are not tried any more until the next change", exc_info=why)
        return []

    def _told(self, outcome: DeskOutcome) -> list[Output]:
        return [
            Output(TOPIC, output.key, self._as_written(output.value), output.id)
            for output in outcome.outputs
            if isinstance(output.value, Incident) and output.value.rule in self.rules and output.topic == "incidents"
        ]

    def _as_written(self, incident: Incident) -> Incident:
        life_safety = self.rules[incident.rule or ""].life_safety
        return msgspec.structs.replace(incident, life_safety=life_safety)


def as_active(rule: Rule) -> Rule:
    """The rule as it would be, but that no person is asked for, since none is: what clears is closed."""
    clause = DispatchClause(clear_for_us=rule.dispatch.clear_for_us)
    return replace(rule, status="active", life_safety=False, dispatch=clause, suppressed_by=())


def hears_calls(rule: Rule) -> bool:
    joined = (join for join in rule.joins if isinstance(join, Correlate))
    return any(source.topic == TICKETS for join in joined for source in join.sources)
