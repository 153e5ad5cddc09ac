"""Both back ends of `Seen` against a dict of print and time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models.seen as of_seen
from models.columns import I64, U64, Mask
from models.compiling import compiled_wanted
from models.seen import Seen

BACK_ENDS = (False, True) if compiled_wanted() else (False,)
back_ends = pytest.mark.parametrize("compiled", BACK_ENDS)

Row = tuple[tuple[int, int], int, bool]
"""A print, its time, whether it asks."""


def columns(rows: list[Row]) -> tuple[U64, I64, Mask]:
    return (
        np.array([pair for pair, _, _ in rows], dtype=np.uint64).reshape(-1, 2),
        np.array([time for _, time, _ in rows], dtype=np.int64),
        np.array([ask for _, _, ask in rows], dtype=np.bool_),
    )


@dataclass
class Model:
    held: dict[tuple[tuple[int, int], int], int] = field(default_factory=dict)
    forgotten: int = 0
    least: int = -(1 << 63)

    def add(self, rows: list[Row]) -> list[bool]:
        seen = []
        for pair, time, ask in rows:
            key = pair, time // of_seen.MINUTE_US  # type: ignore[attr-defined]
            seen.append(ask and key in self.held)
            if ask and key not in self.held and time >= self.least:
                self.held[key] = time
        return seen

    def forget_before(self, time: int) -> None:
        self.least = max(self.least, time)
        old = [pair for pair, time in self.held.items() if time < self.least]
        self.forgotten += len(old)
        for pair in old:
            del self.held[pair]

    def snapshot(self) -> bytes:
        entries = [(*pair, time & (1 << 64) - 1) for (pair, _), time in sorted(self.held.items())]
        return b"".join(part.to_bytes(8, "little") for entry in entries for part in entry)


# Halves that many prints share, so that only both together tell two of them apart.
HALVES = st.one_of(st.integers(0, 9), st.integers((1 << 64) - 3, (1 << 64) - 1))
TIMES = st.one_of(st.integers(-30, 60), st.sampled_from([-(1 << 63), (1 << 63) - 1]))
ROWS = st.tuples(st.tuples(HALVES, HALVES), TIMES, st.sampled_from([True, True, True, False]))
STEPS = st.one_of(
    st.tuples(st.just("add"), st.lists(ROWS, min_size=5, max_size=80)),
    st.tuples(st.just("forget"), st.integers(-40, 60)),
    st.tuples(st.just("restore"), st.none()),
    st.tuples(st.just("store"), st.booleans()),
)


@settings(max_examples=100)
@given(st.lists(STEPS, min_size=3, max_size=12))
def test_every_back_end_does_what_a_dict_would(steps) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.seen.LEAST_ROOM", 4)  # a small table is full sooner, and its prints meet
        patch.setattr("models.seen.MINUTE_US", 20)
        walk(steps, [Seen(compiled) for compiled in BACK_ENDS], Model())


def walk(steps, each: list[Seen], model: Model) -> None:
    tables: list[dict[str, bytes]] = [{} for _ in each]
    counted = True
    for what, value in steps:
        if what == "add":
            expected = model.add(value)
            for seen in each:
                assert seen.add(*columns(value)).tolist() == expected
        elif what == "forget":
            model.forget_before(value)
            for seen in each:
                seen.forget_before(value)
        elif what == "store":
            for seen, table in zip(each, tables, strict=True):
                changed = seen.changes()
                for name, block in changed.items():
                    table.pop(name, None)
                    if block is not None:
                        table[name] = block
            if value:  # a restart, each from its neighbour's table
                tables.reverse()
                for seen, table in zip(each, tables, strict=True):
                    seen.restore_blocks(table)
                    seen.forget_before(model.least)
                counted = False  # what was forgotten after it was stored is forgotten again
        else:  # each from what its neighbour saved
            tables = [{} for _ in each]
            saved = [seen.snapshot() for seen in each]
            model.least = -(1 << 63)
            for seen, snapshot in zip(each, reversed(saved), strict=True):
                seen.restore(snapshot)
        for seen in each:
            assert len(seen) == len(model.held)
            assert seen.forgotten == model.forgotten or not counted
            assert seen.snapshot() == model.snapshot()


@back_ends
@pytest.mark.parametrize("batch", [97, 5000])
def test_a_window_moves_over_many_records_that_come_in_any_order(
    compiled: bool, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.seen.MINUTE_US", 1000)
    draw = np.random.default_rng(5)
    many = 40_000
    time_us = np.arange(many) + draw.integers(-500, 500, many)
    prints = draw.integers(0, 1 << 63, (many, 2)).astype(np.uint64)
    doubled = draw.random(many) < 0.2
    prints[doubled] = prints[np.maximum(np.flatnonzero(doubled) - draw.integers(1, 6000, doubled.sum()), 0)]
    seen, model = Seen(compiled), Model()
    for start in range(0, many, batch):
        rows = slice(start, start + batch)
        ask = np.ones(len(time_us[rows]), dtype=bool)
        width = 3000 if start < many // 2 else 8000
        expected = model.add(
            [
                ((first, second), time, True)
                for (first, second), time in zip(prints[rows].tolist(), time_us[rows].tolist(), strict=True)
            ]
        )
        assert seen.add(prints[rows], time_us[rows], ask).tolist() == expected
        model.forget_before(start - width)
        seen.forget_before(start - width)
    assert (len(seen), seen.forgotten) == (len(model.held), model.forgotten)
    assert seen.snapshot() == model.snapshot()


@pytest.mark.skipif(not compiled_wanted(), reason="no numba")
def test_a_live_record_takes_at_most_64_bytes_in_a_steady_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.seen.MINUTE_US", 2000)
    draw = np.random.default_rng(5)
    seen, start = Seen(compiled=True), 0
    ask = np.ones(500, dtype=bool)
    for step in range(400):
        seen.add(draw.integers(0, 1 << 63, (500, 2)).astype(np.uint64), np.arange(start, start + 500), ask)
        start += 500
        seen.forget_before(start - 20_000)
        assert len(seen) == min(start, 20_000)
        assert seen.nbytes <= (64 if step > 50 else 128) * len(seen) + 30_000
    for limit in range(start - 20_000, start + 1, 500):
        seen.forget_before(limit)
        assert len(seen) == start - limit
    assert seen.nbytes == 0


@back_ends
def test_a_print_comes_back_after_it_was_forgotten(compiled: bool) -> None:
    seen, ask = Seen(compiled), np.ones(2, dtype=bool)
    prints = np.array([[1, 2], [1, 2]], dtype=np.uint64)
    assert seen.add(prints, np.array([10, 11]), ask).tolist() == [False, True]
    seen.forget_before(11)  # the time of the first record counts, not that of its double
    seen.forget_before(5)  # never falls
    assert len(seen) == 0
    assert seen.add(prints, np.array([10, 20]), ask).tolist() == [False, False], "one too old is not held"
    assert seen.add(prints, np.array([3, 21]), ask).tolist() == [True, True]
    assert (len(seen), seen.forgotten) == (1, 1)


@back_ends
def test_columns_with_gaps_and_calls_without_rows(compiled: bool) -> None:
    seen = Seen(compiled)
    wide = np.arange(40, dtype=np.uint64).reshape(10, 4)
    flags = np.arange(20) % 4 < 3
    prints, time_us, ask = wide[:, ::2], np.arange(30)[::3], flags[::2]
    assert seen.add(prints, time_us, ask).tolist() == [False] * 10
    assert seen.add(prints, time_us, np.ones(10, dtype=bool)).tolist() == ask.tolist()
    assert len(seen.add(prints[:0], time_us[:0], ask[:0])) == 0
    with pytest.raises(ValueError, match="10 prints, 9 times, 10 flags"):
        seen.add(prints, time_us[1:], ask)


@back_ends
def test_the_same_set_gives_the_same_bytes_in_whatever_order_it_came(compiled: bool) -> None:
    draw = np.random.default_rng(7)
    prints, time_us = draw.integers(0, 1 << 63, (3000, 2)).astype(np.uint64), np.arange(3000)
    ask = np.ones(3000, dtype=bool)
    saved = []
    for order in (np.arange(3000), draw.permutation(3000)):
        seen = Seen(compiled)
        seen.add(prints[order], time_us[order], ask)
        seen.forget_before(1000)
        saved.append(seen.snapshot())
    assert saved[0] == saved[1]
    assert len(saved[0]) == 2000 * 24


@back_ends
@pytest.mark.parametrize(("snapshot", "what"), [(b"x" * 25, "25 bytes"), (b"x" * 48, "twice")])
def test_a_broken_snapshot_changes_nothing(compiled: bool, snapshot: bytes, what: str) -> None:
    seen = Seen(compiled)
    seen.add(np.array([[1, 2]], dtype=np.uint64), np.array([10]), np.array([True]))
    before = seen.snapshot()
    with pytest.raises(ValueError, match=what):
        seen.restore(snapshot)
    assert seen.snapshot() == before


def test_the_plain_back_end_needs_no_numba() -> None:
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from models.seen import Seen; import numpy as np\n"
        "one = np.ones((1, 2), np.uint64), np.ones(1, np.int64), np.ones(1, bool)\n"
        "seen = Seen(False)\n"
        "assert (seen.add(*one).tolist(), seen.add(*one).tolist()) == ([False], [True])"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
