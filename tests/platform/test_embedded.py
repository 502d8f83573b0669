"""The embedded server: durable, one supervisor, back after kill -9."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from app.core.embedded import DataInUseError, EmbeddedPostgres, StartError
from app.settings import load_settings

PASSWORD = "only-for-this-test"


@pytest.fixture
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tessera-embedded-"))
    folder.chmod(0o755)
    yield folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


def server_on(data: Path, **options: str) -> EmbeddedPostgres:
    settings = load_settings(dotenv=None)
    return EmbeddedPostgres(
        data, superuser_password=PASSWORD, pg_bin=settings.pg_bin, account=settings.pg_user, options=options
    )


def ask(server: EmbeddedPostgres, *statements: str) -> str:
    """Result of the last statement."""

    async def run() -> str:
        connection = await asyncpg.connect(server.superuser_url("postgres"))
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return str(await connection.fetchval(statements[-1]))
        finally:
            await connection.close()

    return asyncio.run(run())


def test_it_is_durable_and_keeps_its_data(data: Path) -> None:
    server = server_on(data)
    server.start()
    try:
        for name in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
            assert ask(server, f"SHOW {name}") == "on"
        assert ask(server, "SHOW listen_addresses") == ""
        ask(server, "CREATE TABLE kept AS SELECT 7 AS n", "SELECT 1")
    finally:
        server.stop()
    server.stop()  # once more does no harm
    again = server_on(data)
    again.start()
    try:
        assert ask(again, "SELECT n FROM kept") == "7"
    finally:
        again.stop()


def test_a_second_supervisor_is_refused(data: Path) -> None:
    server = server_on(data)
    server.start()
    try:
        with pytest.raises(DataInUseError, match=str(os.getpid())):
            server_on(data).start()
    finally:
        server.stop()


def test_it_comes_back_after_kill_nine(data: Path) -> None:
    server = server_on(data)
    server.start()
    ask(server, "CREATE TABLE kept AS SELECT g AS n FROM generate_series(1, 10000) AS g", "SELECT 1")
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while server.running:
        time.sleep(0.05)
    server.stop()
    again = server_on(data)
    again.start()
    try:
        assert ask(again, "SELECT count(*) FROM kept") == "10000"
    finally:
        again.stop()


def test_it_has_started_when_a_restore_to_a_moment_has_ended(data: Path) -> None:
    archive = data.parent / "archive"
    archive.mkdir()
    archive.chmod(0o777)
    server = server_on(data, archive_mode="on", archive_command=f"cp %p {archive}/%f")
    server.start()
    ask(server, "CREATE TABLE kept (n integer)", "SELECT 1")
    server.stop()
    restored = data.parent / "restored" / "postgres"
    shutil.copytree(data / "postgres", restored)
    for path in (restored, *restored.rglob("*")):
        shutil.copystat(data / "postgres" / path.relative_to(restored), path)
        owner = (data / "postgres").stat()
        os.chown(path, owner.st_uid, owner.st_gid)
    (restored / "recovery.signal").touch()
    server.start()
    ask(server, "INSERT INTO kept VALUES (1)", "SELECT pg_create_restore_point('here')")
    ask(server, "INSERT INTO kept VALUES (2)", "SELECT pg_switch_wal()")
    server.stop()
    # slow, so that it takes readers for a while before it is there
    options = {"restore_command": f"sleep 0.5; cp {archive}/%f %p", "recovery_target_name": "here"}
    again = server_on(restored.parent, recovery_target_action="promote", **options)
    again.start()
    try:
        assert ask(again, "SELECT pg_is_in_recovery()") == "False"
        assert ask(again, "SELECT array_agg(n) FROM kept") == "[1]"
    finally:
        again.stop()


def test_a_restore_that_does_not_reach_its_moment_is_told(data: Path) -> None:
    server = server_on(data)
    server.start()
    server.stop()
    (data / "postgres" / "recovery.signal").touch()
    again = server_on(data, restore_command="false", recovery_target_name="nowhere")
    with pytest.raises(StartError, match="did not start"):
        again.start()
