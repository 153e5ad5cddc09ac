"""`zhinao feed`: a recording into Kafka, see streams.feeding."""

import sys
import time
from collections.abc import Iterable, Iterator
from itertools import chain

import click
import orjson

from streams.commands.connection import Connection, broker_option
from streams.commands.durations import DURATION
from streams.commands.failing import CannotRun
from streams.commands.stopping import stop_wished
from streams.recording import RecordedLine, read_recording

# Few and larger batches: the embedded broker hands out one a fetch, and a reader answers for each.
LINGER_MS = 100
# A broker that takes nothing for so long has gone; the recording can be fed again.
DELIVERY_LIMIT_MS = 20_000
PROGRESS_S = 1.0


@click.command()
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@broker_option
@click.option("--speed", type=click.FloatRange(0), default=1.0, show_default=True, help="0: as fast as it goes.")
@click.option("--loop", type=click.IntRange(1), default=1, show_default=True, help="How many rounds.")
@click.option(
    "--drain", type=DURATION, default="15m", show_default=True, help="How long the clock goes on after the end."
)
@click.option("--start-now", is_flag=True, help="Move all its times so that it begins now.")
@click.option("--json", "as_json", is_flag=True, help="Progress once a second and the summary as JSON lines.")
def feed(
    recording: str, broker: str | None, speed: float, loop: int, drain: float, start_now: bool, as_json: bool
) -> int:
    """录音送入 Kafka / Send a recording to Kafka, paced by its own clock.

    Keeps its order within each partition and its arrival times, and sends its clock (once a second of recording time)
    to every partition of every input topic, for workers with ZHINAO_CLOCK=stream. Only input topics are fed; lines of
    topics the workers publish themselves are counted and left out.
    """
    from kafka import KafkaProducer

    from streams.feeding import TICKED_TOPICS, Feeder, FeedError, rounds
    from streams.topics import full_name

    if recording == "-" and loop > 1:
        raise click.UsageError("--loop needs a file: stdin can be read once only")
    if recording != "-" and not any(line.topic in TICKED_TOPICS for line in read_recording(recording)):
        raise CannotRun(f"{recording} has no record of an input topic: there is nothing to feed")
    lines: Iterable[RecordedLine] = read_recording(recording)
    shift_ms = 0
    if start_now:
        lines, shift_ms = _to_now(iter(lines))
    first_round = iter([lines])
    at = Connection.open(broker)
    partitions = at.partitions(full_name(name, at.prefix) for name in TICKED_TOPICS)
    producer = KafkaProducer(
        **at.options(),
        acks="all",
        enable_idempotence=True,
        linger_ms=LINGER_MS,
        compression_type="lz4",
        delivery_timeout_ms=DELIVERY_LIMIT_MS,
        request_timeout_ms=DELIVERY_LIMIT_MS // 2,
    )
    with stop_wished() as stop:
        told_s = time.monotonic()

        def wait(seconds: float) -> bool:
            nonlocal told_s
            if as_json and time.monotonic() - told_s >= PROGRESS_S:
                told_s = time.monotonic()
                _tell(feeder.fed.data() | {"done": False})
            return stop.wait(seconds) if seconds else stop.is_set()

        feeder = Feeder(producer, partitions, at.prefix, speed=speed, wait=wait)
        try:
            whole = feeder.run(
                rounds(lambda: next(first_round, None) or read_recording(recording), loop, shift_ms), drain_s=drain
            )
        except FeedError as exc:
            # kafka-python's farewell waits once more for what nobody takes, and says so in a traceback.
            sys.unraisablehook = lambda _: None
            raise CannotRun(str(exc)) from exc
        producer.close(timeout=5)
    fed = feeder.fed
    if as_json:
        _tell(fed.data() | {"done": whole})
        return 0
    left_out = f", {fed.not_fed.total()} of other topics left out" if fed.not_fed else ""
    end = "" if whole else ", stopped before the end"
    click.echo(f"{fed.records.total()} records, {fed.ticks} seconds of recording time{left_out}{end}")
    return 0


def _to_now(lines: Iterator[RecordedLine]) -> tuple[Iterator[RecordedLine], int]:
    """The same lines, and by how many ms they must move (whole seconds) to begin now."""
    first = next(lines, None)
    if first is None:
        return lines, 0
    return chain([first], lines), round(time.time() - first.timestamp_ms / 1000) * 1000


def _tell(data: dict[str, object]) -> None:
    sys.stdout.write(orjson.dumps(data).decode() + "\n")
    sys.stdout.flush()
