"""What the platform earns."""

from __future__ import annotations

from scheduler.metrics import MARGIN
from scheduler.registry import JobContext, job

SOURCES = "SELECT m.source, sum(m.value)::bigint AS value FROM api.margin AS m GROUP BY m.source"


@job("measure-margin", every_seconds=900, first_after_seconds=60, timeout_seconds=600)
async def measure_margin(context: JobContext) -> int:
    """Show what came in and went out, by source; the margin is their sum."""
    async with context.unhurried() as connection:
        sources = await connection.fetch(SOURCES)
    for source in sources:
        MARGIN.labels(source["source"]).set(source["value"])
    return len(sources)
