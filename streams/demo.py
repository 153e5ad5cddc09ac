"""The demo: embedded broker, worker, crews and feed as child processes, watched until the recording is through.

A dead worker is started again and goes on; anything else that dies, or a worker that dies too often, ends the demo.
`step` is called by the command's loop; what it has seen stands in `Scene` for whoever shows it.
"""

import os
import shutil
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson

from models.streams import DESK_TOPICS, DETECTOR_TOPICS
from streams.broker import EmbeddedBroker
from streams.children import COULD_NOT_RUN, Child
from streams.commands.connection import Connection
from streams.commands.reading import Reader
from streams.settings import Settings
from streams.topics import all_full_names, full_name

READY_LIMIT_S = 90.0
# So many restarts of the worker within so long mean that it cannot run.
MOST_RESTARTS, WITHIN_S = 3, 60.0
# After the feed the worker has this long to catch up; then nothing may have changed for so long.
SETTLE_LIMIT_S, QUIET_S = 30.0, 3.0
LAG_EVERY_S = 1.0
SHOWN_TOPICS = (*DETECTOR_TOPICS, *DESK_TOPICS)
# Of what a user has set for a real cluster nothing may reach the demo's children.
NOT_PASSED_ON = ("KAFKA_URL", "ZHINAO_KAFKA_", "ZHINAO_PARTITIONS", "ZHINAO_EMBEDDED_BROKER", "ZHINAO_GROUP")


class DemoFailed(Exception):
    """A child cannot run; `cause` is a word for the summary, the message is for people."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(slots=True)
class Followed:
    """An incident: its newest record and the states it went through."""

    body: dict[str, Any]
    steps: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Scene:
    """What there is to see."""

    incidents: dict[str, Followed] = field(default_factory=dict)
    dead_letters: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    fed: dict[str, int] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    lag: dict[str, int] = field(default_factory=dict)
    clock: str | None = None
    restarts: int = 0
    changed_s: float = 0.0

    def by_state(self) -> dict[str, int]:
        return dict(sorted(Counter(str(one.body["state"]) for one in self.incidents.values()).items()))

    def summary(self, exit_cause: str, detail: str | None) -> dict[str, object]:
        """The last line of stdout."""
        data: dict[str, object] = {
            "observations": sum(self.fed.values()),
            "incidents_by_state": self.by_state(),
            "incidents": len(self.incidents),
            "dead_letters": len(self.dead_letters),
            "late": len(self.late),
            "restarts": self.restarts,
            "exit_cause": exit_cause,
        }
        return data if detail is None else data | {"detail": detail}


class Demo:
    """A context manager: everything runs inside it and is gone behind it. `say` gets what happens, for people."""

    def __init__(self, recording: Path, *, speed: float, drain_s: float, say: Callable[[str], None]) -> None:
        self.scene = Scene()
        self.recording, self.speed, self.drain_s, self.say = recording, speed, drain_s, say
        self.folder = Path(tempfile.mkdtemp(prefix="zhinao-demo-"))
        self.logs = self.folder / "log"
        self.logs.mkdir()
        self.settings = Settings.read()
        self.broker = EmbeddedBroker(all_full_names(self.settings.topic_prefix))
        self.worker: Child | None = None
        self.crews: Child | None = None
        self.feed: Child | None = None
        self.ready = False
        self.address = ""
        self._reader: Reader | None = None
        self._admin: Any = None
        self._deaths: deque[float] = deque()
        self._lag_s = self._told_s = 0.0
        self._fed_s: float | None = None

    # start and end

    def start(self, stopped: Callable[[], bool]) -> Self:
        """Bring all up, one after the other. Raises `DemoFailed`, or returns early when told to stop."""
        self.address = self.broker.start().address
        self.settings = Settings.read(
            kafka_url=None,
            embedded_broker=self.address,
            partitions=4,
            kafka_security="plaintext",
            group="zhinao",
        )
        self.say(f"broker {self.address}, logs in {self.logs}")
        self._start_worker()
        limit_s = time.monotonic() + READY_LIMIT_S
        while not self.ready and not stopped():
            self._watch_worker()
            if time.monotonic() > limit_s:
                raise DemoFailed("worker_failed", f"the worker was not ready within {READY_LIMIT_S:.0f} s")
            time.sleep(0.05)
        if stopped():
            return self
        at = Connection(self.address, self.settings.topic_prefix, self.settings)
        self._reader = Reader(at, ("incidents", "dead-letters", "late"), from_start=True)
        self._admin = _admin(at)
        self.crews = self._child("crews", "crews")
        arguments = (str(self.recording), "--speed", str(self.speed), "--drain", f"{self.drain_s}s", "--json")
        self.feed = self._child("feed", "feed", *arguments)
        self.scene.changed_s = time.monotonic()
        return self

    def _child(self, name: str, *arguments: str) -> Child:
        passed = {k: v for k, v in os.environ.items() if not k.upper().startswith(NOT_PASSED_ON)}
        passed |= {
            "ZHINAO_EMBEDDED_BROKER": self.address,
            "ZHINAO_CLOCK": "stream",
            "ZHINAO_STATE_DIR": str(self.folder / "state"),
            "ZHINAO_LOG_DIR": str(self.logs),
        }
        return Child(name, arguments, passed, self.logs / f"{name}.log")

    def _start_worker(self) -> None:
        self.worker = self._child("worker", "worker")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the children by their pids: who sends first, who serves last. Logs stay, state goes."""
        running = [child for child in (self.feed, self.crews, self.worker) if child is not None]
        for child in running:
            child.ask_to_stop()
        for child in running:
            child.stop()
        self._take_fed()
        clients = [self._admin] if self._reader is None else [self._reader.consumer, self._admin]
        for client in clients:
            with suppress(Exception):  # the broker may be dead, and there is nothing to lose
                client.close()
        self.broker.stop()
        shutil.rmtree(self.folder / "state", ignore_errors=True)

    # watching

    def step(self) -> str | None:
        """Look at everything once, about a tenth of a second; the exit cause when the recording is through."""
        self._watch_worker()
        self._watch_others()
        self._take_fed()
        self._take_published()
        self._take_lag()
        if self._fed_s is None:
            return None
        now_s = time.monotonic()
        behind = sum(self.scene.lag.values())
        quiet = now_s - max(self.scene.changed_s, self._fed_s) > QUIET_S and not behind
        return "feed_done" if quiet or now_s - self._fed_s > SETTLE_LIMIT_S else None

    def _watch_worker(self) -> None:
        worker = self.worker
        assert worker is not None
        for line in worker.lines():
            if line.startswith("ready"):
                self.ready = True
                self.say(f"worker {worker.pid} {line}")
        if worker.exit_code is None:
            return
        cause, now_s = worker.cause(), time.monotonic()
        if worker.exit_code == COULD_NOT_RUN:  # wrong rules or settings do not mend themselves
            raise DemoFailed("worker_failed", cause)
        self._deaths.append(now_s)
        while now_s - self._deaths[0] > WITHIN_S:
            self._deaths.popleft()
        if len(self._deaths) >= MOST_RESTARTS:
            raise DemoFailed("worker_failed", f"{cause} ({len(self._deaths)} times within {WITHIN_S:.0f} s)")
        self.scene.restarts += 1
        self.ready = False
        self._start_worker()
        self.say(f"{cause}; started again with pid {self.worker.pid if self.worker else 0}")

    def _watch_others(self) -> None:
        if not self.broker.alive:
            raise DemoFailed("broker_failed", "the embedded broker has died")
        if self.crews is not None and self.crews.exit_code is not None:
            raise DemoFailed("crews_failed", self.crews.cause())
        if self.feed is not None and self.feed.exit_code is not None and self._fed_s is None:
            if self.feed.exit_code != 0:
                raise DemoFailed("feed_failed", self.feed.cause())
            self._fed_s = time.monotonic()
            self._lag_s = 0.0
            self.say("the recording is through; waiting for the worker to finish")

    def _take_fed(self) -> None:
        for line in self.feed.lines() if self.feed is not None else ():
            told, now_s = orjson.loads(line), time.monotonic()
            before, self.scene.fed = self.scene.fed, dict(told["by_topic"])
            took_s = now_s - self._told_s
            self.scene.rates = {name: (n - before.get(name, 0)) / took_s for name, n in self.scene.fed.items()}
            self._told_s, self.scene.clock = now_s, told["clock"]

    def _take_published(self) -> None:
        assert self._reader is not None
        for topic, record in self._reader.poll(100):
            identity = dict(record.headers or ()).get("ce_id", b"").decode()
            if topic == "late":
                self.scene.late.add(identity)
            elif topic == "dead-letters":
                if identity not in self.scene.dead_letters:
                    self.scene.reasons[orjson.loads(record.value)["reason"]] += 1
                self.scene.dead_letters.add(identity)
            else:
                self._take_incident(orjson.loads(record.value))

    def _take_incident(self, body: dict[str, Any]) -> None:
        known = self.scene.incidents.get(body["incident_id"])
        if known is None:
            known = self.scene.incidents[body["incident_id"]] = Followed(body)
        elif body["revision"] <= known.body["revision"]:
            return  # a restarted worker says again what it had said
        else:
            known.body = body
        if not known.steps or known.steps[-1] != body["state"]:
            known.steps.append(body["state"])
        self.scene.changed_s = time.monotonic()
        self.changed(body)

    def changed(self, body: dict[str, Any]) -> None:
        """Called with every new revision of an incident; the command puts its own in place."""

    def _take_lag(self) -> None:
        if time.monotonic() - self._lag_s < LAG_EVERY_S or self._reader is None:
            return
        self._lag_s = time.monotonic()
        ends = self._reader.consumer.end_offsets(self._partitions())
        committed = self._admin.list_group_offsets({self.settings.group: list(ends)})[self.settings.group]
        lag: Counter[str] = Counter()
        names = {full_name(name, self.settings.topic_prefix): name for name in SHOWN_TOPICS}
        for partition, end in ends.items():
            stored = committed.get(partition)
            lag[names[partition.topic]] += end - max(0, stored.offset if stored is not None else 0)
        self.scene.lag = dict(lag)

    def _partitions(self) -> Iterable[Any]:
        from kafka import TopicPartition

        prefix = self.settings.topic_prefix
        return [TopicPartition(full_name(name, prefix), p) for name in SHOWN_TOPICS for p in range(4)]


def _admin(at: Connection) -> Any:
    from kafka.admin import KafkaAdminClient

    return KafkaAdminClient(**at.options())
