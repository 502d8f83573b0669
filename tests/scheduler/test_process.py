"""`tessera scheduler` as a process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest
from click.testing import CliRunner

from app.cli import main
from app.settings import PROJECT_ROOT, setting_names
from scheduler.registry import all_jobs
from tests.support.postgres import Clone, Connection

POLL_SECONDS = 0.1
WAIT_SECONDS = 60


async def _jobs_that_ran(database: Clone, db: Connection, expected: int, *options: str) -> set[str]:
    """What ran in a scheduler of its own until so many jobs had; it ends in order when it is told to."""
    kept = {name: value for name, value in os.environ.items() if name not in setting_names()}
    scheduler = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "app.cli",
        "scheduler",
        *options,
        cwd=PROJECT_ROOT,
        env=kept | {"DATABASE_URL": database.url("scheduler")},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        for _ in range(int(WAIT_SECONDS / POLL_SECONDS)):
            rows = await db.fetch("SELECT * FROM api.job_runs WHERE job <> 'of another version'")
            if len(rows) >= expected:
                break
            await asyncio.sleep(POLL_SECONDS)
        scheduler.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(scheduler.wait(), WAIT_SECONDS) == 0
    finally:
        if scheduler.returncode is None:
            scheduler.kill()
            await scheduler.wait()
    assert {row["process"].endswith(f":{scheduler.pid}") for row in rows} == {True}
    return {row["job"] for row in rows}


async def test_it_writes_down_its_runs_and_forgets_other_jobs(database: Clone, db: Connection) -> None:
    await db.execute(
        "INSERT INTO core.job_runs"
        " (job, every_seconds, process, started_at, finished_at, outcome, items, seconds, next_run_at)"
        " VALUES ('of another version', 1, 'x', now(), now(), 'done', 0, 0, now())"
    )
    assert await _jobs_that_ran(database, db, 1, "--only", "expire-holds") == {"expire-holds"}
    assert await db.fetchval("SELECT count(*) FROM core.job_runs") == 1
    others = [job.name for job in all_jobs() if job.name not in ("seal-entries", "expire-holds")]
    await db.execute("DELETE FROM core.job_runs")
    options = [part for name in others for part in ("--except", name)]
    assert await _jobs_that_ran(database, db, 2, *options) == {"seal-entries", "expire-holds"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "nothing"], "there is no job nothing. The jobs are: audit-ledger, "),
        (["--except", "nothing"], "there is no job nothing"),
        (["--once", "nothing"], "there is no job nothing"),
        (["--only", "expire-holds", "--except", "audit-ledger"], "exclude each other"),
        (["--once", "expire-holds", "--only", "expire-holds"], "exclude each other"),
    ],
)
def test_options_that_make_no_sense(options: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["scheduler", *options])
    assert result.exit_code == 2
    assert said in result.output
