"""Closures, masks and explanations mean the same: random typed expressions on random rows with nulls.

Hypothesis draws the seed, an author all else.
"""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from models.streams import STREAMS
from rules.language.explaining import explain
from tests.rules.language.author import Author
from tests.rules.language.world import expression
from tests.support import batch_of

TOPICS = ("camera.tracks", "sensor.readings", "vehicle.positions")
ROWS = 30
EXPRESSIONS = 6


@settings(max_examples=250, deadline=None)
@given(seed=st.integers(0, 2**48), topic=st.sampled_from(TOPICS))
def test_all_back_ends_agree(seed: int, topic: str) -> None:
    author = Author(Random(seed), topic)
    fields = STREAMS[topic].fields
    records = [{n: author.cell(f.kind) for n, f in fields.items()} for _ in range(ROWS)]
    for record in records:
        record["time_us"] = author.random.randrange(4_000_000_000_000_000)
    batch = batch_of(topic, records)
    for _ in range(EXPRESSIONS):
        text = author.flag(2)
        values = [expression(text, topic).value(record) for record in records]
        assert expression(text, topic).mask(batch).tolist() == [v is True for v in values], text
        negated = f"not ({text})"
        assert expression(negated, topic).mask(batch).tolist() == [v is False for v in values], negated
        assert all(v is None or isinstance(v, bool) for v in values), text
        assert [explain(expression(text, topic), record).value for record in records] == values, text
