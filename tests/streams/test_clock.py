"""The worker's clock when the machine's is set."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest

from streams.clock import SLEW, US_PER_S, SteadyClock

HOUR_S = 3600.0


@dataclass(slots=True)
class Machine:
    """Its two clocks: one is set by people, one only counts."""

    wall_us: int = 1_772_400_000 * US_PER_S
    steady_us: int = 5 * US_PER_S

    def passes(self, seconds: float, drift: float = 0.0) -> None:
        self.steady_us += round(seconds * US_PER_S)
        self.wall_us += round(seconds * (1 + drift) * US_PER_S)

    def is_set(self, by_s: float) -> None:
        self.wall_us += round(by_s * US_PER_S)


@dataclass(slots=True)
class Watch:
    """A steady clock on a machine, looked at four times a second."""

    machine: Machine
    clock: SteadyClock

    def after(self, seconds: float, drift: float = 0.0) -> float:
        """How far it is ahead of the machine's then, seconds. It has never gone back."""
        for _ in range(round(seconds * 4)):
            before_us = self.clock.now_us()
            self.machine.passes(0.25, drift)
            assert self.clock.now_us() > before_us
        return (self.clock.now_us() - self.machine.wall_us) / US_PER_S


@pytest.fixture
def watch() -> Watch:
    machine = Machine()
    return Watch(machine, SteadyClock(lambda: machine.wall_us, lambda: machine.steady_us))


def test_it_is_the_machine_s_clock_while_nobody_sets_that(watch: Watch) -> None:
    assert watch.after(60) == 0.0
    assert watch.after(600, drift=0.0005) == 0.0
    assert watch.after(600, drift=-0.0005) == 0.0
    assert watch.clock.machine_us() == watch.machine.wall_us


@pytest.mark.parametrize("by_s", [HOUR_S, -HOUR_S], ids=["ahead", "back"])
def test_set_by_an_hour_it_goes_on_and_follows_by_and_by(watch: Watch, by_s: float) -> None:
    before_us = watch.clock.now_us()
    watch.machine.is_set(by_s)
    assert watch.clock.now_us() == before_us
    off_s = watch.after(60)
    assert off_s == pytest.approx(-by_s + (60 * SLEW if by_s > 0 else -60 * SLEW), abs=0.1)


@pytest.mark.parametrize("by_s", [30.0, -30.0])
def test_it_comes_up_with_a_clock_that_was_put_right(watch: Watch, by_s: float) -> None:
    watch.machine.is_set(by_s)
    assert abs(watch.after(0.9 * 30 / SLEW)) > 1
    assert watch.after(0.2 * 30 / SLEW) == 0.0
    assert watch.after(10) == 0.0


def test_a_mistake_that_is_mended_soon_has_moved_it_little(watch: Watch) -> None:
    watch.machine.is_set(HOUR_S)
    watch.after(120)
    watch.machine.is_set(-HOUR_S)
    assert 0 < watch.after(0.25) <= 120 * SLEW


def test_a_step_is_told_once(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        watch.after(10, drift=0.001)
        assert not caplog.records
        watch.machine.is_set(-HOUR_S)
        watch.after(30)
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        "the machine's clock was set by -3600.0 s"
    ]


def test_time_in_which_nobody_looked_has_passed_all_the_same(watch: Watch) -> None:
    watch.machine.passes(7200)
    assert watch.clock.now_us() == watch.machine.wall_us
