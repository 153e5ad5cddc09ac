"""`zhinao feeds check`."""

from pathlib import Path

import click

from streams.commands.failing import CannotRun
from streams.commands.findings import CHECKED_PATH, counted, report


@click.group()
def feeds() -> None:
    """数据源工具 / Check whether feeds are in the coordinates they declare."""


@feeds.command()
@click.argument("recordings", metavar="RECORDING...", nargs=-1, required=True)
@click.option("--zones", multiple=True, type=CHECKED_PATH, help="Folder or file of zones; repeats.")
@click.option("--registry", "folder", type=CHECKED_PATH, help="Folder of the registry.")
@click.option("--json", "as_json", is_flag=True, help="The problems as a list, instead of text.")
def check(recordings: tuple[str, ...], zones: tuple[Path, ...], folder: Path | None, as_json: bool) -> int:
    """检查数据源坐标 / Find feeds of recordings whose positions are not in the system of coordinates they declare.

    Each source's positions are held against its registered place and the known roads: as declared, as WGS-84, GCJ-02,
    BD-09, with the axes swapped, with an offset of its own. What too little speaks for is not told. Without --zones and
    --registry those of the settings are used; - is stdin.
    """
    from geo.check import load_registry, load_zones
    from geo.feeds import FeedBook
    from geo.misfits import judgements, misfits
    from geo.offset import Ground
    from models.problems import failed
    from streams.recording import read_recording
    from streams.settings import Settings

    settings = Settings.read()
    known, wrong = load_zones(zones or settings.zones)
    registered, more = load_registry([folder or settings.registry], known)
    if failed([*wrong, *more]):
        raise CannotRun("zones or registry have errors, see: zhinao zones check, zhinao registry check")
    ground = Ground.of(known, registered, settings.bounds_margin_km)
    if ground is None:
        raise CannotRun("nothing is known of the city's places: there are no zones and no registry")
    book = FeedBook()
    for file in recordings:
        for number, line in enumerate(read_recording(file), 1):
            if line.topic is not None:
                book.see(line.topic, line.value, (file, number))
    judged = judgements(book, ground)
    silent = sum(found.reading is None for found in judged.values())
    checked = f"{counted(len(judged), 'feed')} ({silent} with too little to tell)"
    left_out = f"{book.left_out} positions of further feeds were not looked at" if book.left_out else None
    return report(misfits(judged, book.samples()), checked, as_json=as_json, note=left_out)
