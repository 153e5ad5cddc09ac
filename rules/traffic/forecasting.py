"""Speeds of the next hour for every sensor, learned from the past alone.

A forecast is the usual reading at that time plus what is left of today's deviation from it. How much is left comes from
a ridge regression for each horizon on the sensor's own past, its neighbours and the network: one set of weights shared
by all sensors, and for each sensor a shrunken deviation from them. Fixed hinges learn what that leaves over, for all
sensors alike. Rows come in order of time; missing ones are NaN.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

import numpy as np

from rules.traffic.hinges import Hinges
from rules.traffic.profiles import DAY_US, Floats, Ints, Profile, Slots, learn

FREE_SHARE = 0.85
"""Of the readings, those that are slower than free."""


class Basis(StrEnum):
    """What a forecast rests on, best first."""

    MODEL = "model"
    DECAYED = "profile_and_decayed_residual"
    PROFILE = "profile"
    PERSISTENCE = "persistence"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ForecastSettings:
    """Steps are rows; the defaults suit rows of five minutes."""

    step_us: int = 300_000_000
    horizons: tuple[int, ...] = tuple(range(1, 13))
    lags: tuple[int, ...] = (0, 1, 2, 3, 6, 12)
    neighbours: int = 8
    lead: int = 3
    shared_ridge: float = 100.0
    own_ridge: float = 100_000.0
    # Four weeks: four of each weekday, and the memory it takes is known beforehand.
    history_rows: int = 4 * 7 * 288
    # A sensor silent for longer has no state of its own to go on from.
    model_silence: int = 3
    decayed_silence: int = 12
    decay: float = 0.93
    target_coverage: float = 0.9
    # Of sensors and rows: what the hinges are learned from, every so many rows.
    examples: int = 120_000

    @property
    def slots(self) -> int:
        return DAY_US // self.step_us

    @property
    def least_rows(self) -> int:
        """A day: before it there is no profile to deviate from."""
        return self.slots


@dataclass(frozen=True, slots=True)
class Forecast:
    """Horizons by sensors, in the unit of the readings; NaN where the basis is none."""

    expected: Floats
    basis: tuple[Basis, ...]


@dataclass(frozen=True, slots=True)
class FittedModel:
    """Weights are horizons by sensors by features; neighbours are sensors by rank."""

    profile: Profile
    usual: Floats
    neighbours: Ints
    closeness: Floats
    weights: Floats
    free: Floats
    hinges: Hinges | None


class Forecaster:
    """Feed it rows with `observe`, let it learn with `refit`, ask it with `forecast`."""

    def __init__(self, sensors: int, settings: ForecastSettings | None = None) -> None:
        self.settings = settings or ForecastSettings()
        self.readings = np.empty((0, sensors))
        self.times_us = np.empty(0, dtype=np.int64)
        self.fitted: FittedModel | None = None

    def observe(self, local_time_us: Ints, readings: Floats) -> Self:
        """Add rows in order of time; raises ValueError for a row not after the last."""
        times = np.concatenate((self.times_us, local_time_us))
        if np.any(np.diff(times) <= 0):
            raise ValueError("rows must come in order of time")
        keep = self.settings.history_rows
        self.times_us = times[-keep:]
        self.readings = np.concatenate((self.readings, readings))[-keep:]
        return self

    def refit(self) -> None:
        """Learn anew from the rows kept; without a day of rows nothing is learned."""
        if len(self.readings) >= self.settings.least_rows:
            self.fitted = fit(self.times_us, self.readings, self.settings)

    def forecast(self) -> Forecast:
        """The horizons after the last row; raises ValueError before any row."""
        if not len(self.readings):
            raise ValueError("nothing observed yet")
        silence = _rows_since_reading(self.readings)
        last = _last_reading(self.readings, silence)
        expected = np.tile(last, (len(self.settings.horizons), 1))
        if self.fitted is None:
            return Forecast(expected, tuple(Basis.PERSISTENCE if known else Basis.NONE for known in np.isfinite(last)))
        return self._forecast_fitted(self.fitted, expected, silence)

    def _forecast_fitted(self, model: FittedModel, persistence: Floats, silence: Ints) -> Forecast:
        settings = self.settings
        rows = slice(-(max(settings.lags) + settings.decayed_silence + 1), None)
        when = Slots.of(self.times_us[rows], settings.step_us)
        usual = model.profile.at(when)
        left = _carried(self.readings[rows] - usual, settings)
        state = _state(left, model, settings)[:, -1]
        ahead_us = self.times_us[-1] + np.array(settings.horizons, dtype=np.int64) * settings.step_us
        ahead = model.profile.at(Slots.of(ahead_us, settings.step_us))
        answers = np.empty_like(persistence)
        for number in range(len(settings.horizons)):
            features = _with_profile(state, ahead[number], usual[-1], model.usual)
            answers[number] = ahead[number] + np.einsum("sf,sf->s", features, model.weights[number])
        if model.hinges is not None:
            examples = _bendable(state[:, None], usual + left, [len(left) - 1], when, ahead[:, None], model, settings)
            answers += model.hinges.expected(examples).T
        fading = ahead + left[-1] * settings.decay ** np.array(settings.horizons)[:, None]
        expected = np.where(silence <= settings.model_silence, answers, fading)
        expected = np.where(silence > settings.decayed_silence, ahead, expected)
        expected = np.where(np.isfinite(ahead), expected, persistence)
        known = np.isfinite(model.usual)
        basis = tuple(_basis(int(rows), bool(has), settings) for rows, has in zip(silence, known, strict=True))
        return Forecast(np.maximum(expected, 0.0), basis)


def fit(local_time_us: Ints, readings: Floats, settings: ForecastSettings) -> FittedModel:
    """Each training row deviates from what the other days say of it, as a row of tomorrow will."""
    when = Slots.of(local_time_us, settings.step_us)
    profile, others = learn(readings, when, settings.slots)
    left = _carried(readings - others, settings)
    neighbours, closeness = _neighbours(left, settings)
    usual = others.mean(axis=0)
    free = np.quantile(np.nan_to_num(others + left), FREE_SHARE, axis=0)
    straight = FittedModel(profile, usual, neighbours, closeness, np.empty(0), free, None)
    state = _state(left, straight, settings)
    weights = np.stack([_weights(state, readings, others, usual, steps, settings) for steps in settings.horizons])
    straight = replace(straight, weights=weights)
    return replace(straight, hinges=_hinges(state, readings, others, left, when, straight, settings))


def _hinges(
    state: Floats,
    readings: Floats,
    others: Floats,
    left: Floats,
    when: Slots,
    model: FittedModel,
    settings: ForecastSettings,
) -> Hinges:
    """Learned from what the straight weights leave over in every so many rows."""
    every = max(1, readings.size // settings.examples)
    rows = np.arange(max(settings.lags), len(readings) - max(settings.horizons), every)
    ahead = np.stack([others[rows + steps] for steps in settings.horizons])
    left_over = np.empty((len(rows), readings.shape[1], len(settings.horizons)))
    for number, steps in enumerate(settings.horizons):
        features = _with_profile(state[:, rows], ahead[number].T, others[rows].T, model.usual[:, None])
        straight = np.einsum("srf,sf->rs", features, model.weights[number])
        left_over[:, :, number] = readings[rows + steps] - ahead[number] - straight
    examples = _bendable(state[:, rows], others + left, rows, when, ahead, model, settings)
    wanted = left_over.transpose(1, 0, 2).reshape(len(examples), -1)
    known = np.isfinite(wanted).all(axis=1)
    return Hinges.learn(examples[known], wanted[known])


def _bendable(
    state: Floats,
    levels: Floats,
    rows: Ints | list[int],
    when: Slots,
    ahead: Floats,
    model: FittedModel,
    settings: ForecastSettings,
) -> Floats:
    """Sensors and rows by features: the state, the level now and before, what is usual then, and the time of day.

    `levels` are all rows by sensors, `ahead` horizons by rows by sensors. Levels are counted from the free one.
    """
    at = np.asarray(rows)
    chosen = sorted({len(ahead) // 4, len(ahead) // 2, len(ahead) - 1})
    now = [levels[at - lag] for lag in settings.lags]
    usual = [levels[at] - model.usual, *ahead[chosen]]
    turn = 2 * np.pi * when.slot[at] / settings.slots
    waves = [wave(times * turn) for times in (1, 2, 3) for wave in (np.sin, np.cos)]
    columns = [(level - model.free).T for level in [*now, *usual[1:]]]
    columns += [usual[0].T, *(np.broadcast_to(wave, state.shape[:2]) for wave in waves)]
    together = np.concatenate([state, np.stack(columns, axis=-1)], axis=-1)
    return np.asarray(np.nan_to_num(together).reshape(-1, together.shape[-1]), dtype=np.float64)


def _weights(
    state: Floats, readings: Floats, others: Floats, usual: Floats, steps: int, settings: ForecastSettings
) -> Floats:
    """Sensors by features: the shared ridge, then each sensor's ridge on what it leaves over."""
    features = _with_profile(state[:, :-steps], others[steps:].T, others[:-steps].T, usual[:, None])
    target = (readings - others)[steps:].T
    known = np.isfinite(target)
    features = np.where(known[:, :, None], features, 0.0)
    target = np.where(known, target, 0.0)
    turned = features.transpose(0, 2, 1)
    gram = turned @ features
    moment = (turned @ target[:, :, None])[:, :, 0]
    size = np.eye(gram.shape[-1])
    shared = np.linalg.solve(gram.sum(axis=0) + settings.shared_ridge * size, moment.sum(axis=0))
    own = np.linalg.solve(gram + settings.own_ridge * size, (moment - gram @ shared)[:, :, None])[:, :, 0]
    return np.asarray(shared + own, dtype=np.float64)


def _state(left: Floats, model: FittedModel, settings: ForecastSettings) -> Floats:
    """Sensors by rows by features that no horizon changes."""
    around = left[:, model.neighbours]
    near = (around * model.closeness).sum(axis=2)
    network = np.broadcast_to(left.mean(axis=1, keepdims=True), left.shape)
    own = [_lagged(left, lag) for lag in settings.lags]
    fast = np.minimum(left, 0.0)
    columns = [*own, fast, near, _lagged(near, 3), network, _lagged(network, 6)]
    ranked = [around[:, :, rank] for rank in range(model.neighbours.shape[1])]
    return np.stack([*columns, *ranked], axis=2).transpose(1, 0, 2)


def _with_profile(state: Floats, ahead: Floats, now: Floats, usual: Floats) -> Floats:
    """The state with the change and the height of the profile, and a constant; unknown is zero."""
    change = np.broadcast_to(ahead - now, state.shape[:-1])
    height = np.broadcast_to(ahead - usual, state.shape[:-1])
    added = np.stack([change, height, np.ones(state.shape[:-1])], axis=-1)
    return np.asarray(np.nan_to_num(np.concatenate((state, added), axis=-1)), dtype=np.float64)


def _neighbours(left: Floats, settings: ForecastSettings) -> tuple[Ints, Floats]:
    """For each sensor those whose deviation best tells its own some rows later, and their shares."""
    early, late = _standard(left[: -settings.lead]), _standard(left[settings.lead :])
    sensors = left.shape[1]
    count = min(settings.neighbours, sensors - 1)
    nearest = np.empty((sensors, count), dtype=np.int64)
    closeness = np.empty((sensors, count))
    for start in range(0, sensors, 512):
        likeness = late[:, start : start + 512].T @ early / len(early)
        rows = np.arange(len(likeness))
        likeness[rows, start + rows] = -np.inf
        best = np.argsort(-likeness, axis=1, kind="stable")[:, :count]
        nearest[start : start + 512] = best
        closeness[start : start + 512] = np.maximum(np.take_along_axis(likeness, best, axis=1), 0.0)
    return nearest, closeness / np.maximum(closeness.sum(axis=1, keepdims=True), 1e-9)


def _standard(values: Floats) -> Floats:
    centred = values - values.mean(axis=0)
    return np.asarray(centred / np.maximum(centred.std(axis=0), 1e-9), dtype=np.float64)


def _carried(left: Floats, settings: ForecastSettings) -> Floats:
    """Gaps hold the last deviation, fading towards none."""
    carried = np.empty_like(left)
    before = np.zeros(left.shape[1])
    for number, row in enumerate(left):
        before = np.where(np.isfinite(row), row, before * settings.decay)
        carried[number] = before
    return carried


def _lagged(values: Floats, rows: int) -> Floats:
    return np.concatenate((np.repeat(values[:1], min(rows, len(values)), axis=0), values[: len(values) - rows]))


def _rows_since_reading(readings: Floats) -> Ints:
    known = np.isfinite(readings)[::-1]
    return np.where(known.any(axis=0), known.argmax(axis=0), len(readings)).astype(np.int64)


def _last_reading(readings: Floats, silence: Ints) -> Floats:
    rows = np.maximum(len(readings) - 1 - silence, 0)
    return readings[rows, np.arange(readings.shape[1])]


def _basis(silence: int, has_profile: bool, settings: ForecastSettings) -> Basis:
    if not has_profile:
        return Basis.NONE
    if silence <= settings.model_silence:
        return Basis.MODEL
    return Basis.DECAYED if silence <= settings.decayed_silence else Basis.PROFILE
