"""`neighbours`: what each item becomes, in any combination; what it refuses, and where; what the fingerprint keeps."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.streams import STREAMS
from models.times import MINUTE_US, SECOND_US
from rules.language.expressions import Checked
from rules.language.model import Box, InView, Neighbours, Rule, UsualStop
from tests.rules.language.author import Author
from tests.rules.language.world import HEAD, codes, expression, load, one_rule, rule_text
from tests.support import batch_of

DWELL = "{dwell: {for: 2m}}"
SLOW, FAST = "speed_mps < 1", "speed_mps > 2"
BOX = f"{{none: {{where: {SLOW}, ahead: 12m}}}}"
VIEW = "{in_view: {ahead: 12m}}"
STOP = "{usual_stop: {wait: 6m}}"


def text_of(*items: str, **clauses: str) -> str:
    return HEAD + rule_text(**{"detect": DWELL, **clauses, "neighbours": f"[{', '.join(items)}]"})


def rule_of(*items: str, **clauses: str) -> Rule:
    return one_rule(**{"detect": DWELL, **clauses, "neighbours": f"[{', '.join(items)}]"})


def neighbours_of(*items: str, **clauses: str) -> Neighbours:
    found = rule_of(*items, **clauses).neighbours
    assert found is not None
    return found


# -- what it becomes ---------------------------------------------------------------------------------------------------


def test_a_rule_without_the_clause_looks_at_no_neighbours() -> None:
    assert one_rule(detect=DWELL).neighbours is None


def test_what_is_not_written_has_its_default() -> None:
    assert neighbours_of(BOX) == Neighbours((Box("none", expression(SLOW), 12.0, 0.0, 2.0, 0.5),), None, None)
    assert neighbours_of(VIEW) == Neighbours((), InView(12.0, 0.5), None)
    assert neighbours_of(STOP) == Neighbours((), None, UsualStop(6 * MINUTE_US))


def test_macros_and_lists_stand_in_a_box_as_in_the_rule() -> None:
    text = "class in lists.motor_vehicles and macros.standing"
    rule = rule_of(f"{{some: {{where: {text}, behind: 8m}}}}", where=text)
    assert rule.neighbours is not None
    where = rule.neighbours.boxes[0].where
    assert where == rule.where
    assert where.fields == {"class", "speed_mps", "confidence"}


def test_a_plate_in_a_box_is_compared_by_its_token() -> None:
    (box,) = neighbours_of("{none: {where: plate in lists.wanted, ahead: 12m}}").boxes
    assert box.where.value({"plate": "plate-token-of-浙F12345"}) is True
    assert box.where.value({"plate": "浙F12345"}) is False


LENGTHS = st.integers(1, 10_000).flatmap(
    lambda cm: st.sampled_from([(f"{cm}cm", cm / 100), (f"{cm // 100}.{cm % 100:02}m", cm / 100)])
)
SHARES = st.integers(1, 1000).map(lambda tenths: (f"{tenths // 10}.{tenths % 10}%", float(Fraction(tenths, 1000))))
WAITS = st.integers(121, 10_000).map(lambda s: (f"{s}s", s * SECOND_US))
Item = tuple[str, Box | InView | UsualStop]


@st.composite
def box_items(draw: st.DrawFn) -> Item:
    kind: Literal["none", "some"] = draw(st.sampled_from(["none", "some"]))
    where = draw(st.sampled_from([SLOW, FAST]))
    given_keys = draw(st.sets(st.sampled_from(["behind", "abeam", "at_least"])))
    ahead = draw(LENGTHS) if "behind" not in given_keys or draw(st.booleans()) else None
    behind = draw(LENGTHS) if "behind" in given_keys else None
    abeam = draw(LENGTHS) if "abeam" in given_keys else None
    share = draw(SHARES) if "at_least" in given_keys else None
    written = {"where": (where, 0.0), "ahead": ahead, "behind": behind, "abeam": abeam, "at_least": share}
    entries = draw(st.permutations([f"{key}: {value[0]}" for key, value in written.items() if value is not None]))
    box = Box(
        kind, expression(where), or_else(ahead, 0.0), or_else(behind, 0.0), or_else(abeam, 2.0), or_else(share, 0.5)
    )
    return f"{{{kind}: {{{', '.join(entries)}}}}}", box


def or_else(drawn: tuple[str, float] | None, default: float) -> float:
    return default if drawn is None else drawn[1]


@st.composite
def item_lists(draw: st.DrawFn) -> list[Item]:
    items: list[Item] = draw(st.lists(box_items(), max_size=3))
    if draw(st.booleans()):
        ahead, share = draw(LENGTHS), draw(SHARES)
        items.append((f"{{in_view: {{ahead: {ahead[0]}, at_least: {share[0]}}}}}", InView(ahead[1], share[1])))
    if draw(st.booleans()) or not items:
        wait = draw(WAITS)
        items.append((f"{{usual_stop: {{wait: {wait[0]}}}}}", UsualStop(wait[1])))
    return draw(st.permutations(items))


@given(items=item_lists(), in_lines=st.booleans())
def test_any_combination_in_any_order_reads_to_its_values(items: list[Item], in_lines: bool) -> None:
    lines = "".join(f"\n      - {text}" for text, _ in items)
    written = lines if in_lines else f"[{', '.join(text for text, _ in items)}]"
    wanted = [condition for _, condition in items]
    found = one_rule(detect=DWELL, neighbours=written).neighbours
    assert found == Neighbours(
        tuple(c for c in wanted if isinstance(c, Box)),
        next((c for c in wanted if isinstance(c, InView)), None),
        next((c for c in wanted if isinstance(c, UsualStop)), None),
    )


@given(seed=st.integers(0, 2**48))
def test_masks_and_closures_agree_in_a_box(seed: int) -> None:
    author = Author(Random(seed), "camera.tracks")
    fields = STREAMS["camera.tracks"].fields
    text = author.flag(2)
    records = [{name: author.cell(field.kind) for name, field in fields.items()} for _ in range(30)]
    for record in records:
        record["time_us"] = author.random.randrange(4_000_000_000_000_000)
    (box,) = neighbours_of(f"{{none: {{where: '{text}', ahead: 12m}}}}").boxes
    values = [box.where.value(record) for record in records]
    assert box.where.mask(batch_of("camera.tracks", records)).tolist() == [v is True for v in values], text
    assert box.where == one_rule(where=f"'{text}'").where


# -- what it refuses ---------------------------------------------------------------------------------------------------


def found_in(*items: str, **clauses: str) -> list[tuple[str, tuple[str, ...]]]:
    """Each problem's code, and its place below the rule."""
    return [(p.code, p.path[1:]) for p in load(text_of(*items, **clauses))[1]]


@pytest.mark.parametrize(
    ("item", "code", "path"),
    [
        ("12m", "E113", ()),
        ("[]", "E113", ()),
        ("{}", "E125", ()),
        (f"{{none: {{where: {SLOW}, ahead: 12m}}, some: {{where: {SLOW}, ahead: 12m}}}}", "E125", ()),
        (f"{{in_view: {{ahead: 12m}}, {STOP[1:-1]}}}", "E125", ()),
        ("{inview: {ahead: 12m}}", "E111", ()),
        ("{none: 12m}", "E113", ("none",)),
        ("{none: {ahead: 12m}}", "E112", ("none",)),
        (f"{{none: {{where: {SLOW}}}}}", "E112", ("none",)),
        (f"{{some: {{where: {SLOW}, abeam: 2m}}}}", "E112", ("some",)),
        (f"{{some: {{where: {SLOW}, ahead: 8m, beside: 2m}}}}", "E111", ("some",)),
        (f"{{some: {{where: {SLOW}, ahead: 8}}}}", "E116", ("some", "ahead")),
        (f"{{some: {{where: {SLOW}, ahead: -8m}}}}", "E116", ("some", "ahead")),
        (f"{{some: {{where: {SLOW}, ahead: $far}}}}", "E206", ("some", "ahead")),
        (f"{{some: {{where: {SLOW}, behind: 101m}}}}", "E312", ("some", "behind")),
        (f"{{some: {{where: {SLOW}, ahead: 8m, abeam: 0m}}}}", "E312", ("some", "abeam")),
        (f"{{some: {{where: {SLOW}, ahead: 8m, at_least: 50}}}}", "E117", ("some", "at_least")),
        (f"{{some: {{where: {SLOW}, ahead: 8m, at_least: 0%}}}}", "E313", ("some", "at_least")),
        ("{none: {where: speed > 2, ahead: 8m}}", "E202", ("none", "where")),
        ("{none: {where: macros.slow, ahead: 8m}}", "E204", ("none", "where")),
        ("{none: {where: class in lists.cars, ahead: 8m}}", "E203", ("none", "where")),
        ("{none: {where: value > 2, ahead: 8m}}", "E202", ("none", "where")),
        ("{none: {where: true, ahead: 8m}}", "E113", ("none", "where")),
        ("{in_view: {at_least: 50%}}", "E112", ("in_view",)),
        ("{in_view: {ahead: 0m}}", "E312", ("in_view", "ahead")),
        ("{in_view: {ahead: 1km}}", "E312", ("in_view", "ahead")),
        ("{in_view: {ahead: 8m, at_least: 0%}}", "E313", ("in_view", "at_least")),
        ("{in_view: {ahead: 8m, abeam: 2m}}", "E111", ("in_view",)),
        ("{usual_stop: {}}", "E112", ("usual_stop",)),
        ("{usual_stop: {wait: 0s}}", "E301", ("usual_stop", "wait")),
        ("{usual_stop: {wait: 6}}", "E115", ("usual_stop", "wait")),
        ("{usual_stop: {wait: $case}}", "E206", ("usual_stop", "wait")),
        ("{usual_stop: {wait: 6m, at_least: 50%}}", "E111", ("usual_stop",)),
    ],
)
def test_one_mistake_is_one_problem_at_its_place(item: str, code: str, path: tuple[str, ...]) -> None:
    assert found_in(BOX, item, params="{case: 7m}") == [(code, ("neighbours #2", *path))]


@pytest.mark.parametrize(("clause", "code"), [("12m", "E113"), (VIEW, "E113"), ("null", "E113"), ("[]", "E315")])
def test_it_is_a_list_of_at_least_one(clause: str, code: str) -> None:
    (problem,) = load(HEAD + rule_text(detect=DWELL, neighbours=clause))[1]
    assert (problem.code, problem.path) == (code, ('rule "r"', "neighbours"))


@given(cm=st.integers(0, 20_000), key=st.sampled_from(["ahead", "behind", "abeam"]))
@example(cm=10_000, key="ahead")
@example(cm=10_001, key="ahead")
@example(cm=0, key="abeam")
def test_a_length_is_above_nothing_and_at_most_100_metres(cm: int, key: str) -> None:
    also = "behind: 1m" if key != "behind" else "ahead: 1m"
    refused = ["E312"] if cm == 0 or cm > 10_000 else []
    assert codes(text_of(f"{{none: {{where: {SLOW}, {also}, {key}: {cm}cm}}}}")) == refused


@given(hundredths=st.integers(0, 12_000))
@example(hundredths=0)
@example(hundredths=1)
@example(hundredths=10_000)
def test_a_share_is_above_nothing_and_at_most_all(hundredths: int) -> None:
    item = f"{{in_view: {{ahead: 12m, at_least: {hundredths // 100}.{hundredths % 100:02}%}}}}"
    refused = ["E313"] if hundredths == 0 else ["E117"] if hundredths > 10_000 else []
    assert codes(text_of(item)) == refused
    if not refused:
        assert neighbours_of(item).in_view == InView(12.0, float(Fraction(hundredths, 10_000)))


@pytest.mark.parametrize(
    ("items", "too_many"),
    [
        ([BOX] * 3 + [VIEW, STOP], []),
        ([BOX] * 5, ["neighbours #4", "neighbours #5"]),
        ([VIEW, BOX, VIEW], ["neighbours #3"]),
        ([STOP, STOP], ["neighbours #2"]),
    ],
)
def test_a_rule_has_so_many_conditions(items: list[str], too_many: list[str]) -> None:
    assert found_in(*items) == [("E314", (place,)) for place in too_many]


def test_what_is_beyond_the_limit_is_not_read() -> None:
    """A file of two megabytes would have its expressions checked for seconds, to be refused in the end."""
    wrong = "{none: {where: nothing > 1, ahead: 0m}}"
    assert found_in(wrong, BOX, BOX, wrong) == [
        ("E202", ("neighbours #1", "none", "where")),
        ("E312", ("neighbours #1", "none", "ahead")),
        ("E314", ("neighbours #4",)),
    ]


def test_it_needs_a_dwell_on_camera_tracks() -> None:
    assert found_in(BOX, detect="{event: {}}") == [("E311", ("neighbours",))]
    readings = {"from_": "[sensor.readings]", "by": "[device_id]"}
    assert found_in(BOX, **readings) == [("E311", ("neighbours",))]
    assert found_in(BOX, **readings, detect="{event: {}}") == [("E311", ("neighbours",))] * 2


def test_what_is_wrong_elsewhere_is_said_there_alone() -> None:
    assert codes(text_of(BOX, detect="{guess: {}}")) == ["E111"]
    assert codes(text_of(BOX, from_="[camera.track]")) == ["E201"]
    assert codes(text_of("{none: {where: x > 1, ahead: 8m}}", from_="[hotline.tickets]")) == ["E201"]


@pytest.mark.parametrize(("wait", "warned"), [("2m", True), ("119s", True), ("121s", False)])
def test_a_wait_is_longer_than_the_dwell(wait: str, warned: bool) -> None:
    assert codes(text_of(f"{{usual_stop: {{wait: {wait}}}}}")) == (["W404"] if warned else [])


def test_a_wait_is_longer_than_the_dwell_of_every_override() -> None:
    more = {"detect": "{dwell: {for: $long}}", "params": "{long: 2m}"}
    shorter = '{zones: ["core/*"], set: {long: 1m}}'
    longer = '{zones: ["permit/*"], set: {long: 7m}}'
    assert codes(text_of(STOP, **more, overrides=f"[{shorter}]")) == []
    (problem,) = load(text_of(STOP, **more, overrides=f"[{shorter}, {longer}]"))[1]
    assert problem.code == "W404"
    assert "under override #2" in problem.message
    assert rule_of(STOP, **more, overrides=f"[{longer}]").neighbours == Neighbours((), None, UsualStop(6 * MINUTE_US))


def test_a_key_too_many_hides_no_mistake_beside_it() -> None:
    assert found_in(f"{{in_view: {{ahead: 0m}}, unless: {SLOW}}}") == [
        ("E312", ("neighbours #1", "in_view", "ahead")),
        ("E111", ("neighbours #1",)),
    ]


def test_a_misspelt_key_behind_an_expression_is_not_taken_for_a_part_of_it() -> None:
    (problem,) = load(text_of(f"{{none: {{where: {SLOW}, ahaed: 8m, behind: 8m}}}}"))[1]
    assert problem.hint == 'did you mean "ahead"?'


# -- fingerprint -------------------------------------------------------------------------------------------------------


def test_the_fingerprint_of_a_rule_without_neighbours_is_what_it_was_before_there_were_any() -> None:
    rule = one_rule(detect=DWELL, where=SLOW, zones='{in: ["core/*"]}')
    assert rule.fingerprint == "e14f62ee7262b6067b832daede2a73dd"


def test_a_fingerprint_keeps_the_kinds_of_neighbours() -> None:
    some = BOX.replace("none", "some")
    found = [rule_of(*items).fingerprint for items in ([BOX], [some], [BOX, some], [some, BOX], [BOX, BOX])]
    found += [rule_of(*items).fingerprint for items in ([VIEW], [STOP], [VIEW, STOP], [BOX, VIEW], [BOX, VIEW, STOP])]
    assert len({one_rule(detect=DWELL).fingerprint, *found}) == len(found) + 1


def test_a_fingerprint_stays_while_lengths_shares_and_conditions_change() -> None:
    first = rule_of(BOX, VIEW, STOP).fingerprint
    box = f"{{none: {{where: {FAST}, behind: 3m, abeam: 1m, at_least: 5%}}}}"
    assert rule_of(box, "{in_view: {ahead: 3m, at_least: 5%}}", "{usual_stop: {wait: 9m}}").fingerprint == first
    assert rule_of(STOP, VIEW, BOX).fingerprint == first


def test_the_conditions_of_a_box_are_checked_expressions() -> None:
    (box,) = neighbours_of(BOX).boxes
    assert isinstance(box.where, Checked)
    assert box.where.text == SLOW
