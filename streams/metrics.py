"""Every metric there is, and the one object that the worker counts with. Numbers only: no id of a person, a plate, an
incident or a sensor is ever a label, and every label has a bounded set of values.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from models.detections import Detection
from models.dispatch import DispatchOrder, VerificationResult
from models.incidents import Incident
from streams import logs
from streams.city import City
from streams.topics import short_name
from streams.transport import TP
from streams.watchdog import Watchdog

# A gauge for every counter's birth would double the output and says nothing that the process's start does not.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

Kind = Literal["counter", "gauge", "histogram", "read gauge", "read counter"]
"""`read`: asked when somebody looks, see `Metrics.reads`."""
Values = Mapping[tuple[str, ...], float]
"""Label values, in the order of the metric's labels → number."""
BINS = ("used", "filtered", "duplicate", "late", "dead")
STAGES = ("decide", "send", "journal", "store")
OTHER = "other"
"""Stands for a rule or type that the bundle and the tables do not know."""

STAGE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LATENESS_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 604_800.0)
STALL_S = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
CANARY_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
STALL_WINDOW_BEATS = 120
"""The greatest stall is that of the last half to whole minute: a scrape every 15 s cannot miss one."""


@dataclass(frozen=True, slots=True)
class Spec:
    name: str
    kind: Kind
    labels: tuple[str, ...]
    zh: str
    en: str
    buckets: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        return f"{self.zh} / {self.en}"


TP_LABELS = ("topic", "partition")
CATALOGUE: dict[str, Spec] = {
    spec.name: spec
    for spec in (
        Spec("zhinao_records_total", "counter", TP_LABELS, "读入的记录", "records read"),
        Spec("zhinao_bins_total", "counter", ("topic", "bin"), "记录的去向", "where records ended"),
        Spec("zhinao_dead_letters_total", "counter", ("topic", "reason"), "死信", "dead letters"),
        Spec("zhinao_lateness_seconds", "histogram", ("topic",),
             "迟到记录迟了多久", "how late late records were", LATENESS_S),
        Spec("zhinao_detections_total", "counter", ("rule", "kind"), "检测结果", "detections"),
        Spec("zhinao_incident_changes_total", "counter", ("type", "state"),
             "事件变更，state 为变更后状态", "changes of incidents, by the state after it"),
        Spec("zhinao_incidents_opened_total", "counter", ("type",), "新立事件", "incidents opened"),
        Spec("zhinao_shadow_incidents_total", "counter", ("rule",),
             "试运行规则会立的事件", "incidents that rules on trial would have opened"),
        Spec("zhinao_orders_total", "counter", ("reason",), "派单", "dispatch orders"),
        Spec("zhinao_verifications_total", "counter", ("verdict",), "核查结论", "verdicts of verifications"),
        Spec("zhinao_noted_total", "counter", ("note",), "处置台另外记下的数", "what the Desk counts besides"),
        Spec("zhinao_published_total", "counter", ("topic",), "已确认发布的记录", "records published and acknowledged"),
        Spec("zhinao_stage_seconds", "histogram", ("stage",), "各步用时", "time a stage takes", STAGE_S),
        Spec("zhinao_lag_records", "read gauge", TP_LABELS, "未处理完的记录", "records not finished"),
        Spec("zhinao_idle_seconds", "read gauge", TP_LABELS, "有积压而无进展多久", "with lag and without progress for"),
        Spec("zhinao_watermark_delay_seconds", "read gauge", TP_LABELS,
             "水位线落后于时钟", "watermark behind the wall clock"),
        Spec("zhinao_saves_total", "counter", ("table",), "完整保存次数", "complete saves"),
        Spec("zhinao_state_bytes", "gauge", ("table",), "上次保存写下的大小", "bytes that the last save wrote"),
        Spec("zhinao_state_entries", "gauge", ("table",), "上次保存写下的条目", "entries that the last save wrote"),
        Spec("zhinao_store_age_seconds", "read gauge", ("table",),
             "状态距上次完整保存", "since the last complete save of what changed"),
        Spec("zhinao_memory_bytes", "read gauge", ("table",), "状态占用内存", "memory that live state takes"),
        Spec("zhinao_memory_entries", "read gauge", ("table",),
             "状态条目：轨迹段、未结事件", "live entries of state: runs, open incidents"),
        Spec("zhinao_evicted_total", "read counter", ("table",),
             "因过多而清出的状态", "state let go because there was too much"),
        Spec("zhinao_loop_stall_seconds", "histogram", (), "事件循环迟滞", "lateness of the loop's beats", STALL_S),
        Spec("zhinao_loop_stall_max_seconds", "read gauge", (),
             "近一分钟最大迟滞", "the greatest stall of the last minute"),
        Spec("zhinao_buffer_entries", "read gauge", ("buffer",), "缓冲占用", "entries of a buffer"),
        Spec("zhinao_buffer_limit", "read gauge", ("buffer",), "缓冲上限", "limit of a buffer"),
        Spec("zhinao_buffer_dropped_total", "counter", ("buffer",), "缓冲丢弃", "dropped or evicted from a buffer"),
        Spec("zhinao_letters_waiting", "read gauge", (),
             "因死信未送出而暂停的分区", "partitions on hold for letters that wait"),
        Spec("zhinao_letters_waiting_seconds", "read gauge", (), "暂停最久的分区", "the longest of these holds"),
        Spec("zhinao_letters_unsent", "read gauge", (), "未送出的死信与迟到记录", "letters that are not sent yet"),
        Spec("zhinao_letters_unsent_seconds", "read gauge", (), "其中最久的一封", "the oldest of them"),
        Spec("zhinao_journal_position", "gauge", (), "日志位置", "position in the journal"),
        Spec("zhinao_journal_epoch", "gauge", (), "日志纪元", "epoch of the journal"),
        Spec("zhinao_group_generation", "read gauge", (), "消费组代次", "generation of the group"),
        Spec("zhinao_rebalances_total", "read counter", (), "重新分配次数", "rebalances"),
        Spec("zhinao_partitions_assigned", "read gauge", (), "分到的分区", "partitions assigned"),
        Spec("zhinao_without_partitions_seconds", "read gauge", (),
             "无记录可流多久", "for how long no records could flow"),
        Spec("zhinao_broker_silent_seconds", "read gauge", (),
             "Kafka 不应答多久", "for how long the broker has not answered"),
        Spec("zhinao_lost_records_total", "read counter", (),
             "因保留期已失的偏移", "offsets gone before they were read"),
        Spec("zhinao_accounts_mismatch_total", "read counter", ("topic",),
             "收支对不上的次数", "times the accounts did not match"),
        Spec("zhinao_canary_delay_seconds", "histogram", ("partition",),
             "自检事件从发出到处置台", "from a canary's reading to the Desk", CANARY_S),
        Spec("zhinao_canary_missing_seconds", "read gauge", ("partition",),
             "多久没有自检事件回来", "since a canary last came back"),
        Spec("zhinao_clock_steps_total", "read counter", (), "系统时钟被拨动", "steps of the wall clock"),
        Spec("zhinao_rules_bundle_info", "read gauge", ("digest",), "在用的规则包", "1 for the bundle that is live"),
        Spec("zhinao_rules_bundle_rejected", "read gauge", (),
             "1 为最新的规则包未通过检查", "1: the newest bundle was refused, an older one is live"),
        Spec("zhinao_rules_bundle_swaps_total", "read counter", (), "换过几次规则包", "bundles swapped in"),
        Spec("zhinao_rules_bundle_refusals_total", "read counter", (), "未采用的规则包", "bundles refused"),
        Spec("zhinao_unhealthy", "read gauge", ("cause",), "1 为该项不健康", "1: unhealthy for this cause"),
        Spec("zhinao_log_lines_held_back_total", "read counter", (),
             "因重复未写出的日志", "log lines held back as repeats"),
        Spec("zhinao_scrape_failures_total", "counter", (), "取数失败", "values that could not be read"),
        Spec("zhinao_process_virtual_memory_bytes", "read gauge", (), "虚拟内存", "virtual memory"),
        Spec("zhinao_process_resident_memory_bytes", "read gauge", (), "常驻内存", "resident memory"),
        Spec("zhinao_process_start_time_seconds", "read gauge", (), "进程启动时刻", "start of the process"),
        Spec("zhinao_process_cpu_seconds_total", "read counter", (), "处理器用时", "processor time"),
        Spec("zhinao_process_open_fds", "read gauge", (), "打开的文件", "open files"),
        Spec("zhinao_process_max_fds", "read gauge", (), "文件上限", "limit of open files"),
    )
}  # fmt: skip


class Output(Protocol):
    """What the Desk publishes."""

    @property
    def value(self) -> object: ...


class Sendable(Protocol):
    """What is published."""

    @property
    def topic(self) -> str: ...


class Metrics:
    """What a worker counts, in a registry of its own. `rules` and `types` bound those labels; `prefix` is that of
    topic names.

    Topics are short names, seconds are measured by the caller. None of it is called while a journal is repeated: that
    was counted when it happened. What to call, all of it on the loop, once a chunk or step and never once a record:

    | where | call |
    | --- | --- |
    | a Detector or the Desk took a chunk | `chunk(topic, partition, records, bins, dead=…, late_us=…, seconds=…)` |
    | with what a Detector told (also on its ticks) | `detected(detections)` |
    | with what the Desk decided (also on its ticks) | `decided(outputs, counts)` |
    | with what rules on trial would have made | `tried(outputs)` |
    | messages were acknowledged | `sent(messages, seconds)` |
    | a step is in the journal | `step(position, epoch, seconds)` |
    | a save is complete, of `detector/3` or `desk/0` | `saved(table, nbytes, entries, seconds)` |
    | a save was due and nothing had changed; state was loaded | `current(table)` |
    | its partition went | `closed(table)` |
    | a canary came back | `canary(partition, delay_s)` |
    | something bounded let go of entries | `dropped(buffer, number)` |
    | once, when it is made | `buffer(name, limit, size)`, `reads(name, read)`, `watch(watchdog)` |
    """

    def __init__(
        self,
        *,
        prefix: str = "zhinao",
        rules: Iterable[str] = (),
        types: Iterable[str] = (),
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = CollectorRegistry()
        self._prefix, self._now_s = prefix, now_s
        self._rules, self._types = frozenset(rules), frozenset(types)
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for spec in CATALOGUE.values():
            self._make(spec)
        self._stages = {stage: self._histograms["zhinao_stage_seconds"].labels(stage) for stage in STAGES}
        self._saved_s: dict[str, float] = {}
        self._buffers: dict[str, tuple[int, Callable[[], float]]] = {}
        self._stalls = _Greatest(STALL_WINDOW_BEATS)
        self._readers: dict[str, Callable[[], Values]] = {
            "zhinao_store_age_seconds": lambda: {(table,): age for table, age in self.store_age_s().items()},
            "zhinao_loop_stall_max_seconds": lambda: {(): self._stalls.value},
            "zhinao_buffer_limit": lambda: {(name,): limit for name, (limit, _) in self._buffers.items()},
            "zhinao_buffer_entries": lambda: {(name,): size() for name, (_, size) in self._buffers.items()},
            "zhinao_log_lines_held_back_total": lambda: {(): logs.held_back()},
        }
        ProcessCollector(namespace="zhinao", registry=self.registry)
        self.registry.register(_Readings(self))

    @classmethod
    def of(cls, city: City, prefix: str) -> Self:
        """Labels bounded by what this city's rules and tables name."""
        return cls(prefix=prefix, rules=(rule.id for rule in city.bundle.rules), types=city.tables.types)

    def follow(self, city: City) -> None:
        """Another city is live: its names are labels too."""
        self._rules |= {rule.id for rule in city.bundle.rules}
        self._types |= frozenset(city.tables.types)

    def _make(self, spec: Spec) -> None:
        match spec.kind:
            case "counter":
                self._counters[spec.name] = Counter(spec.name, spec.text, spec.labels, registry=self.registry)
            case "gauge":
                self._gauges[spec.name] = Gauge(spec.name, spec.text, spec.labels, registry=self.registry)
            case "histogram":
                self._histograms[spec.name] = Histogram(
                    spec.name, spec.text, spec.labels, buckets=spec.buckets, registry=self.registry
                )
            case _:
                pass  # `_Readings` has it

    # records

    def chunk(
        self,
        topic: str,
        partition: int,
        records: int,
        bins: Mapping[str, int],
        *,
        dead: Iterable[str] = (),
        late_us: Iterable[int] = (),
        seconds: float | None = None,
    ) -> None:
        """A chunk is decided. `bins`: by `BINS`, other names are left out; `dead`: each letter's reason (`DeadReason`);
        `late_us`: each late record's lateness."""
        self._counters["zhinao_records_total"].labels(topic, str(partition)).inc(records)
        for name in BINS:
            if number := bins.get(name, 0):
                self._counters["zhinao_bins_total"].labels(topic, name).inc(number)
        for reason, number in Tally(dead).items():
            self._counters["zhinao_dead_letters_total"].labels(topic, str(reason)).inc(number)
        for late in late_us:
            self._histograms["zhinao_lateness_seconds"].labels(topic).observe(late / 1e6)
        if seconds is not None:
            self._stages["decide"].observe(seconds)

    def detected(self, detections: Iterable[Detection]) -> None:
        for (rule, kind), number in Tally((d.rule, d.kind) for d in detections).items():
            self._counters["zhinao_detections_total"].labels(self._rule(rule), kind).inc(number)

    def decided(self, outputs: Iterable[Output], counts: Mapping[str, int] | None = None) -> None:
        """`counts`: the Desk's, of which the bins are `chunk`'s."""
        for output in outputs:
            match output.value:
                case Incident() as incident:
                    kind = self._type(incident.type)
                    self._counters["zhinao_incident_changes_total"].labels(kind, str(incident.state)).inc()
                    if incident.revision == 1:
                        self._counters["zhinao_incidents_opened_total"].labels(kind).inc()
                case DispatchOrder() as order:
                    self._counters["zhinao_orders_total"].labels(str(order.reason)).inc()
                case VerificationResult() as result:
                    self._counters["zhinao_verifications_total"].labels(result.verdict).inc()
                case _:
                    pass
        for note, number in (counts or {}).items():
            if note not in BINS:
                self._counters["zhinao_noted_total"].labels(note).inc(number)

    def tried(self, outputs: Iterable[Output]) -> None:
        """What rules on trial would have made."""
        for output in outputs:
            if isinstance(output.value, Incident) and output.value.revision == 1:
                self._counters["zhinao_shadow_incidents_total"].labels(self._rule(output.value.rule or "")).inc()

    def sent(self, messages: Sequence[Sendable], seconds: float) -> None:
        """All of them are acknowledged; it took `seconds` from the first."""
        for topic, number in Tally(message.topic for message in messages).items():
            self._counters["zhinao_published_total"].labels(topic).inc(number)
        self._stages["send"].observe(seconds)

    # state

    def step(self, position: int, epoch: int, seconds: float) -> None:
        """A step of the Desk is acknowledged by the journal."""
        self._gauges["zhinao_journal_position"].set(position)
        self._gauges["zhinao_journal_epoch"].set(epoch)
        self._stages["journal"].observe(seconds)

    def saved(self, table: str, nbytes: int, entries: int, seconds: float) -> None:
        """A save is complete. `seconds`: from its beginning."""
        self._saved_s[table] = self._now_s() - seconds  # what changed meanwhile is not in it
        self._counters["zhinao_saves_total"].labels(table).inc()
        self._gauges["zhinao_state_bytes"].labels(table).set(nbytes)
        self._gauges["zhinao_state_entries"].labels(table).set(entries)
        self._stages["store"].observe(seconds)

    def current(self, table: str) -> None:
        """What is stored is what there is."""
        self._saved_s[table] = self._now_s()

    def closed(self, table: str) -> None:
        """Another worker stores it from here on."""
        if self._saved_s.pop(table, None) is not None:
            for name in ("zhinao_state_bytes", "zhinao_state_entries"):
                with suppress(KeyError):  # it was loaded and never saved
                    self._gauges[name].remove(table)

    def store_age_s(self) -> dict[str, float]:
        """Seconds since each table was last stored as it was; only of those that have been opened."""
        now_s = self._now_s()
        return {table: now_s - at_s for table, at_s in list(self._saved_s.items())}

    # buffers, the loop, what is read

    def buffer(self, name: str, limit: int, size: Callable[[], float]) -> None:
        """`size` is asked by whoever scrapes, on another thread: it may only read."""
        self._buffers[name] = limit, size
        self._counters["zhinao_buffer_dropped_total"].labels(name)

    def dropped(self, buffer: str, number: int) -> None:
        self._counters["zhinao_buffer_dropped_total"].labels(buffer).inc(number)

    def beat(self, late_s: float) -> None:
        """A beat of the loop came so late."""
        self._stalls.take(late_s)
        self._histograms["zhinao_loop_stall_seconds"].observe(late_s)

    def canary(self, partition: int, delay_s: float) -> None:
        """One came back."""
        self._histograms["zhinao_canary_delay_seconds"].labels(str(partition)).observe(delay_s)

    def reads(self, name: str, read: Callable[[], Values]) -> None:
        """Ask `read` for this metric whenever somebody scrapes, on another thread: it may only read. KeyError for a
        name that is not a `read` one of the catalogue."""
        if not CATALOGUE[name].kind.startswith("read"):
            raise KeyError(f"{name} is counted, not read")
        self._readers[name] = read

    def watch(self, watchdog: Watchdog) -> None:
        """Everything the watchdog sees."""

        def by_partition(values: Callable[[], Mapping[TP, float | None]]) -> Callable[[], Values]:
            return lambda: {
                (short_name(tp.topic, self._prefix), str(tp.partition)): value
                for tp, value in values().items()
                if value is not None
            }

        lags = by_partition(lambda: {tp: sight.lag for tp, sight in watchdog.facts.sights.items()})
        self.reads("zhinao_lag_records", lags)
        self.reads("zhinao_idle_seconds", by_partition(lambda: watchdog.facts.idle_s))
        single: dict[str, Callable[[], float]] = {
            "zhinao_letters_waiting": lambda: watchdog.facts.on_hold,
            "zhinao_letters_waiting_seconds": lambda: watchdog.facts.waiting_s,
            "zhinao_group_generation": lambda: watchdog.facts.generation,
            "zhinao_rebalances_total": lambda: watchdog.facts.rebalances,
            "zhinao_partitions_assigned": lambda: len(watchdog.facts.sights),
            "zhinao_without_partitions_seconds": lambda: watchdog.facts.without_s,
            "zhinao_broker_silent_seconds": lambda: watchdog.facts.broker_silent_s,
            "zhinao_lost_records_total": lambda: watchdog.facts.lost_records,
            "zhinao_clock_steps_total": lambda: watchdog.facts.clock_steps,
        }
        for name, value in single.items():
            self.reads(name, _alone(value))

    def read(self, spec: Spec) -> Values:
        """What a `read` metric is now; nothing, and counted, where it cannot be said."""
        for _ in range(3):  # a dict may change under its reader; twice in a row it is a fault
            try:
                return self._readers[spec.name]() if spec.name in self._readers else {}
            except Exception:  # noqa: BLE001, S112 (one value that fails must not take all others with it)
                continue
        self._counters["zhinao_scrape_failures_total"].inc()
        return {}

    def text(self) -> bytes:
        """The Prometheus text format."""
        return prometheus_client.generate_latest(self.registry)

    def _rule(self, rule: str) -> str:
        return rule if rule in self._rules else OTHER

    def _type(self, kind: str) -> str:
        return kind if kind in self._types else OTHER


def _alone(value: Callable[[], float]) -> Callable[[], Values]:
    return lambda: {(): value()}


CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST


class _Greatest:
    """The greatest of the last one to two windows of so many."""

    def __init__(self, window: int) -> None:
        self._window, self._count, self._now, self._before = window, 0, 0.0, 0.0

    def take(self, value: float) -> None:
        if self._count == self._window:
            self._count, self._before, self._now = 0, self._now, 0.0
        self._count, self._now = self._count + 1, max(self._now, value)

    @property
    def value(self) -> float:
        return max(self._now, self._before)


class _Readings(Collector):
    """The metrics that are read when somebody looks."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        for spec in CATALOGUE.values():
            if not spec.kind.startswith("read") or spec.name.startswith("zhinao_process_"):
                continue
            make = CounterMetricFamily if spec.kind == "read counter" else GaugeMetricFamily
            family = make(spec.name, spec.text, labels=spec.labels)
            for labels, value in self._metrics.read(spec).items():
                family.add_metric(labels, value)
            yield family
