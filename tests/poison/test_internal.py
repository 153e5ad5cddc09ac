"""`internal`: a fault of ours that one record brings to light costs that record only, as reading has no state. A fault
beyond reading ends the process instead: state may be half changed, and a restart reads again."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from models import building, decode
from models.observations import DeadReason
from models.privacy import mask_text
from rules.detection.detector import Detector
from rules.incidents.tickets import Tickets
from tests.poison.checks import DeskTrial, DetectorTrial
from tests.poison.world import HOME, body, city, good, good_run
from tests.support import Record

WORD = "the word our fault waits for"


def marked(topic: str, **fields: Any) -> Record:
    """A record that is good, but for our fault."""
    return Record(
        orjson.dumps({**body(topic, 3.5), **fields}), good(topic, 3.5).key, good(topic, 3.5).timestamp, offset=35
    )


def fault(*arguments: Any) -> None:
    raise ZeroDivisionError("planted, and it quotes 浙F12345")


@pytest.fixture
def faulty_masking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masking a ticket's text fails at one word: a whole batch is built with it."""

    def masking(text: str) -> str:
        if WORD in text:
            fault()
        return mask_text(text)

    monkeypatch.setattr(building, "mask_text", masking)
    monkeypatch.setattr(decode, "mask_text", masking)


@pytest.mark.parametrize("together", [True, False])
def test_a_fault_while_a_batch_is_built_costs_one_record(faulty_masking: None, together: bool) -> None:
    run = good_run("hotline.tickets")
    sent = [*run[:4], marked("hotline.tickets", text=WORD), *run[4:]]
    trial = DeskTrial()
    outcomes = [trial.feed("hotline.tickets", batch) for batch in ([sent] if together else [[one] for one in sent])]
    (failure,) = [failure for outcome in outcomes for failure in outcome.failures]
    assert (failure.reason, failure.path) == (DeadReason.INTERNAL, "$")
    assert "ZeroDivisionError" in failure.detail
    assert "12345" not in failure.detail
    assert sum(outcome.counts.get("used", 0) for outcome in outcomes) == len(run)


def test_a_fault_in_a_record_of_feedback_costs_that_record(faulty_masking: None) -> None:
    run = good_run("dispatch.feedback")
    outcome = DeskTrial().feed("dispatch.feedback", [*run[:4], marked("dispatch.feedback", note=WORD), *run[4:]])
    assert [(f.record, f.reason) for f in outcome.failures] == [(4, DeadReason.INTERNAL)]


def test_a_fault_while_looking_for_the_reason_costs_a_bad_record_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "find_fault", fault)
    run = good_run("camera.tracks")
    trial = DetectorTrial()
    outcome = trial.feed("camera.tracks", [*run[:4], Record(b"{", run[0].key, run[4].timestamp), *run[4:]])
    assert [(f.record, f.reason) for f in outcome.dead] == [(4, DeadReason.INTERNAL)]
    assert outcome.used == len(run)


def test_two_readings_that_disagree_are_our_fault_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "find_fault", lambda *arguments: None)
    outcome = city().detector(HOME).feed("camera.tracks", [Record(b"{", b"danghu")])
    assert [(f.reason, "disagree" in f.detail) for f in outcome.dead] == [(DeadReason.INTERNAL, True)]


def test_no_memory_is_no_fault_of_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_left(*arguments: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(building, "mask_text", nothing_left)
    with pytest.raises(MemoryError):
        DeskTrial().feed("hotline.tickets", good_run("hotline.tickets"))


def test_a_fault_beyond_reading_is_raised_and_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    detector: Detector = city().detector(HOME)
    monkeypatch.setattr(detector.lanes["camera.tracks"].selector, "hits", fault)
    with pytest.raises(ZeroDivisionError):
        detector.feed("camera.tracks", good_run("camera.tracks"))
    monkeypatch.setattr(Tickets, "take", fault)
    with pytest.raises(ZeroDivisionError):
        city().desk().feed("hotline.tickets", good_run("hotline.tickets"))
