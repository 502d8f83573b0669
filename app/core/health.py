"""Is it alive, is it ready, and what do its metrics say: the routes that operators and balancers ask."""

from __future__ import annotations

import hmac
import ipaddress
from contextlib import suppress
from typing import Any, Literal

import asyncpg
import msgspec
from litestar import Request, Response, Router
from litestar.di import NamedDependency

from app.core.context import AppContext, info_of, inject
from app.core.errors import TesseraError, error
from app.core.metrics import render
from app.core.queries import relay_lag_seconds, scheduler_state
from app.core.routing import get


class Alive(msgspec.Struct):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(msgspec.Struct):
    """Whether requests can be served now, and what each dependency says.

    `scheduler` is `late` when a job has not succeeded for long, `never` when none has run yet. Requests are served
    without it, so it does not count for `status`; nor does `relay_lag_seconds`, how long the first event waits that has
    not reached its channels (null: not known).
    """

    status: Literal["ready", "unavailable"]
    checks: dict[str, Literal["ok", "unavailable", "late", "never"]]
    relay_lag_seconds: float | None = None


@get("/health", operation_id="Health", summary="Is the process alive?", tags=["operations"])
async def health() -> Alive:
    """Answers as long as the process runs, whatever the database does."""
    return Alive()


@get("/health/ready", operation_id="Ready", summary="Can requests be served now?", tags=["operations"])
async def ready(context: NamedDependency[AppContext]) -> Response[Ready]:
    """200 when the database answers and no shutdown has begun, else 503 with Retry-After."""
    database = await context.database.is_ready()
    checks: dict[str, Any] = {"database": "ok" if database else "unavailable", "scheduler": "unavailable"}
    lag: float | None = None
    if database:
        # whatever becomes of this question, requests are served
        with suppress(TesseraError, asyncpg.PostgresError):
            checks["scheduler"] = await scheduler_state(context.database)
            lag = round(await relay_lag_seconds(context.database), 3)
    if context.stopping:
        checks["process"] = "unavailable"
    is_ready = database and not context.stopping
    return Response(
        Ready("ready" if is_ready else "unavailable", checks, lag),
        status_code=200 if is_ready else 503,
        headers={} if is_ready else {"Retry-After": "2"},
    )


@get("/metrics", operation_id="Metrics", summary="Metrics for Prometheus", include_in_schema=False)
async def metrics(request: Request[Any, Any, Any], context: NamedDependency[AppContext]) -> Response[bytes]:
    """With TESSERA_METRICS_TOKEN set: to whoever bears it. Without: only to this machine itself."""
    info = info_of(request.scope)
    token = context.settings.metrics_token
    if token is not None:
        shown = (info.authorization or b"").removeprefix(b"Bearer ")
        if not hmac.compare_digest(shown, token.encode()):
            raise error("NOT_AUTHENTICATED")
    elif not _is_local(info.address):
        raise error("FORBIDDEN", "Set TESSERA_METRICS_TOKEN to read the metrics from elsewhere.")
    body, content_type = render()
    return Response(body, media_type=content_type)


def _is_local(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _self(context: AppContext) -> AppContext:
    return context


provide_context = inject(_self)

health_router = Router(path="/api/v1/public", route_handlers=[health, ready])
metrics_router = Router(path="/", route_handlers=[metrics])
