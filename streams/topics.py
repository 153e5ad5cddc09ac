"""Every topic, named once: who writes it, how it is keyed, what the broker keeps of it. Creating and checking them.

`<prefix>.<name>.v1` is the name on the broker; everywhere else a topic goes by its short name (`camera.tracks`).
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any

from aiokafka.partitioner import murmur2
from kafka.admin import ConfigResource, KafkaAdminClient
from kafka.errors import TopicAlreadyExistsError

from models.streams import DESK_TOPICS, DETECTOR_TOPICS, STREAMS, URGENT_DETECTIONS

MIB = 1024 * 1024
DAY_MS = 24 * 3600 * 1000
FOREVER = -1
TRANSACTION_LOG = "__transaction_state"
TRANSACTION_REPLICAS = "transaction.state.log.replication.factor"
VERSION = "v1"


class Role(StrEnum):
    """What a topic is to us."""

    DETECTOR_INPUT = "detector input"
    DESK_INPUT = "desk input"
    OUTPUT = "output"
    INTERNAL = "internal"


class Key(StrEnum):
    """What a topic is keyed by."""

    AREA = "area"
    CENTRE = "command centre"
    INCIDENT = "incident_id"
    TICKET = "ticket_id"
    VEHICLE = "vehicle_id"
    SEGMENT = "segment_id"
    SOURCE = "source topic"
    STATE = "state slice"
    LETTER = "dead letter"
    BUNDLE = "bundle"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic must be on the broker. Retention in ms, -1 for ever; compacted ones keep the last by key."""

    name: str
    role: Role
    key: Key
    compacted: bool = False
    retention_ms: int = 7 * DAY_MS
    max_message_bytes: int = MIB
    #: Compacted topics that are read from the start at every assignment: compacted early and often.
    compact_eagerly: bool = False

    def full_name(self, prefix: str) -> str:
        return full_name(self.name, prefix)

    def configs(self) -> dict[str, str]:
        """Broker settings, as text."""
        found = {"max.message.bytes": str(self.max_message_bytes)}
        if self.role in (Role.DETECTOR_INPUT, Role.DESK_INPUT):
            # Arrival is when the broker took it. It also keeps a recording of last year from being old at once.
            found["message.timestamp.type"] = "LogAppendTime"
        if self.compacted:
            found["cleanup.policy"] = "compact"
        else:
            found |= {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms), "retention.bytes": "-1"}
        if self.compact_eagerly:
            found |= {
                "min.cleanable.dirty.ratio": "0.05",
                "max.compaction.lag.ms": "60000",
                "segment.ms": "60000",
                "segment.bytes": str(32 * MIB),
                "delete.retention.ms": "60000",
            }
        return found


def _specs() -> Iterable[TopicSpec]:
    for name in DETECTOR_TOPICS:
        yield TopicSpec(name, Role.DETECTOR_INPUT, Key.AREA)
    for name in (*DESK_TOPICS, URGENT_DETECTIONS):
        yield TopicSpec(name, Role.DESK_INPUT, Key.CENTRE)
    # Incidents and what was done about them are kept half a year at least (CONTRACTS); a year of them is small.
    yield TopicSpec("incidents", Role.OUTPUT, Key.INCIDENT, retention_ms=366 * DAY_MS)
    yield TopicSpec("incidents.state", Role.OUTPUT, Key.INCIDENT, compacted=True)
    for name in ("dispatch.orders", "verification.results", "notices", "recognition.requests"):
        yield TopicSpec(name, Role.OUTPUT, Key.INCIDENT, retention_ms=366 * DAY_MS)
    yield TopicSpec("hotline.replies", Role.OUTPUT, Key.TICKET, retention_ms=366 * DAY_MS)
    # What rules on trial would have made of it: nobody acts on it.
    yield TopicSpec("incidents.shadow", Role.OUTPUT, Key.INCIDENT, retention_ms=90 * DAY_MS)
    yield TopicSpec("rules.bundle", Role.OUTPUT, Key.BUNDLE, compacted=True)
    yield TopicSpec("signal.requests", Role.OUTPUT, Key.VEHICLE, retention_ms=366 * DAY_MS)
    yield TopicSpec("traffic.states", Role.OUTPUT, Key.SEGMENT, compacted=True)
    yield TopicSpec("traffic.forecasts", Role.OUTPUT, Key.SEGMENT, compacted=True)
    yield TopicSpec("late", Role.OUTPUT, Key.SOURCE, max_message_bytes=2 * MIB)  # holds a whole 1 MiB value, and more
    yield TopicSpec("dead-letters", Role.OUTPUT, Key.SOURCE, retention_ms=30 * DAY_MS, max_message_bytes=4 * MIB)
    # What was sent again, by letter. A note is written after its letter: kept as long, it outlives it.
    yield TopicSpec("dead-letters.replayed", Role.INTERNAL, Key.LETTER, retention_ms=30 * DAY_MS)
    yield TopicSpec("state", Role.INTERNAL, Key.STATE, compacted=True, compact_eagerly=True)
    # Trimmed behind each snapshot. Retention by time would lose the steps of a worker that was down for longer.
    # A record of an input may take 1 MiB, and a step holds one at least, with what the Desk was fed beside it.
    yield TopicSpec("desk.journal", Role.INTERNAL, Key.CENTRE, retention_ms=FOREVER, max_message_bytes=4 * MIB)


TOPICS: Mapping[str, TopicSpec] = {spec.name: spec for spec in _specs()}


def full_name(name: str, prefix: str) -> str:
    """The name on the broker. Raises `KeyError` for a topic that is not ours."""
    return f"{prefix}.{TOPICS[name].name}.{VERSION}"


def short_name(full: str, prefix: str) -> str:
    """The reverse of `full_name`; raises `ValueError` for anything else."""
    head, tail = f"{prefix}.", f".{VERSION}"
    name = full[len(head) : -len(tail)]
    if not (full.startswith(head) and full.endswith(tail)) or name not in TOPICS:
        raise ValueError(f"{full!r} is not one of our topics (prefix {prefix!r})")
    return name


def all_full_names(prefix: str) -> list[str]:
    """Every topic's name on the broker, in the order of the table."""
    return [spec.full_name(prefix) for spec in TOPICS.values()]


def by_role(role: Role) -> tuple[TopicSpec, ...]:
    return tuple(spec for spec in TOPICS.values() if spec.role is role)


@cache
def natural_key(name: str) -> tuple[str, ...]:
    """The fields that make up an input's duplicate key."""
    return STREAMS[name].natural_key if name in STREAMS else ()


@lru_cache(maxsize=65_536)  # areas and centres are few; incident ids come and go
def partition_for(key: bytes, partitions: int) -> int:
    """The partition every murmur2 producer (Java, kafka-python, aiokafka) chooses for a key. Not librdkafka's CRC32."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


# -- on the broker -----------------------------------------------------------------------------------------------------


class Fault(StrEnum):
    """What may be wrong with a topic."""

    MISSING = "missing"
    PARTITIONS = "partitions"
    CLEANUP_POLICY = "cleanup_policy"
    MAX_MESSAGE_BYTES = "max_message_bytes"
    RETENTION = "retention"
    TRANSACTIONS = "transactions"


class TopicsError(Exception):
    """The topics could not be looked at."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a topic. `severity` is error (a worker will not run) or advice."""

    topic: str
    fault: Fault
    message: str
    hint: str
    severity: str = "error"


def admin_client(servers: str, *, embedded: bool = False, options: Mapping[str, Any] | None = None) -> Any:
    """kafka-python's admin client. The embedded broker does not stand its version probe."""
    version = {"api_version": (2, 1)} if embedded else {}
    return KafkaAdminClient(bootstrap_servers=servers.split(","), **version, **(options or {}))


def create(
    servers: str,
    prefix: str,
    partitions: int,
    *,
    embedded: bool = False,
    replication: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Make the topics that are missing; returns their full names. Existing ones are left alone (see `check`).

    On the embedded broker it touches them: they appear on first use.
    """
    if embedded:
        from streams.broker import warm_up  # a child process's module, needed nowhere else here

        warm_up(servers, all_full_names(prefix))
        return all_full_names(prefix)
    admin = admin_client(servers, options=options)
    try:
        if replication is None:
            replication = min(3, len(admin.describe_cluster()["brokers"]))
        existing = set(admin.list_topics())
        durable = {"min.insync.replicas": "2"} if replication >= 3 else {}
        wanted = {
            spec.full_name(prefix): {
                "num_partitions": partitions,
                "replication_factor": replication,
                "configs": spec.configs() | durable,
            }
            for spec in TOPICS.values()
            if spec.full_name(prefix) not in existing
        }
        if wanted:
            with suppress(TopicAlreadyExistsError):  # another `create` was quicker
                admin.create_topics(wanted, wait_for_metadata=True)
        return list(wanted)
    finally:
        admin.close()


def check(
    servers: str,
    prefix: str,
    partitions: int,
    *,
    embedded: bool = False,
    options: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """Everything wrong with the topics on the broker, in the order of the table; empty is fine."""
    admin = admin_client(servers, embedded=embedded, options=options)
    try:
        names = all_full_names(prefix)
        existing = set(admin.list_topics())
        present = [name for name in names if name in existing]
        counts = {d["name"]: len(d["partitions"]) for d in admin.describe_topics(present)} if present else {}
        configs = {} if embedded else _read_configs(admin, present)
        no_transactions = [] if embedded else _transaction_findings(admin)
    finally:
        admin.close()
    return judge(prefix, partitions, counts, configs) + no_transactions


def judge(
    prefix: str, partitions: int, counts: Mapping[str, int], configs: Mapping[str, Mapping[str, str]]
) -> list[Finding]:
    """The findings, from what the broker said: partition counts and, where known, configs by full name."""
    found: list[Finding] = []
    for spec in TOPICS.values():
        name = spec.full_name(prefix)
        if name not in counts:
            found.append(Finding(name, Fault.MISSING, f"{name} does not exist", "run: zhinao topics create"))
            continue
        if counts[name] != partitions:
            hint = (
                f"set ZHINAO_PARTITIONS={counts[name]} if all topics have as many; else add partitions while no worker "
                "runs and no state is kept: keys move to other partitions"
            )
            message = f"{name} has {counts[name]} partitions, {partitions} are expected"
            found.append(Finding(name, Fault.PARTITIONS, message, hint))
        found += _config_findings(name, spec, configs.get(name, {}))
    return found


def _config_findings(name: str, spec: TopicSpec, config: Mapping[str, str]) -> Iterable[Finding]:
    def hint(key: str, value: str) -> str:
        return f"kafka-configs --alter --topic {name} --add-config {key}={value}"

    def whole(key: str, test: Callable[[int], bool]) -> str | None:
        value = config.get(key)
        return value if value is not None and not test(int(value)) else None

    want = spec.configs()
    policy = config.get("cleanup.policy")
    if policy is not None and policy != want["cleanup.policy"]:
        loss = "old values pile up" if spec.compacted else "records of the same key would be thrown away"
        message = f"{name} has cleanup.policy={policy}, {want['cleanup.policy']} is needed: {loss}"
        yield Finding(name, Fault.CLEANUP_POLICY, message, hint("cleanup.policy", want["cleanup.policy"]))
    if small := whole("max.message.bytes", lambda value: value >= spec.max_message_bytes):
        message = f"{name} takes messages up to {small} bytes, {spec.max_message_bytes} are needed"
        yield Finding(name, Fault.MAX_MESSAGE_BYTES, message, hint("max.message.bytes", want["max.message.bytes"]))
    if spec.compacted:
        return

    def long_enough(kept: int) -> bool:
        return kept == FOREVER or (spec.retention_ms != FOREVER and kept >= spec.retention_ms)

    if short := whole("retention.ms", long_enough):
        lost = spec.role is Role.INTERNAL
        message = f"{name} keeps records for {short} ms, {spec.retention_ms} are wanted"
        severity = "error" if lost else "advice"
        yield Finding(name, Fault.RETENTION, message, hint("retention.ms", want["retention.ms"]), severity)


def _transaction_findings(admin: Any) -> list[Finding]:
    """Whether a cluster that has seen no transaction yet could have one: state is saved in transactions."""
    brokers = admin.describe_cluster()["brokers"]
    if TRANSACTION_LOG in admin.list_topics() or not brokers:
        return []
    answer = admin.describe_configs([ConfigResource("broker", str(brokers[0]["broker_id"]))], config_filter="all")
    wanted = [keys.get(TRANSACTION_REPLICAS) for group in answer.values() for keys in group.values() if keys]
    if not wanted or wanted[0] is None or int(wanted[0]["value"]) <= len(brokers):
        return []  # it can, or the broker does not say
    message = f"{TRANSACTION_REPLICAS}={wanted[0]['value']}, but brokers are {len(brokers)}: no state can be saved"
    hint = f"start the missing brokers, or set {TRANSACTION_REPLICAS}={len(brokers)} on every broker"
    return [Finding(TRANSACTION_LOG, Fault.TRANSACTIONS, message, hint)]


def _read_configs(admin: Any, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    answer = admin.describe_configs([ConfigResource("topic", name) for name in names], config_filter="all")
    by_topic = {str(name): keys for group in answer.values() for name, keys in group.items() if keys}
    if unread := [name for name in names if name not in by_topic]:
        raise TopicsError(
            f"the broker does not say how {', '.join(unread)} are configured. Is reading configs allowed?"
        )
    return {name: {key: str(data["value"]) for key, data in by_topic[name].items()} for name in names}
