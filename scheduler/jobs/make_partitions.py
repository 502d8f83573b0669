"""Partitions of the coming months."""

from __future__ import annotations

import structlog

from scheduler.metrics import MISPLACED_ROWS
from scheduler.registry import JobContext, job

log = structlog.get_logger("tessera.scheduler")


@job("make-partitions", every_seconds=86_400, first_after_seconds=10, timeout_seconds=50)
async def make_partitions(context: JobContext) -> int:
    """Make the partitions of the coming months; a row in a default partition is shown as a metric."""
    made = await context.pool.fetchval("SELECT api.make_partitions()")
    misplaced = await context.pool.fetchval("SELECT count(*) FROM api.partitions() AS p WHERE p.misplaced")
    MISPLACED_ROWS.set(misplaced)
    if made:
        log.info("partitions_made", partitions=list(made))
    if misplaced:
        log.error("rows_in_default_partition", tables=misplaced, remedy="docs/growth.md, The default partition")
    return len(made)
