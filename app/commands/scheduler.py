"""`tessera scheduler`."""

from __future__ import annotations

import asyncio

import click

from app.commands._common import say
from app.core.connections import located, service_settings
from app.settings import load_settings


@click.command()
@click.option("--once", metavar="JOB", help="Run this one job now, then exit: 0 if it succeeded.")
@click.option("--list", "list_jobs", is_flag=True, help="List the jobs and exit.")
def command(once: str | None, list_jobs: bool) -> None:
    """Run the periodic jobs on DATABASE_URL, or on the embedded server that `tessera up` runs.

    Any number may run at once: each job decides in the database what is due. A job that fails is logged and tried
    again at its next turn; it never stops the others. SIGTERM or Ctrl-C lets a running job finish.

    \b
      tessera scheduler
      tessera scheduler --list
      tessera scheduler --once audit-ledger
    """
    from scheduler.process import run_forever, run_one
    from scheduler.registry import all_jobs

    if list_jobs:
        for job in all_jobs():
            click.echo(f"{job.name:<24} every {job.every_seconds} s   {job.summary}")
        return
    settings = service_settings("scheduler", located(load_settings(), say))
    if once is not None:
        known = {job.name: job for job in all_jobs()}
        if once not in known:
            raise click.UsageError(f"there is no job {once}. The jobs are: {', '.join(known)}.")
        raise SystemExit(0 if asyncio.run(run_one(settings, known[once])) else 1)
    asyncio.run(run_forever(settings))
