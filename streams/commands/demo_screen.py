"""What the demo shows: a live table in a terminal, one line a change elsewhere."""

import shutil
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streams.commands.one_liners import incident_line, short_id
from streams.demo import SHOWN_TOPICS, Demo, Followed

MOST_INCIDENTS = 14
SAID = 3
ENDED = {"closed", "withdrawn", "merged", "false_alarm"}


class Quiet:
    """Nothing but the summary; what goes wrong is said on stderr at the end."""

    def say(self, line: str) -> None:
        del line

    def changed(self, body: dict[str, Any]) -> None:
        del body

    def started(self, demo: Demo) -> None:
        del demo

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        pass


class Plain(Quiet):
    """One line for each change of an incident, for logs and pipes."""

    def __init__(self, lang: str) -> None:
        self.lang = lang

    def say(self, line: str) -> None:
        click.echo(f"-- {line}")

    def changed(self, body: dict[str, Any]) -> None:
        click.echo(incident_line(body, self.lang))

    def started(self, demo: Demo) -> None:
        for line in hints(demo):
            self.say(line)


class Screen(Quiet):
    """Streams, incidents and what to try, drawn four times a second."""

    def __init__(self, lang: str) -> None:
        self.lang, self.said, self.demo = lang, [""], None
        self.live = Live(console=Console(), refresh_per_second=4, get_renderable=self._draw, transient=False)
        self.live.start()

    demo: Demo | None

    def say(self, line: str) -> None:
        self.said = [*self.said, line][-SAID:]

    def started(self, demo: Demo) -> None:
        self.demo = demo

    def close(self) -> None:
        self.live.stop()

    def _draw(self) -> Group:
        if self.demo is None:
            return Group(*map(Text, self.said))
        return Group(self._head(), self._streams(), self._incidents(), *map(Text, self.said), *self._hints())

    def _head(self) -> Text:
        demo = self.demo
        assert demo is not None
        scene, worker = demo.scene, demo.worker
        clock = scene.clock[11:19] if scene.clock else "–"
        state = "ready" if demo.ready else "starting"
        return Text.assemble(
            ("智脑 zhinao  ", "bold"),
            f"平湖 Pinghu {clock} ×{demo.speed:g}   worker pid {worker.pid if worker else '–'} ({state})   ",
            (f"restarts {scene.restarts}   ", "yellow" if scene.restarts else ""),
            f"dead letters {len(scene.dead_letters)}   late {len(scene.late)}",
        )

    def _streams(self) -> Table:
        demo = self.demo
        assert demo is not None
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("流 stream")
        for title in ("记录 records", "每秒 per s", "未存 behind"):
            table.add_column(title, justify="right")
        for name in SHOWN_TOPICS:
            fed = demo.scene.fed.get(name)
            rate = demo.scene.rates.get(name)
            shown = ("" if fed is None else str(fed), "" if rate is None else f"{rate:.0f}")
            table.add_row(name, *shown, str(demo.scene.lag.get(name, "")))
        return table

    def _incidents(self) -> Table:
        demo = self.demo
        assert demo is not None
        newest = sorted(demo.scene.incidents.values(), key=lambda one: str(one.body["changed_at"]), reverse=True)
        shown = sorted(newest[:MOST_INCIDENTS], key=lambda one: str(one.body["opened_at"]))
        title = "  ".join(f"{state} {n}" for state, n in demo.scene.by_state().items())
        table = Table(box=None, padding=(0, 2, 0, 0), title=f"事件 incidents  {title}", title_justify="left")
        for column in ("编号 id", "规则 rule", "地点 place", "经过 steps"):
            table.add_column(column, overflow="ellipsis", no_wrap=True)
        for one in shown:
            table.add_row(*self._row(one))
        return table

    def _row(self, one: Followed) -> tuple[str, str, str, Text]:
        body = one.body
        place = ((body.get("place") or {}).get("text") or {}).get(self.lang) or ""
        style = "green" if body["state"] in ENDED else "bold"
        steps = Text(" → ".join(one.steps[:-1]) + (" → " if one.steps[1:] else ""), style="dim")
        steps.append(one.steps[-1], style=style)
        return short_id(body["incident_id"]), str(body.get("rule") or body.get("type")), place, steps

    def _hints(self) -> list[Text]:
        assert self.demo is not None
        return [Text(line, style="dim") for line in hints(self.demo)]


def hints(demo: Demo) -> list[str]:
    """What to try while it runs."""
    zhinao = "zhinao" if shutil.which("zhinao") else f"{_short(sys.executable)} -m app"
    address, worker = demo.address, demo.worker
    topic = f"{demo.settings.topic_prefix}.incidents.v1"
    return [
        f"try: {zhinao} tail incidents --from-start --broker {address}",
        f"     kcat -b {address} -t {topic} -C -o beginning",
        f"     kill -9 {worker.pid if worker else 'PID'}    (the worker: it comes back and loses nothing)",
        f"     edit a rule in rules/packs/, then: {zhinao} rules check",
    ]


def _short(path: str) -> str:
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
