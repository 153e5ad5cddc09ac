"""F01: kill -9 at every named place. What was under way is done again, and nobody can tell from the result."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from streams.failpoints import Place
from tests.kafka.broker import KafkaBroker
from tests.reliability.bed import Bed
from tests.reliability.equations import ahead_of_store, busiest, findings, outcome
from tests.reliability.load import Load
from tests.reliability.replaying import as_run, replayed

IN_FLIGHT_MS = 3000
"""State is saved twice a second here; a save under way and a loaded machine may double that and more."""
SPEED = 20.0
LOAD = Load(21, seconds=50)
TIMES = {
    Place.ASSIGNED: 1,
    Place.DECIDED: 60,
    Place.SENT: 60,
    Place.SAVING: 5,
    Place.SAVED: 8,
    Place.COMMITTING: 2,
    Place.COMMITTED: 2,
    Place.JOURNALLED: 20,
    Place.STEP_SENT: 40,
    Place.TRIMMED: 3,
}
"""The how-manieth time at each place kills: somewhere in the middle of the load."""


@pytest.fixture(scope="module")
def unkilled() -> dict[str, object]:
    """What comes of the load when nobody is killed: of a worker and of a replay alike, see test_plain.py."""
    return outcome(as_run(replayed(LOAD)[0], LOAD))


def test_every_place_has_its_kill() -> None:
    assert TIMES.keys() == set(Place)


@pytest.mark.slow
@pytest.mark.parametrize("place", list(Place))
def test_a_worker_killed_at_any_named_place_leaves_the_result_of_one_that_was_not(
    kafka: KafkaBroker, unique_prefix: str, tmp_path: Path, unkilled: dict[str, object], place: Place
) -> None:
    with Bed(kafka.bootstrap, unique_prefix, tmp_path) as bed:
        doomed = bed.start_worker("doomed", fail_at=f"{place}:{TIMES[place]}", wait=place is not Place.ASSIGNED)
        with bed.feeding(LOAD, speed=SPEED):
            try:
                assert doomed.wait_death(30) == -9
            except subprocess.TimeoutExpired:
                raise AssertionError(f"the worker did not die at {place}:{TIMES[place]}") from None
            assert ahead_of_store(bed.positions()[0], bed.stored()) == []
            bed.forget_dead()
            bed.start_worker("next")
        bed.settle()
        assert bed.stop() == {"next": 0}
        run = bed.read()
    assert findings(run, LOAD, raw_at_most=busiest(run, IN_FLIGHT_MS)) == []
    assert outcome(run) == unkilled
