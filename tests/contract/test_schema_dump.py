"""docs/schema.sql is what `sql/` makes."""

from __future__ import annotations

import difflib

import pytest

from scripts.schema_dump import SCHEMA_FILE, dump
from tests.support.postgres import Clone


async def test_docs_schema_is_current(database: Clone) -> None:
    conn = await database.connect()
    if conn.get_server_version().major < 18:
        pytest.skip("written from PostgreSQL 18; other versions print some things differently")
    committed = SCHEMA_FILE.read_text().splitlines()
    made = dump(database.url()).splitlines()
    difference = list(difflib.unified_diff(committed, made, "docs/schema.sql", "sql/", lineterm="", n=1))
    assert not difference, "run ./run schema-dump:\n" + "\n".join(difference[:60])
