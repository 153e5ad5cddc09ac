"""A sweep as a picture: one line a measure over the values of the param. SVG, no library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDE, HIGH, LEFT, TOP, RIGHT, BOTTOM = 720, 360, 60, 48, 140, 56
COLOURS = ("#1b6ca8", "#c8553d", "#3d8361", "#7a5195")
STYLE = "text{font:12px sans-serif;fill:#333}line{stroke:#bbb}polyline{fill:none;stroke-width:2}"


def chart(title: str, values: Sequence[str], series: Sequence[tuple[str, Sequence[float | None]]]) -> str:
    """Each series on a scale of its own from 0 to its greatest, which stands beside its name; None is left out."""
    parts = [f'<text x="{LEFT}" y="24">{escape(title)}</text>', *axis(values)]
    for number, (name, numbers) in enumerate(series):
        parts += line(number, name, numbers, len(values))
    body = "\n".join(parts)
    size = f'viewBox="0 0 {WIDE} {HIGH}" width="{WIDE}" height="{HIGH}"'
    back = f'<rect width="{WIDE}" height="{HIGH}" fill="#fff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n{back}\n{body}\n</svg>\n'


def axis(values: Sequence[str]) -> list[str]:
    floor = HIGH - BOTTOM
    marks = [f'<line x1="{LEFT}" y1="{floor}" x2="{WIDE - RIGHT}" y2="{floor}"/>']
    for at, value in enumerate(values):
        marks.append(
            f'<text x="{x_of(at, len(values)):.1f}" y="{floor + 20}" text-anchor="middle">{escape(value)}</text>'
        )
    return marks


def line(number: int, name: str, numbers: Sequence[float | None], count: int) -> list[str]:
    most = max((n for n in numbers if n is not None), default=0.0) or 1.0
    colour, floor = COLOURS[number % len(COLOURS)], HIGH - BOTTOM
    points = [(x_of(at, count), floor - (floor - TOP) * n / most) for at, n in enumerate(numbers) if n is not None]
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    beside = f'x="{WIDE - RIGHT + 12}" y="{TOP + 20 * number}" style="fill:{colour}"'
    named = f"<text {beside}>{escape(name)} (0–{most:g})</text>"
    return [f'<polyline points="{drawn}" stroke="{colour}"/>', *dots, named]


def x_of(at: int, count: int) -> float:
    return LEFT + (WIDE - RIGHT - LEFT) * (at / (count - 1) if count > 1 else 0.5)
