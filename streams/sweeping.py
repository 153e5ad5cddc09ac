"""One number of a rule file tried at several values: the same bytes, with that scalar written anew."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import yaml

NUMBER, UNIT = r"(\d+(?:\.\d+)?)", r"([^\d.]*)"
SPAN = re.compile(rf"([^=]+)={NUMBER}{UNIT}\.\.{NUMBER}{UNIT}/{NUMBER}{UNIT}")
MOST_VALUES = 50
"""Each is a replay of its own."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """`path` within a rule, e.g. params.case or detect.dwell.for; `rule` None: every rule that has it."""

    rule: str | None
    path: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def name(self) -> str:
        return ".".join(self.path) if self.rule is None else f"{self.rule}:{'.'.join(self.path)}"


def read_sweep(text: str) -> Sweep:
    """`[RULE:]PATH=LOW..HIGH/STEP`, all of one unit; a PATH of one name is a param. ValueError with the cause."""
    found = SPAN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not [RULE:]PATH=LOW..HIGH/STEP, e.g. case=2m..10m/1m")
    written, low_text, unit, high_text, high_unit, step_text, step_unit = found.groups()
    if {unit, step_unit} - {"", high_unit}:
        raise ValueError(f"{text!r} mixes units; write all three in one")
    low, high, step = Fraction(low_text), Fraction(high_text), Fraction(step_text)
    if step <= 0 or high < low:
        raise ValueError(f"{text!r}: LOW..HIGH must rise, by a STEP above 0")
    count = int((high - low) / step) + 1
    if count > MOST_VALUES:
        raise ValueError(f"{text!r} has {count} values; {MOST_VALUES} is the most")
    rule, colon, path = written.rpartition(":")
    parts = tuple(path.split("."))
    values = tuple(f"{float(low + n * step):g}{high_unit}" for n in range(count))
    return Sweep(rule if colon else None, parts if len(parts) > 1 else ("params", *parts), values)


def with_value(files: Sequence[Path], sweep: Sweep, value: str, into: Path) -> list[Path]:
    """Copies of rule files below `into` with the value in place. LookupError where no rule has the path."""
    written, changed = [], 0
    for number, file in enumerate(files):
        text = file.read_text()
        places = list(spans(text, sweep))
        for start, end in sorted(places, reverse=True):
            text = text[:start] + value + text[end:]
        changed += len(places)
        copy = into / f"{number:03}-{file.name}"
        copy.write_text(text)
        written.append(copy)
    if not changed:
        raise LookupError(f"no rule has {sweep.name}")
    return written


def spans(text: str, sweep: Sweep) -> Iterator[tuple[int, int]]:
    """Where the scalar stands in a rule file, in characters."""
    rules = child(yaml.compose(text, Loader=yaml.SafeLoader), "rules")
    for rule in rules.value if isinstance(rules, yaml.SequenceNode) else ():
        named = child(rule, "id")
        if sweep.rule is not None and (not isinstance(named, yaml.ScalarNode) or named.value != sweep.rule):
            continue
        node: yaml.Node | None = rule
        for name in sweep.path:
            node = child(node, name)
        if isinstance(node, yaml.ScalarNode):
            yield node.start_mark.index, node.end_mark.index


def child(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)
