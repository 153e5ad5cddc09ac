"""`zhinao record`: Kafka to a recording."""

import time
from pathlib import Path

import click

from streams.commands.connection import Connection, broker_option
from streams.commands.durations import DURATION
from streams.commands.failing import CannotRun
from streams.commands.stopping import stop_wished
from streams.recording import RecordedLine, RecordingWriter


@click.command()
@click.argument("topics", metavar="TOPIC...", nargs=-1, required=True)
@broker_option
@click.option("--out", default="-", show_default=True, help="The recording, .jsonl, .gz or .zst; - is stdout.")
@click.option("--for", "for_s", type=DURATION, help="How long; default: until Ctrl-C.")
@click.option("--from-start", is_flag=True, help="What the topics already hold, too.")
def record(topics: tuple[str, ...], broker: str | None, out: str, for_s: float | None, from_start: bool) -> None:
    """Kafka 存成录音 / Write what arrives on topics to a recording, in the order of its arrival.

    With their partitions, offsets and headers. Clock records are left out: a recording has its own clock.
    """
    from streams.commands.reading import Reader, named_topic

    at = Connection.open(broker)
    names = [named_topic(topic, at.prefix) for topic in topics]
    if out != "-" and not Path(out).parent.is_dir():
        raise CannotRun(f"{out}: there is no folder {str(Path(out).parent)!r}")
    end_s = None if for_s is None else time.monotonic() + for_s
    with stop_wished() as stop, Reader(at, names, from_start=from_start) as reader, RecordingWriter(out) as writer:
        click.echo(f"recording {', '.join(names)}; Ctrl-C ends it", err=True)
        while not stop.is_set() and (end_s is None or time.monotonic() < end_s):
            for name, r in reader.poll():
                headers = tuple((name, value or b"") for name, value in r.headers or ())  # one may have no value
                writer.write(RecordedLine(name, r.key, r.timestamp, r.value, headers, r.partition, r.offset))
            if out == "-":
                writer.flush()
    click.echo(f"{writer.lines} records", err=True)
