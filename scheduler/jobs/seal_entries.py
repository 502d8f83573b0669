"""Seals over what is written, and whether they still fit."""

from __future__ import annotations

from datetime import timedelta

import structlog

from scheduler.metrics import SEAL_LAG, SEAL_VIOLATIONS, SEALED_BLOCK
from scheduler.registry import JobContext, Outcome, job

MAX_LOGGED = 20

log = structlog.get_logger("tessera.scheduler")


@job("seal-entries", every_seconds=10, timeout_seconds=300)
async def seal_entries(context: JobContext) -> Outcome:
    """Seal what is finished, block by block. Each seal is logged: a log kept elsewhere anchors the chain."""
    sealed = 0
    while rows := await context.pool.fetch("SELECT * FROM api.seal_entries()"):
        for row in rows:
            log.info("sealed", block=row["block"], digest=row["digest"], up_to=row["up_to"].isoformat())
            SEALED_BLOCK.set(row["block"])
            sealed += row["transfers"]
    lag: timedelta | None = await context.pool.fetchval("SELECT api.seal_lag()")
    seconds = lag.total_seconds() if lag else 0.0
    SEAL_LAG.set(seconds)
    return Outcome(sealed, seconds)


@job("verify-seals", every_seconds=86_400, first_after_seconds=600, timeout_seconds=14_400)
async def verify_seals(context: JobContext) -> int:
    """Compute every sealed block anew; one that differs is logged as critical and shown as a metric."""
    async with context.unhurried() as connection:
        violations = await connection.fetch("SELECT * FROM api.verify_seals()")
    SEAL_VIOLATIONS.set(len(violations))
    for violation in violations[:MAX_LOGGED]:
        log.critical("seal_violation", **{f"violation_{name}": str(value) for name, value in violation.items()})
    return len(violations)
