"""`tessera doctor`: whatever is wrong is found, fails where it must, and comes with what to do."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.embedded import EmbeddedPostgres
from app.settings import load_settings
from tests.sql.test_seals import seal
from tests.support.commands import Ran, run_command
from tests.support.managed import Managed
from tests.support.postgres import DISPOSABLE, Clone, Connection


async def doctor(url: str, **environment: str) -> Ran:
    # No service is at this port, whatever else runs on the machine.
    return await run_command("doctor", **{"DATABASE_URL": url, "TESSERA_PORT": "1", **environment})


def finding(ran: Ran, subject: str) -> tuple[str, str]:
    """Mark and text of what the doctor said about a subject."""
    found = re.search(rf"^ *(ok|warn|FAIL)  {subject} +(.*)$", ran.output, re.MULTILINE)
    assert found is not None, ran.output
    return found[1], found[2]


async def test_a_database_that_is_well(database: Clone) -> None:
    ran = await doctor(database.url())
    assert ran.code == 0, ran.output
    assert finding(ran, "migrations") == ("ok", "nothing is pending")
    assert finding(ran, "roles")[0] == finding(ran, "PostgreSQL")[0] == finding(ran, "encoding")[0] == "ok"


async def test_history_that_is_not_sealed(database: Clone, db: Connection) -> None:
    await db.execute("INSERT INTO core.audit_log (id, action) VALUES (core._uuid_at(now() - interval '1 hour'), 'x.y')")
    mark, text = finding(await doctor(database.url()), "seals")
    assert (mark, text.partition(":")[0]) == ("warn", "history of 60 minutes is not sealed yet")
    await seal(db)
    assert finding(await doctor(database.url()), "seals")[0] == "ok"


RAN = """
    INSERT INTO core.job_runs (
        job, every_seconds, process, started_at, finished_at, outcome, items, seconds, lag_seconds, failures_in_a_row,
        last_error, last_success_at, next_run_at, first_run_at
    )
    SELECT
        $1, $2, 'host:1', t.at, t.at, $3, CASE WHEN $3 = 'done' THEN 7 END, 0.5, 0, $4, $5,
        CASE WHEN $3 = 'done' THEN t.at END, t.at, now() - $7::text::interval
    FROM (SELECT now() - $6::text::interval AS at) AS t
    ON CONFLICT (job) DO UPDATE SET
        finished_at = excluded.finished_at, started_at = excluded.started_at, outcome = excluded.outcome,
        items = excluded.items, last_success_at = excluded.last_success_at, last_error = excluded.last_error,
        failures_in_a_row = excluded.failures_in_a_row, first_run_at = excluded.first_run_at
"""


async def ran_job(db: Connection, name: str, every: int, ago: str, *, failures: int = 0, since: str = "9 days") -> None:
    """As if a scheduler had run this job."""
    outcome, failed = ("failed", "UndefinedTableError 42P01") if failures else ("done", None)
    await db.execute(RAN, name, every, outcome, failures, failed, ago, since)


async def test_no_scheduler_has_ever_run(database: Clone) -> None:
    ran = await doctor(database.url())
    assert ran.code == 0
    assert finding(ran, "scheduler") == (
        "warn",
        "none has ever run on this database; ./run up runs one, ./run scheduler does nothing else",
    )


async def test_jobs_that_run_as_they_should(database: Clone) -> None:
    for job in ("audit-ledger", "expire-holds"):
        assert (await run_command("scheduler", "--once", job, DATABASE_URL=database.url("scheduler"))).code == 0
    ran = await doctor(database.url())
    assert ran.code == 0
    mark, text = finding(ran, "scheduler")
    assert (mark, text.startswith("a job ran 0 s ago") or "s ago, in " in text) == ("ok", True), text
    for job in ("audit-ledger", "expire-holds"):
        mark, text = finding(ran, f"job {job}")
        assert (mark, text[:5]) == ("ok", "done ")
        assert ", 0 items" in text
    assert ", lag 0 s" in text
    assert finding(ran, "job verify-seals") == ("ok", "has not had its turn yet")


async def test_jobs_that_do_not(database: Clone, db: Connection) -> None:
    await ran_job(db, "expire-holds", 5, "10 minutes")
    await ran_job(db, "audit-ledger", 900, "40 minutes")
    await ran_job(db, "seal-entries", 10, "3 minutes", failures=2)
    ran = await doctor(database.url())
    assert ran.code == 0
    assert finding(ran, "scheduler") == (
        "warn",
        "no job has run for 3 min: see that ./run up or ./run scheduler is running",
    )
    assert finding(ran, "job expire-holds") == (
        "warn",
        "done 10 min ago, took 0.500 s, 7 items, lag 0 s; has not succeeded for 10 min, and is due every 5 s",
    )
    assert finding(ran, "job audit-ledger")[0] == "ok"
    mark, text = finding(ran, "job seal-entries")
    assert mark == "warn"
    assert "2 failures in a row (UndefinedTableError 42P01); has not succeeded for 9 days" in text
    mark, text = finding(ran, "job prune-sessions")
    assert (mark, text) == (
        "warn",
        "has never run, though others have for 9 days: is a scheduler running without it?",
    )

    await ran_job(db, "seal-entries", 10, "3 seconds", failures=3)
    ran = await doctor(database.url())
    assert (ran.code, finding(ran, "scheduler")[0]) == (1, "ok")
    mark, text = finding(ran, "job seal-entries")
    assert mark == "FAIL"
    assert text.endswith("3 failures in a row (UndefinedTableError 42P01); its log says why (docs/runbook.md, 7)")


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody can listen on: it is bound, and not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def test_no_server(closed_port: int) -> None:
    ran = await doctor(f"postgresql://tessera_app@127.0.0.1:{closed_port}/tessera")
    assert ran.code == 1
    mark, text = finding(ran, "database")
    assert mark == "FAIL"
    assert "cannot be reached" in text
    assert "is it running, and are host, port, user and password in DATABASE_URL right?" in text


async def test_no_such_host_database_or_password(database: Clone) -> None:
    wrong = {
        "no_such_database": database.info.url_of("no_such_database"),
        "password authentication failed": database.url("app").replace(database.info.password, "wrong"),
        "cannot be reached": "postgresql://tessera_app@no-such-host.invalid/tessera",
    }
    for said, url in wrong.items():
        ran = await doctor(url)
        mark, text = finding(ran, "database")
        assert (ran.code, mark) == (1, "FAIL"), ran.output
        assert said in text
        assert "DATABASE_URL" in text
        other = await run_command("audit", DATABASE_URL=url)
        assert other.code == 1
        assert other.output.startswith("Error: the database cannot be reached")
        assert "./run doctor" in other.output


async def test_commits_that_are_not_waited_for(database: Clone, db: Connection) -> None:
    await db.execute(f'ALTER DATABASE "{database.name}" SET synchronous_commit = off')
    remedy = "synchronous_commit is off (ALTER SYSTEM (or ALTER ROLE, ALTER DATABASE) … SET synchronous_commit = on)"
    development = await doctor(database.url())
    assert development.code == 0
    assert f"warn  durability             {remedy}" in development.output
    production = await doctor(database.url(), TESSERA_ENV="production", TESSERA_TOKEN_SECRET=os.urandom(24).hex())
    assert production.code == 1
    assert f"FAIL  durability             {remedy}" in production.output


@pytest.fixture
def careless() -> Iterator[str]:
    """URL of a server that does not flush."""
    settings = load_settings(dotenv=None)
    folder = Path(tempfile.mkdtemp(prefix="tessera-careless-"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(
        folder / "data", superuser_password="x", pg_bin=settings.pg_bin, account=settings.pg_user, options=DISPOSABLE
    )
    try:
        server.start()
        yield server.superuser_url("postgres")
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def test_a_server_that_does_not_flush(careless: str) -> None:
    ran = await doctor(careless, TESSERA_ENV="production", TESSERA_TOKEN_SECRET=os.urandom(24).hex())
    assert ran.code == 1
    assert "FAIL  durability             fsync is off (ALTER SYSTEM SET fsync = on, then reload)" in ran.output
    assert "FAIL  durability             full_page_writes is off (ALTER SYSTEM SET full_page_writes = on" in ran.output
    assert "synchronous_commit is off" not in ran.output


async def test_nothing_is_there_yet(empty_database: Clone) -> None:
    ran = await doctor(empty_database.url(), TESSERA_ROLE_PREFIX="not_there_yet")
    assert ran.code == 1
    mark, text = finding(ran, "migrations")
    assert (mark, text.partition(",")[0]) == ("FAIL", "pending: migration 0001_roles_and_schemas")
    assert re.search(r"and \d+ more; run \./run migrate$", text)
    mark, text = finding(ran, "roles")
    assert mark == "FAIL"
    assert text.startswith("missing: not_there_yet_app, not_there_yet_dba, ")
    assert text.endswith("; run ./run migrate")
    assert ran.output.rstrip().splitlines()[-1].startswith("2 failures")


async def test_a_function_is_pending(database: Clone, db: Connection) -> None:
    await db.execute("DELETE FROM core.schema_functions WHERE path = 'wallets/statement.sql'")
    ran = await doctor(database.url())
    assert ran.code == 1
    assert finding(ran, "migrations") == ("FAIL", "pending: function wallets/statement.sql; run ./run migrate")
    assert (await run_command("migrate", DATABASE_URL=database.url())).code == 0
    assert (await doctor(database.url())).code == 0


async def test_an_edited_migration(database: Clone, db: Connection) -> None:
    await db.execute("UPDATE core.schema_migrations SET sha256 = reverse(sha256) WHERE version = 2")
    ran = await doctor(database.url())
    mark, text = finding(ran, "migrations")
    assert (ran.code, mark) == (1, "FAIL")
    assert "0002_ledger" in text


async def test_a_login_that_may_nothing(managed: Managed) -> None:
    assert (
        await run_command("migrate", DATABASE_URL=managed.clone.url(), TESSERA_ROLE_PREFIX=managed.prefix)
    ).code == 0
    await managed.make_login("second", "")
    settings = {"TESSERA_ROLE_PREFIX": managed.prefix, "TESSERA_MIGRATE_URL": managed.clone.url()}
    ran = await doctor(managed.url("second"), **settings)
    mark, text = finding(ran, "roles")
    assert (ran.code, mark) == (1, "FAIL")
    grant = re.search(r"GRANT .*(?=, or use)", text)
    assert grant is not None, text
    refused = await run_command("audit", DATABASE_URL=managed.url("second"), **settings)
    assert refused.code == 1
    assert f"GRANT {managed.prefix}_dba TO {managed.prefix}_second" in refused.output
    await managed.execute(grant[0])
    ran = await doctor(managed.url("second"), **settings)
    assert (ran.code, finding(ran, "roles")[0]) == (0, "ok")
    assert (await run_command("audit", DATABASE_URL=managed.url("second"), **settings)).code == 0


async def test_a_login_that_is_not_there(managed: Managed, database: Clone) -> None:
    ran = await doctor(managed.url("nobody"), TESSERA_MIGRATE_URL=database.url())
    mark, text = finding(ran, "roles")
    assert (ran.code, mark) == (1, "FAIL")
    assert f"there is no login {managed.prefix}_nobody" in text


async def test_more_connections_than_there_are(database: Clone) -> None:
    ran = await doctor(database.url(), TESSERA_POOL_MAX="1000", TESSERA_WORKERS="16")
    mark, text = finding(ran, "connections")
    assert (ran.code, mark) == (1, "FAIL")
    assert text.endswith("lower TESSERA_POOL_MAX or TESSERA_WORKERS, or raise max_connections")


async def test_a_setting_that_is_none(database: Clone) -> None:
    ran = await doctor(database.url(), TESSERA_POOL_MXA="5")
    assert finding(ran, "TESSERA_POOL_MXA") == (
        "warn",
        "is no setting; did you mean TESSERA_POOL_MAX? (docs/settings.md lists all)",
    )
    wrong = await doctor(database.url(), TESSERA_PORT="many")
    assert (wrong.code, finding(wrong, "TESSERA_PORT")[0]) == (1, "FAIL")


async def test_one_login_that_migrates_and_serves(managed: Managed) -> None:
    """What a managed service gives: one login with CREATEROLE that may make schemas."""
    await managed.make_login("migrator", "CREATEROLE")
    await managed.grant_create("migrator")
    settings = {"DATABASE_URL": managed.url("migrator"), "TESSERA_ROLE_PREFIX": managed.prefix}
    before = await run_command("audit", **settings)
    assert (before.code, "Run ./run migrate" in before.output) == (1, True), before.output
    assert (await run_command("migrate", **settings)).code == 0
    ran = await run_command("doctor", TESSERA_PORT="1", **settings)
    assert (ran.code, finding(ran, "roles")[0]) == (0, "ok"), ran.output
    assert (await run_command("audit", **settings)).output.endswith(
        "The books balance: the auditor found nothing. Nothing is sealed yet.\n"
    )


async def test_another_login_may_not_help_itself(managed: Managed) -> None:
    await managed.make_login("migrator", "CREATEROLE")
    await managed.grant_create("migrator")
    prefix = {"TESSERA_ROLE_PREFIX": managed.prefix}
    assert (await run_command("migrate", DATABASE_URL=managed.url("migrator"), **prefix)).code == 0
    await managed.make_login("second", "")
    await managed.execute(f"GRANT {managed.prefix}_owner, {managed.prefix}_ledger TO {managed.prefix}_second")
    ran = await run_command("migrate", DATABASE_URL=managed.url("second"), **prefix)
    assert ran.code == 0
    assert "A superuser runs: GRANT " in ran.output
    # A login of its own for migrating is none that serves, and is left as it is.
    apart = await run_command(
        "migrate", DATABASE_URL=managed.url("app"), TESSERA_MIGRATE_URL=managed.url("second"), **prefix
    )
    assert (apart.code, "GRANT" in apart.output) == (0, False)


async def test_up_says_that_its_port_is_taken(database: Clone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ran = await asyncio.wait_for(run_command("up", DATABASE_URL=database.url(), TESSERA_PORT=str(port)), 60)
    assert ran.code == 1
    assert f"the API cannot listen on 127.0.0.1:{port}" in ran.output
    assert "--port or TESSERA_PORT" in ran.output
