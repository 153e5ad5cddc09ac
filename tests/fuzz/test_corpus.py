"""What the fuzzer once found of interest, without the fuzzer; and that a fault would be seen."""

from __future__ import annotations

from random import Random

import pytest

from models import building, decode, faults
from models.times import BadTime
from rules.detection.detector import Detector
from streams.agents import queues
from tests.fuzz.mutating import changed
from tests.fuzz.targets import Target, seeds
from tests.poison.world import TOPICS

FEEDBACK = bytes([TOPICS.index("dispatch.feedback")])


def test_everything_found_so_far_holds() -> None:
    target = Target()
    found = seeds()
    assert len(found) > 300
    assert {TOPICS[data[0] % len(TOPICS)] for data in found if data} == set(TOPICS)
    for data in found:
        target.take(data)


def test_changes_of_what_was_found_hold() -> None:
    target, found, rng = Target(), seeds(), Random(1)
    for _ in range(400):
        target.take(changed(rng.choice(found), 4096, rng, lambda text, most: text[: most // 2]))


@pytest.mark.parametrize("value", [b'{"time":"\xed\xa0\x80"}', b'{"time":' + b"[" * 5000, b'{"time":1e999}', b"\xff"])
def test_an_answer_that_is_no_json_or_no_utf8_stopped_the_worker_under_the_stream_clock(value: bytes) -> None:
    Target().take(FEEDBACK + value)


# ------------------------------------------------------------------------------------------------------- planted faults


def test_a_fault_in_a_queue_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "UNREADABLE", (BadTime,))
    with pytest.raises(UnicodeDecodeError):
        Target().take(FEEDBACK + b'{"time":"\xed\xa0\x80"}')


def test_a_check_that_only_one_reading_makes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "is_id", lambda word: True)
    with pytest.raises(AssertionError):
        Target().take(b'\0{"sensor_id":"","frame_time":1772406604000,"objects":[]}')


def test_a_reason_that_is_not_found_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "find_fault", lambda *arguments: None)
    with pytest.raises(AssertionError):
        Target().take(b"\0{}")


def test_a_scanner_that_takes_what_is_too_long_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.scanner.MAX_TEXT", 1 << 20)
    long = b'\0{"sensor_id":"a","frame_time":1772406604000,"model":"%b","objects":[]}' % (b"x" * (faults.MAX_TEXT + 1))
    with pytest.raises(AssertionError):
        Target().take(long)


def test_a_record_that_harms_its_neighbours_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Detector.feed

    def harmed(self, topic, records):
        good = [record for record in records if record.value != b"{}"]
        return feed(self, topic, good[:1] if len(good) < len(records) else good)

    monkeypatch.setattr(Detector, "feed", harmed)
    with pytest.raises(AssertionError):
        Target().take(b"\0{}")
