"""The routes of streams and their tickets."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from litestar import Router
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Response

from app.core.auth import CurrentActor, requires
from app.core.context import RequestInfo, inject, provide_info
from app.core.idempotency import IdempotencyKey
from app.core.openapi import raises
from app.core.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from app.core.routing import get, patch, post
from app.core.wiring import MONEY_BODY_LIMIT
from app.streams.queries import StreamQueries
from app.streams.service import Tickets, Viewers
from app.streams.structs import (
    Access,
    CancelRequest,
    Stream,
    StreamPatch,
    StreamRequest,
    StreamStatus,
    TicketReceipt,
    Watching,
)
from app.wallets.routes import created

TAGS = ["streams"]
OWN = ("STREAM_NOT_FOUND", "NOT_STREAM_OWNER", "USER_SUSPENDED")
Streams = NamedDependency[StreamQueries]
StatusParameter = Annotated[StreamStatus | None, QueryParameter(description="Only these.")]
READ = [requires("streams:read")]
WRITE = [requires("streams:write")]


@post(
    "/streams",
    operation_id="CreateStream",
    summary="Announce a stream",
    tags=TAGS,
    guards=[requires("streams:write", role="creator")],
    opt=raises("CHANNEL_TAKEN", "CREATOR_NOT_FOUND", "INVALID_REQUEST"),
)
async def create_stream(data: JSONBody[StreamRequest], actor: CurrentActor, streams: Streams) -> Stream:
    """Of one's own. A channel name is taken once, so repeating this makes no second stream."""
    return await streams.create_stream(data, actor.user_id)


@patch(
    "/streams/{stream_id:uuid}",
    operation_id="UpdateStream",
    summary="Change a stream",
    tags=TAGS,
    guards=WRITE,
    opt=raises(*OWN, "STREAM_ENDED", "SEATS_SOLD", "INVALID_REQUEST"),
)
async def update_stream(
    stream_id: FromPath[UUID], data: JSONBody[StreamPatch], actor: CurrentActor, streams: Streams
) -> Stream:
    """The stream's owner only. Changes the fields that are sent; tickets sold stay as they are."""
    return await streams.update_stream(stream_id, data, actor.user_id)


@post(
    "/streams/{stream_id:uuid}/start",
    operation_id="StartStream",
    summary="Go live",
    status_code=200,
    tags=TAGS,
    guards=WRITE,
    opt=raises(*OWN, "STREAM_ENDED"),
)
async def start_stream(stream_id: FromPath[UUID], actor: CurrentActor, streams: Streams) -> Stream:
    """The stream's owner only. Live already: nothing changes."""
    return await streams.start_stream(stream_id, actor.user_id)


@post(
    "/streams/{stream_id:uuid}/end",
    operation_id="EndStream",
    summary="End a stream",
    status_code=200,
    tags=TAGS,
    guards=WRITE,
    opt=raises(*OWN, "STREAM_NOT_LIVE"),
)
async def end_stream(stream_id: FromPath[UUID], actor: CurrentActor, streams: Streams) -> Stream:
    """The stream's owner only. Tickets stay paid for. Ended already: nothing changes."""
    return await streams.end_stream(stream_id, actor.user_id)


@post(
    "/streams/{stream_id:uuid}/cancel",
    operation_id="CancelStream",
    summary="Cancel a stream and give every ticket back",
    status_code=200,
    tags=TAGS,
    guards=WRITE,
    opt=raises(
        *OWN, "STREAM_ENDED", "HISTORY_DETACHED", "WALLET_FROZEN", "WALLET_CLOSED", "BALANCE_LIMIT", "INVALID_REQUEST"
    ),
)
async def cancel_stream(
    stream_id: FromPath[UUID],
    data: JSONBody[CancelRequest],
    actor: CurrentActor,
    streams: Streams,
    info: NamedDependency[RequestInfo],
) -> Stream:
    """The stream's owner only. What they have spent of it they owe. Cancelled already: nothing changes."""
    return await streams.cancel_stream(stream_id, data.reason, actor.user_id, info)


@get("/streams", operation_id="ListStreams", summary="Streams", tags=TAGS, guards=READ)
async def list_streams(
    actor: CurrentActor,
    streams: Streams,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    status: StatusParameter = None,
) -> Page[Stream]:
    """Everybody's, newest first."""
    rows = await streams.streams(None, status, decode_cursor(cursor, UUID), limit + 1)
    return page_of(rows, limit, lambda stream: stream.stream_id)


@get(
    "/streams/{stream_id:uuid}",
    operation_id="GetStream",
    summary="A stream",
    tags=TAGS,
    guards=READ,
    opt=raises("STREAM_NOT_FOUND"),
)
async def get_stream(stream_id: FromPath[UUID], actor: CurrentActor, streams: Streams) -> Stream:
    """What a ticket costs, and whether there are any left."""
    return await streams.stream(stream_id)


@get(
    "/creators/{creator_id:uuid}/streams",
    operation_id="ListCreatorStreams",
    summary="A creator's streams",
    tags=TAGS,
    guards=READ,
)
async def list_creator_streams(
    creator_id: FromPath[UUID],
    actor: CurrentActor,
    streams: Streams,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    status: StatusParameter = None,
) -> Page[Stream]:
    """Newest first."""
    rows = await streams.streams(creator_id, status, decode_cursor(cursor, UUID), limit + 1)
    return page_of(rows, limit, lambda stream: stream.stream_id)


@get(
    "/streams/{stream_id:uuid}/access",
    operation_id="GetStreamAccess",
    summary="May I watch?",
    tags=TAGS,
    guards=READ,
    opt=raises("STREAM_NOT_FOUND"),
)
async def get_access(stream_id: FromPath[UUID], actor: CurrentActor, streams: Streams) -> Access:
    """And why, or why not."""
    return await streams.access(stream_id, actor.user_id)


@post(
    "/streams/{stream_id:uuid}/watch",
    operation_id="WatchStream",
    summary="I am watching",
    status_code=200,
    tags=TAGS,
    guards=READ,
    opt=raises(
        "STREAM_NOT_FOUND",
        "NO_ACCESS_TO_STREAM",
        "STREAM_NOT_LIVE",
        "USER_SUSPENDED",
        "CONFIGURATION_ERROR",
        "SERVER_BUSY",
    ),
)
async def watch_stream(stream_id: FromPath[UUID], actor: CurrentActor, viewers: NamedDependency[Viewers]) -> Watching:
    """Counts the caller as a viewer until ``seen_until``. Send it again about every 15 seconds."""
    return await viewers.watch(actor.user_id, stream_id)


@post(
    "/streams/{stream_id:uuid}/tickets/checkout",
    operation_id="BuyTicket",
    summary="Buy a ticket",
    tags=TAGS,
    guards=[requires("tickets:write")],
    opt=raises(
        "STREAM_NOT_FOUND",
        "TICKET_ALREADY_PURCHASED",
        "SOLD_OUT",
        "SALES_CLOSED",
        "OWN_STREAM",
        "INSUFFICIENT_TOKENS",
        "WALLET_NOT_FOUND",
        "WALLET_FROZEN",
        "WALLET_CLOSED",
        "BALANCE_LIMIT",
        "VELOCITY_LIMIT",
        "USER_SUSPENDED",
        "CONFIGURATION_ERROR",
        "SERVER_BUSY",
    ),
)
async def buy_ticket(
    stream_id: FromPath[UUID], actor: CurrentActor, key: IdempotencyKey, tickets: NamedDependency[Tickets]
) -> Response[TicketReceipt]:
    """From the caller's wallet, at the stream's price. Repeating the key returns the first ticket, byte for byte."""
    return created(await tickets.buy(actor.user_id, stream_id, key))


streams_router = Router(
    path="/api/v1",
    dependencies={
        "streams": inject(StreamQueries),
        "tickets": inject(Tickets),
        "viewers": inject(Viewers),
        "info": provide_info,
    },
    request_max_body_size=MONEY_BODY_LIMIT,
    route_handlers=[
        create_stream,
        update_stream,
        start_stream,
        end_stream,
        cancel_stream,
        list_streams,
        get_stream,
        list_creator_streams,
        get_access,
        watch_stream,
        buy_ticket,
    ],
)
