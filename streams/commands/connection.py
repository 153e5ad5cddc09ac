"""Which broker a command talks to, and kafka-python's clients for it.

They always speak Kafka 2.1: brokers from 2.1 on understand it, and the embedded one stands no version probe.
"""

import logging
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from streams.commands.failing import CannotRun
from streams.settings import Settings, client_options

API_VERSION = (2, 1)
# A broker that does not take a TCP connection in this time is not there; Kafka's own clients would try for a minute.
REACH_LIMIT_S = 3.0

F = TypeVar("F", bound=Callable[..., Any])


def broker_option(command: F) -> F:
    """`--broker host:port`."""
    return click.option(
        "--broker", metavar="HOST:PORT", help="The broker to talk to; default: KAFKA_URL, or the running demo's."
    )(command)


@dataclass(frozen=True, slots=True)
class Connection:
    """A broker that has answered."""

    servers: str
    prefix: str
    settings: Settings

    @classmethod
    def open(cls, broker: str | None) -> "Connection":
        """From `--broker`, else the settings. Raises `CannotRun` when none is named or nobody answers."""
        given = {} if broker is None else {"kafka_url": broker if "://" in broker else f"kafka://{broker}"}
        settings = Settings.read(**given)
        if settings.servers is None:
            raise CannotRun("no broker: set KAFKA_URL=kafka://host:port or give --broker host:port")
        _reach(settings.servers)
        # Their retries and farewells are no news to whoever typed the command; what fails raises.
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
        return cls(settings.servers, settings.topic_prefix, settings)

    def options(self) -> dict[str, Any]:
        """For any kafka-python client."""
        return {
            "bootstrap_servers": self.servers.split(","),
            "api_version": API_VERSION,
            **self.client_options(),
        }

    def client_options(self) -> dict[str, Any]:
        """How to connect to a secured broker."""
        return client_options(self.settings)

    def partitions(self, names: Iterable[str]) -> dict[str, int]:
        """Partition counts by full name, as the broker has them. Raises `CannotRun` for topics that are not there."""
        from kafka.admin import KafkaAdminClient

        wanted = list(names)
        admin = KafkaAdminClient(**self.options())
        try:
            there = set(admin.list_topics())
            missing = [name for name in wanted if name not in there]
            if missing:
                raise CannotRun(f"{_listed(missing)} not on {self.servers}; run: zhinao topics create")
            return {found["name"]: len(found["partitions"]) for found in admin.describe_topics(wanted)}
        finally:
            admin.close()


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 1} other topics are" if len(names) > 1 else " is"
    return f"{names[0]}{more}"


def _reach(servers: str) -> None:
    causes = []
    for server in servers.split(","):
        host, _, port = server.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_LIMIT_S):
                return
        except OSError as exc:
            causes.append(f"{server} ({exc.strerror or exc})")
    raise CannotRun(f"no broker answers at {', '.join(causes)}")
