"""The routes of tips."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal
from uuid import UUID

from litestar import Router
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Response

from app.core.auth import CurrentActor, requires
from app.core.context import inject
from app.core.idempotency import IdempotencyKey
from app.core.openapi import raises
from app.core.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from app.core.routing import get, post
from app.core.wiring import MONEY_BODY_LIMIT
from app.tips.queries import TipQueries
from app.tips.service import Tips
from app.tips.structs import Tip, TipReceipt, TipRequest, TipStats
from app.wallets.routes import created

TAGS = ["tips"]
Period = Literal["24h", "7d", "30d", "all"]
PERIODS: dict[str, timedelta | None] = {
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "all": None,
}


@post(
    "/tips/send",
    operation_id="SendTip",
    summary="Tip a creator",
    tags=TAGS,
    guards=[requires("tips:write")],
    opt=raises(
        "INSUFFICIENT_TOKENS",
        "CREATOR_NOT_FOUND",
        "STREAM_NOT_FOUND",
        "CALL_NOT_FOUND",
        "NOT_CALL_PARTICIPANT",
        "SELF_TRANSFER",
        "INVALID_REQUEST",
        "WALLET_FROZEN",
        "WALLET_CLOSED",
        "BALANCE_LIMIT",
        "VELOCITY_LIMIT",
        "USER_SUSPENDED",
        "CONFIGURATION_ERROR",
        "SERVER_BUSY",
    ),
)
async def send_tip(
    data: JSONBody[TipRequest], actor: CurrentActor, key: IdempotencyKey, tips: NamedDependency[Tips]
) -> Response[TipReceipt]:
    """From the caller's wallet. Repeating the key returns the first tip, byte for byte."""
    return created(await tips.send(actor.user_id, data, key))


@get("/tips/sent", operation_id="ListTipsSent", summary="Tips I sent", tags=TAGS, guards=[requires("tips:read")])
async def list_sent(
    actor: CurrentActor, tips_read: NamedDependency[TipQueries], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[Tip]:
    """Newest first."""
    rows = await tips_read.tips("sender", actor.user_id, decode_cursor(cursor, UUID), limit + 1)
    return page_of(rows, limit, lambda tip: tip.tip_id)


@get(
    "/tips/received",
    operation_id="ListTipsReceived",
    summary="Tips I received",
    tags=TAGS,
    guards=[requires("tips:read")],
)
async def list_received(
    actor: CurrentActor, tips_read: NamedDependency[TipQueries], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[Tip]:
    """Newest first."""
    rows = await tips_read.tips("creator", actor.user_id, decode_cursor(cursor, UUID), limit + 1)
    return page_of(rows, limit, lambda tip: tip.tip_id)


@get(
    "/tips/stats/{creator_id:uuid}",
    operation_id="GetTipStats",
    summary="A creator's tips in numbers",
    tags=TAGS,
    guards=[requires("tips:read")],
    opt=raises("CREATOR_NOT_FOUND"),
)
async def get_stats(
    creator_id: FromPath[UUID],
    tips_read: NamedDependency[TipQueries],
    period: Annotated[Period, QueryParameter(description="How far back.")] = "all",
) -> TipStats:
    """Count, sum, average, largest, number of tippers, and the five who gave most."""
    return await tips_read.stats(creator_id, period, PERIODS[period])


tips_router = Router(
    path="/api/v1",
    dependencies={"tips": inject(Tips), "tips_read": inject(TipQueries)},
    request_max_body_size=MONEY_BODY_LIMIT,
    route_handlers=[send_tip, list_sent, list_received, get_stats],
)
