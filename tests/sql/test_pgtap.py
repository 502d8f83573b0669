"""tests/pgtap: roles, ownership and privileges down to the last function, told in pgTAP and run by psql."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from app.core.embedded import EmbeddedError
from app.core.embedded.install import find_installation
from app.settings import PROJECT_ROOT, load_settings
from tests.support.postgres import Clone, Connection

SCRIPTS = sorted((PROJECT_ROOT / "tests" / "pgtap").glob("*.sql"))
CI_MAJOR = 15
"""The version that CI has pgTAP for: there, its absence is a failure."""


@pytest.fixture
async def tap(db: Connection) -> Connection:
    """A database with pgTAP in it, in a schema of its own."""
    if not await db.fetchval("SELECT count(*) FROM pg_available_extensions WHERE name = 'pgtap'"):
        if os.environ.get("CI") and db.get_server_version().major == CI_MAJOR:
            pytest.fail("install the package postgresql-15-pgtap")
        pytest.skip("this server has no pgTAP (Debian's package postgresql-15-pgtap, and TESSERA_PG_BIN)")
    await db.execute("CREATE SCHEMA tap; CREATE EXTENSION pgtap SCHEMA tap")
    return db


def _psql() -> str:
    """The psql beside the server's binaries, else the system's."""
    try:
        beside = find_installation(load_settings(dotenv=None).pg_bin).bin / "psql"
    except EmbeddedError:
        beside = None
    found = str(beside) if beside is not None and beside.is_file() else shutil.which("psql")
    assert found is not None, "there is no psql"
    return found


def _run(script: Path, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_psql(), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", str(script), url],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
async def test_script(tap: Connection, database: Clone, script: Path) -> None:
    ran = await asyncio.to_thread(_run, script, database.url())
    results = re.findall(r"^(not ok|ok) \d+", ran.stdout, re.MULTILINE)
    plan = re.search(r"^1\.\.(\d+)$", ran.stdout, re.MULTILINE)
    wrong = [line for line in ran.stdout.splitlines() if not line.startswith("ok ")]
    assert (ran.returncode, ran.stderr, results.count("not ok")) == (0, "", 0), "\n".join([*wrong, ran.stderr])
    assert plan is not None
    assert len(results) == int(plan[1]) > 0


# What must not pass unnoticed, and which script notices.
DEVIATIONS = {
    "CREATE TABLE core.more (n integer)": "tables",
    "CREATE VIEW api.more AS SELECT 1 AS n": "tables",
    "GRANT SELECT ON core.users TO tessera_readonly": "tables",
    "GRANT UPDATE ON core.entries TO tessera_ledger": "tables",
    "REVOKE SELECT ON core.rates FROM tessera_app": "tables",
    "GRANT DELETE ON core.wallets TO tessera_owner": "tables",
    "GRANT USAGE ON SEQUENCE core.outbox_id_seq TO tessera_app": "tables",
    "ALTER VIEW api.tips OWNER TO tessera_ledger": "tables",
    "GRANT UPDATE (amount) ON core.transfers TO tessera_ledger": "columns",
    "GRANT SELECT (email) ON core.users TO tessera_readonly": "columns",
    "REVOKE UPDATE (held) ON core.wallets FROM tessera_ledger": "columns",
    "CREATE FUNCTION api.more() RETURNS integer LANGUAGE sql RETURN 1": "functions",
    "CREATE FUNCTION core._raise() RETURNS integer LANGUAGE sql RETURN 1": "functions",
    "DROP FUNCTION api.audit_ledger()": "functions",
    "GRANT EXECUTE ON FUNCTION api.audit_ledger() TO tessera_readonly": "functions",
    "GRANT EXECUTE ON FUNCTION api.audit_ledger() TO PUBLIC": "functions",
    "ALTER FUNCTION api.audit_ledger() OWNER TO tessera_owner": "functions",
    "ALTER FUNCTION api.audit_ledger() SECURITY INVOKER": "functions",
    "ALTER FUNCTION api.audit_ledger() RESET search_path": "functions",
    "ALTER FUNCTION api.audit_ledger() SET work_mem = '1GB'": "functions",
    "ALTER FUNCTION core._guard_ledger() RESET ALL": "functions",
    "DROP TRIGGER entries_guard_history ON core.entries": "triggers",
    "ALTER TABLE core.wallets DISABLE TRIGGER wallets_guard_writes": "triggers",
    "CREATE TRIGGER more BEFORE INSERT ON core.entries EXECUTE FUNCTION core._guard_ledger()": "triggers",
    "CREATE OR REPLACE TRIGGER tips_guard_history BEFORE UPDATE ON core.tips EXECUTE FUNCTION core._guard_ledger()": (
        "triggers"
    ),
    "GRANT CREATE ON SCHEMA core TO tessera_ledger": "roles",
    "GRANT USAGE ON SCHEMA core TO tessera_readonly": "roles",
    "GRANT CREATE ON SCHEMA public TO PUBLIC": "roles",
    "GRANT SELECT (id) ON core.users TO PUBLIC": "roles",
    "GRANT SELECT ON api.tips TO tessera_app WITH GRANT OPTION": "roles",
    "GRANT SELECT ON api.tips TO tessera_test_readonly": "roles",
    "CREATE SCHEMA more": "roles",
    "CREATE ROLE tessera_more": "roles",
    "ALTER ROLE tessera_app BYPASSRLS": "roles",
    "ALTER ROLE tessera_owner LOGIN": "roles",
    "GRANT tessera_ledger TO tessera_app": "roles",
    "GRANT tessera_app TO tessera_test_dba": "roles",
    "GRANT tessera_ledger TO tessera_test_dba": "roles",
    "ALTER ROLE tessera_test_migrator CREATEROLE": "roles",
    "CREATE TABLE public.mine (n integer); ALTER TABLE public.mine OWNER TO tessera_app": "roles",
    "ALTER DEFAULT PRIVILEGES FOR ROLE tessera_owner IN SCHEMA core GRANT INSERT ON TABLES TO tessera_app": "defaults",
    "ALTER DEFAULT PRIVILEGES FOR ROLE tessera_ledger GRANT EXECUTE ON FUNCTIONS TO PUBLIC": "defaults",
}


async def test_each_deviation_is_noticed(tap: Connection, database: Clone, tmp_path: Path) -> None:
    """Each is made at the start of the script's own transaction, which is rolled back."""
    unnoticed = []
    for number, (statement, stem) in enumerate(DEVIATIONS.items()):
        begin, found, rest = (SCRIPTS[0].parent / f"{stem}.sql").read_text().partition("BEGIN;\n")
        assert found
        script = tmp_path / f"{number}.sql"
        script.write_text(f"{begin}{found}{statement};\n{rest}")
        ran = await asyncio.to_thread(_run, script, database.url())
        assert ran.returncode == 0, (statement, ran.stderr)
        if not re.search(r"^not ok \d+", ran.stdout, re.MULTILINE):
            unnoticed.append(statement)
    assert unnoticed == []


def test_there_are_scripts() -> None:
    assert {path.stem for path in SCRIPTS} == {"columns", "defaults", "functions", "roles", "tables", "triggers"}
