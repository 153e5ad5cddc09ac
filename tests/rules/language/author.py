"""Writes random typed expressions about a stream, and cells for its fields: many to a seed, from few values, so that
equal ones meet."""

from __future__ import annotations

from random import Random

from models.columns import Scalar
from models.streams import STREAMS, Kind

WORDS = ("a", "b", "ab", "B", "积水", "")
NUMBERS = (-1.0, 0.0, 0.5, 1.0, 2.0)


class Author:
    """Writes expressions about one stream."""

    def __init__(self, random: Random, topic: str) -> None:
        self.random = random
        fields = STREAMS[topic].fields
        clear = {n: f for n, f in fields.items() if not f.tokenised}
        self.of = {kind: [n for n, f in clear.items() if f.kind == kind] for kind in ("number", "text", "flag")}
        self.mixed = [n for n, f in fields.items() if f.kind == "mixed"]

    def any_of(self, *texts: str) -> str:
        return self.random.choice(texts)

    def field(self, kind: str, otherwise: str) -> str:
        return self.random.choice(self.of[kind]) if self.of[kind] else otherwise

    def number(self, depth: int) -> str:
        """A product, so that no unit is in the way."""
        kind = self.random.randrange(4 if depth == 0 else 12)
        inner = depth - 1
        if kind == 0:
            return f"{self.random.choice(NUMBERS)} * 1"
        if kind == 1 and self.mixed:
            return f"{self.mixed[0]} * 1"
        if kind <= 3:
            return f"{self.field('number', '0.5')} * 1"
        if kind <= 6:
            return f"({self.number(inner)} {self.any_of('+', '-')} {self.number(inner)}) * 1"
        if kind == 7:
            return f"({self.number(inner)}) {self.any_of('*', '/', '%')} ({self.number(inner)})"
        if kind == 8:
            return f"{self.any_of('abs', 'round', '-')}({self.number(inner)}) * 1"
        if kind == 9:
            return f"{self.any_of('min', 'max', 'coalesce')}({self.number(inner)}, {self.number(inner)}) * 1"
        if kind == 10:
            return f"len({self.text(inner)}) * 1"
        return self.any_of("hour() * 1", "distance(121, 30.5) * 1", "bearing(121, 30.5) * 1", "1e300 * 1e300")

    def text(self, depth: int) -> str:
        kind = self.random.randrange(5 if depth == 0 else 7)
        if kind == 0:
            return f'"{self.random.choice(WORDS)}"'
        if kind == 1:
            return "weekday()"
        if kind <= 4:
            return self.field("text", '"a"')
        if kind == 5:
            return f"lower({self.text(depth - 1)})"
        return f"coalesce({self.text(depth - 1)}, {self.text(depth - 1)})"

    def flag(self, depth: int) -> str:
        if depth == 0 or self.random.random() < 0.2:
            return self.leaf(1)
        kind = self.random.randrange(8)
        parts = [f"({self.flag(depth - 1)})" for _ in range(2)]
        if kind <= 2:
            return " and ".join(parts)
        if kind <= 4:
            return " or ".join(parts)
        if kind == 5:
            return f"not {parts[0]}"
        if kind == 6:
            return f"is_null({parts[0]}) or {parts[1]}"
        first, second = (part.replace("(null)", "(true)") for part in parts)  # a bare null is refused there
        return f"{first} {self.any_of('==', '!=')} coalesce({second}, {self.any_of('true', 'false')})"

    def leaf(self, depth: int) -> str:
        kind = self.random.randrange(12 if self.mixed else 9)
        compare = self.any_of("==", "!=", "<", "<=", ">", ">=")
        if kind <= 1:
            return f"{self.number(depth)} {compare} {self.number(depth)}"
        if kind == 2:
            other = self.any_of("==", "!=", "<", "<=", ">", ">=")
            return f"{self.number(0)} {compare} {self.number(depth)} {other} {self.number(0)}"
        if kind == 3:
            return f"{self.number(depth)} {self.any_of('between 0 * 1 and 1 * 1', 'in (0, 1, 2)', 'not in (0.5, 1)')}"
        if kind <= 5:
            return f"{self.text(depth)} {self.any_of('==', '!=')} {self.text(depth)}"
        if kind == 6:
            test = self.any_of('contains({}, "a")', 'matches({}, "^[ab]+$")', '{} in ("a", "积水", "mon")',
                               'starts_with({}, "a")', 'ends_with({}, "b")')  # fmt: skip
            return test.format(self.text(depth))
        if kind == 7:
            return f"is_null({self.any_of(self.number(depth), self.text(depth))})"
        if kind == 8:
            return self.any_of("true", "false", "null", self.field("flag", "null"))
        return self.about_mixed(self.mixed[0], compare)

    def about_mixed(self, name: str, compare: str) -> str:
        test = self.any_of(
            f"{{0}} {compare} 1", "{0} == true", "{0} != false", '{0} == "a"', '{0} != "a"', "is_null({0})",
            '{0} in ("a", "b")', "{0} not in (0, 1)", "{0} in (true)", "coalesce({0}, 1) > 0.5", "{0}",
            'coalesce({0}, "a") == "a"', "coalesce({0}, true)", "len({0}) > 0", 'contains({0}, "a")', "-{0} < 1",
        )  # fmt: skip
        return test.format(name)

    def cell(self, kind: Kind) -> Scalar:
        if self.random.random() < 0.25:
            return None
        drawn = self.random.choice(("number", "text", "flag")) if kind == "mixed" else kind
        if drawn == "number":
            return self.random.choice(NUMBERS)
        return self.random.choice(WORDS) if drawn == "text" else self.random.random() < 0.5
