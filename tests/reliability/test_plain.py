"""A run without any fault: the base of all others, and the first thing that must hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kafka.broker import KafkaBroker
from tests.reliability.bed import Bed
from tests.reliability.equations import findings, outcome
from tests.reliability.load import Load
from tests.reliability.replaying import as_run, replayed


@pytest.mark.slow
def test_a_worker_without_faults_loses_and_doubles_nothing(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path
) -> None:
    load = Load(11)
    with Bed(kafka.bootstrap, unique_prefix, tmp_path) as bed:
        bed.start_worker("one")
        with bed.feeding(load, speed=15):
            pass
        bed.settle()
        assert bed.stop() == {"one": 0}
        run = bed.read()
    assert findings(run, load, raw_at_most=0) == []
    assert outcome(run) == outcome(as_run(replayed(load)[0], load))
