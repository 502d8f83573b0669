"""Holds that are past their time."""

from __future__ import annotations

from datetime import timedelta

from scheduler.registry import JobContext, Outcome, drain, job

BATCH = 500
BATCHES = 40
"""At most this many transactions a run; the rest is due again in a moment."""


@job("expire-holds", every_seconds=5, first_after_seconds=3, timeout_seconds=60)
async def expire_holds(context: JobContext) -> Outcome:
    """Close holds whose time has passed. Nobody waits for it: whoever spends from a wallet passes its expired holds."""

    async def some() -> int:
        closed: int = await context.pool.fetchval("SELECT api.expire_holds($1)", BATCH)
        return closed

    total = await drain(some, batches=BATCHES)
    lag: timedelta | None = await context.pool.fetchval("SELECT api.hold_lag()")
    return Outcome(total, lag.total_seconds() if lag else 0)
