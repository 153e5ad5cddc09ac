"""What is due before the Desk under the stream clock, second by second."""

from __future__ import annotations

from random import Random

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from models.faults import MAX_BYTES
from models.streams import DESK_TOPICS
from models.ticks import TICK_HEADER
from models.times import SECOND_US, format_time, zone_info
from streams.agents.queues import STEP_BYTES, Part, Queues, Step, kept, kept_bytes, pieces
from streams.transport import TP, Chunk, Record

T0_S = 1_772_406_000
ZONE = zone_info("Asia/Shanghai")
LATENESS = {"camera.tracks": 2 * SECOND_US}
RECORDED = [topic for topic in DESK_TOPICS if topic not in ("detections", "dispatch.feedback", "commands")]
FOREVER = 3600 * SECOND_US


def tick(second: int, source: str = "") -> Record:
    headers = [(TICK_HEADER, b"%d" % ((T0_S + second) * 1000))]
    return Record(0, 0, b"k", None, tuple(headers + ([("ce_source", source.encode())] if source else [])))


def detection(second: float, name: str) -> Record:
    value = {
        "event_time": format_time(round((T0_S + second) * SECOND_US), ZONE),
        "detection_id": name,
        "kind": "raised",
        "stage": None,
        "sources": ["camera.tracks"],
    }
    return Record(0, 0, b"k", orjson.dumps(value), ())


def data(name: str) -> Record:
    return Record(0, 0, b"k", name.encode(), ())


class Logs:
    """Topics as logs: offsets are given out here, chunks cut anywhere."""

    def __init__(self, logs: dict[str, list[Record]]) -> None:
        self.logs = {t: [r._replace(offset=n) for n, r in enumerate(log)] for t, log in logs.items()}

    def chunk(self, topic: str, start: int, end: int) -> Chunk:
        return Chunk(TP(topic, 0), self.logs[topic][start:end])


def queues(partitions: int = 2) -> Queues:
    return Queues(DESK_TOPICS, partitions, "zhinao", LATENESS)


def fed(step_parts: list[Part]) -> list[tuple[int | None, list[bytes | None]]]:
    return [
        (None if p.advance_us is None else p.advance_us // SECOND_US - T0_S, [r[3] for _, g in p.groups for r in g])
        for p in step_parts
    ]


def ticks(until: int) -> dict[str, list[Record]]:
    return {topic: [tick(s) for s in range(1, until + 1)] for topic in RECORDED}


def test_nothing_is_due_until_every_source_has_spoken() -> None:
    q, logs = queues(), Logs(ticks(5) | {"detections": [tick(5, "/zhinao/detector/0")]})
    for topic in logs.logs:
        q.put(topic, logs.chunk(topic, 0, 99))
    assert q.due(FOREVER).parts == []
    q.put("detections", Chunk(TP("detections", 0), [tick(3, "/zhinao/detector/1")._replace(offset=9)]))
    assert [second for second, _ in fed(q.due(FOREVER).parts)] == [1, 2, 3]


def test_a_detection_is_due_when_its_watermark_has_passed_and_a_ticket_in_its_second() -> None:
    log = ticks(9)
    log["hotline.tickets"] = [tick(1), tick(2), tick(3), data("ticket"), *[tick(s) for s in range(4, 10)]]
    log["detections"] = [detection(1.5, "d"), tick(9, "/zhinao/detector/0"), tick(9, "/zhinao/detector/1")]
    q, logs = queues(), Logs(log)
    for topic in logs.logs:
        q.put(topic, logs.chunk(topic, 0, 99))
    by_second = {second: values for second, values in fed(q.due(FOREVER).parts) if values}
    assert list(by_second) == [4]
    assert by_second[4][1] == b"ticket"


def test_the_pace_leaves_the_rest_for_later_and_offsets_name_what_still_waits() -> None:
    log = ticks(9) | {
        "detections": [detection(5, "late"), tick(9, "/zhinao/detector/0"), tick(9, "/zhinao/detector/1")]
    }
    q, logs = queues(), Logs(log)
    for topic in logs.logs:
        q.put(topic, logs.chunk(topic, 0, 99))
    step = q.due(3 * SECOND_US)
    assert [second for second, _ in fed(step.parts)] == [1, 2, 3, 4]
    assert step.offsets["detections"] == 0
    assert step.offsets["hotline.tickets"] == 4
    rest = q.due(FOREVER)
    assert [second for second, _ in fed(rest.parts)] == [5, 6, 7, 8, 9]
    assert rest.offsets["detections"] == 3


def test_clock_records_of_the_detectors_read_ahead_were_gone_after_a_restart() -> None:
    log = ticks(9) | {"detections": [tick(9, "/zhinao/detector/0"), tick(9, "/zhinao/detector/1")]}
    q, logs = queues(), Logs(log)
    for topic in logs.logs:
        q.put(topic, logs.chunk(topic, 0, 4 if topic == "hotline.tickets" else 99))
    step = q.due(FOREVER)
    assert [second for second, _ in fed(step.parts)] == [1, 2, 3, 4]
    again = queues()
    again.done_us = (T0_S + 4) * SECOND_US
    for topic in logs.logs:
        again.put(topic, logs.chunk(topic, step.offsets[topic], 99))
    assert [second for second, _ in fed(again.due(FOREVER).parts)] == [5, 6, 7, 8, 9]


def test_a_detection_told_late_was_due_in_a_second_that_was_over() -> None:
    from_0 = (("ce_source", b"/zhinao/detector/0"),)
    told = [tick(3, "/zhinao/detector/0"), detection(0.5, "late")._replace(headers=from_0)]
    rest = [tick(3, "/zhinao/detector/1"), tick(4, "/zhinao/detector/0"), tick(4, "/zhinao/detector/1")]
    q, logs = queues(), Logs(ticks(4) | {"detections": told + rest})
    for topic in logs.logs:
        q.put(topic, logs.chunk(topic, 0, 99))
    assert [len(values) for _, values in fed(q.due(FOREVER).parts)] == [0, 0, 0, 1]


def test_doubled_and_disordered_clock_records_do_nothing_twice() -> None:
    log = ticks(4)
    log["hotline.tickets"] = [tick(1), data("a"), tick(2), tick(2), tick(1), data("b"), tick(3), tick(3), tick(4)]
    log["detections"] = [tick(s, f"/zhinao/detector/{p}") for s in (1, 2, 2, 4, 3) for p in (0, 1)]
    q, logs = queues(), Logs(log)
    found = []
    for n in range(10):
        for topic in logs.logs:
            if n < len(logs.logs[topic]):
                q.put(topic, logs.chunk(topic, n, n + 1))
        found += fed(q.due(FOREVER).parts)
    seconds = [second for second, _ in found if second is not None]
    assert seconds[-1] == 4
    assert [value for _, values in found for value in values] == [b"a", b"b"]


def test_an_answer_waits_for_the_second_it_bears() -> None:
    q, logs = queues(), Logs(ticks(5) | {"detections": [tick(5, f"/zhinao/detector/{p}") for p in (0, 1)]})
    for topic in logs.logs:
        q.put(topic, logs.chunk(topic, 0, 99))
    early, late, past = (orjson.dumps({"time": (T0_S + second) * 1000}) for second in (3, 9, 1))
    records = [Record(n, 0, b"k", value, ()) for n, value in enumerate((early, late))]
    q.put("commands", Chunk(TP("commands", 0), records))
    step = q.due(FOREVER)
    assert [(second, values) for second, values in fed(step.parts) if values] == [(3, [early])]
    assert step.offsets["commands"] == 1
    q.put("commands", Chunk(TP("commands", 0), [Record(2, 0, b"k", past, ())]))
    assert fed(q.due(FOREVER).parts) == [(None, [past])]


def test_what_was_done_before_is_given_back_and_its_clock_is_heard() -> None:
    q, logs = queues(), Logs(ticks(5) | {"detections": [tick(5, f"/zhinao/detector/{p}") for p in (0, 1)]})
    q.beyond = {"commands": frozenset({1}), "detections": frozenset({0, 1})}
    records = [data("waited")._replace(offset=0), data("done")._replace(offset=1), data("new")._replace(offset=2)]
    assert q.put("commands", Chunk(TP("commands", 0), records)) == [records[1]]
    for topic in logs.logs:
        q.put(topic, logs.chunk(topic, 0, 99))
    step = q.due(FOREVER)
    assert [values for _, values in fed(step.parts) if values] == [[b"waited", b"new"]]
    assert [second for second, _ in fed(step.parts)] == [None, 1, 2, 3, 4, 5]


def test_answers_are_due_at_once_even_after_the_last_clock_record() -> None:
    q = queues()
    q.put("dispatch.feedback", Chunk(TP("dispatch.feedback", 0), [data("f")._replace(offset=4)]))
    step = q.due(FOREVER)
    assert fed(step.parts) == [(None, [b"f"])]
    assert step.offsets == {"dispatch.feedback": 5}
    assert q.due(FOREVER).parts == []


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.lists(st.tuples(st.floats(0, 20), st.integers(0, 1)), max_size=12))
def test_the_order_of_arrival_between_topics_does_not_matter(seed: int, moments: list[tuple[float, int]]) -> None:
    log = ticks(30)
    told = [(detection(second, f"d{n}"), which) for n, (second, which) in enumerate(moments)]
    ends = [tick(30, "/zhinao/detector/0"), tick(30, "/zhinao/detector/1")]
    rng = Random(seed)
    results = []
    for _ in range(2):
        rng.shuffle(told)
        logs = Logs(log | {"detections": [record for record, _ in told] + ends})
        q, at = queues(), dict.fromkeys(logs.logs, 0)
        found: list[tuple[int | None, list[bytes | None]]] = []
        while any(at[topic] < len(log_) for topic, log_ in logs.logs.items()):
            topic = rng.choice([t for t, log_ in logs.logs.items() if at[t] < len(log_)])
            end = at[topic] + rng.randrange(1, 9)
            q.put(topic, logs.chunk(topic, at[topic], end))
            at[topic] = end
            found += fed(q.due(FOREVER).parts)
        results.append(found)
    assert results[0] == results[1]


SIZES = st.lists(st.sampled_from([0, 10, 5_000, 300_000, 700_000, MAX_BYTES, 3 * MAX_BYTES]), max_size=6)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.lists(st.tuples(st.sampled_from(DESK_TOPICS), SIZES), max_size=3), st.booleans()), max_size=3)
)
def test_a_step_too_large_for_the_journal_is_several(drawn: list[tuple[list[tuple[str, list[int]]], bool]]) -> None:
    number = iter(range(1000))
    parts = [
        Part([(topic, [kept(sized(next(number), size)) for size in sizes]) for topic, sizes in groups], tick or None)
        for groups, tick in drawn
    ]
    step = Step(parts, {"commands": 7})
    made = list(pieces(step))
    assert in_turn(made) == in_turn([step])
    assert [piece.offsets for piece in made] == [*({} for _ in made[1:]), {"commands": 7}]
    for piece in made:
        held = [record for part in piece.parts for _, records in part.groups for record in records]
        assert sum(map(kept_bytes, held)) <= STEP_BYTES or len(held) == 1


def sized(offset: int, size: int) -> Record:
    return Record(offset, 0, b"k", b"x" * size, ())


def in_turn(steps: list[Step]) -> list[object]:
    """Records and times as a Desk is told them."""
    return [
        told
        for step in steps
        for part in step.parts
        for told in [
            *((t, r[0]) for t, records in part.groups for r in records),
            *([part.advance_us] if part.advance_us else []),
        ]
    ]


def test_what_is_kept_of_a_record_is_bounded_and_shows_what_was_wrong() -> None:
    headers = (("ce_id", b"1"), ("bomb", b"x" * 5_000_000), *((str(n), b"y" * 4000) for n in range(500)))
    record = Record(1, 2, b"k" * 900_000, b" " * (5 * MAX_BYTES), headers)
    offset, timestamp, _, value, names = kept(record)
    assert (offset, timestamp, len(value or b""), names[0]) == (1, 2, MAX_BYTES + 1, ("ce_id", b"1"))
    assert kept_bytes(kept(record)) < 2 * MAX_BYTES
    plain = Record(1, 2, b"k", b"{}", (("ce_id", b"1"), ("x", b"")))
    assert kept(plain) == (1, 2, b"k", b"{}", [("ce_id", b"1"), ("x", b"")])
