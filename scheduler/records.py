"""What became of a job, for other processes: `tessera doctor`, the API's readiness, people at psql (api.job_runs).

The database may be away; then nothing is written, and nobody minds: logs and metrics have it.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import asyncpg
import structlog

from scheduler.registry import Job, Record

RECORD_SECONDS = 5.0
MAX_ERROR_LENGTH = 255
PROCESS = f"{socket.gethostname()}:{os.getpid()}"[:255]

_SLUG = re.compile(r"[A-Z][A-Z0-9_]{1,62}")

log = structlog.get_logger("tessera.scheduler")

# By the database's clock. A later failure leaves what the last success said of the lag.
RECORD = """
    INSERT INTO core.job_runs AS r (
        job, every_seconds, process, started_at, finished_at, outcome, items, seconds, lag_seconds, failures_in_a_row,
        last_error, last_success_at, next_run_at
    )
    SELECT
        $1, $2::numeric, $3, n.now - $6::numeric * interval '1 second', n.now, $4::text, $5::bigint, $6::numeric,
        $7::numeric, CASE WHEN $4 = 'done' THEN 0 ELSE 1 END, $8, CASE WHEN $4 = 'done' THEN n.now END,
        n.now + $9::numeric * interval '1 second'
    FROM (SELECT clock_timestamp() AS now) AS n
    ON CONFLICT (job) DO UPDATE SET
        every_seconds = excluded.every_seconds,
        process = excluded.process,
        started_at = excluded.started_at,
        finished_at = excluded.finished_at,
        outcome = excluded.outcome,
        items = excluded.items,
        seconds = excluded.seconds,
        lag_seconds = CASE WHEN excluded.outcome = 'done' THEN excluded.lag_seconds ELSE r.lag_seconds END,
        failures_in_a_row = CASE WHEN excluded.outcome = 'done' THEN 0 ELSE r.failures_in_a_row + 1 END,
        last_error = coalesce(excluded.last_error, r.last_error),
        last_success_at = coalesce(excluded.last_success_at, r.last_success_at),
        next_run_at = excluded.next_run_at
"""
FORGET = "DELETE FROM core.job_runs WHERE job <> ALL ($1::text [])"


class Run(NamedTuple):
    """One run of a job, ended; times in seconds."""

    outcome: Literal["done", "failed", "timeout"]
    items: int | None
    seconds: float
    lag_seconds: float | None
    error: str | None
    next_in_seconds: float


def error_name(error: BaseException) -> str:
    """What an exception may be called where many read it: its class, SQLSTATE and slug. Messages may tell secrets."""
    parts = [type(error).__name__]
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate:
        parts.append(str(error.sqlstate))
        if error.sqlstate.startswith("TS") and error.args and _SLUG.fullmatch(str(error.args[0])):
            parts.append(str(error.args[0]))
    return " ".join(parts)[:MAX_ERROR_LENGTH]


async def record(pool: asyncpg.Pool[Record], job: Job, run: Run) -> None:
    """Write down how a run ended. Never raises: a job that is done is done."""
    every, seconds, next_in = (_exact(value) for value in (job.every_seconds, run.seconds, run.next_in_seconds))
    lag = None if run.lag_seconds is None else _exact(run.lag_seconds)
    await _quietly(
        pool, job.name, RECORD, job.name, every, PROCESS, run.outcome, run.items, seconds, lag, run.error, next_in
    )


async def forget_others(pool: asyncpg.Pool[Record], known: Iterable[str]) -> None:
    """Forget jobs that this version has not got. (One of another version writes its own down again.)"""
    await _quietly(pool, None, FORGET, list(known))


async def _quietly(pool: asyncpg.Pool[Record], name: str | None, statement: str, *arguments: Any) -> None:
    try:
        async with asyncio.timeout(RECORD_SECONDS):
            await pool.execute(statement, *arguments)
    except Exception as error:
        log.warning("job_not_recorded", job=name, error=error_name(error))


def _exact(seconds: float) -> Decimal:
    return Decimal(f"{max(seconds, 0.0):.3f}")
