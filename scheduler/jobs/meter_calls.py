"""Blocks of calls that start, and calls that are over."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import structlog

from scheduler.metrics import METER_BLOCKS, METER_LAG, METER_LATENCY
from scheduler.registry import JobContext, Outcome, Record, drain, job

TURN_SECONDS = 0.9
"""A turn lasts until just before the next one, so that a block is paid when it starts and not at the next tick."""
GATHER_SECONDS = 0.05
"""What falls due within so long goes together."""
BATCH = 500
BATCHES = 200
"""At most this many transactions a run; the rest is due again in a second."""

log = structlog.get_logger("tessera.scheduler")


@job("meter-calls", every_seconds=1, first_after_seconds=0, timeout_seconds=60)
async def meter_calls(context: JobContext) -> Outcome:
    """Pay the blocks of calls when they start; end calls that nobody answered, can pay for, or is seen in."""

    async def batch() -> int:
        rows = await context.pool.fetch("SELECT * FROM api.meter_due_calls($1)", BATCH)
        now = await context.pool.fetchval("SELECT clock_timestamp()") if rows else None
        for row in rows:
            _count(row, (now - row["due_at"]).total_seconds())
        return len(rows)

    metered = 0
    until = time.monotonic() + TURN_SECONDS
    while True:
        metered += await drain(batch, batches=BATCHES)
        lag: timedelta | None = await context.pool.fetchval("SELECT api.meter_lag()")
        wait = TURN_SECONDS if lag is None else max(-lag.total_seconds(), GATHER_SECONDS)
        if time.monotonic() + wait >= until:
            break
        await asyncio.sleep(wait)
    behind = 0.0 if lag is None else max(lag.total_seconds(), 0.0)
    METER_LAG.set(behind)
    return Outcome(metered, behind)


def _count(row: Record, late_seconds: float) -> None:
    if row["blocks_paid"]:
        METER_BLOCKS.labels("paid").inc(row["blocks_paid"])
        METER_LATENCY.observe(late_seconds)
    if row["blocks_refunded"]:
        METER_BLOCKS.labels("refunded").inc(row["blocks_refunded"])
    if row["end_reason"] not in (None, "no_answer"):
        METER_BLOCKS.labels("refused").inc(row["end_reason"] not in ("not_seen", "time_limit"))
        log.info("call_ended", call=str(row["call_id"]), reason=row["end_reason"])
