"""Recordings: JSON Lines, plain, .gz or .zst, `-` for stdin and stdout. One line is one record, in arrival order.

`{"topic": "camera.tracks", "key": "danghu", "timestamp_ms": 1772406600000, "value": {…}}`

The bytes of a value are its compact JSON exactly as written: numbers keep their digits, repeated keys stay. What is not
JSON, or would not come back byte for byte, is written as `value_b64`. A line with `"topic": null` only moves the clock.
"""

import base64
import binascii
import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import msgspec
import orjson
import zstandard

# Longest line read. A dead letter may hold 4 MiB, in base64; anything beyond this is not a recording.
MAX_LINE_BYTES = 16 * 1024 * 1024
BUFFER_BYTES = 1024 * 1024
# White space between JSON tokens; strings are matched first, so that theirs stays.
_LOOSE = re.compile(rb'("(?:[^"\\]|\\.)*")|[ \t\r\n]+', re.DOTALL)
_SPACES = (b" ", b"\t", b"\r", b"\n")
HeaderPairs = tuple[tuple[str, bytes], ...]


class RecordingError(Exception):
    """A recording cannot be read: `file:line: cause`."""

    def __init__(self, file: str, line: int, cause: str) -> None:
        super().__init__(f"{file}:{line}: {cause}")
        self.file, self.line, self.cause = file, line, cause


class RecordedLine(NamedTuple):
    """One record. `topic` is the short name, None for a line that only moves the clock; a None value is a tombstone."""

    topic: str | None
    key: bytes | None
    timestamp_ms: int
    value: bytes | None
    headers: HeaderPairs = ()
    partition: int | None = None
    offset: int | None = None


class _Wire(msgspec.Struct):
    topic: str | None
    timestamp_ms: int
    key: str | None = None
    key_b64: str | None = None
    value: msgspec.Raw = msgspec.Raw(b"")
    value_b64: str | None = None
    headers: dict[str, str | None] | list[tuple[str, str | dict[str, str] | None]] | None = None
    partition: int | None = None
    offset: int | None = None


_decode = msgspec.json.Decoder(_Wire).decode


def parse_line(line: bytes) -> RecordedLine:
    """One line. Raises `ValueError` with the cause."""
    wire = _decode(line)
    value: bytes | None = bytes(wire.value)
    if wire.value_b64 is not None:
        if value:
            raise ValueError("a line has value or value_b64, not both")
        value = _from_b64(wire.value_b64, "value_b64")
    elif value == b"null":
        value = None
    elif not value:
        if wire.topic is not None:
            raise ValueError("a line with a topic needs value or value_b64 (null is a tombstone)")
        value = None
    else:
        value = compact(value)
    if wire.key_b64 is not None:
        key: bytes | None = _from_b64(wire.key_b64, "key_b64")
    else:
        key = None if wire.key is None else wire.key.encode()
    return RecordedLine(wire.topic, key, wire.timestamp_ms, value, _headers(wire.headers), wire.partition, wire.offset)


def compact(value: bytes) -> bytes:
    """JSON text without white space between its tokens; everything else stays, digit for digit."""
    for space in _SPACES:
        if space in value:
            return _LOOSE.sub(rb"\1", value)
    return value


def _from_b64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise ValueError(f"{what} is not base64: {exc}") from None


def _headers(wire: dict[str, str | None] | list[Any] | None) -> HeaderPairs:
    if not wire:
        return ()
    pairs = wire.items() if isinstance(wire, dict) else wire
    return tuple((name, _header(value)) for name, value in pairs)


def _header(value: str | dict[str, str] | None) -> bytes:
    if isinstance(value, dict):
        return _from_b64(value.get("b64", ""), "a header")
    return (value or "").encode()


def format_line(line: RecordedLine, *, trusted: bool = False) -> bytes:
    """A line with its newline. `trusted`: the value is compact JSON of our own encoder and is not looked at."""
    parts = [b'{"topic":', orjson.dumps(line.topic)]
    if line.key is not None:
        parts += _text_or_b64(b"key", line.key)
    parts += [b',"timestamp_ms":', b"%d" % line.timestamp_ms]
    if line.value is None:
        if line.topic is not None:
            parts.append(b',"value":null')
    elif trusted or _embeds(line.value):
        parts += [b',"value":', line.value]
    else:
        parts += [b',"value_b64":"', base64.b64encode(line.value), b'"']
    if line.headers:
        parts += [b',"headers":', orjson.dumps(_wire_headers(line.headers))]
    if line.partition is not None:
        parts += [b',"partition":', b"%d" % line.partition]
    if line.offset is not None:
        parts += [b',"offset":', b"%d" % line.offset]
    parts.append(b"}\n")
    return b"".join(parts)


def _text_or_b64(name: bytes, value: bytes) -> list[bytes]:
    try:
        return [b',"', name, b'":', orjson.dumps(value.decode())]
    except UnicodeDecodeError:
        return [b',"', name, b'_b64":"', base64.b64encode(value), b'"']


def _embeds(value: bytes) -> bool:
    """True if the bytes are JSON that reading gives back as they are."""
    if value == b"null" or compact(value) != value:
        return False
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    return True


def _wire_headers(headers: HeaderPairs) -> Any:
    texts: list[tuple[str, Any]] = []
    for name, value in headers:
        try:
            texts.append((name, value.decode()))
        except UnicodeDecodeError:
            texts.append((name, {"b64": base64.b64encode(value).decode()}))
    plain = all(isinstance(text, str) for _, text in texts)
    return dict(texts) if plain and len({name for name, _ in texts}) == len(texts) else texts


def read_recording(path: str | Path) -> Iterator[RecordedLine]:
    """Every line of a recording, read as it is consumed. Raises `RecordingError` at the first that is wrong."""
    name, number = str(path), 0
    try:
        with ExitStack() as stack:
            file = _open_read(name, stack)
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                if number == 1 and line.startswith(b"\xef\xbb\xbf"):
                    line = line[3:]
                if len(line) < 4 and not line.strip():
                    continue
                if len(line) == MAX_LINE_BYTES:
                    raise RecordingError(name, number, f"the line is longer than {MAX_LINE_BYTES} bytes")
                try:
                    yield parse_line(line)
                except (ValueError, msgspec.MsgspecError) as exc:
                    raise RecordingError(name, number, _cause(exc, line)) from None
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as exc:
        raise RecordingError(name, number + 1, f"the compressed file is damaged or cut off: {exc}") from exc
    except OSError as exc:
        raise RecordingError(name, number, exc.strerror or str(exc)) from exc


def read_recordings(paths: Iterable[str | Path]) -> Iterator[RecordedLine]:
    """Several recordings, one after the other."""
    for path in paths:
        yield from read_recording(path)


def _cause(exc: Exception, line: bytes) -> str:
    text = str(exc)
    if not line.endswith(b"\n") and isinstance(exc, msgspec.DecodeError) and "truncated" in text:
        return f"the last line is cut off: {text}"
    return text[:1].lower() + text[1:]


def _open_read(name: str, stack: ExitStack) -> IO[bytes]:
    if name == "-":
        return sys.stdin.buffer
    raw = stack.enter_context(Path(name).open("rb"))  # noqa: SIM115 (the stack closes it)
    if name.endswith(".gz"):
        return stack.enter_context(io.BufferedReader(gzip.GzipFile(fileobj=raw), BUFFER_BYTES))
    if name.endswith(".zst"):
        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        return stack.enter_context(io.BufferedReader(reader, BUFFER_BYTES))
    return stack.enter_context(io.BufferedReader(raw, BUFFER_BYTES))


@dataclass(slots=True)
class RecordingWriter:
    """Writes a recording: a context manager. The same lines give the same bytes, compressed too (no time stamps)."""

    path: str | Path
    lines: int = 0
    _file: Any = None
    _raw: Any = None

    def __enter__(self) -> Self:
        name = str(self.path)
        if name == "-":
            self._file = sys.stdout.buffer
            return self
        self._raw = Path(name).open("wb")
        if name.endswith(".gz"):
            self._file = io.BufferedWriter(gzip.GzipFile("", "wb", 6, self._raw, mtime=0), BUFFER_BYTES)
        elif name.endswith(".zst"):
            self._file = zstandard.ZstdCompressor(level=6).stream_writer(self._raw, closefd=False)
        else:
            self._file = self._raw
        return self

    def write(self, line: RecordedLine, *, trusted: bool = False) -> None:
        """Append one line; see `format_line` for `trusted`."""
        self._file.write(format_line(line, trusted=trusted))
        self.lines += 1

    def flush(self) -> None:
        """Hand on what is buffered: after each line of a pipe somebody watches."""
        self._file.flush()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._raw is None:
            self._file.flush()
            return
        self._file.close()
        self._raw.close()
