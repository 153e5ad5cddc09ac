"""How far off forecasts were of late: ranges that hold a set share of the readings, whatever the errors look like.

Split conformal prediction on the latest errors of each horizon and band of speed, with the share asked for moved
after every row by what was covered (adaptive conformal inference).
"""

from dataclasses import dataclass

import numpy as np

from rules.traffic.profiles import Floats, Ints

# Jammed, slowed and free, as shares of a sensor's free speed: errors differ several fold between them.
BAND_EDGES = (0.6, 0.85)
# A day of five-minute rows: every hour of the day is in it once.
KEPT_ROWS = 288
STEP = 0.01


@dataclass(frozen=True, slots=True)
class Ranges:
    """Horizons by sensors."""

    low: Floats
    high: Floats


class Intervals:
    """Learns from forecasts once their readings are known; `around` asks for a range."""

    def __init__(self, horizons: int, free_speed: Floats, coverage: float = 0.9) -> None:
        self.free_speed = free_speed
        self.coverage = coverage
        self.asked = np.full(horizons, coverage)
        self.errors: list[list[tuple[Floats, Ints]]] = [[] for _ in range(horizons)]
        self.widths = np.full((horizons, len(BAND_EDGES) + 1), np.nan)

    def learn(self, horizon: int, expected: Floats, reading: Floats) -> None:
        """What was forecast for a row, and the row; missing readings teach nothing."""
        known = np.isfinite(expected) & np.isfinite(reading)
        if not known.any():
            return
        error = np.abs(reading - expected)
        if self.errors[horizon]:
            covered = float((error <= self._width(horizon, expected))[known].mean())
            moved = self.asked[horizon] + STEP * (self.coverage - covered)
            self.asked[horizon] = min(max(moved, 0.5), 0.999)
        self.errors[horizon] = [*self.errors[horizon], (error[known], self._band(expected)[known])][-KEPT_ROWS:]
        self.widths[horizon] = self._widths(horizon)

    def around(self, expected: Floats) -> Ranges:
        """NaN where nothing was learned of the horizon yet."""
        width = np.stack([self._width(number, row) for number, row in enumerate(expected)])
        return Ranges(np.maximum(expected - width, 0.0), expected + width)

    def _width(self, horizon: int, expected: Floats) -> Floats:
        return np.asarray(self.widths[horizon][self._band(expected)], dtype=np.float64)

    def _widths(self, horizon: int) -> Floats:
        error = np.concatenate([errors for errors, _ in self.errors[horizon]])
        bands = np.concatenate([band for _, band in self.errors[horizon]])
        asked = self.asked[horizon]
        of_band = [error[bands == band] for band in range(len(BAND_EDGES) + 1)]
        return np.array([np.quantile(found if found.size else error, asked) for found in of_band])

    def _band(self, expected: Floats) -> Ints:
        share = expected / np.maximum(self.free_speed, 1e-9)
        return np.searchsorted(BAND_EDGES, share).astype(np.int64)
