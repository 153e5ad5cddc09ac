"""Both back ends of `Words` against a list of bytes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import PADDING, Spans
from models.compiling import compiled_wanted
from models.words import Words

BACK_ENDS = (False, True) if compiled_wanted() else (False,)
back_ends = pytest.mark.parametrize("compiled", BACK_ENDS)

# Few letters and sizes around the eight bytes that are read at once, so that words repeat and nearly do.
PIECES = st.one_of(
    st.none(),
    st.text("ab", max_size=3).map(str.encode),
    st.integers(0, 999).map(lambda number: b"%03d" % number),
    st.tuples(st.integers(0, 26), st.sampled_from("abé")).map(lambda made: ("x" * made[0] + made[1]).encode()),
    st.text(max_size=40).map(str.encode),
)


@dataclass
class Model:
    words: list[bytes] = field(default_factory=list)

    def find(self, pieces: list[bytes | None], add: bool) -> list[int]:
        ids = []
        for piece in pieces:
            if add and piece is not None and piece not in self.words:
                self.words.append(piece)
            ids.append(self.words.index(piece) if piece in self.words else -1)
        return ids


def check(words: Words, model: Model) -> None:
    assert len(words) == len(model.words)
    assert [words.bytes(word) for word in range(len(words))] == model.words
    ids = np.arange(-1, len(words), dtype=np.int32)
    assert words.texts(ids) == [None, *(word.decode() for word in model.words)]
    assert words.snapshot() == (
        b"".join(model.words),
        b"".join(len(word).to_bytes(4, "little") for word in model.words),
    )


STEPS = st.one_of(
    st.tuples(st.just("intern"), st.lists(PIECES, min_size=10, max_size=60)),
    st.tuples(st.just("find"), st.lists(PIECES, max_size=20)),
    st.tuples(st.just("keep"), st.lists(st.booleans(), min_size=1, max_size=7)),
    st.tuples(st.just("restore"), st.none()),
)


@settings(max_examples=100)
@given(st.lists(STEPS, min_size=3, max_size=10))
def test_every_back_end_does_what_a_list_would(steps: list[tuple[str, list]]) -> None:
    each, model = [Words(compiled) for compiled in BACK_ENDS], Model()
    for what, given_ in steps:
        if what in ("intern", "find"):
            expected = model.find(given_, what == "intern")
            for words in each:
                ids = getattr(words, what)(Spans.of(given_))
                assert ids.dtype == np.int32
                assert ids.tolist() == expected
        elif what == "keep":
            wanted = np.resize(np.array(given_), len(model.words))
            kept = [word for word, flag in zip(model.words, wanted, strict=True) if flag]
            expected = [kept.index(word) if word in kept else -1 for word in model.words]
            model.words = kept
            for words in each:
                assert words.keep(wanted).tolist() == expected
        else:  # each from what its neighbour saved
            saved = [words.snapshot() for words in each]
            each = [Words(compiled) for compiled in BACK_ENDS]
            for words, snapshot in zip(each, reversed(saved), strict=True):
                words.restore(*msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot), type=tuple[bytes, bytes]))
        for words in each:
            check(words, model)


@back_ends
def test_it_grows_over_many_doublings_in_one_call_and_in_many(compiled: bool) -> None:
    pieces: list[bytes | None] = [f"{number:x}".encode() * (1 + number % 5) for number in range(30_000)]
    pieces = [*dict.fromkeys(pieces)]
    at_once, by_and_by = Words(compiled), Words(compiled)
    assert at_once.intern(Spans.of(pieces)).tolist() == list(range(len(pieces)))
    for start in range(0, len(pieces), 777):
        part = Spans.of([*pieces[start : start + 777], None, pieces[0]])
        assert by_and_by.intern(part).tolist() == [*range(start, min(start + 777, len(pieces))), -1, 0]
    assert at_once.snapshot() == by_and_by.snapshot()
    assert at_once.find(Spans.of(pieces)).tolist() == list(range(len(pieces)))
    assert by_and_by.find(Spans.of([b"", b"not there", b"0 "])).tolist() == [-1, -1, -1]


@back_ends
def test_a_word_larger_than_all_there_was_before(compiled: bool) -> None:
    words = Words(compiled)
    large = b"l" * 100_000
    assert words.intern(Spans.of([b"a", large, b"b", large, b""])).tolist() == [0, 1, 2, 1, 3]
    assert words.bytes(1) == large


@back_ends
def test_pieces_that_overlap_and_columns_with_gaps(compiled: bool) -> None:
    buffer = np.frombuffer(b"abcabcabcd" + bytes(8), np.uint8)
    places = np.array([[0, 3], [3, 3], [1, 3], [4, 3], [7, 3], [0, -1], [10, 0]], dtype=np.int32)
    spans = Spans(buffer, places[:, 0], places[:, 1])
    assert not spans.at.flags.c_contiguous
    words = Words(compiled)
    assert words.intern(spans).tolist() == [0, 0, 1, 1, 2, -1, 3]
    assert [words.text(word) for word in range(4)] == ["abc", "bca", "bcd", ""]


@back_ends
def test_what_was_kept_keeps_its_order_and_room_is_given_back(compiled: bool) -> None:
    words = Words(compiled)
    words.intern(Spans.of([f"word {number}".encode() for number in range(20_000)]))
    before = words.nbytes
    renamed = words.keep(np.arange(20_000) % 100 == 7)
    assert renamed[[7, 107, 108]].tolist() == [0, 1, -1]
    assert words.text(1) == "word 107"
    assert words.nbytes < before / 20
    assert words.intern(Spans.of([b"word 108", b"word 107"])).tolist() == [200, 1]
    assert len(words) == 201


@pytest.mark.skipif(not compiled_wanted(), reason="no numba")
def test_twelve_bytes_take_less_than_sixty_at_any_time() -> None:
    words = Words(compiled=True)
    for start in range(0, 100_000, 500):
        words.intern(Spans.of([b"%012d" % number for number in range(start, start + 500)]))
        assert words.nbytes < 60 * len(words) + 2000, start


@pytest.mark.skipif(not compiled_wanted(), reason="no numba")
@pytest.mark.parametrize("size", [1, 8, 11, 16])
def test_two_words_of_one_hash_stay_two(size: int) -> None:
    words = Words(compiled=True)
    words.intern(Spans.of([b"a" * size, b"other"]))
    # Nobody knows two such words: so the text is changed under the hash of another.
    words._table.arena[size - 1] = ord("b")  # type: ignore[attr-defined]
    assert words.find(Spans.of([b"a" * size])).tolist() == [-1]
    assert words.intern(Spans.of([b"a" * size, b"other"])).tolist() == [2, 1]
    assert words.bytes(2) == b"a" * size


@pytest.mark.skipif(not compiled_wanted(), reason="no numba")
def test_there_is_padding_behind_the_last_word() -> None:
    words = Words(compiled=True)
    for number in range(2000):
        words.intern(Spans.of([b"%04d" % number]))
        assert len(words._table.arena) >= 4 * len(words) + len(PADDING)  # type: ignore[attr-defined]
    words.keep(np.arange(2000) < 100)
    assert len(words._table.arena) >= 400 + len(PADDING)  # type: ignore[attr-defined]


@back_ends
def test_a_word_that_is_not_there_is_an_error(compiled: bool) -> None:
    words = Words(compiled)
    words.intern(Spans.of([b"a", b"b"]))
    for word in (-1, 2):
        with pytest.raises(IndexError, match=f"no word {word} among 2"):
            words.text(word)
    for ids in ([0, -2], [2]):
        with pytest.raises(IndexError, match="an id outside -1 to 1"):
            words.texts(np.array(ids, dtype=np.int32))
    with pytest.raises(ValueError, match="3 flags for 2 words"):
        words.keep(np.ones(3, dtype=bool))
    assert words.texts(np.array([], dtype=np.int32)) == []


@back_ends
@pytest.mark.parametrize(
    ("arena", "sizes", "what"),
    [
        (b"ab", b"\2\0\0", "not whole numbers"),
        (b"ab", b"\3\0\0\0", "do not fit their 2 bytes"),
        (b"ab", b"\xff\xff\xff\xff\3\0\0\0", "do not fit their 2 bytes"),
        (b"ab", b"", "do not fit their 2 bytes"),
        (b"abab", b"\2\0\0\0\2\0\0\0", "twice"),
    ],
)
def test_a_broken_snapshot_changes_nothing(compiled: bool, arena: bytes, sizes: bytes, what: str) -> None:
    words = Words(compiled)
    words.intern(Spans.of([b"held"]))
    with pytest.raises(ValueError, match=what):
        words.restore(arena, sizes)
    assert words.snapshot() == (b"held", b"\4\0\0\0")


def test_the_plain_back_end_needs_no_numba() -> None:
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from models.words import Words; from models.columns import PADDING, Spans\n"
        "assert Words(False).intern(Spans.of([b'a', None, b'a'])).tolist() == [0, -1, 0]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
