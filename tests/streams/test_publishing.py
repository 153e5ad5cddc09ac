"""What the doors return becomes records that others can read; late ones among them."""

from __future__ import annotations

import orjson

from rules.detection.detector import Late
from streams.publishing import Letters, dead_messages, late_messages
from streams.replay import Fed

RECORD = Fed(7, 1_772_406_000_000, b"danghu", b'{"segment_id":"danghu-rd-01","speed_kmh":31.5}')


def test_a_late_record_is_published_with_its_value() -> None:
    (message,) = late_messages([Late(0, 2_500_000)], [RECORD], "traffic.measurements", 3)
    told = orjson.loads(message.value)
    assert told == {
        "topic": "traffic.measurements",
        "partition": 3,
        "offset": 7,
        "late_by_s": 2.5,
        "value": {"segment_id": "danghu-rd-01", "speed_kmh": 31.5},
    }


def test_nothing_late_or_dead_is_nothing_published() -> None:
    assert late_messages([], [RECORD], "camera.tracks", 0) == []
    assert dead_messages([], [RECORD], "camera.tracks", 0, Letters()) == []
