"""How many watch each stream."""

from __future__ import annotations

from scheduler.registry import JobContext, job

LAPSED = 5000
"""At most this many leases are taken out a run; the others count for nothing meanwhile."""


@job("count-viewers", every_seconds=5, first_after_seconds=4, timeout_seconds=30)
async def count_viewers(context: JobContext) -> int:
    """Count the viewers of live streams; an event for each number that has changed."""
    changed: int = await context.pool.fetchval("SELECT api.count_viewers($1)", LAPSED)
    return changed
