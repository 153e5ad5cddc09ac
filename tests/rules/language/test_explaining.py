"""What an expression's explanation says of each part."""

from __future__ import annotations

import json

import pytest

from rules.language.explaining import Explained, explain
from tests.rules.language.world import expression


def lines(of: Explained, depth: int = 0) -> list[str]:
    own = f"{'  ' * depth}{of.text} = {of.value} ({of.truth})"
    return [own, *(line for part in of.parts for line in lines(part, depth + 1))]


def test_every_part_is_told_with_its_value_and_truth() -> None:
    text = 'class in ("car", "van") and (speed_mps < 1.8km/h or is_null(role))'
    assert lines(explain(expression(text), {"class": "bus", "speed_mps": 2.0, "role": "police"})) == [
        'class in ("car", "van") and (speed_mps < 0.5mps or is_null(role)) = False (false)',
        '  class in ("car", "van") = False (false)',
        "    class = bus (None)",
        "  speed_mps < 0.5mps or is_null(role) = False (false)",
        "    speed_mps < 0.5mps = False (false)",
        "      speed_mps = 2.0 (None)",
        "    is_null(role) = False (false)",
        "      role = police (None)",
    ]


def test_what_is_missing_makes_its_parts_unknown() -> None:
    found = explain(expression('speed_mps < 1 and class == "car"'), {"class": "car"})
    assert [part.truth for part in (found, *found.parts)] == ["unknown", "unknown", "true"]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("not (speed_mps > 1)", "not speed_mps > 1mps"),
        ("class not in lists.motor_vehicles", 'class not in ("car", "van")'),
        ("confidence * 2 + 1 >= 3", "(confidence * 2) + 1 >= 3"),
        ("speed_mps between 1 and 2", "1mps <= speed_mps <= 2mps"),
        ("distance(121, 30.5) < 50m", "distance(121, 30.5) < 50m"),
        ("-(confidence) < 0.5", "-(confidence) < 0.5"),
        ('weekday() == "sat" or (hour() > 21 and true)', 'weekday() == "sat" or (hour() > 21 and true)'),
        ("coalesce(confidence, 1) >= 0.6", "coalesce(confidence, 1) >= 0.6"),
    ],
)
def test_a_part_is_told_as_an_author_would_write_it(written: str, told: str) -> None:
    assert explain(expression(written), {}).text == told


def test_it_is_plain_data() -> None:
    found = explain(expression("speed_mps < 1"), {"speed_mps": 0.5}).data()
    assert json.loads(json.dumps(found)) == {
        "text": "speed_mps < 1mps",
        "value": True,
        "truth": "true",
        "parts": [{"text": "speed_mps", "value": 0.5, "truth": None, "parts": []}],
    }
