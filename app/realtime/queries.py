"""The SQL of realtime: one typed function per statement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from app.core.context import AppContext
from app.core.errors import TesseraError
from app.wallets.queries import refusal

TICKET_SECONDS = 30


class FollowItem(NamedTuple):
    """api.follow_request, in the order of its columns."""

    user_id: UUID
    channel: str


class Standing(msgspec.Struct, frozen=True):
    """Where a channel stands: its last event, and the first that is kept."""

    epoch: UUID
    seq: int
    first_seq: int


class Redeemed(msgspec.Struct, frozen=True):
    """What a ticket stood for."""

    user_id: UUID
    session_id: UUID | None
    key_id: UUID | None
    token_epoch: int | None
    token_expires_at: datetime | None


class Credit(msgspec.Struct, frozen=True):
    """What a session or key is worth now: ``good``, the user's status, their tokens' epoch, and a key's scopes."""

    good: bool
    status: str
    token_epoch: int
    scopes: list[str] | None


class RealtimeQueries:
    """Statements on channels and tickets."""

    def __init__(self, context: AppContext) -> None:
        self.db = context.database

    async def follow_channels(self, items: Sequence[FollowItem]) -> list[Standing | TesseraError]:
        """Whether these may be followed, and where they stand; one outcome an item."""
        rows = await self.db.fetch("SELECT * FROM api.follow_channels($1::api.follow_request[])", items)
        return [
            refusal(row) if row["error_code"] is not None else Standing(row["epoch"], row["seq"], row["first_seq"])
            for row in rows
        ]

    async def refusals(self, items: Sequence[FollowItem]) -> list[TesseraError | None]:
        """Why these may not be followed any more, in order; None: they may."""
        rows = await self.db.fetch("SELECT * FROM api.follow_channels($1::api.follow_request[], false)", items)
        return [None if row["error_code"] is None else refusal(row) for row in rows]

    async def read_channels(self, channels: Sequence[str], after: Sequence[int], limit: int) -> list[Any]:
        """Rows of api.channel_read: first the log itself (place 0), then channels that have events above ``after``."""
        return await self.db.fetch("SELECT * FROM api.read_channels($1, $2, $3)", channels, after, limit)

    async def audience(self, streams: Sequence[UUID], names: int) -> list[Any]:
        """Rows of api.audience."""
        return await self.db.fetch("SELECT * FROM api.stream_audience($1, $2)", streams, names)

    async def add_ticket(
        self,
        ticket_hash: bytes,
        user: UUID,
        session: UUID | None,
        key: UUID | None,
        token_epoch: int | None,
        token_expires_at: float | None,
    ) -> datetime:
        """Keep a ticket for `TICKET_SECONDS`; until when that is."""
        expires_at: datetime = await self.db.fetchval(
            """
            INSERT INTO core.realtime_tickets
                (ticket_hash, user_id, session_id, key_id, token_epoch, token_expires_at, expires_at)
            VALUES ($1, $2, $3, $4, $5, to_timestamp($6), now() + make_interval(secs => $7))
            RETURNING expires_at
            """,
            ticket_hash,
            user,
            session,
            key,
            token_epoch,
            token_expires_at,
            TICKET_SECONDS,
        )
        return expires_at

    async def take_ticket(self, ticket_hash: bytes) -> Redeemed | None:
        """What a ticket stands for, which is gone with that; None where there is none, or it is too old."""
        return await self.db.fetch_one_as(
            Redeemed,
            """
            WITH taken AS (DELETE FROM core.realtime_tickets AS t WHERE t.ticket_hash = $1 RETURNING t.*)
            SELECT t.user_id, t.session_id, t.key_id, t.token_epoch, t.token_expires_at
            FROM taken AS t WHERE t.expires_at > now()
            """,
            ticket_hash,
        )

    async def credits(self, sessions: Sequence[UUID | None], keys: Sequence[UUID | None]) -> list[Credit]:
        """What these sessions or keys are worth now, in order."""
        return await self.db.fetch_as(
            Credit,
            """
            SELECT coalesce(CASE
                       WHEN i.session_id IS NOT NULL THEN s.revoked_at IS NULL
                       ELSE k.deleted_at IS NULL AND (k.expires_at > now()) IS NOT FALSE
                           AND 'realtime:read' = ANY (k.scopes)
                   END, false) AS good,
                   coalesce(u.status, 'gone') AS status, coalesce(u.token_epoch, 0) AS token_epoch,
                   k.scopes
            FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS i (session_id, key_id, ord)
            LEFT JOIN core.sessions AS s ON s.id = i.session_id
            LEFT JOIN core.api_keys AS k ON k.id = i.key_id
            LEFT JOIN core.users AS u ON u.id = coalesce(s.user_id, k.user_id)
            ORDER BY i.ord
            """,
            sessions,
            keys,
        )
