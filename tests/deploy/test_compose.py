"""The compose file, without Docker: it parses, is locked down, and names only what there is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
import yaml

from streams.commands.group import COMMANDS
from streams.probe import address, probe
from streams.settings import Settings
from tests.conftest import REPOSITORY
from tests.kafka import broker

DEPLOY = REPOSITORY / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
VARIABLES = {field.alias for field in Settings.model_fields.values()}


def unknown_variables(environment: dict[str, str]) -> set[str]:
    return set(environment) - VARIABLES


@pytest.mark.parametrize("name", OURS)
def test_every_variable_of_ours_is_a_setting_with_a_value_it_takes(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert unknown_variables(environment) == set()
    given = {k: re.sub(r"\$\{\w+:[?-][^}]*\}", "0123456789abcdef", v) for k, v in environment.items()}
    script = "from streams.settings import Settings; Settings.read()"
    clean = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=clean | given, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_a_variable_nobody_reads_would_be_seen() -> None:
    assert unknown_variables({"KAFKA_URL": "", "ZHINAO_HTPP": ""}) == {"ZHINAO_HTPP"}


def test_the_worker_and_the_topics_are_ours_and_run_commands_there_are() -> None:
    assert OURS == ["topics", "worker"]
    assert all(SERVICES[name]["command"][0] in COMMANDS for name in OURS)


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_to_a_version(name: str) -> None:
    assert re.fullmatch(r"[a-z/.-]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"])


def test_the_broker_is_the_one_the_tests_run_and_the_image_is_the_projects() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{broker.version()}"
    version = re.search(r'^version = "(.+)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert SERVICES["worker"]["image"] == f"zhinao:{version[1]}"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_locked_down_and_bounded(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"]
    assert service["pids_limit"] > 0
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(service)
    # Kafka's image writes its configuration into its own folders at each start.
    assert service.get("read_only") or name == "kafka"
    assert service["restart"] == ("no" if name == "topics" else "unless-stopped")


def test_only_loopback_is_published() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_is_mounted_and_built_exists() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
            else:
                assert source in COMPOSE["volumes"]
    assert (DEPLOY / SERVICES["worker"]["build"] / "Dockerfile").is_file()


def test_prometheus_scrapes_the_port_the_worker_listens_on() -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert found["names"] == ["worker"]
    assert SERVICES["worker"]["environment"]["ZHINAO_HTTP"].endswith(f":{found['port']}")


def test_nothing_that_waits_is_waited_for_without_a_check() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            assert name in SERVICES
            if how["condition"] == "service_healthy":
                assert "test" in SERVICES[name]["healthcheck"]


# ---------------------------------------------------------------------------------------------------------------- probe


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("0.0.0.0:9108", "http://127.0.0.1:9108/healthz"),
        ("9108", "http://127.0.0.1:9108/healthz"),
        ("[::1]:9108", "http://[::1]:9108/healthz"),
        ("127.0.0.1:0", None),
        ("", None),
    ],
)
def test_the_probe_asks_where_the_worker_listens(given: str, asked: str | None) -> None:
    assert address({"ZHINAO_HTTP": given}) == asked


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps({"status": status}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def run_probe(at: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ZHINAO_HTTP": at}
    command = SERVICES["worker"]["healthcheck"]["test"][2:]
    return subprocess.run(
        [sys.executable, *command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )


def test_the_healthcheck_is_0_for_200_and_1_for_503_and_for_nobody() -> None:
    with answering(200) as at:
        assert run_probe(at).returncode == 0
    with answering(503) as at:
        ended = run_probe(at)
        assert (ended.returncode, ended.stdout) == (1, '{"status": 503}')
    assert run_probe(at).returncode == 1
    assert run_probe("").returncode == 0


def test_the_probe_costs_no_imports_of_ours() -> None:
    script = (
        "import sys, streams.probe; print([n for n in sys.modules if n.split('.')[0] in ('faust', 'numpy', 'aiohttp')])"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
    assert not probe("http://127.0.0.1:1/healthz")[0]


def test_the_image_has_the_same_healthcheck() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()
    command = json.dumps(SERVICES["worker"]["healthcheck"]["test"][1:])
    assert re.search(rf"^HEALTHCHECK .*\\?\s*CMD {re.escape(command)}$", text, re.MULTILINE)
