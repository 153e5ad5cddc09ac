"""What the rules of one file share: defaults, lists, macros, calendars; and what the loader is told of the world."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, tzinfo
from typing import Any

from models.streams import STREAMS, Field
from models.times import zone_info
from rules.language.calendars import DAY_WORDS, HolidayTable, WeekCalendar, parse_period
from rules.language.checking import ListValue, Names, Tokens
from rules.language.clauses import Clause, Here, check_name, shown, text_of
from rules.language.findings import did_you_mean, quoted
from rules.language.schema import CALENDAR, DEFAULTS, OWNER
from rules.language.source import ListNode, MapNode, ScalarNode
from rules.language.syntax import BadSyntax, Name, Span, Tree, parse, parts
from rules.language.zones import ZoneBook

MAX_NAMED = 1000  # lists, macros or calendars of one file
MAX_LIST = 20_000  # items; each is looked at again for every rule that uses the list
TIMEZONE = "Asia/Shanghai"
HOLIDAY_TABLE = "cn_public"


@dataclass(frozen=True, slots=True)
class Context:
    """What rules are checked against. None: that part is not checked.

    zone_paths    every zone as `kind/id`
    types         the codes of rules/tables/types.yaml
    departments   the codes of the table of departments
    holidays      which days are worked; needed by calendars with `holidays: cn_public`
    years         for which public holidays must be known, such as this one and the next
    today         past which exemptions and waivers have ended
    tests         the names of the test files there are; a rule file's own is `<name>_test.yaml` beside it
    tokens        (field, clear text) → token, for texts compared with a tokenised field; None compares them as written
    """

    zone_paths: Sequence[str] | None = None
    types: Mapping[str, Any] | None = None
    departments: Collection[str] | None = None
    holidays: HolidayTable | None = None
    tokens: Tokens | None = None
    years: Collection[int] | None = None
    today: date | None = None
    tests: Collection[str] | None = None


@dataclass(slots=True)
class Shared:
    """Of one file."""

    context: Context
    zones: ZoneBook | None = None
    zone: tzinfo = UTC
    zone_name: str = TIMEZONE
    owner: str = ""
    lateness: dict[str, tuple[int, Here]] = field(default_factory=dict)
    lists: dict[str, tuple[ListValue, ...]] = field(default_factory=dict)
    macros: dict[str, Tree | None] = field(default_factory=dict)
    calendars: dict[str, WeekCalendar] = field(default_factory=dict)
    silenced: list[tuple[str, str, Here]] = field(default_factory=list)
    """(rule, the one that silences it, where that is said), for the check across files."""

    def names(self, stream: str, fields: Mapping[str, Field]) -> Names:
        return Names(stream, fields, self.zone, self.zone_name, self.lists, self.macros, tokens=self.context.tokens)


def read_shared(top: Clause, context: Context, zones: ZoneBook | None) -> Shared:
    """All of a file but its rules."""
    shared = Shared(context, zones)
    defaults = top.clause("defaults", DEFAULTS)
    read_timezone(defaults, shared)
    if defaults is not None:
        shared.owner = read_owner(defaults, context) or ""
        read_lateness(defaults, shared)
    for name, here in named(top, "lists"):
        shared.lists[name] = read_list(here)
    macros = dict(named(top, "macros"))
    shared.macros = {name: read_macro(here) for name, here in macros.items()}
    check_macros(shared.macros, macros)
    for name, here in named(top, "calendars"):
        shared.calendars[name] = read_calendar(name, here, shared)
    return shared


def named(top: Clause, key: str) -> list[tuple[str, Here]]:
    """The entries of a mapping whose keys are names the author chose."""
    here = top.get(key)
    if here is None:
        return []
    if not isinstance(here.node, MapNode):
        here.problem("E113", f'"{key}" must be a mapping of names, not {shown(here.node)}')
        return []
    if len(here.node.entries) > MAX_NAMED:
        here.problem("E103", f'"{key}" has {len(here.node.entries)} entries, {MAX_NAMED} are allowed')
        return []
    for written in here.node.entries.values():
        check_name(here.at(written.key), written.key.text)
    return [(name, here.at(entry.value, name)) for name, entry in here.node.entries.items()]


def read_timezone(defaults: Clause | None, shared: Shared) -> None:
    name = TIMEZONE if defaults is None else defaults.text("timezone", TIMEZONE)
    try:
        shared.zone, shared.zone_name = zone_info(name), name
    except (KeyError, ValueError, OSError):
        here = defaults.get("timezone") if defaults is not None else None
        if here is not None:
            here.problem("E213", f"time zone {quoted(name)} is not known", f'for example "{TIMEZONE}"')


def read_owner(clause: Clause, context: Context) -> str | None:
    """The department that answers; `contact` is for people."""
    owner = clause.clause("owner", OWNER)
    if owner is None:
        return None
    owner.text("contact", "")
    return read_department(owner, context)


def read_department(clause: Clause, context: Context) -> str | None:
    name = clause.text("department", None)
    known = context.departments
    if name is not None and known is not None and name not in known:
        here = clause.get("department")
        assert here is not None
        here.problem("E209", f"department {quoted(name)} is not defined", did_you_mean(name, known))
    return name


def read_lateness(defaults: Clause, shared: Shared) -> None:
    here = defaults.get("lateness")
    if here is None:
        return
    if not isinstance(here.node, MapNode):
        here.problem("E113", f'"lateness" must be a mapping of streams, not {shown(here.node)}')
        return
    reader = Clause(here, DEFAULTS, None, here.node.entries)
    for topic, (key, _) in here.node.entries.items():
        if topic not in STREAMS:
            here.at(key).problem("E201", f"stream {quoted(topic)} is not defined", did_you_mean(topic, STREAMS))
        lateness_us = reader.duration(topic, None)
        if lateness_us is not None:
            shared.lateness[topic] = (lateness_us, here.at(key))


def read_list(here: Here) -> tuple[ListValue, ...]:
    if not isinstance(here.node, ListNode):
        here.problem("E113", f'"{here.path[-1]}" must be a list, not {shown(here.node)}')
        return ()
    if len(here.node.items) > MAX_LIST:
        here.problem("E103", f'"{here.path[-1]}" has {len(here.node.items)} items, {MAX_LIST} are allowed')
        return ()
    values: list[ListValue] = []
    for item in here.node.items:
        if not isinstance(item, ScalarNode) or item.value is None:
            here.at(item).problem("E113", f"a list holds texts or numbers, not {shown(item)}")
        elif values and is_text(item.value) != is_text(values[0]):
            here.at(item).problem("E132", f"{shown(item)} does not fit: the list holds {kind_of(values[0])}")
        else:
            values.append(item.value)
    return tuple(values)


def is_text(value: ListValue) -> bool:
    return isinstance(value, str)


def kind_of(value: ListValue) -> str:
    return "texts" if is_text(value) else "numbers"


def read_macro(here: Here) -> Tree | None:
    text = text_of(here, f'macro "{here.path[-1]}"', "an expression")
    if text is None:
        return None
    try:
        return parse(text)
    except BadSyntax as why:
        here.problem_inside(why.code, why.message, why.span, why.hint)
        return None


def check_macros(macros: dict[str, Tree | None], written: Mapping[str, Here]) -> None:
    """Macros that name what is not there or lead in a circle are wrong even where no rule uses them."""
    uses = {name: references(tree) for name, tree in macros.items() if tree is not None}
    for name, used in uses.items():
        for other, at in used.items():
            if other not in macros:
                hint = did_you_mean(other, macros)
                written[name].problem_inside("E204", f"macro {quoted(other)} is not defined", at, hint)
    circular = endless(uses)
    for name in sorted(circular):
        other, at = next((other, at) for other, at in uses[name].items() if other in circular)
        written[name].problem_inside("E136", f"macro {quoted(name)} never ends: macros.{other} leads in a circle", at)
    for name, used in uses.items():
        if name in circular or used.keys() - macros.keys():
            macros[name] = None


def endless(uses: Mapping[str, Mapping[str, object]]) -> set[str]:
    """Those that lead into a circle: what is left when whatever ends has been taken away, again and again."""
    users: dict[str, list[str]] = {}
    left = {name: sum(other in uses for other in used) for name, used in uses.items()}
    for name, used in uses.items():
        for other in used:
            users.setdefault(other, []).append(name)
    ending = [name for name, count in left.items() if count == 0]
    while ending:
        name = ending.pop()
        del left[name]
        for user in users.get(name, ()):
            left[user] -= 1
            if left[user] == 0:
                ending.append(user)
    return set(left)


def references(tree: Tree) -> dict[str, Span]:
    """The macros a tree names, each with its first place."""
    found: dict[str, Span] = {}
    for part in parts(tree):
        if isinstance(part, Name) and part.path.startswith("macros."):
            found.setdefault(part.path.removeprefix("macros."), part.span)
    return found


def read_calendar(name: str, here: Here, shared: Shared) -> WeekCalendar:
    clause = Clause.read(here, CALENDAR)
    days = [read_day(item, day) for item, day in clause.texts("days")]
    periods = [read_period(item, text) for item, text in clause.texts("times")]
    asked = clause.choice("holidays", (HOLIDAY_TABLE,), None)
    table = shared.context.holidays if asked else None
    if asked and table is None:
        clause.here.at(clause.entries["holidays"].value, "holidays").problem(
            "E212", f"no table of public holidays is at hand for {quoted(asked)}"
        )
    if not asked and {"workday", "holiday"}.intersection(days):
        days_here = clause.get("days")
        assert days_here is not None
        days_here.problem("E212", "workday and holiday need a table of public holidays", f"holidays: {HOLIDAY_TABLE}")
    whole_day = ((0, 24 * 60),)
    found = WeekCalendar(name, frozenset(days), tuple(p for p in periods if p) or whole_day, shared.zone, table)
    check_years(clause, found, shared)
    return found


def check_years(clause: Clause, calendar: WeekCalendar, shared: Shared) -> None:
    """A year without its table would be worked by the plain week, holidays and make-up days wrong."""
    missing = calendar.missing_years(shared.context.years or ())
    here = clause.get("holidays")
    if missing and here is not None:
        years = ", ".join(str(year) for year in missing)
        here.problem("E324", f"the table of public holidays lacks {years}", "add it to rules/tables/calendars.yaml")


def read_day(item: Here, day: str) -> str:
    if day not in DAY_WORDS:
        item.problem("E114", f"{quoted(day)} is no day", f"known here: {', '.join(DAY_WORDS)}")
    return day


def read_period(item: Here, text: str) -> tuple[int, int] | None:
    period = parse_period(text)
    if period is None:
        item.problem("E122", f"{quoted(text)} is no period", 'for example "07:00-09:30", or "22:00-06:00" for a night')
    return period
