"""Looks at everybody's rights again, so that nobody goes on reading what has become none of their business.

- A token or key that ends is known beforehand.
- Changes of users, sessions and keys are notified by the database (app/core/revocation.py), which puts their sockets in
  doubt; those are asked about at once. While notifications cannot be heard everybody is in doubt.
- Whether somebody may follow a stream, a call or `ops` is asked again every `RECHECK_SECONDS`.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from app.core.errors import TesseraError
from app.realtime.queries import FollowItem, RealtimeQueries
from app.realtime.sockets import FORBIDDEN, NOT_AUTHENTICATED, Socket

if TYPE_CHECKING:
    from app.core.context import AppContext

TICK_SECONDS = 0.5
RECHECK_SECONDS = 3.0
GROUP = 500

log = structlog.get_logger("tessera.realtime")


class Guard:
    """One for an application. ``sockets`` are those that are open."""

    def __init__(self, context: AppContext, sockets: dict[Socket, None]) -> None:
        self._queries = context.get(RealtimeQueries)
        self._auth = context.auth
        self._sockets = sockets
        context.auth.on_revoked.append(self._doubt)
        context.in_background(self._run, "realtime-guard")

    def _doubt(self, user: UUID | None) -> None:
        for socket in self._sockets:
            if socket.actor is not None and (user is None or socket.actor.user_id == user):
                socket.doubted = True

    async def _run(self) -> None:
        rechecked = time.monotonic()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                self._end_expired()
                await self._check_credentials()
                if time.monotonic() - rechecked >= RECHECK_SECONDS:
                    rechecked = time.monotonic()
                    if rechecked >= self._auth.trusted_until:
                        self._doubt(None)
                    await self._check_channels()
            except TesseraError:
                continue  # without a database there are no events either
            except Exception:
                log.exception("realtime_guard_failed")

    def _end_expired(self) -> None:
        now = time.time()
        for socket in tuple(self._sockets):
            if socket.actor is not None and socket.actor.expires_at is not None and socket.actor.expires_at <= now:
                socket.close(NOT_AUTHENTICATED, "TOKEN_EXPIRED")

    async def _check_credentials(self) -> None:
        doubted = [socket for socket in self._sockets if socket.doubted and socket.actor is not None]
        for start in range(0, len(doubted), GROUP):
            group = [(socket, socket.actor) for socket in doubted[start : start + GROUP] if socket.actor is not None]
            for socket, _ in group:
                socket.doubted = False  # what changes from now on is doubted anew
            try:
                found = await self._queries.credits(
                    [actor.session_id for _, actor in group], [actor.key_id for _, actor in group]
                )
            except TesseraError:
                for socket in doubted[start:]:
                    socket.doubted = True
                raise
            for (socket, actor), credit in zip(group, found, strict=True):
                if socket.actor is not actor:
                    continue  # it was renewed, and is in doubt again
                if credit.status != "active":
                    socket.close(FORBIDDEN, "USER_SUSPENDED")
                elif not credit.good or (actor.token_epoch is not None and actor.token_epoch != credit.token_epoch):
                    socket.close(NOT_AUTHENTICATED, "INVALID_TOKEN")

    async def _check_channels(self) -> None:
        asked: dict[FollowItem, list[Socket]] = {}
        for socket in self._sockets:
            if socket.actor is None:
                continue
            for name in socket.follows:
                if not name.startswith(("user:", "creator:")):  # those stay one's own
                    asked.setdefault(FollowItem(socket.actor.user_id, name), []).append(socket)
        items = list(asked)
        for start in range(0, len(items), GROUP):
            group = items[start : start + GROUP]
            for item, refusal in zip(group, await self._queries.refusals(group), strict=True):
                if refusal is not None:
                    for socket in asked[item]:
                        socket.revoke(item.channel, refusal.slug)
