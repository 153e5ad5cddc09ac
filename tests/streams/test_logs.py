"""What goes to stderr: one line a record, masked, and never a flood."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import orjson
import pytest

from models.privacy import IDENTITY_IN_TEXT, PHONE_IN_TEXT, PLATE_IN_TEXT
from models.times import zone_info
from streams import logs
from streams.broker import EmbeddedBroker
from streams.logs import MOST, WINDOW_S, Lines
from streams.recording import read_recording
from streams.topics import all_full_names
from tests.conftest import REPOSITORY, StartKafka
from tests.e2e.city import RECORDING, Running, running

ZONE = zone_info("Asia/Shanghai")
AT_US = 1_772_406_600_000_000


class Out:
    """A logger of its own that writes to memory; the test moves its clocks."""

    def __init__(self, style: logs.Style = "text") -> None:
        self.stream, self.now_s = io.StringIO(), 0.0
        self.handler = Lines(self.stream, style, ZONE, now_us=lambda: AT_US, now_s=lambda: self.now_s)
        self.log = logging.Logger("streams.test")  # noqa: LOG001 (one that no other test shares)
        self.log.addHandler(self.handler)

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    def last(self) -> dict[str, object]:
        return json.loads(self.lines()[-1])


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging as it was before `install`."""
    root = logging.getLogger()
    handlers, level, hook, installed = list(root.handlers), root.level, sys.excepthook, logs._installed
    yield
    root.handlers[:], logs._installed, sys.excepthook = handlers, installed, hook
    root.setLevel(level)
    logging.captureWarnings(False)


# --------------------------------------------------------------------------------------------------------------- format


def test_text_is_time_level_logger_message_and_fields() -> None:
    out = Out()
    out.log.warning("%s partitions went", 3, extra={"generation": 7})
    stamp, _, rest = out.lines()[0].partition(" ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+08:00", stamp)
    assert rest == "WARNING streams.test: 3 partitions went generation=7"


def test_json_is_one_object_a_line_whatever_is_in_it() -> None:
    out = Out("json")
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        out.log.exception('quotes " and\nbreaks', extra={"lag": 12, "topic": "late"})
    (line,) = out.lines()
    told = json.loads(line)
    assert (told["level"], told["logger"], told["message"]) == ("ERROR", "streams.test", 'quotes " and\nbreaks')
    assert told["fields"] == {"lag": 12, "topic": "late"}
    assert told["stack"].startswith("Traceback")
    assert told["stack"].endswith("ValueError: first\nsecond")


def test_a_message_cannot_forge_a_line_of_the_log() -> None:
    out = Out()
    out.log.warning("bad\n2026-03-02T07:10:00.000+08:00 ERROR streams: all is lost")
    assert out.lines()[1].startswith("  ")


def test_what_libraries_attach_to_their_records_is_left_out() -> None:
    out = Out("json")
    out.handler.handle(logging.makeLogRecord({"name": "mode.x", "msg": "hello", "extra": {"data": object()}}))
    assert "fields" not in out.last()


def test_arguments_that_do_not_fit_stop_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    out = Out()
    out.log.warning("%d", "three")
    assert "Logging error" in capsys.readouterr().err
    out.log.warning("on")
    assert out.lines()[-1].endswith("on")


# ---------------------------------------------------------------------------------------------------------------- masks

CLEAR = {
    "浙F12345": "浙F·**345",
    "浙FD12345": "浙F·***345",
    "13800001234": "138****1234",
    "+86 138-0000-1234": "138****1234",
    "0573-85012345": "057*****2345",
    "330482199001011234": "330482************",
}


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize(("clear", "masked"), CLEAR.items())
def test_personal_data_is_masked_wherever_it_comes_in(style: logs.Style, clear: str, masked: str) -> None:
    out = Out(style)
    out.log.warning(f"template {clear}")  # noqa: G004
    out.log.warning("argument %s", clear)
    out.log.warning("field", extra={"note": clear})
    try:
        raise ValueError(f"exception {clear}")
    except ValueError:
        out.log.exception("stack")
    text = out.stream.getvalue()
    assert clear not in text
    assert text.count(masked) == 4


def test_the_last_words_of_a_process_are_masked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert logs.last_words("cannot read 浙F12345", "ValueError: 13800001234\n") == (
        "ValueError: 138****1234\nzhinao: cannot read 浙F·**345\n"
    )
    stream = io.StringIO()
    logs.install("json", "Asia/Shanghai", stream=stream)
    told = json.loads(logs.last_words("cannot read 浙F12345", "stack 13800001234"))
    assert (told["level"], told["message"]) == ("CRITICAL", "cannot read 浙F·**345")
    assert told["stack"] == "stack 138****1234"


# -------------------------------------------------------------------------------------------------------------- repeats


def test_the_same_message_is_written_ten_times_a_minute_and_then_counted() -> None:
    out = Out("json")
    for n in range(500):
        out.now_s = n * 0.1
        out.log.warning("no connection to node %s: try %d", "abc", n)
    assert len(out.lines()) == MOST
    assert out.handler.repeats.held_back == 490
    out.now_s = WINDOW_S
    out.log.warning("something else")
    assert len(out.lines()) == MOST + 2
    told = json.loads(out.lines()[-2])
    assert told["fields"] == {"held_back": 490}
    assert "490" in told["message"]
    out.log.warning("no connection to node %s: try %d", "abc", 501)
    assert "try 501" in out.last()["message"]  # type: ignore[operator]


def test_messages_that_differ_in_numbers_only_are_the_same() -> None:
    out = Out()
    for n in range(100):
        out.log.warning(f"request {n} to 127.0.0.1:{9000 + n} at 0x{n:x} failed after {n / 7} s")  # noqa: G004
    assert len(out.lines()) == MOST


def test_different_messages_and_levels_do_not_count_together() -> None:
    out = Out()
    for _ in range(MOST):
        out.log.warning("a")
        out.log.warning("b")
        out.log.error("a")
    assert len(out.lines()) == 3 * MOST


def test_what_was_held_back_is_told_without_another_message() -> None:
    out = Out()
    for _ in range(MOST + 5):
        out.log.warning("a")
    out.handler.settle()
    assert len(out.lines()) == MOST
    out.now_s = WINDOW_S
    out.handler.settle()
    assert "held_back=5" in out.lines()[-1]
    out.handler.settle()
    assert len(out.lines()) == MOST + 1


def test_an_ending_process_tells_all_that_was_held_back() -> None:
    out = Out()
    for _ in range(MOST + 5):
        out.log.warning("a")
    out.handler.settle(ending=True)
    assert "held_back=5" in out.lines()[-1]


def test_what_is_remembered_of_messages_is_bounded() -> None:
    out = Out()
    for n in range(3 * logs.MOST_KEYS):
        message = "word " + "x" * (n % 150) + "y" * (n // 150)
        out.log.warning(message)
    assert len(out.handler.repeats._known) == logs.MOST_KEYS


# ------------------------------------------------------------------------------------------------------- real processes


def clear_values(text: str) -> list[str]:
    """Plates, phone and identity numbers as they are found in a text."""
    return [found for pattern in (PLATE_IN_TEXT, PHONE_IN_TEXT, IDENTITY_IN_TEXT) for found in pattern.findall(text)]


def personal_part(target: Path) -> set[str]:
    """Of the shipped recording what names plates and callers, and bad records around such; the clear values in it."""
    clear: set[str] = set()
    with target.open("wb") as file:
        for line in read_recording(RECORDING):
            text = (line.value or b"").decode()
            plates = re.findall(r'"plate":\s*"([^"]+)"', text) + re.findall(r'"caller":\s*"([^"]+)"', text)
            if not plates:
                continue
            clear.update(plates)
            row = {"topic": line.topic, "key": (line.key or b"").decode(), "timestamp_ms": line.timestamp_ms}
            file.write(orjson.dumps(row | {"value": orjson.loads(text)}) + b"\n")
            bad = {"value_b64": b64encode(text[:-9].encode()).decode()}
            file.write(orjson.dumps(row | bad) + b"\n")
            file.write(orjson.dumps(row | {"key": plates[0], "value": orjson.loads(text)}) + b"\n")
    return clear


def told(run: Running, port: str) -> Iterator[str]:
    for route in ("metrics", "healthz", "readyz"):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{route}", timeout=10) as answer:
                yield answer.read().decode()
        except HTTPError as refused:
            with refused:
                yield refused.read().decode()


def port_of(run: Running) -> str:
    return re.findall(r"http://127\.0\.0\.1:(\d+)", run.log("worker"))[-1]


def sum_of(name: str, metrics: str) -> float:
    return sum(map(float, re.findall(rf"^{name}\{{.*\}} (\S+)$", metrics, re.MULTILINE)))


@pytest.mark.slow
@pytest.mark.parametrize("style", ["text", "json"])
def test_no_plate_and_no_caller_of_the_shipped_city_comes_out(style: str, tmp_path: Path) -> None:
    recording = tmp_path / "personal.jsonl"
    clear = personal_part(recording)
    records = len(recording.read_bytes().splitlines())
    assert len(clear) > 10
    with EmbeddedBroker(all_full_names("zhinao")) as broker:
        environment = {
            "ZHINAO_EMBEDDED_BROKER": broker.address,
            "ZHINAO_STATE_DIR": str(tmp_path / "state"),
            "ZHINAO_HTTP": "127.0.0.1:0",
            "ZHINAO_LOG_FORMAT": style,
            "ZHINAO_CLOCK": "stream",
        }
        with running(environment, tmp_path) as run:
            run.start_worker()
            feed = run.start("feed", str(recording), "--speed", "2000", name="feed")
            assert feed.wait(120) == 0, run.log("feed")
            texts, deadline = list(told(run, port_of(run))), time.monotonic() + 60
            while sum_of("zhinao_lag_records", texts[0]) and time.monotonic() < deadline:
                time.sleep(0.5)
                texts = list(told(run, port_of(run)))
            assert sum_of("zhinao_lag_records", texts[0]) == 0
            assert sum_of("zhinao_records_total", texts[0]) >= records
            assert sum_of("zhinao_dead_letters_total", texts[0]) > records / 4
            assert sum_of("zhinao_accounts_mismatch_total", texts[0]) == 0
        texts.append((tmp_path / "worker.log").read_text())
    for text in texts:
        assert clear_values(text) == []
        assert [value for value in clear if value in text] == []


def test_the_scan_itself_sees_what_it_looks_for() -> None:
    planted = ["浙F12345", "13800001234", "330482199001011234"]
    assert clear_values(f"a {' b '.join(planted)} c") == planted
    assert clear_values("zhinao_records_total 1.8e+07, 浙F·**345, 138****1234") == []


FEW_LINES = 150
"""Some ten different messages, at most `MOST` times each, with their stacks."""


@pytest.mark.slow
def test_a_kafka_that_is_gone_does_not_flood_the_log(
    start_kafka: StartKafka, unique_prefix: str, tmp_path: Path
) -> None:
    kafka = start_kafka()
    environment = {
        "KAFKA_URL": f"kafka://{kafka.bootstrap}",
        "ZHINAO_GROUP": f"{unique_prefix}g",
        "ZHINAO_HTTP": "127.0.0.1:0",
        "ZHINAO_LOG_FORMAT": "json",
    }
    with running(environment, tmp_path) as run:
        made = run.start("topics", "create", name="topics")
        assert made.wait(60) == 0, run.log("topics")
        run.start_worker()
        before = len((tmp_path / "worker.log").read_text().splitlines())
        kafka.kill()
        time.sleep(20)
        lines = (tmp_path / "worker.log").read_text().splitlines()[before:]
    assert lines
    assert [json.loads(line)["level"] for line in lines]
    assert len(lines) < FEW_LINES, "\n".join(lines[-20:])


def test_an_exception_nobody_catches_is_a_line_too() -> None:
    script = (
        "from streams import logs\n"
        "logs.install('json', 'Asia/Shanghai')\n"
        "import warnings; warnings.warn('old 浙F12345')\n"
        "raise ValueError('浙F12345')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "always", "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    first, second = map(json.loads, ended.stderr.splitlines())
    assert ended.returncode == 1
    assert first["logger"] == "py.warnings"
    assert second["message"] == "浙F·**345"
    assert "浙F12345" not in ended.stderr
