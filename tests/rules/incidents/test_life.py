"""The life of an incident, one rule a test. Seconds from 07:10 on a Monday; a parked car is first reported at 120."""

from __future__ import annotations

import msgspec
import pytest

from models.times import MINUTE_US, SECOND_US
from rules.incidents.desk import Crew, Sites
from rules.incidents.dossier import SHOWN_TICKETS
from rules.language.model import DispatchClause, Escalation, Merge
from tests.rules.incidents.city import (
    COVER,
    HOLD,
    JAM,
    LAT,
    LON,
    LOST,
    SHADOW,
    SMOKE,
    SOS,
    START_US,
    UNITS,
    VENDOR,
    Always,
    Told,
    at,
    command,
    desk,
    detection,
    feedback,
    parked,
    position,
    rule,
    stamp,
    ticket,
)


@pytest.fixture
def told() -> Told:
    return Told(desk())


# ------------------------------------------------------------------------------------------------------------- opening


def test_first_sighting_reminds_the_owner_then_a_second_look_then_a_case(told):
    told.tell(*parked())
    assert told.states == [
        ("notified", "owner_reminded"),
        ("notified", "second_look_requested"),
        ("confirmed", "case_opened"),
        ("dispatched", "unit_assigned"),
    ]
    notice = told.of("notices")[0]
    assert notice.to == {"token": "pt-17", "mask": "浙F·**345"}
    assert notice.grace_until == stamp(420)
    assert told.of("recognition.requests")[0].sensor_id == "cam-1"
    assert told.last.opened_at == stamp(120)
    assert told.last.place.text.zh == "新华路北段"
    assert told.last.message.zh == "新华路北段 违停 浙F·**345，已停 7 分钟"


def test_a_rule_without_stages_opens_a_case_at_once(told):
    told.tell(detection(200, "raised", of=JAM, opened=200))
    assert told.states == [("confirmed", "case_opened"), ("dispatched", "unit_assigned")]


def test_what_clears_in_the_grace_is_no_case(told):
    told.tell(detection(120, "raised", "remind_owner"), detection(300, "cleared"))
    assert told.states[-1] == ("withdrawn", "left_in_grace")
    assert told.of("dispatch.orders") == []


def test_the_end_may_come_before_the_beginning(told):
    told.tell(detection(300, "cleared"), detection(120, "raised", "remind_owner"))
    assert told.states == [("notified", "owner_reminded"), ("withdrawn", "left_in_grace")]


def test_loss_of_data_is_no_recovery(told):
    told.tell(*parked(), detection(500, "unknown"))
    told.until(3000)
    assert told.last.condition == "unknown"
    assert told.last.state == "dispatched"


def test_a_shadow_rule_and_an_unknown_rule_open_nothing():
    told = Told(desk(SHADOW))
    told.tell(*parked(of=SHADOW), *parked(of=JAM))
    assert told.outputs == []
    assert told.counts == {"filtered": 6, "shadow": 3, "unknown_rule": 3}


def test_a_suspected_detection_waits_for_another_source(told):
    told.tell(detection(200, "raised", of=JAM, opened=200, suspected=True))
    assert told.states == [("suspected", "detected")]
    told.tell(detection(220, "raised", of=JAM, opened=220, suspected=True, track="9", topic="camera.events"))
    assert [reason for _, reason in told.states] == ["detected", "joined", "correlated", "unit_assigned"]


# ------------------------------------------------------------------------------------------------------------- merging


def test_a_raise_nearby_joins_the_open_incident(told):
    told.tell(*parked("17"), detection(500, "raised", "remind_owner", track="18", opened=500, lon=LON + 0.00003))
    assert told.last.reason == "joined"
    assert told.last.count == 2
    assert len({i.incident_id for i in told.of("incidents")}) == 1


@pytest.mark.parametrize(
    "apart",
    [
        {"lon": LON + 0.0001},  # ten metres, five are allowed
        {"zone": "no-parking/other"},
        {"opened": 120 + 1801.0},  # after the window
    ],
)
def test_a_raise_elsewhere_or_too_late_is_another_incident(told, apart):
    told.tell(*parked("17"))
    opened = apart.get("opened", 500.0)
    told.tell(detection(opened, "raised", "remind_owner", track="18", **{"opened": opened, **apart}))
    assert len({i.incident_id for i in told.of("incidents")}) == 2


def test_what_opens_after_the_incident_had_cleared_is_another(told):
    told.tell(*parked("17"), detection(500, "cleared"))
    told.tell(detection(510, "raised", "remind_owner", track="18", opened=510))
    assert len({i.incident_id for i in told.of("incidents")}) == 2


def test_what_opened_before_the_incident_cleared_joins_it_even_if_heard_later(told):
    told.tell(*parked("17"), detection(500, "cleared"))
    told.tell(detection(520, "raised", "remind_owner", track="18", opened=499))
    assert len({i.incident_id for i in told.of("incidents")}) == 1
    assert told.last.condition == "still"
    told.until(2000)
    assert told.last.state == "dispatched"


def test_a_merged_incident_clears_when_all_of_it_has(told):
    told.tell(*parked("17"), detection(430, "raised", "remind_owner", track="18", opened=430))
    told.tell(detection(500, "cleared", track="17"))
    assert told.last.condition == "still"
    told.tell(detection(600, "cleared", track="18", opened=430))
    assert told.last.condition == "cleared"


def test_of_two_open_incidents_the_nearer_one_is_joined():
    wide = rule("wide", detect=HOLD, merge=Merge(False, 100.0, 30 * MINUTE_US))
    told = Told(desk(wide))
    for track, lon in (("a", LON), ("b", LON + 0.0015)):
        told.tell(detection(200, "raised", of=wide, track=track, opened=200, lon=lon, zone=None))
    first, second = (i.incident_id for i in told.of("incidents") if i.revision == 1)
    told.tell(detection(210, "raised", of=wide, track="c", opened=210, lon=LON + 0.0009, zone=None))
    assert told.last.incident_id == second != first


def test_many_reports_raise_the_severity(told):
    told.tell(*parked("17"))
    for track in range(4):
        told.tell(detection(430, "raised", "remind_owner", track=f"x{track}", opened=430))
    assert (told.last.count, told.last.severity) == (5, "moderate")


# ------------------------------------------------------------------------------------------------------------ dispatch


def test_the_nearest_idle_unit_goes(told):
    told.tell(*parked())
    assert (told.order.unit_id, told.order.reason, told.order.department) == (
        "u-near", "nearest_on_duty", "traffic-police",
    )  # fmt: skip


def test_a_unit_goes_from_where_it_is(told):
    told.tell(position(100, "u-far"), *parked())
    assert told.order.unit_id == "u-far"


def test_an_old_position_counts_less_than_the_base(told):
    told.tell(position(-1800, "u-far"), *parked())
    assert told.order.unit_id == "u-near"


def test_a_unit_off_duty_stays(told):
    told.tell(position(100, "u-near", on_duty=False), *parked())
    assert told.order.unit_id == "u-mid"


def test_a_unit_with_the_skill_goes_before_a_nearer_one_without():
    units = (
        Crew("u-a", "traffic-police", LON, LAT, 2, ("traffic",)),
        Crew("u-b", "traffic-police", LON + 0.01, LAT, 2, ("parking",)),
    )
    told = Told(desk(sites=Sites(units=units)))
    told.tell(*parked())
    assert told.order.unit_id == "u-b"
    told.feedback(430, "returned")
    assert told.order.unit_id == "u-a"


def test_load_comes_before_distance(told):
    for track, lon in (("1", LON), ("2", LON + 0.0005), ("3", LON + 0.001)):
        told.tell(*parked(track, lon=lon))
    assert [o.unit_id for o in told.of("dispatch.orders")] == ["u-near", "u-mid", "u-far"]


def test_when_all_are_full_the_least_loaded_goes_over_its_capacity(told):
    for n in range(7):
        told.tell(*parked(str(n), lon=LON + n * 0.0005))
    assert [o.reason for o in told.of("dispatch.orders")][-2:] == ["least_loaded", "over_capacity"]


def test_a_unit_that_is_done_is_idle_again(told):
    told.tell(*parked("1"))
    told.feedback(430, "handled")
    told.tell(*parked("2", lon=LON + 0.0005))
    assert told.order.unit_id == "u-near"


def test_without_a_department_it_stays_confirmed(told):
    told.tell(detection(200, "raised", of=LOST, opened=200))
    assert told.states[-1] == ("confirmed", "unassigned")
    assert told.counts["unassigned"] == 1


def test_a_department_without_units_gets_the_order_itself():
    told = Told(desk(sites=Sites()))
    told.tell(*parked())
    assert (told.order.unit_id, told.order.reason) == (None, "department_only")


def test_a_returned_order_goes_to_the_next_best_and_never_back(told):
    told.tell(*parked())
    told.feedback(430, "returned")
    told.feedback(440, "rejected")
    told.feedback(450, "returned")
    assert [o.unit_id for o in told.of("dispatch.orders")] == ["u-near", "u-mid", "u-far", None]
    told.feedback(460, "returned")
    assert told.states[-1] == ("returned", "no_unit_left")


def test_limits_of_the_rule_run_on_the_clock_of_the_type():
    clause = DispatchClause(accept_within_us=5 * MINUTE_US, resolve_within_us=60 * MINUTE_US)
    told = Told(desk(rule("timed", detect=HOLD, dispatch=clause)))
    told.tell(detection(200, "raised", of=rule("timed", detect=HOLD), opened=200))  # 07:13:20, work begins at 08:00
    assert told.last.deadline.accept_by == "2026-03-02T08:05:00.000+08:00"
    assert told.last.deadline.resolve_by == "2026-03-02T09:00:00.000+08:00"
    assert told.last.deadline.clock == "working"


def test_life_safety_runs_on_the_urgent_clock(told):
    told.tell(detection(200, "raised", of=SOS, opened=200))
    assert told.last.deadline.clock == "urgent"
    assert told.last.deadline.accept_by == stamp(260)


def test_a_missing_calendar_year_leaves_the_limit_open_and_is_counted():
    told = Told(desk())
    year_us = 366 * 86_400 * SECOND_US
    told.desk.advance(START_US + year_us)
    told.tell(*parked())
    assert told.last.deadline.accept_by is None
    assert told.counts["no_calendar"] == 2


def test_an_order_not_accepted_in_time_is_given_to_the_next_best_once(told):
    told.tell(detection(200, "raised", of=JAM, opened=200))  # accept within 5 minutes, urgent
    told.until(499)
    assert told.states[-1] == ("dispatched", "unit_assigned")
    told.until(500)
    assert told.states[-2:] == [("dispatched", "accept_overdue"), ("dispatched", "reassigned")]
    first, taken_back, second = told.of("dispatch.orders")
    assert (taken_back.order_id, taken_back.cancelled) == (first.order_id, True)
    assert (first.unit_id, second.unit_id) == ("u-near", "u-mid")
    told.until(1000)
    assert told.states[-1] == ("dispatched", "accept_overdue")
    assert len(told.of("dispatch.orders")) == 3


def test_what_is_not_handled_in_time_says_so(told):
    told.tell(detection(200, "raised", of=JAM, opened=200))
    told.feedback(220, "accepted")
    told.until(200 + 3600)
    assert told.states[-1] == ("accepted", "resolve_overdue")


# -------------------------------------------------------------------------------------------------------- verification


def test_handled_and_cleared_for_long_enough_closes(told):
    told.tell(*parked())
    told.feedback(430, "accepted", "arrived", "handled")
    told.tell(detection(500, "cleared"))
    told.until(679)
    assert told.last.state == "verifying"
    told.until(680)
    assert told.states[-1] == ("closed", "verified")
    assert told.last.changed_at == stamp(680)
    result = told.of("verification.results")[0]
    assert (result.verdict, result.method, result.coverage) == ("passed", "same_stream", 0.98)


def test_still_there_within_the_grace_is_no_failure_beyond_it_is(told):
    told.tell(*parked())
    told.feedback(430, "handled")  # clear_for 180 s and the rule's own absent_for 60 s: until 670
    told.tell(detection(660, "still"))
    assert told.last.state == "verifying"
    told.tell(detection(690, "still"))
    assert told.states[-2:] == [("rework", "verification_failed"), ("dispatched", "same_unit_again")]
    assert [o.unit_id for o in told.of("dispatch.orders")] == ["u-near", "u-near"]
    assert told.of("verification.results")[0].verdict == "failed"


def test_without_data_a_person_must_look(told):
    told.tell(*parked(), detection(425, "unknown"))
    told.feedback(430, "handled")
    told.until(2000)
    assert told.states[-1] == ("verifying", "verification_inconclusive")
    told.tell(command(2100, told.last.incident_id, "close", role="verifier"))
    assert told.states[-1] == ("closed", "verified_by_person")


def test_an_event_never_clears_so_a_person_verifies_it(told):
    told.tell(detection(200, "raised", of=COVER, opened=200))
    told.feedback(300, "handled")
    assert told.states[-1] == ("verifying", "verification_inconclusive")
    assert told.last.condition == "unknown"


def test_an_event_again_after_the_handling_fails_it(told):
    told.tell(detection(200, "raised", of=COVER, opened=200))
    told.feedback(300, "handled")
    told.tell(detection(800, "raised", of=COVER, opened=800))
    assert told.states[-2:] == [("rework", "verification_failed"), ("dispatched", "same_unit_again")]


def test_life_safety_never_closes_by_itself(told):
    told.tell(detection(200, "raised", of=SMOKE, opened=200))
    told.feedback(300, "handled")
    told.tell(detection(310, "cleared", of=SMOKE, opened=200))
    told.until(100_000)
    assert told.states[-1] == ("verifying", "person_must_close")
    told.tell(command(100_010, told.last.incident_id, "close", role="verifier"))
    assert told.last.state == "closed"


def test_life_safety_that_clears_before_anybody_came_stays_open(told):
    told.tell(detection(200, "raised", of=SMOKE, opened=200), detection(230, "cleared", of=SMOKE, opened=200))
    told.feedback(235, "accepted")
    told.until(4000)
    assert told.last.state == "accepted"


def test_gone_before_it_was_handled_closes_and_tells_the_unit(told):
    told.tell(*parked())
    told.feedback(430, "accepted")
    told.tell(detection(500, "cleared"))
    assert told.states[-1] == ("accepted", "condition_changed")
    told.until(680)
    assert told.states[-1] == ("closed", "self_resolved")
    assert told.of("dispatch.orders")[-1].cancelled
    assert told.of("verification.results")[-1].verdict == "passed"


# ----------------------------------------------------------------------------------------------- severity, quiet times


def test_severity_rises_with_time_and_with_the_value():
    grave = rule(
        "grave", type_code="X2101", detect=HOLD, severity="moderate",
        escalate=(Escalation("major", after_us=20 * MINUTE_US), Escalation("critical", when=Always(5))),
    )  # fmt: skip
    told = Told(desk(grave))
    told.tell(detection(200, "raised", of=grave, opened=200, value=4))
    told.feedback(210, "accepted")
    told.until(200 + 1199)
    assert told.last.severity == "moderate"
    told.until(200 + 1200)
    assert (told.last.severity, told.last.reason) == ("major", "severity_raised")
    told.tell(detection(1500, "still", of=grave, opened=200, value=5))
    assert told.last.severity == "critical"
    told.tell(detection(1530, "still", of=grave, opened=200, value=3))
    assert told.last.severity == "critical"


def test_in_its_quiet_time_a_rule_opens_nothing_and_what_stays_opens_when_it_ends(told):
    told.tell(detection(200, "raised", of=VENDOR, opened=200), detection(300, "cleared", of=VENDOR, opened=200))
    told.until(490)
    assert told.states[-1] == ("closed", "self_resolved")
    told.tell(detection(500, "raised", of=VENDOR, opened=500), detection(600, "cleared", of=VENDOR, opened=500))
    told.tell(detection(500, "raised", of=VENDOR, opened=500))
    told.tell(detection(700, "raised", of=VENDOR, opened=700))
    assert len({i.incident_id for i in told.of("incidents")}) == 1
    told.until(300 + 1199)
    assert len({i.incident_id for i in told.of("incidents")}) == 1
    told.until(300 + 1200)
    assert told.states[-1] == ("dispatched", "unit_assigned")
    assert told.last.opened_at == stamp(700)
    assert told.counts["quieted"] == 2


# ------------------------------------------------------------------------------------------------------------- tickets


def test_a_call_with_a_place_opens_a_case_and_is_answered_at_once_and_at_the_end(told):
    told.tell(ticket(100, "T1", "道路积水"))
    assert told.states == [("confirmed", "ticket"), ("dispatched", "unit_assigned")]
    told.feedback(200, "handled")
    told.tell(command(300, told.last.incident_id, "close", role="verifier"))
    assert [(r.ticket_id, r.state) for r in told.of("hotline.replies")] == [("T1", "confirmed"), ("T1", "closed")]


def test_a_call_nearby_joins_and_the_same_caller_does_not_count_twice(told):
    told.tell(ticket(100, "T1", "道路积水"), ticket(110, "T2", "道路积水", caller="13900000000"))
    told.tell(ticket(120, "T3", "积水", caller="138-0000-1234"))
    assert (told.last.count, told.last.tickets, told.last.reason) == (2, ["T1", "T2", "T3"], "reported_again")
    assert len({r.ticket_id for r in told.of("hotline.replies")}) == 3


def test_a_call_without_a_place_or_a_known_category_goes_to_the_grid_worker(told):
    told.tell(ticket(100, "T1", "道路积水", lon=None, lat=None), ticket(110, "T2", "天上掉馅饼"))
    assert [(r.ticket_id, r.state) for r in told.of("hotline.replies")] == [("T1", "received"), ("T2", "received")]
    assert told.counts["to_grid_worker"] == 2
    assert told.of("incidents") == []


def test_an_urgent_call_is_graver(told):
    told.tell(ticket(100, "T1", "道路积水", urgency="urgent"))
    assert told.last.severity == "critical"


def test_a_later_word_on_a_ticket_may_bring_the_place(told):
    told.tell(ticket(100, "T1", "道路积水", lon=None, lat=None), ticket(200, "T1", "道路积水"))
    assert told.last.tickets == ["T1"]
    assert told.last.state == "dispatched"


def test_a_call_joins_what_a_camera_has_seen_within_the_callers_error(told):
    told.tell(*parked())
    told.tell(ticket(500, "T1", "违法停车", lon=LON + 0.0008, error_m=100.0))
    assert (told.last.reason, told.last.sources) == ("ticket_joined", ["camera.tracks", "hotline.tickets"])


def test_what_a_camera_sees_joins_what_a_citizen_told_and_then_the_camera_can_verify(told):
    told.tell(ticket(100, "T1", "违法停车"), *parked())
    assert len({i.incident_id for i in told.of("incidents")}) == 1
    told.feedback(430, "handled")
    told.tell(detection(500, "cleared"))
    told.until(680)
    assert told.states[-1] == ("closed", "verified")
    assert told.of("hotline.replies")[-1].state == "closed"


# ------------------------------------------------------------------------------------------------ feedback and commands


def test_an_incident_of_a_whole_district_s_calls_still_fits_a_message_and_answers_each(told):
    calls = [f"T{n:0>120}" for n in range(2000)]
    for n, identity in enumerate(calls):
        told.tell(ticket(100 + n / 10, identity, "道路积水", caller=f"138{n:08}"))
    assert told.last.count == len(calls)
    assert told.last.tickets == calls[-SHOWN_TICKETS:]
    assert len(msgspec.json.encode(told.last)) < 100_000
    told.tell(command(1000, told.last.incident_id, "false_alarm"))
    assert [reply.ticket_id for reply in told.of("hotline.replies") if reply.state == "false_alarm"] == calls


def test_feedback_before_its_order_waits_for_it(told):
    other = Told(desk())
    other.tell(*parked())
    order = other.order
    told.tell(feedback(430, order.order_id, order.incident_id, "accepted"))
    told.tell(*parked())
    assert told.states[-1] == ("accepted", "unit_accepted")


def test_feedback_of_an_order_nobody_issued_is_a_conflict_after_an_hour(told):
    told.tell(feedback(100, "o-none", "i-none", "accepted"))
    assert "conflict" not in told.counts
    told.until(100 + 3661)
    assert told.counts["conflict"] == 1


def test_feedback_that_does_not_fit_changes_nothing(told):
    told.tell(*parked())
    order = told.order
    told.feedback(430, "handled")
    before = len(told.of("incidents"))
    told.tell(feedback(440, order.order_id, order.incident_id, "arrived"))
    assert len(told.of("incidents")) == before
    assert told.counts["conflict"] == 1


def test_a_unit_that_was_relieved_can_no_longer_accept(told):
    told.tell(*parked())
    first = told.order
    told.feedback(430, "returned")
    told.tell(feedback(440, first.order_id, first.incident_id, "accepted", n=1))
    assert told.last.state == "dispatched"
    assert told.counts["conflict"] == 1


@pytest.mark.parametrize("name", ["split", "undo"])
def test_what_is_not_available_is_refused_and_counted(told, name):
    told.tell(*parked())
    told.tell(command(430, told.last.incident_id, name))
    assert told.counts["refused"] == told.counts[f"refused_{name}"] == 1


def test_a_person_closes_only_what_has_been_handled(told):
    told.tell(*parked())
    told.tell(command(430, told.last.incident_id, "close", role="verifier"))
    assert told.counts["refused_close"] == 1
    assert told.last.state == "dispatched"


def test_a_viewer_commands_nothing(told):
    told.tell(*parked())
    told.tell(command(430, told.last.incident_id, "false_alarm", role="viewer"))
    assert told.last.state == "dispatched"


def test_a_false_alarm_takes_the_order_back_and_can_be_reopened(told):
    told.tell(*parked())
    identity = told.last.incident_id
    told.tell(command(430, identity, "false_alarm"))
    assert told.last.state == "false_alarm"
    assert told.of("dispatch.orders")[-1].cancelled
    told.tell(command(440, identity, "reopen"))
    assert [s for s, _ in told.states[-2:]] == ["confirmed", "dispatched"]


def test_reopened_it_is_not_closed_again_by_what_the_stream_said_before(told):
    told.tell(*parked(), detection(425, "cleared"))
    told.until(605)
    assert told.states[-1] == ("closed", "self_resolved")
    told.tell(command(700, told.last.incident_id, "reopen"))
    told.feedback(800, "handled")
    told.until(2000)
    assert told.states[-1] == ("verifying", "verification_inconclusive")


def test_a_cleared_incident_merged_into_a_call_brings_its_verification_with_it(told):
    told.tell(ticket(100, "T1", "道路积水"), *parked(), detection(500, "cleared"))
    one, two = dict.fromkeys(i.incident_id for i in told.of("incidents"))
    told.tell(command(510, two, "merge", args={"into": one}))
    assert told.last.condition == "cleared"
    told.until(1000)
    assert (told.last.incident_id, told.states[-1]) == (one, ("closed", "self_resolved"))


def test_suspended_it_has_no_order_and_no_limits_and_resumed_it_gets_new_ones(told):
    told.tell(detection(200, "raised", of=JAM, opened=200))
    identity = told.last.incident_id
    told.tell(command(210, identity, "suspend"))
    told.until(90_000)
    assert told.states[-1] == ("suspended", "suspended_by_person")
    told.tell(command(90_010, identity, "resume"))
    assert told.states[-1] == ("dispatched", "unit_assigned")
    assert told.last.deadline.accept_by == stamp(90_310)


def test_a_person_may_send_another_unit_or_department(told):
    told.tell(*parked())
    identity = told.last.incident_id
    told.tell(command(430, identity, "assign", args={"unit_id": "u-works"}))
    assert (told.order.unit_id, told.order.department) == ("u-works", "municipal-works")
    assert told.of("dispatch.orders")[1].cancelled
    told.tell(command(440, identity, "assign", args={"unit_id": "u-nobody"}))
    assert told.counts["refused_assign"] == 1


def test_a_person_extends_the_limit(told):
    told.tell(detection(200, "raised", of=JAM, opened=200))
    told.feedback(210, "accepted")
    told.tell(command(220, told.last.incident_id, "extend", args={"minutes": 30}))
    assert told.last.deadline.resolve_by == stamp(200 + 3600 + 1800)
    told.until(200 + 3600 + 1799)
    assert told.last.reason == "extended_by_person"


def test_merging_by_hand_moves_everything(told):
    told.tell(ticket(100, "T1", "道路积水"), ticket(110, "T2", "道路积水", lon=LON, lat=LAT + 0.01, caller="139"))
    one, two = dict.fromkeys(i.incident_id for i in told.of("incidents"))
    told.tell(command(120, two, "merge", args={"into": one}))
    merged = [i for i in told.of("incidents") if i.incident_id == two][-1]
    assert (merged.state, merged.merged_into) == ("merged", one)
    assert (told.last.incident_id, told.last.tickets, told.last.count) == (one, ["T1", "T2"], 2)


# --------------------------------------------------------------------------------------------------------------- memory


def test_what_has_ended_is_forgotten_after_seven_days(told):
    told.tell(*parked(), detection(425, "cleared"))
    told.until(605)
    assert told.last.state == "closed"
    week = 7 * 86_400
    told.tell(command(605 + week - 1, told.last.incident_id, "reopen"))
    assert told.last.state == "dispatched"
    told.tell(command(605 + week, told.last.incident_id, "false_alarm"))
    told.until(605 + 2 * week + 1)
    assert told.counts["forgotten"] == 1
    told.tell(command(605 + 2 * week + 2, told.last.incident_id, "reopen"))
    assert told.counts["refused_reopen"] == 1


def test_broken_records_are_dead_letters_with_their_index(told):
    _, good = parked()[0]
    bad = good.__class__(1, good.timestamp, None, b"{")
    outcome = told.desk.feed("detections", [bad, good, bad])
    assert [f.record for f in outcome.failures] == [0, 2]
    assert outcome.counts == {"dead": 2, "used": 1}


def test_a_clock_record_moves_the_time(told):
    told.tell(*parked(), detection(500, "cleared"))
    _, one = parked()[0]
    tick = one.__class__(1, 0, None, None, [("zhinao_tick", str(at(700) // 1000).encode())])
    told.take(told.desk.feed("hotline.tickets", [tick]))
    assert told.states[-1] == ("closed", "self_resolved")
    assert told.desk.now_us == at(700)


def test_units_are_all_idle_in_the_end(told):
    for n in range(5):
        told.tell(*parked(str(n), lon=LON + n * 0.0005), detection(430, "cleared", track=str(n)))
    told.until(2000)
    assert {u.id: told.desk._ledger.loads[u.id] for u in UNITS} == {u.id: 0 for u in UNITS}
