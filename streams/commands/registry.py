"""`zhinao registry check`."""

from pathlib import Path

import click

from streams.commands.findings import CHECKED_PATH, counted, report


@click.group()
def registry() -> None:
    """登记表工具 / Check the registry of devices, segments and units."""


@registry.command()
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=CHECKED_PATH)
@click.option("--json", "as_json", is_flag=True, help="The problems as a list, instead of text.")
def check(folders: tuple[Path, ...], as_json: bool) -> int:
    """检查登记表 / Check devices, segments and units, their areas against the zones of the settings.

    FOLDER holds devices.geojson, segments.geojson and units.geojson; without it that of the settings.
    """
    from geo.check import load_registry, load_zones
    from streams.settings import Settings

    settings = Settings.read()
    areas, _ = load_zones(settings.zones)
    found, problems = load_registry(folders or (settings.registry,), areas)
    parts = {"device": found.devices, "segment": found.segments, "unit": found.units}
    return report(problems, ", ".join(counted(len(there), one) for one, there in parts.items()), as_json=as_json)
