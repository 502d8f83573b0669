"""The routes of live rooms, and the one LiveKit calls."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Router
from litestar.di import NamedDependency
from litestar.params import JSONBody

from app.core.auth import CurrentActor, requires
from app.core.context import info_of, inject
from app.core.openapi import raises
from app.core.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from app.core.routing import get, post
from app.core.wiring import MONEY_BODY_LIMIT
from app.live.service import Live
from app.live.structs import Ended, EventAnswer, LiveStream, LiveToken, Started, StreamReference, TokenRequest

TAGS = ["live"]
OWN = ("STREAM_NOT_FOUND", "NOT_STREAM_OWNER", "USER_SUSPENDED", "LIVEKIT_NOT_CONFIGURED")
WEBHOOK_BODY_LIMIT = 256 * 1024
Rooms = NamedDependency[Live]


@post(
    "/live/token",
    operation_id="CreateLiveToken",
    summary="Enter the room of a stream or a call",
    status_code=200,
    tags=TAGS,
    guards=[requires("live:write")],
    opt=raises(
        "STREAM_NOT_FOUND",
        "STREAM_ENDED",
        "NO_ACCESS_TO_STREAM",
        "CALL_NOT_FOUND",
        "CALL_NOT_ACTIVE",
        "CALL_ENDED",
        "NOT_CALL_PARTICIPANT",
        "LIVEKIT_NOT_CONFIGURED",
    ),
)
async def create_token(data: JSONBody[TokenRequest], actor: CurrentActor, live: Rooms) -> LiveToken:
    """A token for LiveKit in the caller's name. Viewers of a stream only watch; the people of a call speak."""
    return await live.token(data, actor.user_id)


@post(
    "/live/start",
    operation_id="StartLive",
    summary="Go live, with a token to send",
    status_code=200,
    tags=TAGS,
    guards=[requires("live:write")],
    opt=raises(*OWN, "STREAM_ENDED"),
)
async def start_live(data: JSONBody[StreamReference], actor: CurrentActor, live: Rooms) -> Started:
    """The stream's owner only. Live already: nothing changes, and there is a new token."""
    return await live.start(data.stream_id, actor.user_id)


@post(
    "/live/end",
    operation_id="EndLive",
    summary="End a stream and close its room",
    status_code=200,
    tags=TAGS,
    guards=[requires("live:write")],
    opt=raises(*OWN, "STREAM_NOT_LIVE"),
)
async def end_live(data: JSONBody[StreamReference], actor: CurrentActor, live: Rooms) -> Ended:
    """The stream's owner only. Ended already: nothing changes. It has ended even where LiveKit cannot be told."""
    return await live.end(data.stream_id, actor.user_id)


@get(
    "/live/discover",
    operation_id="DiscoverLive",
    summary="What is live now",
    tags=TAGS,
    guards=[requires("streams:read")],
    opt=raises("LIVEKIT_NOT_CONFIGURED"),
)
async def discover_live(
    actor: CurrentActor,
    live: Rooms,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[LiveStream]:
    """Everybody's streams, newest first."""
    rows = await live.discover(decode_cursor(cursor, UUID), limit + 1)
    return page_of(rows, limit, lambda stream: stream.stream_id)


@post(
    "/webhooks/livekit",
    operation_id="ReceiveLiveKitEvent",
    summary="What LiveKit tells of its rooms",
    status_code=200,
    tags=TAGS,
    request_max_body_size=WEBHOOK_BODY_LIMIT,
    opt=raises(
        "LIVEKIT_NOT_CONFIGURED", "LIVEKIT_SIGNATURE_INVALID", "MALFORMED_JSON", "INVALID_REQUEST", "PAYLOAD_TOO_LARGE"
    )
    | {"reads": {"requestBody": {"content": {"application/webhook+json": {"schema": {"type": "object"}}}}}},
)
async def receive_event(request: Request[Any, Any, Any], live: Rooms) -> EventAnswer:
    """For LiveKit, which signs with the API secret: `Authorization` is a JWT whose `sha256` is the hash of the body.

    Events may come late, again and in any order. What is not understood is answered 200, or LiveKit would repeat it.
    """
    authorization = info_of(request.scope).authorization
    signature = None if authorization is None else authorization.decode("latin-1")
    return EventAnswer(outcome=await live.receive(await request.body(), signature))


live_router = Router(
    path="/api/v1",
    dependencies={"live": inject(Live)},
    request_max_body_size=MONEY_BODY_LIMIT,
    route_handlers=[create_token, start_live, end_live, discover_live, receive_event],
)
