"""GeoJSON files (RFC 7946) as features that know where in the text they stand."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from models.detections import Text
from models.problems import Place, Problem

SPACE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()
WGS84_NAMES = re.compile(r"CRS84|EPSG:[0-9.]*:?(?:4326|4490)\b", re.IGNORECASE)  # 4490 is CGCS2000


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature as it was written. `id` is None where it has none that can be used."""

    number: int
    id: str | None
    properties: Mapping[str, Any]
    geometry: Any
    place: Place
    snippet: str
    lines: Lines | None = field(default=None, repr=False, compare=False)
    offset: int = 0

    def problem(
        self,
        code: str,
        message: str,
        hint: str | None = None,
        severity: Literal["error", "warning", "advice"] = "error",
        at: str | None = None,
    ) -> Problem:
        """A finding at this feature; `at` names the part of it: a property, `id`, `geometry`, `coordinates[0]`."""
        name = f"feature {self.number}" + ("" if self.id is None else f" ({self.id})")
        path = (name,) if at is None else (name, at)
        place, snippet = self.place, self.snippet
        if at is not None and self.lines is not None:
            place, snippet = self.lines.part(self.offset, steps_to(at))
        return Problem(
            place=place,
            code=code,
            message=message,
            hint=hint,
            path=path,
            snippet=snippet or None,
            severity=severity,
        )


def steps_to(at: str) -> list[str | int]:
    """From a feature to the part that a finding names."""
    name, *numbers = at.replace("]", "").split("[")
    within = {"id": [], "geometry": [], "coordinates": ["geometry"]}.get(name, ["properties"])
    return [*within, name, *map(int, numbers)]


@dataclass(frozen=True, slots=True)
class Codes:
    """The problem codes of a kind of file, for what is wrong with any GeoJSON."""

    not_json: str
    not_a_collection: str
    not_a_feature: str
    no_id: str
    wrong_crs: str


LONGEST_SHOWN = 200  # characters of a line


class Lines:
    """Offsets of a text to lines and columns, 1-based."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._text = text
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def part(self, offset: int, steps: Sequence[str | int]) -> tuple[Place, str]:
        """Where the value stands that steps lead to from the value at an offset, as far as they lead; and its line."""
        for step in steps:
            found = self._child(offset, step)
            if found is None:
                break
            offset = found
        return self.place(offset), self.snippet(offset)

    def _child(self, offset: int, step: str | int) -> int | None:
        if isinstance(step, int):
            items = array_offsets(self._text, offset) if self._text[offset] == "[" else iter(())
            return next(islice(items, step, None), None)
        members = object_members(self._text, offset) if self._text[offset] == "{" else iter(())
        return next((at for name, at, _ in members if name == step), None)

    def place(self, offset: int, length: int = 1) -> Place:
        line = bisect_right(self._starts, offset)
        return Place(self._file, line, offset - self._starts[line - 1] + 1, length)

    def snippet(self, offset: int) -> str:
        """The line there; of a very long one (a whole file in one line) nothing of use can be shown."""
        number = bisect_right(self._starts, offset)
        start = self._starts[number - 1]
        end = self._starts[number] if number < len(self._starts) else len(self._text)
        if end - start > LONGEST_SHOWN + len("\r\n"):  # copied for each feature, a long line would take for ever
            return ""
        line = self._text[start:end].rstrip("\r\n")
        return line if len(line) <= LONGEST_SHOWN else ""


def read_features(file: str, data: bytes, codes: Codes) -> tuple[list[Feature], list[Problem]]:
    """All features of one file in order, and what is wrong with the file itself."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as why:
        message = f"not UTF-8: {why.reason} at byte {why.start}; the file is not used"
        return [], [Problem(place=Place(file), code=codes.not_json, message=message, hint="save it as UTF-8")]
    lines = Lines(file, text)
    try:
        members = {name: (at, value) for name, at, value in document_members(text)}
    except json.JSONDecodeError as why:
        found = Problem(
            place=lines.place(min(why.pos, len(text))),
            code=codes.not_json,
            message=f"not JSON: {lower_first(why.msg)}; the file is not used",
            snippet=lines.snippet(min(why.pos, len(text))) or None,
        )
        return [], [found]
    except (RecursionError, ValueError) as why:
        what = "nested too deeply" if isinstance(why, RecursionError) else "it holds a number of thousands of digits"
        message = f"not JSON that can be read: {what}; the file is not used"
        return [], [Problem(place=Place(file), code=codes.not_json, message=message)]
    kind, features = members.get("type", (0, None))[1], members.get("features", (0, None))[1]
    if kind != "FeatureCollection" or not isinstance(features, list):
        at = members["type"][0] if "type" in members else 0
        problem = Problem(
            place=lines.place(at),
            code=codes.not_a_collection,
            message=f"the file's type is {json.dumps(kind, ensure_ascii=False)[:60]}, not a FeatureCollection with "
            "features; it is not used",
            hint='write {"type": "FeatureCollection", "features": [...]}',
        )
        return [], [problem]
    at, crs = members.get("crs", (0, None))
    if crs is not None and not WGS84_NAMES.search(json.dumps(crs)):
        problem = Problem(
            place=lines.place(at),
            code=codes.wrong_crs,
            message="the file names a system of coordinates other than WGS-84; everything in it would be misplaced, so "
            "it is not used",
            hint="convert the file to WGS-84 longitude and latitude and leave out `crs`, as RFC 7946 has it",
            snippet=lines.snippet(at) or None,
        )
        return [], [problem]
    offsets = list(array_offsets(text, members["features"][0]))
    return as_features(features, offsets, lines, codes)


def as_features(
    documents: Sequence[Any], offsets: Sequence[int], lines: Lines, codes: Codes
) -> tuple[list[Feature], list[Problem]]:
    features: list[Feature] = []
    problems: list[Problem] = []
    for number, (document, offset) in enumerate(zip(documents, offsets, strict=True)):
        place, snippet = lines.place(offset), lines.snippet(offset)
        if not isinstance(document, dict) or document.get("type") != "Feature":
            blank = Feature(number, None, {}, None, place, snippet)
            problems.append(blank.problem(codes.not_a_feature, 'not a feature: its "type" is not "Feature"'))
            continue
        written, properties = document.get("id"), document.get("properties")
        identity = usable_id(written)
        if not isinstance(properties, dict):
            properties = {}
        feature = Feature(number, identity, properties, document.get("geometry"), place, snippet, lines, offset)
        if identity is None:
            what = "has no id" if written is None else f"has the id {json.dumps(written, ensure_ascii=False)[:60]}"
            hint = "give it a member `id` beside `properties`: text of 1 to 128 signs that a pattern does not use"
            problems.append(feature.problem(codes.no_id, f"the feature {what}, so nothing can name it", hint, at="id"))
            continue
        features.append(feature)
    return features, problems


def usable_id(written: object) -> str | None:
    if isinstance(written, int) and not isinstance(written, bool):
        written = str(written)
    if isinstance(written, str) and re.fullmatch(r"[^\s/*?\[\]{}\\]{1,128}", written) and written.isprintable():
        return written
    return None


def document_members(text: str) -> Iterator[tuple[str, int, Any]]:
    """(name, offset of the value, value) of the object that the text is; of anything else, itself without a name."""
    at = skip_space(text, 0)
    document, end = DECODER.raw_decode(text, at)  # the whole first: its errors are the exact ones
    if skip_space(text, end) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    if isinstance(document, dict):
        yield from object_members(text, at)
    else:
        yield "", at, document


def object_members(text: str, at: int) -> Iterator[tuple[str, int, Any]]:
    """(name, offset of the value, value) of the object at this offset; it is known to be right."""
    at = skip_space(text, at + 1)
    while text[at] != "}":
        name, at = DECODER.raw_decode(text, at)
        at = skip_space(text, skip_space(text, at) + 1)
        value, end = DECODER.raw_decode(text, at)
        yield name, at, value
        at = skip_space(text, end)
        if text[at] == ",":
            at = skip_space(text, at + 1)


def array_offsets(text: str, at: int) -> Iterator[int]:
    """Where each item of the array at this offset begins; the array is known to be right."""
    at = skip_space(text, at + 1)
    while text[at] != "]":
        yield at
        at = skip_space(text, DECODER.raw_decode(text, at)[1])
        if text[at] == ",":
            at = skip_space(text, at + 1)


def skip_space(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at


def lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def as_text(written: object) -> Text | None:
    """A name as {zh, en}, or one text for both; None where it is neither."""
    if isinstance(written, str):
        return Text(written, written)
    if isinstance(written, dict):
        zh, en = written.get("zh"), written.get("en")
        if isinstance(zh, str) or isinstance(en, str):
            return Text(zh if isinstance(zh, str) else str(en), en if isinstance(en, str) else str(zh))
    return None
