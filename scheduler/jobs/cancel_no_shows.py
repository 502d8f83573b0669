"""Streams that never began."""

from __future__ import annotations

import structlog

from scheduler.metrics import NO_SHOWS
from scheduler.registry import JobContext, drain, job

STREAMS = 500
"""At most this many a run, each in a transaction of its own; the rest is due again in a minute."""

log = structlog.get_logger("tessera.scheduler")


@job("cancel-no-shows", every_seconds=60, first_after_seconds=20, timeout_seconds=600)
async def cancel_no_shows(context: JobContext) -> int:
    """Cancel scheduled streams that never went live, and give their tickets back.

    One that is refused (a frozen wallet) stops no other: it is logged, counted, and has its next turn in ten minutes.
    """
    refused = 0

    async def one() -> int:
        nonlocal refused
        rows = await context.pool.fetch("SELECT * FROM api.cancel_no_shows(1)")
        for row in rows:
            facts = {"stream_id": str(row["stream_id"]), "creator_id": str(row["creator_id"])}
            if row["error"] is None:
                log.info("no_show_cancelled", **facts, tickets=row["tickets"])
                NO_SHOWS.labels("cancelled").inc()
            else:
                refused += 1
                log.error("no_show_refused", **facts, error=row["error"], detail=row["detail"])
                NO_SHOWS.labels("refused").inc()
        return len(rows)

    return await drain(one, batches=STREAMS) - refused
