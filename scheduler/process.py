"""Running the jobs: a tick for each, their outcomes in logs, metrics and api.job_runs, an orderly end.

APScheduler keeps the time (in memory: it has no truth to keep). `coalesce` and `max_instances=1` turn any number of
missed ticks into one run, and `misfire_grace_time=None` means that a late tick still runs. A job that failed has its
next tick moved: twice its interval later, then four times, up to `Job.cap_seconds`. A success ends that.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import asyncpg
import structlog
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from prometheus_client import start_http_server

from app.core import logging as logs
from app.core.connections import target
from app.settings import Settings
from scheduler.metrics import (
    JOB_FAILURES_IN_A_ROW,
    JOB_ITEMS,
    JOB_LAG,
    JOB_LAST_SUCCESS,
    JOB_RUNS,
    JOB_SECONDS,
)
from scheduler.records import Run, error_name, forget_others, record
from scheduler.registry import Job, JobContext, Outcome, Record, all_jobs

POOL_MAX = 8
IDLE_SECONDS = 60.0
CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 5.0
ALERT_FAILURES = 3
"""From so many failures in a row on, each is an alert."""
JITTER_FROM = 0.75
"""A job that failed waits this part to all of its backoff, so that many schedulers do not come back at once."""

log = structlog.get_logger("tessera.scheduler")


class Runner:
    """Runs jobs one at a time each, whatever they raise, and knows which are under way."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._under_way: set[asyncio.Task[bool]] = set()
        self._failures: dict[str, int] = {}
        self._backoff: dict[str, float] = {}

    async def run(self, job: Job) -> bool:
        """Run a job once; whether it succeeded. Never raises what the job raised."""
        task = asyncio.create_task(self._attempt(job))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        # The ticking scheduler may cancel its own wait when it is shut down, never the job.
        return await asyncio.shield(task)

    def backoff_of(self, job: Job) -> float | None:
        """How many seconds after its last run, which failed here, a job shall wait; None where it did not fail."""
        return self._backoff.get(job.name)

    async def forget_others(self, known: Iterable[str]) -> None:
        """Forget what was written down of jobs that are not known any more."""
        await forget_others(self._context.pool, known)

    async def finish(self, seconds: float) -> None:
        """Wait for the jobs under way, and for what they have left going on, then cancel what still is."""
        until = time.monotonic() + seconds
        going: list[asyncio.Task[Any]] = []
        for tasks in (self._under_way, self._context.going):
            if tasks:
                await asyncio.wait(tasks, timeout=max(until - time.monotonic(), 0))
            going += tasks
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)

    async def _attempt(self, job: Job) -> bool:
        started = time.monotonic()
        ended: Literal["done", "failed", "timeout"] = "failed"
        found: Outcome | None = None
        error: BaseException | None = None
        limit = asyncio.timeout(job.timeout_seconds)
        try:
            async with limit:
                told = await job.run(self._context)
                found = told if isinstance(told, Outcome) else Outcome(told)
            JOB_ITEMS.labels(job.name).inc(found.items)
            ended = "done"
            if found.items:
                self._context.wake.set()
        except BaseException as raised:
            if _is_being_cancelled():
                raise  # by `finish`; any other way out is the job's own fault, and no other job's
            error = raised
            ended = "timeout" if limit.expired() and isinstance(raised, TimeoutError) else "failed"
        finally:
            seconds = time.monotonic() - started
            JOB_RUNS.labels(job.name, ended).inc()
            JOB_SECONDS.labels(job.name).observe(seconds)
        if found is not None and error is None:
            self._succeeded(job, found, seconds)
            run = Run(ended, found.items, seconds, found.lag_seconds, None, job.every_seconds - seconds)
        else:
            assert error is not None
            wait = self._failed(job, error, ended)
            run = Run(ended, None, seconds, None, error_name(error), wait)
        await record(self._context.pool, job, run)
        return ended == "done"

    def _succeeded(self, job: Job, found: Outcome, seconds: float) -> None:
        self._failures.pop(job.name, None)
        self._backoff.pop(job.name, None)
        JOB_FAILURES_IN_A_ROW.labels(job.name).set(0)
        JOB_LAST_SUCCESS.labels(job.name).set_to_current_time()
        if found.lag_seconds is not None:
            JOB_LAG.labels(job.name).set(found.lag_seconds)
        log.info("job_done", job=job.name, items=found.items, seconds=round(seconds, 3))

    def _failed(self, job: Job, error: BaseException, ended: str) -> float:
        """Count the failure and tell of it; how many seconds the job waits now."""
        failures = self._failures.get(job.name, 0) + 1
        wait = job.backoff_seconds(failures) * random.uniform(JITTER_FROM, 1)  # noqa: S311 (no secret)
        self._failures[job.name] = failures
        self._backoff[job.name] = wait
        JOB_FAILURES_IN_A_ROW.labels(job.name).set(failures)
        facts = {"job": job.name, "failures": failures, "next_in_seconds": round(wait, 1)}
        if ended == "timeout":
            log.error("job_timeout", **facts, seconds=job.timeout_seconds)
        else:
            log.error("job_failed", **facts, exc_info=error)
        if failures >= ALERT_FAILURES:
            log.critical("job_failing", **facts, error=error_name(error), remedy="docs/runbook.md, 7")
        return wait


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def open_pool(settings: Settings) -> asyncpg.Pool[Record]:
    """Connections with the scheduler's rights, made when they are first needed: the database may be away."""
    found = target(settings, "scheduler")
    session = {"application_name": "tessera-scheduler", "timezone": "UTC", "jit": "off"}
    session["lock_timeout"] = str(settings.lock_timeout_ms)
    if found.role is not None:
        session["role"] = found.role
    return await asyncpg.create_pool(
        found.url,
        min_size=0,
        max_size=POOL_MAX,
        max_inactive_connection_lifetime=IDLE_SECONDS,
        timeout=CONNECT_SECONDS,
        server_settings=session,
    )


async def run_one(settings: Settings, job: Job) -> bool:
    """Run one job now; whether it succeeded."""
    logs.configure(settings)
    pool = await open_pool(settings)
    try:
        runner = Runner(JobContext(pool, settings))
        done = await runner.run(job)
        await runner.finish(settings.shutdown_seconds)
        return done
    finally:
        await _close(pool)


async def run_forever(settings: Settings, jobs: tuple[Job, ...] | None = None) -> None:
    """Run all jobs until SIGTERM or SIGINT; then let those under way finish, for `shutdown_seconds` at most."""
    logs.configure(settings)
    # It tells of each tick; the runner tells of each job.
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if settings.scheduler_metrics_port:
        start_http_server(settings.scheduler_metrics_port, addr=settings.host)
    pool = await open_pool(settings)
    runner = Runner(JobContext(pool, settings))
    await runner.forget_others(job.name for job in all_jobs())
    ticks = tick(runner, all_jobs() if jobs is None else jobs)
    log.info("scheduler_started", jobs=[entry.id for entry in ticks.get_jobs()])
    try:
        await stop.wait()
    finally:
        ticks.pause()
        await runner.finish(settings.shutdown_seconds)
        ticks.shutdown(wait=False)
        await _close(pool)
        log.info("scheduler_stopped")


def tick(runner: Runner, jobs: tuple[Job, ...]) -> AsyncIOScheduler:
    """A started scheduler that calls the runner for each job at its interval, and after a failure when it may again."""
    ticks = AsyncIOScheduler(
        timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
    )

    async def turn(job: Job) -> None:
        await runner.run(job)
        wait = runner.backoff_of(job)
        if wait is not None:
            with suppress(JobLookupError):  # it was shut down meanwhile
                ticks.modify_job(job.name, next_run_time=datetime.now(UTC) + timedelta(seconds=wait))

    now = datetime.now(UTC)
    for job in jobs:
        ticks.add_job(
            turn,
            "interval",
            args=(job,),
            id=job.name,
            seconds=job.every_seconds,
            next_run_time=now + timedelta(seconds=job.first_after_seconds),
        )
    ticks.start()
    return ticks


async def _close(pool: asyncpg.Pool[Record]) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await pool.close()
    except (TimeoutError, asyncpg.InterfaceError, OSError):
        pool.terminate()
