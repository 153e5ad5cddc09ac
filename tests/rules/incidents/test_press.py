"""Entries of ended incidents: small while they are kept, the same when they are asked for."""

from __future__ import annotations

import msgspec

from rules.incidents.cabinet import ENCODER
from rules.incidents.press import SAMPLE_BYTES, Press
from tests.rules.incidents.city import Told, desk, parked
from tests.rules.incidents.test_properties import RULES, dossiers_of

MOST_SHARE = 0.4


def entries(count: int) -> list[bytes]:
    """Of one incident, as if it had happened again and again."""
    told = Told(desk(*RULES))
    told.tell(*parked())
    (one,) = dossiers_of(told.desk.snapshot())
    fields = msgspec.msgpack.decode(ENCODER.encode(one))
    return [ENCODER.encode([f"i-{number:032x}", *fields[1:]]) for number in range(count)]


def test_what_is_kept_is_small_and_comes_out_as_it_went_in() -> None:
    press, some = Press(), entries(200)
    kept = [press.small(entry) for entry in some]
    assert [press.whole(one) for one in kept] == some
    learnt = SAMPLE_BYTES // len(some[0]) + 1
    assert kept[:learnt] == some[:learnt]
    assert all(len(one) < MOST_SHARE * len(entry) for one, entry in zip(kept[learnt:], some[learnt:], strict=True))
