"""Mended tracks: the frames of cameras wait here until the watermark passes, then go on in event-time order, with
speed, place and identity filled in where a camera did not send them and with what the camera has learned of its ground.

Only rules with `neighbours` see mended tracks; for the others nothing waits here. How frames are mended is in
`tracks_loop`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from models.columns import F64, I8, I32, I64, U64, Batch, Column, Columns, Mask, Numbers, Spans, Texts
from models.streams import STREAMS
from models.words import Words
from rules.detection.rows import Rows, grown, joined, plain_bytes, room_for, taken
from rules.detection.tracks_loop import (
    CELL,
    CELLS_USED,
    FORGET_US,
    KNOWN_FOR_US,
    LAST_FRAME,
    NEVER_US,
    NEWEST,
    NO_VIEW,
    NONE,
    PLAIN,
    RING,
    TRACK,
    TRACKS_USED,
    WATCHED,
    Loops,
    compiled,
)
from rules.language.model import Neighbours, Rule

LEAST_ROOM = 256
ALWAYS = ("track_id", "class", "lon", "lat", "error_m", "speed_mps", "heading_deg")
FACTS = {
    "time_us": "i8", "print_a": "u8", "print_b": "u8", "offset": "i8", "ordinal": "i4", "source": "i4", "area": "i4",
}  # fmt: skip
"""What is kept of a row beside its fields: see `rows.HIT`."""
MOST_CELLS = 1 << 20
"""Of ground a lane knows: some 60 MB, the views of several thousand cameras. Beyond, the half that was not entered for
longest is forgotten and counted."""
MOST_TRACKS = 1 << 18
"""A lane knows: some 110 MB, ten thousand cameras with 25 objects each. Beyond, the half not seen for longest is
forgotten and counted: a flood of made-up ids."""


class TracksState(msgspec.Struct, array_like=True):
    """What waits, and what is known of tracks and ground; words and sources by the lane's numbers."""

    waiting: dict[str, bytes]
    tracks: bytes
    rings: bytes
    views: bytes
    cells: bytes


class Released(NamedTuple):
    """Rows in order of their frames, as a batch whose records are those frames.

    ends     a row: a bit for each distance of `Tracks.aheads`, set where the view ends before it
    usual    a row: whether others keep stopping there
    first, last   a row: the rows of its frame
    real     a row: whether it is one; an empty frame has a row that isn't
    """

    batch: Batch
    offsets: I64
    prints: U64
    sources: I32
    areas: I32
    ends: I8
    usual: I8
    first: I64
    last: I64
    real: Mask


class Piece(NamedTuple):
    """Rows that wait, by what is kept of each, and the span of their times."""

    first_us: int
    last_us: int
    rows: dict[str, npt.NDArray[Any]]

    @classmethod
    def of(cls, rows: dict[str, npt.NDArray[Any]]) -> Piece:
        return cls(int(rows["time_us"].min()), int(rows["time_us"].max()), rows)


class Held(Columns):
    """Columns of released rows: texts are made of the lane's words when they are asked for."""

    __slots__ = ("ids", "words")

    def __init__(self, ready: Mapping[str, Column], ids: Mapping[str, I32], words: Words) -> None:
        super().__init__(ready, self._text)
        self.ids, self.words = ids, words

    def _text(self, name: str) -> Texts:
        return texts_of(self.ids[name], self.words)

    def spans_of(self, name: str) -> Spans | None:
        return self.words.spans(self.ids[name]) if name in self.ids else None


def texts_of(ids: I32, words: Words) -> Texts:
    distinct, codes = np.unique(ids, return_inverse=True)
    null = len(distinct) > 0 and distinct[0] < 0
    known = tuple(words.text(int(word)) for word in distinct[int(null) :])
    return Texts((codes - int(null)).astype(np.int32), known, {word: code for code, word in enumerate(known)})


def fields_asked(rules: Iterable[Rule], keys: Iterable[str], carried: Iterable[str]) -> list[str]:
    """The fields of camera.tracks that rules with neighbours look at or carry."""
    asked = {*ALWAYS, *keys, *carried}
    for rule in rules:
        assert rule.neighbours is not None
        expressions = [rule.where, *(e.where for e in rule.exempt), *(box.where for box in rule.neighbours.boxes)]
        expressions += [v.applies.where for v in rule.variants if v.applies is not None]
        asked |= {field for expression in expressions if expression is not None for field in expression.fields}
    return sorted(asked & set(STREAMS["camera.tracks"].fields))


def aheads_of(neighbours: Iterable[Neighbours]) -> list[float]:
    """The distances that views are asked for."""
    return sorted({n.in_view.ahead_m for n in neighbours if n.in_view is not None})


class Tracks:
    """Of one lane of camera.tracks. `fields`: what is kept of each row."""

    def __init__(
        self, fields: Sequence[str], neighbours: Sequence[Neighbours], words: Words, *, forget_us: int, compile_: bool
    ) -> None:
        kinds = STREAMS["camera.tracks"].fields
        self.numbers = [name for name in fields if kinds[name].kind == "number"]
        self.texts = [name for name in fields if kinds[name].kind == "text"]
        self.tokenised = [name for name in self.texts if kinds[name].tokenised]
        self.words = words
        self.aheads: F64 = np.array(aheads_of(neighbours), dtype=np.float64)
        self.learn_stops = any(n.usual_stop is not None for n in neighbours)
        self.loops: Loops = compiled() if compile_ else PLAIN
        self.compiled = compile_
        self.pieces: list[Piece] = []
        self.earliest_us = -NEVER_US
        self.book: I64 = np.array([0, 0, forget_us], dtype=np.int64)
        self.tracks: Rows = np.zeros(LEAST_ROOM, dtype=TRACK)
        self.rings: F64 = np.zeros((LEAST_ROOM, RING, 3))
        self.cells: Rows = np.zeros(LEAST_ROOM, dtype=CELL)
        self.views: I64 = np.empty((0, len(NO_VIEW)), dtype=np.int64)
        self.evicted = 0
        self._index()

    @property
    def nbytes(self) -> int:
        held = sum(column.nbytes for piece in self.pieces for column in piece.rows.values())
        known = (self.tracks, self.rings, self.cells, self.views, self.table, self.ground)
        return held + sum(one.nbytes for one in known)

    # rows wait

    def hold(self, batch: Batch, fresh: Mask, good: Mask, offsets: I64, prints: U64, sources: I32, areas: I32) -> None:
        """Keep the rows marked `fresh`, and a row for each frame in time (`good`: a flag a record) that has none."""
        rows = np.flatnonzero(fresh)
        bare = np.ones(len(good), dtype=np.bool_)
        bare[batch.record] = False
        seen = bare[batch.seen_record] & good[batch.seen_record]
        empty, empty_us = batch.seen_record[seen], batch.seen_time_us[seen]
        if not len(rows) and not len(empty):
            return
        record, bare_rows = batch.record[rows], len(empty)
        kept: dict[str, npt.NDArray[Any]] = {"time_us": batch.time_us[rows], "ordinal": rows.astype(np.int32)}
        for name in self.numbers:
            kept[name] = batch.numbers(name)[rows]
        for name in self.texts:
            kept[name] = self._words_of(batch, name, rows)
        for name in self.tokenised:
            kept[masked(name)] = self._masks_of(batch, name, rows)
        if bare_rows:
            record = np.concatenate([record, empty])
            for name, column in kept.items():
                nothing = np.full(bare_rows, np.nan if column.dtype == np.float64 else NONE, dtype=column.dtype)
                kept[name] = np.concatenate([column, nothing])
            kept["time_us"][len(rows) :] = empty_us
        kept |= {
            "print_a": prints[record, 0], "print_b": prints[record, 1], "offset": offsets[record],
            "source": sources[record], "area": areas[record],
        }  # fmt: skip
        piece = Piece.of(kept)
        self.pieces.append(piece)
        self.earliest_us = min(self.earliest_us, piece.first_us)

    def _words_of(self, batch: Batch, name: str, rows: I64) -> I32:
        spans = batch.columns.spans_of(name)
        if spans is None:
            column = batch.columns[name]
            assert isinstance(column, Texts)
            spans = column.spans()
        return self.words.intern(spans.take(rows))

    def _masks_of(self, batch: Batch, name: str, rows: I64) -> I32:
        column = batch.columns[name]
        assert isinstance(column, Texts)
        masks = [None if mask is None else mask.encode() for mask in batch.masks.get(name, ())]
        ids = np.append(self.words.intern(Spans.of(masks)), np.int32(NONE))
        found: I32 = ids[column.codes[rows]]
        return found

    # rows go on

    def release(self, watermark_us: int) -> Released | None:
        """The rows up to the watermark, mended."""
        if self.earliest_us > watermark_us:
            return None
        due, kept = [], []
        for piece in self.pieces:
            if piece.last_us <= watermark_us:
                due.append(piece.rows)
            elif piece.first_us > watermark_us:
                kept.append(piece)
            else:
                now = piece.rows["time_us"] <= watermark_us
                due.append({name: column[now] for name, column in piece.rows.items()})
                kept.append(Piece.of({name: column[~now] for name, column in piece.rows.items()}))
        self.pieces = kept
        self.earliest_us = min((piece.first_us for piece in kept), default=-NEVER_US)
        rows = due[0] if len(due) == 1 else {name: np.concatenate([d[name] for d in due]) for name in due[0]}
        order = np.lexsort((rows["ordinal"], rows["print_b"], rows["print_a"], rows["time_us"]))
        return self._mended({name: column[order] for name, column in rows.items()})

    def _mended(self, rows: dict[str, npt.NDArray[Any]]) -> Released:
        count, time_us, source = len(rows["time_us"]), rows["time_us"], rows["source"]
        begins = np.ones(count, dtype=np.bool_)
        begins[1:] = (np.diff(time_us) != 0) | (np.diff(rows["print_a"]) != 0) | (np.diff(rows["print_b"]) != 0)
        frame = np.cumsum(begins) - 1
        first = np.flatnonzero(begins)
        last = np.append(first[1:], count)
        identity = rows["track_id"].copy()
        ends, usual = np.zeros(count, dtype=np.int8), np.zeros(count, dtype=np.int8)
        self._make_room(count, int(source.max()) + 1)
        self.loops.mend(
            time_us, frame, source, rows["track_id"], rows["class"], rows["lon"], rows["lat"], rows["speed_mps"],
            rows["heading_deg"], identity, ends, usual, np.empty(count, dtype=np.int32), self.aheads, self.learn_stops,
            self._open(self.tracks), self.rings, self.table, self.views, self._open(self.cells), self.ground, self.book,
        )  # fmt: skip
        rows["track_id"], real = identity, rows["track_id"] >= 0
        columns = Held(
            {name: Numbers(rows[name]) for name in self.numbers}, {name: rows[name] for name in self.texts}, self.words
        )
        batch = Batch(
            "camera.tracks", time_us, frame.astype(np.int32), columns, np.empty(0, dtype=np.int64),
            np.empty(0, dtype=np.int32), self._masks(rows, columns),
        )  # fmt: skip
        prints = np.stack([rows["print_a"][first], rows["print_b"][first]], axis=1)
        return Released(
            batch, rows["offset"][first], prints, source[first], rows["area"][first], ends, usual,
            first[frame], last[frame], real,
        )  # fmt: skip

    def _masks(self, rows: dict[str, npt.NDArray[Any]], columns: Held) -> dict[str, tuple[str | None, ...]]:
        """For each tokenised field, the mask of each word of its column."""
        masks: dict[str, tuple[str | None, ...]] = {}
        for name in self.tokenised:
            column = columns[name]
            assert isinstance(column, Texts)
            at = np.full(len(column.words) + 1, NONE, dtype=np.int32)
            at[column.codes] = rows[masked(name)]
            masks[name] = tuple(self.words.texts(at[:-1]))
        return masks

    def _open(self, rows: Rows) -> Any:
        """Rows as a loop reads them: plain ones take a field of a row by its name."""
        return rows if self.compiled else rows.view(np.recarray)

    # room

    def _make_room(self, count: int, sources: int) -> None:
        if sources > len(self.views):
            views: I64 = np.empty((max(16, sources, 2 * len(self.views)), len(NO_VIEW)), dtype=np.int64)
            views[:] = NO_VIEW
            views[: len(self.views)] = self.views
            self.views = views
        used, cells, _ = self.book.tolist()
        if used + count <= len(self.tracks) and cells + 2 * count <= len(self.cells):
            return
        self._sweep()
        used, cells, _ = self.book.tolist()
        if 2 * (used + count) > len(self.tracks):
            room = 2 * (used + count)
            self.tracks, self.rings = room_for(self.tracks, used, room), grown(self.rings, used, room)
        if cells + 2 * count > len(self.cells):
            self.cells = room_for(self.cells, cells, 2 * (cells + 2 * count))
        self._index()

    def _sweep(self) -> None:
        """Forget tracks that would count as new ones, and ground beyond what there is room for."""
        used, count, _ = self.book.tolist()
        tracks = self.tracks[:used]
        away_us = self.views[tracks["source"], WATCHED] - tracks["watched_us"]
        known: Mask = (tracks["identity"] != NONE) & (away_us <= KNOWN_FOR_US)
        seen_us = self.views[tracks["source"], LAST_FRAME] - away_us
        self._keep_tracks(self._newest(known, seen_us, MOST_TRACKS))
        self._keep_cells(self._newest(np.ones(count, dtype=np.bool_), self.cells["came_us"][:count], MOST_CELLS))

    def _newest(self, known: Mask, last_us: I64, most: int) -> Mask:
        """All that is known, or where that is more than there is room for the newer half of it."""
        count = int(np.count_nonzero(known))
        if count <= most:
            return known
        rows = np.flatnonzero(known)
        newest = rows[np.argsort(last_us[rows], kind="stable")[count - most // 2 :]]
        self.evicted += count - len(newest)
        kept = np.zeros(len(known), dtype=np.bool_)
        kept[newest] = True
        return kept

    def _keep_tracks(self, wanted: Mask) -> None:
        used, count = len(wanted), int(wanted.sum())
        self.tracks[:count], self.rings[:count] = self.tracks[:used][wanted], self.rings[:used][wanted]
        self.book[TRACKS_USED] = count

    def _keep_cells(self, wanted: Mask) -> None:
        count = int(wanted.sum())
        self.cells[:count] = self.cells[: len(wanted)][wanted]
        self.book[CELLS_USED] = count

    def _index(self) -> None:
        used, cells, _ = self.book.tolist()
        self.table: I32 = empty_table(len(self.tracks))
        self.ground: I32 = empty_table(len(self.cells))
        self.views[:, NEWEST] = NONE
        self.loops.index(
            self._open(self.tracks), used, self.table, self.views, self._open(self.cells), cells, self.ground
        )

    # numbers that change

    def named_sources(self) -> I32:
        """The sources that rows wait of; what is known of the others goes with them."""
        return np.concatenate([np.empty(0, dtype=np.int32), *(piece.rows["source"] for piece in self.pieces)])

    def sources_moved(self, moved: I32) -> None:
        """Each source has the number `moved` says, NONE where it is forgotten."""
        used, cells, _ = self.book.tolist()
        for piece in self.pieces:
            piece.rows["source"] = moved[piece.rows["source"]]
        known = moved[: len(self.views)]
        views = self.views.copy()
        self.views[:] = NO_VIEW
        self.views[known[known >= 0]] = views[: len(known)][known >= 0]
        for rows, count, keep in ((self.tracks, used, self._keep_tracks), (self.cells, cells, self._keep_cells)):
            rows["source"][:count] = moved[rows["source"][:count]]
            keep(rows["source"][:count] >= 0)
        self._index()

    def word_columns(self, released: Iterable[object]) -> list[I32]:
        """Where words are named, in `released` batches too, to be renumbered in place; then `words_moved`."""
        used = int(self.book[TRACKS_USED])
        names = [*self.texts, *map(masked, self.tokenised), "area"]
        held = [piece.rows[name] for piece in self.pieces for name in names]
        columns = [batch.columns for batch in released if isinstance(batch, Batch)]
        held += [ids for one in columns if isinstance(one, Held) for ids in one.ids.values()]
        return [*held, *(self.tracks[name][:used] for name in ("word", "identity", "klass"))]

    def words_moved(self) -> None:
        self._index()

    # stop and go on

    def freeze(self) -> Callable[[], TracksState]:
        """Its state as it is now, made when asked for, on any thread."""
        self._sweep()
        self._index()
        used, cells, _ = self.book.tolist()
        rings, views = self.rings[:used].copy(), self.views.copy()
        tracks, ground = taken(self.tracks, slice(used)), taken(self.cells, slice(cells))
        names = self.pieces[0].rows if self.pieces else {}
        waiting = {name: np.concatenate([piece.rows[name] for piece in self.pieces]) for name in names}

        def state() -> TracksState:
            columns = {name: column.tobytes() for name, column in waiting.items()}
            return TracksState(columns, plain_bytes(tracks), rings.tobytes(), views.tobytes(), plain_bytes(ground))

        return state

    def restore(self, saved: TracksState) -> None:
        """Of an empty one, of the same words and sources. Fields that were not kept then are null."""
        tracks, cells = np.frombuffer(saved.tracks, TRACK), np.frombuffer(saved.cells, CELL)
        self.tracks = joined([tracks, np.zeros(LEAST_ROOM, dtype=TRACK)], TRACK)
        self.cells = joined([cells, np.zeros(LEAST_ROOM, dtype=CELL)], CELL)
        rings = np.frombuffer(saved.rings, np.float64).reshape(-1, RING, 3)
        self.rings = np.concatenate([rings, np.zeros((LEAST_ROOM, RING, 3))])
        self.views = np.frombuffer(saved.views, np.int64).reshape(-1, len(NO_VIEW)).copy()
        self.book[:FORGET_US] = len(tracks), len(cells)
        self._index()
        if saved.waiting:
            count = len(saved.waiting["time_us"]) // 8
            rows = {name: self._waiting(name, saved.waiting.get(name), count) for name in self._kept()}
            self.pieces = [Piece.of(rows)]
            self.earliest_us = self.pieces[0].first_us

    def _kept(self) -> list[str]:
        return [*FACTS, *self.numbers, *self.texts, *map(masked, self.tokenised)]

    def _waiting(self, name: str, column: bytes | None, count: int) -> npt.NDArray[Any]:
        kind = FACTS.get(name, "f8" if name in self.numbers else "i4")
        if column is not None:
            return np.frombuffer(column, kind).copy()
        return np.full(count, np.nan if kind == "f8" else NONE, dtype=kind)


def masked(name: str) -> str:
    """What the mask of a tokenised field is kept under."""
    return f"{name} masked"


def empty_table(rows: int) -> I32:
    return np.full(1 << (2 * rows).bit_length(), NONE, dtype=np.int32)
