"""`zhinao settings`: what can be set, what is set, and by whom."""

import os
import sys

import click
import orjson

from streams.settings import Row, Settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A list of {variable, value, source, secret, zh, en}.")
def settings(as_json: bool) -> None:
    """全部设置 / Every setting, its value and where it comes from.

    Values come from the environment; what is not set has its default. Secrets are never shown.
    """
    rows = Settings.read().describe()
    given = {name.upper() for name in os.environ}
    if as_json:
        sys.stdout.write(orjson.dumps([_data(row, given) for row in rows], option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    _table(rows, given)


def _source(row: Row, given: set[str]) -> str:
    return "environment" if row.variable in given else "default"


def _data(row: Row, given: set[str]) -> dict[str, object]:
    return {
        "variable": row.variable,
        "value": row.value,
        "source": _source(row, given),
        "secret": row.secret,
        "zh": row.zh,
        "en": row.en,
    }


def _table(rows: list[Row], given: set[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for title in ("变量 / variable", "值 / value", "来源 / source", "说明 / what it is"):
        table.add_column(title, overflow="fold", no_wrap=title.startswith("变量"))
    for row in rows:
        source = _source(row, given)
        style = "bold" if source == "environment" else ""
        value = Text(row.value or "–", style=style)
        table.add_row(Text(row.variable, style=style), value, source, Text(f"{row.zh}\n{row.en}"))
    # A pipe has no width: nothing may be cut there.
    Console(width=None if sys.stdout.isatty() else 160).print(table)
