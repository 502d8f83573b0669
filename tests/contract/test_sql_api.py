"""docs/sql-api.md says what the database says."""

from __future__ import annotations

import pytest

from scripts.sql_api import FILE, render
from tests.support.postgres import Connection


async def test_the_document_is_that_of_the_database(db: Connection) -> None:
    """After a change of a signature or a COMMENT: ./run sql-api."""
    if db.get_server_version().major < 18:
        pytest.skip("signatures are written as PostgreSQL 18 writes them")
    assert FILE.read_text() == await render(db)
