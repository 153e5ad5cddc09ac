"""The board on a screen."""

from __future__ import annotations

import io
import json
import time

from rich.console import Console

from streams.commands.board_screen import STALE_MS, as_json, drawn
from streams.sinks.board import View
from tests.streams.sinks.cards import NOW_MS, ZONE, encoded, incident

LATER = "2026-03-02T07:16:00.000+08:00"


def view(kept_ms: int = 0) -> View:
    bodies = [
        incident("i-small", severity="minor", order_id="o-1"),
        incident("i-grave", severity="critical", type="X2104", opened_at=LATER),
        incident("i-graver", severity="critical", condition="unknown", department=None),
        {"incident_id": "i-bare", "revision": 1, "state": "confirmed", "type": "9999", "changed_at": LATER},
    ]
    return View(
        {str(body["incident_id"]): encoded(body) for body in bodies}, {"o-1": "u-7"}, {"jj-01": b"{}"},
        {"state:confirmed": 4, "type:0505": 2}, NOW_MS, kept_ms,
    )  # fmt: skip


def lines(of: View, lang: str = "en") -> list[str]:
    written = io.StringIO()
    Console(width=200, file=written).print(drawn(of, lang, {"0505": "Illegal parking"}, ZONE))
    return written.getvalue().splitlines()


def test_the_gravest_and_among_them_the_oldest_come_first() -> None:
    assert [line.split()[0] for line in lines(view())[2:]] == ["i-graver", "i-grave", "i-small", "i-bare"]


def test_a_line_says_what_where_who_and_since_when() -> None:
    assert lines(view())[4].split() == (
        ["i-small", "confirmed", "Illegal", "parking", "Xinhua", "Road", "[N]", "u-7", "03-02", "07:15:00", "1"]
    )
    assert "新华路 [北]" in lines(view(), "zh")[4]
    assert "confirmed (unknown)" in lines(view())[2]
    assert "traffic-police" in lines(view())[3]


def test_a_board_that_nobody_keeps_is_called_stale() -> None:
    now_ms = time.time_ns() // 1_000_000
    assert "stale" in lines(view(now_ms - STALE_MS - 1000))[0]
    assert "stale" not in lines(view(now_ms))[0]
    assert "stale" not in lines(view())[0]  # built by the reader itself, just now


def test_as_json_it_is_whole() -> None:
    found = json.loads(as_json(view(), ZONE))
    assert found["counts"] == {"state": {"confirmed": 4}, "type": {"0505": 2}}
    assert (found["city_time"], found["kept_at"]) == ("2026-03-02T07:15:00.000+08:00", None)
    assert [one["incident_id"] for one in found["incidents"]] == ["i-graver", "i-grave", "i-small", "i-bare"]
    assert (found["assigned"], found["units"], found["full"]) == ({"o-1": "u-7"}, [{}], False)
