"""docs/sql-api.md: the contract of schema `api`, from the catalogue of a migrated database.

`./run sql-api` writes it, tests/contract/test_sql_api.py compares. What it says is what `\\df+` and `\\d+` say: the
COMMENTs of functions, views and types.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import asyncpg

from app.settings import PROJECT_ROOT
from tests.contract.sources import function_sources
from tests.support.postgres import discard, prepare, run_server

FILE = Path(__file__).resolve().parent.parent / "docs" / "sql-api.md"
HEADER = """\
# The SQL API

What schema `api` offers to whoever calls it from SQL. Written by `./run sql-api` from the database's own comments; do
not edit. docs/sql-examples shows it at work. Each function is atomic, may be called inside a transaction of yours at
any isolation level, and raises the errors of docs/errors.md. Amounts are in the asset's minor unit.

"""
FUNCTIONS = """
    SELECT p.proname AS name, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result,
           obj_description(p.oid, 'pg_proc') AS comment
    FROM pg_proc AS p WHERE p.pronamespace = 'api'::regnamespace ORDER BY p.proname
"""
RELATIONS = """
    SELECT c.relname AS name,
           coalesce(obj_description(c.oid, 'pg_class'), obj_description(c.reltype, 'pg_type')) AS comment,
           string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) AS columns
    FROM pg_class AS c
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'api'::regnamespace AND c.relkind = $1
    GROUP BY c.oid ORDER BY c.relname
"""
_ERRORS = re.compile(r"\b(TS\d{3} [A-Z_]+)\b")


async def render(conn: asyncpg.Connection[asyncpg.Record]) -> str:
    """The document for this database."""
    declared = {source.name: source.header.partition(" Errors ")[2] for source in function_sources()}
    parts = [HEADER, "## Functions\n"]
    for row in await conn.fetch(FUNCTIONS):
        errors = _ERRORS.findall(declared[f"api.{row['name']}"])
        arguments = re.sub(r"::(text|uuid|jsonb|bigint|numeric|timestamp with time zone)\b", "", row["arguments"])
        parts.append(f"\n### {row['name']}\n\n```\napi.{row['name']}({arguments})\n    → {row['result']}\n```\n")
        parts.append(f"\n{row['comment']}\n")
        if errors:
            parts.append(f"\nErrors: {', '.join(errors)}.\n")
    for kind, title in (("v", "Views"), ("c", "Types")):
        parts.append(f"\n## {title}\n")
        rows = await conn.fetch(RELATIONS, kind.encode())
        parts += [f"\n### {row['name']}\n\n{row['comment']}\n\n`{row['columns']}`\n" for row in rows]
    return "".join(parts)


async def _write(url: str) -> None:
    info = await prepare(url)
    conn = await asyncpg.connect(info.url_of(info.template))
    try:
        FILE.write_text(await render(conn))
    finally:
        await conn.close()
        await discard(info)


def main() -> None:
    """Write the file anew from an empty database on a server of its own."""
    with run_server() as url:
        asyncio.run(_write(url))
    print(FILE.relative_to(PROJECT_ROOT))


if __name__ == "__main__":
    main()
