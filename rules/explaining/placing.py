"""Where the compiler puts a rule: which part is watched by the Detectors of which stream, what the Desk decides."""

from __future__ import annotations

import msgspec

from rules.language.model import AllOf, Bundle, Correlate, InOrder, Join, NearBy, Rule


class PlacedPart(msgspec.Struct, frozen=True):
    """`where`: detector or desk. `what`: the primitive or join; `of`: what a join puts together."""

    where: str
    topic: str
    part: str
    what: str
    by: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    suspects: bool = False


class PlacedRule(msgspec.Struct, frozen=True):
    rule: str
    revision: int
    status: str
    parts: tuple[PlacedPart, ...]


def placed(bundle: Bundle) -> list[PlacedRule]:
    return [PlacedRule(rule.id, rule.revision, rule.status, parts_of(rule)) for rule in bundle.rules]


def parts_of(rule: Rule) -> tuple[PlacedPart, ...]:
    watched = [of_part(part) for part in rule.parts or ((rule,) if rule.topic else ())]
    return (*watched, *(of_join(join) for join in rule.joins))


def of_part(part: Rule) -> PlacedPart:
    what = snake(type(part.base.detect).__name__)
    return PlacedPart("detector", part.topic, part.part, what, part.by, suspects=part.suspects)


def of_join(join: Join) -> PlacedPart:
    match join:
        case Correlate():
            of = tuple(source.part or f"{source.name} ({source.topic})" for source in join.sources)
        case AllOf() | NearBy():
            of = join.parts
        case InOrder():
            of = tuple(step.part for step in join.sequence.steps)
    return PlacedPart("desk", "", join.name, snake(type(join).__name__), of=of)


def snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and at else c.lower() for at, c in enumerate(name))
