"""`zhinao zones check`."""

from pathlib import Path

import click

from streams.commands.findings import CHECKED_PATH, counted, report


@click.group()
def zones() -> None:
    """区域工具 / Check zone files."""


@zones.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=CHECKED_PATH)
@click.option("--json", "as_json", is_flag=True, help="The problems as a list, instead of text.")
def check(paths: tuple[Path, ...], as_json: bool) -> int:
    """检查区域文件 / Check zones in GeoJSON files and folders; without PATH those of the settings."""
    from geo.check import load_zones
    from streams.settings import Settings

    found, problems = load_zones(paths or Settings.read().zones)
    return report(problems, counted(len(found), "zone"), as_json=as_json)
