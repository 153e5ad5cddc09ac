"""F39: the most that rules and zones may be, in a running worker: its loop goes on beating."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rules.language.load import MAX_RULES
from tests.kafka.broker import KafkaBroker
from tests.ports import free_ports
from tests.reliability.asking import scraped
from tests.reliability.bed import Bed
from tests.reliability.equations import findings
from tests.reliability.load import Load
from tests.reliability.replaying import RULES

OWN = 5
STALL_S = 0.05
LIMIT_S = 10 * STALL_S
"""Of the loop, on a machine that does other things too. What was seen is told, to be held against `STALL_S`."""
DEEPEST = "speed_mps < 0" + "".join(f" or (confidence > 2.{n} and (speed_mps > {n}" for n in range(10)) + "))" * 10
WORST = 'matches(class, "(a|aa|aaa){1,200}b")'
BOMB = """
  - id: bomb-{number}
    revision: 1
    name: {{zh: 炸弹, en: Bomb}}
    status: active
    type: {{code: "0505", severity: minor}}
    from: [camera.tracks]
    where: '{where}'
    zones: {{in: ["no-parking/*"]}}
    by: [sensor_id, track_id, zone]
    detect: {{dwell: {{for: 8s}}}}
    merge: {{radius: 5km, window: 1s}}
    message: {{zh: 有, en: There}}
"""
Note = Callable[[str, object], None]


def bombs(path: Path) -> Path:
    """The harness's rules and as many more as a city may have, half deep and half with patterns; none of them holds."""
    many = [BOMB.format(number=n, where=DEEPEST if n % 2 else WORST) for n in range(MAX_RULES - OWN)]
    path.write_text(RULES.read_text() + "".join(many))
    return path


@pytest.mark.slow
@pytest.mark.alone
def test_a_worker_with_as_many_and_as_costly_rules_as_are_taken_keeps_beating(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path, record_property: Note
) -> None:
    load = Load(95, seconds=30)
    (port,) = free_ports(1)
    rules = bombs(tmp_path / "rules.yaml")
    with Bed(
        kafka.bootstrap, unique_prefix, tmp_path, ZHINAO_HTTP=str(port), ZHINAO_RULES=str(rules), ZHINAO_STALL_S="120"
    ) as bed:
        ready_s = bed.start_worker("one").wait_ready()
        with bed.feeding(load, speed=2):
            pass
        bed.settle()
        stall_s = scraped(port, "zhinao_loop_stall_max_seconds")
        assert bed.stop() == {"one": 0}
        run = bed.read()
    record_property("ready after (s)", round(ready_s, 1))
    record_property("greatest stall (s)", stall_s)
    assert findings(run, load, raw_at_most=0) == []
    assert 0 < stall_s < LIMIT_S
