"""Holds that are past their time."""

from __future__ import annotations

from scheduler.registry import JobContext, job

BATCH = 500
BATCHES = 40
"""At most this many transactions a run; the rest is due again in a moment."""


@job("expire-holds", every_seconds=5, first_after_seconds=3, timeout_seconds=60)
async def expire_holds(context: JobContext) -> int:
    """Close holds whose time has passed. Nobody waits for it: whoever spends from a wallet passes its expired holds."""
    total = 0
    for _ in range(BATCHES):
        closed: int = await context.pool.fetchval("SELECT api.expire_holds($1)", BATCH)
        total += closed
        if closed == 0:
            break
    return total
