"""Recordings: exact bytes there and back, every compression, and errors that name file, line and cause."""

import gzip
import io
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.recording import (
    RecordedLine,
    RecordingError,
    RecordingWriter,
    compact,
    format_line,
    parse_line,
    read_recording,
    read_recordings,
)

TRACK = (
    b'{"sensor_id":"33048200001320000001","frame_time":1772406600000,'
    b'"objects":[{"track_id":"17","class":"car","lon":121.02,"lat":30.69}]}'
)
LINES = [
    RecordedLine("camera.tracks", b"danghu", 1772406600000, TRACK),
    RecordedLine(None, None, 1772406601000, None),
    RecordedLine("sensor.readings", None, 1772406602000, None, (("zhinao_tick", b"1772406602000"),), 3, 17),
    RecordedLine("commands", "指挥中心".encode(), 1772406603000, "不是 JSON".encode()),
    RecordedLine("commands", b"\xff\xfe", 1772406604000, b"\x00\x01\xff", (("h", b"\xff"), ("h", b"twice"))),
    RecordedLine("late", b"k", 1772406605000, b'{"a":1.0,"a":1e0,"b":123456789012345678901234567890}'),
]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_what_is_written_is_read_and_written_again_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with RecordingWriter(path) as writer:
        for line in LINES:
            writer.write(line)
    assert writer.lines == len(LINES)
    assert list(read_recording(path)) == LINES
    again = tmp_path / f"again-{name}"
    with RecordingWriter(again) as writer:
        for line in read_recording(path):
            writer.write(line)
    assert again.read_bytes() == path.read_bytes()
    assert list(read_recordings([path, again])) == LINES * 2


def test_a_value_is_compact_json_with_its_digits_and_its_repeated_keys() -> None:
    line = parse_line(
        b'{ "topic": "t", "timestamp_ms": 5, "key": "k",'
        b' "value": { "a" : 1.50 , "a":1e3, "s": "two  spaces \\" , : x", "l": [ 1,\t2 ] } }\r\n'
    )
    assert line.value == b'{"a":1.50,"a":1e3,"s":"two  spaces \\" , : x","l":[1,2]}'


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(json_values.filter(lambda value: value is not None))
def test_compact_is_what_orjson_writes(value: object) -> None:
    tight = orjson.dumps(value)
    assert compact(orjson.dumps(value, option=orjson.OPT_INDENT_2)) == tight
    assert parse_line(format_line(RecordedLine("t", b"k", 1, tight))).value == tight


@given(
    st.builds(
        RecordedLine,
        st.just("camera.tracks"),
        st.none() | st.binary(max_size=20),
        st.integers(0, 2**53),
        st.none()
        | st.binary(max_size=40)
        | st.sampled_from([b"null", b"[1, 2]", b'{"a":NaN}', b"{}", b" 1", b'"\xff"']),
        st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=3).map(tuple),
        st.none() | st.integers(0, 99),
        st.none() | st.integers(0, 2**60),
    )
)
def test_any_record_comes_back_byte_for_byte(line: RecordedLine) -> None:
    text = format_line(line)
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    assert parse_line(text) == line


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b'{"topic": "t", "value": {}}', "`timestamp_ms`"),
        (b'{"timestamp_ms": 1, "value": {}}', "`topic`"),
        (b'{"topic": "t", "timestamp_ms": "now", "value": {}}', "expected `int`, got `str`"),
        (b'{"topic": "t", "timestamp_ms": 1}', "needs value or value_b64"),
        (b'{"topic": "t", "timestamp_ms": 1, "value": 1, "value_b64": "MQ=="}', "not both"),
        (b'{"topic": "t", "timestamp_ms": 1, "value_b64": "!"}', "value_b64 is not base64"),
        (b'{"topic": "t", "timestamp_ms": 1, "value": {]}', "malformed"),
        (b"not json", "malformed"),
        (b'[1]', "expected `object`"),
        (b'{"topic": "t", "timest', "cut off"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_with_file_line_and_cause(text: bytes, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"topic":null,"timestamp_ms":1}\n\n' + text)
    read = read_recording(path)
    assert next(read).timestamp_ms == 1
    with pytest.raises(RecordingError) as caught:
        next(read)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert cause in str(caught.value)


def test_a_damaged_archive_and_a_missing_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"topic":null,"timestamp_ms":1}\n' * 5000)[:-30])
    with pytest.raises(RecordingError, match="damaged or cut off"):
        list(read_recording(path))
    (tmp_path / "no.jsonl.zst").write_bytes(b"this is not zstd")
    with pytest.raises(RecordingError, match=r"no\.jsonl\.zst:1: the compressed file is damaged"):
        list(read_recording(tmp_path / "no.jsonl.zst"))
    with pytest.raises(RecordingError, match="No such file"):
        list(read_recording(tmp_path / "absent.jsonl"))


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "windows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"topic":null,"timestamp_ms":1}\r\n\r\n{"topic":null,"timestamp_ms":2}')
    assert [line.timestamp_ms for line in read_recording(path)] == [1, 2]


def test_a_dash_is_stdin_and_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
    with RecordingWriter("-") as writer:
        writer.write(LINES[0])
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(out.getvalue())))
    assert list(read_recording("-")) == LINES[:1]


def test_reading_is_fast(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    line = format_line(LINES[0])
    path.write_bytes(line * 50_000)
    started = time.process_time()
    number = sum(1 for _ in read_recording(path))
    rate = number / (time.process_time() - started)
    print(f"{rate:,.0f} lines a second")
    assert rate > 50_000  # 200,000 is the aim; a busy machine reads slower
