"""The field units of the demo: a Desk and its crews bring everything to an end, the same way every time."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from models.dispatch import DispatchOrder, Feedback
from models.times import SECOND_US
from rules.crews import ACCEPT_S, HANDLE_S, Crews, Said
from rules.incidents.desk import Output
from tests.rules.incidents.city import (
    COVER,
    LON,
    SMOKE,
    UNITS,
    Record,
    Told,
    at,
    desk,
    detection,
    parked,
    ticket,
)


def take(told: Told, crews: Crews, said: list[Said], seconds: float) -> None:
    for topic, key, value in said:
        crews.see(told.take(told.desk.feed(topic, [Record(0, at(seconds) // 1000, key.encode(), value)])))


def day(crews: Crews, *inputs, until: int = 4000, restart_at: int | None = None) -> Told:
    """Inputs, ticks of ten seconds and the crews' answers, together."""
    told = Told(desk())
    left = sorted(inputs, key=lambda one: one[1].timestamp)
    for second in range(0, until, 10):
        while left and left[0][1].timestamp <= at(second) // 1000:
            crews.see(told.tell(left.pop(0)))
        crews.see(told.until(second))
        take(told, crews, crews.advance(at(second)), second)
        if second == restart_at:
            blob = crews.snapshot()
            crews.restore(blob)
            told.restart()
    return told


def inputs(cars: int = 60):
    for n in range(cars):
        yield from parked(str(n), lon=LON + n * 0.0005)
        yield detection(800 + n, "cleared", track=str(n), lon=LON + n * 0.0005)
    yield ticket(300, "T1", "道路积水")
    yield detection(200, "raised", of=COVER, track="c", opened=200)
    yield detection(200, "raised", of=SMOKE, track="s", opened=200)
    yield detection(500, "cleared", of=SMOKE, track="s", opened=200)


def test_everything_is_brought_to_an_end_tickets_and_life_safety_included():
    told = day(Crews(units=UNITS), *inputs())
    newest = {i.incident_id: i for i in told.of("incidents")}
    assert {i.state.value for i in newest.values()} == {"closed"}
    assert told.desk.open_incidents == 0
    assert told.of("hotline.replies")[-1].state == "closed"


def test_a_few_orders_come_back_once_each():
    told = day(Crews(), *inputs(150))
    returned = [i.incident_id for i in told.of("incidents") if i.state == "returned"]
    assert 2 <= len(returned) <= 20
    assert len(returned) == len(set(returned))


def test_two_days_alike_are_the_same_with_a_restart_between():
    one, two = day(Crews(), *inputs(20)), day(Crews(), *inputs(20), restart_at=500)
    assert [o.id for o in one.outputs] == [o.id for o in two.outputs]


def order(identity: str = "o-1", *, cancelled: bool = False) -> Output:
    told = Told(desk())
    told.tell(*parked())
    value = told.order
    data = {name: getattr(value, name) for name in value.__struct_fields__}
    made = DispatchOrder(**{**data, "order_id": identity, "cancelled": cancelled})
    return Output("dispatch.orders", made.incident_id, made, identity)


@settings(max_examples=50)
@given(st.integers(0, 10_000))
def test_a_unit_accepts_arrives_and_handles_in_its_time_or_returns(n):
    crews = Crews()
    crews.see([order(f"o-{n}")])
    said = [spoken(one) for one in crews.advance(at(420 + 3600))]
    first_s = said[0].time / 1000 - at(420) / SECOND_US
    assert ACCEPT_S[0] <= first_s <= ACCEPT_S[1]
    if said[0].action == "returned":
        assert len(said) == 1
        assert said[0].note
    else:
        assert [one.action for one in said] == ["accepted", "arrived", "handled"]
        assert HANDLE_S[0] - 0.01 <= (said[2].time - said[1].time) / 1000 <= HANDLE_S[1] + 0.01


class Answer(Feedback, kw_only=True, frozen=True):
    time: int


def spoken(said: Said) -> Answer:
    return msgspec.json.decode(said.value, type=Answer)


def test_a_cancelled_order_stops_the_crew():
    crews = Crews()
    crews.see([order("o-2")])
    crews.advance(at(420 + 26))
    crews.see([order("o-2", cancelled=True)])
    assert crews.advance(at(420 + 3600)) == []


def test_a_doubled_order_is_done_once():
    crews = Crews()
    crews.see([order("o-3"), order("o-3")])
    said = crews.advance(at(420 + 3600))
    assert len(said) == len(set(said))


def test_finer_ticks_give_the_same_answers():
    coarse, fine = Crews(), Crews()
    for crews in (coarse, fine):
        crews.see([order(f"o-{n}") for n in range(10)])
    steps = [one for second in range(420, 1500, 7) for one in fine.advance(at(second))] + fine.advance(at(4020))
    assert steps == coarse.advance(at(4020))


def test_nobody_inspects_when_told_so():
    told = day(Crews(inspect=False), detection(200, "raised", of=COVER, opened=200))
    assert told.last.reason == "verification_inconclusive"


def test_the_inspectors_word_is_a_command_of_a_verifier():
    crews = Crews()
    told = Told(desk())
    crews.see(told.tell(detection(200, "raised", of=COVER, opened=200)))
    told.feedback(300, "handled")
    crews.see(told.outputs)
    said = [one for one in crews.advance(at(1000)) if one.topic == "commands"]
    assert len(said) == 1
    assert b'"role":"verifier"' in said[0].value
    assert b'"command":"close"' in said[0].value
