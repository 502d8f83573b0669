"""The harness itself: every test has its own database, and the auditor looks at it."""

from __future__ import annotations

import asyncpg
import httpx
import pytest

from tests.conftest import Connect
from tests.support.postgres import LOGINS


async def test_each_login_is_who_it_says(connect: Connect) -> None:
    for login, role in LOGINS.items():
        assert await (await connect(login)).fetchval("SELECT session_user") == role


@pytest.mark.parametrize("attempt", [1, 2])
async def test_what_one_test_commits_the_next_does_not_see(
    db: asyncpg.Connection[asyncpg.Record], attempt: int
) -> None:
    await db.execute("CREATE TABLE public.marks (n integer)")
    assert await db.fetchval("SELECT count(*) FROM public.marks") == 0


async def test_the_application_runs_on_it(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/v1/public/health/ready")).status_code == 200
