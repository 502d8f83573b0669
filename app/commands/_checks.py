"""What `tessera doctor` checks in the settings and in the database."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Literal, TypeAlias

import asyncpg
import msgspec

from app.commands.migrate import pending_names
from app.core import migrations
from app.core.connections import login_of
from app.core.durability import durability_faults
from app.core.embedded.install import SUPPORTED_MAJORS
from app.core.provision import SERVICE_ROLES, grant_statement, roles_out_of_reach
from app.settings import Settings, secret_weakness, setting_names, unknown_settings

Level = Literal["ok", "warning", "failure"]
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

MAX_CLOCK_SKEW_SECONDS = 5.0
SHOWN_PENDING = 5
SEAL_LAG = timedelta(minutes=5)
RELAY_LAG_SECONDS = 10
ALERT_FAILURES = 3
"""From so many failures in a row on, a job is a failure here, and an alert of the scheduler."""
QUIET_SECONDS = 120
"""Some job runs every few seconds; one that fails waits a minute."""
RESERVED_CONNECTIONS = 10
"""Connections left for the scheduler, the migrator and people."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at, and what to do about it if it is not as it should be."""

    level: Level
    subject: str
    text: str


def check_settings(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """What the settings say, and names that are none."""
    given = [name for name in setting_names() if environ.get(name)]
    where = f"{settings.env}; {', '.join(given) or 'nothing'} set in the environment"
    findings = [Finding("ok", "settings", where)]
    for name, nearest in unknown_settings(environ).items():
        meant = f"; did you mean {nearest}?" if nearest else ""
        findings.append(Finding("warning", name, f"is no setting{meant} (docs/settings.md lists all)"))
    exposed = settings.host not in ("127.0.0.1", "::1", "localhost")
    if exposed and not settings.production:
        text = f"development listens on {settings.host}, where others reach it; set TESSERA_ENV=production"
        findings.append(Finding("warning", "TESSERA_HOST", text))
    weakness = secret_weakness(settings.token_secret) if settings.token_secret else None
    if weakness:
        findings.append(Finding("warning", "TESSERA_TOKEN_SECRET", f"{weakness}; production would refuse it"))
    return findings


async def check_database(connection: Connection, settings: Settings) -> list[Finding]:
    """Version, durability, roles, migrations, clock and connections of the database."""
    findings = [await _version(connection)]
    faults = await durability_faults(connection)
    level: Level = "failure" if settings.production else "warning"
    findings += [Finding(level, "durability", fault) for fault in faults]
    if not faults:
        findings.append(Finding("ok", "durability", "fsync, full_page_writes and synchronous_commit are on"))
    findings.append(await _checksums(connection))
    findings.append(await _encoding(connection))
    findings.append(await _migrations(connection))
    findings.append(await _partitions(connection))
    findings.append(await _seals(connection))
    findings.append(await _relay(connection))
    findings += await _scheduler(connection)
    findings.append(await _roles(connection, settings))
    findings.append(await _clock(connection))
    findings.append(await _connections(connection, settings))
    return findings


async def _version(connection: Connection) -> Finding:
    said = await connection.fetchval("SELECT current_setting('server_version')")
    if connection.get_server_version().major in SUPPORTED_MAJORS:
        return Finding("ok", "PostgreSQL", said)
    supported = f"{SUPPORTED_MAJORS[0]} to {SUPPORTED_MAJORS[-1]}"
    return Finding("failure", "PostgreSQL", f"{said}; Tessera runs on {supported}: upgrade the server, or use another")


async def _checksums(connection: Connection) -> Finding:
    if await connection.fetchval("SELECT current_setting('data_checksums')") == "on":
        return Finding("ok", "checksums", "on")
    return Finding("warning", "checksums", "off: damage on disk would go unseen (pg_checksums --enable, while stopped)")


async def _encoding(connection: Connection) -> Finding:
    encoding = await connection.fetchval("SELECT current_setting('server_encoding')")
    if encoding == "UTF8":
        return Finding("ok", "encoding", encoding)
    return Finding("failure", "encoding", f"{encoding}; make the database with ENCODING 'UTF8'")


async def _migrations(connection: Connection) -> Finding:
    try:
        waiting = pending_names(await migrations.pending(connection))
    except migrations.MigrationError as error:
        return Finding("failure", "migrations", str(error))
    if not waiting:
        return Finding("ok", "migrations", "nothing is pending")
    shown = ", ".join(" ".join(name.split()) for name in waiting[:SHOWN_PENDING])
    more = f" and {len(waiting) - SHOWN_PENDING} more" if len(waiting) > SHOWN_PENDING else ""
    return Finding("failure", "migrations", f"pending: {shown}{more}; run ./run migrate")


async def _partitions(connection: Connection) -> Finding:
    if not await connection.fetchval("SELECT pg_catalog.to_regprocedure('api.partitions()') IS NOT NULL"):
        return Finding("warning", "partitions", "there are none yet; run ./run migrate")
    row = await connection.fetchrow("""
        SELECT min(p.to_at) FILTER (WHERE p.last) AS made_to,
            min(p.to_at) FILTER (WHERE p.last) < now() + interval '1 month' AS late,
            string_agg(p.table_name, ', ' ORDER BY p.table_name) FILTER (WHERE p.misplaced) AS misplaced
        FROM (
            SELECT a.table_name, a.misplaced, a.to_at, a.to_at = max(a.to_at) OVER (PARTITION BY a.table_name) AS last
            FROM api.partitions() AS a
        ) AS p""")
    assert row is not None
    remedy = "SELECT api.make_partitions(), and see that the scheduler runs (docs/growth.md)"
    if row["misplaced"]:
        return Finding("warning", "partitions", f"rows of {row['misplaced']} are in the default partition: {remedy}")
    made = f"made up to {row['made_to']:%Y-%m}"
    return Finding("warning", "partitions", f"{made}: {remedy}") if row["late"] else Finding("ok", "partitions", made)


async def _seals(connection: Connection) -> Finding:
    if not await connection.fetchval("SELECT pg_catalog.to_regprocedure('api.seal_lag()') IS NOT NULL"):
        return Finding("warning", "seals", "there are none yet; run ./run migrate")
    lag: timedelta | None = await connection.fetchval("SELECT api.seal_lag()")
    if lag is None or lag < SEAL_LAG:
        return Finding("ok", "seals", "up to date")
    minutes = int(lag.total_seconds() // 60)
    return Finding(
        "warning",
        "seals",
        f"history of {minutes:,} minutes is not sealed yet: run the scheduler, and look for a transaction that has been"
        " open for long (docs/seals.md)",
    )


async def _relay(connection: Connection) -> Finding:
    if not await connection.fetchval("SELECT pg_catalog.to_regprocedure('api.relay_lag()') IS NOT NULL"):
        return Finding("warning", "relay", "there is none yet; run ./run migrate")
    row = await connection.fetchrow("SELECT extract(EPOCH FROM r.lag) AS lag, r.backlog FROM api.relay_lag() AS r")
    assert row is not None
    if row["lag"] is None or row["lag"] < RELAY_LAG_SECONDS:
        return Finding("ok", "relay", "up to date")
    text = f"about {row['backlog']:,} events wait, the first for {_span(row['lag'])}: see that a scheduler runs the job"
    return Finding("warning", "relay", f"{text} relay-events (docs/relay.md)")


async def _scheduler(connection: Connection) -> list[Finding]:
    """The scheduler's jobs: when and how each ran last, and those that do not as they should."""
    from scheduler.registry import all_jobs

    if not await connection.fetchval("SELECT pg_catalog.to_regclass('api.job_runs') IS NOT NULL"):
        return [Finding("warning", "scheduler", "nothing is known of it yet; run ./run migrate")]
    rows = await connection.fetch("""
        SELECT r.*, extract(EPOCH FROM clock_timestamp() - r.finished_at) AS finished,
            extract(EPOCH FROM clock_timestamp() - coalesce(r.last_success_at, r.first_run_at)) AS succeeded,
            extract(EPOCH FROM clock_timestamp() - r.first_run_at) AS first
        FROM api.job_runs AS r ORDER BY r.job""")
    if not rows:
        text = "none has ever run on this database; ./run up runs one, ./run scheduler does nothing else"
        return [Finding("warning", "scheduler", text)]
    newest = min(rows, key=lambda row: row["finished"])
    findings = [Finding("ok", "scheduler", f"a job ran {_span(newest['finished'])} ago, in {newest['process']}")]
    if newest["finished"] > QUIET_SECONDS:
        text = f"no job has run for {_span(newest['finished'])}: see that ./run up or ./run scheduler is running"
        findings = [Finding("warning", "scheduler", text)]
    runs = {row["job"]: row for row in rows}
    here_for = max(row["first"] for row in rows)
    for job in all_jobs():
        if job.name in runs:
            findings.append(_job(runs[job.name]))
        elif here_for > max(3 * job.every_seconds, 60) + job.first_after_seconds:
            text = f"has never run, though others have for {_span(here_for)}: is a scheduler running without it?"
            findings.append(Finding("warning", f"job {job.name}", text))
        else:
            findings.append(Finding("ok", f"job {job.name}", "has not had its turn yet"))
    return findings


def _job(run: asyncpg.Record) -> Finding:
    subject, failures = f"job {run['job']}", run["failures_in_a_row"]
    ended = f"{run['outcome']} {_span(run['finished'])} ago, took {run['seconds']:,} s"
    if run["items"] is not None:
        ended += f", {run['items']:,} items"
    if run["lag_seconds"] is not None:
        ended += f", lag {_span(run['lag_seconds'])}"
    if failures:
        ended += f", {failures} failures in a row ({run['last_error']})"
    if failures >= ALERT_FAILURES:
        return Finding("failure", subject, f"{ended}; its log says why (docs/runbook.md, 7)")
    if run["late"]:
        since = f"{_span(run['succeeded'])}, and is due every {_span(run['every_seconds'])}"
        return Finding("warning", subject, f"{ended}; has not succeeded for {since}")
    return Finding("ok", subject, ended)


def _span(seconds: Decimal) -> str:
    """A time in the largest unit of which there are two."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(int(seconds), 0)} s"


async def _roles(connection: Connection, settings: Settings) -> Finding:
    names = [f"{settings.role_prefix}_{part}" for part in ("owner", "ledger", "app", "scheduler", "dba", "readonly")]
    rows = await connection.fetch(
        "SELECT r.rolname, r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = ANY ($1::text [])", names
    )
    missing = sorted(set(names) - {row["rolname"] for row in rows})
    if missing:
        return Finding("failure", "roles", f"missing: {', '.join(missing)}; run ./run migrate")
    mighty = [row["rolname"] for row in rows if row["rolsuper"]]
    if mighty:
        return Finding("failure", "roles", f"{', '.join(mighty)} must not be superuser: ALTER ROLE … NOSUPERUSER")
    return await _login(connection, settings, ", ".join(names))


async def _login(connection: Connection, settings: Settings, there: str) -> Finding:
    """Whether the service's login (the connection is the migrator's) may become what the service needs."""
    login = login_of(settings.database_url or "") or await connection.fetchval("SELECT current_user")
    if not await connection.fetchval("SELECT true FROM pg_catalog.pg_roles AS r WHERE r.rolname = $1", login):
        return Finding("failure", "roles", f"there is no login {login}, which DATABASE_URL names; CREATE ROLE makes it")
    beyond = await roles_out_of_reach(connection, settings, login)
    if len(beyond) == len(SERVICE_ROLES):
        text = f"{login} may not become {' or '.join(beyond)}: {grant_statement(beyond, login)}, or use another login"
        return Finding("failure", "roles", text)
    return Finding("ok", "roles", f"{there}; {login} may not become {', '.join(beyond)}" if beyond else there)


async def _clock(connection: Connection) -> Finding:
    asked = time.time()
    theirs = float(await connection.fetchval("SELECT extract(EPOCH FROM clock_timestamp())::double precision"))
    skew = theirs - (asked + time.time()) / 2
    if abs(skew) <= MAX_CLOCK_SKEW_SECONDS:
        return Finding("ok", "clock", f"within {MAX_CLOCK_SKEW_SECONDS:g} s of the database's")
    text = f"is {-skew:+.0f} s off the database's; tokens may be refused: set up NTP on both"
    return Finding("warning", "clock", text)


async def _connections(connection: Connection, settings: Settings) -> Finding:
    limit = int(await connection.fetchval("SELECT current_setting('max_connections')"))
    wanted = settings.workers * settings.pool_max + RESERVED_CONNECTIONS
    text = f"{wanted} of {limit} may be used by this configuration"
    if wanted <= limit:
        return Finding("ok", "connections", text)
    remedy = "lower TESSERA_POOL_MAX or TESSERA_WORKERS, or raise max_connections"
    return Finding("failure", "connections", f"{text}; {remedy}")
