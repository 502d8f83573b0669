"""Rooms of LiveKit whose stream or call is over."""

from __future__ import annotations

import structlog

from app.live.livekit import LiveKit, RoomNotClosed
from scheduler.registry import JobContext, job

BATCH = 50
"""At most this many rooms a run; the rest is due again in a moment."""

DUE = """
    SELECT r.room, r.subject_id, r.reopened_at FROM api.live_rooms AS r
    WHERE r.closed_at IS NULL AND r.is_over
    ORDER BY r.subject_id LIMIT $1
"""
CLOSED = """
    UPDATE core.live_rooms AS r SET closed_at = clock_timestamp()
    WHERE r.id = $1 AND r.reopened_at IS NOT DISTINCT FROM $2
"""

log = structlog.get_logger("tessera.scheduler")


@job("close-rooms", every_seconds=3, first_after_seconds=5, timeout_seconds=300)
async def close_rooms(context: JobContext) -> int:
    """Put everybody out of the rooms of streams and calls that are over: nobody talks on for nothing."""
    rooms = await context.pool.fetch(DUE, BATCH)
    if not rooms:
        return 0
    livekit = LiveKit.of(context.settings)
    if livekit is None:
        log.warning("rooms_not_closed", due=len(rooms), reason="LiveKit is not configured here")
        return 0
    closed = 0
    for room in rooms:
        try:
            await livekit.close_room(room["room"])
        except RoomNotClosed as exc:
            # LiveKit is away, most likely for all of them; they stay due
            log.warning("room_not_closed", room=room["room"], due=len(rooms) - closed, reason=str(exc))
            break
        await context.pool.execute(CLOSED, room["subject_id"], room["reopened_at"])
        closed += 1
    return closed
