"""Whether a schema may take another's place within one version: what it would break, and for whom.

What comes in must go on being accepted: all that the old schema allows, the new one must allow. What goes out must go
on being understood: all that the new one allows, the old one must allow. What our own parts say to each other must do
both. A field more is no break in either direction (unknown fields are ignored), a field less always is: in, what is
sent would no longer be heard; out, it would no longer be said.

The comparison is made keyword by keyword; a keyword that it does not know must stay as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from models.contracts import Flow
from models.contracts_terms import Schema

ANNOTATIONS = frozenset(("$schema", "$id", "$defs", "title", "description", "default", "contentEncoding"))
LOWER, UPPER = ("minimum", "minLength", "minItems"), ("maximum", "maxLength", "maxItems")
WORD_OF_TYPE = {"integer": "number"}
"""A type that is a part of another."""


class Break(NamedTuple):
    """`path` as in dead letters (`$.objects[].lon`)."""

    path: str
    what: str


class Side(NamedTuple):
    """A schema and the document that its `$ref`s lead into."""

    schema: Schema
    whole: Schema

    def there(self) -> Side:
        """Where a `$ref` leads."""
        reference = self.schema.get("$ref")
        return self if reference is None else self.to(self.whole["$defs"][reference.rpartition("/")[2]])

    def to(self, part: Schema) -> Side:
        return Side(part, self.whole)


def breaks(old: Schema, new: Schema, flow: Flow) -> list[Break]:
    """All that keeps `new` from taking the place of `old`."""
    before, after = Side(old, old), Side(new, new)
    found = list(dropped(before, after, "$"))
    if flow is not Flow.OUT:
        found += [Break(path, f"in: {what}") for path, what in beyond(before, after, "$")]
    if flow is not Flow.IN:
        found += [Break(path, f"out: {what}") for path, what in beyond(after, before, "$")]
    return found


def dropped(old: Side, new: Side, path: str) -> Iterator[Break]:
    """Fields that are no more."""
    old, new = old.there(), new.there()
    fields = new.schema.get("properties", {})
    for name, part in old.schema.get("properties", {}).items():
        if name not in fields:
            yield Break(f"{path}.{name}", "the field is no more")
        else:
            yield from dropped(old.to(part), new.to(fields[name]), f"{path}.{name}")
    if "items" in old.schema and "items" in new.schema:
        yield from dropped(old.to(old.schema["items"]), new.to(new.schema["items"]), f"{path}[]")
    for one, other in zip(old.schema.get("anyOf", ()), new.schema.get("anyOf", ()), strict=False):
        yield from dropped(old.to(one), new.to(other), path)


def beyond(part: Side, whole: Side, path: str) -> Iterator[tuple[str, str]]:
    """What `part` allows and `whole` does not."""
    part, whole = part.there(), whole.there()
    if part.schema == whole.schema and part.whole.get("$defs") == whole.whole.get("$defs"):
        return
    if "anyOf" in part.schema or "anyOf" in whole.schema:
        yield from beyond_each(part, whole, path)
        return
    for keyword in sorted((part.schema.keys() | whole.schema.keys()) - ANNOTATIONS):
        judge = JUDGES.get(keyword, beyond_unknown)
        for below, what in judge(part, whole, keyword):
            yield path + below, what


def beyond_each(part: Side, whole: Side, path: str) -> Iterator[tuple[str, str]]:
    """Each alternative of the one must be within some alternative of the other."""
    wider = [whole.to(each) for each in whole.schema.get("anyOf", [whole.schema])]
    for each in part.schema.get("anyOf", [part.schema]):
        found = [list(beyond(part.to(each), other, path)) for other in wider]
        if all(found):
            yield from min(found, key=len)


def beyond_type(part: Side, whole: Side, keyword: str) -> Iterator[tuple[str, str]]:
    if keyword not in whole.schema:
        return
    allowed = types(whole.schema)
    for kind in sorted(types(part.schema) if keyword in part.schema else {"anything"}):
        if kind not in allowed and WORD_OF_TYPE.get(kind) not in allowed:
            yield "", f"{kind} is allowed on one side only"


def types(schema: Mapping[str, Any]) -> set[str]:
    found = schema["type"]
    return {found} if isinstance(found, str) else set(found)


def beyond_enum(part: Side, whole: Side, keyword: str) -> Iterator[tuple[str, str]]:
    if keyword not in whole.schema:
        return
    if keyword not in part.schema:
        yield "", "any word is allowed on one side, a list of them on the other"
        return
    for word in part.schema[keyword]:
        if word not in whole.schema[keyword]:
            yield "", f"the word {word!r} is allowed on one side only"


def beyond_required(part: Side, whole: Side, keyword: str) -> Iterator[tuple[str, str]]:
    for name in whole.schema.get(keyword, ()):
        if name not in part.schema.get(keyword, ()):
            yield f".{name}", "the field is required on one side only"


def beyond_properties(part: Side, whole: Side, keyword: str) -> Iterator[tuple[str, str]]:
    """A field that one side does not name is ignored there."""
    fields = part.schema.get(keyword, {})
    for name, wider in whole.schema.get(keyword, {}).items():
        if name in fields:
            yield from beyond(part.to(fields[name]), whole.to(wider), f".{name}")


def beyond_inside(part: Side, whole: Side, keyword: str) -> Iterator[tuple[str, str]]:
    """`items` and `additionalProperties`."""
    if keyword in whole.schema:
        yield from beyond(part.to(part.schema.get(keyword, {})), whole.to(whole.schema[keyword]), "[]")


def beyond_bound(part: Side, whole: Side, keyword: str) -> Iterator[tuple[str, str]]:
    if keyword not in whole.schema:
        return
    limit, own = whole.schema[keyword], part.schema.get(keyword)
    if own is None or (own < limit if keyword in LOWER else own > limit):
        yield "", f"{keyword} is {'none' if own is None else own} on one side, {limit} on the other"


def beyond_all(part: Side, whole: Side, keyword: str) -> Iterator[tuple[str, str]]:
    """Shapes: each must have its equal."""
    for shape in whole.schema.get(keyword, ()):
        if shape not in part.schema.get(keyword, ()):
            yield "", f"the condition {shape} holds on one side only"


def beyond_unknown(part: Side, whole: Side, keyword: str) -> Iterator[tuple[str, str]]:
    """`pattern`, `format`, `not` and all that we have never used: equal, or not asked for."""
    if keyword in whole.schema and whole.schema[keyword] != part.schema.get(keyword):
        yield "", f"{keyword} is not the same"


JUDGES = {
    "type": beyond_type,
    "enum": beyond_enum,
    "required": beyond_required,
    "properties": beyond_properties,
    "items": beyond_inside,
    "additionalProperties": beyond_inside,
    "allOf": beyond_all,
} | dict.fromkeys((*LOWER, *UPPER), beyond_bound)
