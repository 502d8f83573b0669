"""Calls for tests: people who may call each other, and time that passes at will."""

from __future__ import annotations

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
    """Let time pass for a call (by a superuser): all that happened is so much longer ago.

    ``seen``: both people have gone on to give signs of life.
    """
    async with unguarded(db):
        await db.execute(
            """
            WITH call AS (
                UPDATE core.calls SET
                    opened_at = opened_at - $2::numeric * interval '1 second',
                    accepted_at = accepted_at - $2::numeric * interval '1 second',
                    ended_at = ended_at - $2::numeric * interval '1 second'
                WHERE id = $1
            )
            UPDATE core.call_clocks SET
                running_since = running_since - $2::numeric * interval '1 second',
                due_at = due_at - $2::numeric * interval '1 second',
                fan_seen_at = CASE WHEN $3 THEN fan_seen_at ELSE fan_seen_at - $2::numeric * interval '1 second' END,
                creator_seen_at = CASE
                    WHEN $3 THEN creator_seen_at ELSE creator_seen_at - $2::numeric * interval '1 second' END,
                fan_left_at = fan_left_at - $2::numeric * interval '1 second',
                creator_left_at = creator_left_at - $2::numeric * interval '1 second'
            WHERE call_id = $1
            """,
            call,
            seconds,
            seen,
        )
