"""`zhinao worker`: the Detectors and the Desk behind Faust, until told to stop."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import faust

from models.streams import DESK_TOPICS, DETECTOR_TOPICS, URGENT_DETECTIONS
from rules.incidents.desk import MOST_EARLY
from streams import logs
from streams.accounts import Accounts
from streams.agents.desk import PUMP_S, DeskAgent, OpenJournal
from streams.agents.detectors import DetectorAgent
from streams.bundle_topic import TopicSource, bundle_key, read_topic
from streams.canary import CanarySender, CanaryWatch, wanted, with_canaries
from streams.city import City, build_city, city_of
from streams.clock import Clock, SteadyClock
from streams.commands.failing import CannotRun
from streams.journal import FileJournal, Journal, TopicJournal
from streams.letterbox import KafkaPost, Letterbox
from streams.metrics import Metrics, Values
from streams.producer import Producer
from streams.publisher import Publisher
from streams.publishing import CENTRE_PARTITION
from streams.reloading import BundleStatus, FolderSource, Reloading, Source
from streams.settings import Settings, client_options, faust_credentials
from streams.store import FileStore, Store
from streams.topic_store import TopicStore
from streams.topics import full_name
from streams.transport import (
    BUFFERED_CHUNKS,
    MAX_CHUNK_RECORDS,
    TP,
    Flow,
    Records,
    ShellApp,
    bind_agent,
    create_app,
    die,
)
from streams.watched import Watched, watch
from streams.worker import run_worker

LANE_TICK_S = 0.25
"""How long a decision on a lane that has fallen silent may wait for the clock. The Desk's own tick is a second."""
DESK_EVERY = 4
PLAIN_CHUNK_RECORDS = 256
"""Without compiled loops a chunk is decided some ten times slower: on a busy machine a full one would hold the loop for
so long that the watchdog takes it for stuck."""
LOOK_S = 0.1
"""Between two looks at the topic of bundles."""
DESK_FIRST_S = 1.0
"""With bundles from the topic the Detectors switch so much later: what they tell of a new rule the Desk knows then."""
GC_THRESHOLDS = (100_000, 50, 100)
"""Some twenty batches of a thousand between two looks at the youngest objects."""


class Heart(faust.Service):
    """Connects the producer before anything flows, and tells the agents the time. `watched`: who watches all this.
    `canary`: sends some every so many seconds. `reloading`: who swaps the city, runs beside it."""

    def __init__(
        self,
        producer: Producer,
        agents: tuple[DetectorAgent, DeskAgent],
        flow: Flow,
        watched: Watched,
        accounts: Accounts,
        canary: tuple[CanarySender, float] | None = None,
        reloading: Reloading | None = None,
    ) -> None:
        self.reloading = reloading
        self.producer, self.agents, self.flow, self.watched = producer, agents, flow, watched
        self.accounts, self.canary = accounts, canary
        super().__init__()

    async def on_start(self) -> None:
        await self.producer.start()

    async def on_stop(self) -> None:
        await self.producer.stop()

    @faust.Service.task
    async def _beat(self) -> None:
        beats = 0
        while not self.should_stop:
            await self.sleep(LANE_TICK_S)
            beats += 1
            if not self.flow.assigned or self.should_stop:
                continue
            try:
                await self.agents[0].tick()
                if beats % DESK_EVERY == 0:
                    await self.agents[1].tick()
                    self.accounts.check(self.agents[1].clock.now_us())
            except Exception as why:  # noqa: BLE001 (state no longer follows the clock: only a restart mends that)
                die(why)

    @faust.Service.task
    async def _pump(self) -> None:
        while not self.should_stop:
            await self.sleep(PUMP_S)
            try:
                await self.agents[1].pump()
            except Exception as why:  # noqa: BLE001 (a step half done must be repeated from the journal)
                die(why)

    @faust.Service.task
    async def _send_canaries(self) -> None:
        while self.canary is not None and not self.should_stop:
            sender, every_s = self.canary
            await self.sleep(every_s)
            if self.flow.flowing and not self.should_stop:
                await sender.send(self.agents[0].held)


def live_city(settings: Settings) -> tuple[City, Source, BundleStatus]:
    """What is live at the start, and where the next comes from. Raises CityProblems, or CannotRun where the topic has
    no bundle."""
    if settings.bundle == "files":
        city = build_city(settings)
        return city, FolderSource.of(settings, city.files), BundleStatus(city.files.digest)
    topic, options = full_name("rules.bundle", settings.topic_prefix), client_options(settings)
    key = bundle_key(settings.topic_prefix, settings.centre)
    found = asyncio.run(read_topic(settings.servers or "", topic, key, options))
    if found.newest is None:
        raise CannotRun(f"ZHINAO_BUNDLE=topic, and {topic} has no bundle of {key}; run: zhinao rules publish")
    city = city_of(found.newest.files, settings)
    status = BundleStatus(city.files.digest, found.newest.revision)
    return city, TopicSource(settings.servers or "", topic, found, options), status


def build_worker(settings: Settings) -> tuple[ShellApp, Heart]:
    """The Faust app with both agents bound, and the service that must run beside it."""
    if settings.servers is None:
        raise click.UsageError("no broker: set KAFKA_URL=kafka://host:port, or run the demo, which brings its own")
    city, source, status = live_city(settings)
    city.prepare()
    clock = SteadyClock()
    detector_topics = [full_name(t, settings.topic_prefix) for t in DETECTOR_TOPICS]
    desk_topics = [full_name(t, settings.topic_prefix) for t in (*DESK_TOPICS, URGENT_DETECTIONS)]
    urgent = {full_name(t, settings.topic_prefix) for t in (*city.urgent_topics, URGENT_DETECTIONS)}
    chunk = MAX_CHUNK_RECORDS if city.compiled else PLAIN_CHUNK_RECORDS
    flow = Flow([detector_topics, desk_topics], fetch_wait_ms=settings.fetch_wait_ms, max_chunk_records=chunk)
    app = create_app(
        settings.group,
        settings.servers,
        flow,
        embedded=settings.embedded,
        credentials=faust_credentials(settings),
    )
    options = client_options(settings)
    producer = Producer(settings.servers, options=options)
    metrics = Metrics.of(city, settings.topic_prefix)
    box = Letterbox(
        KafkaPost(settings.servers, options=options),
        clock,
        on_wait=lambda tp: flow.pause([tp]),
        on_clear=lambda tp: flow.resume([tp]),
    )
    publisher = Publisher(producer, box, settings.topic_prefix, clock, city.zone, metrics)
    store, open_journal = stores(settings, producer)
    accounts = Accounts(
        {full_name(t, settings.topic_prefix): t for t in (*DETECTOR_TOPICS, *DESK_TOPICS, URGENT_DETECTIONS)}
    )
    watched_city, canary = city, None
    if wanted(settings):
        watched_city = with_canaries(city, settings.partitions)
        canary = CanarySender(publisher, clock, settings.partitions), settings.canary_s
    detectors = DetectorAgent(watched_city, settings, flow, publisher, store, clock, metrics, accounts)
    canaries = CanaryWatch(clock, settings.partitions)
    desk = DeskAgent(city, settings, flow, publisher, store, clock, metrics, open_journal, accounts, canaries)
    status.since_us = clock.now_us()
    watched = watch(settings, flow, metrics, status)
    read_state(metrics, detectors, desk, clock)
    read_checks(metrics, accounts, canaries if canary is not None else None, box)

    async def swap(other: City) -> None:
        """The Desk first: it must know a rule before a Detector tells of it."""
        metrics.follow(other)
        await desk.swap(other)
        if settings.bundle == "topic":  # the Desk may be another worker's, which reads the same record now
            await asyncio.sleep(DESK_FIRST_S)
        await detectors.swap(with_canaries(other, settings.partitions) if canary is not None else other)

    every_s = LOOK_S if settings.bundle == "topic" else settings.reload_s
    reloading = Reloading(source, settings, city, swap, status, clock, every_s) if every_s else None
    heart = Heart(producer, (detectors, desk), flow, watched, accounts, canary, reloading)

    def taken(tp: TP, records: Records) -> None:
        accounts.entered(tp, records.offsets, records.timestamps)

    async def assigned(tps: frozenset[TP]) -> Mapping[TP, int]:
        await heart.maybe_start()
        accounts.forget(accounts.sources)
        # At once: where a worker died while it saved, its tables of one partition wait for each other to be opened.
        starts = await asyncio.gather(detectors.assigned(tps), desk.assigned(tps))
        return {**starts[0], **starts[1]}

    async def revoked(tps: frozenset[TP]) -> None:
        await detectors.revoked(tps)
        await desk.revoked(tps)
        accounts.forget(accounts.sources)

    flow.on_assigned, flow.on_revoked, flow.on_taken = assigned, revoked, taken
    bound = []
    for name, topics, take in (("detectors", detector_topics, detectors.take), ("desk", desk_topics, desk.take)):
        # What life depends on has a queue of its own: it waits for one chunk of the others, not for all of them.
        bound.append(bind_agent(app, name, [topic for topic in topics if topic not in urgent], take))
        if first := urgent.intersection(topics):
            bound.append(bind_agent(app, f"{name}-urgent", sorted(first), take))
    metrics.buffer("chunks", len(bound) * (BUFFERED_CHUNKS + 2), lambda: flow.chunks)
    metrics.buffer("desk.early", MOST_EARLY, lambda: 0 if desk.opened is None else desk.opened.desk.early)
    return app, heart


def read_state(metrics: Metrics, detectors: DetectorAgent, desk: DeskAgent, clock: Clock) -> None:
    """What can be asked of the Detectors and the Desk whenever somebody scrapes."""

    def delays() -> Values:
        now_us = clock.now_us()
        return {
            (topic, str(partition)): (now_us - held.detector.watermark_us(topic)) / 1e6
            for partition, held in list(detectors.held.items())
            for topic in DETECTOR_TOPICS
            if held.detector.watermark_us(topic) > 0
        }

    def memory() -> Values:
        held = list(detectors.held.items())
        return {(f"detector/{partition}",): one.detector.memory().nbytes for partition, one in held}

    def entries() -> Values:
        held = [
            (f"detector/{partition}", one.detector.memory().runs) for partition, one in list(detectors.held.items())
        ]
        opened = [] if (is_open := desk.opened) is None else [(f"desk/{CENTRE_PARTITION}", is_open.desk.open_incidents)]
        return {(table,): number for table, number in (*held, *opened)}

    def evicted() -> Values:
        held = list(detectors.held.items())
        return {(f"detector/{partition}",): one.detector.memory().evicted for partition, one in held}

    metrics.reads("zhinao_watermark_delay_seconds", delays)
    metrics.reads("zhinao_memory_bytes", memory)
    metrics.reads("zhinao_memory_entries", entries)
    metrics.reads("zhinao_evicted_total", evicted)


def read_checks(metrics: Metrics, accounts: Accounts, canaries: CanaryWatch | None, box: Letterbox) -> None:
    """What the checks that run beside the work, and the letterbox, know. `canaries`: none where none is sent."""
    topics = (*DETECTOR_TOPICS, *DESK_TOPICS, URGENT_DETECTIONS)

    def mismatches() -> Values:
        """Zeros too: a counter that begins with 1 shows nobody an increase."""
        return {(topic,): accounts.mismatches[topic] for topic in topics}

    if canaries is not None:
        canaries.on_delay, missing_s = metrics.canary, canaries.missing_s
        metrics.reads("zhinao_canary_missing_seconds", lambda: {(str(p),): s for p, s in missing_s().items()})
    metrics.reads("zhinao_accounts_mismatch_total", mismatches)
    metrics.reads("zhinao_letters_unsent", lambda: {(): sum(box.waiting.values())})
    metrics.reads("zhinao_letters_unsent_seconds", lambda: {(): box.oldest_s})


def spare_the_collector() -> None:
    """A batch makes thousands of objects that die by counting references; looking among them for circles after every
    700 was a third of a Detector's time. What was loaded at the start stays and is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def stores(settings: Settings, producer: Producer) -> tuple[Store, OpenJournal]:
    """Files beside the embedded broker, which keeps nothing; topics with a real Kafka."""
    servers, options = settings.servers or "", client_options(settings)
    if settings.embedded:
        folder = Path(settings.state_dir)

        async def open_file(partition: int) -> Journal:
            return await FileJournal.open(folder / f"journal-{partition}", sync=False)

        return FileStore(folder / "store"), open_file

    async def open_topic(partition: int) -> Journal:
        topic = full_name("desk.journal", settings.topic_prefix)
        return await TopicJournal.open(servers, topic, partition, producer, options=options)

    return TopicStore(servers, full_name("state", settings.topic_prefix), options=options), open_topic


@click.command()
def worker() -> None:
    """检测与处置工作进程 / Run the Detectors and the Desk against Kafka; prints `ready` and its partitions."""
    settings = Settings.read()
    logs.install(settings.log_format, settings.timezone)
    app, heart = build_worker(settings)
    watched = heart.watched
    watched.serve(settings)

    spare_the_collector()

    def ready(tps: frozenset[TP]) -> None:
        partitions = sorted({tp.partition for tp in tps})
        desk = any(tp.partition == CENTRE_PARTITION for tp in tps)
        click.echo(f"ready partitions={','.join(map(str, partitions))} desk={'yes' if desk else 'no'}")
        sys.stdout.flush()

    sys.exit(
        run_worker(
            app,
            on_ready=ready,
            services=(heart,) if heart.reloading is None else (heart, heart.reloading),
            watchdog=watched.watchdog,
            log_format=settings.log_format,
            timezone=settings.timezone,
        )
    )
