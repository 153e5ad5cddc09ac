"""New rules, zones, registry or tables in a worker that goes on: watch where they come from, check the whole, swap.

Whatever is wrong with them, the old ones stay live: it is told once for each content, with every place. A bundle that
is refused costs nothing but that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import faust

from models.problems import Place, Problem
from streams.bundle import Files, read_files, short
from streams.city import City, CityProblems, city_of
from streams.clock import Clock
from streams.settings import Settings
from streams.transport import die

log = logging.getLogger(f"{__name__}.bundles")  # Faust has the module's own, and tells of each start and stop there
log.setLevel(logging.INFO)  # which rules decide is told whatever the level of the rest

EMPTIED = "B106"
MOST_TOLD = 20
"""Problems of one refused bundle that the log has; `zhinao rules check` has all."""


@dataclass(slots=True)
class BundleStatus:
    """Which bundle is live, and what is wrong with the one that would be. Read by any thread."""

    digest: str
    revision: int | None = None
    """Of bundles from the topic."""
    since_us: int = 0
    swaps: int = 0
    refusals: int = 0
    problems: list[Problem] = field(default_factory=list)
    """Of the newest one, if it was refused; empty: the newest one is live."""

    def facts(self) -> dict[str, object]:
        """For /healthz."""
        first = self.problems[0] if self.problems else None
        place = None if first is None else f"{first.place.file}:{first.place.line}:{first.place.column}"
        return {
            "bundle": self.digest,
            "bundle_revision": self.revision,
            "bundle_rejected": None if first is None else f"{place}: {first.code}",
        }


class Coming(Protocol):
    """A bundle that would be live."""

    @property
    def files(self) -> Files: ...
    @property
    def revision(self) -> int | None: ...
    @property
    def where(self) -> str | None:
        """The record it came with."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Files of folders that have stood still."""

    files: Files
    revision: int | None = None
    where: str | None = None


class Source(Protocol):
    """Where bundles come from."""

    async def next(self) -> Coming | None:
        """One that was not given yet; None: there is none now."""
        ...

    async def close(self) -> None: ...


class FolderSource:
    """The folders of the settings: what two readings in a row find the same is given, once."""

    def __init__(self, read: Callable[[], Files], given: str) -> None:
        """`given`: the digest of what is live."""
        self.read, self.given, self.before = read, given, given

    @classmethod
    def of(cls, settings: Settings, live: Files) -> FolderSource:
        paths = settings.rules, settings.zones, settings.registry, settings.tables
        return cls(lambda: read_files(*paths), live.digest)

    async def next(self) -> Settled | None:
        files = await asyncio.to_thread(self.read)
        digest, before = files.digest, self.before
        self.before = digest
        if digest != before or digest == self.given:
            return None
        self.given = digest
        return Settled(files)

    async def close(self) -> None:
        """Nothing stays open."""


class Reloading(faust.Service):
    """Asks the source every `every_s`; a good bundle goes to `swap`, in a worker that has started."""

    def __init__(
        self,
        source: Source,
        settings: Settings,
        city: City,
        swap: Callable[[City], Awaitable[None]],
        status: BundleStatus,
        clock: Clock,
        every_s: float,
    ) -> None:
        self.source, self.settings, self.city, self.swap = source, settings, city, swap
        self.status, self.clock, self.every_s = status, clock, every_s
        super().__init__()

    async def on_stop(self) -> None:
        await self.source.close()

    @faust.Service.task
    async def _follow(self) -> None:
        while not self.should_stop:
            await self.sleep(self.every_s)
            try:
                await self.turn()
            except Exception as why:  # noqa: BLE001 (a swap half done: only a restart mends that)
                die(why)

    async def turn(self) -> None:
        """One look."""
        coming = await self.source.next()
        if coming is None:
            return
        if coming.files.digest == self.status.digest:
            self._live(coming)
            return
        try:
            city = await asyncio.to_thread(city_of, coming.files, self.settings)
        except CityProblems as why:
            self._refused(coming, why.problems)
            return
        if problems := emptied(self.city, city):
            self._refused(coming, problems)
            return
        await asyncio.to_thread(city.prepare)
        await self.swap(city)
        self.city = city
        self.status.swaps += 1
        self._live(coming)
        count, at = len(city.bundle.rules), "" if coming.where is None else f", from {coming.where}"
        log.info("规则包已换 / bundle %s is live: %d rules%s", short(self.status.digest), count, at)

    def _live(self, coming: Coming) -> None:
        self.status.digest, self.status.revision = coming.files.digest, coming.revision
        self.status.since_us, self.status.problems = self.clock.now_us(), []

    def _refused(self, coming: Coming, problems: list[Problem]) -> None:
        errors = [problem for problem in problems if problem.severity == "error"]
        self.status.refusals += 1
        self.status.problems = errors
        told = "\n".join(problem.text() for problem in errors[:MOST_TOLD])
        log.error(
            "规则包未采用，仍用原来的 / bundle %s is refused, %s stays live: %d errors\n%s",
            short(coming.files.digest),
            short(self.status.digest),
            len(errors),
            told,
        )


def emptied(live: City, city: City) -> list[Problem]:
    """Files that had rules and are there still, with none: cut short before the first of them, as it seems."""
    before, now = rules_by_file(live), rules_by_file(city)
    return [
        Problem(
            place=Place(file.shown),
            code=EMPTIED,
            message=f"the file had {before[file.shown]} rules and has none now",
            hint="to be without its rules, delete it, or make them drafts",
        )
        for file in city.files.of("rules")
        if before[file.shown] and not now[file.shown]
    ]


def rules_by_file(city: City) -> Counter[str]:
    return Counter(rule.place.file for rule in city.bundle.rules)
