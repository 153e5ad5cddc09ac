"""What straight weights leave over: a ridge regression on many fixed bends of the features.

Traffic is not straight: below a speed it jams, and a jam ends as it likes. Hinges with fixed random slopes and starts
(random features, Rahimi and Recht 2007) bend anywhere at the price of one small linear system. They are digits of a
hash, the same in every process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import shake_256
from typing import Self

import numpy as np

from rules.traffic.profiles import Floats

COUNT = 500
RIDGE = 1000.0
FARTHEST_START = 1.5
"""Of a hinge from the middle of the features, in standard deviations."""
AT_ONCE = 10_000
"""Examples, so that their hinges take some 64 MB."""


@dataclass(frozen=True, slots=True)
class Hinges:
    """`middle` and `spread` of each feature; `slopes` are features by hinges; `weights` are hinges by horizons."""

    middle: Floats
    spread: Floats
    slopes: Floats
    starts: Floats
    weights: Floats

    @classmethod
    def learn(cls, features: Floats, left_over: Floats) -> Self:
        """Of examples by features and examples by horizons, all finite."""
        count = features.shape[1]
        drawn = _drawn(count + 1)
        slopes, starts = drawn[:count] * np.sqrt(3 / count), drawn[count] * FARTHEST_START
        nothing = np.zeros((COUNT, left_over.shape[1]))
        if not len(features):
            return cls(np.zeros(count), np.ones(count), slopes, starts, nothing)
        unfitted = cls(features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6), slopes, starts, nothing)
        both, wanted = RIDGE * np.eye(COUNT), nothing
        for first in range(0, len(features), AT_ONCE):
            bent = unfitted.bent(features[first : first + AT_ONCE])
            both = both + bent.T @ bent
            wanted = wanted + bent.T @ left_over[first : first + AT_ONCE]
        return replace(unfitted, weights=np.asarray(np.linalg.solve(both, wanted), dtype=np.float64))

    def bent(self, features: Floats) -> Floats:
        return np.maximum((features - self.middle) / self.spread @ self.slopes + self.starts, 0.0)

    def expected(self, features: Floats) -> Floats:
        """Examples by horizons: what to add to the straight answer."""
        parts = range(0, len(features), AT_ONCE)
        return np.concatenate([self.bent(features[first : first + AT_ONCE]) @ self.weights for first in parts])


def _drawn(rows: int) -> Floats:
    """Rows by hinges, evenly between -1 and 1."""
    digits = np.frombuffer(shake_256(b"hinges").digest(4 * rows * COUNT), dtype="<u4")
    return np.asarray(digits.reshape(rows, COUNT) / 2**31 - 1, dtype=np.float64)
