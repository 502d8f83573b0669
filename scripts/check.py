"""`./run check`: every static check, one after another, with all their findings. Exits 1 when one found something.

Style and types of the Python, style of the SQL, squawk over the migrations, and plpgsql_check over every function:
that one needs Debian's PostgreSQL 15 with its plpgsql_check, and is left out where that is not installed, but for CI.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg

from app.settings import PROJECT_ROOT
from tests.support.postgres import discard, prepare, run_server

PG15 = Path("/usr/lib/postgresql/15")
PLPGSQL_CHECK = PG15 / "lib" / "plpgsql_check.so"
PACKAGES = "postgresql-15 postgresql-15-plpgsql-check"

# Each function (each table of a trigger's) with what plpgsql_check says of it.
FINDINGS = """
SELECT p.oid::regprocedure::text || ':' || coalesce(c.lineno::text, '?') || ': ' || c.level || ': ' || c.message
    || coalesce(' (' || c.detail || ')', '') || coalesce(' in: ' || c.query, '') AS finding
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace AND n.nspname IN ('core', 'api')
JOIN pg_language AS l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
LEFT JOIN pg_trigger AS t ON t.tgfoid = p.oid AND NOT t.tgisinternal
CROSS JOIN LATERAL plpgsql_check_function_tb(
    p.oid, coalesce(t.tgrelid, 0), fatal_errors := false, security_warnings := true,
    other_warnings := true, performance_warnings := false, extra_warnings := true,
    oldtable := t.tgoldtable, newtable := t.tgnewtable
) AS c
WHERE NOT (c.sqlstate = '42804' AND c.detail LIKE 'cast "text" value%') -- v_list bigint[] := '{}'
ORDER BY 1"""
COUNT = """
SELECT count(*) FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
WHERE l.lanname = 'plpgsql' AND p.pronamespace IN ('core'::regnamespace, 'api'::regnamespace)"""


def command(*words: str) -> Callable[[], int]:
    """A check that is a program: its exit code says whether it passed."""
    return lambda: subprocess.run(words, cwd=PROJECT_ROOT, check=False).returncode


def plpgsql_check() -> int:
    """Run plpgsql_check on a throw-away PostgreSQL 15."""
    if not PLPGSQL_CHECK.is_file():
        print(f"not run: needs the packages {PACKAGES}")
        return 1 if os.environ.get("CI") else 0
    os.environ["TESSERA_PG_BIN"] = str(PG15 / "bin")
    os.environ.pop("DATABASE_URL", None)
    with run_server() as url:
        count, findings = asyncio.run(_findings(url))
    print("\n".join(findings) or f"{count} functions checked")
    return 1 if findings or count == 0 else 0


async def _findings(url: str) -> tuple[int, list[str]]:
    info = await prepare(url)
    conn = await asyncpg.connect(info.url_of(info.template))
    try:
        await conn.execute("CREATE EXTENSION plpgsql_check")
        return await conn.fetchval(COUNT), [row["finding"] for row in await conn.fetch(FINDINGS)]
    finally:
        await conn.close()
        await discard(info)


CHECKS: dict[str, Callable[[], int]] = {
    "ruff check": command("ruff", "check", "--quiet", "."),
    "ruff format": command("ruff", "format", "--check", "--quiet", "."),
    "mypy": command("mypy", "--no-error-summary"),
    "sqlfluff": command("sqlfluff", "lint", "--disable-progress-bar", "--nocolor", "sql"),
    "squawk": command(
        "squawk", "--config", ".squawk.toml", *sorted(map(str, PROJECT_ROOT.glob("sql/migrations/*.sql")))
    ),
    "plpgsql_check": plpgsql_check,
}


def main() -> int:
    """Run the checks named as arguments, or all."""
    wanted = sys.argv[1:] or list(CHECKS)
    failed = []
    for name in wanted:
        print(f"== {name}", flush=True)
        if CHECKS[name]() != 0:
            failed.append(name)
    print(f"checks failed: {', '.join(failed)}" if failed else f"{len(wanted)} checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
