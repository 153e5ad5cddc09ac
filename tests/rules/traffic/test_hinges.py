from __future__ import annotations

import numpy as np

from rules.traffic.hinges import Hinges
from rules.traffic.profiles import Floats


def bend(rows: int, seed: int) -> tuple[Floats, Floats]:
    """Three features, of which no straight line tells the answer."""
    features = np.random.default_rng(seed).normal(size=(rows, 3))
    return features, np.abs(features[:, :1])


def test_a_bend_is_learned_and_known_again_in_what_was_not_seen() -> None:
    hinges = Hinges.learn(*bend(20_000, 1))
    features, actual = bend(2_000, 2)
    assert np.mean((hinges.expected(features) - actual) ** 2) < 0.1 * np.var(actual)


def test_the_same_examples_give_the_same_answer_one_by_one_and_at_once() -> None:
    examples = bend(500, 3)
    first, second = Hinges.learn(*examples), Hinges.learn(*examples)
    features, _ = bend(20, 4)
    np.testing.assert_array_equal(first.expected(features), second.expected(features))
    one_by_one = np.concatenate([first.expected(features[row : row + 1]) for row in range(20)])
    np.testing.assert_allclose(one_by_one, first.expected(features))


def test_without_examples_nothing_is_added() -> None:
    hinges = Hinges.learn(np.empty((0, 3)), np.empty((0, 2)))
    np.testing.assert_array_equal(hinges.expected(bend(5, 5)[0]), np.zeros((5, 2)))
