"""Rooms of LiveKit whose stream or call is over."""

from __future__ import annotations

import asyncio

import structlog

from app.live.livekit import LiveKit, RoomNotClosed
from scheduler.registry import JobContext, Outcome, job

BATCH = 50
"""At most this many rooms a run; the rest is due again in a moment."""
FAILURES = 3
"""So many rooms that could not be closed mean that LiveKit is away."""

DUE = """
    SELECT r.room, r.subject_id, r.reopened_at FROM api.live_rooms AS r
    WHERE r.closed_at IS NULL AND r.over_since IS NOT NULL
    ORDER BY r.over_since LIMIT $1
"""
CLOSED = """
    UPDATE core.live_rooms AS r SET closed_at = clock_timestamp()
    WHERE r.id = $1 AND r.reopened_at IS NOT DISTINCT FROM $2
"""
LAG = """
    SELECT coalesce(max(clock_timestamp() - r.over_since), interval '0') FROM api.live_rooms AS r
    WHERE r.closed_at IS NULL
"""

log = structlog.get_logger("tessera.scheduler")


@job("close-rooms", every_seconds=3, timeout_seconds=300)
async def close_rooms(context: JobContext) -> Outcome:
    """Put everybody out of the rooms of streams and calls that are over: nobody talks on for nothing."""
    closed, failed = 0, None
    rooms = await context.pool.fetch(DUE, BATCH)
    # loading the library takes most of a second, and metering does not wait
    livekit = await asyncio.to_thread(LiveKit.of, context.settings) if rooms else None
    if livekit is not None:
        failures = 0
        for room in rooms:
            try:
                await livekit.close_room(room["room"])
            except RoomNotClosed as exc:
                failed = exc
                failures += 1
                log.warning("room_not_closed", room=room["room"], reason=str(exc))
                if failures == FAILURES:
                    break
                continue
            await context.pool.execute(CLOSED, room["subject_id"], room["reopened_at"])
            closed += 1
    if failed is not None:
        raise failed
    return Outcome(closed, (await context.pool.fetchval(LAG)).total_seconds())
