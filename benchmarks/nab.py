"""Anomalies found in NAB's files: `python -m benchmarks.nab DIR [--json]`.

DIR holds the CSV files (timestamp,value) and one JSON of windows (*windows*.json). The raw score of NAB's standard
profile (Lavin and Ahmad 2015): the first alarm in a window counts by how early it is, up to 1; a window without one
-1; every other alarm up to -0.11, less the sooner after a window. The first 15 % of a file, at most 750 rows, are for
learning. The greatest score is the number of windows. All files have the one shipped configuration.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from models.times import SECOND_US
from rules.traffic.anomalies import SensorAnomalies

FALSE_ALARM = 0.11
MISSED = 1.0
LEARNING_SHARE, LEARNING_ROWS = 0.15, 5000
STEEP, FAR = 5.0, 3.0


class Reading(NamedTuple):
    at: datetime
    value: float


class Window(NamedTuple):
    """First and last row, both within."""

    first: int
    last: int


class Score(NamedTuple):
    score: float
    windows: int
    found: int
    false_alarms: int


def main() -> int:
    options = argparse.ArgumentParser(description="NAB 异常检测评分 / anomalies scored by NAB's rules")
    options.add_argument("folder", type=Path, help="CSV 与窗口文件的目录 / folder of the CSV files and the windows")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    try:
        files = {name: of_file(readings, windows) for name, readings, windows in cases(chosen.folder)}
    except (ValueError, OSError) as error:
        print(f"无法评分 / cannot be scored: {error}", file=sys.stderr)
        return 2
    found = report(files)
    print(json.dumps(found) if chosen.json else as_text(found))
    return 0


def cases(folder: Path) -> list[tuple[str, list[Reading], list[Window]]]:
    """Each file with its windows. Raises ValueError or OSError, naming file and line, where one can't be read."""
    lists = sorted(folder.rglob("*windows*.json"))
    if len(lists) != 1:
        raise ValueError(f"{folder}: one *windows*.json is needed, there are {len(lists)}")
    labels: dict[str, list[list[str]]] = {
        Path(name).name: spans for name, spans in json.loads(lists[0].read_text()).items()
    }
    paths = [path for path in sorted(folder.rglob("*.csv")) if path.name in labels]
    if not paths:
        raise ValueError(f"{folder}: no CSV file that {lists[0].name} speaks of")
    return [(path.name, readings := read(path), in_rows(readings, labels[path.name])) for path in paths]


def read(path: Path) -> list[Reading]:
    with path.open(newline="") as lines:
        rows = csv.DictReader(lines)
        try:
            return [Reading(datetime.fromisoformat(row["timestamp"]), float(row["value"])) for row in rows]
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{path}:{rows.line_num}: {error}") from error


def in_rows(readings: Sequence[Reading], spans: Iterable[Sequence[str]]) -> list[Window]:
    """A window of time as rows; one without a row can't be found and is left out, as NAB does."""
    windows = []
    for begin, end in spans:
        since, until = datetime.fromisoformat(begin), datetime.fromisoformat(end)
        within = [row for row, reading in enumerate(readings) if since <= reading.at <= until]
        if within:
            windows.append(Window(within[0], within[-1]))
    return sorted(windows)


def of_file(readings: Sequence[Reading], windows: Sequence[Window]) -> Score:
    return scored(alarms(readings), windows, len(readings))


def alarms(readings: Iterable[Reading]) -> list[int]:
    """The rows at which the detector, reading one after the other, raises an alarm."""
    sensor = SensorAnomalies()
    return [
        row
        for row, (at, value) in enumerate(readings)
        if sensor.add(int(at.replace(tzinfo=UTC).timestamp()) * SECOND_US, value)
    ]


def scored(alarms: Iterable[int], windows: Sequence[Window], rows: int) -> Score:
    learning = math.floor(LEARNING_SHARE * min(rows, LEARNING_ROWS))
    best = dict.fromkeys(windows, -MISSED)
    wrong: list[float] = []
    for row in alarms:
        if row < learning:
            continue
        window = next((w for w in windows if w.first <= row <= w.last), None)
        if window is None:
            wrong.append(FALSE_ALARM * after(row, windows))
        else:
            best[window] = max(best[window], within(row, window))
    return Score(
        sum(best.values()) + sum(wrong), len(windows), sum(part > -MISSED for part in best.values()), len(wrong)
    )


def within(row: int, window: Window) -> float:
    """1 at a window's first row, towards 0 at its last."""
    rows = window.last - window.first + 1
    return sigmoid(-(window.last - row + 1) / rows) / sigmoid(-1.0)


def after(row: int, windows: Iterable[Window]) -> float:
    """From 0 right behind a window to -1 far from one, or before the first."""
    before = [window for window in windows if window.last < row]
    if not before:
        return -1.0
    nearest = max(before)
    return sigmoid((row - nearest.last) / max(1, nearest.last - nearest.first))


def sigmoid(position: float) -> float:
    return -1.0 if position > FAR else 2 / (1 + math.exp(STEEP * position)) - 1


def report(files: dict[str, Score]) -> dict[str, Any]:
    score, windows = sum(f.score for f in files.values()), sum(f.windows for f in files.values())
    return {
        "profile": "standard",
        "score": round(score, 4),
        "maximum": windows,
        "share": round(score / windows, 4) if windows else None,
        "files": {name: {**file._asdict(), "score": round(file.score, 4)} for name, file in files.items()},
    }


def as_text(found: dict[str, Any]) -> str:
    files = found["files"].items()
    lines = [
        f"{n}: {f['score']} / {f['windows']}, {f['found']} 个已发现 found, {f['false_alarms']} 次误报 false"
        for n, f in files
    ]
    return "\n".join([*lines, f"合计 / in all: {found['score']} / {found['maximum']} ({found['share']})"])


if __name__ == "__main__":
    sys.exit(main())
