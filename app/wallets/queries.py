"""The SQL of wallets: one typed function per statement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from app.core.acts import act_of, note_act
from app.core.context import AppContext, RequestInfo
from app.core.database import Connection
from app.core.errors import TesseraError, error, from_sql
from app.wallets.structs import (
    Audit,
    CaptureRequest,
    HoldReceipt,
    HoldRequest,
    RefundReceipt,
    RefundRequest,
    Transaction,
    TransferReceipt,
    Violation,
    WalletBalance,
)

SHOWN = 100
"""How many violations an answer lists."""


class TransferItem(NamedTuple):
    """api.transfer_request, in the order of its columns."""

    from_wallet_id: UUID | None
    to_wallet_id: UUID | None
    to_user_id: UUID | None
    amount: int
    asset: str
    kind: str
    idempotency_key: str
    reference: str | None
    actor_id: UUID
    metadata: str | None
    event_at: datetime | None = None


class Replayable(NamedTuple):
    """An answer, and whether the key had given it before."""

    answer: Any
    replayed: bool


def refusal(row: asyncpg.Record) -> TesseraError:
    """The error of an outcome that has an error_code."""
    return from_sql(row["error_code"], row["error"], msgspec.json.decode(row["detail"]))


def _transaction(row: asyncpg.Record) -> Transaction:
    fields = dict(row)
    if fields["metadata"] is not None:
        fields["metadata"] = msgspec.json.decode(fields["metadata"])
    return Transaction(**fields)


def _receipt(receipt: type[msgspec.Struct], row: asyncpg.Record | None) -> Replayable:
    assert row is not None
    fields = dict(row)
    replayed = fields.pop("replayed")
    return Replayable(receipt(**fields), replayed)


def _jsonb(value: dict[str, Any] | None) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


class WalletQueries:
    """Statements on wallets and their history."""

    def __init__(self, context: AppContext) -> None:
        self.db = context.database
        limit = context.settings.statement_timeout_ms
        self._patience = timedelta(milliseconds=limit) / 2 if limit else timedelta.max

    async def transfer_batch(self, items: Sequence[TransferItem]) -> list[Replayable | TesseraError]:
        """Transfer, each item alone; one outcome an item."""
        rows = await self.db.fetch("SELECT * FROM api.transfer_batch($1::api.transfer_request[])", items)
        return [
            refusal(row)
            if row["error_code"] is not None
            else Replayable(
                TransferReceipt(
                    transfer_id=row["transfer_id"],
                    from_wallet_id=row["from_wallet_id"],
                    to_wallet_id=row["to_wallet_id"],
                    amount=row["amount"],
                    asset=row["asset"],
                    new_balance=row["from_balance"],
                    created_at=row["created_at"],
                ),
                row["replayed"],
            )
            for row in rows
        ]

    async def place_hold(self, data: HoldRequest, key: str, actor: UUID, info: RequestInfo) -> Replayable:
        """Set an amount aside. Errors: those of api.place_hold."""
        return await self._hold(
            info,
            actor,
            "hold.placed",
            "SELECT * FROM api.place_hold($1, $2, $3, $4, $5, $6, $7, $8)",
            data.wallet_id,
            data.amount,
            timedelta(seconds=data.expires_in_seconds),
            key,
            data.kind,
            data.reference,
            actor,
            _jsonb(data.metadata),
        )

    async def capture_hold(
        self, hold: UUID, data: CaptureRequest, key: str, actor: UUID, info: RequestInfo
    ) -> Replayable:
        """Pay out what a hold set aside. Errors: those of api.capture_hold."""
        return await self._hold(
            info,
            actor,
            "hold.captured",
            "SELECT * FROM api.capture_hold($1, $2, $3, $4, $5, $6, $7, $8)",
            hold,
            data.to_wallet_id,
            data.amount,
            data.close,
            key,
            data.reference,
            actor,
            _jsonb(data.metadata),
        )

    async def release_hold(self, hold: UUID, key: str, actor: UUID, info: RequestInfo) -> Replayable:
        """Give back what a hold set aside. Errors: those of api.release_hold."""
        return await self._hold(
            info, actor, "hold.released", "SELECT * FROM api.release_hold($1, $2, $3)", hold, key, actor
        )

    async def refund_transfer(
        self, transfer: UUID, data: RefundRequest, key: str, actor: UUID, info: RequestInfo
    ) -> Replayable:
        """Give back a transfer. Errors: those of api.refund_transfer."""
        async with act_of(self.db, info) as connection:
            row = await connection.fetchrow(
                "SELECT * FROM api.refund_transfer($1, $2, $3, $4, $5, $6)",
                transfer,
                data.amount,
                key,
                data.policy,
                data.reason,
                actor,
            )
        return _receipt(RefundReceipt, row)

    async def _hold(self, info: RequestInfo, actor: UUID, action: str, sql: str, *args: Any) -> Replayable:
        """What an operator does to a hold; other callers of these functions are no administrators."""
        async with act_of(self.db, info) as connection:
            done = _receipt(HoldReceipt, await connection.fetchrow(sql, *args))
            if not done.replayed:
                await note_act(connection, actor, action, done.answer.hold_id, msgspec.to_builtins(done.answer))
        return done

    async def balances(self, user: UUID) -> list[WalletBalance]:
        """All wallets of a user."""
        return await self.db.fetch_as(WalletBalance, "SELECT * FROM api.wallet_balances($1)", user)

    async def payable(self, user: UUID) -> tuple[int, int]:
        """Tokens that came in too lately to be paid out, and those that can be. Errors: those of api.payout_balance."""
        row = await self.db.fetchrow("SELECT b.pending, b.payable FROM api.payout_balance($1) AS b", user)
        assert row is not None
        return row["pending"], row["payable"]

    async def token_value(self) -> str:
        """What one token is paid out at, in USD. Errors: CONFIGURATION_ERROR."""
        value = await self.db.fetchval(
            """
            SELECT r.value FROM api.rates AS r
            WHERE r.name = 'token_value' AND r.valid_from <= now() AND (r.valid_to IS NULL OR r.valid_to > now())
            ORDER BY r.valid_from DESC LIMIT 1
            """
        )
        if value is None:
            raise error("CONFIGURATION_ERROR", rate="token_value")
        return f"{value.normalize():f}"

    async def wallet_of(self, user: UUID, asset: str) -> UUID:
        """The user's wallet of an asset. Errors: WALLET_NOT_FOUND."""
        wallet = await self.db.fetchval(
            "SELECT w.wallet_id FROM api.wallets AS w WHERE w.owner_id = $1 AND w.asset = $2", user, asset
        )
        if wallet is None:
            raise error("WALLET_NOT_FOUND", asset=asset)
        found: UUID = wallet
        return found

    async def entries(
        self,
        wallet: UUID,
        start: datetime | None,
        end: datetime | None,
        before: int | None,
        limit: int,
        kind: str | None = None,
        connection: Connection | None = None,
    ) -> list[Transaction]:
        """Entries of a wallet, newest first."""
        fetch = self.db.fetch if connection is None else connection.fetch
        rows = await fetch(
            "SELECT * FROM api.statement($1, $2, $3, $4, $5, $6)", wallet, start, end, before, limit, kind
        )
        return [_transaction(row) for row in rows]

    async def balances_at(
        self, wallet: UUID, start: datetime, end: datetime, connection: Connection
    ) -> tuple[int, int]:
        """Balance right before ``start`` and right before ``end``."""
        row = await connection.fetchrow(
            """
            SELECT api.balance_at($1, $2::timestamptz - interval '1 microsecond') AS opening,
                   api.balance_at($1, $3::timestamptz - interval '1 microsecond') AS closing
            """,
            wallet,
            start,
            end,
        )
        assert row is not None
        return row["opening"], row["closing"]

    async def audit(self) -> Audit:
        """Broken invariants of the ledger, now or when the scheduler last looked. Errors: DATABASE_BUSY."""
        kept = await self.db.fetchrow(
            "SELECT a.*, a.finished_at - a.started_at AS took FROM api.audits AS a ORDER BY a.audit_id DESC LIMIT 1"
        )
        if kept is None or kept["took"] < self._patience:
            try:
                rows = await self.db.fetch("SELECT v.* FROM api.audit_ledger() AS v LIMIT $1", SHOWN)
                violations = [
                    Violation(rule=row["rule"], subject=row["subject"], detail=msgspec.json.decode(row["detail"]))
                    for row in rows
                ]
                return Audit(not violations, violations, datetime.now(UTC))
            except asyncpg.QueryCanceledError:
                if kept is None:
                    raise
        return Audit(
            kept["violations"] == 0, msgspec.json.decode(kept["found"], type=list[Violation]), kept["finished_at"]
        )
