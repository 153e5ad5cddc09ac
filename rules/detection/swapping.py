"""Other rules or zones under a lane that goes on.

What is the same (rule id and fingerprint, zone by its path) keeps its windows, timers and open conditions to the
microsecond: a limit that was edited counts from where the condition began. What is gone or has another shape is told
`unknown` where it was raised, for nobody looks at it any more. A zone with another outline keeps what is open in it:
whether a thing is inside is asked anew with each match.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.detections import Detection
from rules.detection.condition import Condition
from rules.detection.watch import Watch
from rules.language.model import Transition

if TYPE_CHECKING:
    from rules.detection.lane import Lane


def take_over(lane: Lane, before: Lane) -> list[Detection]:
    """`lane` was fed nothing yet and goes on where `before`, which is not used any more, is."""
    lane.restore(before.snapshot())
    old = {identity(watch): watch for watch in before.watches}
    kept = {identity(watch): watch for watch in lane.watches}
    for name, watch in old.items():
        for condition in watch.open.values():
            if name not in kept or gone(lane, condition):
                farewell(watch, condition)
    for name, watch in kept.items():
        for condition in [one for one in watch.open.values() if gone(lane, one)]:
            watch.drop(condition)
        if name in old and old[name].rule.variants != watch.rule.variants:
            look_again(watch)
        if name in old and old[name].rule.status == "shadow" and watch.rule.status == "active":
            promote(watch)
    told = before.told + lane.told
    before.told, lane.told = [], []
    return told


def identity(watch: Watch) -> tuple[str, str]:
    return watch.rule.id, watch.rule.fingerprint


def gone(lane: Lane, condition: Condition) -> bool:
    """Whether the zone it is in is no more."""
    return condition.zone != "" and condition.zone not in lane.atlas.index.numbers


def farewell(watch: Watch, condition: Condition) -> None:
    if condition.opened_us is not None and not condition.unknown:
        watch.tell("unknown", condition, max(watch.lane.watermark_us, condition.opened_us), None)


def look_again(watch: Watch) -> None:
    """When each was to be looked at went by limits that may have been edited."""
    if isinstance(watch.rule.base.detect, Transition):
        return  # a fix decides, and none has come
    for condition in watch.open.values():
        if condition.wake_us > watch.lane.watermark_us:
            watch.look_at(condition, watch.lane.watermark_us)


def promote(watch: Watch) -> None:
    """What was raised while the rule was on trial was heard by nobody: it is raised again, at its own time."""
    for condition in watch.open.values():
        if condition.opened_us is not None:
            stages = watch.variant(condition).stages
            watch.tell("raised", condition, condition.opened_us, stages[0].do if stages else None)
            for stage in stages[1 : condition.stage]:
                at_us = max(condition.opened_us, condition.opened_since_us + stage.at_us)
                watch.tell("stage", condition, at_us, stage.do)
