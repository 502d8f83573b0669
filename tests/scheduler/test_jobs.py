"""Each job, with the rights of the scheduler, on a real database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from app.settings import Settings
from scheduler.jobs.prune_sessions import BATCH
from scheduler.metrics import JOB_ITEMS, LEDGER_VIOLATIONS
from scheduler.process import Runner
from scheduler.registry import Job, JobContext, all_jobs
from tests.support.money import lapse, person, unguarded
from tests.support.postgres import Clone, Connection

JOBS = {job.name: job for job in all_jobs()}


@pytest_asyncio.fixture
async def runner(database: Clone) -> AsyncIterator[Runner]:
    """Runs jobs as tessera_scheduler."""
    pool = await asyncpg.create_pool(database.url("scheduler"), min_size=1, max_size=2)
    yield Runner(JobContext(pool, Settings()))
    await pool.close()


def _items(name: str) -> float:
    value: float = JOB_ITEMS.labels(name)._value.get()
    return value


async def test_every_job_runs_on_an_empty_ledger(runner: Runner) -> None:
    assert sorted(JOBS) == [
        "audit-ledger",
        "close-rooms",
        "expire-holds",
        "make-partitions",
        "prune-live-events",
        "prune-sessions",
        "seal-entries",
        "verify-seals",
    ]
    assert [await runner.run(job) for job in JOBS.values()] == [True] * len(JOBS)
    assert all(job.summary for job in JOBS.values())


async def test_expired_holds_are_closed(runner: Runner, db: Connection) -> None:
    someone = await person(db, "someone", tokens=100)
    holds: list[UUID] = [
        await db.fetchval("SELECT hold_id FROM api.place_hold($1, 10, $2)", someone.wallet, timedelta(hours=1))
        for _ in range(3)
    ]
    for hold in holds[:2]:
        await lapse(db, hold)
    before = _items("expire-holds")
    assert await runner.run(JOBS["expire-holds"])
    assert _items("expire-holds") - before == 2
    assert await db.fetchval("SELECT held FROM core.wallets WHERE id = $1", someone.wallet) == 10


async def test_old_sessions_and_attempts_go_and_young_ones_stay(runner: Runner, db: Connection) -> None:
    someone = await person(db, "someone")
    await db.execute(
        """
        INSERT INTO core.sessions (user_id, expires_at)
        SELECT $1, now() - make_interval(days => CASE WHEN g <= $2 THEN 31 ELSE 29 END)
        FROM generate_series(1, $2 + 2) AS g
        """,
        someone.id,
        BATCH + 5,
    )
    await db.execute(
        """
        INSERT INTO core.refresh_tokens (token_hash, session_id)
        SELECT sha256(s.id::text::bytea), s.id FROM core.sessions AS s
        """
    )
    await db.execute(
        """
        INSERT INTO core.login_attempts (account_hash, address, attempts, since)
        SELECT sha256('a'), 'address ' || g, 1, now() - make_interval(hours => g * 20) FROM generate_series(0, 3) AS g
        """
    )
    assert await runner.run(JOBS["prune-sessions"])
    assert await db.fetchval("SELECT count(*) FROM core.sessions") == 2
    assert await db.fetchval("SELECT count(*) FROM core.refresh_tokens") == 2
    assert await db.fetchval("SELECT count(*) FROM core.login_attempts") == 2


@pytest.mark.breaks_ledger
async def test_a_broken_invariant_is_a_metric(runner: Runner, db: Connection) -> None:
    someone = await person(db, "someone", tokens=10)
    assert await runner.run(JOBS["audit-ledger"])
    assert LEDGER_VIOLATIONS._value.get() == 0
    async with unguarded(db):
        await db.execute("UPDATE core.wallets SET lifetime_spent = lifetime_spent + 1 WHERE id = $1", someone.wallet)
        await db.execute(
            "UPDATE core.audits"
            " SET finished_at = now() - interval '1 minute', started_at = now() - interval '8 minutes'"
        )
    assert await runner.run(JOBS["audit-ledger"])
    assert LEDGER_VIOLATIONS._value.get() == 0, "it took 7 minutes, so it is not its turn yet"
    await db.execute("DELETE FROM core.audits")
    assert await runner.run(JOBS["audit-ledger"])
    assert LEDGER_VIOLATIONS._value.get() == 1
    kept = await db.fetchrow("SELECT violations, found FROM api.audits ORDER BY audit_id DESC LIMIT 1")
    assert kept is not None
    assert (kept["violations"], json.loads(kept["found"])[0]["rule"]) == (1, "lifetime_is_sum_of_entries")

    await db.execute("UPDATE core.audits SET started_at = finished_at - interval '7 minutes'")
    LEDGER_VIOLATIONS.set(0)
    assert await runner.run(JOBS["audit-ledger"])
    assert LEDGER_VIOLATIONS._value.get() == 1, "of a scheduler that was started meanwhile"
    await db.execute("DELETE FROM core.audits WHERE violations = 0")
    await db.execute(
        "UPDATE core.audits SET violations = 0, finished_at = now() + interval '1 day', started_at = now()"
    )
    assert await runner.run(JOBS["audit-ledger"])
    assert LEDGER_VIOLATIONS._value.get() == 1, "a clock that was ahead then does not put it off"


async def test_long_work_has_no_limit_but_the_jobs_own(database: Clone) -> None:
    pool = await asyncpg.create_pool(
        database.url("scheduler"), min_size=1, max_size=2, server_settings={"statement_timeout": "1min"}
    )
    try:
        async with JobContext(pool, Settings()).unhurried() as connection:
            assert await connection.fetchval("SHOW statement_timeout") == "0"
            assert await pool.fetchval("SHOW statement_timeout") == "1min"
        assert await pool.fetchval("SHOW statement_timeout") == "1min"
    finally:
        await pool.close()


async def test_what_a_job_raises_ends_that_run_only(runner: Runner) -> None:
    async def broken(_: JobContext) -> int:
        raise RuntimeError("no")

    assert not await runner.run(Job("broken", 1, 1, 1, broken))
    assert await runner.run(JOBS["expire-holds"])
