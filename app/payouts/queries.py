"""The SQL of payouts: one typed function per statement."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from app.core.acts import act_of, note_act
from app.core.context import AppContext, RequestInfo
from app.core.errors import error
from app.core.paging import LAST
from app.core.vault import Sealed
from app.payouts.structs import (
    AdminPayout,
    Mismatch,
    Payout,
    PayoutAccount,
    PayoutBalance,
    PayoutDay,
    PayoutReceipt,
    PayoutStatus,
    StatementLine,
)
from app.wallets.queries import Replayable

_ACCOUNT = ", ".join(f"a.{name}" for name in PayoutAccount.__struct_fields__)
_PAYOUT = ", ".join(f"p.{name}" for name in Payout.__struct_fields__)
_ADMIN = ", ".join(f"p.{name}" for name in AdminPayout.__struct_fields__)
DAYS = 400
BATCH = 1000


class ManualRow(msgspec.Struct, frozen=True):
    """A payout to be paid by hand, with what is encrypted."""

    payout_id: UUID
    account_id: UUID
    user_id: UUID
    currency: str
    payout_amount: int
    key_id: str
    details: bytes


class PayoutQueries:
    """Statements on payouts and their accounts."""

    def __init__(self, context: AppContext) -> None:
        self.db = context.database

    # Accounts

    async def add_account(
        self,
        account: UUID,
        user: UUID,
        provider: str,
        currency: str,
        masked: str,
        sealed: Sealed,
        info: RequestInfo,
    ) -> PayoutAccount:
        """Errors: those of api.add_payout_account."""
        async with act_of(self.db, info) as connection:
            row = await connection.fetchrow(
                f"SELECT {_ACCOUNT} FROM api.add_payout_account($1, $2, $3, $4, $5, $6, $7) AS a",
                account,
                user,
                provider,
                currency,
                masked,
                sealed.key_id,
                sealed.data,
            )
        assert row is not None
        return PayoutAccount(**row)

    async def remove_account(self, account: UUID, user: UUID, info: RequestInfo) -> None:
        """Errors: those of api.remove_payout_account."""
        async with act_of(self.db, info) as connection:
            await connection.execute("SELECT api.remove_payout_account($1, $2)", account, user)

    async def accounts(self, user: UUID) -> list[PayoutAccount]:
        """The user's, oldest first."""
        return await self.db.fetch_as(
            PayoutAccount,
            f"""
            SELECT {_ACCOUNT} FROM api.payout_accounts AS a
            WHERE a.user_id = $1 AND a.removed_at IS NULL ORDER BY a.created_at
            """,
            user,
        )

    # Payouts

    async def repeat(self, user: UUID, amount: int, account: UUID, key: str) -> Replayable | None:
        """What this key led to before, if it has. Errors: IDEMPOTENCY_KEY_REUSED."""
        row = await self.db.fetchrow("SELECT * FROM api.repeat_payout($1, $2, $3, $4)", user, amount, account, key)
        return None if row is None else _receipt(row)

    async def request(self, user: UUID, amount: int, account: UUID, key: str) -> Replayable:
        """Errors: those of api.request_payout."""
        row = await self.db.fetchrow("SELECT * FROM api.request_payout($1, $2, $3, $4)", user, amount, account, key)
        assert row is not None
        return _receipt(row)

    async def payout(self, payout: UUID, user: UUID) -> Payout:
        """One of the user's. Errors: PAYOUT_NOT_FOUND."""
        found = await self.db.fetch_one_as(
            Payout, f"SELECT {_PAYOUT} FROM api.payouts AS p WHERE p.payout_id = $1 AND p.user_id = $2", payout, user
        )
        if found is None:
            raise error("PAYOUT_NOT_FOUND", payout_id=str(payout))
        return found

    async def payouts(self, user: UUID, status: PayoutStatus | None, before: UUID | None, limit: int) -> list[Payout]:
        """The user's, newest first."""
        return await self.db.fetch_as(
            Payout,
            f"""
            SELECT {_PAYOUT} FROM api.payouts AS p
            WHERE p.user_id = $1 AND p.payout_id < $3 AND ($2::text IS NULL OR p.status = $2)
            ORDER BY p.payout_id DESC LIMIT $4
            """,
            user,
            status,
            before or LAST,
            limit,
        )

    async def cancel(self, payout: UUID, user: UUID, info: RequestInfo) -> Payout:
        """Errors: those of api.cancel_payout."""
        async with act_of(self.db, info) as connection:
            row = await connection.fetchrow(f"SELECT {_PAYOUT} FROM api.cancel_payout($1, $2) AS p", payout, user)
        assert row is not None
        return Payout(**row)

    async def balance(self, user: UUID) -> PayoutBalance:
        """Errors: those of api.payout_balance."""
        row = await self.db.fetchrow("SELECT * FROM api.payout_balance($1)", user)
        assert row is not None
        return PayoutBalance(**row)

    async def statement(self, user: UUID, year: int) -> list[StatementLine]:
        """Errors: those of api.earnings_statement."""
        return await self.db.fetch_as(StatementLine, "SELECT * FROM api.earnings_statement($1, $2)", user, year)

    async def paid_in(self, user: UUID, year: int) -> list[Payout]:
        """Payouts that were paid in a year (UTC) and not taken back."""
        return await self.db.fetch_as(
            Payout,
            f"""
            SELECT {_PAYOUT} FROM api.payouts AS p
            WHERE p.user_id = $1 AND p.status = 'paid' AND p.paid_at >= make_timestamptz($2, 1, 1, 0, 0, 0, 'UTC')
            AND p.paid_at < make_timestamptz($2 + 1, 1, 1, 0, 0, 0, 'UTC')
            ORDER BY p.paid_at
            """,
            user,
            year,
        )

    # Operators

    async def queue(
        self, status: PayoutStatus | None, provider: str | None, before: UUID | None, limit: int
    ) -> list[AdminPayout]:
        """Everybody's, newest first."""
        return await self.db.fetch_as(
            AdminPayout,
            f"""
            SELECT {_ADMIN} FROM api.payouts AS p
            WHERE p.payout_id < $3 AND ($1::text IS NULL OR p.status = $1) AND ($2::text IS NULL OR p.provider = $2)
            ORDER BY p.payout_id DESC LIMIT $4
            """,
            status,
            provider,
            before or LAST,
            limit,
        )

    async def approve(self, payout: UUID, actor: UUID, info: RequestInfo) -> AdminPayout:
        """Errors: those of api.approve_payout."""
        return await self._act("api.approve_payout($1, $2)", info, payout, actor)

    async def hold(self, payout: UUID, reason: str, actor: UUID, info: RequestInfo) -> AdminPayout:
        """Errors: those of api.hold_payout."""
        return await self._act("api.hold_payout($1, $2, $3)", info, payout, reason, actor)

    async def settle(self, payout: UUID, reference: str, actor: UUID, info: RequestInfo) -> AdminPayout:
        """Errors: those of api.settle_payout."""
        return await self._act("api.settle_payout($1, $2, $3)", info, payout, reference, actor)

    async def fail(
        self, payout: UUID, reason: str, reference: str | None, actor: UUID, info: RequestInfo
    ) -> AdminPayout:
        """Errors: those of api.fail_payout."""
        return await self._act("api.fail_payout($1, $2, $3, $4)", info, payout, reason, reference, actor)

    async def manual_batch(self, actor: UUID, info: RequestInfo) -> list[ManualRow]:
        """Payouts to be paid by hand, oldest first; that they were listed is in the audit log."""
        async with act_of(self.db, info) as connection:
            rows = await connection.fetch(
                """
                SELECT p.payout_id, p.account_id, p.user_id, p.currency, p.payout_amount, a.key_id, a.details
                FROM api.payouts AS p JOIN core.payout_accounts AS a ON a.id = p.account_id
                WHERE p.provider = 'manual' AND p.status = 'processing' ORDER BY p.payout_id LIMIT $1
                """,
                BATCH,
            )
            await note_act(connection, actor, "payouts.listed", actor, {"payouts": len(rows)})
        return [ManualRow(**row) for row in rows]

    async def reconcile(self, provider: str, day: date) -> list[Mismatch]:
        """Errors: those of api.reconcile_payouts."""
        rows = await self.db.fetch("SELECT * FROM api.reconcile_payouts($1, $2)", provider, day)
        return [Mismatch(**{**row, "detail": msgspec.json.decode(row["detail"])}) for row in rows]

    async def days(self) -> list[PayoutDay]:
        """What was paid out, newest first."""
        return await self.db.fetch_as(
            PayoutDay, "SELECT * FROM api.payout_days AS d ORDER BY d.day DESC, d.provider, d.currency LIMIT $1", DAYS
        )

    async def _act(self, call: str, info: RequestInfo, *args: Any) -> AdminPayout:
        async with act_of(self.db, info) as connection:
            row = await connection.fetchrow(f"SELECT {_ADMIN} FROM {call} AS p", *args)
        assert row is not None
        return AdminPayout(**row)


def _receipt(row: asyncpg.Record) -> Replayable:
    fields = dict(row)
    replayed = fields.pop("replayed")
    return Replayable(PayoutReceipt(**fields), replayed)
