"""Who watches which stream: told to those who watch it too, at most every `TICK_SECONDS`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from app.core.errors import TesseraError
from app.core.wire import text_frame
from app.realtime.protocol import Present, encode
from app.realtime.queries import RealtimeQueries
from app.realtime.sockets import Socket

if TYPE_CHECKING:
    from app.core.context import AppContext

TICK_SECONDS = 2.0
NAMES = 100
"""Beyond so many viewers only their number is told."""
GROUP = 500

log = structlog.get_logger("tessera.realtime")


class Audiences:
    """One for an application. ``sockets`` are those that are open."""

    def __init__(self, context: AppContext, sockets: dict[Socket, None]) -> None:
        self._queries = context.get(RealtimeQueries)
        self._sockets = sockets
        self._known: dict[UUID, tuple[int, frozenset[UUID] | None]] = {}
        context.in_background(self._run, "realtime-presence")

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self._look()
            except TesseraError:
                continue
            except Exception:
                log.exception("realtime_presence_failed")

    async def _look(self) -> None:
        watched: dict[UUID, list[Socket]] = {}
        for socket in self._sockets:
            for stream in socket.watching:
                watched.setdefault(stream, []).append(socket)
        for stream in self._known.keys() - watched.keys():
            del self._known[stream]
        streams = list(watched)
        for start in range(0, len(streams), GROUP):
            for row in await self._queries.audience(streams[start : start + GROUP], NAMES):
                self._tell(row["stream_id"], row["viewers"] or 0, row["user_ids"], watched[row["stream_id"]])

    def _tell(self, stream: UUID, viewers: int, user_ids: list[UUID] | None, sockets: list[Socket]) -> None:
        users = None if user_ids is None else frozenset(user_ids)
        before = self._known.get(stream)
        self._known[stream] = (viewers, users)
        if before == (viewers, users):
            return
        frame = Present(channel=f"stream:{stream}", viewers=viewers)
        if users is not None:
            known = before[1] if before is not None and before[1] is not None else frozenset()
            frame.joined, frame.left = sorted(users - known), sorted(known - users)
        encoded = text_frame(encode(frame))
        for socket in sockets:
            if stream in socket.watching:
                socket.write(encoded)
