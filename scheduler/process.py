"""Running the jobs: a tick for each, their outcomes in logs and metrics, an orderly end.

APScheduler keeps the time (in memory: it has no truth to keep). `coalesce` and `max_instances=1` turn any number of
missed ticks into one run, and `misfire_grace_time=None` means that a late tick still runs.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from prometheus_client import start_http_server

from app.core import logging as logs
from app.core.connections import target
from app.settings import Settings
from scheduler.metrics import JOB_ITEMS, JOB_LAST_SUCCESS, JOB_RUNS, JOB_SECONDS
from scheduler.registry import Job, JobContext, Record, all_jobs

POOL_MAX = 8
IDLE_SECONDS = 60.0
CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 5.0

log = structlog.get_logger("tessera.scheduler")


class Runner:
    """Runs jobs one at a time each, whatever they raise, and knows which are under way."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._under_way: set[asyncio.Task[bool]] = set()

    async def run(self, job: Job) -> bool:
        """Run a job once; whether it succeeded. Never raises what the job raised."""
        task = asyncio.create_task(self._attempt(job))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        # The ticking scheduler may cancel its own wait when it is shut down, never the job.
        return await asyncio.shield(task)

    async def finish(self, seconds: float) -> None:
        """Wait for the jobs under way, then cancel those that still are."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)
        for task in tuple(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _attempt(self, job: Job) -> bool:
        started = time.monotonic()
        outcome = "failed"
        try:
            async with asyncio.timeout(job.timeout_seconds):
                count = await job.run(self._context)
            outcome = "done"
            JOB_ITEMS.labels(job.name).inc(count)
            JOB_LAST_SUCCESS.labels(job.name).set_to_current_time()
            log.info("job_done", job=job.name, items=count, seconds=round(time.monotonic() - started, 3))
        except TimeoutError:
            outcome = "timeout"
            log.error("job_timeout", job=job.name, seconds=job.timeout_seconds)
        except Exception:
            log.exception("job_failed", job=job.name)
        finally:
            JOB_RUNS.labels(job.name, outcome).inc()
            JOB_SECONDS.labels(job.name).observe(time.monotonic() - started)
        return outcome == "done"


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
        return await Runner(JobContext(pool, settings)).run(job)
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
    """A started scheduler that calls the runner for each job at its interval."""
    ticks = AsyncIOScheduler(
        timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
    )
    now = datetime.now(UTC)
    for job in jobs:
        ticks.add_job(
            runner.run,
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
        await asyncio.wait_for(pool.close(), CLOSE_SECONDS)
    except (TimeoutError, asyncpg.InterfaceError, OSError):
        pool.terminate()
