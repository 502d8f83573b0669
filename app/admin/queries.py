"""The SQL of administration: one typed function per statement."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from app.admin.structs import (
    Act,
    Adjustment,
    AdjustmentRequest,
    FreezeRequest,
    MinimumRequest,
    Rate,
    RateRequest,
    Seal,
    Wallet,
)
from app.core.acts import act_of
from app.core.context import AppContext, RequestInfo
from app.core.errors import error
from app.core.paging import LAST
from app.core.times import utc

INFINITE = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
"""-infinity and infinity, as the driver gives them."""


def _rate(row: asyncpg.Record) -> Rate:
    fields = dict(row)
    fields["value"] = f"{fields['value'].normalize():f}"
    for name in ("valid_from", "valid_to"):
        # the seeds are in force since -infinity, which JSON has no word for
        moment: datetime | None = fields[name]
        fields[name] = None if moment is None or moment.replace(tzinfo=UTC) in INFINITE else moment
    return Rate(**fields)


def _act(row: asyncpg.Record) -> Act:
    return Act(**{**dict(row), "details": msgspec.json.decode(row["details"])})


class AdminQueries:
    """Statements of administrators. What changes something says from which request, for the audit log."""

    def __init__(self, context: AppContext) -> None:
        self.db = context.database

    async def rates(self, name: str | None, at: datetime | None, before: UUID | None, limit: int) -> list[Rate]:
        """Rates, newest first; with ``at`` only those that counted then."""
        rows = await self.db.fetch(
            """
            SELECT r.* FROM api.rates AS r
            WHERE r.rate_id < $3 AND ($1::text IS NULL OR r.name = $1)
                AND ($2::timestamptz IS NULL OR r.valid_from <= $2 AND (r.valid_to IS NULL OR r.valid_to > $2)
                    AND NOT EXISTS (
                        SELECT FROM api.rates AS l
                        WHERE l.name = r.name AND l.asset IS NOT DISTINCT FROM r.asset
                            AND l.scope IS NOT DISTINCT FROM r.scope AND l.valid_from > r.valid_from
                            AND l.valid_from <= $2 AND (l.valid_to IS NULL OR l.valid_to > $2)
                    ))
            ORDER BY r.rate_id DESC LIMIT $4
            """,
            name,
            at,
            before or LAST,
            limit,
        )
        return [_rate(row) for row in rows]

    async def set_rate(self, data: RateRequest, actor: UUID, info: RequestInfo) -> Rate:
        """Set a rate. Errors: those of api.set_rate."""
        row = await self._act(
            info,
            "SELECT * FROM api.set_rate($1, $2, $3, $4, $5, $6, $7, $8)",
            data.name,
            Decimal(data.value),
            data.asset,
            data.scope,
            utc(data.valid_from),
            utc(data.valid_to),
            data.note,
            actor,
        )
        return _rate(row)

    async def end_rate(self, rate: UUID, actor: UUID, info: RequestInfo) -> Rate:
        """End a rate now. Errors: those of api.end_rate."""
        return _rate(await self._act(info, "SELECT * FROM api.end_rate($1, NULL, $2)", rate, actor))

    async def request_adjustment(self, data: AdjustmentRequest, key: str, actor: UUID, info: RequestInfo) -> Adjustment:
        """Ask for a movement by hand. Errors: those of api.request_adjustment."""
        row = await self._act(
            info,
            "SELECT * FROM api.request_adjustment($1, $2, $3, $4, $5, $6)",
            data.from_wallet_id,
            data.to_wallet_id,
            data.amount,
            data.reason,
            key,
            actor,
        )
        return Adjustment(**row)

    async def approve_adjustment(self, adjustment: UUID, actor: UUID, info: RequestInfo) -> Adjustment:
        """Let it move. Errors: those of api.approve_adjustment."""
        return Adjustment(**await self._act(info, "SELECT * FROM api.approve_adjustment($1, $2)", adjustment, actor))

    async def reject_adjustment(self, adjustment: UUID, reason: str, actor: UUID, info: RequestInfo) -> Adjustment:
        """Do not let it move. Errors: those of api.reject_adjustment."""
        sql = "SELECT * FROM api.reject_adjustment($1, $2, $3)"
        return Adjustment(**await self._act(info, sql, adjustment, reason, actor))

    async def adjustments(self, status: str | None, before: UUID | None, limit: int) -> list[Adjustment]:
        """Adjustments, newest first."""
        return await self.db.fetch_as(
            Adjustment,
            """
            SELECT a.* FROM api.adjustments AS a
            WHERE a.adjustment_id < $2 AND ($1::text IS NULL OR a.status = $1)
            ORDER BY a.adjustment_id DESC LIMIT $3
            """,
            status,
            before or LAST,
            limit,
        )

    async def _act(self, info: RequestInfo, sql: str, *args: Any) -> asyncpg.Record:
        """One row, in a transaction that says where the request came from (core.audit_log's defaults)."""
        async with act_of(self.db, info) as connection:
            row = await connection.fetchrow(sql, *args)
        assert row is not None
        return row

    async def wallet(self, wallet: UUID) -> Wallet:
        """A wallet. Errors: WALLET_NOT_FOUND."""
        found = await self.db.fetch_one_as(Wallet, "SELECT * FROM api.wallets AS w WHERE w.wallet_id = $1", wallet)
        if found is None:
            raise error("WALLET_NOT_FOUND", wallet_id=str(wallet))
        return found

    async def freeze_wallet(self, wallet: UUID, data: FreezeRequest, actor: UUID, info: RequestInfo) -> Wallet:
        """Freeze a wallet. Errors: those of api.freeze_wallet."""
        return Wallet(
            **await self._act(
                info, "SELECT * FROM api.freeze_wallet($1, $2, $3, $4)", wallet, data.reason, data.mode, actor
            )
        )

    async def unfreeze_wallet(self, wallet: UUID, reason: str, actor: UUID, info: RequestInfo) -> Wallet:
        """End a freeze. Errors: those of api.unfreeze_wallet."""
        return Wallet(**await self._act(info, "SELECT * FROM api.unfreeze_wallet($1, $2, $3)", wallet, reason, actor))

    async def close_wallet(self, wallet: UUID, reason: str, actor: UUID, info: RequestInfo) -> Wallet:
        """Close a wallet for good. Errors: those of api.close_wallet."""
        return Wallet(**await self._act(info, "SELECT * FROM api.close_wallet($1, $2, $3)", wallet, reason, actor))

    async def set_wallet_minimum(self, wallet: UUID, data: MinimumRequest, actor: UUID, info: RequestInfo) -> Wallet:
        """Set how low a wallet may go. Errors: those of api.set_wallet_minimum."""
        return Wallet(
            **await self._act(
                info, "SELECT * FROM api.set_wallet_minimum($1, $2, $3, $4)", wallet, data.minimum, data.reason, actor
            )
        )

    async def seals(self, before: int | None, limit: int) -> list[Seal]:
        """Sealed blocks, newest first."""
        return await self.db.fetch_as(
            Seal,
            "SELECT s.* FROM api.seals AS s WHERE s.block < $1 ORDER BY s.block DESC LIMIT $2",
            2**63 - 1 if before is None else before,
            limit,
        )

    async def audit_log(
        self,
        actor: UUID | None,
        subject: UUID | None,
        action: str | None,
        start: datetime | None,
        end: datetime | None,
        before: UUID | None,
        limit: int,
    ) -> list[Act]:
        """Acts, newest first; ``action`` is how it begins."""
        rows = await self.db.fetch(
            """
            SELECT l.* FROM api.audit_log AS l
            WHERE l.audit_id < $6 AND ($1::uuid IS NULL OR l.actor_id = $1) AND ($2::uuid IS NULL OR l.subject_id = $2)
                AND ($3::text IS NULL OR starts_with(l.action, $3))
                AND ($4::timestamptz IS NULL OR l.created_at >= $4) AND ($5::timestamptz IS NULL OR l.created_at < $5)
            ORDER BY l.audit_id DESC LIMIT $7
            """,
            actor,
            subject,
            action,
            start,
            end,
            before or LAST,
            limit,
        )
        return [_act(row) for row in rows]
