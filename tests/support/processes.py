"""Commands of `tessera` that go on until somebody ends them, and schedulers that can be told apart in the database."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from app.settings import PROJECT_ROOT, setting_names
from tests.support.postgres import LOGINS, Clone, Connection, unique_name

SECONDS = 60
POLL_SECONDS = 0.05


async def start(*arguments: str, **variables: str) -> Process:
    """`tessera ARGUMENTS` in a process of its own, with these variables and none of this process's settings."""
    kept = {name: value for name, value in os.environ.items() if name not in setting_names()}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "app.cli",
        *arguments,
        cwd=PROJECT_ROOT,
        env=kept | variables,
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL,
    )


async def stop(process: Process) -> None:
    """End it as an operator does; it must end in order."""
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), SECONDS) == 0


async def kill(process: Process) -> None:
    """SIGKILL. May be repeated."""
    if process.returncode is None:
        process.kill()
    await process.wait()


class Scheduler:
    """A scheduler with a login of its own, so that its connections can be found: `usename` in pg_stat_activity.

    One process at a time; `since` is the database's time just before it was started.
    """

    def __init__(
        self, database: Clone, db: Connection, login: str, variables: dict[str, str], jobs: Sequence[str]
    ) -> None:
        self.login = login
        self._jobs = [word for job in jobs for word in ("--only", job)]
        self.process: Process
        self.since: datetime
        self._db = db
        url = database.url("scheduler").replace(f"{LOGINS['scheduler']}:", f"{login}:", 1)
        self._variables = {"DATABASE_URL": url, **variables}

    async def start(self, conn: Connection | None = None) -> None:
        """Start it, with `conn` to ask for the time."""
        self.since = await (conn or self._db).fetchval("SELECT clock_timestamp()")
        self.process = await start("scheduler", *self._jobs, **self._variables)

    async def connected(self, conn: Connection | None = None) -> None:
        """Return once it has a connection: it may do something now, and it listens for signals."""
        for _ in range(int(SECONDS / POLL_SECONDS)):
            assert self.process.returncode is None, f"a scheduler ended with {self.process.returncode}"
            if await (conn or self._db).fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = $1 AND backend_start >= $2)",
                self.login,
                self.since,
            ):
                return
            await asyncio.sleep(POLL_SECONDS)
        raise AssertionError("a scheduler does not reach the database")

    async def stop(self) -> None:
        """End it in order, which it does once it has connected."""
        await self.connected()
        await stop(self.process)


@asynccontextmanager
async def schedulers(
    database: Clone, db: Connection, variables: list[dict[str, str]], jobs: Sequence[str] = ("meter-calls",)
) -> AsyncIterator[list[Scheduler]]:
    """Schedulers that run these jobs, one for each set of further variables of its environment; killed at the end."""
    logins = [unique_name("meter").replace("tessera_test_", "tt_")[:60] for _ in variables]
    made = [Scheduler(database, db, login, more, jobs) for login, more in zip(logins, variables, strict=True)]
    for login in logins:
        await db.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{database.info.password}' IN ROLE {LOGINS['scheduler']}")
    running: list[Scheduler] = []
    try:
        for scheduler in made:
            await scheduler.start()
            running.append(scheduler)
        yield made
    finally:
        for scheduler in running:
            await kill(scheduler.process)
        for login in logins:
            await db.execute(f"DROP ROLE {login}")
