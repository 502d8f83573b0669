"""The SQL of streams: one typed function per statement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET

from app.core.acts import act_of
from app.core.context import AppContext, RequestInfo
from app.core.errors import TesseraError, error
from app.core.paging import LAST
from app.core.times import utc
from app.streams.structs import Access, Stream, StreamPatch, StreamRequest, StreamStatus, TicketReceipt, Watching
from app.wallets.queries import Replayable, refusal


class TicketItem(NamedTuple):
    """api.ticket_request, in the order of its columns."""

    viewer_id: UUID
    stream_id: UUID
    idempotency_key: str


class WatchItem(NamedTuple):
    """api.watch_beat, in the order of its columns."""

    user_id: UUID
    stream_id: UUID


class StreamQueries:
    """Statements on streams and tickets."""

    def __init__(self, context: AppContext) -> None:
        self.db = context.database

    async def buy_tickets(self, items: Sequence[TicketItem]) -> list[Replayable | TesseraError]:
        """Buy tickets, each item alone; one outcome an item."""
        rows = await self.db.fetch("SELECT * FROM api.buy_tickets($1::api.ticket_request[])", items)
        return [
            refusal(row)
            if row["error_code"] is not None
            else Replayable(
                TicketReceipt(ticket_id=row["ticket_id"], price=row["price"], new_balance=row["new_balance"]),
                row["replayed"],
            )
            for row in rows
        ]

    async def watch_streams(self, items: Sequence[WatchItem]) -> list[Watching | TesseraError]:
        """Count viewers, each item alone; one outcome an item."""
        rows = await self.db.fetch("SELECT * FROM api.watch_streams($1::api.watch_beat[])", items)
        return [
            refusal(row)
            if row["error_code"] is not None
            else Watching(viewers=row["viewers"], seen_until=row["seen_until"])
            for row in rows
        ]

    async def leave_streams(self, items: Sequence[WatchItem]) -> None:
        """Count these viewers no longer."""
        await self.db.fetchval("SELECT api.leave_streams($1::api.watch_beat[])", items)

    async def create_stream(self, data: StreamRequest, creator: UUID) -> Stream:
        """Announce a stream. Errors: those of api.create_stream."""
        return await self._one(
            "SELECT * FROM api.create_stream($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            creator,
            data.title,
            data.channel,
            data.visibility,
            data.ticket_price,
            data.seats,
            utc(data.starts_at),
            utc(data.sales_from),
            utc(data.sales_to),
        )

    async def update_stream(self, stream: UUID, data: StreamPatch, actor: UUID) -> Stream:
        """Change the fields that are set. Errors: those of api.update_stream."""
        changes = {
            name: utc(value) if isinstance(value, datetime) else value
            for name, value in msgspec.structs.asdict(data).items()
            if value is not UNSET
        }
        return await self._one(
            "SELECT * FROM api.update_stream($1, $2, $3)", stream, msgspec.json.encode(changes).decode(), actor
        )

    async def start_stream(self, stream: UUID, actor: UUID) -> Stream:
        """Go live. Errors: those of api.start_stream."""
        return await self._one("SELECT * FROM api.start_stream($1, $2)", stream, actor)

    async def end_stream(self, stream: UUID, actor: UUID) -> Stream:
        """End it; ended already: as it is. Errors: those of api.end_stream but STREAM_ENDED."""
        try:
            return await self._one("SELECT * FROM api.end_stream($1, $2)", stream, actor)
        except TesseraError as exc:
            if exc.slug != "STREAM_ENDED":
                raise
            return await self.stream(stream)

    async def cancel_stream(self, stream: UUID, reason: str, actor: UUID, info: RequestInfo) -> Stream:
        """Cancel it and give every ticket back; cancelled already: as it is. Errors: those of api.cancel_stream."""
        try:
            async with act_of(self.db, info) as connection:
                row = await connection.fetchrow("SELECT * FROM api.cancel_stream($1, $2, $3)", stream, reason, actor)
        except TesseraError as exc:
            if exc.slug == "STREAM_ENDED":
                found = await self.stream(stream)
                if found.cancelled_at is not None:
                    return found
            raise
        assert row is not None
        return Stream(**row)

    async def stream(self, stream: UUID) -> Stream:
        """A stream. Errors: STREAM_NOT_FOUND."""
        found = await self.db.fetch_one_as(Stream, "SELECT * FROM api.streams AS s WHERE s.stream_id = $1", stream)
        if found is None:
            raise error("STREAM_NOT_FOUND", stream_id=str(stream))
        return found

    async def streams(
        self, creator: UUID | None, status: StreamStatus | None, before: UUID | None, limit: int
    ) -> list[Stream]:
        """Streams, newest first."""
        return await self.db.fetch_as(
            Stream,
            """
            SELECT s.* FROM api.streams AS s
            WHERE s.stream_id < $3 AND ($1::uuid IS NULL OR s.creator_id = $1) AND ($2::text IS NULL OR s.status = $2)
            ORDER BY s.stream_id DESC LIMIT $4
            """,
            creator,
            status,
            before or LAST,
            limit,
        )

    async def access(self, stream: UUID, viewer: UUID) -> Access:
        """Whether the viewer may watch. Errors: STREAM_NOT_FOUND."""
        row = await self.db.fetchrow("SELECT * FROM api.stream_access($1, $2)", stream, viewer)
        assert row is not None
        return Access(**row)

    async def _one(self, sql: str, *args: object) -> Stream:
        row = await self.db.fetchrow(sql, *args)
        assert row is not None
        return Stream(**row)
