"""Place-holders of messages."""

from __future__ import annotations

import pytest

from models.detections import Text
from rules.incidents.rendering import render

VALUES = {
    "plate": {"token": "pt-1", "mask": "浙F·**345"},
    "held": 431.7,
    "speed_kmh": 17.46,
    "level": 5.0,
    "sources": ["camera.tracks", "hotline.tickets"],
    "zone.name": {"zh": "新华路", "en": "Xinhua Road"},
    "zone": {"name": "not this one"},
    "person": "李某某",
    "flag": True,
    "place": Text("当湖路", "Danghu Road"),
    "whole": 3.0,
    "none": None,
}


@pytest.mark.parametrize(
    ("path", "filters", "zh", "en"),
    [
        ("plate", ("mask",), "浙F·**345", "浙F·**345"),
        ("plate", (), "浙F·**345", "浙F·**345"),  # never the token
        ("held", ("minutes",), "7", "7"),
        ("held", ("seconds",), "431", "431"),
        ("held", ("hours",), "0.1", "0.1"),
        ("speed_kmh", ("round",), "17", "17"),
        ("level", ("level_name",), "严重拥堵", "heavy congestion"),
        ("sources", ("count",), "2", "2"),
        ("sources", (), "camera.tracks、hotline.tickets", "camera.tracks, hotline.tickets"),
        ("zone.name", (), "新华路", "Xinhua Road"),
        ("person", ("mask",), "李**", "李**"),
        ("flag", (), "是", "yes"),
        ("place", (), "当湖路", "Danghu Road"),
        ("whole", (), "3", "3"),
        ("none", ("round",), "未知", "unknown"),
        ("not.there", (), "未知", "unknown"),
    ],
)
def test_a_place_holder_reads_as_people_expect(path, filters, zh, en):
    assert render([(path, filters)], VALUES, "zh") == zh
    assert render(["<", (path, filters), ">"], VALUES, "en") == f"<{en}>"
