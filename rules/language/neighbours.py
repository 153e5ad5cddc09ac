"""`neighbours`: conditions on the other objects of the same frame, and on what the camera has learned of the place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from models.streams import Stream
from models.times import SECOND_US
from rules.language.checking import Names
from rules.language.clauses import Clause, either, shown
from rules.language.detect import Primitive
from rules.language.expressions import ALWAYS
from rules.language.model import Box, Dwell, InView, Neighbours, UsualStop, Variant
from rules.language.schema import BOX, IN_VIEW, NEIGHBOUR, USUAL_STOP
from rules.language.source import ListNode, MapNode

TOPIC = "camera.tracks"
KIND = "dwell"
BOXES = ("none", "some")
ABEAM_M = 2.0  # to each side: half a lane, and half of the next
AT_LEAST = 0.5  # more often so than not
MOST_M = 100.0  # what is further off says nothing of who queues
MOST_BOXES = 3  # each looks at every pair of objects of a frame

Condition = Box | InView | UsualStop


def read_neighbours(
    rule: Clause, primitive: Primitive, stream: Stream | None, names: Names | None, variants: Sequence[Variant]
) -> Neighbours | None:
    """The clause; None where the rule has none. Boxes keep their order."""
    if not rule.has("neighbours"):
        return None
    check_fits(rule, primitive, stream)
    check_some(rule)
    known = names if names is not None and names.stream == TOPIC else None
    read = [read_condition(item, kind, known, variants) for item, kind in items_of(rule)]
    return Neighbours(
        tuple(condition for condition in read if isinstance(condition, Box)),
        next((condition for condition in read if isinstance(condition, InView)), None),
        next((condition for condition in read if isinstance(condition, UsualStop)), None),
    )


def kinds(neighbours: Neighbours) -> list[str]:
    """What a fingerprint keeps of them: the boxes' kinds in order, then what of the place is asked."""
    of_place = {"in_view": neighbours.in_view, "usual_stop": neighbours.usual_stop}
    return [*(box.kind for box in neighbours.boxes), *(kind for kind, asked in of_place.items() if asked is not None)]


# -- the whole list ----------------------------------------------------------------------------------------------------


def check_fits(rule: Clause, primitive: Primitive, stream: Stream | None) -> None:
    """What the clause needs of its rule; what is unknown there was reported there."""
    here = rule.here.at(rule.entries["neighbours"].key, "neighbours")
    if stream is not None and stream.topic != TOPIC:
        message = f"`neighbours` needs {TOPIC}: {stream.topic} has no other objects of the same frame"
        here.problem("E311", message, f"from: [{TOPIC}]")
    if primitive.built and primitive.kind != KIND:
        message = f"`neighbours` needs a dwell: {primitive.kind} has no time in which to look around"
        here.problem("E311", message, "detect: {dwell: {for: 2m}}")


def check_some(rule: Clause) -> None:
    here = rule.get("neighbours")
    if here is not None and isinstance(here.node, ListNode) and not here.node.items:
        here.problem("E315", "`neighbours` is empty: it asks nothing", "give it a condition, or leave it out")


def items_of(rule: Clause) -> Iterator[tuple[Clause, str]]:
    """Each item and its kind; those beyond what a rule may have are reported and not read."""
    seen: Counter[str] = Counter()
    for item in rule.clauses("neighbours", NEIGHBOUR):
        kind = kind_of(item)
        if kind is None:
            continue
        box = kind in BOXES
        seen["box" if box else kind] += 1
        if box and seen["box"] > MOST_BOXES:
            message = f"this is box number {seen['box']}, and a rule has at most {MOST_BOXES}"
            item.here.problem("E314", message, 'two questions about the same ground are one with "or"')
        elif not box and seen[kind] > 1:
            item.here.problem("E314", f"one more {kind}, and a rule has one", "keep the one that asks for more")
        else:
            yield item, kind


# -- one condition -----------------------------------------------------------------------------------------------------


def kind_of(item: Clause) -> str | None:
    """The one of the four that the item has. A key it cannot have was reported by itself."""
    written = [key for key in item.entries if key in NEIGHBOUR.known]
    if len(written) == 1:
        return written[0]
    if written:
        message = f"exactly one condition belongs in an item; here are: {', '.join(written)}"
        item.here.problem("E125", message, "make each an item of its own")
    elif not item.entries and isinstance(item.here.node, MapNode):
        message = "exactly one condition belongs in an item; this one is empty"
        item.here.problem("E125", message, f"give it {either(NEIGHBOUR.known)}")
    return None


def read_condition(item: Clause, kind: str, names: Names | None, variants: Sequence[Variant]) -> Condition:
    match kind:
        case "none" | "some":
            return read_box(item, kind, names)
        case "in_view":
            return read_in_view(item)
        case _:
            return read_usual_stop(item, variants)


def read_box(item: Clause, kind: Literal["none", "some"], names: Names | None) -> Box:
    clause = item.clause(kind, BOX)
    assert clause is not None
    mapping = isinstance(clause.here.node, MapNode)
    if mapping and not clause.has("ahead") and not clause.has("behind"):
        clause.here.problem("E112", f'"{kind}" needs "ahead", "behind" or both: its box has no length', "ahead: 12m")
    return Box(
        kind=kind,
        where=clause.expression("where", names) or ALWAYS,
        ahead_m=read_reach(clause, "ahead", 0.0),
        behind_m=read_reach(clause, "behind", 0.0),
        abeam_m=read_reach(clause, "abeam", ABEAM_M),
        at_least=read_at_least(clause),
    )


def read_in_view(item: Clause) -> InView:
    clause = item.clause("in_view", IN_VIEW)
    assert clause is not None
    return InView(read_reach(clause, "ahead", 0.0), read_at_least(clause))


def read_usual_stop(item: Clause, variants: Sequence[Variant]) -> UsualStop:
    clause = item.clause("usual_stop", USUAL_STOP)
    assert clause is not None
    wait_us = clause.duration("wait", None, positive=True)
    if wait_us is None:
        return UsualStop(SECOND_US)
    check_wait(clause, wait_us, variants)
    return UsualStop(wait_us)


def check_wait(clause: Clause, wait_us: int, variants: Sequence[Variant]) -> None:
    """A wait that some dwell of the rule lasts anyhow is none."""
    for number, variant in enumerate(variants, 1):
        if isinstance(variant.detect, Dwell) and wait_us <= variant.detect.for_us:
            where = "" if variant.applies is None else f" under override #{number}"
            here = clause.get("wait")
            assert here is not None
            message = f'"wait" is {shown(here.node)}: the dwell lasts as long anyhow{where}, so it changes nothing'
            here.problem("W404", message, 'make it longer than every "for" of the dwell')
            return


# -- their numbers -----------------------------------------------------------------------------------------------------


def read_reach(clause: Clause, key: str, default: float) -> float:
    """A length of a box."""
    metres = clause.length(key, None)
    if metres is None:
        return default
    here = clause.get(key)
    assert here is not None
    if metres > MOST_M:
        message = f'"{key}" is {shown(here.node)}: beyond {MOST_M:g}m a box says nothing of who queues'
        here.problem("E312", message, f"at most {MOST_M:g}m")
    elif metres == 0:
        message = f'"{key}" is {shown(here.node)}: no ground is in there'
        here.problem("E312", message, f"longer than nothing, at most {MOST_M:g}m")
    return metres


def read_at_least(clause: Clause) -> float:
    """A share of the dwell's observations."""
    share = clause.share("at_least", AT_LEAST)
    here = clause.get("at_least")
    if share == 0 and here is not None:
        message = f'"at_least" is {shown(here.node)}: the condition would hold whatever is around'
        here.problem("E313", message, f"more than 0%; without it {AT_LEAST:.0%}")
    return share
