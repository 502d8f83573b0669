"""What LiveKit told long ago, and rooms closed long ago."""

from __future__ import annotations

from scheduler.registry import JobContext, drain, job

KEPT_DAYS = 30
"""Far longer than a webhook can be repeated: its signature is good for minutes."""
BATCH = 1000
BATCHES = 100
"""At most this many deletes a run, each in a transaction of its own; the rest is due again next time."""

EVENTS = """
    DELETE FROM core.live_events AS e USING (
        SELECT o.id FROM core.live_events AS o
        WHERE o.received_at < now() - make_interval(days => $1)
        ORDER BY o.received_at LIMIT $2
    ) AS old WHERE e.id = old.id
"""
ROOMS = """
    DELETE FROM core.live_rooms AS r USING (
        SELECT o.id FROM core.live_rooms AS o
        WHERE o.closed_at < now() - make_interval(days => $1)
        ORDER BY o.closed_at LIMIT $2
    ) AS old WHERE r.id = old.id AND r.closed_at IS NOT NULL
"""


@job("prune-live-events", every_seconds=3600, first_after_seconds=90, timeout_seconds=300)
async def prune_live_events(context: JobContext) -> int:
    """Delete events of LiveKit that came a month ago, and what is known of rooms that were closed then."""
    total = 0
    for statement in (EVENTS, ROOMS):

        async def some(statement: str = statement) -> int:
            return int((await context.pool.execute(statement, KEPT_DAYS, BATCH)).rpartition(" ")[2])

        total += await drain(some, batches=BATCHES, full=BATCH)
    return total
