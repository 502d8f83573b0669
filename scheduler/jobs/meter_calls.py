"""Blocks of calls that start, and calls that are over."""

from __future__ import annotations

import structlog

from scheduler.metrics import METER_BLOCKS, METER_LAG, METER_LATENCY
from scheduler.registry import JobContext, Outcome, Record, drain, job

BATCH = 500
BATCHES = 200
"""At most this many transactions a run; the rest is due again in a second."""

log = structlog.get_logger("tessera.scheduler")


@job("meter-calls", every_seconds=1, first_after_seconds=0, timeout_seconds=60)
async def meter_calls(context: JobContext) -> Outcome:
    """Pay the blocks of calls that start now; end calls that nobody answered, can pay for, or is seen in."""

    async def batch() -> int:
        rows = await context.pool.fetch("SELECT * FROM api.meter_due_calls($1)", BATCH)
        now = await context.pool.fetchval("SELECT clock_timestamp()") if rows else None
        for row in rows:
            _count(row, (now - row["due_at"]).total_seconds())
        return len(rows)

    metered = await drain(batch, batches=BATCHES)
    lag = (await context.pool.fetchval("SELECT api.meter_lag()")).total_seconds()
    METER_LAG.set(lag)
    return Outcome(metered, lag)


def _count(row: Record, late_seconds: float) -> None:
    if row["blocks_paid"]:
        METER_BLOCKS.labels("paid").inc(row["blocks_paid"])
        METER_LATENCY.observe(late_seconds)
    if row["blocks_refunded"]:
        METER_BLOCKS.labels("refunded").inc(row["blocks_refunded"])
    if row["end_reason"] not in (None, "no_answer"):
        METER_BLOCKS.labels("refused").inc(row["end_reason"] not in ("not_seen", "time_limit"))
        log.info("call_ended", call=str(row["call_id"]), reason=row["end_reason"])
