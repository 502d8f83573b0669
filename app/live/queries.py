"""The SQL of live rooms: one typed function per statement."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from app.core.context import AppContext
from app.core.paging import LAST
from app.live.structs import Event, LiveStream, Outcome, Seat

Kind = Literal["stream", "call"]


class LiveQueries:
    """Statements on live rooms."""

    def __init__(self, context: AppContext) -> None:
        self.db = context.database

    async def enter_room(self, kind: Kind, subject: UUID, user: UUID) -> Seat:
        """The user's place in the room of a stream or call. Errors: those of api.enter_room."""
        row = await self.db.fetchrow("SELECT * FROM api.enter_room($1, $2, $3)", kind, subject, user)
        assert row is not None
        return Seat(**row)

    async def room_of(self, subject: UUID) -> str | None:
        """The room of a stream or call, if somebody was let into it."""
        room: str | None = await self.db.fetchval(
            "SELECT r.room FROM api.live_rooms AS r WHERE r.subject_id = $1", subject
        )
        return room

    async def note_event(self, event: Event) -> Outcome:
        """Take in what LiveKit tells. Errors: those of api.note_live_event."""
        outcome: Outcome = await self.db.fetchval(
            "SELECT api.note_live_event($1, $2, $3, $4, $5)", event.id, event.name, event.room, event.identity, event.at
        )
        return outcome

    async def live_streams(self, before: UUID | None, limit: int) -> list[LiveStream]:
        """Streams that are live, newest first."""
        return await self.db.fetch_as(
            LiveStream,
            """
            SELECT
                s.stream_id, s.title, s.channel, s.visibility, s.ticket_price, s.seats_left, s.started_at, s.viewers,
                s.creator_id,
                u.username AS creator_username, u.display_name AS creator_name
            FROM api.streams AS s
            INNER JOIN core.users AS u ON u.id = s.creator_id
            WHERE s.status = 'live' AND s.stream_id < $1
            ORDER BY s.stream_id DESC LIMIT $2
            """,
            before or LAST,
            limit,
        )
