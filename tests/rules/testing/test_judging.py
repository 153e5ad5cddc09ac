"""What counts as met, and what is said where it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.problems import Place
from rules.testing import model
from rules.testing.judging import differences, result, unlike
from rules.testing.model import Disturb, Expected, Plain, Told

PLACE = Place("t.yaml", 3)


def expected(
    at_s: int, rule: str | None = None, transitions: tuple[str, ...] | None = None, **lists: Plain
) -> Expected:
    counts = lists.pop("count", {})
    assert isinstance(counts, dict)
    return Expected(at_s * 1_000_000, PLACE, rule, lists, counts, transitions)  # type: ignore[arg-type]


def judge(told: Sequence[Told], *wanted: Expected) -> list[str]:
    test = model.Test("t", PLACE, 0, (), Disturb(), (), False, wanted, None)
    return [difference.said for difference in differences(test, told)]


def incident(at_s: int, number: int, state: str, rule: str = "r", **more: Plain) -> Told:
    value: dict[str, Plain] = {"incident_id": f"i-{number}", "rule": rule, "state": state, "detections": [], **more}
    return Told(at_s * 1_000_000, "incidents", value)


def detection(at_s: int, kind: str, **more: Plain) -> Told:
    value: Mapping[str, Plain] = {
        "detection_id": "d-1",
        "kind": kind,
        "stage": None,
        "key": {"k": "1"},
        "rule": "r",
        **more,
    }
    return Told(at_s * 1_000_000, "detections", value)


def test_a_part_of_the_fields_is_enough_and_each_must_be_as_said() -> None:
    told = [incident(5, 1, "confirmed", severity="major")]
    assert judge(told, expected(5, incidents=[{"state": "confirmed"}])) == []
    assert judge(told, expected(5, incidents=[{"severity": "minor"}])) == ["severity: expected minor, got major"]


def test_an_incident_counts_as_it_was_at_that_time() -> None:
    told = [incident(5, 1, "confirmed"), incident(9, 1, "closed")]
    assert judge(told, expected(4, incidents=[])) == []
    assert judge(told, expected(8, incidents=[{"state": "confirmed"}])) == []
    assert judge(told, expected(9, incidents=[{"state": "closed"}])) == []


def test_nothing_is_an_empty_list_and_whatever_there_is_then_is_told() -> None:
    told = [incident(5, 1, "closed")]
    assert judge(told, expected(6, incidents=[])) == ["not expected"]


def test_each_expectation_needs_one_of_its_own() -> None:
    told = [incident(1, 1, "a", zone="x"), incident(1, 2, "a", zone="y")]
    assert judge(told, expected(1, incidents=[{"state": "a"}, {"zone": "x"}])) == []
    assert judge(told, expected(1, incidents=[{"zone": "x"}, {"zone": "x"}])) == ["zone: expected x, got y"]
    assert judge(told, expected(1, incidents=[{"state": "a"}] * 3)) == ["none such"]


def test_an_incident_has_the_key_of_its_first_detection() -> None:
    told = [detection(1, "raised"), incident(1, 1, "a", detections=["d-1"])]
    assert judge(told, expected(1, incidents=[{"key": {"k": "1"}}])) == []
    assert judge(told, expected(1, incidents=[{"key": {"k": "2"}}])) == ["key.k: expected 2, got 1"]


def test_that_something_is_still_there_is_looked_at_only_where_it_is_expected() -> None:
    told = [detection(1, "raised"), detection(2, "still"), detection(3, "unknown")]
    assert judge(told, expected(3, detections=[{"kind": "raised"}])) == []
    assert judge(told, expected(3, detections=[{"kind": "raised"}, {"kind": "unknown"}])) == []
    assert judge(told, expected(3, detections=[{"kind": "still"}])) == ["not expected"]


def test_states_are_compared_in_their_order_and_once_each() -> None:
    told = [incident(1, 1, "a"), incident(2, 1, "a"), incident(3, 1, "b")]
    assert judge(told, expected(3, "r", ("a", "b"))) == []
    assert judge(told, expected(3, "r", ("b", "a"))) == ["a → b"]
    assert judge([], expected(3, "r", ("a",))) == ["no incident"]


def test_incidents_are_counted_by_rule() -> None:
    told = [incident(1, 1, "a"), incident(1, 2, "a"), incident(1, 3, "a", rule="other")]
    assert judge(told, expected(1, count={"r": 2, "other": 1})) == []
    assert judge(told, expected(1, count={"r": 3})) == ["2 incidents"]


def test_a_record_of_the_test_that_nobody_could_read_fails_it() -> None:
    letter = Told(0, "dead-letters", {"topic": "sensor.readings", "reason": "bad_time"})
    assert judge([letter, letter]) == ["2 of the test's own records were refused, this first"]


def test_numbers_are_the_same_when_they_came_through_json() -> None:
    assert unlike({"value": 0.3}, {"value": 0.1 + 0.2}) == []
    assert unlike({"value": 1}, {"value": True}) == ["value: expected 1, got True"]
    assert unlike({"value": 1}, {"value": 1.001}) == ["value: expected 1, got 1.001"]


def test_a_result_tells_nothing_of_the_order_of_arrival_but_all_of_what_came_of_it() -> None:
    plain = [detection(1, "raised", event_time="x"), incident(1, 1, "a"), incident(2, 1, "b")]
    assert result(plain) == result([plain[0]._replace(at_us=9), plain[1], plain[2]])
    assert result(plain) != result(plain[:2])
    assert result(plain) != result([detection(1, "raised", event_time="y"), *plain[1:]])
