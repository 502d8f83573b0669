"""The SQL of the command line: one typed function per statement."""

from __future__ import annotations

from decimal import Decimal
from typing import TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from app.commands._seals import Anchor, Problem

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


TOKEN = "TOKEN"
"""The asset that is granted."""


class Granted(msgspec.Struct, frozen=True):
    """A grant: its transfer, the balance right after it, and whether its key had taken effect before."""

    transfer_id: UUID
    balance: int
    replayed: bool


async def audit_ledger(connection: Connection) -> list[Problem]:
    """Broken invariants of the ledger, none when the books balance."""
    return [Problem(*row) for row in await connection.fetch("SELECT * FROM api.audit_ledger()")]


async def verify_seals(connection: Connection) -> list[Problem]:
    """Sealed blocks that are not what they were."""
    return [Problem(*row) for row in await connection.fetch("SELECT * FROM api.verify_seals()")]


async def newest_seal(connection: Connection) -> Anchor | None:
    """The last block of the chain."""
    row = await connection.fetchrow("SELECT s.block, s.digest FROM api.seals AS s ORDER BY s.block DESC LIMIT 1")
    return None if row is None else Anchor(*row)


async def seal_digests(connection: Connection, blocks: list[int]) -> dict[int, str]:
    """Digests of these blocks, where there are such."""
    rows = await connection.fetch("SELECT s.block, s.digest FROM api.seals AS s WHERE s.block = ANY ($1)", blocks)
    return {row["block"]: row["digest"] for row in rows}


async def user_by_email(connection: Connection, email: str) -> UUID | None:
    """Id of the user with this address, however it is written."""
    query = "SELECT u.id FROM core.users AS u WHERE lower(u.email) = lower($1)"
    found: UUID | None = await connection.fetchval(query, email)
    return found


async def grant_tokens(connection: Connection, user: UUID, amount: int, reason: str, key: str) -> Granted:
    """Mint tokens for a user; the same key grants once."""
    row = await connection.fetchrow(
        "SELECT * FROM api.grant_tokens(p_user => $1, p_amount => $2, p_reason => $3, p_key => $4, p_asset => $5)",
        user,
        amount,
        reason,
        key,
        TOKEN,
    )
    assert row is not None
    return Granted(row["transfer_id"], row["new_balance"], row["replayed"])


async def approve_payout(connection: Connection, payout: UUID) -> None:
    """Let a payout pass that is held."""
    await connection.execute("SELECT p.status FROM api.approve_payout($1) AS p", payout)


async def settle_payout(connection: Connection, payout: UUID, reference: str) -> None:
    """A payout by hand was paid."""
    await connection.execute("SELECT p.status FROM api.settle_payout($1, $2) AS p", payout, reference)


async def set_call_block(connection: Connection, seconds: int, for_seconds: int) -> UUID:
    """Calls that are opened from now on have blocks of so many seconds; the rate ends by itself. Its id."""
    rate: UUID = await connection.fetchval(
        """
        SELECT r.rate_id
        FROM api.set_rate(
            'call_block', $1, p_valid_to => clock_timestamp() + make_interval(secs => $2), p_note => 'tessera demo'
        ) AS r
        """,
        seconds,
        for_seconds,
    )
    return rate


async def end_rate(connection: Connection, rate: UUID) -> Decimal:
    """Let a rate end now, unless it has ended by itself. Returns the value that is in force instead."""
    await connection.fetch(
        """
        SELECT e.rate_id
        FROM api.rates AS r
        CROSS JOIN LATERAL api.end_rate(r.rate_id) AS e
        WHERE r.rate_id = $1 AND (r.valid_to IS NULL OR r.valid_to > clock_timestamp())
        """,
        rate,
    )
    value: Decimal = await connection.fetchval(
        """
        SELECT i.value
        FROM api.rates AS r
        INNER JOIN api.rates AS i
            ON i.name = r.name AND i.asset IS NOT DISTINCT FROM r.asset AND i.scope IS NOT DISTINCT FROM r.scope
            AND i.valid_from <= clock_timestamp() AND (i.valid_to IS NULL OR i.valid_to > clock_timestamp())
        WHERE r.rate_id = $1
        ORDER BY i.valid_from DESC
        LIMIT 1
        """,
        rate,
    )
    return value


async def register_user(connection: Connection, email: str, username: str, password_hash: str) -> UUID:
    """Make an account; raises the errors of `api.register_user`."""
    user: UUID = await connection.fetchval(
        "SELECT r.user_id FROM api.register_user($1, $2, NULL, $3) AS r", email, username, password_hash
    )
    return user


async def make_admin(connection: Connection, user: UUID) -> bool:
    """Give a user the role `admin`, noted in the audit log. False when they had it."""
    changed = await connection.fetchval(
        """
        UPDATE core.users AS u
        SET roles = array_append(u.roles, 'admin'), token_epoch = u.token_epoch + 1, updated_at = now()
        WHERE u.id = $1 AND NOT 'admin' = ANY (u.roles)
        RETURNING TRUE
        """,
        user,
    )
    if changed:
        await connection.execute(
            "INSERT INTO core.audit_log (action, subject_id, details) VALUES ('roles.changed', $1, $2::jsonb)",
            user,
            '{"added": ["admin"], "by": "tessera create-admin"}',
        )
    return bool(changed)
