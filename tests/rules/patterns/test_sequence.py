"""`sequence` as time tables: a line is one key, a word `step@second` one sighting."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import Batch, Mask, Scalar
from models.times import SECOND_US
from rules.language.model import InSequence, Step
from rules.patterns.sequence import Match, Progress, Sequence, Sighting


@dataclass(frozen=True)
class Never:
    """An expression nobody asks."""

    text: str = "false"
    fields: frozenset[str] = frozenset()

    def mask(self, batch: Batch) -> Mask:
        raise NotImplementedError

    def value(self, record: Mapping[str, Scalar]) -> Scalar:
        raise NotImplementedError


def sequence(text: str, within_s: float = 60, near_m: float | None = None, max_gap_s: float = 10) -> Sequence:
    """`a !b c:5`: a, then c held for five seconds, without b between."""
    steps = []
    for word in text.split():
        name, _, for_s = word.lstrip("!").partition(":")
        steps.append(Step(name, Never(), word.startswith("!"), round(float(for_s or 0) * SECOND_US)))
    return Sequence(InSequence(tuple(steps), round(within_s * SECOND_US), near_m, round(max_gap_s * SECOND_US)))


def sightings(table: str) -> list[tuple[list[str], Sighting]]:
    """`a@1 bc@2.5`: each letter is a step; `a@1/30` is 30 m to the north."""
    found = []
    for number, word in enumerate(table.split()):
        names, _, rest = word.partition("@")
        second, _, north_m = rest.partition("/")
        lat = 30.7 + float(north_m or 0) / 110_864
        found.append((list(names), Sighting(round(float(second) * SECOND_US), 121.0, lat, number)))
    return found


def matches(pattern: Sequence, table: str, end_s: float = 1000) -> list[tuple[float, float]]:
    """(began, complete) in seconds."""
    progress, found = Progress(), []
    for names, seen in sightings(table):
        found += pattern.feed(progress, names, seen)
    found += pattern.advance(progress, round(end_s * SECOND_US))
    return [(m.since_us / SECOND_US, m.time_us / SECOND_US) for m in found]


@pytest.mark.parametrize(
    ("steps", "table", "expected"),
    [
        ("a b", "a@1 b@2", [(1, 2)]),
        ("a b", "b@1 a@2", []),
        ("a b", "a@1 b@61", [(1, 61)]),
        ("a b", "a@1 b@61.000001", []),
        ("a b", "a@1 a@2 b@3 b@4", [(1, 3)]),
        ("a b", "a@1 a@50 b@62 b@70", []),
        ("a b", "a@1 b@2 a@3 b@4", [(1, 2), (3, 4)]),
        ("a b", "a@1 b@1", [(1, 1)]),
        ("a b", "b@1 a@1", []),
        ("a b", "ab@1 ab@2 ab@3", [(1, 2)]),
        ("a a2 b", "a@1 b@2", []),
        ("a !x b", "a@1 x@2 b@3", []),
        ("a !x b", "x@0 a@1 b@3 x@4", [(1, 3)]),
        ("a !x b", "a@1 x@2 a@3 b@4", [(3, 4)]),
        ("a !x b", "a@1 ax@2 b@4", [(2, 4)]),
        ("a !x b", "a@1 x@3 b@3", []),
        ("a !x b", "a@1 b@3 x@3", [(1, 3)]),
        ("a b !x", "a@1 b@2", [(1, 61)]),
        ("a b !x", "a@1 b@2 x@61", []),
        ("a b !x", "a@1 b@2 x@61.5", [(1, 61)]),
        ("a b !x", "a@1 x@1.5 b@2", [(1, 61)]),
        ("a b !x", "a@1 b@2 x@5 a@7 b@8", [(7, 67)]),
        ("a !x", "a@1 a@70", [(1, 61), (70, 130)]),
        ("!x a b", "x@1 a@30 b@40", []),
        ("!x a b", "x@1 a@61 b@62", []),
        ("!x a b", "x@1 a@62 b@63", [(62, 63)]),
        ("a b:5", "a@1 b@2 b@6 b@8", [(1, 7)]),
        ("a b:5", "a@1 b@2 b@6", []),
        ("a b:5", "a@1 b@2 b@13 b@17 b@18", [(1, 18)]),
        ("a:5 b", "a@1 a@4 b@5", []),
        ("a:5 b", "a@1 a@6 b@7", [(1, 7)]),
        ("a:5 b", "a@1 a@6 b@61", [(1, 61)]),
        ("a:5 b", "a@1 a@6 b@61.5", []),
        ("a !x:5 b", "a@1 x@2 b@8", [(1, 8)]),
        ("a !x:5 b", "a@1 x@2 x@7 b@8", []),
    ],
    ids=lambda v: v.replace(" ", "_") if isinstance(v, str) else None,
)  # fmt: skip
def test_steps_in_order(steps: str, table: str, expected: list[tuple[float, float]]) -> None:
    assert matches(sequence(steps), table) == expected


def test_what_is_not_near_the_first_counts_for_nothing() -> None:
    assert matches(sequence("a b", near_m=20), "a@1 b@2/30 b@3/10") == [(1, 3)]
    assert matches(sequence("a !x b", near_m=20), "a@1 x@2/30 b@3") == [(1, 3)]
    assert matches(sequence("a b", near_m=20), "a@1 b@2/nan") == []
    assert matches(sequence("a b"), "a@1 b@2/nan") == [(1, 2)]


def test_a_negated_last_step_is_due_when_the_time_has_passed() -> None:
    pattern, progress = sequence("a !x"), Progress()
    ((names, seen),) = sightings("a@1")
    assert pattern.feed(progress, names, seen) == []
    assert pattern.due_us(progress) == 61 * SECOND_US
    assert pattern.advance(progress, 61 * SECOND_US - 1) == []
    assert [m.time_us for m in pattern.advance(progress, 61 * SECOND_US)] == [61 * SECOND_US]
    assert pattern.due_us(progress) is None


def test_the_sightings_of_a_match_are_told() -> None:
    pattern, progress = sequence("a !x b"), Progress()
    found: list[Match] = []
    for names, seen in sightings("a@1 a@2 b@3"):
        found += pattern.feed(progress, names, seen)
    assert [seen.ref for match in found for seen in match.reached] == [0, 2]


def test_a_key_is_forgotten_only_when_nothing_could_come_of_it() -> None:
    pattern, progress = sequence("!x a:5 b"), Progress()
    for names, seen in sightings("x@1 a@3"):
        pattern.feed(progress, names, seen)
    assert pattern.forgettable_us(progress) == 61 * SECOND_US + 1


def test_negated_steps_alone_are_no_sequence() -> None:
    with pytest.raises(ValueError, match="negated"):
        sequence("!a !b")


# -- an independent slow oracle ----------------------------------------------------------------------------------------


def slowly(steps: str, seen: Many[tuple[int, str]], within: int) -> list[tuple[int, int]]:
    """By looking at the whole table from each start: (began, complete)."""
    found, at = [], 0
    words = steps.split()
    while at < len(seen):
        began = seen[at][0]
        complete, at = from_start(words, seen, at, within)
        if complete is not None:
            found.append((began, complete))
    return found


def from_start(words: Many[str], seen: Many[tuple[int, str]], start: int, within: int) -> tuple[int | None, int]:
    """When it is complete (None: never), and the first sighting that is free again."""
    if seen[start][1] != words[0]:
        return None, start + 1
    ends, at = seen[start][0] + within, start + 1
    word, barred = guarded(words, 1)
    while at < len(seen) and seen[at][0] <= ends:
        step = seen[at][1]
        if step in barred:
            return None, at
        at += 1
        if word < len(words) and step == words[word]:
            word, barred = guarded(words, word + 1)
            if word == len(words) and not barred:
                return seen[at - 1][0], at
    return (ends if word == len(words) else None), at


def guarded(words: Many[str], word: int) -> tuple[int, set[str]]:
    """The next step that is wanted, from this one on, and what must not come before it."""
    upto = next((n for n in range(word, len(words)) if not words[n].startswith("!")), len(words))
    return upto, {name[1:] for name in words[word:upto]}


tables = st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abx")), max_size=30).map(
    lambda gaps: [(sum(g for g, _ in gaps[: n + 1]), s) for n, (_, s) in enumerate(gaps)]
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["a b", "a !x b", "a b !x", "a !x", "a b a", "a !x b !x", "a !b x"]), tables, st.integers(1, 15))
def test_the_automaton_finds_what_looking_at_the_whole_table_finds(
    steps: str, seen: list[tuple[int, str]], within: int
) -> None:
    words = steps.split()
    names = [chr(ord("k") + n) for n in range(len(words))]  # each place has a name of its own
    pattern = sequence(" ".join(w[:-1] + name for w, name in zip(words, names, strict=True)), within)
    alike = {one: "".join(n for w, n in zip(words, names, strict=True) if w.endswith(one)) for one in "abx"}
    table = " ".join(f"{alike[one]}@{t}" for t, one in seen if alike[one])
    assert matches(pattern, table) == slowly(steps, [(t, one) for t, one in seen if alike[one]], within)


@settings(max_examples=100, deadline=None)
@given(tables, st.integers(0, 30))
def test_a_copy_of_the_progress_goes_on_alike(seen: list[tuple[int, str]], stop: int) -> None:
    pattern = sequence("!x a:3 !y b", 20)
    through, stopped = Progress(), Progress()
    found: list[list[Match]] = [[], []]
    table = sightings(" ".join(f"{name}@{t}" for t, name in seen))
    for n, (names, one) in enumerate(table):
        found[0] += pattern.feed(through, names, one)
        if n == stop:
            stopped = msgspec.msgpack.decode(msgspec.msgpack.encode(stopped), type=Progress)
        found[1] += pattern.feed(stopped, names, one)
    assert found[0] == found[1]
