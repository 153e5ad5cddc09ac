"""What is told of a decision is what was decided: a followed Detector against one that nobody follows."""

from __future__ import annotations

from copy import copy
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from models.detections import Detection
from rules.detection.detector import Detector
from rules.explaining.progress import runs_of
from rules.explaining.tracing import FollowedLane, Trace, follow
from rules.explaining.whynot import Verdict, look_back_us, open_at, why_not
from rules.language.model import Event
from tests.rules.detection.stage import START_US, Sent, Stage
from tests.rules.detection.test_oracle import city, first_stage

TOPICS = ("camera.tracks", "camera.events", "sensor.readings")


class Watched:
    """The same city fed to a Detector that is followed and to one that is not."""

    def __init__(self, sent: list[Sent]) -> None:
        self.plain, self.followed = first_stage().again(), copy(first_stage().again())
        self.lanes = followed_lanes(self.followed.detector, self.followed)
        for stage in (self.plain, self.followed):
            stage.feed(*sent)
            stage.advance(600)

    @property
    def traces(self) -> list[Trace]:
        return [trace for lane in self.lanes for trace in lane.traces]


def followed_lanes(detector: Detector, stage: Stage) -> list[FollowedLane]:
    return follow(detector, TOPICS, lambda rule, key: True, stage.atlas, stage.decoder, accept_unregistered=True)


def keys_of(told: list[Detection], trace: Trace) -> list[dict[str, str]]:
    """The keys of a rule that were told of, and those that rows had."""
    named = [{**d.key, **({"zone": d.zone} if d.zone and "zone" in trace.rule.by else {})}
             for d in told if d.rule == trace.rule.id]  # fmt: skip
    rows = [dict(pair.split("=", 1) for pair in name.split()) for name in trace.rows]
    return [*named, *rows, {next(iter(trace.rule.by)): "nobody"}]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**9))
def test_following_a_detector_changes_nothing_it_tells(seed: int) -> None:
    watched = Watched(city(Random(seed)))
    assert watched.followed.told == watched.plain.told
    assert watched.followed.bins == watched.plain.bins


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**9))
def test_why_not_says_raised_exactly_where_the_detector_raised(seed: int) -> None:
    rng = Random(seed)
    watched = Watched(city(rng))
    for trace in watched.traces:
        told = [d for d in watched.plain.told if d.rule == trace.rule.id]
        for key in keys_of(told, trace)[:12]:
            at_us = START_US + rng.randrange(0, 200_000_000)
            mine = [d for d in told if all((d.zone if n == "zone" else d.key[n]) == t for n, t in key.items())]
            lasts = not isinstance(trace.rule.base.detect, Event)
            expected = open_at(mine, at_us, at_us - look_back_us(trace.rule), lasts=lasts)
            answer = why_not(trace, key, at_us)
            assert (answer.verdict == Verdict.RAISED) == bool(expected)
            assert answer.detections == expected


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**9))
def test_a_row_passes_every_clause_exactly_when_it_became_a_match(seed: int) -> None:
    for trace in Watched(city(Random(seed))).traces:
        matched = {(s.hit.time_us, s.hit.offset) for s in trace.steps if s.hit is not None}
        passed = {(look.time_us, look.offset) for look in trace.looks if look.passed}
        assert passed == matched


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**9))
def test_a_pending_run_lacks_something_and_a_raised_one_nothing(seed: int) -> None:
    for trace in Watched(city(Random(seed))).traces:
        for run in runs_of(trace.rule, trace.steps):
            assert bool(run.short) == (run.raised_us is None), run
            if run.ended is not None and run.raised_us is None:
                assert run.ended.code in {"gap", "no_more", "moved", "not_open", "source_silent", "other_view"}, run


def test_the_openings_of_a_trace_are_those_that_were_told() -> None:
    watched = Watched(city(Random(5)))
    for trace in watched.traces:
        raised = [d.event_time for d in watched.plain.told if d.rule == trace.rule.id and d.kind == "raised"]
        assert len([run for run in runs_of(trace.rule, trace.steps) if run.raised_us is not None]) == len(raised)
    assert any(d.kind == "raised" for d in watched.plain.told)
