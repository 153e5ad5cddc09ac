"""What every test may ask for.

`kafka`          a running broker (one for the whole session), see tests/kafka/broker.py
`start_kafka`    brokers of the test's own, for faults
`unique_prefix`  a topic (or key) prefix no other test uses
`redis_url`      a running Redis (one for the whole session), emptied before each test that asks for it
`shared_dir`     the folder ../shared with the recordings, beside the repository

A test marked `alone` measures time: nothing else of the run goes on beside it, in whatever process (tests/alone.py).

On a machine without Java, Maven or Redis the tests that need them are not run, and the last lines say how many and
why. With ZHINAO_REQUIRE_SERVERS=1 (as CI sets it) a missing server is a failure.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pytest
from hypothesis import HealthCheck, settings

from tests.alone import turn
from tests.kafka.broker import KafkaBroker, KafkaUnavailable
from tests.redis_server import RedisServer, RedisUnavailable

REPOSITORY = Path(__file__).resolve().parent.parent

# How a reason starts that names a server or a folder this machine has not.
_NEEDS = "needs "
PLAIN = ("contracts", "fuzz", "geo", "models", "real", "rules", "sumo")
"""Folders whose tests start nothing, unless they ask for a server."""
_LOG_LINES = 40  # of a server's log, shown with a failed test
_STARTED = pytest.StashKey[list[KafkaBroker]]()
_TURNS = pytest.StashKey[Path]()
"""A folder that all processes of the run have in common."""
_TURNS_TOLD = "turns"  # as pytest-xdist hands it to a process


class StartKafka(Protocol):
    def __call__(self, *, brokers: int = 1) -> KafkaBroker: ...


# Other work on the machine must not fail a property: no deadline. CI tries the same examples every time.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


def servers_required() -> bool:
    return os.environ.get("ZHINAO_REQUIRE_SERVERS", "") not in ("", "0")


def not_run(what: str, why: str, *, may_fail: bool = True) -> NoReturn:
    """Leave this test out and count it: `not_run("Redis", "redis-server missing")`; a failure where servers must be."""
    reason = f"{_NEEDS}{what} ({why})"
    if may_fail and servers_required():
        raise pytest.fail.Exception(f"{reason}, and ZHINAO_REQUIRE_SERVERS is set", pytrace=False) from None
    raise pytest.skip.Exception(reason) from None


# ------------------------------------------------------------------------------------------------------------- fixtures


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """One real broker for the whole session. Topics are not created by use: `kafka.create_topics(…)`.

    A test that kills brokers has its own from `start_kafka`.
    """
    try:
        broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    except KafkaUnavailable as missing:
        not_run("a Kafka broker", str(missing))
    with broker:
        yield broker


@pytest.fixture
def start_kafka(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartKafka]:
    """`start_kafka()` or `start_kafka(brokers=3)`: a broker or cluster of this test's own, gone when the test ends."""
    with ExitStack() as running:

        def start(*, brokers: int = 1) -> KafkaBroker:
            try:
                broker = KafkaBroker(tmp_path / f"kafka-{len(started)}", brokers=brokers)
            except KafkaUnavailable as missing:
                not_run("a Kafka broker", str(missing))
            started.append(broker)
            return running.enter_context(broker)

        started = request.node.stash.setdefault(_STARTED, [])
        yield start


@pytest.fixture
def unique_prefix() -> str:
    """Short, legal in topic names, no other test's: "t1f3a9c2-"."""
    return f"t{uuid.uuid4().hex[:7]}-"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The session's Redis itself. A test that kills it starts a `RedisServer` of its own, and asks for this one too."""
    try:
        server = RedisServer(tmp_path_factory.mktemp("redis"))
    except RedisUnavailable as missing:
        not_run("Redis", str(missing))
    with server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of an empty Redis."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder ../shared. Without it the test is not run, and that is never a failure: a clone has none."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        not_run("the recordings", "no folder ../shared", may_fail=False)
    return folder


# ---------------------------------------------------------------------------------------------------------------- hooks


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", {}).get(_TURNS_TOLD)
    if given is None:
        folder = tempfile.TemporaryDirectory(prefix="zhinao-turns-")
        config.add_cleanup(folder.cleanup)
        given = folder.name
    config.stash[_TURNS] = Path(given)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Called by pytest-xdist in the process that starts the others."""
    node.workerinput[_TURNS_TOLD] = str(node.config.stash[_TURNS])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Setup, call and teardown in one turn."""
    with turn(item.config.stash[_TURNS], alone=item.get_closest_marker("alone") is not None):
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for a server carries its marker, so that `-m "not kafka"` needs no care by the author.

    Tests that start servers run one after the other, in one of pytest-xdist's processes; the others beside them.
    """
    for item in items:
        names = getattr(item, "fixturenames", ())
        if "kafka" in names or "start_kafka" in names:
            item.add_marker(pytest.mark.kafka)
        if "redis_server" in names:
            item.add_marker(pytest.mark.redis)
        alone = item.path.relative_to(REPOSITORY / "tests").parts[0] not in PLAIN
        if alone or item.get_closest_marker("kafka") or item.get_closest_marker("redis"):
            item.add_marker(pytest.mark.xdist_group("servers"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows the end of the log of the servers it used."""
    report = yield
    if report.failed:
        for server in [*getattr(item, "funcargs", {}).values(), *item.stash.get(_STARTED, [])]:
            if isinstance(server, KafkaBroker | RedisServer):
                report.sections.append((f"end of {server.log_name}", server.log_tail(_LOG_LINES)))
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    """What was left out and why, under everything else."""
    yield
    counted: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        if isinstance(report.longrepr, tuple):
            counted[report.longrepr[2].removeprefix("Skipped: ")] += 1
    for reason, count in sorted(counted.items()):
        tests = "test" if count == 1 else "tests"
        if reason.startswith(_NEEDS):
            need = "needs" if count == 1 else "need"
            terminalreporter.write_line(f"not run: {count} {tests} {need} {reason.removeprefix(_NEEDS)}")
        else:
            terminalreporter.write_line(f"not run: {count} {tests}: {reason}")
