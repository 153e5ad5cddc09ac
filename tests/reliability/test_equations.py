"""Every check sees what it is for: a fault of each kind is planted in a good run, and the check must say so."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import orjson
import pytest

from streams.settings import ROOT
from tests.reliability.equations import (
    NEXT,
    ahead_of_store,
    busiest,
    doubled_raw,
    figures,
    findings,
    heard,
)
from tests.reliability.load import Load
from tests.reliability.outputs import Headers, Kept, Run
from tests.reliability.replaying import as_run, replayed

LOAD = Load(7)


@cache
def replay() -> Run:
    return as_run(replayed(LOAD)[0], LOAD)


@pytest.fixture
def run() -> Run:
    """A good run, the test's own to spoil."""
    return deepcopy(replay())


def said(run: Run, **more: Any) -> str:
    return "\n".join(findings(run, LOAD, **more))


def again(record: Kept, headers: Headers = (), **changed: Any) -> Kept:
    """The record once more, with other words or headers."""
    more = tuple(pair for pair in record.headers if pair[0] not in dict(headers))
    value = orjson.dumps({**record.body, **changed})
    return record._replace(offset=record.offset + 1_000_000, value=value, headers=(*more, *headers))


def first(run: Run, topic: str, fits: Callable[[dict[str, Any]], bool] = lambda body: True) -> int:
    return next(number for number, record in enumerate(run.of(topic)) if fits(record.body))


def test_a_good_run_has_no_findings(run: Run) -> None:
    assert findings(run, LOAD, raw_at_most=0) == []
    counted = figures(run, LOAD)
    assert counted.produced == len(LOAD.records)
    assert counted.raised > 20
    assert min(counted.duplicate, counted.late, counted.dead) > 0


def test_a_lost_detection_is_seen(run: Run) -> None:
    at = first(run, "detections", lambda body: body["kind"] == "raised" and body["rule"] == "parked")
    gone = run.of("detections").pop(at)
    assert f"lost: Raised(rule='parked', key='sensor_id={gone.body['key']['sensor_id']}" in said(run)


def test_a_phantom_detection_is_seen(run: Run) -> None:
    at = first(run, "detections", lambda body: body["kind"] == "raised")
    run.of("detections").append(again(run.of("detections")[at], detection_id="d-phantom", zone="no-parking/nowhere"))
    assert "phantom: Raised(" in said(run)


def test_a_detection_under_two_ids_is_seen(run: Run) -> None:
    at = first(run, "detections", lambda body: body["kind"] == "raised")
    run.of("detections").append(again(run.of("detections")[at], detection_id="d-other"))
    assert "two ids: Raised(" in said(run)


def test_a_lost_incident_is_seen(run: Run) -> None:
    incident = run.of("incidents")[0].body["incident_id"]
    run.records["incidents"] = [r for r in run.of("incidents") if r.body["incident_id"] != incident]
    assert "lost: no incident holds" in said(run)


def test_a_phantom_incident_is_seen(run: Run) -> None:
    run.of("incidents").append(again(run.of("incidents")[0], incident_id="i-phantom", detections=["d-nobody's"]))
    assert "phantom: an incident holds d-nobody's" in said(run)


def test_a_detection_in_two_incidents_is_seen(run: Run) -> None:
    run.of("incidents").append(again(run.of("incidents")[0], incident_id="i-second"))
    assert "doubled effect: [" in said(run)


def test_a_missing_revision_is_seen(run: Run) -> None:
    del run.of("incidents")[first(run, "incidents", lambda body: body["revision"] == 2)]
    assert "revisions of i-" in said(run)


def test_a_revision_that_says_two_things_is_seen(run: Run) -> None:
    run.of("incidents").append(again(run.of("incidents")[0], severity="critical", changed_at="now"))
    assert "has two revisions 1" in said(run)


def test_a_revision_that_a_zombie_wrote_is_passed_over(run: Run) -> None:
    records = run.of("incidents")
    newer = [again(record, (("ce_epoch", b"2"),)) for record in records]
    zombie = again(records[0], (("ce_epoch", b"1"),), severity="critical")
    run.records["incidents"] = [*records, *newer, zombie]
    assert findings(run, LOAD) == []
    assert len(heard(run.of("incidents"))) == 2 * len(records)
    run.records["incidents"] = [*records, zombie, *newer]
    assert "has two revisions 1" in said(run)


def test_revisions_out_of_order_are_seen(run: Run) -> None:
    one = first(run, "incidents", lambda body: body["revision"] == 1)
    two = first(run, "incidents", lambda body: body["revision"] == 2)
    records = run.of("incidents")
    assert records[one].body["incident_id"] == records[two].body["incident_id"]
    records[one], records[two] = records[two], records[one]
    assert "has revision 2 before 1" in said(run)


def test_an_end_before_the_beginning_is_seen(run: Run) -> None:
    at = first(run, "detections", lambda body: body["kind"] == "cleared")
    run.of("detections").insert(0, run.of("detections").pop(at))
    assert "is cleared before it is raised" in said(run)


def test_the_busiest_span_is_found(run: Run) -> None:
    times = [0, 10, 990, 2000, 2500, 2900, 2999]
    crowd = Run()
    crowd.records["late"] = [Kept("late", 0, n, at_ms, None, None) for n, at_ms in enumerate(times)]
    assert busiest(crowd, 1000) == 4
    assert busiest(crowd, 0) == 1
    assert busiest(Run(), 1000) == 0


def test_a_unit_sent_twice_is_seen(run: Run) -> None:
    run.of("dispatch.orders").append(again(run.of("dispatch.orders")[0], unit_id="u-another"))
    assert "says two things" in said(run)


def test_an_order_that_no_incident_knows_is_seen(run: Run) -> None:
    run.of("dispatch.orders").append(again(run.of("dispatch.orders")[0], order_id="o-second"))
    assert "no incident knows order o-second" in said(run)


def test_an_order_that_was_never_given_is_seen(run: Run) -> None:
    order = run.of("dispatch.orders")[0].body["order_id"]
    run.records["dispatch.orders"] = [r for r in run.of("dispatch.orders") if r.body["order_id"] != order]
    assert f"lost: order {order} was never given" in said(run)


def test_an_illegal_step_is_seen(run: Run) -> None:
    at = first(run, "incidents", lambda body: body["state"] == "handled")
    run.of("incidents")[at] = again(run.of("incidents")[at], state="notified")
    assert "goes from arrived to notified" in said(run)


def test_an_incident_that_begins_in_the_middle_of_its_life_is_seen(run: Run) -> None:
    at = first(run, "incidents", lambda body: body["revision"] == 1)
    run.of("incidents")[at] = again(run.of("incidents")[at], state="dispatched")
    assert "begins as dispatched" in said(run)


def test_a_caller_without_an_answer_is_seen(run: Run) -> None:
    ticket = LOAD.used("hotline.tickets")[0]["ticket_id"]
    run.records["hotline.replies"] = [r for r in run.of("hotline.replies") if r.body["ticket_id"] != ticket]
    assert f"no answer to {ticket}" in said(run)


@pytest.mark.parametrize("topic", ["late", "dead-letters"])
def test_a_record_missing_from_its_bin_is_seen(run: Run, topic: str) -> None:
    run.of(topic).pop()
    assert f"{topic}: nothing is told of" in said(run)


@pytest.mark.parametrize("topic", ["late", "dead-letters"])
def test_a_good_record_in_a_bin_is_seen(run: Run, topic: str) -> None:
    used = next(r for r in run.of("vehicle.positions"))
    run.of(topic).append(again(run.of(topic)[0], topic=used.topic, partition=0, offset=used.offset))
    assert f"{topic}: ('vehicle.positions', 0, {used.offset}) is told, and was good" in said(run)


def test_a_dead_letter_of_another_reason_is_seen(run: Run) -> None:
    run.of("dead-letters")[0] = again(run.of("dead-letters")[0], reason="unknown_crs")
    assert "has the reason unknown_crs" in said(run)


def test_a_record_that_the_log_lost_is_seen(run: Run) -> None:
    run.of("camera.tracks").pop()
    assert "produced:" in said(run)


def test_a_damaged_record_is_seen(run: Run) -> None:
    at = first(run, "camera.events")
    run.of("camera.events")[at] = run.of("camera.events")[at]._replace(value=b"{}")
    assert "damaged: camera.events/" in said(run)


def test_a_record_that_was_never_done_is_seen(run: Run) -> None:
    run.committed["camera.tracks", 3] -= 1
    assert "in flight: 1 records of ('camera.tracks', 3) were never done" in said(run)


def test_more_raw_doubles_than_may_be_are_seen(run: Run) -> None:
    run.of("incidents").append(again(run.of("incidents")[-1]))
    run.of("detections").append(again(run.of("detections")[-1]))
    assert doubled_raw(run) == 2
    assert "doubled raw: 2 records came again, at most 1 may" in said(run, raw_at_most=1)
    assert said(run, raw_at_most=2) == ""


def test_a_commit_ahead_of_the_store_is_seen() -> None:
    stored = {("camera.tracks", 1): 10}
    assert ahead_of_store({("camera.tracks", 1): 10, ("camera.tracks", 2): 0}, stored) == []
    assert ahead_of_store({("camera.tracks", 1): 11}, stored) == [
        "camera.tracks[1]: 11 is committed, the store holds 10"
    ]
    assert ahead_of_store({("camera.tracks", 2): 1}, stored) == ["camera.tracks[2]: 1 is committed, the store holds 0"]


def test_the_table_of_steps_has_the_states_that_are_published() -> None:
    """The schema is what other systems are told."""
    schema = orjson.loads((ROOT / "docs/contracts/schemas/incidents.v1.schema.json").read_bytes())
    published = set(schema["properties"]["state"]["enum"])
    assert published == NEXT.keys()
    assert set().union(*NEXT.values()) <= published
