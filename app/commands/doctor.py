"""`tessera doctor`."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import asyncpg
import click
import httpx

from app.commands._checks import Finding, Level, check_database, check_settings
from app.commands._common import command_settings, say
from app.core.connections import running_database, target
from app.core.embedded import DataFolder, EmbeddedError, find_installation, server_is_running
from app.settings import Settings, SettingsError

MARKS: dict[Level, tuple[str, str]] = {"ok": ("ok", "green"), "warning": ("warn", "yellow"), "failure": ("FAIL", "red")}
LOW_DISK_MIB = 1024
PROBE_SECONDS = 2.0


@click.command()
@click.option("--start/--no-start", default=True, help="Start the embedded server to look inside when it does not run.")
def command(start: bool) -> None:
    """Check this installation and say what to do. Exits with 1 when something is wrong.

    Looks at the settings, the machine, the database (version, durability, roles, pending migrations, jobs, clock,
    connections) and the running service. It changes nothing.

    \b
      tessera doctor
      DATABASE_URL=postgresql://… tessera doctor     before a first start on that server
    """
    findings = [Finding("ok", "Python", platform.python_version())]
    try:
        settings = command_settings()
    except SettingsError as error:
        findings += [Finding("failure", problem.name, problem.reason) for problem in error.problems]
        report(findings)
        raise SystemExit(1) from None
    findings += check_settings(settings, os.environ)
    findings += check_machine(settings)
    findings += database_findings(settings, start)
    findings.append(asyncio.run(check_service(settings)))
    report(findings)
    raise SystemExit(1 if any(finding.level == "failure" for finding in findings) else 0)


def database_findings(settings: Settings, start: bool) -> list[Finding]:
    """What the database says of itself, or why it cannot be asked."""
    if settings.embedded and not server_is_running(settings.data):
        if not DataFolder(settings.data).initialised:
            return [Finding("warning", "database", "there is none yet; ./run up makes it")]
        if not start:
            return [Finding("warning", "database", "the embedded server does not run; ./run up starts it")]
    with ExitStack() as stack:
        try:
            stack.enter_context(running_database(settings, say))
        except EmbeddedError as error:
            return [Finding("failure", "embedded PostgreSQL", str(error))]
        return asyncio.run(_with_database(settings, lambda connection: check_database(connection, settings)))


async def _with_database(
    settings: Settings, check: Callable[[asyncpg.Connection[asyncpg.Record]], Awaitable[list[Finding]]]
) -> list[Finding]:
    try:
        connection = await target(settings, "migrate").connect("tessera-doctor")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        remedy = "is it running, and are host, port, user and password in DATABASE_URL right?"
        return [Finding("failure", "database", f"cannot be reached: {error}; {remedy}")]
    try:
        return await check(connection)
    finally:
        await connection.close()


def check_machine(settings: Settings) -> list[Finding]:
    """Disk, and on an embedded server its binaries and data folder."""
    findings: list[Finding] = []
    if settings.embedded:
        try:
            found = find_installation(settings.pg_bin)
            findings.append(Finding("ok", "binaries", f"PostgreSQL {found.version} in {found.bin}"))
        except EmbeddedError as error:
            findings.append(Finding("failure", "binaries", str(error)))
        folder = DataFolder(settings.data)
        pid = folder.supervisor_pid()
        running = f"run by process {pid}" if pid and server_is_running(settings.data) else "not running"
        findings.append(Finding("ok", "data", f"{settings.data} ({running})"))
        nearest = next(path for path in (settings.data, *settings.data.parents) if path.is_dir())
        free = shutil.disk_usage(nearest).free // (1024 * 1024)
        level: Level = "ok" if free >= LOW_DISK_MIB else "warning"
        advice = "" if level == "ok" else "; make room, PostgreSQL stops when the disk is full"
        findings.append(Finding(level, "disk", f"{free:,} MiB free{advice}"))
    return findings


async def check_service(settings: Settings) -> Finding:
    """Whether the API answers at its address."""
    url = f"{settings.base_url}/api/v1/public/health/ready"
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(url, timeout=PROBE_SECONDS)
    except httpx.HTTPError as error:
        return Finding(
            "warning", "service", f"nothing answers at {settings.base_url} ({type(error).__name__}); ./run up starts it"
        )
    if answer.status_code == 200:
        return Finding("ok", "service", f"ready at {settings.base_url}")
    return Finding("failure", "service", f"{url} answers {answer.status_code}: {answer.text[:200]}")


def report(findings: list[Finding]) -> None:
    """Print the findings and a closing line."""
    for finding in findings:
        mark, colour = MARKS[finding.level]
        click.echo(f"{click.style(f'{mark:>4}', fg=colour)}  {finding.subject:<22} {finding.text}")
    failures = sum(finding.level == "failure" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    click.echo(f"\n{failures} failures, {warnings} warnings." if failures or warnings else "\nAll is well.")
