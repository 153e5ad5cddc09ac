"""What a worker says on stderr: one line a record, as text or JSON, with nothing personal in it, and never a flood.

- **Format** (`ZHINAO_LOG_FORMAT`): `text` for people, the default whatever stderr is; `json` for whoever collects logs:
  `time` (RFC 3339), `level`, `logger`, `message`, and where there are some `fields` and `stack`.
- **Masks**: plates, phone and identity numbers are masked in the finished line, whatever it was made of: a message, its
  arguments, a field, an exception's text.
- **Repeats**: the same message (its template, numbers aside) at most `MOST` times a minute; then how often it came.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import tzinfo
from math import inf
from types import TracebackType
from typing import Literal, TextIO

from models.privacy import mask_text
from models.times import format_time, zone_info

Style = Literal["text", "json"]

MOST = 10
WINDOW_S = 60.0
# Different messages remembered at a time; libraries that are told of a lost broker have some thirty.
MOST_KEYS = 1024
OURS = "streams"
NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)?")
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@dataclass(frozen=True, slots=True)
class Line:
    """One record ready to be written; everything in it is masked."""

    time: str
    level: str
    logger: str
    message: str
    fields: dict[str, object]
    stack: str

    def written(self, style: Style) -> str:
        """With its line break; several lines only where there is a stack, and only as text."""
        return self._json() if style == "json" else self._text()

    def _json(self) -> str:
        data: dict[str, object] = {
            "time": self.time,
            "level": self.level,
            "logger": self.logger,
            "message": self.message,
        }
        if self.fields:
            data["fields"] = self.fields
        if self.stack:
            data["stack"] = self.stack
        return json.dumps(data, ensure_ascii=False) + "\n"

    def _text(self) -> str:
        message = self.message.replace("\n", "\n  ")
        fields = "".join(f" {name}={value}" for name, value in self.fields.items())
        stack = f"\n{self.stack}" if self.stack else ""
        return f"{self.time} {self.level} {self.logger}: {message}{fields}{stack}\n"


@dataclass(slots=True)
class _Repeat:
    until_s: float
    record: logging.LogRecord
    seen: int = 0

    @property
    def held_back(self) -> int:
        return max(0, self.seen - MOST)


class Repeats:
    """Which records may be written. Knows no clock: it is told the time, in seconds that only go forward."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, str], _Repeat] = {}
        #: Records that were not written, since the start.
        self.held_back = 0

    def admits(self, record: logging.LogRecord, now_s: float) -> bool:
        """Whether this one is among the first `MOST` of its minute."""
        key = (record.name, record.levelno, NUMBERS.sub("#", str(record.msg))[:200])
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST_KEYS:
                del self._known[next(iter(self._known))]
            known = self._known[key] = _Repeat(now_s + WINDOW_S, record)
        known.seen += 1
        self.held_back += known.seen > MOST
        return known.seen <= MOST

    def over(self, now_s: float) -> Iterator[tuple[logging.LogRecord, int]]:
        """Messages whose minute is over, the first record of each, with how many were held back."""
        ended = [key for key, known in self._known.items() if now_s >= known.until_s]
        for key in ended:
            known = self._known.pop(key)
            if known.held_back:
                yield known.record, known.held_back


class Lines(logging.Handler):
    """Writes to `stream`. `now_us` is wall time for the stamps, `now_s` runs evenly for the minutes of repeats."""

    def __init__(
        self,
        stream: TextIO,
        style: Style,
        zone: tzinfo,
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.stream, self.style, self.zone = stream, style, zone
        self.repeats = Repeats()
        self._now_us, self._now_s = now_us, now_s
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            now_s = self._now_s()
            self._tell_repeats(now_s)
            if self.repeats.admits(record, now_s):
                self._write(self._line(record))
        except Exception:  # noqa: BLE001 (logging's own way: a line that cannot be written stops nobody)
            self.handleError(record)

    def settle(self, *, ending: bool = False) -> None:
        """Say how often messages were repeated whose minute is over, or, `ending`, of all. Nothing else may come to
        say it."""
        # Never waits: who asks may be about to end the process because somebody else holds this lock for ever.
        lock = self.lock
        if lock is None or not lock.acquire(blocking=False):
            return
        try:
            self._tell_repeats(inf if ending else self._now_s())
        finally:
            lock.release()

    def line(self, level: str, logger: str, message: str, stack: str = "") -> Line:
        """A line that is not a record of logging's."""
        return Line(self._time(), level, logger, mask_text(message), {}, mask_text(stack))

    def _tell_repeats(self, now_s: float) -> None:
        for record, count in self.repeats.over(now_s):
            said = self._line(record)
            message = f"{said.message} (又有 {count} 次未写出 / {count} more like it were not written)"
            self._write(Line(self._time(), said.level, said.logger, message, {"held_back": count}, ""))

    def _line(self, record: logging.LogRecord) -> Line:
        stack = self._formatter.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
        fields = {name: _plain(value) for name, value in vars(record).items() if name not in STANDARD}
        return Line(
            format_time(int(record.created * 1e6), self.zone),
            record.levelname,
            record.name,
            mask_text(record.getMessage().strip()),
            fields if record.name.startswith(OURS) else {},  # what libraries attach is for their own formatters
            mask_text(stack),
        )

    def _time(self) -> str:
        return format_time(self._now_us(), self.zone)

    def _write(self, line: Line) -> None:
        self.stream.write(line.written(self.style))
        self.stream.flush()


def _plain(value: object) -> object:
    return value if isinstance(value, int | float | bool | None) else mask_text(str(value))


_installed: Lines | None = None


def install(style: Style, timezone: str, *, level: int | str = logging.WARNING, stream: TextIO | None = None) -> Lines:
    """From here on all logging of this process goes out this way, from `level` on."""
    global _installed  # noqa: PLW0603 (logging is the process's, and so is this)
    handler = Lines(stream or sys.__stderr__ or sys.stderr, style, zone_info(timezone))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    _installed = handler
    return handler


def _uncaught(kind: type[BaseException], exc: BaseException, tb: TracebackType | None) -> None:
    if isinstance(exc, KeyboardInterrupt):
        sys.__excepthook__(kind, exc, tb)
    else:
        logging.getLogger(OURS).critical("%s", exc, exc_info=(kind, exc, tb))


def settle(*, ending: bool = False) -> None:
    """Write what is still to be said of repeated messages."""
    if _installed is not None:
        _installed.settle(ending=ending)


def held_back() -> int:
    """Records not written since the start, because the same had been said often enough."""
    return 0 if _installed is None else _installed.repeats.held_back


def last_words(message: str, stack: str = "") -> str:
    """The last line of a process that ends itself, for stderr: the words the demo and people look for."""
    if _installed is not None and _installed.style == "json":
        return _installed.line("CRITICAL", "zhinao", message, stack).written("json")
    return f"{mask_text(stack)}zhinao: {mask_text(message)}\n"
