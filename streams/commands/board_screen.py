"""The live board as people see it, and as programs do."""

import time
from collections import Counter
from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

import orjson
from rich.console import Group
from rich.table import Table
from rich.text import Text

from models.times import format_time
from streams.commands.one_liners import short_id
from streams.sinks.board import View

Body = dict[str, Any]
STYLES = {"critical": "bold red", "major": "yellow", "moderate": "", "minor": "dim"}
SEVERITIES = list(STYLES)
# A board's keeper hears its topics every three seconds at least, or says that they do not answer.
STALE_MS = 10_000


def incidents_of(view: View) -> list[Body]:
    """The gravest first, then the oldest."""
    found = [orjson.loads(body) for body in view.incidents.values()]
    return sorted(found, key=lambda one: (_rank(one), str(one.get("opened_at")), str(one["incident_id"])))


def as_json(view: View, zone: tzinfo) -> bytes:
    """All of it as one object: incidents as published, units, who is assigned by order, counts, times."""
    counts: dict[str, dict[str, int]] = {"state": {}, "type": {}}
    for name, number in sorted(view.counts.items()):
        kind, _, value = name.partition(":")
        counts[kind][value] = number
    body = {
        "city_time": _time(view.city_ms, zone),
        "kept_at": _time(view.kept_ms, zone),
        "full": view.full,
        "counts": counts,
        "incidents": incidents_of(view),
        "assigned": dict(sorted(view.assigned.items())),
        "units": [orjson.loads(body) for _, body in sorted(view.units.items())],
    }
    return orjson.dumps(body)


def drawn(view: View, lang: str, types: Mapping[str, str], zone: tzinfo) -> Group:
    """The table with a line above it. `types` are names by code; a code without one stands for itself."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("事件 incident", "状态 state", "类型 type", "地点 place", "队伍 unit", "自 since"):
        table.add_column(column, overflow="ellipsis", no_wrap=True)
    table.add_column("件 count", justify="right")
    for one in incidents_of(view):
        table.add_row(*_row(one, view, lang, types), style=STYLES.get(str(one.get("severity")), ""))
    return Group(_head(view, zone), table)


def _row(one: Body, view: View, lang: str, types: Mapping[str, str]) -> tuple[Text, ...]:
    place = one.get("place") or {}
    unit = view.assigned.get(str(one.get("order_id"))) or one.get("department") or "–"
    where = (place.get("text") or {}).get(lang) or one.get("zone") or one.get("area") or "–"
    code, condition = str(one.get("type")), one.get("condition")
    state = f"{one.get('state')}{'' if condition == 'still' else f' ({condition})'}"
    since = str(one.get("opened_at"))[5:19].replace("T", " ")
    cells = (short_id(one["incident_id"]), state, types.get(code, code), where, unit, since, one.get("count", ""))
    return tuple(Text(str(cell)) for cell in cells)  # as they are: a place may hold rich's brackets


def _head(view: View, zone: tzinfo) -> Text:
    by_severity = Counter(str(one.get("severity")) for one in incidents_of(view))
    parts = [f"{name} {by_severity[name]}" for name in SEVERITIES if by_severity[name]]
    head = Text.assemble(
        ("城市看板 board  ", "bold"),
        f"{(_time(view.city_ms, zone) or '–')[:19].replace('T', ' ')}   {len(view.incidents)} incidents",
        f" ({', '.join(parts)})" if parts else "",
        f"   {len(view.units)} units",
    )
    age_ms = time.time_ns() // 1_000_000 - view.kept_ms
    if view.kept_ms and age_ms > STALE_MS:
        head.append(f"   stale: nothing heard for {age_ms // 1000} s", "bold red")
    if view.full:
        head.append("   full: not everything is shown", "bold red")
    return head


def _rank(one: Body) -> int:
    severity = str(one.get("severity"))
    return SEVERITIES.index(severity) if severity in STYLES else len(SEVERITIES)


def _time(at_ms: int, zone: tzinfo) -> str | None:
    return format_time(at_ms * 1000, zone) if at_ms else None
