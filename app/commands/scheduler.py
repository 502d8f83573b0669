"""`tessera scheduler`."""

from __future__ import annotations

import asyncio

import click

from app.commands._common import say
from app.core.connections import located, service_settings
from app.settings import load_settings


@click.command()
@click.option("--once", metavar="JOB", help="Run this one job now, then exit: 0 if it succeeded.")
@click.option("--only", metavar="JOB", multiple=True, help="Run this job and no other; may be repeated.")
@click.option("--except", "left_out", metavar="JOB", multiple=True, help="Run all but this job; may be repeated.")
@click.option("--list", "list_jobs", is_flag=True, help="List the jobs and exit.")
def command(once: str | None, only: tuple[str, ...], left_out: tuple[str, ...], list_jobs: bool) -> None:
    """Run the periodic jobs on DATABASE_URL, or on the embedded server that `tessera up` runs.

    Any number may run at once: each job decides in the database what is due. A job that fails is logged and tried
    again after a while, longer each time; it never stops the others. SIGTERM or Ctrl-C lets a running job finish.

    \b
      tessera scheduler
      tessera scheduler --list
      tessera scheduler --once audit-ledger
      tessera scheduler --except audit-ledger --except verify-seals
    """
    from scheduler.process import run_forever, run_one
    from scheduler.registry import all_jobs

    if list_jobs:
        for job in all_jobs():
            click.echo(f"{job.name:<24} every {job.every_seconds} s   {job.summary}")
        return
    known = {job.name: job for job in all_jobs()}
    for name in (*([] if once is None else [once]), *only, *left_out):
        if name not in known:
            raise click.UsageError(f"there is no job {name}. The jobs are: {', '.join(known)}.")
    if sum(map(bool, (once, only, left_out))) > 1:
        raise click.UsageError("--once, --only and --except exclude each other.")
    settings = service_settings("scheduler", located(load_settings(), say))
    if once is not None:
        raise SystemExit(0 if asyncio.run(run_one(settings, known[once])) else 1)
    chosen = tuple(job for name, job in known.items() if (name in only if only else name not in left_out))
    asyncio.run(run_forever(settings, chosen))
