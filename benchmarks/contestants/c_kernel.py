"""The floor: the job in C, one call a batch of 1,000. Compiled here on first need.

python -m benchmarks.contestants.c_kernel FOLDER [--events N] [--filter-first] [--batch 1000]
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from ctypes import POINTER, Structure, c_char, c_double, c_int32, c_int64, c_void_p
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import shapely

from benchmarks.contestants import scoring
from benchmarks.contestants.scoring import Raised

SOURCE = Path(__file__).with_suffix(".c")
CACHE = Path(__file__).resolve().parents[2] / ".benchmarks"
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
NAME = 32
AT_ONE_POINT = 64
CELL_M = 20.0
M_PER_DEGREE = 111_320.0
HAIR = 1e-9  # degrees by which a cell is grown before it is called free of borders


class Grid(Structure):
    _fields_ = [(name, c_double) for name in ("lon0", "lat0", "per_lon", "per_lat")] + [
        ("wide", c_int32),
        ("high", c_int32),
    ]


class Told(Structure):
    _fields_ = [("track", c_char * NAME), ("zone", c_int32), ("pad", c_int32), ("start", c_int64), ("fire", c_int64)]


ENTRY = np.dtype([("zone", np.int32), ("from", np.int32), ("to", np.int32)])


def compiled() -> Path:
    """The shared object; SystemExit with the reason where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        print(json.dumps({"name": "c_kernel", "not_run": "no C compiler (cc)"}))
        raise SystemExit(0)
    made_of = hashlib.blake2b(SOURCE.read_bytes() + " ".join(FLAGS).encode(), digest_size=6).hexdigest()
    shared = CACHE / f"kernel-{made_of}.so"
    if not shared.exists():
        CACHE.mkdir(exist_ok=True)
        scratch = shared.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, *FLAGS, "-o", str(scratch), str(SOURCE)], check=True)
        scratch.replace(shared)
    return shared


class Raster:
    """Square cells over all zones: which lie in a zone as a whole, and for the others the borders on their row."""

    def __init__(self, shapes: Any) -> None:
        left, low, right, high = shapely.total_bounds(shapes)
        self.step = (CELL_M / (M_PER_DEGREE * np.cos(np.radians(low))), CELL_M / M_PER_DEGREE)
        self.corner = (left - self.step[0], low - self.step[1])
        self.wide, self.high = (
            int((end - start) / step) + 3
            for start, end, step in zip((left, low), (right, high), self.step, strict=True)
        )
        cells: list[Any] = []
        entries: list[Any] = []
        self.edge_rows: list[Any] = []
        self.edges = 0
        for zone, shape in enumerate(shapes):
            at, found = self._zone(zone, shape)
            cells.append(at)
            entries.append(found)
        at = np.concatenate(cells)
        order = np.argsort(at, kind="stable")
        self.entries = np.concatenate(entries)[order]
        self.cells = np.searchsorted(at[order], np.arange(self.wide * self.high + 1)).astype(np.int32)
        self.edge_table = np.ascontiguousarray(np.concatenate(self.edge_rows))

    def grid(self) -> Grid:
        return Grid(*self.corner, 1 / self.step[0], 1 / self.step[1], self.wide, self.high)

    def _zone(self, zone: int, shape: Any) -> tuple[Any, Any]:
        """The zone's cells and their entries."""
        (x0, y0), (dx, dy) = self.corner, self.step
        left, low, right, high = shape.bounds
        columns = np.arange(int((left - x0) / dx), int((right - x0) / dx) + 1)
        rows = np.arange(int((low - y0) / dy), int((high - y0) / dy) + 1)
        column, row = (part.ravel() for part in np.meshgrid(columns, rows))
        border = shapely.boundary(shape)
        shapely.prepare([border, shape])
        x, y = x0 + column * dx, y0 + row * dy
        on_border = shapely.intersects(border, shapely.box(x - HAIR, y - HAIR, x + dx + HAIR, y + dy + HAIR))
        within = ~on_border & shapely.intersects_xy(shape, x + dx / 2, y + dy / 2)
        starts = self._edges(shape, rows)
        keep = on_border | within
        entries = np.zeros(int(keep.sum()), ENTRY)
        entries["zone"], entries["from"] = zone, -1  # inside as a whole
        partly = on_border[keep]
        number = row[keep] - rows[0]
        entries["from"][partly], entries["to"][partly] = starts[number[partly]], starts[number[partly] + 1]
        return row[keep] * self.wide + column[keep], entries

    def _edges(self, shape: Any, rows: Any) -> Any:
        """Appends the edges that a level line on each row may meet; where each row's begin, and the end."""
        (_, y0), (_, dy) = self.corner, self.step
        rings = [np.asarray(ring.coords) for ring in (shape.exterior, *shape.interiors)]
        ends = np.concatenate([np.hstack((ring[:-1], ring[1:])) for ring in rings])
        ends = np.where((ends[:, 1] < ends[:, 3])[:, None], ends, ends[:, [2, 3, 0, 1]])
        ends = ends[ends[:, 1] < ends[:, 3]]  # a level edge is met by no level line
        slope = (ends[:, 2] - ends[:, 0]) / (ends[:, 3] - ends[:, 1])
        edges = np.column_stack((ends[:, 0], ends[:, 1], ends[:, 3], slope))
        starts = [self.edges]
        for row in rows:
            low, high = y0 + row * dy - HAIR, y0 + (row + 1) * dy + HAIR
            here = edges[(edges[:, 1] <= high) & (edges[:, 2] >= low)]
            self.edge_rows.append(here)
            self.edges += len(here)
            starts.append(self.edges)
        return np.array(starts, np.int32)


class Kernel:
    def __init__(self, folder: Path, batch: int, filter_first: bool) -> None:
        features = json.loads((folder / "zones.geojson").read_text())["features"]
        self.paths = [f"{f['properties']['kind']}/{f['id']}" for f in features]
        self.raster = Raster(shapely.from_geojson([json.dumps(f["geometry"]) for f in features]))
        self.parked = np.array([path.startswith("no-parking/") for path in self.paths], np.uint8)
        self.told = (Told * (batch * AT_ONE_POINT))()
        self.library = ctypes.CDLL(str(compiled()))
        self.library.kernel_new.restype = c_void_p
        self.library.kernel_new.argtypes = [Grid, c_void_p, c_void_p, c_void_p, c_void_p, c_int64, c_int32]
        self.library.kernel_feed.restype = c_int64
        self.library.kernel_feed.argtypes = [c_void_p, ctypes.c_char_p, POINTER(Told)]
        self.library.kernel_memberships.restype = c_int64
        self.library.kernel_memberships.argtypes = [c_void_p]
        raster = self.raster
        tables = [part.ctypes.data for part in (raster.cells, raster.entries, raster.edge_table, self.parked)]
        for_ms = int(scoring.meta(folder)["park_s"]) * 1000
        self.state = self.library.kernel_new(raster.grid(), *tables, for_ms, int(filter_first))

    def feed(self, lines: list[bytes]) -> Iterator[Raised]:
        count = self.library.kernel_feed(self.state, b"\n".join(lines), self.told)
        if count < 0:
            raise ValueError(f"the kernel can't read {lines[-count - 1]!r}")
        return (
            Raised(one.track.decode(), self.paths[one.zone], one.start, one.fire) for one in list(self.told[:count])
        )

    @property
    def memberships(self) -> int:
        return int(self.library.kernel_memberships(self.state))


def main() -> None:
    parser = scoring.arguments(__doc__)
    parser.add_argument("--batch", type=int, default=1_000)
    given = parser.parse_args()
    kernel = Kernel(given.folder, given.batch, given.filter_first)
    lines = scoring.events(given.folder, given.events)
    raised: list[Raised] = []
    began = process_time()
    for at in range(0, len(lines), given.batch):
        raised += kernel.feed(lines[at : at + given.batch])
    seconds = process_time() - began
    scoring.report(
        "c_kernel",
        given.folder,
        count=len(lines),
        seconds=seconds,
        raised=raised,
        memberships=None if given.filter_first else kernel.memberships,
        more={"batch": given.batch},
    )


if __name__ == "__main__":
    main()
