"""Both back ends of `prints` make the same bits, and what differs has another print."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.columns import Spans
from models.compiling import compiled_wanted
from models.prints import prints

BACK_ENDS = (False, True) if compiled_wanted() else (False,)
back_ends = pytest.mark.parametrize("compiled", BACK_ENDS)

SALTS = st.integers(-(1 << 63), (1 << 63) - 1)
PIECES = st.lists(st.tuples(st.one_of(st.none(), st.binary(max_size=40)), SALTS), max_size=30)


@pytest.mark.skipif(not compiled_wanted(), reason="no numba")
@given(PIECES)
def test_both_back_ends_make_the_same_bits(rows) -> None:
    spans, salt = Spans.of([piece for piece, _ in rows]), np.array([salt for _, salt in rows], dtype=np.int64)
    made = prints(spans, salt, compiled=True)
    assert made.dtype == np.uint64
    assert made.shape == (len(rows), 2)
    assert made.tolist() == prints(spans, salt, compiled=False).tolist()


@given(PIECES)
def test_other_pieces_and_other_salts_have_other_prints(rows) -> None:
    for compiled in BACK_ENDS:
        made = prints(Spans.of([piece for piece, _ in rows]), np.array([salt for _, salt in rows], np.int64), compiled)
        given_by_print: dict[tuple[int, ...], tuple[bytes, int]] = {}
        for row, (piece, salt) in zip(made.tolist(), rows, strict=True):
            if piece is None:
                assert row == [0, 0]
            else:
                assert given_by_print.setdefault(tuple(row), (piece, salt)) == (piece, salt)


@back_ends
def test_bytes_behind_a_piece_do_not_count(compiled: bool) -> None:
    one, other = (
        Spans(np.frombuffer(text + bytes(8), np.uint8), np.array([1], np.int32), np.array([11], np.int32))
        for text in (b"<hello world>", b"[hello world]0123456789")
    )
    salt = np.array([5])
    assert prints(one, salt, compiled).tolist() == prints(other, salt, compiled).tolist()


@back_ends
def test_columns_with_gaps(compiled: bool) -> None:
    places = np.array([[0, 3], [3, -1], [6, 3]], dtype=np.int32)
    spans = Spans(np.frombuffer(b"abcdefabc" + bytes(8), np.uint8), places[:, 0], places[:, 1])
    made = prints(spans, np.arange(6)[::2] // 4, compiled).tolist()
    assert made[1] == [0, 0]
    assert made[0] != made[2]
    assert prints(spans, np.zeros(6, dtype=np.int64)[::2], compiled).tolist()[2] == made[0]
    with pytest.raises(ValueError, match="2 salts for 3 pieces"):
        prints(spans, np.arange(2), compiled)


@back_ends
def test_a_print_never_changes(compiled: bool) -> None:
    """Saves hold prints: another hash would let doubled records through after a restart."""
    made = prints(Spans.of([b"", b"sensor-1", b"camera-00017"]), np.array([0, -1, 1_700_000_000_000_000]), compiled)
    assert [[f"{half:016x}" for half in row] for row in made.tolist()] == EXPECTED


EXPECTED = [
    ["18210f5b6d0cd89d", "d0952a519cac84db"],
    ["e0d21a892dde4100", "23dbaf8257716dd6"],
    ["9ee5f3a2aeb40800", "29c2f192da4f8f4e"],
]


def test_the_plain_back_end_needs_no_numba() -> None:
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from models.prints import prints; from models.columns import Spans; import numpy as np\n"
        "assert prints(Spans.of([None]), np.zeros(1, np.int64), False).tolist() == [[0, 0]]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
