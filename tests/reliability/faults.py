"""The faults of `make chaos`: each a function that does its worst to a run, and says what it found and measured."""

from __future__ import annotations

import re
import resource
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple

from benchmarks.gate import older_commit, tree_of
from streams.settings import ROOT
from tests.kafka.broker import KafkaBroker
from tests.ports import free_ports
from tests.reliability.bed import Bed, Worker
from tests.reliability.certificates import ELSEWHERE, Authority, serving
from tests.reliability.equations import busiest, delays_s, figures, findings, share
from tests.reliability.load import DRAIN_S, Load, devices, hottest
from tests.reliability.outputs import Run
from tests.reliability.proxy import Proxy

SESSION_S = 10.0
"""After which the group gives a silent worker's partitions away (streams/transport.py)."""
IN_FLIGHT_MS = 3000
RESUMES_WITHIN_S = 60.0
REFUSED_WITHIN_S = 45.0
LATENESS_S = 6.0
"""Of the harness's rules."""
SLOPE_MB_AN_HOUR = 1.0

Figures = dict[str, float | int | str]


@dataclass(slots=True)
class Trial:
    """What a fault is given: a seed, a place for files, a broker for all that need none of their own."""

    seed: int
    folder: Path
    kafka: KafkaBroker
    kills: int
    chance: Random = field(init=False)
    wrong: list[str] = field(default_factory=list)
    measured: Figures = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)

    def bed(self, kafka: KafkaBroker | None = None, bootstrap: str | None = None, **environment: str) -> Bed:
        prefix = f"c{uuid.uuid4().hex[:8]}"
        return Bed(bootstrap or (kafka or self.kafka).bootstrap, prefix, self.folder / prefix, **environment)

    def judge(self, run: Run, load: Load, *, deaths: int) -> None:
        """The equations, and how much came again."""
        allowed = deaths * busiest(run, IN_FLIGHT_MS)
        self.wrong += findings(run, load, raw_at_most=allowed)
        counted = figures(run, load)
        self.measured |= {"records": counted.produced, "raised": counted.raised, "deaths": deaths}
        self.measured |= {"doubled raw": counted.doubled_raw, "raw allowed": allowed}

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)


def resumed_s(run: Run, since_ms: float) -> float:
    """Until the first detection after an instant; infinite if none came."""
    return (min((r.at_ms for r in run.detections() if r.at_ms > since_ms), default=float("inf")) - since_ms) / 1000


def now_ms() -> float:
    return time.time() * 1000


# ----------------------------------------------------------------------------------------------------- workers that die


def random_kills(trial: Trial) -> None:
    """F01: kill -9 at random moments under load, and once more where the state is loaded again."""
    load = Load(trial.seed, seconds=7 * trial.kills, tickets=trial.kills)
    kills, restarts = 0, list[float]()
    with trial.bed() as bed:
        bed.start_worker("worker")
        with bed.feeding(load, speed=1) as feeding:
            while kills < trial.kills and not feeding.ended():
                time.sleep(trial.chance.uniform(0.05, 2.5))
                bed.workers["worker"].kill()
                kills += 1
                bed.forget_dead()
                hurried = trial.chance.random() < 0.2
                worker = bed.start_worker("worker", wait=not hurried)
                if hurried:
                    time.sleep(trial.chance.uniform(1, 6))
                else:
                    restarts.append(time.monotonic() - worker.started_s)
        bed.settle()
        bed.stop()
        trial.judge(bed.read(), load, deaths=kills)
    restarts.sort()
    trial.measured |= {
        "restart p50 (s)": round(share(restarts, 0.5), 1),
        "restart p99 (s)": round(share(restarts, 0.99), 1),
    }


def burst(trial: Trial) -> None:
    """F02: thirty kills, 0.1 to 1 s apart, most of a worker that is not up yet; then it must go on."""
    load, deaths = Load(trial.seed), 30
    with trial.bed() as bed:
        bed.start_worker("worker")
        with bed.feeding(load, speed=2):
            time.sleep(5)
            for _ in range(deaths):
                bed.workers["worker"].kill()
                bed.start_worker("worker", wait=False)
                time.sleep(trial.chance.uniform(0.1, 1))
            ended_ms = now_ms()
            bed.supervised.add("worker")
        bed.settle()
        bed.stop()
        run = bed.read()
    trial.judge(run, load, deaths=deaths)
    trial.measured["recovery (s)"] = round(resumed_s(run, ended_ms), 1)
    trial.expect(resumed_s(run, ended_ms) < RESUMES_WITHIN_S, "it did not go on within a minute of the burst")


def zombie(trial: Trial) -> None:
    """F04: a worker sleeps longer than its session, another takes over, then it wakes with work in its hands."""
    load = Load(trial.seed)
    with trial.bed() as bed:
        asleep = bed.start_worker("asleep")
        with bed.feeding(load, speed=2):
            time.sleep(trial.chance.uniform(4, 8))
            asleep.pause()
            stopped_ms, stopped_s = now_ms(), time.monotonic()
            bed.start_worker("heir")
            trial.measured["taken over after (s)"] = round(time.monotonic() - stopped_s, 1)
            time.sleep(max(3.0, SESSION_S + 5 - (time.monotonic() - stopped_s)))
            asleep.resume()
        bed.settle()
        trial.measured["the zombie"] = (
            "lives on as a member" if asleep.alive() else f"ended with {asleep.process.returncode}"
        )
        bed.stop()
        run = bed.read()
    trial.judge(run, load, deaths=1)
    trial.measured["recovery (s)"] = round(resumed_s(run, stopped_ms + 1000), 1)


def out_of_memory(trial: Trial) -> None:
    """F26: the address space is closed under a running worker; the next one has room again."""
    load = Load(trial.seed, crowd=3)
    with trial.bed() as bed:
        worker = bed.start_worker("worker")
        with bed.feeding(load, speed=3):
            time.sleep(6)
            close_memory(worker)
            code = worker.wait_death(60)
            trial.expect(code not in (0, None), f"it ended with {code} for want of memory")
            bed.start_worker("worker")
        bed.settle()
        bed.stop()
        trial.judge(bed.read(), load, deaths=1)
    trial.measured["ended with"] = code


def close_memory(worker: Worker) -> None:
    """Not one page more for it."""
    resource.prlimit(worker.pid, resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))


# -------------------------------------------------------------------------------------------------- brokers and network


def brokers(trial: Trial) -> None:
    """F05: of three brokers one is killed, then two, then all; seconds in place of minutes."""
    load, worst = Load(trial.seed, seconds=90), 0.0
    with KafkaBroker(trial.folder / "three", brokers=3, heap_mb=384) as kafka, trial.bed(kafka) as bed:
        bed.start_worker("worker")
        bed.supervised.add("worker")
        back: list[float] = []
        with bed.feeding(load, speed=1):
            bed.wait(10)
            for down in ((1,), (2, 3), (1, 2, 3)):
                for node in down:
                    kafka.kill(node)
                bed.wait(6)
                for node in down:
                    kafka.start(node) if len(down) == 1 else None
                if len(down) > 1:
                    kafka.start()
                back.append(now_ms())
                bed.wait(20)
        bed.settle(150)
        bed.stop()
        run = bed.read()
    worst = max(resumed_s(run, at_ms) for at_ms in back)
    trial.judge(run, load, deaths=max(1, bed.restarts))
    trial.measured |= {"recovery (s)": round(worst, 1), "restarts": bed.restarts}
    trial.expect(worst < RESUMES_WITHIN_S, f"it went on {worst:.0f} s after the brokers were back")


def bad_network(trial: Trial) -> None:
    """F06: between all clients and the broker: 150 ms late, then cut again and again, then silent for 8 s."""
    load = Load(trial.seed)
    port = free_ports(1)[0]
    with ExitStack() as stack:
        kafka = stack.enter_context(KafkaBroker(trial.folder / "behind", advertised=port))
        proxy = stack.enter_context(Proxy(port, kafka.port))
        bed = stack.enter_context(trial.bed(bootstrap=f"127.0.0.1:{port}"))
        bed.start_worker("worker")
        bed.supervised.add("worker")
        with bed.feeding(load, speed=1.5):
            bed.wait(8)
            proxy.latency_s = 0.15
            bed.wait(8)
            proxy.latency_s = 0.0
            for _ in range(5):
                proxy.cut()
                bed.wait(1)
            proxy.silent = True
            bed.wait(8)
            proxy.silent = False
            back_ms = now_ms()
        bed.settle(120)
        bed.stop()
        run = bed.read()
    trial.judge(run, load, deaths=max(1, bed.restarts))
    trial.measured |= {"recovery (s)": round(resumed_s(run, back_ms), 1), "restarts": bed.restarts}


def certificates(trial: Trial) -> None:
    """F31: a broker whose certificate has run out, is another's or of an authority nobody knows gets no client, and the
    worker says why. A good one is taken."""
    ours, foreign = Authority(trial.folder, "ours"), Authority(trial.folder, "foreign")
    bad = {
        "expired": ours.issue("expired", until=timedelta(days=-1)),
        "of another name": ours.issue("elsewhere", ELSEWHERE),
        "of another authority": foreign.issue("foreign-broker"),
    }
    load = Load(trial.seed)
    port = free_ports(1)[0]
    with ExitStack() as stack:
        kafka = stack.enter_context(KafkaBroker(trial.folder / "behind", advertised=port))
        with Proxy(port, kafka.port):  # makes the topics
            bed = stack.enter_context(trial.bed(bootstrap=f"127.0.0.1:{port}"))
        bed.environment |= {"ZHINAO_KAFKA_SECURITY": "ssl", "ZHINAO_KAFKA_CA": str(ours.file)}
        for name, certificate in bad.items():
            with Proxy(port, kafka.port, serving(certificate)):
                refuses(trial, bed.start_worker(name, wait=False))
        with Proxy(port, kafka.port, serving(ours.issue("good"))):  # else all of them could fail for another reason
            served = bed.start_worker("served")
            served.kill()  # the broker itself speaks plain, so no transaction ends here
        bed.environment["ZHINAO_KAFKA_SECURITY"] = "plaintext"
        with Proxy(port, kafka.port):
            bed.start_worker("plain")
            with bed.feeding(load, speed=2):
                pass
            bed.settle()
            bed.stop()
            trial.judge(bed.read(), load, deaths=1)


def refuses(trial: Trial, worker: Worker) -> None:
    """It ends by itself, with the cause, and has joined nothing."""
    try:
        code = worker.wait_death(REFUSED_WITHIN_S)
    except subprocess.TimeoutExpired:
        code = 0
        worker.kill()
    words = worker.words()
    trial.measured[worker.name] = f"ended with {code}"
    trial.expect(code != 0, f"with a certificate that is {worker.name} it goes on trying")
    trial.expect("certificate" in words.lower(), f"{worker.name}: nothing is said of the certificate")
    trial.expect(not worker.is_ready(), f"{worker.name}: it became ready")


# ------------------------------------------------------------------------------------------------------------- the load


def healthy(trial: Trial) -> None:
    """F36, F35: hours of a recording with every mild fault of the load and none of ours; memory must not grow."""
    hours, speed = 1.5, 45.0
    load = Load(trial.seed, seconds=round(3600 * hours), crowd=10, tickets=60)
    seen: list[tuple[float, float]] = []
    with trial.bed() as bed:
        worker = bed.start_worker("worker")
        began = time.monotonic()
        with bed.feeding(load, speed=speed) as feeding:
            while not feeding.ended():
                bed.wait(1)
                seen.append(((time.monotonic() - began) * speed / 3600, worker.rss_mb()))
        bed.settle()
        bed.stop()
        trial.judge(bed.read(), load, deaths=0)
    slope = slope_of([point for point in seen if point[0] > hours / 2])
    trial.measured |= {"simulated (h)": hours, "RSS (MB)": round(seen[-1][1], 1), "RSS slope (MB/h)": round(slope, 2)}
    trial.expect(slope < SLOPE_MB_AN_HOUR, f"memory grows by {slope:.1f} MB a simulated hour")


def slope_of(points: list[tuple[float, float]]) -> float:
    """The least-squares slope."""
    count = len(points)
    x, y = sum(p[0] for p in points) / count, sum(p[1] for p in points) / count
    return sum((p[0] - x) * (p[1] - y) for p in points) / sum((p[0] - x) ** 2 for p in points)


def until_begun(load: Load) -> None:
    """Nothing is sent before its instant; a worker that is not up by then would be measured for its start."""
    left_s = load.start_ms / 1000 - time.time()
    assert left_s > 0, f"the worker was up {-left_s:.1f} s after the load's first instant"
    time.sleep(left_s)


def live(trial: Trial) -> None:
    """By the wall clock without faults: how long after its instant a detection is on the topic."""
    load = Load(trial.seed, seconds=50, start_ms=int(time.time() + 10) * 1000)
    with trial.bed(ZHINAO_CLOCK="wall") as bed:
        bed.start_worker("worker")
        until_begun(load)
        with bed.feeding(load, speed=1, drain_s=15):
            pass
        bed.settle()
        bed.stop()
        run = bed.read()
    trial.judge(run, load, deaths=0)
    delays = delays_s(run)
    trial.expect(
        min(delays, default=-1) >= 0, "no detection, or one before its instant: the load was ahead of the clock"
    )
    trial.measured |= {"delay p50 (s)": round(share(delays, 0.5), 2), "delay p99 (s)": round(share(delays, 0.99), 2)}


def poison_storm(trial: Trial) -> None:
    """F17: half of what comes is broken; the good half must get through at no less than 70 % of its pace."""
    rates = []
    for poison in (0.0, 1.0):
        load = Load(trial.seed, seconds=600, poison=poison)
        with trial.bed() as bed:
            with bed.feeding(load, speed=0):
                pass
            worker = bed.start_worker("worker")
            bed.settle()
            taken_s = time.monotonic() - worker.started_s
            bed.stop()
            trial.judge(bed.read(), load, deaths=0)
        good = sum(record.fate == "used" for record in load.records)
        rates.append(good / taken_s)
    trial.measured |= {"good records/s alone": round(rates[0]), "in the storm": round(rates[1])}
    trial.expect(
        rates[1] >= 0.7 * rates[0], f"{rates[1]:.0f} good records a second in the storm, {rates[0]:.0f} without"
    )


def flood(trial: Trial) -> None:
    """F20: ten minutes of traffic as fast as it can be sent to a worker that is up: done when it ends or soon after."""
    load = Load(trial.seed, seconds=600, crowd=5)
    with trial.bed() as bed:
        bed.start_worker("worker")
        began = time.monotonic()
        with bed.feeding(load, speed=0):
            pass
        sent_s = time.monotonic() - began
        behind_s = bed.settle()
        bed.stop()
        trial.judge(bed.read(), load, deaths=0)
    trial.measured |= {"burst (s)": round(sent_s, 1), "done after (s)": round(behind_s, 1)}
    trial.expect(behind_s <= max(sent_s, 20), f"{behind_s:.0f} s behind a burst of {sent_s:.0f} s")


# ------------------------------------------------------------------------------------------------ state, disk, versions


def big_state(trial: Trial) -> None:
    """F08: killed with tens of thousands of cars in hand, many for one camera; the next one has them again."""
    load = Load(trial.seed, seconds=40, visitors=150)
    with trial.bed() as bed:
        bed.start_worker("worker")
        with bed.feeding(load, speed=1):
            time.sleep(trial.chance.uniform(18, 24))
            bed.workers["worker"].kill()
            trial.measured["state (MB)"] = round(bed.state_mb(), 2)
            bed.forget_dead()
            trial.measured["ready again (s)"] = round(bed.start_worker("heir").wait_ready(), 1)
        bed.settle(180)
        bed.stop()
        trial.judge(bed.read(), load, deaths=1)
    trial.measured["keys"] = 150 * sum(r.topic == "camera.tracks" and r.fate == "used" for r in load.records)


def hot_key(trial: Trial) -> None:
    """F21: one camera speaks as much as all others; nobody else's detections may wait for it."""
    load = Load(trial.seed, seconds=40, start_ms=int(time.time() + 12) * 1000, hot=20)
    with trial.bed(ZHINAO_CLOCK="wall") as bed:
        bed.start_worker("worker")
        until_begun(load)
        with bed.feeding(load, speed=1, drain_s=15):
            pass
        bed.settle()
        bed.stop()
        run = bed.read()
    trial.judge(run, load, deaths=0)
    area = devices("camera")[hottest()]
    hot = delays_s(run, lambda body: body["area"] == area)
    others = delays_s(run, lambda body: body["area"] != area)
    trial.measured |= {
        "delay p99 there (s)": round(share(hot, 0.99), 2),
        "elsewhere (s)": round(share(others, 0.99), 2),
    }
    trial.expect(
        min([*hot, *others], default=-1) >= 0, "a detection before its instant: the load was ahead of the clock"
    )
    trial.expect(bool(others) and share(others, 0.99) < LATENESS_S + 2, f"elsewhere {share(others, 0.99):.1f} s late")


def many_keys(trial: Trial) -> None:
    """F21: a hundred thousand cars that are each seen once; what is held of them goes again."""
    load = Load(trial.seed, seconds=125, visitors=50)
    with trial.bed() as bed:
        worker = bed.start_worker("worker")
        with bed.feeding(load, speed=4) as feeding:
            most_mb = worker.rss_mb()
            while not feeding.ended():
                bed.wait(1)
                most_mb = max(most_mb, worker.rss_mb())
        bed.settle(180)
        held_mb = bed.state_mb()
        bed.stop()
        trial.judge(bed.read(), load, deaths=0)
    keys = 50 * sum(r.topic == "camera.tracks" and r.fate == "used" for r in load.records)
    trial.measured |= {"keys": keys, "state at the end (MB)": round(held_mb, 2), "RSS at most (MB)": round(most_mb)}
    trial.expect(held_mb * 1e6 < 20 * keys, f"{held_mb:.1f} MB are held of {keys} cars that are gone")


def disk_full(trial: Trial) -> None:
    """F25: the broker's disk fills up and it ends; with room again it is started, and all goes on."""
    load = Load(trial.seed)
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(trial.folder / "disk", 400))
        kafka = stack.enter_context(KafkaBroker(disk))
        bed = stack.enter_context(trial.bed(kafka))
        bed.start_worker("worker")
        bed.supervised.add("worker")
        with bed.feeding(load, speed=1.5):
            bed.wait(10)
            ballast = fill(disk / "ballast")
            trial.measured["the broker ends after (s)"] = round(ended_after(bed, kafka), 1)
            bed.wait(3)
            ballast.unlink()
            kafka.restart(at_once=True)
            back_ms = now_ms()
        bed.settle(150)
        bed.stop()
        run = bed.read()
    trial.judge(run, load, deaths=max(1, bed.restarts))
    trial.measured |= {"recovery (s)": round(resumed_s(run, back_ms), 1), "restarts": bed.restarts}
    trial.expect(resumed_s(run, back_ms) < RESUMES_WITHIN_S, "it did not go on within a minute of the disk's mending")


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Path]:
    """A disk of its own in memory. Needs the right to mount."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> Path:
    """Write until nothing more goes on the disk."""
    with path.open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(bytes(1 << 20))
    return path


def ended_after(bed: Bed, kafka: KafkaBroker, within_s: float = 30.0) -> float:
    """Seconds until the broker has ended; infinite where it goes on."""
    began = time.monotonic()
    while kafka.pid() is not None:
        if time.monotonic() - began > within_s:
            return float("inf")
        bed.wait(0.2)
    return time.monotonic() - began


def other_version(trial: Trial) -> None:
    """F34: yesterday's version, this one, yesterday's again, with the state they leave each other; one that cannot read
    it must say so and not guess."""
    load, roles = Load(trial.seed), ("before", "this", "before again")
    # A folder without compiled loops would take half a minute to make them.
    with tree_of(ROOT, older_commit(ROOT, time.time())) as before, trial.bed(ZHINAO_COMPILED="off") as bed:
        with bed.feeding(load, speed=1):
            for role in roles:
                worker = bed.start_worker(role, wait=False, root=ROOT if role == "this" else before)
                trial.measured[role] = "read the state" if became_ready(worker) else last_words(worker)
                if worker.alive():
                    time.sleep(8)
                    worker.stop()
                elif not REFUSED.search(worker.words()):
                    trial.wrong.append(f"{role} ended and did not say that the state is of another version")
        refused = [role for role in roles if trial.measured[role] != "read the state"]
        if not refused:
            bed.start_worker("the last")
            bed.settle()
            bed.stop()
            trial.judge(bed.read(), load, deaths=0)


REFUSED = re.compile(r"(of )?version \d+, this is \d+")


def became_ready(worker: Worker) -> bool:
    try:
        worker.wait_ready()
    except AssertionError:
        return False
    return True


def last_words(worker: Worker) -> str:
    return worker.words().strip().rpartition("\n")[2][:200]


# -------------------------------------------------------------------------------------------------------- two at a time


def kill_one(trial: Trial, bed: Bed) -> None:
    bed.workers["worker"].kill()


def sleep_one(trial: Trial, bed: Bed) -> None:
    bed.workers["worker"].pause()
    time.sleep(SESSION_S + 2)
    bed.workers["worker"].resume()


def starve_one(trial: Trial, bed: Bed) -> None:
    close_memory(bed.workers["worker"])


def another_comes(trial: Trial, bed: Bed) -> None:
    bed.start_worker("other", wait=False)
    bed.supervised.add("other")


MIXED: dict[str, Callable[[Trial, Bed], None]] = {
    "kill": kill_one,
    "sleep": sleep_one,
    "starve": starve_one,
    "another comes": another_comes,
}


def two_at_once(trial: Trial) -> None:
    """F37: two of the small faults, at random; where they fail together, whether one does alone."""
    pair = trial.chance.sample(sorted(MIXED), 2)
    trial.measured["pair"] = " + ".join(pair)
    wrong = mixed(trial, pair)
    trial.wrong += wrong
    if wrong:
        alone = [name for name in pair if mixed(trial, [name])]
        trial.wrong.append(f"alone these fail: {alone}" if alone else "neither fails alone")


def mixed(trial: Trial, names: list[str]) -> list[str]:
    load = Load(trial.seed)
    with trial.bed() as bed:
        bed.start_worker("worker")
        bed.supervised.add("worker")
        with bed.feeding(load, speed=2):
            for name in names:
                bed.wait(trial.chance.uniform(3, 8))
                MIXED[name](trial, bed)
        bed.settle(120)
        bed.stop()
        run = bed.read()
    counted = figures(run, load)
    trial.measured |= {"records": counted.produced, "doubled raw": counted.doubled_raw, "restarts": bed.restarts}
    return findings(run, load, raw_at_most=max(1, bed.restarts + len(names)) * busiest(run, IN_FLIGHT_MS))


class Fault(NamedTuple):
    name: str
    zh: str
    en: str
    run: Callable[[Trial], None]


FAULTS = (
    Fault("F04", "进程停顿超过会话时限", "a worker asleep beyond its session", zombie),
    Fault("F01", "负载下随机强杀", "random kills under load", random_kills),
    Fault("F02", "连续强杀", "a burst of kills", burst),
    Fault("F36", "无故障长跑与内存", "a healthy run, and memory", healthy),
    Fault("F35", "实时运行的延迟", "delay by the wall clock", live),
    Fault("F05", "代理宕机：一、二、全部", "brokers down: one, two, all", brokers),
    Fault("F06", "网络慢、断、无声", "a network slow, cut, silent", bad_network),
    Fault("F20", "突发洪峰", "a flood", flood),
    Fault("F17", "坏数据风暴", "a storm of poison", poison_storm),
    Fault("F26", "内存耗尽", "out of memory", out_of_memory),
    Fault("F08", "大状态恢复", "recovery of much state", big_state),
    Fault("F21", "热点摄像机", "a hot camera", hot_key),
    Fault("F21b", "大量短暂的键", "many keys that pass", many_keys),
    Fault("F25", "代理磁盘写满", "the broker's disk full", disk_full),
    Fault("F31", "证书失效", "certificates that fail", certificates),
    Fault("F34", "版本升级与回退", "another version and back", other_version),
    Fault("F37", "两种故障同时", "two faults at once", two_at_once),
)
assert DRAIN_S > SESSION_S
