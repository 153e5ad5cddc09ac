"""Durations as people type them: `250ms`, `60s`, `3m`, `1h30m`, or plain seconds."""

import re

import click

UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
WHOLE = re.compile(rf"(?:{PART.pattern})+|\d+(?:\.\d+)?")


def seconds(text: str) -> float:
    """Raises `ValueError` for anything that is no duration."""
    if WHOLE.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no duration; write 250ms, 60s, 3m or 1h30m")
    parts = PART.findall(text)
    return sum(float(amount) * UNITS_S[unit] for amount, unit in parts) if parts else float(text)


class Duration(click.ParamType):
    """A click type; gives seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        try:
            return seconds(str(value))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


DURATION = Duration()
