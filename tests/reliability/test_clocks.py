"""F10, F12, F13, F14, F28 without a broker: records that come again, late, with wrong stamps, or no more."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from models.observations import DeadReason
from models.times import parse_time_us
from streams.agents.detectors import DetectorAgent
from streams.commands.worker import LANE_TICK_S
from streams.transport import Record
from tests.reliability.water import CLEAR_S, HIGH, HOLD_S, LATENESS_S, LOW, RULE, in_turn, levels, run, told
from tests.rules.detection.stage import START_US, Sent, Stage, at_ms, reading
from tests.rules.incidents.city import SMOKE, desk, detection
from tests.rules.incidents.city import Told as DeskTold
from tests.streams.test_agents import KEY, World

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
FLOOD = {range(20): LOW, range(20, 40): HIGH, range(40, 60): LOW}
"""Raised 8 s after it rose, cleared 4 s after it fell."""
EXPECTED = [("w-1", 28.0, "raised"), ("w-1", 44.0, "cleared")]


def arriving(sent: Sent, second: float) -> Sent:
    return sent._replace(arrival_s=second)


# ---------------------------------------------------------------------------------------------------- F10 come again


def test_ten_minutes_replayed_as_a_block_are_all_in_a_bin_and_tell_nothing() -> None:
    wave = {range(s, s + 30): (LOW, HIGH)[s // 30 % 2] for s in range(0, 700, 30)}
    once = in_turn(levels("w-1", wave), levels("w-2", wave))
    stage = run(once, until_s=700)
    before, bins = told(stage), dict(stage.bins)
    block = [arriving(sent, 720.0) for sent in once if sent.arrival_s > 100]
    stage.feed(*block)
    stage.advance(900)
    grown = {name: stage.bins[name] - bins[name] for name in bins}
    assert len(before) > 20
    assert [one for one in told(stage) if one not in before] == []
    assert len(told(stage)) == len(before)
    assert grown["used"] == grown["filtered"] == grown["dead"] == 0
    assert grown["duplicate"] > 0, "those of the last two minutes are known"
    assert grown["late"] > 0, "older ones are not asked for"
    assert grown["duplicate"] + grown["late"] == len(block)


# --------------------------------------------------------------------------------------------------------- F12 too late


@pytest.mark.parametrize("behind_s", [MINUTE_S, 10 * MINUTE_S, HOUR_S, DAY_S, 2 * DAY_S])
def test_what_comes_too_late_is_counted_and_changes_nothing(behind_s: int) -> None:
    on_time, end = levels("w-1", FLOOD), 60 + behind_s
    # A flood of another sensor; and of the same, between the readings it gave, that all was dry.
    between = [reading(second + 0.5, LOW, device="w-1") for second in range(60)]
    late = [arriving(sent, sent.arrival_s + behind_s) for sent in [*levels("w-2", FLOOD), *between]]
    plain, mixed = Stage(RULE), Stage(RULE)
    for stage in (plain, mixed):
        stage.feed(*on_time)
        stage.advance(end)
    watermark_us = mixed.detector.watermark_us("sensor.readings")
    mixed.feed(*late)
    assert mixed.bins == {**plain.bins, "late": len(late)}
    assert mixed.detector.watermark_us("sensor.readings") == watermark_us
    for stage in (plain, mixed):
        stage.feed(*levels("w-1", {range(end, end + 20): HIGH}))
        stage.advance(end + 30)
    assert told(mixed) == told(plain)
    assert told(mixed) == [*EXPECTED, ("w-1", float(end + HOLD_S), "raised")]


# ----------------------------------------------------------------------------------------------------- F13 wrong clocks


def stamped(sent: Sent, off_s: float, device: str) -> Sent:
    """The same arrival with a stamp that is off."""
    return reading(sent.arrival_s - 0.2 + off_s, HIGH, device=device)._replace(arrival_s=sent.arrival_s)


@pytest.mark.parametrize(
    ("off_s", "bin_name"),
    [
        (5 * MINUTE_S, "dead"),
        (DAY_S, "dead"),
        ((parse_time_us("2099-12-31T23:59:59Z") - START_US) / 1e6, "dead"),
        (-5 * MINUTE_S, "late"),
        (-DAY_S, "late"),
        ((parse_time_us("1970-01-01T00:01:00Z") - START_US) / 1e6, "late"),
    ],
)
def test_a_source_with_a_wrong_clock_moves_no_watermark_and_opens_nothing(off_s: float, bin_name: str) -> None:
    good = levels("w-1", FLOOD)
    wrong = [stamped(sent, off_s, "w-wrong") for sent in good[2:]]
    stage, alone = Stage(RULE), run(good, until_s=70)
    for sent in in_turn(good, wrong):
        before_us = stage.detector.watermark_us("sensor.readings")
        stage.feed(sent)
        assert sent in good or stage.detector.watermark_us("sensor.readings") == before_us
    stage.advance(70)
    assert told(stage) == told(alone) == EXPECTED
    assert stage.bins[bin_name] == len(wrong)
    assert stage.bins["used"] == len(good)


def test_a_source_two_minutes_fast_makes_the_others_late_and_closes_none_of_them() -> None:
    """The bound of what one clock can do: its stamps are believed up to two minutes ahead of the broker's."""
    good = levels("w-1", {range(60): HIGH})
    fast = [stamped(good[30], 119, "w-fast")]
    stage = run(in_turn(good, fast), until_s=70)
    assert told(stage) == [("w-1", 8.0, "raised")]
    assert stage.bins["late"] == len(good) - 31


def test_a_stamp_from_the_future_is_refused_with_its_reason() -> None:
    stage = Stage(RULE)
    outcome = stage.detector.feed("sensor.readings", [Record(0, at_ms(0), KEY, reading(121, HIGH).value, ())])
    assert [failure.reason for failure in outcome.dead] == [DeadReason.TIME_IN_FUTURE]


def water_world() -> World:
    world = World("wall")
    world.stage = Stage(RULE)
    return world


async def live(world: World, agent: DetectorAgent, device: str, first_s: int, last_s: int, level: float) -> None:
    """Readings as they come, and the worker's ticks between them."""
    for second in range(first_s, last_s):
        world.shell.time_s = second + 0.3
        record = Record(0, at_ms(second + 0.2), KEY, reading(second, level, device=device).value, ())
        await agent.take(world.chunk("sensor.readings", record))
        await agent.tick()


def kinds(world: World) -> list[str]:
    """Of the detections sent, `still` left out."""
    sent = [orjson.loads(message.value)["kind"] for message in world.shell.all("detections")]
    return [kind for kind in sent if kind != "still"]


def test_a_worker_whose_clock_is_set_an_hour_ahead_loses_sight_and_opens_and_closes_nothing() -> None:
    """What comes until the clock is right again is late: the lane has promised to have waited for it."""

    async def play() -> None:
        world = water_world()
        agent = await world.agent()
        await live(world, agent, "w-1", 0, 20, HIGH)
        assert kinds(world) == ["raised"]
        world.shell.time_s += HOUR_S
        for _ in range(6):  # the first second it may be that it stood still
            await agent.tick()
            world.shell.time_s += LANE_TICK_S
        assert kinds(world) == ["raised", "unknown"]
        await live(world, agent, "w-1", 20, 60, LOW)
        assert kinds(world) == ["raised", "unknown"]
        assert agent.counts["late"] == 40

    asyncio.run(play())


def test_a_worker_whose_clock_is_set_an_hour_back_goes_on_by_what_it_reads() -> None:
    async def play() -> None:
        world = water_world()
        agent = await world.agent()
        await live(world, agent, "w-1", 0, 20, HIGH)
        before_us = agent.held[next(iter(agent.held))].detector.watermark_us("sensor.readings")
        world.shell.time_s -= HOUR_S
        await agent.tick()
        assert agent.held[next(iter(agent.held))].detector.watermark_us("sensor.readings") == before_us
        await live(world, agent, "w-1", 20, 60, LOW)
        assert kinds(world) == ["raised", "cleared"]
        assert agent.counts["late"] == 0

    asyncio.run(play())


def test_the_desks_timers_stand_still_while_a_clock_that_was_set_back_catches_up() -> None:
    """Its time is the greatest it was told. Nothing falls due twice or anew; a limit set meanwhile runs from there."""
    one = DeskTold(desk())
    one.tell(detection(0, "raised", of=SMOKE, opened=0))
    one.until(HOUR_S)
    said, now_us = len(one.outputs), one.desk.now_us
    one.until(0)
    one.until(HOUR_S - 1)
    assert (len(one.outputs), one.desk.now_us) == (said, now_us)
    one.tell(detection(10, "raised", of=SMOKE, track="2", opened=10, lon=121.2))
    assert one.order.issued_at == one.of("incidents")[-1].changed_at
    assert parse_time_us(one.order.issued_at) == now_us


def test_a_desk_whose_clock_is_set_an_hour_ahead_hurries_people_and_closes_nothing() -> None:
    one = DeskTold(desk())
    for number in range(20):
        one.tell(detection(number, "raised", of=SMOKE, track=f"{number}", opened=number, lon=121.0 + number / 100))
    opened = {incident.incident_id for incident in one.of("incidents")}
    one.until(20 + HOUR_S)
    assert {incident.incident_id for incident in one.of("incidents")} == opened
    assert {state for state, _ in one.states} <= {"confirmed", "dispatched"}


# ------------------------------------------------------------------------------------------- F14 nothing comes any more


def test_a_lane_that_fell_silent_decides_by_the_wall_clock_when_the_lateness_has_passed() -> None:
    """It rose at 0 and the last reading is of 8, when it has held long enough: told when nothing earlier can come."""

    async def play() -> None:
        world = water_world()
        agent = await world.agent()
        await live(world, agent, "w-1", 0, HOLD_S + 1, HIGH)
        while not kinds(world) and world.shell.time_s < MINUTE_S:
            world.shell.time_s += LANE_TICK_S
            await agent.tick()
        assert HOLD_S + LATENESS_S <= world.shell.time_s <= HOLD_S + LATENESS_S + 2 * LANE_TICK_S
        assert kinds(world) == ["raised"]

    asyncio.run(play())


# --------------------------------------------------------------------------------------------- F28 a power cut


def test_five_hundred_sensors_silent_at_once_open_and_close_nothing() -> None:
    """Half of them under water: each of those is unknown once, and what is so when the power is back is told then."""
    wet, dry = [f"w-{n}" for n in range(250)], [f"d-{n}" for n in range(250)]
    before = [levels(device, {range(20): HIGH}) for device in wet] + [levels(d, {range(20): LOW}) for d in dry]
    stage = Stage(RULE)
    stage.feed(*in_turn(*before))
    stage.advance(20)
    assert told(stage) == [(device, 8.0, "raised") for device in sorted(wet)]
    for second in range(MINUTE_S, 2 * HOUR_S, MINUTE_S):
        stage.advance(second)
    lost = [one for one in told(stage) if one[2] != "raised"]
    assert [(device, kind) for device, _, kind in lost] == [(device, "unknown") for device in sorted(wet)]
    back = 2 * HOUR_S
    stage.feed(*in_turn(*(levels(device, {range(back, back + 20): LOW}) for device in [*wet, *dry])))
    stage.advance(back + 30)
    after = [one for one in told(stage) if one[1] >= back]
    assert after == [(device, float(back + CLEAR_S), "cleared") for device in sorted(wet)]
