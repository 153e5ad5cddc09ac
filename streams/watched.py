"""A worker's watchdog, metrics and health, put together from the settings."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from streams.commands.failing import CannotRun
from streams.health import Health, HealthServer
from streams.metrics import CONTENT_TYPE, Metrics
from streams.reloading import BundleStatus
from streams.settings import Settings, client_options
from streams.standby import standby_of
from streams.transport import Flow
from streams.watchdog import Watchdog

log = logging.getLogger(__name__)
log.setLevel(logging.INFO)  # the address that was chosen is told whatever the level of the rest


@dataclass(frozen=True, slots=True)
class Watched:
    metrics: Metrics
    watchdog: Watchdog
    health: Health

    def serve(self, settings: Settings) -> HealthServer | None:
        """Answer on `ZHINAO_HTTP`, if it is set, until the process ends. Raises `CannotRun` if somebody else does."""
        if settings.http is None:
            return None
        host, _, port = settings.http.rpartition(":")
        server = HealthServer(self.health, lambda: (self.metrics.text(), CONTENT_TYPE), host, int(port))
        try:
            at = server.start()
        except OSError as why:
            raise CannotRun(f"ZHINAO_HTTP: cannot listen on {settings.http}: {why.strerror}") from why
        log.info("http://%s:%s/metrics /healthz /readyz", *at)
        return server


def watch(settings: Settings, flow: Flow, metrics: Metrics, bundle: BundleStatus) -> Watched:
    """Nothing runs yet: the watchdog starts with the worker, the server with `serve`."""
    topics = frozenset(topic for group in flow.groups for topic in group)
    standby = standby_of(
        settings.servers or "",
        settings.group,
        client_options(settings),
        me=lambda: flow.member,
        counts=lambda: {topic: flow.partition_count(topic) or 0 for topic in topics},
    )
    watchdog = Watchdog(flow, limit_s=settings.stall_s, standby=standby, on_beat=metrics.beat)
    health = Health(watchdog, metrics.store_age_s, store_every_s=settings.store_every_s, more=bundle.facts)
    metrics.watch(watchdog)
    metrics.reads("zhinao_unhealthy", health.causes)
    metrics.reads("zhinao_rules_bundle_info", lambda: {(bundle.digest,): 1})
    metrics.reads("zhinao_rules_bundle_rejected", lambda: {(): float(bool(bundle.problems))})
    metrics.reads("zhinao_rules_bundle_swaps_total", lambda: {(): bundle.swaps})
    metrics.reads("zhinao_rules_bundle_refusals_total", lambda: {(): bundle.refusals})
    return Watched(metrics, watchdog, health)
