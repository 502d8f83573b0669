"""The application: ``create_app()`` puts the parts together; no logic here.

Run it with any ASGI server as a factory: ``app.main:create_app``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from litestar import Litestar
from litestar.config.allowed_hosts import AllowedHostsConfig
from litestar.config.cors import CORSConfig

from app.accounts.credentials import Credentials
from app.accounts.service import Accounts
from app.api import ROUTERS
from app.core.answers import handle_exception
from app.core.auth import Authenticator, TokenSigner, provide_actor
from app.core.context import AppContext
from app.core.database import Database
from app.core.health import provide_context
from app.core.idempotency import provide_key, provide_optional_key
from app.core.logging import AccessLog, configure
from app.core.middleware import Edge
from app.core.openapi import Document
from app.core.ratelimit import RateLimits
from app.core.revocation import revocations
from app.core.wiring import DirectDependencies, DirectRequest, Reply, StrictBody
from app.live.service import Live
from app.payments.service import Payments
from app.realtime.service import Realtime
from app.settings import Settings, load_settings

BODY_LIMIT = 1024 * 1024
"""Largest body in bytes, unless a router says less (money routes: ``MONEY_BODY_LIMIT`` of app/core/wiring.py)."""

log = structlog.get_logger("tessera")


def create_app(settings: Settings | None = None) -> Litestar:
    """An application that is ready to be served; it connects to the database when it is started."""
    settings = settings or load_settings()
    return bind(routes(settings), settings)


def routes(settings: Settings) -> Litestar:
    """All routes, registered, which takes half a second; of the settings only those of CORS and hosts count."""
    return Litestar(
        route_handlers=ROUTERS,
        dependencies={
            "actor": provide_actor,
            "key": provide_key,
            "optional_key": provide_optional_key,
            "context": provide_context,
        },
        dto=StrictBody,
        return_dto=None,
        request_class=DirectRequest,
        response_class=Reply,
        request_max_body_size=BODY_LIMIT,
        exception_handlers={Exception: handle_exception},
        cors_config=_cors(settings),
        allowed_hosts=AllowedHostsConfig(list(settings.allowed_hosts)) if settings.allowed_hosts else None,
        openapi_config=None,
        plugins=[DirectDependencies()],
        lifespan=[_lifespan],
        logging_config=None,
        debug=False,
    )


def bind(app: Litestar, settings: Settings) -> Litestar:
    """Give the routes what they work with: a context of their own, and the edge around them."""
    configure(settings)
    context = AppContext(
        settings,
        Database(settings),
        RateLimits(settings.rate_limit_per_minute, settings.rate_limit_auth_per_minute),
    )
    context.auth = Authenticator(TokenSigner(settings), context.get(Credentials), context.limits)
    context.listener.add(revocations(context.auth))
    context.get(Accounts)
    context.get(Live)
    context.get(Payments)
    context.get(Realtime)
    access_log = AccessLog()
    app.state["context"] = context
    app.state["access_log"] = access_log
    app.state["openapi"] = Document(app)
    app.asgi_handler = Edge(app.asgi_handler, context, access_log)
    return app


def _cors(settings: Settings) -> CORSConfig | None:
    if not settings.cors_origins:
        return None
    return CORSConfig(
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"],
        allow_headers=["authorization", "content-type", "idempotency-key", "x-api-key", "x-request-id"],
        expose_headers=["x-request-id", "retry-after"],
        max_age=600,
    )


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    """Open the pool and listen; on the way out, with no request in flight any more, flush and close."""
    context: AppContext = app.state["context"]
    await context.database.open()
    await context.listener.start()
    for start in context.on_startup:
        await start()
    log.info("started", environment=context.settings.env)
    try:
        yield
    finally:
        context.stopping = True
        for stop in reversed(context.on_shutdown):
            try:
                await stop()
            except Exception:
                log.exception("shutdown_hook_failed")
        await context.listener.stop()
        await context.database.close()
        log.info("stopped")
        app.state["access_log"].flush()
