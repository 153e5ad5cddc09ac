"""The crews between Kafka and the core: each revision once, an order after its incident, answers that repeat."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rules.crews import Crews
from rules.incidents.desk import Output
from streams.crews import Answer, Dispatched

ISSUED = "2026-03-02T07:14:00.000+08:00"
ISSUED_US = 1_772_406_840_000_000
HOUR_US = 3_600_000_000


def incident(revision: int, state: str = "dispatched") -> bytes:
    body: dict[str, Any] = {
        "incident_id": "i-1", "revision": revision, "state": state, "reason": "unit_assigned", "type": "0505",
        "severity": "minor", "life_safety": False, "exercise": False, "rule": "illegal-parking", "zone": None,
        "area": "danghu", "grid": None,
        "place": {"lon": 121.02, "lat": 30.69, "error_m": 1.5, "text": {"zh": "新华路", "en": "Xinhua Road"}},
        "opened_at": ISSUED, "changed_at": ISSUED, "condition": "still", "sources": [], "detections": [], "tickets": [],
        "merged_into": None, "external_refs": [], "department": "traffic-police", "order_id": "o-1", "deadline": None,
        "count": 1, "evidence": [], "message": {"zh": "", "en": ""},
    }  # fmt: skip
    return json.dumps(body).encode()


def order() -> bytes:
    body = {
        "order_id": "o-1", "incident_id": "i-1", "department": "traffic-police", "unit_id": "u-1",
        "reason": "nearest_on_duty", "issued_at": ISSUED, "accept_by": None, "resolve_by": None, "clock": "working",
        "task": {"zh": "", "en": ""}, "cancelled": False,
    }  # fmt: skip
    return json.dumps(body).encode()


def answers(records: Iterable[tuple[str, bytes]]) -> list[Answer]:
    told = Dispatched(Crews(centre="pinghu"))
    for topic, value in records:
        told.see(topic, "i-1", value)
    return list(told.answers(ISSUED_US + HOUR_US))


class Noted(Crews):
    """What the core was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []

    def see(self, outputs: Iterable[Output]) -> None:
        self.shown += [output.id for output in outputs]


def test_an_order_is_answered_with_its_own_ids_and_the_times_of_the_units() -> None:
    said = answers([("incidents", incident(1)), ("dispatch.orders", order())])
    assert [json.loads(a.value)["action"] for a in said] in (["accepted", "arrived", "handled"], ["returned"])
    assert [a.id for a in said] == [json.loads(a.value)["feedback_id"] for a in said]
    assert [a.time_ms for a in said] == sorted(json.loads(a.value)["time"] for a in said)
    assert {(a.topic, a.key) for a in said} == {("dispatch.feedback", "pinghu")}


def test_an_order_that_arrives_before_its_incident_gets_the_same_answers() -> None:
    in_order = answers([("incidents", incident(1)), ("dispatch.orders", order())])
    assert answers([("dispatch.orders", order()), ("incidents", incident(1))]) == in_order


def test_what_a_restarted_worker_says_again_is_seen_once() -> None:
    crews = Noted()
    told = Dispatched(crews)
    for revision in (1, 2, 1, 2, 3):
        told.see("incidents", "i-1", incident(revision))
    assert crews.shown == ["i-1/1", "i-1/2", "i-1/3"]


def test_read_again_from_the_start_the_answers_have_the_same_ids() -> None:
    records = [("incidents", incident(1)), ("dispatch.orders", order()), ("incidents", incident(2, "closed"))]
    first = answers(records[:2])
    again = answers([*(r for r in records if r[0] == "incidents"), records[1]])  # one topic after the other
    assert [a.id for a in again] == [a.id for a in first]
