"""`tessera doctor` finds what is wrong and says what to do."""

from __future__ import annotations

import asyncio
import socket

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from tests.support.postgres import Clone, Connection


async def doctor(monkeypatch: pytest.MonkeyPatch, url: str, **environment: str) -> Result:
    """Run it on the database of this URL, with a service that does not answer."""
    for name, value in {"DATABASE_URL": url, "TESSERA_PORT": "1", **environment}.items():
        monkeypatch.setenv(name, value)
    # in a thread: the command runs a loop of its own
    return await asyncio.to_thread(CliRunner().invoke, main, ["doctor"])


def line(result: Result, subject: str) -> str:
    """What it says of one subject."""
    found = [text for text in result.output.splitlines() if subject in text]
    assert found, result.output
    return found[0]


async def test_a_sound_database(database: Clone, db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    result = await doctor(monkeypatch, database.url())
    assert "nothing is pending" in line(result, "migrations")
    assert "tessera_ledger" in line(result, "roles")
    assert "UTF8" in line(result, "encoding")


async def test_a_database_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"postgresql://nobody@127.0.0.1:{probe.getsockname()[1]}/none"
    result = await doctor(monkeypatch, url)
    assert result.exit_code == 1
    assert "DATABASE_URL" in line(result, "cannot be reached")


async def test_a_wrong_password(database: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    result = await doctor(monkeypatch, database.url("app").replace("@", "x@", 1))
    assert result.exit_code == 1
    assert "password" in line(result, "cannot be reached")


async def test_commits_that_may_be_lost(database: Clone, db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    await db.execute(f'ALTER DATABASE "{database.name}" SET synchronous_commit = off')
    result = await doctor(monkeypatch, database.url())
    assert "ALTER DATABASE" in line(result, "synchronous_commit is off") or "SET" in line(result, "synchronous_commit")


async def test_a_database_that_was_never_migrated(empty_database: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    result = await doctor(monkeypatch, empty_database.url())
    assert result.exit_code == 1
    assert "./run migrate" in line(result, "pending")


async def test_a_function_that_is_older_than_the_code(
    database: Clone, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = await db.fetchval("SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relname = 'schema_functions'")
    await db.execute(f"DELETE FROM {table} WHERE path LIKE '%balance_at%'")
    result = await doctor(monkeypatch, database.url())
    assert result.exit_code == 1
    assert "balance_at" in line(result, "pending")


async def test_more_connections_than_the_server_has(database: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    result = await doctor(monkeypatch, database.url(), TESSERA_WORKERS="200", TESSERA_POOL_MAX="100")
    assert result.exit_code == 1
    assert "max_connections" in line(result, "connections")


async def test_a_setting_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    result = await doctor(monkeypatch, "postgresql://nobody@127.0.0.1:1/none", TESSERA_WORKER="2")
    assert "did you mean TESSERA_WORKERS" in line(result, "TESSERA_WORKER")
