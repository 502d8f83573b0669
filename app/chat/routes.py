"""The routes of chats."""

from __future__ import annotations

from uuid import UUID

from litestar import Router
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.response import Response

from app.chat.queries import ChatQueries
from app.chat.structs import ChatMessage, MessageReceipt, MessageRequest
from app.core.auth import CurrentActor, requires
from app.core.context import inject
from app.core.idempotency import OptionalKey
from app.core.openapi import raises
from app.core.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from app.core.routing import delete, get, post
from app.core.wiring import MONEY_BODY_LIMIT
from app.wallets.routes import created

TAGS = ["chat"]
Chat = NamedDependency[ChatQueries]


@post(
    "/streams/{stream_id:uuid}/messages",
    operation_id="PostMessage",
    summary="Say something in a stream's chat",
    tags=TAGS,
    guards=[requires("chat:write")],
    opt=raises(
        "STREAM_NOT_FOUND",
        "STREAM_ENDED",
        "NO_ACCESS_TO_STREAM",
        "BANNED",
        "CHAT_LIMIT",
        "USER_SUSPENDED",
        "INVALID_REQUEST",
        "CONFIGURATION_ERROR",
    ),
)
async def post_message(
    stream_id: FromPath[UUID],
    data: JSONBody[MessageRequest],
    actor: CurrentActor,
    optional_key: OptionalKey,
    chat: Chat,
) -> Response[MessageReceipt]:
    """For whoever may watch. With a key, repeating it returns the first message, byte for byte."""
    return created(await chat.post(stream_id, actor.user_id, data.body, optional_key))


@get(
    "/streams/{stream_id:uuid}/messages",
    operation_id="ListMessages",
    summary="A stream's chat",
    tags=TAGS,
    guards=[requires("streams:read")],
    opt=raises("STREAM_NOT_FOUND", "NO_ACCESS_TO_STREAM"),
)
async def list_messages(
    stream_id: FromPath[UUID],
    actor: CurrentActor,
    chat: Chat,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ChatMessage]:
    """For whoever may watch. Newest first, without those that were removed."""
    rows = await chat.messages(stream_id, actor.user_id, decode_cursor(cursor, UUID), limit + 1)
    return page_of(rows, limit, lambda message: message.message_id)


@delete(
    "/streams/{stream_id:uuid}/messages/{message_id:uuid}",
    operation_id="RemoveMessage",
    summary="Remove a message",
    tags=TAGS,
    guards=[requires("chat:write")],
    opt=raises("MESSAGE_NOT_FOUND", "FORBIDDEN", "USER_SUSPENDED"),
)
async def remove_message(
    stream_id: FromPath[UUID], message_id: FromPath[UUID], actor: CurrentActor, chat: Chat
) -> None:
    """Its author, the stream's creator and moderators may. Removed already: nothing changes."""
    await chat.remove(stream_id, message_id, actor.user_id)


chat_router = Router(
    path="/api/v1",
    dependencies={"chat": inject(ChatQueries)},
    request_max_body_size=MONEY_BODY_LIMIT,
    route_handlers=[post_message, list_messages, remove_message],
)
