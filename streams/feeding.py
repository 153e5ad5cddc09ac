"""A recording into Kafka, in its own order, paced by its own clock, with that clock's ticks on every input partition.

Within a partition the order is the recording's: one idempotent producer, one thread. A tick of second T stands before
every record of that second, on every partition, so a reader that has seen it has seen everything older.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from models.streams import DESK_TOPICS, DETECTOR_TOPICS, STREAMS
from models.ticks import TICK_HEADER
from models.times import format_time, parse_time_us, zone_info
from streams.publishing import CENTRE_PARTITION
from streams.recording import RecordedLine
from streams.topics import full_name

TICK_MS = 1000
# kafka-python refuses a record with neither key nor value.
TICK_KEY = b"tick"
# What may be on its way unacknowledged. Half a second of 20-fold speed; kafka-python itself has no bound.
MAX_PENDING = 20_000
ACK_LIMIT_S = 30.0
# Detectors pass the clock on to the Desk themselves, once all their topics have reached it.
TICKED_TOPICS = (*DETECTOR_TOPICS, *(name for name in DESK_TOPICS if name != "detections"))
# A record of a second round is another record: its own id, or it would be taken for a repeat of the first.
OWN_IDS = {
    "camera.events": "event_id",
    "hotline.tickets": "ticket_id",
    "dispatch.feedback": "feedback_id",
    "commands": "command_id",
}


class FeedError(Exception):
    """A record could not be sent; the message names its topic and the cause."""


class Routed(NamedTuple):
    """Where a record goes. `partition` None: murmur2 of the key chooses."""

    topic: str
    partition: int | None


def route(line: RecordedLine) -> Routed | None:
    """None for a topic nobody may feed (what we publish ourselves) or a line that only moves the clock."""
    if line.topic in DETECTOR_TOPICS:
        return Routed(line.topic, None if line.key is not None else line.partition or 0)
    if line.topic in TICKED_TOPICS:
        return Routed(line.topic, CENTRE_PARTITION)
    return None


@dataclass(slots=True)
class Fed:
    """What has been sent so far. Times are the recording's."""

    records: Counter[str] = field(default_factory=Counter)
    not_fed: Counter[str] = field(default_factory=Counter)
    ticks: int = 0
    first_ms: int | None = None
    clock_ms: int = 0

    def data(self) -> dict[str, object]:
        """For `--json`."""
        zone = zone_info("Asia/Shanghai")
        return {
            "records": self.records.total(),
            "by_topic": dict(sorted(self.records.items())),
            "not_fed": dict(sorted(self.not_fed.items())),
            "ticks": self.ticks,
            "clock": format_time(self.clock_ms * 1000, zone) if self.first_ms is not None else None,
        }


class Feeder:
    """Sends lines through a kafka-python producer. `speed` 0 does not wait; `wait(seconds)` gives True to stop."""

    def __init__(
        self,
        producer: Any,
        partitions: Mapping[str, int],
        prefix: str,
        *,
        speed: float = 1.0,
        wait: Callable[[float], bool],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fed = Fed()
        self._producer, self._speed, self._wait, self._monotonic_s = producer, speed, wait, monotonic_s
        self._names = {name: full_name(name, prefix) for name in TICKED_TOPICS}
        self._ticked = [(full, p) for full in self._names.values() for p in range(partitions[full])]
        self._pending: deque[tuple[str, Any]] = deque()
        self._started_s = 0.0

    def run(self, lines: Iterable[RecordedLine], *, drain_s: float = 0.0) -> bool:
        """Send all, go on ticking for `drain_s` of recording time; False if told to stop before the end.

        Raises `FeedError` for the first record the broker did not take. All that was sent is acknowledged on return.
        """
        whole = all(self._line(line) for line in lines) and self._drain(drain_s)
        self._settle(0)
        return whole

    def _line(self, line: RecordedLine) -> bool:
        if not self._clock(line.timestamp_ms):
            return False
        way = route(line)
        if way is None:
            if line.topic is not None:
                self.fed.not_fed[line.topic] += 1
            return True
        self._send(self._names[way.topic], way.partition, line.key, line.value, line.headers, line.timestamp_ms)
        self.fed.records[way.topic] += 1
        return True

    def _drain(self, drain_s: float) -> bool:
        return self.fed.first_ms is None or self._clock(self.fed.clock_ms + int(drain_s * 1000))

    def _clock(self, at_ms: int) -> bool:
        """Come to `at_ms`, ticking at every full second on the way; a step back moves nothing."""
        fed = self.fed
        if fed.first_ms is None:
            fed.first_ms = fed.clock_ms = at_ms
            self._started_s = self._monotonic_s()
            self._tick(at_ms - at_ms % TICK_MS)
        for tick_ms in range(fed.clock_ms - fed.clock_ms % TICK_MS + TICK_MS, at_ms + 1, TICK_MS):
            if not self._await(tick_ms):
                return False
            fed.clock_ms = tick_ms
            self._tick(tick_ms)
        if not self._await(at_ms):
            return False
        fed.clock_ms = max(fed.clock_ms, at_ms)
        return True

    def _await(self, at_ms: int) -> bool:
        if not self._speed or self.fed.first_ms is None:
            return not self._wait(0)
        due_s = self._started_s + (at_ms - self.fed.first_ms) / 1000 / self._speed
        left_s = due_s - self._monotonic_s()
        return not self._wait(left_s if left_s > 0.001 else 0)

    def _tick(self, at_ms: int) -> None:
        headers = ((TICK_HEADER, b"%d" % at_ms),)
        for full, partition in self._ticked:
            self._send(full, partition, TICK_KEY, None, headers, at_ms)
        self.fed.ticks += 1
        while self._pending and self._pending[0][1].is_done:  # a broker that has gone is noticed here
            self._settle(len(self._pending) - 1)

    def _send(
        self,
        full: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: tuple[tuple[str, bytes], ...],
        at_ms: int,
    ) -> None:
        if key is None and value is None:
            key = b""  # kafka-python sends no record without both
        future = self._producer.send(
            full, value=value, key=key, partition=partition, headers=list(headers), timestamp_ms=at_ms
        )
        self._pending.append((full, future))
        if len(self._pending) > MAX_PENDING:
            self._settle(MAX_PENDING // 2)

    def _settle(self, most: int) -> None:
        """Wait until at most so many are unacknowledged."""
        while len(self._pending) > most:
            full, future = self._pending.popleft()
            try:
                future.get(timeout=ACK_LIMIT_S)
            except Exception as exc:
                raise FeedError(f"{full} was not taken: {exc}") from exc


# -- other times -------------------------------------------------------------------------------------------------------


def rounds(read: Callable[[], Iterable[RecordedLine]], times: int, shift_ms: int = 0) -> Iterator[RecordedLine]:
    """The recording so often, each round behind the one before, all `shift_ms` later than recorded."""
    for number in range(1, times + 1):
        first_ms = last_ms = None
        for line in read():
            first_ms = line.timestamp_ms if first_ms is None else first_ms
            last_ms = max(line.timestamp_ms, last_ms or 0)
            yield line if not shift_ms and number == 1 else shifted(line, shift_ms, number)
        if first_ms is None or last_ms is None:
            return
        shift_ms += (last_ms - first_ms) // TICK_MS * TICK_MS + TICK_MS


def shifted(line: RecordedLine, by_ms: int, number: int = 1) -> RecordedLine:
    """The line as if everything in it had happened `by_ms` later; ids of rounds after the first end in `-<number>`.

    A value that is no JSON object stays as it is: it is a dead letter at any time.
    """
    suffix = f"-{number}" if number > 1 else ""
    headers = tuple((name, _shifted_header(name, value, by_ms, suffix)) for name, value in line.headers)
    moved = line._replace(timestamp_ms=line.timestamp_ms + by_ms, headers=headers)
    if line.topic not in STREAMS or line.value is None:
        return moved
    try:
        body = orjson.loads(line.value)
    except orjson.JSONDecodeError:
        return moved
    if not isinstance(body, dict):
        return moved
    readings = body.get("readings")
    for part in [body, *(readings if isinstance(readings, list) else [])]:
        if isinstance(part, dict):
            _shift_body(part, STREAMS[line.topic].time, by_ms)
    own_id = OWN_IDS.get(line.topic)
    if own_id is not None and isinstance(body.get(own_id), str):
        body[own_id] += suffix
    return moved._replace(value=orjson.dumps(body))


def _shift_body(body: dict[str, Any], time_field: str, by_ms: int) -> None:
    stamp = body.get(time_field)
    if isinstance(stamp, int) and not isinstance(stamp, bool):
        body[time_field] = stamp + by_ms
    elif isinstance(stamp, str):
        body[time_field] = _shifted_text(stamp, by_ms)


def _shifted_text(stamp: str, by_ms: int) -> str:
    try:
        return format_time(parse_time_us(stamp) + by_ms * 1000, zone_info("Asia/Shanghai"))
    except ValueError:
        return stamp


def _shifted_header(name: str, value: bytes, by_ms: int, suffix: str) -> bytes:
    if name == "ce_id":
        return value + suffix.encode()
    if name == "ce_time":
        return _shifted_text(value.decode(errors="replace"), by_ms).encode()
    return value
