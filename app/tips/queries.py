"""The SQL of tips: one typed function per statement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec

from app.core.context import AppContext
from app.core.errors import TesseraError, error
from app.core.paging import LAST
from app.tips.structs import Tip, Tipper, TipReceipt, TipStats
from app.wallets.queries import Replayable, refusal


class TipItem(NamedTuple):
    """api.tip_request, in the order of its columns."""

    sender_id: UUID
    creator_id: UUID
    amount: int
    idempotency_key: str
    message: str | None
    stream_id: UUID | None
    call_id: UUID | None


class TipQueries:
    """Statements on tips."""

    def __init__(self, context: AppContext) -> None:
        self.db = context.database

    async def send_tips(self, items: Sequence[TipItem]) -> list[Replayable | TesseraError]:
        """Send tips, each item alone; one outcome an item."""
        rows = await self.db.fetch("SELECT * FROM api.send_tips($1::api.tip_request[])", items)
        return [
            refusal(row)
            if row["error_code"] is not None
            else Replayable(
                TipReceipt(
                    tip_id=row["tip_id"],
                    amount=row["amount"],
                    creator_cut=row["creator_cut"],
                    platform_fee=row["platform_fee"],
                    new_balance=row["new_balance"],
                ),
                row["replayed"],
            )
            for row in rows
        ]

    async def tips(self, side: Literal["sender", "creator"], user: UUID, before: UUID | None, limit: int) -> list[Tip]:
        """Tips that the user sent or received, newest first."""
        sql = (
            "SELECT * FROM api.tips AS t WHERE t.sender_id = $1 AND t.tip_id < $2 ORDER BY t.tip_id DESC LIMIT $3"
            if side == "sender"
            else "SELECT * FROM api.tips AS t WHERE t.creator_id = $1 AND t.tip_id < $2 ORDER BY t.tip_id DESC LIMIT $3"
        )
        return await self.db.fetch_as(Tip, sql, user, before or LAST, limit)

    async def stats(self, creator: UUID, period: str, length: timedelta | None) -> TipStats:
        """What a creator got in the last ``length`` (None: ever). Errors: CREATOR_NOT_FOUND."""
        row = await self.db.fetchrow(
            """
            SELECT s.count, s.sum, s.average, s.max, s.unique_tippers, s.top
            FROM core.users AS u, api.tip_stats(u.id, now() - $2::interval) AS s
            WHERE u.id = $1 AND 'creator' = ANY (u.roles)
            """,
            creator,
            length,
        )
        if row is None:
            raise error("CREATOR_NOT_FOUND", creator_id=str(creator))
        return TipStats(
            creator_id=creator,
            period=period,
            count=row["count"],
            sum=row["sum"],
            average=f"{row['average']:.2f}",
            max=row["max"],
            unique_tippers=row["unique_tippers"],
            top=msgspec.json.decode(row["top"], type=list[Tipper]),
        )
