"""The table of poison is whole, and each case through the doors: its one reason, and neighbours as if it were not."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from models.detections import Detection
from models.observations import DeadReason
from streams.topics import partition_for
from tests.poison.cases import KINDS, NEVER, NOBODY, Case, cases
from tests.poison.checks import DeskTrial, DetectorTrial, check_decoding, is_detectors, published
from tests.poison.world import CAMERA, HOME, PARTITIONS, SECONDS, TOPICS, city, good_run

AFTER = 4
"""How many good records stand before the poison."""
END_S = 40.0
DOOR_CASES = [case for case in cases() if not case.routed]


def ids(case: Case) -> str:
    return f"{case.topic}: {case.name}"


# ------------------------------------------------------------------------------------------------------------ the table


def test_every_reason_has_a_case_on_every_topic_or_a_word_why_not() -> None:
    found = {(case.topic, case.reason) for case in cases() if case.reason is not None}
    wanted = {(topic, reason) for topic in TOPICS for reason in DeadReason}
    assert found | NEVER.keys() == wanted
    assert not found & NEVER.keys()


def test_every_kind_of_poison_has_a_case() -> None:
    assert {case.kind for case in cases()} - {""} == set(KINDS)


def test_no_two_cases_are_called_the_same() -> None:
    names = [ids(case) for case in cases()]
    assert len(set(names)) == len(names)


def test_strays_are_of_another_partition() -> None:
    assert partition_for(NOBODY, PARTITIONS) != HOME


def test_the_reasons_are_those_of_the_contract(shared_dir: Any) -> None:
    contract = (shared_dir / "CONTRACTS.md").read_text()
    listed = re.search(r"\*\*Dead-letter reasons\*\* \(one each, closed list\): `([a-z0-9_ ]+)`", contract)
    assert listed is not None
    assert listed[1].split() == [str(reason) for reason in DeadReason]


# ------------------------------------------------------------------------------------------------------------ the doors


@cache
def clean_detections(topic: str) -> list[Detection]:
    """What good records tell among themselves."""
    trial = DetectorTrial()
    told = trial.feed(topic, good_run(topic)).detections + trial.advance(END_S)
    assert told, topic
    return told


@cache
def clean_outputs(topic: str) -> list[tuple[str, str, bytes]]:
    return published(DeskTrial().feed(topic, good_run(topic)))


@pytest.mark.parametrize("case", DOOR_CASES, ids=ids)
def test_a_record_read_alone_has_its_one_reason_in_every_way(case: Case) -> None:
    failure = check_decoding(case.topic, case.record)
    if case.reason in (None, DeadReason.UNREGISTERED_SENSOR, DeadReason.POSITION_OUT_OF_BOUNDS):
        assert failure is None
        return
    assert failure is not None
    assert (failure.reason, failure.path) == (case.reason, case.path)
    assert case.says in failure.detail


@pytest.mark.parametrize("case", [c for c in DOOR_CASES if is_detectors(c.topic)], ids=ids)
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
def test_detectors_name_it_and_tell_what_they_would_without(case: Case, together: bool) -> None:
    run = good_run(case.topic)
    sent = [*run[:AFTER], case.record, *run[AFTER:]]
    trial = DetectorTrial()
    told, dead, counted = [], [], 0
    for batch in [sent] if together else [[one] for one in sent]:
        outcome = trial.feed(case.topic, batch)
        told += outcome.detections
        dead += [(batch[f.record].offset, f.reason, f.path, case.says in f.detail) for f in outcome.dead]
        counted += outcome.used + outcome.filtered + outcome.duplicate + len(outcome.late) + len(outcome.dead)
    told += trial.advance(END_S)
    assert dead == ([] if case.reason is None else [(case.record.offset, case.reason, case.path, True)])
    assert counted == SECONDS + 1
    assert told == clean_detections(case.topic)


@pytest.mark.parametrize("case", [c for c in DOOR_CASES if not is_detectors(c.topic)], ids=ids)
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
def test_the_desk_names_it_and_does_what_it_would_without(case: Case, together: bool) -> None:
    run = good_run(case.topic)
    sent = [*run[:AFTER], case.record, *run[AFTER:]]
    trial = DeskTrial()
    made, dead = [], []
    for batch in [sent] if together else [[one] for one in sent]:
        outcome = trial.feed(case.topic, batch)
        made += published(outcome)
        dead += [(batch[f.record].offset, f.reason, f.path, case.says in f.detail) for f in outcome.failures]
    trial.advance(END_S)
    assert dead == ([] if case.reason is None else [(case.record.offset, case.reason, case.path, True)])
    if case.reason is not None:
        assert made == clean_outputs(case.topic)


def test_a_key_that_was_no_utf8_stopped_a_detector_that_took_it_for_an_area() -> None:
    for way in (city(), city(compiled=False)):
        detector = replace(way, accept_unregistered=True).detector(HOME)
        strangers = [
            replace(record, key=b"\xff\xfe", value=(record.value or b"").replace(CAMERA.encode(), b"stranger"))
            for record in good_run("camera.tracks")
        ]
        told = detector.feed("camera.tracks", strangers).detections
        assert {detection.area for detection in told} == {"\ufffd\ufffd"}
