"""Whatever comes, in whatever order and however often: what must always hold of the Desk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import groupby
from typing import Any, get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from models.dispatch import CommandName
from models.ids import content_id
from models.incidents import State
from rules.incidents.desk import Output
from rules.incidents.dossier import Dossier
from rules.incidents.states import ORDERED, TABLE
from tests.rules.incidents.city import (
    COVER,
    JAM,
    LON,
    PARKING,
    SHADOW,
    SMOKE,
    STREET,
    VENDOR,
    Said,
    Told,
    bytes_of,
    command,
    desk,
    detection,
    feedback,
    position,
    ticket,
)

RULES = (PARKING, JAM, COVER, SMOKE, VENDOR, SHADOW)
TRACKS = ("1", "2", "3")
OPENINGS = (120, 900, 2400)
END = 20_000.0
times = st.integers(0, 6000).map(float)


def lon_of(track: str) -> float:
    return LON + TRACKS.index(track) * 0.00004


@st.composite
def some_detections(draw) -> list[Said]:
    """The transitions of one opening; some may be missing, the first may be late."""
    of, track, opened = draw(st.sampled_from(RULES)), draw(st.sampled_from(TRACKS)), draw(st.sampled_from(OPENINGS))
    more: dict[str, Any] = {"of": of, "track": track, "opened": float(opened), "lon": lon_of(track)}
    staged = bool(of.base.stages)
    said = [detection(opened, "raised", "remind_owner" if staged else None, **more)]
    if staged and draw(st.booleans()):
        said.append(detection(opened + 300, "stage", "second_look", **more))
        said.append(detection(opened + 300, "stage", "open_case", **more))
    said += [detection(opened + n, "still", **more) for n in draw(st.lists(st.integers(1, 2000), max_size=3))]
    if draw(st.booleans()):
        said.append(detection(opened + draw(st.integers(1, 2000)), "unknown", **more))
    if of is not COVER and draw(st.booleans()):
        said.append(detection(opened + draw(st.integers(1, 2000)), "cleared", **more))
    return said


@st.composite
def an_incident(draw) -> str:
    of, track, opened = draw(st.sampled_from(RULES)), draw(st.sampled_from(TRACKS)), draw(st.sampled_from(OPENINGS))
    return content_id("i", content_id("d", of.id, "cam-1", track, STREET, opened))


@st.composite
def some_feedback(draw) -> list[Said]:
    identity = draw(an_incident())
    actions = st.sampled_from(["accepted", "arrived", "handled", "returned", "rejected", "note", "extension_requested"])
    order_id = content_id("o", identity, draw(st.integers(1, 3)))
    return [feedback(draw(times), order_id, identity, draw(actions), n=draw(st.integers(0, 1)))]


@st.composite
def a_command(draw) -> list[Said]:
    name = draw(st.sampled_from(get_args(CommandName)))
    args: dict[str, Any] = draw(
        st.sampled_from([{}, {"unit_id": "u-mid"}, {"department": "municipal-works"}, {"minutes": 10}, {"minutes": -1}])
    )
    if name == "merge":
        args = {"into": draw(an_incident())}
    role = draw(st.sampled_from(["dispatcher", "verifier", "viewer"]))
    return [command(draw(times), draw(an_incident()), name, role=role, args=args)]


@st.composite
def a_ticket(draw) -> list[Said]:
    category = draw(st.sampled_from(["违法停车", "井盖缺失", "道路积水", "别的", None]))
    lon = draw(st.sampled_from([LON, LON + 0.00004, LON + 0.01, None]))
    caller = draw(st.sampled_from(["13800001234", "13900001234", None]))
    name = f"T{draw(st.integers(1, 4))}"
    lat: dict[str, Any] = {"lat": None} if lon is None else {}
    return [ticket(draw(times), name, category, lon=lon, caller=caller, **lat)]


@st.composite
def a_position(draw) -> list[Said]:
    unit = draw(st.sampled_from(["u-near", "u-mid"]))
    return [position(draw(times), unit, on_duty=draw(st.booleans()))]


anything = st.one_of(
    some_detections(), some_detections(), some_feedback(), some_feedback(), a_command(), a_ticket(), a_position()
)


@st.composite
def days(draw, *, ordered: bool = False) -> list[Said]:
    """What a Desk may hear in a day: in the order of time, or in any."""
    said = [one for several in draw(st.lists(anything, max_size=14)) for one in several]
    said.sort(key=lambda one: one[1].timestamp)
    return said if ordered or draw(st.booleans()) else draw(st.permutations(said))


def dossiers_of(entries: Mapping[str, bytes]) -> list[Dossier]:
    return [msgspec.msgpack.decode(blob, type=Dossier) for name, blob in entries.items() if name.startswith("i/")]


def run(said: list[Said]) -> Told:
    told = Told(desk(*RULES))
    told.tell(*said)
    told.until(END)
    return told


@settings(max_examples=150)
@given(days())
def test_nothing_illegal_nothing_lost_nothing_doubled(said):
    told = run(said)
    revisions: dict[str, list[Any]] = defaultdict(list)
    for incident in told.of("incidents"):
        revisions[incident.incident_id].append(incident)
    for life in revisions.values():
        assert [i.revision for i in life] == list(range(1, len(life) + 1))
        state = State.SUSPECTED
        for incident in life:
            assert incident.state == state or incident.state in TABLE[state].values(), (state, incident.state)
            state = incident.state
            assert incident.life_safety is False or incident.reason not in ("verified", "self_resolved")
    issued = [o.order_id for o in told.of("dispatch.orders") if not o.cancelled]
    assert len(issued) == len(set(issued))
    assert len({o.id for o in told.outputs}) == len(told.outputs)

    dossiers = dossiers_of(told.desk.snapshot())
    bins = sum(told.counts.get(name, 0) for name in ("used", "duplicate", "filtered", "late", "dead"))
    assert bins == len(said)
    for unit in ("u-near", "u-mid", "u-far", "u-works"):
        held = [d for d in dossiers if d.state in ORDERED and d.unit_id == unit]
        assert told.desk._ledger.loads[unit] == len(held)

    holders: dict[str, list[str]] = defaultdict(list)
    for dossier in dossiers:
        for part in dossier.parts:
            holders[part].append(dossier.incident_id)
    for topic, record in said:
        if topic == "detections" and b'"kind":"raised"' in record.value and VENDOR.id.encode() not in record.value:
            found = record.value.split(b'"')[3].decode()
            assert len(holders[found]) == (0 if SHADOW.id.encode() in record.value else 1)
    for incident in dossiers:
        for ticket_id in incident.tickets:
            note = told.desk._ledger.tickets.look(ticket_id)
            assert note is not None
            assert note.incident_id == incident.incident_id
    heard = {one[1].value.split(b'"')[3].decode() for one in said if one[0] == "hotline.tickets"}
    assert {r.ticket_id for r in told.of("hotline.replies")} == heard


@settings(max_examples=60)
@given(days())
def test_everything_twice_is_everything_once(said):
    once = run(said)
    twice = run([one for each in said for one in (each, each)])
    assert bytes_of(twice.outputs) == bytes_of(once.outputs)
    assert once.desk.snapshot() == twice.desk.snapshot()


@settings(max_examples=60)
@given(days(ordered=True))
def test_the_whole_day_again_says_nothing_new(said):
    """In the order of time: out of it, what came too soon to be understood may be of use the second time."""
    told = Told(desk(*RULES))
    told.tell(*said)
    assert told.tell(*said) == []


@settings(max_examples=60)
@given(days(), st.data())
def test_stop_snapshot_restore_go_on_is_running_through(said, data):
    through = run(said)
    told = Told(desk(*RULES))
    stops = data.draw(st.sets(st.integers(0, len(said)), max_size=3))
    for n, one in enumerate(said):
        if n in stops:
            told.restart(*RULES)
        told.tell(one)
    told.restart(*RULES)
    told.until(END)
    assert bytes_of(told.outputs) == bytes_of(through.outputs)
    assert told.desk.snapshot() == through.desk.snapshot()


@settings(max_examples=60)
@given(days())
def test_in_batches_is_one_by_one(said):
    through = run(said)
    outputs: list[Output] = []
    batched = desk(*RULES)
    for topic, run_of in groupby(said, key=lambda one: one[0]):
        outputs += batched.feed(topic, [record for _, record in run_of]).outputs
    outputs += batched.advance(through.desk.now_us).outputs
    assert bytes_of(outputs) == bytes_of(through.outputs)


@settings(max_examples=40)
@given(days(), st.lists(st.integers(0, round(END)), max_size=20))
def test_ticks_in_between_change_nothing_that_is_due_anyway(said, ticks):
    """After the inputs, however finely the clock goes on."""
    through = run(said)
    told = Told(desk(*RULES))
    told.tell(*said)
    for tick in sorted(ticks):
        told.until(tick)
    told.until(END)
    assert bytes_of(told.outputs) == bytes_of(through.outputs)
