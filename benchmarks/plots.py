"""Draws what the benchmarks measured: JSON in, SVGs out. Nothing but the standard library.

    python -m benchmarks --quick --json > .benchmarks/run.json
    python -m benchmarks.bench_sweeps
    python -m benchmarks.plots [.benchmarks/run.json] [--sweeps .benchmarks/sweeps.json] [--out docs/results]

A chart whose figures are in neither file is left out.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WIDE, HIGH = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 90, 190, 70, 70
OURS, OTHERS, GUIDE = "#0b6e99", "#9aa5ad", "#c0392b"
COLOURS = (OURS, "#d9822b", "#7b5ea7", "#4c9f70")
STYLE = (
    "text{font-family:'DejaVu Sans',Helvetica,Arial,sans-serif;font-size:13px;fill:#222}"
    ".title{font-size:17px;font-weight:bold}.note{font-size:12px;fill:#555}"
    ".grid{stroke:#e3e6e8;stroke-width:1}.axis{stroke:#555;stroke-width:1}"
)
BARS = {
    "detector_columnar": "zhinao, columns of 50",
    "detector_frames": "zhinao, frames of 50",
    "detector_single": "zhinao, one object a message",
    "c": "C written for this one job",
    "c_filter_first": "the same C, slow vehicles only",
    "flink_java": "Flink (Java)",
    "flink_java_filter_first": "Flink (Java), slow vehicles only",
    "esper": "Esper (Java)",
    "bytewax": "bytewax",
    "bytewax_filter_first": "bytewax, slow vehicles only",
    "quixstreams": "quixstreams, no broker",
    "quixstreams_filter_first": "quixstreams, slow vehicles only",
    "naive_rtree": "Python loop with an R-tree",
    "naive_rtree_filter_first": "Python loop, slow vehicles only",
    "pathway": "pathway",
    "pathway_filter_first": "pathway, slow vehicles only",
    "tile38": "Tile38",
}
Points = Sequence[tuple[float, float]]


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "", more: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}{more}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"{more}/>'


def svg(title: str, note: str, parts: Sequence[str], high: int = HIGH) -> str:
    head = [text(20, 30, title, kind="title"), text(20, 52, note, kind="note")]
    size = f'width="{WIDE}" height="{high}" viewBox="0 0 {WIDE} {high}"'
    body = "\n".join([*head, *parts])
    back = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<style>{STYLE}</style>\n{back}\n{body}\n</svg>\n'
    )


def plain(value: float) -> str:
    """As one says it: 1.5 million, 20 thousand."""
    for size, name in ((1e6, " million"), (1e3, " thousand")):
        if value >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:.3g}"


def decades(low: float, high: float) -> list[float]:
    """Powers of ten around both."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**n for n in range(first, max(last, first + 1) + 1)]


def rounded_ticks(high: float) -> list[float]:
    """From zero, four to eight of them."""
    step = 10 ** math.floor(math.log10(high))
    step = next(step * share for share in (0.1, 0.2, 0.25, 0.5, 1, 2) if high / (step * share) <= 7)
    return [step * n for n in range(math.ceil(high / step) + 1)]


@dataclass
class Lines:
    """Points joined by lines; x is always logarithmic."""

    title: str
    note: str
    x: str
    y: str
    series: dict[str, Points]
    log_y: bool = False
    guides: dict[str, float] = field(default_factory=dict)

    def draw(self) -> str:
        xs = sorted({x for points in self.series.values() for x, _ in points})
        ys = [y for points in self.series.values() for _, y in points] + list(self.guides.values())
        ticks = decades(min(ys), max(ys)) if self.log_y else rounded_ticks(max(ys) * 1.05)
        right, bottom = WIDE - RIGHT, HIGH - BOTTOM

        def at_x(x: float) -> float:
            share = 0.5 if xs[0] == xs[-1] else math.log(x / xs[0]) / math.log(xs[-1] / xs[0])
            return LEFT + 30 + share * (right - LEFT - 60)

        def at_y(y: float) -> float:
            scale: Callable[[float], float] = math.log10 if self.log_y else float
            return bottom - (scale(y) - scale(ticks[0])) / (scale(ticks[-1]) - scale(ticks[0])) * (bottom - TOP)

        parts = []
        for tick in ticks:
            parts += [
                line(LEFT, at_y(tick), right, at_y(tick), "grid"),
                text(LEFT - 8, at_y(tick) + 4, short(tick), "end"),
            ]
        for x in xs:
            parts += [
                line(at_x(x), bottom, at_x(x), bottom + 5, "axis"),
                text(at_x(x), bottom + 21, f"{x:,g}"[:9] if x < 1e6 else short(x), "middle"),
            ]
        parts += [
            line(LEFT, bottom, right, bottom, "axis"),
            text((LEFT + right) / 2, HIGH - 20, self.x, "middle"),
            text(0, 0, self.y, "middle", more=f' transform="translate(22 {(TOP + bottom) / 2:.0f}) rotate(-90)"'),
        ]
        for name, value in self.guides.items():
            dashed = f' style="stroke:{GUIDE};stroke-dasharray:6 4"'
            parts += [line(LEFT, at_y(value), right, at_y(value), "axis", dashed)]
            parts += [text(LEFT + 6, at_y(value) - 6, name, more=f' style="fill:{GUIDE}"')]
        ends: list[float] = []
        by_end = sorted(self.series.items(), key=lambda one: at_y(one[1][-1][1]))
        colours = dict(zip(self.series, COLOURS, strict=False))
        for name, points in by_end:
            colour = colours[name]
            path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
            parts += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="4" fill="{colour}"/>' for x, y in points]
            at = max(at_y(points[-1][1]) + 4, ends[-1] + 18 if ends else 0)
            ends.append(at)
            parts.append(text(right + 8, at, name, more=f' style="fill:{colour}"'))
        return svg(self.title, self.note, parts)


def short(value: float) -> str:
    for size, name in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g} {name}"
    return f"{value:g}"


def bars(figures: dict[str, Any], note: str) -> str:
    """Observations a second by contestant, logarithmic."""
    rows = [(key, name, figures[f"{key}_per_s"]) for key, name in BARS.items() if figures.get(f"{key}_per_s")]
    rows.sort(key=lambda row: -row[2])
    left, step = 260, 30
    right, high = WIDE - 130, TOP + step * len(rows) + 60
    ticks = decades(min(value for _, _, value in rows), max(value for _, _, value in rows))

    def at(value: float) -> float:
        return left + (math.log10(value) - math.log10(ticks[0])) / math.log10(ticks[-1] / ticks[0]) * (right - left)

    bottom = TOP + step * len(rows)
    parts = []
    for tick in ticks:
        parts += [line(at(tick), TOP, at(tick), bottom, "grid"), text(at(tick), bottom + 20, short(tick), "middle")]
    for number, (key, name, value) in enumerate(rows):
        top, ours = TOP + step * number + 4, key.startswith("detector_")
        size = f'width="{at(value) - left:.1f}" height="{step - 8}"'
        parts += [
            f'<rect x="{left}" y="{top}" {size} fill="{OURS if ours else OTHERS}"/>',
            text(left - 8, top + 16, name, "end", more=' font-weight="bold"' if ours else ""),
            text(at(value) + 6, top + 16, plain(value)),
        ]
    parts.append(text((left + right) / 2, bottom + 44, "observations per second of one core (logarithmic)", "middle"))
    return svg("Illegal parking: observations per second of one core", note, parts, high)


def latency(figures: dict[str, Any]) -> Lines | None:
    marks = {"p50": "half are faster (p50)", "p99": "99 % are faster (p99)", "p99_9": "99.9 % are faster"}
    series: dict[str, Points] = {}
    for mark, name in marks.items():
        points = [
            (float(size), float(figures[key]))
            for size in (1, 10, 100, 1_000)
            if (key := f"detector_batch_{size}_{mark}_us") in figures
        ]
        if points:
            series[name] = points
    note = "Wall clock of one call of the Detector, messages of one object, 1,000 zones"
    axes = ("observations in one call", "microseconds (logarithmic)")
    return Lines("How long one call takes, by its size", note, *axes, series, log_y=True) if series else None


def of_zones(points: Sequence[dict[str, Any]]) -> Lines:
    rate = [(float(p["zones"]), float(p["events_per_s"])) for p in points]
    note = "Messages of one object; the city grows with its zones: a point is in 0.7 of them on average"
    return Lines("More zones", note, "zones", "observations per core second", {"zhinao": rate})


def of_rules(points: Sequence[dict[str, Any]]) -> Lines:
    one = [p for p in points if p["rules"] == 1]
    ways = {"only one rule matches": "last", "all rules match": "all"}
    series: dict[str, Points] = {
        name: [(float(p["rules"]), float(p["events_per_s"])) for p in points if p in one or p["matching"] == which]
        for name, which in ways.items()
    }
    note = "All on one stream, each with a threshold of its own; 1,000 zones, messages of one object"
    return Lines("More rules", note, "rules", "observations per core second", series)


def of_keys(points: Sequence[dict[str, Any]]) -> Lines:
    ours = [(float(p["keys"]), float(p["nbytes_per_key"])) for p in points if p["keys"] >= 10_000]
    grown = [(float(p["keys"]), float(p["bytes_per_key"])) for p in points if p.get("bytes_per_key")]
    note = "Vehicles standing in a zone, one rule; also in it: prints of the last two minutes, names, hits that wait"
    series: dict[str, Points] = {"growth of the process": grown, "the Detector's arrays": ours}
    axes = ("live keys", "bytes per live key")
    return Lines("Memory per live key", note, *axes, series, guides={"aim: 200 bytes": 200})


def of_key_rates(points: Sequence[dict[str, Any]]) -> Lines:
    rate = [(float(p["keys"]), float(p["events_per_s"])) for p in points]
    note = "One second of the city: each vehicle is seen once, columns of 50; feeding and deciding"
    return Lines("More live keys", note, "live keys", "observations per core second", {"zhinao": rate})


def draw(found: dict[str, Any], sweeps: dict[str, Any]) -> dict[str, str]:
    drawn: dict[str, str] = {}
    figures = found.get("figures", {})
    if any(f"{key}_per_s" in figures for key in BARS):
        about = found.get("machine", {})
        note = f"1,000 zones; {about.get('cpu', 'one machine')}, {about.get('cores', '?')} cores, shared; one core each"
        drawn["contestants"] = bars(figures, note)
    charts = {
        "latency": latency(figures),
        "zones": of_zones(sweeps["zones"]) if sweeps.get("zones") else None,
        "rules": of_rules(sweeps["rules"]) if sweeps.get("rules") else None,
        "keys": of_key_rates(sweeps["keys"]) if sweeps.get("keys") else None,
        "memory": of_keys(sweeps["keys"]) if sweeps.get("keys") else None,
    }
    return drawn | {name: chart.draw() for name, chart in charts.items() if chart is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("found", type=Path, nargs="?", help="what `python -m benchmarks --json` printed")
    parser.add_argument("--sweeps", type=Path, default=ROOT / ".benchmarks" / "sweeps.json")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results")
    given = parser.parse_args()
    found = json.loads(given.found.read_text()) if given.found else {}
    kept = json.loads(given.sweeps.read_text()) if given.sweeps.exists() else {}
    given.out.mkdir(parents=True, exist_ok=True)
    for name, drawing in draw(found, kept | found.get("sweeps", {})).items():
        (given.out / f"{name}.svg").write_text(drawing)
        print(given.out / f"{name}.svg")


if __name__ == "__main__":
    main()
