"""The Desk's memory as entries of a table: saved one by one at any moment, they are all of it."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ids import content_id
from models.times import MINUTE_US, SECOND_US
from rules.incidents.cabinet import Cabinet
from rules.incidents.desk import Desk, StateMismatch
from rules.incidents.entries import VERSION
from rules.incidents.ledger import POSITION_US, REOPEN_US, SEEN_US
from rules.incidents.marks import Marks
from rules.incidents.seen import BLOCK, Seen
from rules.language.model import Rule
from tests.rules.incidents.city import (
    JAM,
    LON,
    PARKING,
    SMOKE,
    STREET,
    VENDOR,
    Said,
    Told,
    at,
    bytes_of,
    command,
    desk,
    detection,
    feedback,
    parked,
    position,
    ticket,
)
from tests.rules.incidents.city import record as city_record
from tests.rules.incidents.test_properties import END, RULES, days, dossiers_of

HOURS = 3600.0
FORGOTTEN = END + (REOPEN_US + 2 * SEEN_US) / SECOND_US


class Table:
    """What a store holds of a Desk, and how much each save gave it to write."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}

    def save(self, saved: Desk) -> dict[str, bytes | None]:
        changes = saved.changes()
        for name, blob in changes.items():
            if blob is None:
                self.entries.pop(name, None)
            else:
                assert self.entries.get(name) != blob, f"{name} has not changed"
                self.entries[name] = blob
        return changes

    def shuffled(self, seed: int) -> dict[str, bytes]:
        names = sorted(self.entries)
        Random(seed).shuffle(names)
        return {name: self.entries[name] for name in names}


def check(table: Table, told: Told) -> None:
    """The table holds all the Desk remembers, byte by byte."""
    table.save(told.desk)
    assert table.entries == told.desk.snapshot()


def restarted(table: Table, seed: int = 0) -> Desk:
    """Another Desk, from what the table holds."""
    made = desk(*RULES)
    made.restore(table.shuffled(seed))
    return made


# ---------------------------------------------------------------------------------------------------- properties

BUSY = [(rule, opened) for rule in (PARKING, SMOKE, VENDOR) for opened in (120, 900)]
ACTIONS = ("accepted", "arrived", "handled", "returned", "note")
COMMANDS = ("confirm", "merge", "suspend", "resume", "extend", "escalate", "false_alarm", "reopen", "close")


@st.composite
def a_word(draw) -> list[Said]:
    """About one of few incidents, so that much is said of each: by the stream, its unit, a person or a citizen."""
    of, opened = draw(st.sampled_from(BUSY))
    identity, seconds, n = incident(opened, of), float(draw(st.integers(200, 4000))), draw(st.integers(0, 9))
    match draw(st.sampled_from(["stream", "unit", "unit", "person", "person", "citizen"])):
        case "stream":
            said = detection(seconds, draw(st.sampled_from(["still", "unknown", "cleared"])), of=of, opened=opened)
        case "unit":
            order_id = content_id("o", identity, draw(st.integers(1, 2)))
            said = feedback(seconds, order_id, identity, draw(st.sampled_from(ACTIONS)), n=n)
        case "person":
            args = {"into": incident(*reversed(draw(st.sampled_from(BUSY)))), "minutes": 5}
            said = command(seconds, identity, draw(st.sampled_from(COMMANDS)), role="verifier", args=args)
        case _:
            said = ticket(seconds, f"T{n % 3}", "违法停车", caller=f"1380000000{n}")
    return [said]


@st.composite
def busy_days(draw) -> list[Said]:
    """Six incidents, and many words about them."""
    said = [one for word in draw(st.lists(a_word(), min_size=5, max_size=30)) for one in word]
    said += [detection(opened, "raised", of=of, opened=opened) for of, opened in BUSY if of is not PARKING]
    said += [detection(opened, "raised", "open_case", of=of, opened=opened) for of, opened in BUSY if of is PARKING]
    return sorted(said, key=lambda one: one[1].timestamp)


some_days = st.one_of(days(), busy_days())


@settings(max_examples=200)
@given(some_days, st.data())
def test_what_was_saved_bit_by_bit_is_all_the_desk_remembers(said, data):
    told, table = Told(desk(*RULES)), Table()
    saves = data.draw(st.sets(st.integers(0, len(said)), max_size=20))
    for n, one in enumerate(said):
        if n in saves:
            check(table, told)
        told.tell(one)
    check(table, told)
    for seconds in (END, END + 13 * HOURS, END + 3 * 24 * HOURS, FORGOTTEN):
        told.until(seconds)
        check(table, told)
    assert not [name for name in table.entries if name[0] in "eg"]
    assert len([name for name in table.entries if name[0] == "i"]) == told.desk.open_incidents


@settings(max_examples=100)
@given(some_days, st.data())
def test_a_desk_from_the_table_goes_on_as_one_that_never_stopped(said, data):
    """Through the forgetting, where the order of keeping decides; its table holds the same in the end."""
    through, told, table = Told(desk(*RULES)), Told(desk(*RULES)), Table()
    stops = data.draw(st.sets(st.integers(0, len(said)), max_size=4))
    for n, one in enumerate(said):
        if n in stops:
            table.save(told.desk)
            told.desk = restarted(table, seed=n)
        through.tell(one)
        told.tell(one)
    for seconds in (END, END + 3 * 24 * HOURS, FORGOTTEN):
        table.save(told.desk)
        told.desk = restarted(table)
        through.until(seconds)
        told.until(seconds)
        assert bytes_of(told.outputs) == bytes_of(through.outputs)
        assert told.counts == through.counts
        check(table, told)
        assert table.entries == through.desk.snapshot()


@settings(max_examples=50)
@given(some_days, st.integers(0, 40))
def test_a_snapshot_changes_nothing_of_what_is_saved_next(said, at):
    told, other = Told(desk(*RULES)), Told(desk(*RULES))
    for one in said[:at]:
        told.tell(one)
        other.tell(one)
        told.desk.snapshot()
    assert told.desk.changes() == other.desk.changes()
    assert told.desk.changes() == {}


@pytest.mark.parametrize("lost", ["added", "changed", "dropped"])
def test_the_check_sees_a_lost_mark(lost, monkeypatch):
    """Each kind of mark left out in turn: what is then saved is not what the Desk remembers."""
    told, table = Told(desk(*RULES)), Table()
    told.tell(*parked(), detection(900, "cleared", of=JAM, opened=800))
    check(table, told)
    monkeypatch.setattr(Marks, lost, lambda *_: None)
    match lost:
        case "added":
            told.tell(detection(950, "raised", of=SMOKE, opened=950))
        case "changed":
            told.feedback(960, "accepted")
        case "dropped":  # the end that came before its beginning
            told.tell(detection(950, "raised", of=JAM, opened=800))
    with pytest.raises(AssertionError):
        check(table, told)


def test_the_check_sees_a_dossier_changed_without_a_mark(monkeypatch):
    told, table = Told(desk(*RULES)), Table()
    told.tell(*parked())
    check(table, told)
    monkeypatch.setattr(Cabinet, "change", Cabinet.look)
    told.feedback(960, "accepted")
    with pytest.raises(AssertionError):
        check(table, told)


# ---------------------------------------------------------------------------------------------------- versions


def test_entries_of_another_version_are_refused_and_change_nothing():
    told = Told(desk(*RULES))
    told.tell(*parked())
    before = told.desk.snapshot()
    for rest in ([VERSION - 1, 0, {}, 0, 0], [VERSION + 1, "whatever that will be"], {"version": 1}, []):
        with pytest.raises(StateMismatch, match=f"this is {VERSION}"):
            told.desk.restore({**before, "rest": msgspec.msgpack.encode(rest)})
    with pytest.raises(StateMismatch, match="no version among"):
        told.desk.restore({name: blob for name, blob in before.items() if name != "rest"})
    assert told.desk.snapshot() == before


def test_a_snapshot_of_the_first_version_is_refused():
    """It was one blob: in a table it can only stand as the whole of it."""
    blob = msgspec.msgpack.encode({"version": 1, "now_us": 0, "dossiers": [], "tickets": {}, "spots": {}})
    with pytest.raises(StateMismatch):
        desk(*RULES).restore({"rest": blob})


def test_an_empty_table_is_a_new_desk():
    told = Told(desk(*RULES))
    new = told.desk.snapshot()
    told.tell(*parked())
    told.desk.restore({})
    assert told.desk.snapshot() == new == told.desk.changes()


# ---------------------------------------------------------------------------------------------------- what is written


@pytest.mark.parametrize("opened", [5, 500])
def test_one_feedback_changes_three_entries_however_many_incidents_are_open(opened):
    told, table = Told(desk(*RULES)), Table()
    for n in range(opened):
        told.tell(detection(100, "raised", of=SMOKE, track=str(n), opened=100, lon=LON + n * 0.01, zone=None))
    assert told.desk.open_incidents == opened
    check(table, told)
    told.feedback(200, "accepted")
    assert {name[:2] for name in table.save(told.desk)} == {"i/", "s/", "re"}
    told.until(201)
    assert list(table.save(told.desk)) == ["rest"]


def test_what_is_told_again_is_not_written_again():
    """Of open incidents and of ended ones, of tickets and of waiting detections."""
    said = [
        *parked(),
        ticket(500, "T1", "违法停车"),
        detection(600, "raised", of=VENDOR, opened=600),
        command(700, incident(600, VENDOR), "false_alarm"),
        detection(800, "raised", of=VENDOR, track="17", opened=800),
        position(900, "u-near"),
    ]
    told, table = Told(desk(*RULES)), Table()
    told.tell(*said)
    check(table, told)
    told.tell(*said)
    assert table.save(told.desk) == {}


def test_the_end_of_a_detection_that_waited_is_a_duplicate_the_second_time():
    """It was kept for an hour as the end of one not yet seen."""
    told, table = Told(desk(*RULES)), Table()
    told.tell(detection(120, "raised", of=VENDOR), detection(121, "cleared", of=VENDOR))
    told.until(800)
    told.tell(detection(900, "raised", of=VENDOR, opened=900), detection(901, "cleared", of=VENDOR, opened=900))
    assert told.counts["quieted"] == 1
    check(table, told)
    told.tell(detection(901, "cleared", of=VENDOR, opened=900))
    assert told.counts["duplicate"] == 1
    assert table.save(told.desk) == {}


def test_what_came_and_went_between_two_saves_is_not_written():
    told, table = Told(desk(*RULES)), Table()
    told.tell(position(10, "u-near"))
    check(table, told)
    told.tell(detection(900, "cleared", of=JAM, opened=800), detection(950, "raised", of=JAM, opened=800))
    assert not [name for name in table.save(told.desk) if name.startswith("g/")]


def test_what_becomes_of_an_incident_is_written_with_its_tickets():
    """Each answer is counted in the ticket's note, and a merge hands the tickets over."""
    told, table = Told(desk(*RULES)), Table()
    told.tell(*parked(), ticket(500, "T1", "违法停车"))
    told.tell(detection(510, "raised", "open_case", opened=510, track="1", lon=LON + 0.01, zone="no-parking/other"))
    other = told.last.incident_id
    check(table, told)
    told.tell(command(520, incident(120), "merge", args={"into": other}))
    assert {f"i/{other}", f"i/{incident(120)}", "t/T1"} < set(table.save(told.desk))
    told.tell(command(530, other, "false_alarm"))
    assert {f"i/{other}", "t/T1"} < set(table.save(told.desk))
    assert table.entries == told.desk.snapshot()


def test_an_incident_that_is_forgotten_leaves_the_table():
    told, table = Told(desk(*RULES)), Table()
    told.tell(*parked(), command(500, incident(120), "false_alarm"))
    check(table, told)
    name = f"i/{incident(120)}"
    assert name in table.entries
    told.until(501 + REOPEN_US / SECOND_US)
    assert table.save(told.desk)[name] is None
    assert name not in told.desk.snapshot()


def test_an_ended_incident_that_is_reopened_after_a_restart_is_whole():
    told, table = Told(desk(*RULES)), Table()
    told.tell(*parked(), command(500, incident(120), "false_alarm"))
    check(table, told)
    told.desk = restarted(table)
    assert told.desk.open_incidents == 0
    told.tell(command(600, incident(120), "reopen"))
    assert told.desk.open_incidents == 1
    assert told.last.state == "dispatched"
    assert told.last.count == 1
    check(table, told)


def test_names_are_printable_and_short_whatever_the_ids_are():
    told = Told(desk(*RULES))
    longest = "事" * 118  # a feedback's id has its order's in it
    key: dict[str, Any] = {"track": longest, "sensor": longest, "zone": longest}
    told.tell(
        detection(100, "raised", of=VENDOR, opened=100, **key),
        ticket(110, longest, "违法停车"),
        feedback(120, longest, longest, "note"),
        position(130, longest),
        detection(135, "cleared", of=JAM, opened=100, **key),
    )
    told.tell(command(140, told.of("incidents")[0].incident_id, "false_alarm"))
    told.tell(detection(150, "raised", of=VENDOR, opened=150, **key))
    names = told.desk.changes()
    assert {name[0] for name in names} == set("itvegqwsr")
    assert all(name.isprintable() and len(name) <= 130 for name in names)


# ---------------------------------------------------------------------------------------------------- alarms


def test_alarms_that_are_put_off_again_and_again_do_not_pile_up():
    """And the ones that count still ring, after a restart too."""
    told, table = Told(desk(*RULES)), Table()
    told.tell(*parked())
    told.feedback(425, "accepted")
    due_us = dossiers_of(told.desk.snapshot())[0].timers["resolve"]
    for n in range(500):
        told.tell(command(430 + n / 10, incident(120), "extend", args={"minutes": 1}))
    assert len(told.desk._ledger.heap) < 100
    table.save(told.desk)
    told.desk = restarted(table)
    assert len(told.desk._ledger.heap) == 2
    told.take(told.desk.advance(due_us + 499 * MINUTE_US))
    assert told.last.reason == "extended_by_person"
    told.take(told.desk.advance(due_us + 500 * MINUTE_US))
    assert told.last.reason == "resolve_overdue"


# ---------------------------------------------------------------------------------------------------- ids taken


def test_a_save_writes_only_the_block_the_new_ids_are_in():
    seen = Seen(SEEN_US)
    for n in range(10 * BLOCK + 5):
        seen.add(f"f:{n}", n)
    assert len(seen.changes()) == 11
    seen.add("f:another", 5000)
    assert list(seen.changes()) == ["s/0/10"]
    assert seen.changes() == {}


def test_ids_are_known_through_a_restart_and_a_generation_later_dropped():
    seen = Seen(100)
    held: dict[str, bytes | None] = {}
    for n in range(3 * BLOCK):
        seen.add(f"f:{n}", 50)
    held.update(seen.changes())
    seen.add("f:later", 120)
    seen.add("f:later", 120)
    held.update(seen.changes())
    again = Seen(100)
    blocks = {name.removeprefix("s/"): blob for name, blob in reversed(held.items()) if blob is not None}
    again.restore(blocks, 1, seen.since_us)
    assert "f:0" in again
    assert "f:later" in again
    assert again.snapshot() == seen.snapshot() == held
    again.add("f:much-later", 300)
    assert "f:0" not in again
    assert "f:later" in again
    assert [name for name, blob in again.changes().items() if blob is None] == ["s/0/0", "s/0/1", "s/0/2"]


# ---------------------------------------------------------------------------------------------------- vehicles


def test_a_vehicle_that_changes_its_unit_says_no_more_where_the_first_one_is():
    """With a restart and without: what only a running Desk remembers may not choose a unit."""
    for stopped in (False, True):
        told, table = Told(desk(*RULES)), Table()
        far = position(100, "u-near", lon=LON + 0.5)
        told.tell(far, of_unit(far, 200, "u-far"))
        if stopped:
            table.save(told.desk)
            told.desk = restarted(table)
        told.tell(*parked())
        assert told.order.unit_id == "u-near"


def test_of_the_vehicles_of_a_unit_the_next_best_stands_in_for_one_that_is_forgotten():
    for stopped in (False, True):
        told, table = Told(desk(*RULES)), Table()
        first = position(100, "u-near", on_duty=False)
        told.tell(first, of_unit(first, 90, "u-near", vehicle="v-second"))
        told.until(101 + POSITION_US / SECOND_US)
        if stopped:
            table.save(told.desk)
            told.desk = restarted(table)
        told.tell(position(102 + POSITION_US / SECOND_US, "u-mid"))
        check(table, told)
        assert told.desk._ledger.unit_spots["u-near"].vehicle_id == "v-second"


def of_unit(said: Said, seconds: float, unit: str, vehicle: str | None = None) -> Said:
    """The same vehicle's, or another's, later word."""
    topic, record = said
    value: dict[str, Any] = orjson.loads(record.value or b"")
    value |= {"unit_id": unit, "vehicle_id": vehicle or value["vehicle_id"]}
    return city_record(topic, seconds, value | {"time": at(seconds) // 1000})


def incident(opened: int, of: Rule = PARKING) -> str:
    """The one that track 17's detection opened."""
    return content_id("i", content_id("d", of.id, "cam-1", "17", STREET, opened))
