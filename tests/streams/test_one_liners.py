"""Records as `zhinao tail` and the demo show them."""

from __future__ import annotations

import json

import pytest

from streams.commands.one_liners import one_liner
from streams.topics import TOPICS

INCIDENT = {
    "incident_id": "i-7c3fa90b1122",
    "state": "dispatched",
    "reason": "unit_assigned",
    "condition": "cleared",
    "rule": "illegal-parking",
    "changed_at": "2026-03-02T07:13:11.000+08:00",
    "place": {"text": {"zh": "新华路北段", "en": "Xinhua Road N"}},
    "message": {"zh": "已派出", "en": "On the way"},
}


def test_an_incident_is_its_time_id_state_cause_rule_place_and_message() -> None:
    line = one_liner("incidents", json.dumps(INCIDENT).encode(), "zh")
    assert line == "07:13:11  i-7c3fa90b  dispatched  unit_assigned (cleared)  illegal-parking  新华路北段  已派出"


def test_a_caller_stays_off_the_screen() -> None:
    ticket = {"ticket_id": "T1", "call_time": "2026-03-02T07:13:11+08:00", "caller": "13800001234", "text": "积水"}
    line = one_liner("hotline.tickets", json.dumps(ticket).encode(), "en")
    assert "13800001234" not in line
    assert "积水" in line


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize(
    "value", [None, b"", b"{oops", b"[]", b"3", b"{}", b'{"place": null, "to": null, "key": null}']
)
def test_no_record_is_too_odd_for_a_line(topic: str, value: bytes | None) -> None:
    line = one_liner(topic, value, "en")
    assert "\n" not in line
    assert len(line) <= 220


def test_a_long_record_is_cut() -> None:
    assert len(one_liner("state", b"x" * 5000, "en")) <= 220
    assert len(one_liner("traffic.states", json.dumps({"a": "x" * 5000}).encode(), "en")) == 200
