"""The equalities, for random rules of every primitive: what is told depends on what was observed, not on how it was
fed; and compiled loops and plain Python tell the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.compiling import compiled_wanted
from tests.rules.detection import stage as stages
from tests.rules.detection.everything import stage_of
from tests.rules.detection.stage import Sent, Stage, plain, reading
from tests.rules.detection.test_equalities import LATENESS_S, city

rules = st.integers(0, 120)
seeds = st.integers(0, 1 << 32)


def town(seed: int) -> list[Sent]:
    """The city with a second gauge, in event-time order."""
    rng = Random(seed)
    sent = city(rng)
    more = [reading(t + 0.5, rng.choice([5, 9, 16, 20]), device="w-2") for t in range(60) if rng.random() < 0.4]
    return sorted([*sent, *more], key=lambda s: s.arrival_s)


def ended(stage: Stage) -> list[bytes]:
    stage.advance(200)
    return plain(stage.told)


def straight(rule: int, sent: list[Sent]) -> list[bytes]:
    stage = stage_of(rule).again()
    stage.feed(*sent)
    return ended(stage)


@settings(max_examples=25, deadline=None)
@given(rules, seeds)
def test_one_by_one_equals_batches(rule: int, seed: int) -> None:
    sent, single = town(seed), stage_of(rule).again()
    for one in sent:
        single.feed(one)
    assert ended(single) == straight(rule, sorted(sent, key=lambda s: s.topic))


@settings(max_examples=25, deadline=None)
@given(rules, seeds)
def test_stop_restore_and_go_on_equals_running_through(rule: int, seed: int) -> None:
    rng, sent, stopped = Random(seed), town(seed), stage_of(rule).again()
    at = 0
    while at < len(sent):
        step = rng.randrange(1, 40)
        stopped.feed(*sent[at : at + step])
        at += step
        blob = stopped.detector.snapshot()
        stopped.detector = stopped.new()
        stopped.detector.restore(blob)
    assert ended(stopped) == straight(rule, sent)


@settings(max_examples=25, deadline=None)
@given(rules, seeds)
def test_shuffled_within_the_lateness_equals_ordered(rule: int, seed: int) -> None:
    rng, sent, shuffled = Random(seed), town(seed), stage_of(rule).again()
    delayed = [s._replace(arrival_s=s.arrival_s + rng.random() * (LATENESS_S[s.topic] - 0.21)) for s in sent]
    shuffled.feed(*sorted(delayed, key=lambda s: s.arrival_s))
    assert ended(shuffled) == straight(rule, sent)
    assert shuffled.bins["late"] == 0


@settings(max_examples=20, deadline=None)
@given(rules, seeds)
def test_doubled_equals_single(rule: int, seed: int) -> None:
    rng, sent, twice = Random(seed), town(seed), stage_of(rule).again()
    for n, one in enumerate(sent):
        twice.feed(one, *rng.sample(sent[max(0, n - 20) : n + 1], min(2, n)))
    assert ended(twice) == straight(rule, sent)


@contextmanager
def running(compiled: bool) -> Iterator[None]:
    before, stages.COMPILED = stages.COMPILED, compiled
    yield
    stages.COMPILED = before


@pytest.mark.skipif(not compiled_wanted(), reason="no numba")
@settings(max_examples=25, deadline=None)
@given(rules, seeds)
def test_compiled_tells_what_plain_tells_and_goes_on_from_its_snapshot(rule: int, seed: int) -> None:
    rng, sent = Random(seed), town(seed)
    with running(False):
        plainly = straight(rule, sent)
    with running(True):
        assert straight(rule, sent) == plainly
    stage, at = stage_of(rule).again(), 0
    while at < len(sent):
        step = rng.randrange(10, 90)
        stage.feed(*sent[at : at + step])
        at += step
        blob = stage.detector.snapshot()
        with running(rng.random() < 0.5):
            stage.detector = stage.new()
        stage.detector.restore(blob)
    assert ended(stage) == plainly


def test_the_rules_tell_of_everything() -> None:
    kinds = set()
    for seed in range(60):
        stage = stage_of(seed).again()
        stage.feed(*town(seed))
        stage.advance(200)
        kinds |= {(d.rule.split("-")[0], d.kind) for d in stage.told}
    for primitive in ("Hold", "Count", "Absent", "Change", "Near"):
        assert {(primitive, kind) for kind in ("raised", "still", "cleared")} <= kinds, primitive
    assert {(primitive, "raised") for primitive in ("Event", "Transition", "InSequence")} <= kinds
    assert {("Transition", "cleared"), ("Event", "cleared"), ("Near", "unknown"), ("Count", "unknown")} <= kinds
