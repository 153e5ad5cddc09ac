"""The Desk of a command centre behind one Faust agent over its topics, with its journal.

Inputs of several topics reach the Desk in no fixed order, so each step is journalled with the records it was fed and
acknowledged before anything it decides goes out. Recovery is the newest snapshot and the journal repeated from there:
the same steps make the same outputs, which go out again under a higher epoch for consumers to recognise.

Under the wall clock a chunk is a step. Under the stream clock (a recording being fed) a step is one second of the
recording (`streams.agents.queues`), several of them when it is behind. A worker that catches up after a restart thus
sees tickets and detections in the order in which they came to be, and decides what a replay decides.
"""

from __future__ import annotations

import asyncio
import gc
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from models.streams import DESK_TOPICS, DETECTOR_TOPICS, MEASUREMENTS, STATES, URGENT_DETECTIONS
from models.ticks import tick_us
from models.times import SECOND_US
from rules.incidents.desk import BINS, Desk, DeskOutcome, Output
from streams.accounts import Accounts
from streams.agents.queues import TURNED, Part, Queues, Step, kept, pieces
from streams.agents.saving import Save, Saving
from streams.agents.suspects import Suspects, refused
from streams.bundle import BadArchive, pack, short, unpack
from streams.canary import Canary, CanaryWatch, canary
from streams.city import City, CityProblems, city_of
from streams.clock import Clock
from streams.failpoints import Place, reach
from streams.journal import Journal, JournalError
from streams.metrics import Metrics
from streams.publisher import Publisher
from streams.publishing import CENTRE_PARTITION, dead_messages, desk_messages, shadow_messages, stray
from streams.settings import Settings
from streams.shadow import ShadowDesk
from streams.store import Store, Table
from streams.topics import full_name
from streams.transport import TP, Chunk, Flow, Record

OpenJournal = Callable[[int], Awaitable[Journal]]
PACE = 240
"""Under the stream clock: how many seconds of the recording are decided in one at most. A worker that catches up must
leave those who answer orders the time to do so: at this pace a tenth of a second is 24 of the recording's."""
PUMP_S = 0.05
STEP_RECORDS = 256
"""Under the wall clock: a step is decided in one go, at some 0.1 ms a record, and nothing else is done meanwhile."""
STEP = msgspec.msgpack.Decoder(Step)
TABLE = f"desk/{CENTRE_PARTITION}"
META, SUSPECTS, LETTERS = "shell/meta", "shell/suspects", "shell/letters"
SHADOW = "x/"
"""Begins the names of what the rules on trial remember."""
BUNDLE, BUNDLES = "shell/bundle", "shell/bundle/"
"""Entries of the table that are not the Desk's own. BUNDLE is the digest of the bundle that decided all that is stored,
BUNDLES begin the names of the archives of it and of those that the journal names after it."""


SUSPECTED = msgspec.msgpack.Decoder(dict[int, Suspects])


class Meta(msgspec.Struct):
    """The step of the journal to go on with after these entries, the offset of each topic (none: where Kafka says), and
    what is done beyond it."""

    journal: int = 0
    offsets: dict[str, int] = {}
    beyond: dict[str, list[int]] = {}


@dataclass(slots=True)
class Opened:
    """The Desk while its partition is ours."""

    desk: Desk
    table: Table
    journal: Journal
    offsets: dict[str, int]
    beyond: dict[str, set[int]]
    """By topic that is not fed in its own order: what was fed though something before it waits. Who reads from
    `offsets` must not feed these a second time: what was refused would be refused twice."""
    suspects: dict[int, Suspects]
    """By step of the journal on which the core failed; places are numbers of the step's records."""
    letters_kept: bool
    bundle: str = ""
    """Which one decides now."""
    archives: dict[str, bytes] = field(default_factory=dict)
    """Of the bundles that the table holds, by digest."""
    shadow: ShadowDesk | None = None
    shadow_names: set[str] = field(default_factory=set)
    """Of its entries in the table."""

    def fed(self, topic: str, records: Sequence[Record]) -> None:
        if topic in self.beyond:
            self.beyond[topic].update(record.offset for record in records)

    def move(self, offsets: Mapping[str, int]) -> None:
        """Who comes after us goes on from here."""
        for topic, done in self.beyond.items():
            if topic in offsets and offsets[topic] != self.offsets.get(topic):
                self.beyond[topic] = {offset for offset in done if offset >= offsets[topic]}
        self.offsets.update(offsets)


class DeskAgent:
    def __init__(
        self,
        city: City,
        settings: Settings,
        flow: Flow,
        publisher: Publisher,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        open_journal: OpenJournal,
        accounts: Accounts | None = None,
        canaries: CanaryWatch | None = None,
    ) -> None:
        self.city, self.settings, self.flow, self.metrics = city, settings, flow, metrics
        self.accounts = Accounts() if accounts is None else accounts
        self.canaries = CanaryWatch(clock, settings.partitions) if canaries is None else canaries
        self.publisher, self.store, self.clock, self.open_journal = publisher, store, clock, open_journal
        self.topics = {full_name(name, settings.topic_prefix): name for name in (*DESK_TOPICS, URGENT_DETECTIONS)}
        self.opened: Opened | None = None
        self.queues = self._queues()
        self.lock = asyncio.Lock()
        self.journalled = 0
        self.repeating = False
        self.saving = self._saving()
        self.counts: dict[str, int] = defaultdict(int)
        self.strays: dict[TP, int] = {}
        self.leaving = False

    def _saving(self) -> Saving:
        return Saving(self._snapshot, self._settled, self.lock, self.clock, self.settings.store_every_s)

    @property
    def tps(self) -> list[TP]:
        return [TP(full, CENTRE_PARTITION) for full in self.topics]

    def _queues(self) -> Queues:
        return Queues(
            DESK_TOPICS,
            self.settings.partitions,
            self.settings.topic_prefix,
            lateness_of(self.city),
        )

    # assignment

    async def assigned(self, tps: frozenset[TP]) -> Mapping[TP, int]:
        """Take table and journal over, repeat the journal from where the table is; gives where to go on reading."""
        mine = sorted(full for full in self.topics if TP(full, CENTRE_PARTITION) in tps)
        self.strays.clear()
        self.leaving = False
        await self._close()
        if not mine:
            return {}
        table, entries = await self.store.open(TABLE)
        try:
            journal = await self.open_journal(CENTRE_PARTITION)
        except BaseException:
            await table.close()
            raise
        meta = msgspec.json.decode(entries.pop(META, b"{}"), type=Meta)
        suspects = SUSPECTED.decode(entries.pop(SUSPECTS, b"\x80"))
        letters = entries.pop(LETTERS, None)
        if letters is not None:
            self.publisher.post_kept(letters)
        now, archives = entries.pop(BUNDLE, b"").decode(), taken_out(entries, BUNDLES)
        on_trial = taken_out(entries, SHADOW)
        city = await self._city_of(now, archives) if now else self.city
        beyond = {topic: set(meta.beyond.get(topic, ())) for topic in TURNED}
        self.opened = Opened(
            city.desk(), table, journal, meta.offsets, beyond, suspects, letters is not None, now, archives
        )
        self.opened.shadow, self.opened.shadow_names = ShadowDesk.of(city), set(on_trial)
        self.queues = self._queues()
        with no_collecting():
            if entries:
                self.opened.desk.restore(entries)
            if on_trial and self.opened.shadow is not None:
                self.opened.shadow.desk.restore(on_trial)
        self.journalled, self.repeating = meta.journal, True
        async for at, data in journal.read_from(meta.journal):
            step = STEP.decode(data)
            if step.bundle:
                self._use(await self._city_of(step.bundle, archives))
            await self._do(step, at)
            self.journalled = at + 1
        async with self.lock:
            self.repeating = False
            await self._switch()
        self.metrics.current(TABLE)
        self.saving = self._saving()
        self.saving.changed = True
        self.queues.done_us = self.opened.desk.now_us
        self.queues.beyond = {topic: frozenset(done) for topic, done in self.opened.beyond.items()}
        self.canaries.begin()
        offsets = self.opened.offsets
        return {TP(full, CENTRE_PARTITION): offsets[self.topics[full]] for full in mine if self.topics[full] in offsets}

    async def revoked(self, tps: frozenset[TP]) -> None:
        """Store before the partition goes, and let the journal go."""
        if any(tp.topic in self.topics and tp.partition == CENTRE_PARTITION for tp in tps):
            self.leaving = True  # a step after the last save would be said again by whoever comes after us
            await self.saving.last()
            async with self.lock:
                await self._close()
        self.strays.clear()
        await self.publisher.forget([tp for tp in tps if tp.topic in self.topics])

    async def _close(self) -> None:
        if self.opened is not None:
            opened, self.opened = self.opened, None
            self.canaries.end()
            await self.publisher.forget(self.tps)
            self.metrics.closed(TABLE)
            await opened.journal.close()
            await opened.table.close()

    # bundles

    async def swap(self, city: City) -> None:
        """From the next step on this city decides."""
        async with self.lock:
            self.city = city
            if self.opened is not None and not self.repeating and not self.leaving:
                await self._switch()

    async def _switch(self) -> None:
        """Where another bundle is live than decided so far: what the old one decided is stored, the new one is kept
        beside it, and then the journal says that it decides from here on."""
        opened, city = self.opened, self.city
        if opened is None or opened.bundle == city.files.digest:
            return
        await self.saving.written()
        await self._settled()
        save = self._snapshot()
        if save is not None:
            await save
        digest, archive = city.files.digest, await asyncio.to_thread(pack, city.files)
        await opened.table.save({BUNDLES + digest: archive})
        opened.archives[digest] = archive
        at = await opened.journal.append(msgspec.msgpack.encode(Step([], {}, digest)))
        reach(Place.JOURNALLED)
        self._use(city)
        self.journalled, self.saving.changed = at + 1, True

    def _use(self, city: City) -> None:
        """A Desk of this city goes on where the other was."""
        assert self.opened is not None
        desk = city.desk()
        desk.restore(self.opened.desk.snapshot())
        self.opened.desk, self.opened.bundle = desk, city.files.digest
        shadow, before = ShadowDesk.of(city), self.opened.shadow
        if shadow is not None and before is not None and not before.failed:
            shadow.desk.restore(before.desk.snapshot())
        self.opened.shadow = shadow
        self.queues.lateness_us = lateness_of(city)

    async def _city_of(self, digest: str, archives: Mapping[str, bytes]) -> City:
        """The city of a bundle that the table or the journal names."""
        if digest == self.city.files.digest:
            return self.city
        try:
            files = await asyncio.to_thread(unpack, archives[digest], digest)
            return await asyncio.to_thread(city_of, files, self.settings)
        except (KeyError, BadArchive, CityProblems) as why:
            raise JournalError(
                f"{TABLE}: steps were decided by the bundle {short(digest)}, which "
                f"{'is not there' if isinstance(why, KeyError) else f'cannot be used: {why}'}. "
                "Start a worker with its files, as they were"
            ) from why

    # steps

    async def take(self, chunk: Chunk) -> None:
        """Journal what is due as steps, do them, send what they decide."""
        topic = self.topics[chunk.topic]
        if chunk.partition != CENTRE_PARTITION:
            await self._astray(topic, chunk)
            return
        self._apart(chunk, "clock", [r for r in chunk.records if tick_us(r) is not None])
        if self.settings.clock == "stream" and topic in DESK_TOPICS:
            self._apart(chunk, "duplicate", self.queues.put(topic, chunk))
            return
        returned = canaries_among(topic, chunk)
        self._apart(chunk, "canary", [r for r in chunk.records if r.offset in returned])
        records = [kept(r) for r in chunk.records if tick_us(r) is None and r.offset not in returned]
        for first in range(0, max(len(records), 1), STEP_RECORDS):
            some, last = records[first : first + STEP_RECORDS], first + STEP_RECORDS >= len(records)
            async with self.lock:
                await self._step(Step([Part([(topic, some)], None)], {topic: chunk.next_offset} if last else {}))
        self.canaries.back(list(returned.values()))
        await self.saving.when_due()

    async def pump(self) -> None:
        """Under the stream clock, every `PUMP_S`: do what is due, at the pace."""
        async with self.lock:
            if self.opened is not None and not self.leaving and self.settings.clock == "stream":
                step = self.queues.due(round(PACE * PUMP_S * SECOND_US))
                if step.parts:
                    await self._step(step)
                else:
                    self._passed_by(step.offsets)

    def _passed_by(self, offsets: Mapping[str, int]) -> None:
        """Only clock records that move nothing: no step, but the table and Kafka must know that they are behind us."""
        assert self.opened is not None
        moved = {topic: at for topic, at in offsets.items() if self.opened.offsets.get(topic, -1) < at}
        if moved:
            self.opened.move(moved)
            self.saving.changed = True
        for topic, at in moved.items():
            self.accounts.finished(self._tp(topic), at)

    async def tick(self) -> None:
        """Once a second: the wall clock is a step of its own; state is stored when it is due."""
        self._let_strays_go()
        if self.opened is None:
            return
        if self.settings.clock == "wall":
            async with self.lock:
                if self.leaving:
                    return
                if self.opened is not None:
                    await self._step(Step([Part([], self.clock.now_us())], {}))
        if not self.saving.changed:
            self.metrics.current(TABLE)
        await self.saving.when_due()

    async def _step(self, step: Step) -> None:
        assert self.opened is not None
        for piece in pieces(step):
            began_s = self.clock.monotonic_s()
            at = await self.opened.journal.append(msgspec.msgpack.encode(piece))
            self.metrics.step(at, self.opened.journal.epoch(), self.clock.monotonic_s() - began_s)
            reach(Place.JOURNALLED)
            await self._do(piece, at, self.accounts)
            self.journalled, self.saving.changed = at + 1, True
        for topic, offset in step.offsets.items():
            self.accounts.finished(self._tp(topic), offset)

    async def _do(self, step: Step, at: int, accounts: Accounts | None = None) -> None:
        """`accounts`: none while the journal is repeated, whose records were not fetched anew."""
        assert self.opened is not None
        done = 0
        for part in step.parts:
            for topic, group in part.groups:
                records = [Record(o, t, k, v, tuple(h)) for o, t, k, v, h in group]
                await self._feed(topic, records, at, done, accounts)
                self.opened.fed(topic, records)
                done += len(records)
            if part.advance_us is not None:
                await self._send(self.opened.desk.advance(part.advance_us), at)
                if self.opened.shadow is not None:
                    await self._send_shadow(self.opened.shadow.advance(part.advance_us), at)
        self.opened.move(step.offsets)

    async def _feed(
        self, topic: str, records: Sequence[Record], at: int, first: int, accounts: Accounts | None
    ) -> None:
        """`first`: the number of the first of them in its step."""
        assert self.opened is not None
        suspects = self.opened.suspects.get(at, Suspects())
        places = range(first, first + len(records))
        for some in suspects.fed_together(places):
            fed, began_s = records[some], self.clock.monotonic_s()
            if len(fed) == 1 and places[some][0] in suspects.bad:
                outcome = DeskOutcome(failures=[refused(0, topic)], counts={"dead": 1})
            else:
                try:
                    outcome = self.opened.desk.feed("detections" if topic == URGENT_DETECTIONS else topic, fed)
                except Exception:
                    await self._suspect(at, suspects.failed(places[some]))
                    raise
            took_s = self.clock.monotonic_s() - began_s
            letters = dead_messages(outcome.failures, fed, topic, CENTRE_PARTITION, self.city.letters)
            self.publisher.post(self._tp(topic), letters)
            await self._send(outcome, at)
            if self.opened.shadow is not None:
                await self._send_shadow(self.opened.shadow.feed(topic, fed), at)
            if accounts is not None:
                bins = {name: outcome.counts[name] for name in BINS if name in outcome.counts}
                offsets, stamps = [r.offset for r in fed], [r.timestamp for r in fed]
                accounts.left_counted(self._tp(topic), offsets, stamps, bins)
                dead = [failure.reason for failure in outcome.failures]
                self.metrics.chunk(topic, CENTRE_PARTITION, len(fed), bins, dead=dead, seconds=took_s)

    async def _suspect(self, at: int, suspects: Suspects) -> None:
        """For whoever goes on after us; only this: the Desk we hold may be half changed."""
        assert self.opened is not None
        self.opened.suspects[at] = suspects
        await self.saving.written()
        await self.opened.table.save({SUSPECTS: msgspec.msgpack.encode(self.opened.suspects)})

    async def _send(self, outcome: DeskOutcome, at: int) -> None:
        assert self.opened is not None
        await self.publisher.send(desk_messages(outcome.outputs), epoch=self.opened.journal.epoch(), seq=at)
        reach(Place.STEP_SENT)
        if not self.repeating:
            self.metrics.decided(outcome.outputs, outcome.counts)
        for name, count in outcome.counts.items():
            self.counts[name] += count

    async def _send_shadow(self, outputs: Sequence[Output], at: int) -> None:
        assert self.opened is not None
        if not outputs:
            return
        await self.publisher.send(shadow_messages(outputs), epoch=self.opened.journal.epoch(), seq=at)
        if not self.repeating:
            self.metrics.tried(outputs)

    async def _astray(self, topic: str, chunk: Chunk) -> None:
        """Everything for this command centre belongs on its partition; clock records may stand on any."""
        strays = [stray(n, topic, r.key, chunk.partition) for n, r in enumerate(chunk.records) if tick_us(r) is None]
        self.publisher.post(chunk.tp, dead_messages(strays, chunk.records, topic, chunk.partition, self.city.letters))
        reasons = [stray.reason for stray in strays]
        self.metrics.chunk(topic, chunk.partition, len(chunk), {"dead": len(strays)}, dead=reasons)
        self.counts["dead"] += len(strays)
        self._apart(chunk, "dead", [chunk.records[stray.record] for stray in strays])
        self._apart(chunk, "clock", [r for r in chunk.records if tick_us(r) is not None])
        self.accounts.finished(chunk.tp, chunk.next_offset)
        self.strays[chunk.tp] = chunk.next_offset
        self._let_strays_go()

    def _let_strays_go(self) -> None:
        """Offsets of partitions that are not ours to read follow when their letters are gone."""
        for tp in [tp for tp in self.strays if not self.publisher.waiting(tp)]:
            offset = self.strays.pop(tp)
            if tp in self.flow.assigned:
                self.flow.stored(tp, offset)

    def _apart(self, chunk: Chunk, bin_name: str, records: Sequence[Record]) -> None:
        """These of the chunk have come to their end, and not by a step."""
        self.accounts.left(chunk.tp, [r.offset for r in records], [r.timestamp for r in records], **{bin_name: None})

    def _tp(self, topic: str) -> TP:
        return TP(full_name(topic, self.settings.topic_prefix), CENTRE_PARTITION)

    # state

    async def _settled(self) -> None:
        await self.publisher.posted(self.tps)

    def _snapshot(self) -> Save | None:
        """What changed of the Desk, with its place in the journal; when it is stored Kafka may commit up to its
        offsets."""
        opened = self.opened
        if opened is None:
            return None
        beyond = {topic: sorted(done) for topic, done in opened.beyond.items() if done}
        meta, changes = Meta(self.journalled, dict(opened.offsets), beyond), opened.desk.changes()
        changes[META] = msgspec.json.encode(meta)
        changes[BUNDLE] = opened.bundle.encode()
        changes |= self._of_shadow(opened)
        for digest in [digest for digest in opened.archives if digest != opened.bundle]:
            del opened.archives[digest]
            changes[BUNDLES + digest] = None
        letters = self.publisher.kept(self.tps)  # what is stored is not said again by the journal
        if letters is not None or opened.letters_kept:
            changes[LETTERS] = letters
            opened.letters_kept = letters is not None
            self.saving.changed = opened.letters_kept
        behind = [at for at in opened.suspects if at < meta.journal]
        if behind:
            for at in behind:
                del opened.suspects[at]
            changes[SUSPECTS] = msgspec.msgpack.encode(opened.suspects) if opened.suspects else None
        return self._save(opened, changes, meta)

    @staticmethod
    def _of_shadow(opened: Opened) -> dict[str, bytes | None]:
        """What rules on trial remember is little: it is stored as it is, not by what changed."""
        live = opened.shadow is not None and not opened.shadow.failed
        held = opened.shadow.desk.snapshot() if live and opened.shadow is not None else {}
        changes: dict[str, bytes | None] = {SHADOW + name: entry for name, entry in held.items()}
        changes |= {SHADOW + name: None for name in opened.shadow_names - held.keys()}
        opened.shadow_names = set(held)
        return changes

    async def _save(self, opened: Opened, changes: Mapping[str, bytes | None], meta: Meta) -> None:
        began_s = self.clock.monotonic_s()
        await opened.table.save(changes)
        reach(Place.SAVED)
        nbytes = sum(len(entry or b"") for entry in changes.values())
        self.metrics.saved(TABLE, nbytes, len(changes), self.clock.monotonic_s() - began_s)
        for full, name in self.topics.items():
            tp = TP(full, CENTRE_PARTITION)
            if name in meta.offsets and tp in self.flow.assigned:
                self.flow.stored(tp, min(meta.offsets[name], self.flow.position(tp) or 0))
        await opened.journal.trim(meta.journal)
        reach(Place.TRIMMED)


def lateness_of(city: City) -> dict[str, int]:
    """By the source that a detection names; states are made when the watermark of what they are made of passes."""
    found = {name: city.bundle.lateness_of(name) for name in DETECTOR_TOPICS}
    return {**found, STATES: found[MEASUREMENTS]}


def taken_out(entries: dict[str, bytes], prefix: str) -> dict[str, bytes]:
    """Those whose names begin so, by the rest of their names; they are entries no more."""
    names = [name for name in entries if name.startswith(prefix)]
    return {name.removeprefix(prefix): entries.pop(name) for name in names}


def canaries_among(topic: str, chunk: Chunk) -> dict[int, Canary]:
    """By offset; the core must not see them."""
    if topic != "detections":
        return {}
    return {record.offset: found for record in chunk.records if (found := canary(record)) is not None}


@contextmanager
def no_collecting() -> Iterator[None]:
    """Millions of objects that stay are made: nothing among them is to be collected."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
            gc.freeze()


def elsewhere(entries: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same on another broker, whose offsets and journal are others: it repeats the journal there from its start and
    goes on where that broker's group says."""
    return {key: entry for key, entry in entries.items() if key not in (META, SUSPECTS, LETTERS)}


def step_elsewhere(step: bytes) -> bytes:
    """A step of the journal, the same way."""
    return msgspec.msgpack.encode(STEP.decode(step)._replace(offsets={}))
