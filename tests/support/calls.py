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
