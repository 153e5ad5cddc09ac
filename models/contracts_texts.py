"""What fields, words and topics mean, in both languages: the catalogue as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.detections import Text

ANY = "any"
"""Stands for every type: fields of one name and one meaning."""


class MissingText(LookupError):
    """The catalogue says nothing of it, or more than a text in each language."""


class Meaning(Text, frozen=True):
    def line(self) -> str:
        return f"{self.zh} / {self.en}"


class Texts:
    """Looks things up in a catalogue `{topics, fields, words, beyond}`, and remembers what was looked up.

    Every look-up raises MissingText where nothing, or one language only, is found.
    """

    def __init__(self, catalogue: Mapping[str, Any]) -> None:
        self._catalogue = catalogue
        self._used: set[tuple[str, ...]] = set()

    def topic(self, topic: str) -> Meaning:
        return self._meaning(f"topic {topic}", ("topics", topic))

    def field(self, kind: str, field: str) -> Meaning:
        """Of this type, else of a field of this name in any."""
        return self._meaning(f"field {kind}.{field}", ("fields", kind, field), ("fields", ANY, field))

    def word(self, kind: str, field: str, word: str) -> Meaning:
        """One word of a closed list: of this type's field, else of any field of this name."""
        wanted = f"word {word!r} of {kind}.{field}"
        return self._meaning(wanted, ("words", f"{kind}.{field}", word), ("words", field, word))

    def beyond(self) -> dict[str, Meaning]:
        """Dead-letter reasons that a schema cannot foresee, or not wholly, and what it leaves open."""
        names = self._catalogue.get("beyond", {})
        return {name: self._meaning(f"reason {name}", ("beyond", name)) for name in names}

    def unused(self) -> list[str]:
        """Texts that nobody has asked for: of something that is no more."""
        return sorted(" > ".join(path) for path in paths(self._catalogue) if path not in self._used)

    def _meaning(self, wanted: str, *places: tuple[str, ...]) -> Meaning:
        for place in places:
            found: Any = self._catalogue
            for name in place:
                found = found.get(name, {})
            if found.get("zh") and found.get("en"):
                if len(found) > 2:  # a comma that wanted quotes
                    raise MissingText(f"more than zh and en for {wanted}: {', '.join(map(str, found))}")
                self._used.add(place)
                return Meaning(found["zh"], found["en"])
        raise MissingText(f"no text in both languages for {wanted}")


def paths(part: Mapping[str, Any], before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where the texts stand."""
    if isinstance(part.get("zh"), str):
        return [before]
    return [path for name, below in part.items() for path in paths(below, (*before, name))]
