"""What a sensor usually reads at a time of day, on a working day or at a weekend. Missing readings are NaN."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY_US = 86_400_000_000
# The first day of the epoch was a Thursday, the fourth of a week that starts on Monday.
EPOCH_WEEKDAY = 3
# A usual value counts as this many days of evidence against the days seen at the very slot.
PRIOR_DAYS = 3.0
SMOOTHED_SLOTS = 3


@dataclass(frozen=True, slots=True)
class Slots:
    """Where local times fall: number of the day, slot in the day, and whether it is a weekend."""

    day: Ints
    slot: Ints
    weekend: NDArray[np.bool_]

    @classmethod
    def of(cls, local_time_us: Ints, step_us: int) -> "Slots":
        day = local_time_us // DAY_US
        return cls(day, (local_time_us % DAY_US) // step_us, (day + EPOCH_WEEKDAY) % 7 >= 5)


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums and counts of readings: slots by sensors."""

    total: Floats
    count: Floats

    @classmethod
    def of(cls, readings: Floats, slot: Ints, slots: int) -> "Tally":
        known = np.isfinite(readings)
        total = np.zeros((slots, readings.shape[1]))
        count = np.zeros_like(total)
        np.add.at(total, slot, np.where(known, readings, 0.0))
        np.add.at(count, slot, known.astype(np.float64))
        return cls(_smoothed(total), _smoothed(count))

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.total + other.total, self.count + other.count)

    def __sub__(self, other: "Tally") -> "Tally":
        return Tally(self.total - other.total, self.count - other.count)

    def towards(self, prior: Floats) -> Floats:
        weight = PRIOR_DAYS * (2 * SMOOTHED_SLOTS + 1)
        return (self.total + weight * prior) / (self.count + weight)


@dataclass(frozen=True, slots=True)
class Profile:
    """Usual readings of working days and weekends, slots by sensors; NaN for a sensor never read."""

    workday: Floats
    weekend: Floats

    def at(self, when: Slots) -> Floats:
        return np.where(when.weekend[:, None], self.weekend[when.slot], self.workday[when.slot])


def learn(readings: Floats, when: Slots, slots: int) -> tuple[Profile, Floats]:
    """The profile of all rows, and for each row what the other days alone would have said of it."""
    usual = _column_means(readings)
    days = {int(day): when.day == day for day in np.unique(when.day)}
    tallies = {day: Tally.of(readings[rows], when.slot[rows], slots) for day, rows in days.items()}
    nothing = Tally(np.zeros((slots, readings.shape[1])), np.zeros((slots, readings.shape[1])))
    of_type = {False: nothing, True: nothing}
    for day, tally in tallies.items():
        of_type[_is_weekend(day)] += tally
    everything = of_type[False] + of_type[True]
    others = np.empty_like(readings)
    for day, rows in days.items():
        left = of_type[_is_weekend(day)] - tallies[day]
        expected = left.towards((everything - tallies[day]).towards(usual))
        others[rows] = expected[when.slot[rows]]
    prior = everything.towards(usual)
    return Profile(of_type[False].towards(prior), of_type[True].towards(prior)), others


def _is_weekend(day: int) -> bool:
    return (day + EPOCH_WEEKDAY) % 7 >= 5


def _column_means(readings: Floats) -> Floats:
    known = np.isfinite(readings)
    count = known.sum(axis=0)
    total = np.where(known, readings, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _smoothed(rows: Floats) -> Floats:
    around = range(-SMOOTHED_SLOTS, SMOOTHED_SLOTS + 1)
    return np.asarray(np.sum([np.roll(rows, shift, axis=0) for shift in around], axis=0, dtype=np.float64))
