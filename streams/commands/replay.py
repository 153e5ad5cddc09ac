"""`zhinao replay`: the whole core over recordings, without a broker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import orjson

from geo.atlas import Atlas
from geo.feeds import FeedBook
from geo.misfits import judgements, misfits
from geo.offset import Ground
from rules.crews import Crews
from streams.city import build_city
from streams.commands.durations import DURATION
from streams.recording import RecordedLine, RecordingWriter, read_recording
from streams.replay import Replay
from streams.settings import Settings
from streams.topics import TOPICS

FILES = click.Path(exists=True, path_type=Path)


@click.command()
@click.argument("recordings", nargs=-1, required=True)
@click.option("--rules", multiple=True, type=FILES, help="Folder or file of rules; repeats. Replaces the shipped ones.")
@click.option("--zones", multiple=True, type=FILES, help="Folder or file of zones; repeats. Replaces the shipped ones.")
@click.option("--registry", type=FILES, help="Folder of the registry.")
@click.option("--tables", type=FILES, help="Folder of the tables.")
@click.option("--crews", is_flag=True, help="Simulated field units answer the orders.")
@click.option("--topics", default="", help="Only these topics in the output, comma-separated.")
@click.option("--drain", type=DURATION, default="1h", show_default=True, help="How long the clock goes on afterwards.")
@click.option("--out", default="-", help="Where the published records go, as a recording; - is stdout.")
def replay(
    recordings: tuple[str, ...],
    rules: tuple[Path, ...],
    zones: tuple[Path, ...],
    registry: Path | None,
    tables: Path | None,
    crews: bool,
    topics: str,
    drain: float,
    out: str,
) -> None:
    """回放录制文件 / Run the core over recordings on their own clock; everything published comes out as a recording.

    A summary in JSON is the last line on stderr.
    """
    wanted = {name.strip() for name in topics.split(",") if name.strip()}
    if unknown := sorted(wanted - set(TOPICS)):
        raise click.UsageError(f"no such topic: {', '.join(unknown)}; topics are {', '.join(TOPICS)}")
    settings = Settings.read()
    city = build_city(settings, rules=rules, zones=zones, registry=registry, tables=tables)
    units = () if city.atlas.registry is None else tuple(city.atlas.registry.units.values())
    run = Replay(city, partitions=settings.partitions, crews=Crews(units=units, centre=city.centre) if crews else None)
    book = FeedBook()
    with RecordingWriter(out) as writer:
        for line in run.run(watched(recordings, book), drain_ms=round(drain * 1000)):
            if not wanted or line.topic in wanted:
                writer.write(line, trusted=True)
    summary = run.summary.data() | {"misplaced_feeds": misplaced(book, city.atlas, settings.bounds_margin_km)}
    click.echo(orjson.dumps(summary).decode(), err=True)


def watched(recordings: Sequence[str], book: FeedBook) -> Iterator[RecordedLine]:
    """The lines, their positions noted on the way."""
    for file in recordings:
        for number, line in enumerate(read_recording(file), 1):
            if line.topic is not None:
                book.see(line.topic, line.value, (file, number))
            yield line


def misplaced(book: FeedBook, atlas: Atlas, margin_km: float) -> list[dict[str, str]]:
    """The feeds that are not in the system they declare; `zhinao feeds check` shows them in full."""
    ground = Ground.of(atlas.zones, atlas.registry, margin_km)
    if ground is None:
        return []
    found = misfits(judgements(book, ground), book.samples())
    return [{"topic": p.path[0], "source": p.path[1], "code": p.code, "message": p.message} for p in found]
