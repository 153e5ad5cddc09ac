"""`zhinao tables check`."""

from dataclasses import replace
from pathlib import Path

import click

from streams.commands.findings import counted, report


@click.group()
def tables() -> None:
    """数据表工具 / Check the tables: types, deadlines, calendars, responsibilities."""


@tables.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The problems as a list, instead of text.")
def check(folder: Path | None, as_json: bool) -> int:
    """检查数据表 / Check the tables in FOLDER; without it those of the settings."""
    from rules.tables.load import read_tables
    from streams.settings import Settings

    where = folder or Settings.read().tables
    found, problems = read_tables(where)
    placed = [replace(p, place=replace(p.place, file=str(where / p.place.file))) for p in problems]
    checked = "tables" if found is None else f"tables with {counted(len(found.types), 'type')}"
    return report(placed, checked, as_json=as_json)
