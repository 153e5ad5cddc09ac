"""One opening of a condition as it was decided: the row, the run, the moment."""

from __future__ import annotations

import msgspec

from models.detections import Detection
from rules.explaining.looking import Look
from rules.explaining.progress import runs_of
from rules.explaining.tracing import Trace
from rules.explaining.whynot import RunTold


class Raised(msgspec.Struct, frozen=True):
    """`row` is the match that raised it; None where a moment did. `evidence` as topic/partition/offset."""

    detection: Detection
    revision: int
    watermark_us: int
    clock_us: int
    row: Look | None
    run: RunTold | None
    evidence: tuple[str, ...]


def raised(trace: Trace) -> list[Raised]:
    """Every opening that a trace holds, in order."""
    return [of_opening(trace, n) for n, told in enumerate(trace.told) if told.detection.kind == "raised"]


def of_opening(trace: Trace, number: int) -> Raised:
    detection, watermark_us, clock_us = trace.told[number]
    step = next((s for s in trace.steps if any(d is detection for d in s.told)), None)
    row = run = None
    if step is not None and step.hit is not None:
        at = step.hit.time_us, step.hit.offset
        row = next((look for look in reversed(trace.looks) if (look.time_us, look.offset) == at and look.passed), None)
    if step is not None:
        upto = [s for s in trace.steps if s.time_us <= step.time_us and (s.key, s.zone) == (step.key, step.zone)]
        runs = runs_of(trace.rule, upto)
        run = RunTold.of(runs[-1]) if runs else None
    evidence = tuple(f"{e.topic}/{e.partition}/{e.offset}" for e in detection.evidence)
    return Raised(detection, detection.rule_revision, watermark_us, clock_us, row, run, evidence)
