"""Every command explains itself."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import main
from tests.support.commands import run_command
from tests.support.postgres import Clone, Connection

COMMANDS = ("up", "api", "scheduler", "migrate", "psql", "audit", "create-admin", "grant", "demo", "doctor", "tail")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert f"tessera {name}" in result.output or f"./run {name}" in result.output
    assert len(result.output.splitlines()) > 6


def test_all_commands_are_listed() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert [name for name in COMMANDS if name not in result.output] == []


async def _register(db: Connection) -> None:
    await db.execute("SELECT api.register_user('fan@example.com', 'fan', NULL, 'no hash')")


async def test_grant_says_what_it_did(database: Clone, db: Connection) -> None:
    await _register(db)
    url = database.url()
    first = await run_command("grant", "fan@example.com", "1500", "--key", "ticket-4711", DATABASE_URL=url)
    transfer = await db.fetchval("SELECT t.id FROM core.transfers AS t WHERE t.kind = 'grant'")
    told = f"(transfer {transfer}, key ticket-4711)"
    assert first.output == f"Granted 1,500 TOKEN to fan@example.com; their balance is now 1,500 {told}.\n"
    second = await run_command("grant", "FAN@example.com", "7", DATABASE_URL=url)
    assert re.fullmatch(
        r"Granted 7 TOKEN to FAN@example\.com; their balance is now 1,507 "
        r"\(transfer [0-9a-f-]{36}, key cli-[0-9a-f-]{36}\)\.\n",
        second.output,
    )
    again = await run_command("grant", "fan@example.com", "1500", "--key", "ticket-4711", DATABASE_URL=url)
    assert again.output == (
        "Nothing moved: this key has granted 1,500 TOKEN to fan@example.com before; "
        f"their balance was 1,500 then {told}.\n"
    )
    assert first.code == second.code == again.code == 0
    assert await db.fetchval("SELECT sum(w.balance) FROM core.wallets AS w WHERE w.owner_id IS NOT NULL") == 1507


async def test_grant_says_why_it_did_nothing(database: Clone, db: Connection) -> None:
    await _register(db)
    url = database.url()
    stranger = await run_command("grant", "nobody@example.com", "5", DATABASE_URL=url)
    assert (stranger.code, stranger.output) == (
        1,
        "Error: there is no user nobody@example.com. They register first: POST /api/v1/auth/register\n",
    )
    assert (await run_command("grant", "fan@example.com", "5", "--key", "k", DATABASE_URL=url)).code == 0
    reused = await run_command("grant", "fan@example.com", "6", "--key", "k", DATABASE_URL=url)
    assert reused.code == 1
    assert reused.output.startswith("Error: IDEMPOTENCY_KEY_REUSED.")
    assert reused.output.endswith("Nothing was granted.\n")
    most = await run_command("grant", "fan@example.com", str(10**20), DATABASE_URL=url)
    assert (most.code, "is not in the range" in most.output) == (2, True), most.output
    assert await db.fetchval("SELECT count(*) FROM core.transfers") == 1


async def test_demo_asks_where_the_settings_say() -> None:
    ran = await run_command("demo", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none", TESSERA_PORT="2")
    assert ran.code == 1
    assert ran.output.startswith("Error: nothing answers at http://127.0.0.1:2 (")


@pytest.fixture
def data() -> Iterator[str]:
    """A data folder that is not there yet."""
    folder = Path(tempfile.mkdtemp(prefix="tessera-commands-"))
    folder.chmod(0o755)
    yield str(folder / "data")
    shutil.rmtree(folder, ignore_errors=True)


async def test_migrate_makes_a_new_embedded_database(data: str) -> None:
    settings = {name: os.environ[name] for name in ("TESSERA_PG_BIN", "TESSERA_PG_USER") if name in os.environ}
    first = await run_command("migrate", TESSERA_DATA=data, **settings)
    assert first.code == 0, first.output
    assert "Migrated: " in first.output
    audit = await run_command("audit", TESSERA_DATA=data, **settings)  # logs in as the local DBA
    assert (audit.code, audit.output.splitlines()[-1].partition(":")[0]) == (0, "The books balance")
    again = await run_command("migrate", TESSERA_DATA=data, **settings)
    assert again.output.splitlines()[-1] == "The database is up to date."
