"""Metrics for Prometheus, served at ``/metrics``.

With one process the default registry is rendered. With several workers on one port, each scrape would meet another
worker: ``tessera api --workers N`` sets PROMETHEUS_MULTIPROC_DIR to an empty folder before the workers start, the
client library then keeps every value in memory-mapped files there, and any worker renders the sum of all.
Every metric is documented in docs/operations.md.
"""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

REQUEST_SECONDS = Histogram(
    "tessera_http_request_seconds",
    "Time from the request's head to the end of the answer.",
    ("method", "route", "status"),
    buckets=_SECONDS,
)
RATE_LIMITED = Counter("tessera_http_rate_limited_total", "Requests refused by a rate limit.", ("by",))
LOGINS = Counter("tessera_logins_total", "Attempts to log in, by outcome.", ("outcome",))
TOKEN_CHECKS = Counter(
    "tessera_token_checks_total", "Tokens and keys checked, by where the answer came from.", ("source",)
)
STEP_UPS = Counter("tessera_step_ups_total", "Passwords and codes shown again, by outcome.", ("outcome",))
DATABASE_UP = Gauge("tessera_database_up", "1 while this process hears from the database.", multiprocess_mode="livemin")
BATCH_ITEMS = Histogram(
    "tessera_batch_items",
    "Requests that went to the database in one call, by function.",
    ("function",),
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
ERRORS = Counter("tessera_errors_total", "Answers with an error, by slug.", ("error",))

LIVE_EVENTS = Counter(
    "tessera_live_events_total",
    "Events LiveKit has told, by outcome (applied, repeated, ignored, over, refused).",
    ("outcome",),
)
PAYMENT_EVENTS = Counter(
    "tessera_payment_events_total",
    "Events of payment providers, by provider and outcome (applied, repeated, ignored, unknown, mismatch, duplicate, "
    "contradiction, refused, forged).",
    ("provider", "outcome"),
)

RELAYED = Counter(
    "tessera_api_relayed_total", "Events that this process has relayed into channels right after its commits."
)
SOCKETS = Gauge("tessera_realtime_sockets", "WebSockets that are open.", multiprocess_mode="livesum")
FOLLOWED = Gauge(
    "tessera_realtime_channels", "Channels that somebody follows, of each process.", multiprocess_mode="livesum"
)
SOCKET_CLOSES = Counter(
    "tessera_realtime_closes_total", "WebSockets that the service has closed, by reason.", ("reason",)
)
EVENTS_READ = Counter("tessera_realtime_events_total", "Events read for those who follow their channel.")
FRAMES_SENT = Counter("tessera_realtime_frames_total", "Frames with events that were handed to sockets.")
RECOVERIES = Counter("tessera_realtime_subscribes_total", "Channels that were subscribed to, by outcome.", ("outcome",))

_children: dict[tuple[str, str, int], Histogram] = {}


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Note one answered request. ``route`` is the template (``/api/v1/tips/{id}``), never the path."""
    key = (method, route, status)
    child = _children.get(key)
    if child is None:
        child = _children[key] = REQUEST_SECONDS.labels(method, route, str(status))
    child.observe(seconds)


def render() -> tuple[bytes, str]:
    """All metrics in Prometheus' text format, and its content type."""
    registry: CollectorRegistry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
