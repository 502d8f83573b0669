"""The SQL of calls: one typed function per statement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from app.calls.structs import (
    BillingStatus,
    Call,
    CallBlock,
    CallOffer,
    CallReceipt,
    CallRole,
    CallStats,
    CallStatus,
    Pulse,
)
from app.core.context import AppContext
from app.core.errors import TesseraError, error
from app.core.paging import LAST
from app.wallets.queries import Replayable, refusal

ALL = ["ringing", "active", "paused", "ended", "declined", "missed"]


class BeatItem(NamedTuple):
    """api.call_beat, in the order of its columns."""

    call_id: UUID
    user_id: UUID


class CallQueries:
    """Statements on calls."""

    def __init__(self, context: AppContext) -> None:
        self.db = context.database

    async def open_call(self, fan: UUID, creator: UUID, key: str) -> Replayable:
        """Call a creator. Errors: those of api.open_call."""
        row = await self.db.fetchrow("SELECT * FROM api.open_call($1, $2, $3)", fan, creator, key)
        assert row is not None
        fields = dict(row)
        replayed = fields.pop("replayed")
        return Replayable(CallOffer(**fields), replayed)

    async def accept_call(self, call: UUID, actor: UUID) -> Call:
        """Answer it. Errors: those of api.accept_call."""
        return await self._one("SELECT * FROM api.accept_call($1, $2)", call, actor)

    async def decline_call(self, call: UUID, actor: UUID) -> Call:
        """Do not. Errors: those of api.decline_call."""
        return await self._one("SELECT * FROM api.decline_call($1, $2)", call, actor)

    async def pause_call(self, call: UUID, actor: UUID) -> Call:
        """Stop its clock. Errors: those of api.pause_call."""
        return await self._one("SELECT * FROM api.pause_call($1, $2)", call, actor)

    async def resume_call(self, call: UUID, actor: UUID) -> Call:
        """Let its clock go on. Errors: those of api.resume_call."""
        return await self._one("SELECT * FROM api.resume_call($1, $2)", call, actor)

    async def end_call(self, call: UUID, actor: UUID) -> Call:
        """End it. Errors: those of api.end_call."""
        return await self._one("SELECT * FROM api.end_call($1, $2)", call, actor)

    async def beat_calls(self, items: Sequence[BeatItem]) -> list[Pulse | TesseraError]:
        """Signs of life; one outcome an item."""
        rows = await self.db.fetch("SELECT * FROM api.beat_calls($1::api.call_beat[])", items)
        return [
            refusal(row)
            if row["error_code"] is not None
            else Pulse(
                call_id=row["call_id"],
                status=row["status"],
                blocks=row["blocks"],
                billed=row["billed"],
                next_block_at=row["next_block_at"],
            )
            for row in rows
        ]

    async def call(self, call: UUID, actor: UUID) -> Call:
        """A call of one's own. Errors: CALL_NOT_FOUND, NOT_CALL_PARTICIPANT."""
        found = await self.db.fetch_one_as(Call, "SELECT * FROM api.calls AS c WHERE c.call_id = $1", call)
        return _mine(found, call, actor)

    async def calls(
        self, user: UUID, role: CallRole | None, status: Sequence[CallStatus] | None, before: UUID | None, limit: int
    ) -> list[Call]:
        """The user's calls, newest first."""
        return await self.db.fetch_as(
            Call,
            """
            SELECT c.* FROM (
                (
                    SELECT f.call_id FROM api.calls AS f
                    WHERE f.fan_id = $1 AND $2 IS DISTINCT FROM 'creator' AND f.call_id < $4 AND f.status = ANY ($3)
                    ORDER BY f.call_id DESC LIMIT $5
                )
                UNION ALL
                (
                    SELECT m.call_id FROM api.calls AS m
                    WHERE m.creator_id = $1 AND $2 IS DISTINCT FROM 'fan' AND m.call_id < $4 AND m.status = ANY ($3)
                    ORDER BY m.call_id DESC LIMIT $5
                )
            ) AS i INNER JOIN api.calls AS c ON c.call_id = i.call_id
            ORDER BY c.call_id DESC LIMIT $5
            """,
            user,
            role,
            ALL if status is None else list(status),
            before or LAST,
            limit,
        )

    async def blocks(self, call: UUID, actor: UUID, after: int | None, limit: int) -> list[CallBlock]:
        """A call's paid blocks, in order. Errors: CALL_NOT_FOUND, NOT_CALL_PARTICIPANT."""
        await self.call(call, actor)
        return await self.db.fetch_as(
            CallBlock,
            """
            SELECT b.block_no, b.price, b.platform_fee, b.transfer_id, b.fee_transfer_id, b.paid_at, b.refunded_at
            FROM api.call_blocks AS b WHERE b.call_id = $1 AND b.block_no > $2 ORDER BY b.block_no LIMIT $3
            """,
            call,
            -1 if after is None else max(-1, min(after, 2**31 - 1)),
            limit,
        )

    async def status(self, call: UUID, actor: UUID) -> BillingStatus:
        """How a call stands. Errors: CALL_NOT_FOUND, NOT_CALL_PARTICIPANT."""
        found = await self.call(call, actor)
        left = None
        if actor == found.fan_id and found.ended_at is None:
            left = await self.db.fetchval(
                "SELECT greatest(0, w.spendable) / $2 FROM api.wallets AS w"
                " WHERE w.owner_id = $1 AND w.asset = 'TOKEN'",
                actor,
                found.block_price,
            )
        return BillingStatus(call=found, blocks_left=left)

    async def receipt(self, call: UUID, actor: UUID) -> CallReceipt:
        """What an answered call came to. Errors: CALL_NOT_FOUND, NOT_CALL_PARTICIPANT, CALL_NOT_OVER."""
        found = await self.call(call, actor)
        if found.status != "ended":
            raise error("CALL_NOT_OVER", call_id=str(call), call_status=found.status)
        row = await self.db.fetchrow(
            """
            SELECT
                f.display_name AS fan_name, c.display_name AS creator_name,
                coalesce(sum(b.price), 0)::bigint AS paid,
                coalesce(sum(b.price) FILTER (WHERE b.refunded_at IS NOT NULL), 0)::bigint AS refunded
            FROM core.users AS f
            CROSS JOIN core.users AS c
            LEFT JOIN api.call_blocks AS b ON b.call_id = $3
            WHERE f.id = $1 AND c.id = $2
            GROUP BY f.id, c.id
            """,
            found.fan_id,
            found.creator_id,
            call,
        )
        assert row is not None
        assert found.accepted_at is not None
        assert found.ended_at is not None
        assert found.end_reason is not None
        return CallReceipt(
            call_id=call,
            fan_id=found.fan_id,
            creator_id=found.creator_id,
            asset="TOKEN",
            opened_at=found.opened_at,
            accepted_at=found.accepted_at,
            ended_at=found.ended_at,
            end_reason=found.end_reason,
            active_ms=found.active_ms,
            rate_per_minute=found.rate_per_minute,
            block_ms=found.block_ms,
            block_price=found.block_price,
            blocks=found.blocks,
            total=found.billed,
            platform_fees=found.platform_fees,
            creator_earned=found.billed - found.platform_fees,
            **row,
        )

    async def stats(
        self, user: UUID, role: CallRole | None, start: datetime | None = None, end: datetime | None = None
    ) -> CallStats:
        """The user's calls that are over, in numbers."""
        row = await self.db.fetchrow("SELECT * FROM api.call_stats($1, $2, $3, $4)", user, role, start, end)
        assert row is not None
        return CallStats(**row)

    async def meter_due_calls(self, limit: int) -> list[asyncpg.Record]:
        """Meter calls that are due; one row each."""
        return await self.db.fetch("SELECT * FROM api.meter_due_calls($1)", limit)

    async def meter_call_block(self, call: UUID) -> list[asyncpg.Record]:
        """Meter one call. Errors: CALL_NOT_FOUND."""
        return await self.db.fetch("SELECT * FROM api.meter_call_block($1)", call)

    async def _one(self, sql: str, call: UUID, actor: UUID) -> Call:
        row = await self.db.fetchrow(sql, call, actor)
        assert row is not None
        return Call(**row)


def _mine(found: Call | None, call: UUID, actor: UUID) -> Call:
    if found is None:
        raise error("CALL_NOT_FOUND", call_id=str(call))
    if actor not in (found.fan_id, found.creator_id):
        raise error("NOT_CALL_PARTICIPANT", call_id=str(call))
    return found
