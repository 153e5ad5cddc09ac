"""The same rule as a Faust user would write it: one agent, one message at a time, rtree and prepared geometries.

python -m benchmarks.contestants.plain_faust SERVERS TOPIC OUT_TOPIC ZONES COUNT
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import faust
import orjson
import shapely
from rtree.index import Index
from shapely.geometry import Point, shape

from benchmarks.workloads import DWELL_S

servers, topic_name, out_name, zones_file, count = sys.argv[1:6]
app = faust.App(
    f"plain-{os.getpid()}",
    broker=";".join(f"kafka://{s}" for s in servers.split(",")),
    autodiscover=False,
    web_enabled=False,
    topic_allow_declare=False,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    store="memory://",
    datadir=tempfile.mkdtemp(prefix="plain-faust-"),
    worker_redirect_stdouts=False,
    value_serializer="raw",
    key_serializer="raw",
)
features = json.loads(Path(zones_file).read_text())["features"]
paths = [f"{f['properties']['kind']}/{f['id']}" for f in features]
shapes = [shape(f["geometry"]) for f in features]
for one in shapes:
    shapely.prepare(one)
index = Index()
for number, one in enumerate(shapes):
    index.insert(number, one.bounds)
source, out = app.topic(topic_name, value_type=bytes), app.topic(out_name, value_type=bytes)
since: dict[tuple[str, str, str], int] = {}
told: set[tuple[str, str, str]] = set()
state = {"seen": 0, "first": 0.0, "raised": 0}


@app.agent(source)
async def parking(stream: Any) -> None:
    async for value in stream:
        if state["seen"] == 0:
            state["first"] = time.perf_counter()
        state["seen"] += 1
        frame = orjson.loads(value)
        for seen in frame["objects"]:
            at = frame["frame_time"]
            standing = seen["class"] == "car" and seen["speed_mps"] < 0.5
            point = Point(seen["lon"], seen["lat"])
            inside = [n for n in index.intersection(point.bounds) if shapes[n].covers(point)] if standing else []
            for n in inside:
                key = (frame["sensor_id"], seen["track_id"], paths[n])
                began = since.setdefault(key, at)
                if at - began >= DWELL_S * 1000 and key not in told:
                    told.add(key)
                    state["raised"] += 1
                    await out.send(value=orjson.dumps({"key": key, "opened": began}))
            if not inside:
                for key in [k for k in since if k[:2] == (frame["sensor_id"], seen["track_id"])] if standing else ():
                    since.pop(key, None)
        if state["seen"] >= int(count):
            seconds = time.perf_counter() - state["first"]
            found = {"messages": state["seen"], "seconds": seconds, "raised": state["raised"]}
            assert sys.__stdout__ is not None  # Faust takes sys.stdout for its log
            print(json.dumps(found), file=sys.__stdout__, flush=True)
            os._exit(0)


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "worker", "-l", "error", "--without-web"]
    app.main()
