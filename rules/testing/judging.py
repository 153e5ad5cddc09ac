"""What was told against what is expected; every difference in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import TypeGuard

from models.problems import Place
from rules.testing.model import Expected, Plain, Reason, Test, Told, WhyNot
from rules.testing.schema import TOLD

Record = Mapping[str, Plain]
CLOSE_ENOUGH = 1e-6
"""Of numbers: they come through JSON and back."""
DECIDED = frozenset(("raised", "stage", "cleared"))
"""Kinds of detections that are expected one by one. That something is still there, or unknown, is told again and again:
it is looked at only where a test expects it."""
MOST_SHOWN = 3
"""Of what was told and not expected at one time: the rest is a number."""
REFUSAL = ("topic", "reason", "path", "detail", "late_by_ms")
"""What of a letter says why."""
IDENTITIES = ("detection_id", "incident_id")
ORDERED = ("department", "unit_id", "reason", "issued_at", "accept_by", "resolve_by")


@dataclass(frozen=True, slots=True)
class Difference:
    """One expectation that is not met."""

    place: Place
    at_us: int
    what: str
    expected: Plain
    got: Plain
    said: str


class Account:
    """Everything one run told."""

    def __init__(self, test: Test, told: Sequence[Told]) -> None:
        self.test, self.told = test, told
        self.keys = {
            str(one.value["detection_id"]): one.value["key"] for one in told if one.topic == "detections"
        }  # fmt: skip

    def until(self, at_us: int, topic: str) -> list[Record]:
        end_us = self.test.start_us + at_us
        return [one.value for one in self.told if one.topic == topic and one.at_us <= end_us]

    def listed(self, at_us: int, kind: str, wanted: Sequence[Record]) -> list[Record]:
        """What there is of a kind: of incidents the newest of each."""
        found = self.until(at_us, TOLD[kind])
        if kind == "detections":
            kinds = DECIDED | {str(want.get("kind")) for want in wanted}
            return [value for value in found if value["kind"] in kinds]
        if kind != "incidents":
            return found
        newest = {str(value["incident_id"]): value for value in found}
        return [{**value, "key": self.key(value)} for value in newest.values()]

    def key(self, incident: Record) -> Plain:
        """That of its first detection."""
        detections = incident.get("detections")
        return self.keys.get(str(detections[0])) if isinstance(detections, list) and detections else None

    def states(self, at_us: int, rule: str) -> dict[str, list[str]]:
        """By incident of a rule the states it went through."""
        found: dict[str, list[str]] = {}
        for value in self.until(at_us, "incidents"):
            if value.get("rule") == rule:
                states = found.setdefault(str(value["incident_id"]), [])
                if states[-1:] != [value["state"]]:
                    states.append(str(value["state"]))
        return found


def differences(test: Test, told: Sequence[Told]) -> list[Difference]:
    account = Account(test, told)
    found = [*refused(account)]
    for expected in test.expected:
        found += judged(expected, account)
    return found


def refused(account: Account) -> Iterator[Difference]:
    """A record of the test's own that nobody could read makes whatever it expects worthless. The first is told."""
    if account.test.disturb.shuffle_us:
        return
    found = [one for one in account.told if one.topic in ("dead-letters", "late")]
    if found:
        first = found[0]
        why = {name: first.value[name] for name in REFUSAL if first.value.get(name) is not None}
        said = f"{len(found)} of the test's own records were refused, this first"
        yield Difference(account.test.place, first.at_us - account.test.start_us, first.topic, None, why, said)


def judged(expected: Expected, account: Account) -> Iterator[Difference]:
    at_us, place = expected.at_us, expected.place
    for kind, wanted in expected.lists.items():
        there = account.listed(at_us, kind, wanted)
        if expected.rule is not None:
            there = [value for value in there if value.get("rule", expected.rule) == expected.rule]
        yield from compared(wanted, there, kind, expected)
    for rule, wanted_number in expected.counts.items():
        got = len(account.states(at_us, rule))
        if got != wanted_number:
            yield Difference(place, at_us, f"count of {rule}", wanted_number, got, f"{got} incidents")
    if expected.transitions is not None:
        chains = list(account.states(at_us, expected.rule or "").values())
        if chains != [list(expected.transitions)]:
            said = " / ".join(" → ".join(chain) for chain in chains) or "no incident"
            wanted_chain: list[Plain] = [*expected.transitions]
            got_chains: list[Plain] = [[*chain] for chain in chains]
            yield Difference(place, at_us, "transitions", wanted_chain, got_chains, said)


def unreasoned(expected: Expected, asked: WhyNot, reasons: Sequence[Reason]) -> Iterator[Difference]:
    """Some part of the rule was stopped as expected."""
    if any(one.stage == asked.stage and asked.contains in one.said for one in reasons):
        return
    wanted: dict[str, Plain] = {"stage": asked.stage}
    if asked.contains:
        wanted["contains"] = asked.contains
    got: list[Plain] = [{"stage": one.stage, "said": one.said} for one in reasons]
    said = f"{asked.rule} was stopped at {', '.join(one.stage for one in reasons) or 'nothing: no part of it ran'}"
    if [one.stage for one in reasons] == ["raised"]:
        said = f"{asked.rule} was raised"
    yield Difference(expected.place, expected.at_us, "why_not", wanted, got, said)


def compared(wanted: Sequence[Record], there: Sequence[Record], kind: str, at: Expected) -> Iterator[Difference]:
    """Each expected one must be there once, and nothing else."""
    pairs = paired(wanted, there)
    left = [value for number, value in enumerate(there) if number not in pairs.values()]
    for number, want in enumerate(wanted):
        if number in pairs:
            continue
        near = min(left, key=lambda value: len(unlike(want, value)), default=None)
        if near is None:
            yield Difference(at.place, at.at_us, kind, dict(want), None, "none such")
            continue
        left.remove(near)
        got = {name: near.get(name) for name in want}
        yield Difference(at.place, at.at_us, kind, dict(want), got, "; ".join(unlike(want, near)))
    for value in left[:MOST_SHOWN]:
        yield Difference(at.place, at.at_us, kind, None, gist(value), "not expected")
    if len(left) > MOST_SHOWN:
        said = f"not expected either: {len(left) - MOST_SHOWN} more"
        yield Difference(at.place, at.at_us, kind, None, None, said)


def paired(wanted: Sequence[Record], there: Sequence[Record]) -> dict[int, int]:
    """The most expectations that can each have one of their own."""
    owner: dict[int, int] = {}

    def place(number: int, tried: set[int]) -> bool:
        for at, value in enumerate(there):
            if at not in tried and not unlike(wanted[number], value):
                tried.add(at)
                if at not in owner or place(owner[at], tried):
                    owner[at] = number
                    return True
        return False

    for number in range(len(wanted)):
        place(number, set())
    return {number: at for at, number in owner.items()}


def unlike(want: Plain | Record, got: Plain | Record, name: str = "") -> list[str]:
    """Where `got` lacks what is wanted; a mapping may have more than that."""
    if isinstance(want, Mapping):
        if not isinstance(got, Mapping):
            return [f"{name}: {got} is no mapping"]
        return [
            said for key, value in want.items() for said in unlike(value, got.get(key), f"{name}.{key}".lstrip("."))
        ]
    if same(want, got):
        return []
    return [f"{name}: expected {want}, got {got}"]


def same(want: object, got: object) -> bool:
    if is_number(want) and is_number(got):
        return isclose(want, got, rel_tol=CLOSE_ENOUGH, abs_tol=CLOSE_ENOUGH)
    return want == got and isinstance(want, bool) == isinstance(got, bool)


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def gist(value: Record) -> dict[str, Plain]:
    """What tells one record from another at a glance."""
    names = (
        "rule",
        "kind",
        "stage",
        "key",
        "zone",
        "state",
        "reason",
        "severity",
        "department",
        "verdict",
        "event_time",
    )
    return {name: value[name] for name in names if value.get(name) is not None}


def result(told: Sequence[Told]) -> list[tuple[str, ...]]:
    """What a run comes to, whatever order its records came in: the transitions of conditions, and each incident's last
    state."""
    return sorted({*told_of(told, IDENTITIES)})


def effect(told: Sequence[Told]) -> list[tuple[str, ...]]:
    """The same without ids, which are others where a rule's shape is another; and all that goes out to people."""
    orders = [one.value for one in told if one.topic == "dispatch.orders"]
    went = [("order", *told_by(order, ORDERED)) for order in orders]
    return sorted([*told_of(told, ("rule", "zone", "severity")), *went])


def told_of(told: Sequence[Told], names: Sequence[str]) -> list[tuple[str, ...]]:
    newest: dict[str, tuple[str, ...]] = {}
    found: list[tuple[str, ...]] = []
    for one in told:
        value = one.value
        if one.topic == "detections" and value["kind"] in DECIDED:
            found.append(("detection", *told_by(value, (*names, "kind", "stage", "event_time"))))
        elif one.topic == "incidents":
            state = told_by(value, (*names, "state", "severity", "condition"))
            newest[str(value["incident_id"])] = ("incident", *state)
    return [*found, *newest.values()]


def told_by(value: Record, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(value.get(name)) for name in names)
