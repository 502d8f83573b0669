"""The jobs there are. A module in scheduler/jobs declares one with `@job(...)`."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg
import structlog

import scheduler.jobs
from app.settings import Settings

Record = asyncpg.Record

log = structlog.get_logger("tessera.scheduler")


@dataclass(frozen=True)
class JobContext:
    """What a job works with: connections with the rights of `tessera_scheduler`, and the settings."""

    pool: asyncpg.Pool[Record]
    settings: Settings
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be new events: by a job of this process that did something, or by a hint from elsewhere."""
    going: set[asyncio.Task[None]] = field(default_factory=set)
    """What runs have left going on. The process waits for it when it ends, as it does for runs."""

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something go on beyond the end of the run. It ends by itself, soon, and is lost with the process."""
        task = asyncio.create_task(work)
        self.going.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.going.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("left_going_failed", exc_info=task.exception())

    @asynccontextmanager
    async def unhurried(self) -> AsyncIterator[Any]:
        """A connection, in a transaction, for what may take long: only the job's own timeout ends it."""
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = 0")
            yield connection


class Outcome(NamedTuple):
    """What a run has done, and how far behind it still is: the age in seconds of the oldest thing that is due."""

    items: int
    lag_seconds: float | None = None


JobFunction = Callable[[JobContext], Awaitable[int | Outcome]]
"""Does what is due and returns how many things it did (a number: without a lag). Raises when it could not."""

MIN_CAP_SECONDS = 60.0
MAX_CAP_SECONDS = 3600.0


@dataclass(frozen=True)
class Job:
    """One periodic job. It is cancelled, and counts as failed, after `timeout_seconds`."""

    name: str
    every_seconds: float
    first_after_seconds: float
    timeout_seconds: float
    run: JobFunction

    @property
    def cap_seconds(self) -> float:
        """The longest wait after failures: ten intervals, but a minute at least and an hour at most.

        So a daily job that failed is tried again within the hour, and one of every few seconds within the minute.
        """
        return min(max(10 * self.every_seconds, MIN_CAP_SECONDS), MAX_CAP_SECONDS)

    def backoff_seconds(self, failures: int) -> float:
        """How long to wait after that many failures in a row, without jitter."""
        return min(self.every_seconds * 2.0 ** min(failures, 32), self.cap_seconds)

    @property
    def summary(self) -> str:
        """First line of the job's docstring."""
        return (self.run.__doc__ or "").strip().partition("\n")[0]


_jobs: dict[str, Job] = {}


def job(
    name: str, *, every_seconds: float, timeout_seconds: float, first_after_seconds: float | None = None
) -> Callable[[JobFunction], JobFunction]:
    """Register a coroutine function as a job; it first runs after one interval unless told otherwise."""

    def register(function: JobFunction) -> JobFunction:
        if name in _jobs:
            raise ValueError(f"two jobs are named {name}")
        first = every_seconds if first_after_seconds is None else first_after_seconds
        _jobs[name] = Job(name, every_seconds, first, timeout_seconds, function)
        return function

    return register


async def drain(step: Callable[[], Awaitable[int]], *, batches: int, full: int = 1) -> int:
    """Call `step` (one bounded transaction; how many things it did) until nothing is due, `batches` times at most.

    A step that did fewer than `full` things has found no more. How many things all of them did.
    """
    total = 0
    for _ in range(batches):
        done = await step()
        total += done
        if done < full:
            break
    return total


def all_jobs() -> tuple[Job, ...]:
    """Every job declared in scheduler/jobs, by name."""
    for module in pkgutil.iter_modules(scheduler.jobs.__path__):
        importlib.import_module(f"scheduler.jobs.{module.name}")
    return tuple(_jobs[name] for name in sorted(_jobs))
