"""The routes of bans."""

from __future__ import annotations

from uuid import UUID

from litestar import Router
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from app.bans.queries import BanQueries
from app.bans.structs import Ban, BanRequest
from app.core.auth import CurrentActor, requires
from app.core.context import inject
from app.core.openapi import raises
from app.core.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from app.core.routing import delete, get, put
from app.core.times import moment

TAGS = ["bans"]
Bans = NamedDependency[BanQueries]


@get(
    "/creators/me/bans",
    operation_id="ListBans",
    summary="Whom I have banned",
    tags=TAGS,
    guards=[requires("streams:read", role="creator")],
)
async def list_bans(actor: CurrentActor, bans: Bans, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Page[Ban]:
    """Newest first."""
    key = decode_cursor(cursor, tuple[str, UUID])
    before = None if key is None else (moment(key[0], "cursor"), key[1])
    rows = await bans.bans(actor.user_id, before, limit + 1)
    return page_of(rows, limit, lambda ban: (ban.created_at, ban.user_id))


@put(
    "/creators/me/bans/{user_id:uuid}",
    operation_id="BanUser",
    summary="Ban somebody",
    tags=TAGS,
    guards=[requires("streams:write", role="creator")],
    opt=raises("USER_NOT_FOUND", "CREATOR_NOT_FOUND", "SELF_BAN", "INVALID_REQUEST"),
)
async def ban_user(user_id: FromPath[UUID], data: JSONBody[BanRequest], actor: CurrentActor, bans: Bans) -> Ban:
    """From the chats of one's streams and from calling. They may still watch. Banned already: nothing changes."""
    return await bans.ban(actor.user_id, user_id, data.reason)


@delete(
    "/creators/me/bans/{user_id:uuid}",
    operation_id="UnbanUser",
    summary="Take a ban back",
    tags=TAGS,
    guards=[requires("streams:write", role="creator")],
)
async def unban_user(user_id: FromPath[UUID], actor: CurrentActor, bans: Bans) -> None:
    """Where there is none, nothing changes."""
    await bans.unban(actor.user_id, user_id)


bans_router = Router(
    path="/api/v1",
    dependencies={"bans": inject(BanQueries)},
    route_handlers=[list_bans, ban_user, unban_user],
)
