"""A real Kafka for tests, without Docker: the broker's jars by Maven, one JVM for each broker, KRaft, loopback only.

    with KafkaBroker(folder) as kafka:                  # or brokers=3
        kafka.create_topics("camera.tracks", partitions=4)
        consumer = AIOKafkaConsumer("camera.tracks", bootstrap_servers=kafka.bootstrap)

The broker answers when `with` is entered. Faults: `kill()` (SIGKILL), `stop()`, `start()`, `restart()`, each for one
broker (`node=`, from 1) or for all; ports and data stay, so clients find it again.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests import processes
from tests.ports import free_ports
from tests.processes import tail

HERE = Path(__file__).resolve().parent
POM = HERE / "pom.xml"
CACHE = HERE.parent.parent / ".cache" / "kafka"

_OLDEST_JAVA = 17  # what Kafka 4 brokers need
_FETCH_S = 600.0  # some 45 MB from Maven's repository, the first time
_START_S = 90.0  # about 4 s alone on two cores; the rest is for a machine doing six other things
_ATTEMPTS = 3  # another test run may take a port between choosing and binding it
_CLUSTER_ID = "emhpbmFvLXRlc3RzLTAwMQ"  # any 16 bytes in base64; every broker of a cluster needs the same

# C1 only and a serial collector: a test's broker lives a minute, on a machine with two cores.
_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Djava.awt.headless=true")

_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters={voters}
log.dirs={data}
auto.create.topics.enable=false
num.partitions=4
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
# A broker that was killed registers again only when its old session has run out (9 s unless told).
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=8388608
log.cleaner.threads=1
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=2
"""
_BEHIND_A_PROXY = """\
# The broker reaches its own coordinators beside the proxy, which may cut, delay or speak TLS.
listeners=PLAINTEXT://127.0.0.1:{port},OWN://127.0.0.1:{own_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised},OWN://127.0.0.1:{own_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,OWN:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=OWN
"""
"""The last of two lines of one name counts."""


class KafkaUnavailable(Exception):
    """This machine cannot run a broker; the text says what is missing."""


def version() -> str:
    """The Kafka version the tests run, from pom.xml."""
    found = re.search(r"<kafka\.version>([^<]+)</kafka\.version>", POM.read_text())
    if found is None:
        raise RuntimeError(f"{POM} names no kafka.version")
    return found[1]


def fetch_jars() -> Path:
    """The folder with the broker's jars; fetched once, by whoever of several test runs comes first."""
    folder = CACHE / version()
    complete = folder / "complete"
    # What is in the folder follows from pom.xml alone.
    wanted = POM.read_text()
    CACHE.mkdir(parents=True, exist_ok=True)
    with _locked(CACHE / f"{version()}.lock"):
        if complete.is_file() and complete.read_text() == wanted:
            return folder
        maven = shutil.which("mvn")
        if maven is None:
            raise KafkaUnavailable("maven missing")
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="fetch-") as scratch:
            jars = Path(scratch) / "jars"
            goal = "dependency:copy-dependencies"
            command = [maven, "-q", "-B", "-f", str(POM), goal, "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
            try:
                ended = subprocess.run(
                    command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_FETCH_S, check=False
                )
            except subprocess.TimeoutExpired as error:
                raise KafkaUnavailable(f"the jars did not arrive within {_FETCH_S:g} s") from error
            if ended.returncode != 0:
                last = next((line for line in (ended.stdout + ended.stderr).splitlines() if "ERROR" in line), "")
                raise KafkaUnavailable(f"maven could not fetch the jars: {last}")
            (jars / "complete").write_text(wanted)
            shutil.rmtree(folder, ignore_errors=True)
            jars.rename(folder)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _find_java() -> str:
    java = shutil.which("java")
    if java is None:
        raise KafkaUnavailable("java missing" if shutil.which("mvn") else "java and maven missing")
    ended = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(?:1\.)?(\d+)', ended.stderr)
    if found is None or int(found[1]) < _OLDEST_JAVA:
        raise KafkaUnavailable(f"java {found[1] if found else '?'} is older than {_OLDEST_JAVA}")
    return java


@dataclass(slots=True)
class _Node:
    number: int
    folder: Path
    port: int = 0
    controller_port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "broker.log"

    @property
    def properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


def _admin(bootstrap: str) -> AdminClient:
    # log_level 0: that a broker is not there yet is no news here.
    return AdminClient(
        {"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200}
    )


class _StartFailed(RuntimeError):
    pass


class KafkaBroker:
    """One broker, or a cluster of `brokers`. Data and logs in `folder`: the data go at the end, the logs stay."""

    log_name = "broker log"

    def __init__(self, folder: Path, *, brokers: int = 1, heap_mb: int = 512, advertised: int | None = None) -> None:
        """`advertised`: the port of one broker that clients are told, where a proxy stands before it."""
        if advertised is not None and brokers != 1:
            raise ValueError("one proxy stands before one broker")
        self._advertised = advertised
        self._java = _find_java()
        self._classpath = f"{HERE}:{fetch_jars()}/*"
        self._heap_mb = heap_mb
        self._nodes = [_Node(number, folder / f"broker-{number}") for number in range(1, brokers + 1)]

    @property
    def bootstrap(self) -> str:
        """`host:port`, or several with commas."""
        return ",".join(node.address for node in self._nodes)

    @property
    def port(self) -> int:
        """Where the first broker itself listens."""
        return self._nodes[0].port

    @property
    def replicas(self) -> int:
        """The replication factor of a topic created without one: 3 if there are so many brokers."""
        return min(3, len(self._nodes))

    def pid(self, node: int = 1) -> int | None:
        """The process of one broker, or None when it is down."""
        chosen = self._nodes[node - 1]
        return chosen.process.pid if chosen.process is not None and chosen.is_running() else None

    # -------------------------------------------------------------------------------------------------- life and death

    def __enter__(self) -> Self:
        for attempt in range(1, _ATTEMPTS + 1):
            self._choose_ports()
            self._format()
            try:
                self.start()
            except _StartFailed as error:
                self._end()
                if attempt == _ATTEMPTS or "Address already in use" not in str(error):
                    raise
            except BaseException:
                self._end()
                raise
            else:
                break
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # Nobody reads what a clean end would write.
        self._end()

    def start(self, node: int | None = None) -> None:
        """Start what is down of this broker or of all, and wait until the running ones answer as one cluster."""
        for each in self._chosen(node):
            if not each.is_running():
                self._launch(each)
        self.wait_until_ready()

    def stop(self, node: int | None = None) -> None:
        """End in good order: leaders move away, logs are closed."""
        processes.stop(*(each.process for each in self._chosen(node)))

    def kill(self, node: int | None = None) -> None:
        """End at once, as a power cut would."""
        processes.stop(*(each.process for each in self._chosen(node)), at_once=True)

    def restart(self, node: int | None = None, *, at_once: bool = False) -> None:
        """Stop (or kill) and start again, on the same ports and data; returns when it answers."""
        if at_once:
            self.kill(node)
        else:
            self.stop(node)
        self.start(node)

    def wait_until_ready(self) -> None:
        """Return when every running broker answers a metadata request with all running brokers in it."""
        running = [node for node in self._nodes if node.is_running()]
        waiting = list(running)
        deadline = time.monotonic() + _START_S
        while waiting:
            for node in running:
                if not node.is_running():
                    status = node.process.returncode if node.process else None
                    raise _StartFailed(f"broker {node.number} ended with {status}:\n{tail(node.log, 30)}")
            waiting = [node for node in waiting if self._known_brokers(node) != len(running)]
            if waiting and time.monotonic() > deadline:
                numbers = ", ".join(str(node.number) for node in waiting)
                raise _StartFailed(f"broker {numbers} not ready within {_START_S:g} s:\n{self.log_tail(30)}")
            if waiting:
                time.sleep(0.05)

    @staticmethod
    def _known_brokers(node: _Node) -> int:
        # A new client each time: one that has met the other brokers would ask those.
        try:
            return len(_admin(node.address).list_topics(timeout=1.0).brokers)
        except KafkaException:
            return 0

    # ---------------------------------------------------------------------------------------------------------- topics

    def create_topics(
        self,
        *names: str,
        partitions: int = 4,
        replicas: int | None = None,
        config: Mapping[str, str] | None = None,
    ) -> None:
        """Create topics and wait until each partition has a leader. A topic that exists is an error."""
        admin = _admin(self.bootstrap)
        replication = replicas or self.replicas
        topics = [
            NewTopic(name, num_partitions=partitions, replication_factor=replication, config=dict(config or {}))
            for name in names
        ]
        for result in admin.create_topics(topics, operation_timeout=30.0).values():
            result.result(timeout=30.0)
        deadline = time.monotonic() + 30.0
        missing = set(names)
        while missing:
            known = admin.list_topics(timeout=10.0).topics
            missing = {
                name
                for name in missing
                if name not in known
                or len(known[name].partitions) != partitions
                or any(partition.leader < 0 for partition in known[name].partitions.values())
            }
            if missing and time.monotonic() > deadline:
                raise RuntimeError(f"no leaders for {sorted(missing)} after 30 s")
            if missing:
                time.sleep(0.02)

    def log_tail(self, lines: int) -> str:
        """The last lines of each broker's log."""
        return "\n".join(f"--- {node.log}\n{tail(node.log, lines)}" for node in self._nodes)

    # ---------------------------------------------------------------------------------------------------------- inside

    def _chosen(self, node: int | None) -> Iterable[_Node]:
        return self._nodes if node is None else (self._nodes[node - 1],)

    def _choose_ports(self) -> None:
        ports = iter(free_ports(2 * len(self._nodes) + (self._advertised is not None)))
        for node in self._nodes:
            node.port, node.controller_port = next(ports), next(ports)
        own_port = next(ports, None)
        voters = ",".join(f"{node.number}@127.0.0.1:{node.controller_port}" for node in self._nodes)
        for node in self._nodes:
            node.folder.mkdir(parents=True, exist_ok=True)
            template = _PROPERTIES if self._advertised is None else _PROPERTIES + _BEHIND_A_PROXY
            node.properties.write_text(
                template.format(
                    node=node.number,
                    port=node.port,
                    advertised=self._advertised or node.port,
                    own_port=own_port,
                    controller_port=node.controller_port,
                    voters=voters,
                    data=node.data,
                    replicas=self.replicas,
                    in_sync=min(2, self.replicas),
                )
            )

    def _format(self) -> None:
        """Lay out each broker's storage."""
        for node in self._nodes:
            shutil.rmtree(node.data, ignore_errors=True)
            options = ["format", "--cluster-id", _CLUSTER_ID, "--config", str(node.properties)]
            command = self._command("kafka.tools.StorageTool", *options, heap_mb=128)
            ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if ended.returncode != 0:
                raise _StartFailed(f"formatting ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")

    def _launch(self, node: _Node) -> None:
        command = self._command("kafka.Kafka", str(node.properties), heap_mb=self._heap_mb)
        node.process = processes.start(command, log=node.log, cwd=node.folder)

    def _command(self, main: str, *arguments: str, heap_mb: int) -> list[str]:
        return [self._java, f"-Xmx{heap_mb}m", *_JVM, "-cp", self._classpath, main, *arguments]

    def _end(self) -> None:
        processes.stop(*(node.process for node in self._nodes), at_once=True)
        for node in self._nodes:
            shutil.rmtree(node.data, ignore_errors=True)
