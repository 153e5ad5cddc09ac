"""`zhinao replay`: the whole core over recordings, without a broker."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from rules.crews import Crews
from streams.city import build_city
from streams.commands.durations import DURATION
from streams.recording import RecordingWriter, read_recordings
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
    with RecordingWriter(out) as writer:
        for line in run.run(read_recordings(recordings), drain_ms=round(drain * 1000)):
            if not wanted or line.topic in wanted:
                writer.write(line, trusted=True)
    click.echo(orjson.dumps(run.summary.data()).decode(), err=True)
