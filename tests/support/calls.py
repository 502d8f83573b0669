"""Calls for tests: people who may call each other, and time that passes at will."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from tests.support.money import Person, unguarded
from tests.support.postgres import Connection

OPEN = "SELECT * FROM api.open_call($1, $2, $3)"
ACCEPT = "SELECT * FROM api.accept_call($1, $2)"
DECLINE = "SELECT * FROM api.decline_call($1, $2)"
PAUSE = "SELECT * FROM api.pause_call($1, $2)"
RESUME = "SELECT * FROM api.resume_call($1, $2)"
END = "SELECT * FROM api.end_call($1, $2)"
METER = "SELECT * FROM api.meter_call_block($1)"
METER_DUE = "SELECT * FROM api.meter_due_calls($1)"
BEAT = "SELECT * FROM api.beat_calls($1::api.call_beat[])"

BLOCKS = """
SELECT
    c.id, c.status, c.end_reason, c.blocks, c.billed, c.platform_fees, c.block_us, c.block_limit, c.block_price,
    c.active_us, (extract(EPOCH FROM c.ended_at - c.accepted_at) * 1000000)::bigint AS lasted_us,
    b.written, b.kept, b.last, b.transfers, b.early, f.balance AS fan_balance, m.balance AS creator_balance
FROM core.calls AS c
INNER JOIN core.wallets AS f ON f.id = c.fan_wallet_id
INNER JOIN core.wallets AS m ON m.id = c.creator_wallet_id
CROSS JOIN LATERAL (
    SELECT
        count(*) AS written, count(*) FILTER (WHERE x.refunded_at IS NULL) AS kept, max(x.block_no) AS last,
        count(DISTINCT x.transfer_id) AS transfers,
        -- A pause only moves a block's start to later.
        count(*) FILTER (
            WHERE x.paid_at < c.accepted_at + x.block_no * c.block_us * interval '1 microsecond'
        ) AS early
    FROM core.meter_blocks AS x WHERE x.call_id = c.id
) AS b
"""
"""Calls, and what is written of their blocks: for check_blocks."""


async def ask_for(db: Connection, creator: Person | UUID, rate_per_minute: int) -> None:
    """A creator's price of a minute (by a superuser)."""
    await db.execute(
        "INSERT INTO core.creator_settings (user_id, rate_per_minute) VALUES ($1, $2)"
        " ON CONFLICT (user_id) DO UPDATE SET rate_per_minute = $2",
        creator.id if isinstance(creator, Person) else creator,
        rate_per_minute,
    )


async def one(conn: Connection, query: str, *args: Any) -> asyncpg.Record:
    """The one row that there is."""
    row = await conn.fetchrow(query, *args)
    assert row is not None
    return row


async def elapse(db: Connection, call: UUID, seconds: float, *, seen: bool = True) -> None:
    """Let time pass for a call (by a superuser); see pass_time."""
    await pass_time(db, [call], seconds, seen=seen)


async def pass_time(db: Connection, calls: Sequence[UUID], seconds: float, *, seen: bool) -> None:
    """Let time pass for calls (by a superuser): all that happened is so much longer ago.

    ``seen``: both people have gone on to give signs of life.
    """
    async with unguarded(db):
        await db.execute(
            """
            WITH past AS (
                SELECT $2::numeric * interval '1 second' AS time,
                    CASE WHEN $3 THEN interval '0' ELSE $2::numeric * interval '1 second' END AS unseen
            ), call AS (
                UPDATE core.calls SET
                    opened_at = opened_at - time, accepted_at = accepted_at - time, ended_at = ended_at - time
                FROM past WHERE id = ANY ($1)
            )
            UPDATE core.call_clocks SET
                running_since = running_since - time, due_at = due_at - time, fan_seen_at = fan_seen_at - unseen,
                creator_seen_at = creator_seen_at - unseen, fan_left_at = fan_left_at - time,
                creator_left_at = creator_left_at - time
            FROM past WHERE call_id = ANY ($1)
            """,
            calls,
            seconds,
            seen,
        )


def check_blocks(call: asyncpg.Record) -> None:
    """A row of BLOCKS, of a call that was answered and is over: paid is what its active time says, each block once."""
    blocks, block_us, active_us = call["blocks"], call["block_us"], call["active_us"]
    assert call["status"] == "ended"
    # A block is paid when it starts: as many as have begun, and at most the one that begins at the very end.
    assert -(-active_us // block_us) <= blocks <= active_us // block_us + 1
    assert call["kept"] == blocks <= call["block_limit"]
    assert active_us <= call["lasted_us"]
    # Numbered without gaps, each with a transfer of its own, none before it started.
    assert call["written"] == call["transfers"] == (call["last"] + 1 if call["written"] else 0)
    assert call["written"] <= call["block_limit"]
    assert call["early"] == 0
