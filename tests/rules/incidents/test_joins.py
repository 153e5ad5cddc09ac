"""Rules of several sources: what is only suspected, what confirms it, what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from rules.incidents import witnesses
from rules.language.model import InOrder
from tests.rules.incidents.city import LON, Said, Told, command, desk, ticket
from tests.rules.incidents.joined import BOTH, CITY, CLOSE, FIRE, LEFT_OUT, ORDER, PONDING, M, says

MINUTE = 60.0


def told(*rules: Any) -> Told:
    return Told(desk(*(rules or (PONDING, FIRE, BOTH, CLOSE, ORDER, LEFT_OUT)), sites=CITY))


def gauge(seconds: float = 120.0, kind: str = "raised", **more: Any) -> Said:
    return says(PONDING, "gauge", seconds, kind, **more)


def camera(seconds: float = 120.0, kind: str = "raised", **more: Any) -> Said:
    return says(PONDING, "camera", seconds, kind, **({"who": "cam-7"} | more))


def call(seconds: float, name: str = "T1", *, metres: float = 0.0, category: str = "道路积水", **more: Any) -> Said:
    return ticket(seconds, name, category, lon=LON + metres * M, **more)


def newest(city: Told) -> dict[str, Any]:
    """The last revision of each incident."""
    return {one.incident_id: one for one in city.of("incidents")}


def standing(city: Told) -> list[Any]:
    return [one for one in newest(city).values() if one.state != "merged"]


# ---------------------------------------------------------------------------------------------------- correlate


def test_one_source_alone_is_a_suspicion_and_another_makes_it_a_case():
    city = told()
    city.tell(gauge())
    assert city.states == [("suspected", "detected")]
    city.tell(camera(600, metres=150))
    assert city.states[1:] == [
        ("suspected", "joined"),
        ("confirmed", "correlated"),
        ("dispatched", "unit_assigned"),
    ]
    assert city.last.sources == ["sensor.readings", "camera.events"]


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_in_whatever_order_they_come_it_is_one_case_with_every_source(order):
    said = [gauge(120, metres=0), camera(700, metres=180), call(400, metres=90)]
    city = told()
    city.tell(*(said[n] for n in order))
    (one,) = standing(city)
    assert one.state == "dispatched"
    assert sorted(one.sources) == ["camera.events", "hotline.tickets", "sensor.readings"]
    assert one.tickets == ["T1"]
    assert one.rule == "ponding"


@pytest.mark.parametrize(
    ("second", "confirmed"),
    [
        (camera(600, metres=199), True),
        (camera(600, metres=202), False),
        (camera(600, metres=240, error_m=50.0), True),
        (camera(1020, metres=0), True),
        (camera(1021, metres=0), False),
        (gauge(600, who="dev-1"), False),
        (gauge(600, who="dev-2"), True),
    ],
    ids=["within reach", "too far", "unsure of its place", "just in time", "too late", "the same device", "another"],
)
def test_what_confirms_a_suspicion(second, confirmed):
    city = told()
    city.tell(gauge(120), second)
    assert any(one.state == "dispatched" for one in standing(city)) is confirmed


def test_what_is_still_there_is_a_source_however_long_ago_it_began():
    city = told()
    city.tell(gauge(120), *(gauge(120 + n, "still") for n in range(30, 3600, 30)), camera(3700))
    assert [one.state for one in standing(city)] == ["dispatched"]


def test_the_same_caller_three_times_is_one_source():
    city = told()
    for n in range(3):
        city.tell(call(100 + n, f"T{n}", metres=30 * n, category="别的", caller="13800001234"))
    assert city.of("incidents") == []
    assert [reply.state for reply in city.of("hotline.replies")] == ["received"] * 3


def test_callers_alone_are_not_enough_where_another_source_is_required():
    city = told()
    for n in range(3):
        city.tell(call(100 + n, f"T{n}", metres=100 * n, caller=f"1380000123{n}"))
    assert {one.rule for one in standing(city)} == {None}
    assert "correlated" not in [reason for _, reason in city.states]


def test_a_ticket_without_a_place_is_no_witness_and_is_answered():
    city = told()
    city.tell(gauge(), ticket(200, "T1", "道路积水", lon=None, lat=None))
    assert city.last.state == "suspected"
    assert city.counts["witness_without_place"] == 1
    assert [reply.state for reply in city.of("hotline.replies")] == ["received"]


def test_a_ticket_that_opened_its_own_incident_becomes_one_with_the_suspicion_and_is_answered():
    city = told()
    city.tell(call(100, metres=120), gauge(200))
    (one,) = standing(city)
    assert one.tickets == ["T1"]
    assert one.rule == "ponding"
    assert one.state == "dispatched"
    assert {reply.incident_id for reply in city.of("hotline.replies")} == {one.incident_id}


def test_two_suspicions_that_a_third_source_joins_are_one_incident():
    city = told()
    city.tell(gauge(120, metres=0, who="a"), call(130, metres=1000), gauge(140, metres=390, who="b"))
    assert len(standing(city)) == 3
    city.tell(camera(200, metres=195))
    ponding = [one for one in standing(city) if one.rule == "ponding"]
    assert [one.state for one in ponding] == ["dispatched"]
    assert len(ponding[0].detections) == 3
    assert [one.merged_into for one in newest(city).values() if one.state == "merged"] == [ponding[0].incident_id]


def test_a_suspicion_that_nobody_confirms_is_withdrawn_once_its_source_is_gone():
    city = told()
    city.tell(gauge(120), gauge(400, "cleared"))
    city.until(400 + 15 * MINUTE + 59)
    assert city.last.state == "suspected"
    city.until(400 + 15 * MINUTE + 60)
    assert city.states[-1] == ("withdrawn", "not_confirmed")


def test_a_suspicion_whose_source_is_silent_is_not_gone():
    city = told()
    city.tell(gauge(120), gauge(400, "unknown"))
    city.until(4000)
    assert city.last.state == "suspected"


def test_a_suspicion_of_danger_to_life_waits_for_a_person():
    city = told()
    city.tell(says(FIRE, "1.camera", 120))
    city.until(4000)
    assert city.states == [("suspected", "detected"), ("suspected", "person_must_close")]


def test_a_branch_that_stands_by_itself_makes_the_suspicion_beside_it_a_case():
    city = told()
    city.tell(says(FIRE, "1.camera", 120), says(FIRE, "3.event", 130))
    assert [one.state for one in standing(city)] == ["dispatched"]


def test_what_a_person_has_called_a_false_alarm_confirms_nothing():
    city = told()
    city.tell(gauge(120))
    city.tell(command(130, city.last.incident_id, "false_alarm"), camera(140))
    assert [one.state for one in standing(city)] == ["false_alarm", "suspected"]
    city.tell(gauge(150, "still"))
    assert [one.state for one in standing(city)] == ["false_alarm", "suspected"]


def test_of_a_case_and_an_older_suspicion_the_case_stays():
    city = told()
    city.tell(gauge(120), call(130, metres=390))
    case = city.last.incident_id
    city.tell(camera(200, metres=195))
    assert [(one.incident_id, one.state) for one in standing(city)] == [(case, "dispatched")]
    assert len([one for one in city.of("dispatch.orders") if not one.cancelled]) == 1


def test_what_comes_when_its_time_is_just_over_is_late():
    city = told()
    city.until(180)
    city.tell(says(ORDER, "a", 120))
    assert city.counts["late_witness"] == 1
    assert len(city.desk._ledger.witnesses) == 0


def test_the_case_ends_when_what_can_clear_has_cleared():
    city = told()
    city.tell(gauge(120), camera(200), gauge(900, "cleared"))
    city.until(900 + 3 * MINUTE)
    assert city.states[-1] == ("closed", "self_resolved")


def test_a_case_of_what_never_clears_counts_as_gone_after_its_time_out_and_a_person_says():
    city = told()
    city.tell(camera(120, who="cam-1"), camera(200, who="cam-2"))
    city.feedback(300, "accepted", "arrived", "handled")
    city.until(7 * 3600)
    assert city.last.state == "verifying"
    assert city.last.condition == "cleared"
    assert [one.verdict for one in city.of("verification.results")] == ["inconclusive"]


def test_an_event_that_stands_by_itself_is_not_ended_by_another_branch():
    city = told()
    city.tell(says(FIRE, "1.smoke", 120), says(FIRE, "3.event", 130), says(FIRE, "1.smoke", 600, "cleared"))
    assert city.last.condition == "unknown"


def test_too_many_witnesses_are_forgotten_and_counted(monkeypatch):
    monkeypatch.setattr(witnesses, "MOST_WITNESSES", 2)
    city = told()
    city.tell(*(gauge(120 + n, who=f"dev-{n}", metres=5000.0 * n) for n in range(4)))
    assert city.counts["witnesses_forgotten"] == 2
    assert len(city.desk._ledger.witnesses) == 2


def test_no_witness_is_kept_for_longer_than_it_may_count():
    city = told()
    city.tell(gauge(120), call(130))
    assert len(city.desk._ledger.witnesses) == 2
    city.until(130 + 16 * MINUTE)
    assert len(city.desk._ledger.witnesses) == 0


# ---------------------------------------------------------------------------------------------------- the others


def test_all_of_is_nothing_before_all_are_there_and_then_a_case():
    city = told()
    city.tell(says(BOTH, "a", 120))
    assert city.of("incidents") == []
    city.tell(says(BOTH, "b", 300, metres=90, who="cam-1"))
    assert [(one.state, len(one.detections)) for one in standing(city)] == [("dispatched", 2)]


@pytest.mark.parametrize(
    "second", [says(BOTH, "b", 300, metres=101), says(BOTH, "b", 421), says(BOTH, "a", 130, who="dev-2")]
)
def test_all_of_asks_for_each_near_and_in_time(second):
    city = told()
    city.tell(says(BOTH, "a", 120), second)
    assert city.of("incidents") == []


def test_all_of_knows_what_has_cleared_before_the_last_came():
    city = told()
    city.tell(says(BOTH, "a", 120), says(BOTH, "a", 200, "cleared"), says(BOTH, "b", 300))
    assert city.last.condition == "cleared"


def test_two_near_each_other_for_long_enough_are_a_case():
    city = told()
    city.tell(says(CLOSE, "a", 120), says(CLOSE, "b", 150, metres=40, who="v"))
    city.tell(says(CLOSE, "a", 300, "still"), says(CLOSE, "b", 269, "still", opened=150.0, metres=40, who="v"))
    assert city.of("incidents") == []
    city.tell(says(CLOSE, "b", 270, "still", opened=150.0, metres=40, who="v"))
    assert [one.state for one in standing(city)] == ["dispatched"]


@pytest.mark.parametrize("late_first", [False, True])
def test_steps_of_several_streams_count_in_the_order_of_their_times(late_first):
    said = [says(ORDER, "a", 120), says(ORDER, "b", 150, who="cam-1")]
    city = told()
    city.tell(*(reversed(said) if late_first else said))
    city.until(209)
    assert city.of("incidents") == []
    city.until(210)
    assert [(one.state, len(one.detections)) for one in standing(city)] == [("dispatched", 2)]


def test_a_step_that_goes_on_after_its_case_was_closed_begins_another():
    city = told()
    city.tell(says(ORDER, "a", 120), says(ORDER, "b", 150, who="cam-1"))
    city.until(210)
    city.tell(command(220, city.last.incident_id, "false_alarm", args={"cause": "shadow"}))
    assert city.last.state in ("closed", "false_alarm", "withdrawn")
    closed = city.last.incident_id
    city.tell(says(ORDER, "a", 250, "still", opened=120.0), says(ORDER, "b", 270, who="cam-2"))
    city.until(400)
    another = [one for one in standing(city) if one.incident_id != closed]
    assert [one.state for one in another] == ["dispatched"]
    assert len(newest(city)[closed].detections) == 2


def test_other_steps_of_an_edited_sequence_begin_anew():
    city = told()
    city.tell(says(ORDER, "a", 120))
    city.until(200)
    kept = city.desk.snapshot()
    (join,) = ORDER.joins
    assert isinstance(join, InOrder)
    edited = replace(ORDER, joins=(replace(join, sequence=replace(join.sequence, steps=join.sequence.steps[::-1])),))
    after = told(edited)
    after.desk.restore(kept)
    after.tell(says(edited, "a", 230, who="dev-2"))
    after.until(2000)
    assert after.of("incidents") == []


def test_a_step_that_has_ended_before_the_sequence_is_complete_is_known_to_have_ended():
    of = replace(ORDER, parts=tuple(replace(part, variants=CLOSE.parts[0].variants) for part in ORDER.parts))
    city = told(of)
    city.tell(says(of, "a", 120), says(of, "a", 130, "cleared"), says(of, "b", 150, who="cam-1"))
    city.tell(says(of, "b", 160, "cleared", opened=150.0, who="cam-1"))
    city.until(210)
    assert city.last.condition == "cleared"


def test_steps_in_the_wrong_order_are_nothing():
    city = told()
    city.tell(says(ORDER, "b", 120), says(ORDER, "a", 150))
    city.until(4000)
    assert city.of("incidents") == []
    assert len(city.desk._ledger.reached) == 0


@pytest.mark.parametrize(("came", "cases"), [(None, 1), (400.0, 0), (421.0, 1)])
def test_a_last_step_that_must_not_come_is_waited_for(came, cases):
    city = told()
    city.tell(says(LEFT_OUT, "a", 120))
    if came is not None:
        city.tell(says(LEFT_OUT, "b", came))
    city.until(420 + 59)
    assert city.of("incidents") == []
    city.until(420 + 60)
    assert len(standing(city)) == cases
