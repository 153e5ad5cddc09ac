"""A tiny worker for the transport tests: `python -m tests.streams.worker_app '<json options>'`.

It writes one JSON line for each thing that happens to the file `journal` (appended, flushed before anything is declared
stored), keeps the next offset of each partition in a file of its own in the folder `state`, and prints `ready`.
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from streams.transport import TP, Chunk, Flow, bind_agent, create_app
from streams.worker import run_worker


def main() -> None:
    options = json.loads(sys.argv[1])
    topics = options["topics"]
    flow = Flow([topics], fetch_wait_ms=options.get("fetch_wait_ms", 20))
    app = create_app(options["group"], options["servers"], flow, **options.get("app", {"embedded": True}))
    journal = Path(options["journal"]).open("a", buffering=1)
    folder = Path(options["state"])
    folder.mkdir(exist_ok=True)
    state: dict[str, int] = {}
    sent = {"chunks": 0}

    def write(**fields) -> None:
        journal.write(json.dumps(fields) + "\n")

    def name(tp: TP) -> str:
        return f"{tp.topic}/{tp.partition}"

    def store() -> None:
        for tp in flow.assigned:
            if name(tp) in state:
                beside = folder / f"{os.getpid()}.new"
                beside.write_text(str(state[name(tp)]))
                beside.rename(folder / name(tp).replace("/", "+"))
                flow.stored(tp, state[name(tp)])

    def reload(tps: frozenset[TP]) -> dict[TP, int]:
        files = {tp: folder / name(tp).replace("/", "+") for tp in tps}
        return {tp: int(file.read_text()) for tp, file in files.items() if file.exists()}

    async def on_assigned(tps: frozenset[TP]) -> dict[TP, int]:
        write(what="assigned", tps=sorted(map(name, tps)))
        found = reload(tps)
        state.clear()
        state.update({name(tp): offset for tp, offset in found.items()})
        return found

    async def on_revoked(tps: frozenset[TP]) -> None:
        store()
        write(what="revoked", tps=sorted(map(name, tps)))

    async def handle(chunk: Chunk) -> None:
        now = time.time()
        for record in chunk.records:
            if options.get("fail_on") is not None and record.value == options["fail_on"].encode():
                raise RuntimeError("the agent met the record it cannot stand")
        write(
            what="chunk",
            tp=name(chunk.tp),
            offsets=[record.offset for record in chunk.records],
            values=[(record.value or b"").decode() for record in chunk.records] if options.get("values") else None,
            late_ms=[round(now * 1000 - float(record.value or 0), 3) for record in chunk.records]
            if options.get("latency")
            else None,
        )
        state[name(chunk.tp)] = chunk.next_offset
        sent["chunks"] += 1
        if sent["chunks"] % options.get("store_every", 1) == 0 and options.get("store", True):
            store()
        if options.get("pause_ms"):
            await asyncio.sleep(options["pause_ms"] / 1000)
        if sent["chunks"] == options.get("kill_after"):
            os.kill(os.getpid(), signal.SIGKILL)

    flow.on_assigned, flow.on_revoked = on_assigned, on_revoked
    bind_agent(app, "copy", topics, handle)

    async def resume_later(tps: set[TP], sign: Path) -> None:
        while not await asyncio.to_thread(sign.exists):
            await asyncio.sleep(0.01)
        write(what="resumed")
        flow.resume(tps)

    async def watch_lag() -> None:
        """What is said to be caught up must be: everything the partition holds was handled."""
        while True:
            for tp in flow.assigned:
                end = flow.high_water(tp)
                if flow.caught_up(tp) and (end or 0) > state.get(name(tp), 0):
                    write(what="lied", tp=name(tp), end=end, handled=state.get(name(tp), 0))
            await asyncio.sleep(0.001)

    tasks = []

    def on_ready(tps: frozenset[TP]) -> None:
        if options.get("pause_until"):
            held = {TP(topics[0], 0)}
            flow.pause(held)
            tasks.append(asyncio.get_running_loop().create_task(resume_later(held, Path(options["pause_until"]))))
        tasks.append(asyncio.get_running_loop().create_task(watch_lag()))
        print(f"ready {len(tps)}", flush=True)

    run_worker(app, on_ready=on_ready, log_level=options.get("log", "ERROR"))


if __name__ == "__main__":
    main()
