"""The flat list of all routers. Each domain has one, with its full path below /api/v1."""

from __future__ import annotations

from litestar import Router

from app.accounts.routes import accounts_router
from app.admin.routes import admin_router
from app.bans.routes import bans_router
from app.calls.routes import calls_router
from app.chat.routes import chat_router
from app.core.health import health_router, metrics_router
from app.core.openapi import docs_router
from app.live.routes import live_router
from app.realtime.routes import realtime_router
from app.streams.routes import streams_router
from app.tips.routes import tips_router
from app.wallets.routes import wallets_router
from app.webhooks.routes import webhooks_router
from app.widgets.routes import widgets_router

ROUTERS: list[Router] = [
    health_router,
    metrics_router,
    docs_router,
    accounts_router,
    wallets_router,
    tips_router,
    streams_router,
    chat_router,
    bans_router,
    calls_router,
    live_router,
    webhooks_router,
    realtime_router,
    admin_router,
    widgets_router,
]
