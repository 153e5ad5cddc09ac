"""Dead letters for people: each once, masked, and sent again as they were or not at all."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from models.dead_letters import MAX_KEY_BYTES, Vault, as_json, dead_letter
from models.faults import MAX_BYTES
from models.observations import DeadReason, DecodeFailure
from models.streams import DESK_TOPICS, DETECTOR_TOPICS
from streams.letters import (
    REPLAY_HEADER,
    Kept,
    Replay,
    Skip,
    Tally,
    Wanted,
    letter_id,
    masked,
    shown_body,
    wanted_letters,
)
from streams.producer import Outgoing
from streams.topics import full_name, partition_for
from tests.support import record

VAULT = Vault(b"operators' key")
BODY = b'{"sensor_id":"c-1"}'
PARTITIONS = {full_name(name, "t"): 4 for name in (*DETECTOR_TOPICS, *DESK_TOPICS)}


@dataclass(frozen=True, slots=True)
class Written:
    """A record of `dead-letters` as a client hands it out."""

    value: bytes | None
    timestamp: int = 1000


def letter(
    offset: int = 7,
    *,
    topic: str = "camera.events",
    reason: DeadReason = DeadReason.UNREGISTERED_SENSOR,
    body: bytes | None = BODY,
    key: bytes | None = b"danghu",
    vault: Vault | None = VAULT,
    headers: tuple[tuple[str, bytes], ...] = (),
    keep_clear: bool = False,
) -> Kept:
    failure = DecodeFailure(0, "decode", reason, "$", "expected another")
    sent = record(body, key=key, offset=offset, headers=headers)
    made = dead_letter(topic, 1, sent, failure, vault, keep_clear)
    return Kept(f"x-{topic}/1/{offset}", 1000, made)


def written(kept: Kept, at_ms: int = 1000) -> Written:
    return Written(as_json(kept.letter), at_ms)


def found(records: list[Written], wanted: Wanted | None = None) -> list[str]:
    return [kept.id for kept in wanted_letters(records, wanted or Wanted(), Counter())]


def replay(vault: Vault | None = VAULT, to: str | None = None, done: tuple[str, ...] = ()) -> Replay:
    return Replay("t", vault, PARTITIONS | {"elsewhere": 3}, done, to)


def sent(kept: Kept, again: Replay | None = None) -> Outgoing:
    outcome = (again or replay()).outgoing(kept)
    assert isinstance(outcome, Outgoing), outcome
    return outcome


# ------------------------------------------------------------------------------------------------------------- finding


def test_a_letter_that_stands_twice_is_one() -> None:
    assert found([written(letter(1)), written(letter(2)), written(letter(1), 5000)]) == [
        "x-camera.events/1/1",
        "x-camera.events/1/2",
    ]


def test_what_is_no_letter_is_counted_and_no_harm() -> None:
    unreadable = Counter[str]()
    records = [Written(None), Written(b"{}"), Written(b"\xff"), written(letter(1))]
    assert [kept.letter.offset for kept in wanted_letters(records, Wanted(), unreadable)] == [1]
    assert unreadable.total() == 3


@pytest.mark.parametrize(
    ("wanted", "offsets"),
    [
        (Wanted(topic="camera.tracks"), [2]),
        (Wanted(reason="internal"), [3]),
        (Wanted(since_ms=2000), [2, 3]),
        (Wanted(until_ms=2000), [1]),
        (Wanted(since_ms=2000, until_ms=3000), [2]),
        (Wanted(ids=frozenset({letter_id("camera.events/1/1")})), [1]),
    ],
)
def test_letters_are_chosen_by_topic_reason_time_and_id(wanted: Wanted, offsets: list[int]) -> None:
    records = [
        written(letter(1), 1000),
        written(letter(2, topic="camera.tracks"), 2000),
        written(letter(3, reason=DeadReason.INTERNAL), 3000),
    ]
    assert [kept.letter.offset for kept in wanted_letters(records, wanted, Counter())] == offsets


@pytest.mark.parametrize("said", ["x-camera.events/1/1", "camera.events/1/1", "camera.events/1@1"])
def test_a_letter_goes_by_its_id_or_by_the_place_of_its_record(said: str) -> None:
    assert letter_id(said) == "x-camera.events/1/1"


# ------------------------------------------------------------------------------------------------------------- showing

PERSONAL: list[Any] = [
    {"plate": "浙F12345"},
    {"columns": {"plate": ["浙F12345", None], "n": [1, 2]}},
    {"caller": "13800001234", "text": "车牌浙F12345挡路，电话13800001234"},
    {"caller": 13800001234},
    {"caller": "85061234"},
    {"deep": [{"note": "call 138 0000 1234"}]},
    {"浙F12345": 1},
    {"id": 330482199001011234},
]


@pytest.mark.parametrize("body", PERSONAL, ids=str)
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("cut", [0, 1])
def test_what_is_shown_of_a_body_holds_no_plate_and_no_number(body: Any, ascii_only: bool, cut: int) -> None:
    raw = json.dumps(body, ensure_ascii=ascii_only).encode()
    shown = shown_body(raw[: len(raw) - cut])
    for clear in ("F12345", "13800001234", "138 0000 1234", "330482199001011234"):
        assert clear not in shown
    if not cut:
        assert "85061234" not in shown


def test_what_is_nobodys_stays_as_it_is() -> None:
    body = {"frame_time": 1772406600000, "lon": 121.02, "sensor_id": "33048200001320000001", "ok": True, "x": None}
    assert masked(body) == body
    assert json.loads(shown_body(json.dumps(body).encode())) == body
    assert shown_body("不是 JSON".encode()) == "不是 JSON"
    assert shown_body("浙F12345".encode("gbk")) == "(8 bytes, not UTF-8)"


# ------------------------------------------------------------------------------------------------------- sending again


def test_a_record_is_sent_again_as_it_was() -> None:
    kept = letter(headers=(("ce_id", b"e-1"), ("ce_source", "摄像机".encode())))
    made = sent(kept)
    assert (made.topic, made.value, made.key) == ("t.camera.events.v1", BODY, b"danghu")
    assert made.partition == partition_for(b"danghu", 4)
    own = (("ce_id", b"e-1"), ("ce_source", "摄像机".encode()))
    assert made.headers == ((REPLAY_HEADER, b"x-camera.events/1/7"), *own)


def test_what_strayed_goes_where_it_belongs() -> None:
    assert sent(letter(topic="hotline.tickets", key=None)).partition == 0
    assert sent(letter(reason=DeadReason.WRONG_PARTITION)).partition == partition_for(b"danghu", 4) != 1


def test_a_fault_of_ours_is_sent_again_too() -> None:
    assert sent(letter(reason=DeadReason.INTERNAL)).value == BODY


def test_a_record_refused_again_names_the_letter_it_came_from_and_no_older_one() -> None:
    first = sent(letter(7))
    failure = DecodeFailure(0, "decode", DeadReason.BAD_TIME, "$", "expected a time")
    refused = dead_letter("camera.events", 0, record(BODY, offset=90, headers=first.headers), failure, VAULT)
    assert refused.headers[REPLAY_HEADER] == "x-camera.events/1/7"
    second = sent(Kept("x-camera.events/0/90", 2000, refused))
    assert [value for name, value in second.headers if name == REPLAY_HEADER] == [b"x-camera.events/0/90"]


@pytest.mark.parametrize(
    ("kept", "vault", "why"),
    [
        (letter(vault=None), None, Skip.NOT_KEPT),
        (letter(body=None), VAULT, Skip.NOT_KEPT),
        (letter(body=None, reason=DeadReason.TOMBSTONE), VAULT, Skip.TOMBSTONE),
        (letter(), None, Skip.NO_VAULT),
        (letter(), Vault(b"another"), Skip.WRONG_VAULT),
        (letter(body=b" " * (MAX_BYTES + 1)), VAULT, Skip.TOO_LARGE),
        (letter(key=None), VAULT, Skip.NO_KEY),
        (letter(key=b"k" * MAX_KEY_BYTES), VAULT, Skip.NO_KEY),
        (letter(topic="somebody.elses"), VAULT, Skip.UNKNOWN_TOPIC),
    ],
)
def test_what_cannot_be_sent_is_skipped_with_its_reason(kept: Kept, vault: Vault | None, why: Skip) -> None:
    assert replay(vault).outgoing(kept) is why


def test_to_another_topic_all_go_that_have_their_bytes() -> None:
    elsewhere = replay(to="elsewhere")
    assert (sent(letter(key=None), elsewhere).topic, sent(letter(key=None), elsewhere).partition) == ("elsewhere", 1)
    assert sent(letter(topic="somebody.elses"), elsewhere).partition == partition_for(b"danghu", 3)


def test_what_was_sent_once_is_not_sent_again_to_the_same_topic() -> None:
    note = replay().note(letter(), sent(letter()), "2026-03-02T07:10:00.000+08:00")
    assert note.topic == "t.dead-letters.replayed.v1"
    assert note.key is not None
    done = (note.key.decode(),)
    assert replay(done=done).outgoing(letter()) is Skip.REPLAYED
    assert isinstance(replay(done=done).outgoing(letter(8)), Outgoing)
    assert isinstance(replay(done=done, to="elsewhere").outgoing(letter()), Outgoing)
    assert json.loads(note.value or b"")["letter_id"] == "x-camera.events/1/7"


def test_what_was_sent_before_is_not_among_what_is_stuck() -> None:
    tally = Tally()
    for outcome in (sent(letter()), Skip.REPLAYED, Skip.NO_VAULT):
        tally.count(letter(), outcome)
    assert (tally.sent.total(), tally.stuck, [why for _, why in tally.examples]) == (1, 1, [Skip.NO_VAULT])
