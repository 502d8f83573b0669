"""What the platform earns."""

from __future__ import annotations

import structlog

from scheduler.metrics import MARGIN
from scheduler.registry import JobContext, job

UNKNOWN = float("nan")

log = structlog.get_logger("tessera.scheduler")

SOURCES = """
    SELECT m.source, CASE WHEN bool_and(m.value IS NOT NULL) THEN sum(m.value)::bigint END AS value
    FROM api.margin AS m
    GROUP BY m.source
"""


@job("measure-margin", every_seconds=900, first_after_seconds=60, timeout_seconds=600)
async def measure_margin(context: JobContext) -> int:
    """Show what came in and went out, by source; the margin is their sum.

    A source with a currency that nobody has said the worth of is not shown: half a sum would look like a margin.
    """
    async with context.unhurried() as connection:
        sources = await connection.fetch(SOURCES)
    for source in sources:
        if source["value"] is None:
            log.warning("margin_without_rate", source=source["source"], rate="currency_value", remedy="docs/payouts.md")
            MARGIN.labels(source["source"]).set(UNKNOWN)
        else:
            MARGIN.labels(source["source"]).set(source["value"])
    return len(sources)
