"""Where live rooms meet LiveKit: it is told, and listened to, outside of any transaction."""

from __future__ import annotations

from uuid import UUID

import structlog

from app.core.context import AppContext
from app.core.errors import TesseraError, error
from app.core.metrics import LIVE_EVENTS
from app.live.livekit import LiveKit, RoomNotClosed
from app.live.queries import LiveQueries
from app.live.structs import Ended, LiveStream, LiveToken, Outcome, Started, TokenRequest
from app.streams.queries import StreamQueries

log = structlog.get_logger("tessera.live")


class Live:
    """Tokens, rooms and events."""

    def __init__(self, context: AppContext) -> None:
        self._queries = context.get(LiveQueries)
        self._streams = context.get(StreamQueries)
        self._livekit = LiveKit.of(context.settings)

    @property
    def livekit(self) -> LiveKit:
        """Errors: LIVEKIT_NOT_CONFIGURED."""
        if self._livekit is None:
            raise error("LIVEKIT_NOT_CONFIGURED")
        return self._livekit

    async def token(self, wanted: TokenRequest, user: UUID) -> LiveToken:
        """A token for the room of a stream or a call. Errors: those of api.enter_room, LIVEKIT_NOT_CONFIGURED."""
        livekit = self.livekit
        if wanted.stream_id is not None:
            seat = await self._queries.enter_room("stream", wanted.stream_id, user)
        else:
            assert wanted.call_id is not None
            seat = await self._queries.enter_room("call", wanted.call_id, user)
        return LiveToken(
            url=livekit.client_url,
            room=seat.room,
            token=livekit.token(user, seat),
            identity=user,
            can_publish=seat.publishes,
            expires_in=livekit.token_seconds,
        )

    async def start(self, stream: UUID, actor: UUID) -> Started:
        """Go live, or come back: a new token. Errors: those of api.start_stream, LIVEKIT_NOT_CONFIGURED."""
        livekit = self.livekit
        started = await self._streams.start_stream(stream, actor)
        seat = await self._queries.enter_room("stream", stream, actor)
        return Started(
            stream=started,
            url=livekit.client_url,
            room=seat.room,
            token=livekit.token(actor, seat),
            expires_in=livekit.token_seconds,
        )

    async def end(self, stream: UUID, actor: UUID) -> Ended:
        """End a stream and close its room; again: the same. Errors: those of api.end_stream but STREAM_ENDED."""
        livekit = self.livekit
        ended = await self._streams.end_stream(stream, actor)
        room = await self._queries.room_of(stream)
        if room is not None:
            try:
                await livekit.close_room(room)
            except RoomNotClosed as exc:
                log.warning("room_not_closed", room=room, reason=str(exc))
                return Ended(stream=ended, room_closed=False)
        return Ended(stream=ended, room_closed=True)

    async def discover(self, before: UUID | None, limit: int) -> list[LiveStream]:
        """Streams that are live, newest first. Errors: LIVEKIT_NOT_CONFIGURED."""
        if self._livekit is None:
            raise error("LIVEKIT_NOT_CONFIGURED")
        return await self._queries.live_streams(before, limit)

    async def receive(self, body: bytes, signature: str | None) -> Outcome:
        """Take in a webhook. Errors: LIVEKIT_SIGNATURE_INVALID, MALFORMED_JSON, those of api.note_live_event."""
        livekit = self.livekit
        outcome: Outcome = "ignored"
        try:
            event = livekit.read_event(body, signature)
            if event is not None:
                outcome = await self._queries.note_event(event)
        except TesseraError as exc:
            if exc.status < 500:
                LIVE_EVENTS.labels("refused").inc()
            raise
        LIVE_EVENTS.labels(outcome).inc()
        return outcome
