"""Clock records: a null value and a header that says what time a recording's clock shows. They carry nothing else."""

from __future__ import annotations

from models.columns import RawRecord

TICK_HEADER = "zhinao_tick"
LONGEST_STAMP = 13
"""Digits of epoch milliseconds until 2286; more of them are no time at all."""


def tick_us(record: RawRecord) -> int | None:
    """The instant a clock record tells, microseconds UTC; None for any other record, a badly written one among them."""
    if record.value is None:
        for name, value in record.headers:
            if name == TICK_HEADER and value and value.isdigit() and len(value) <= LONGEST_STAMP:
                return int(value) * 1000
    return None
