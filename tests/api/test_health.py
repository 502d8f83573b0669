"""Readiness, and what it says of the scheduler."""

from __future__ import annotations

import httpx
import pytest

from tests.api.people import api
from tests.support.postgres import Connection

RUN = """
    INSERT INTO core.job_runs (
        job, every_seconds, process, started_at, finished_at, outcome, items, seconds, last_success_at, next_run_at
    ) VALUES ($1, 5, 'host:1', now(), now(), 'done', 0, 0, now(), now())
"""


async def _checks(client: httpx.AsyncClient) -> dict[str, str]:
    answer = await client.get(api("/public/health/ready"))
    body = answer.json()
    assert (answer.status_code, body["status"], body["checks"]["database"]) == (200, "ready", "ok")
    checks: dict[str, str] = body["checks"]
    return checks


async def test_readiness_knows_the_scheduler_and_does_not_need_it(client: httpx.AsyncClient, db: Connection) -> None:
    assert (await _checks(client))["scheduler"] == "never"
    for job in ("one", "other"):
        await db.execute(RUN, job)
    assert (await _checks(client))["scheduler"] == "ok"
    await db.execute("UPDATE core.job_runs SET last_success_at = now() - interval '50 seconds' WHERE job = 'one'")
    assert (await _checks(client))["scheduler"] == "ok"
    await db.execute("UPDATE core.job_runs SET last_success_at = now() - interval '70 seconds' WHERE job = 'one'")
    assert (await _checks(client))["scheduler"] == "late"
    await db.execute("UPDATE core.job_runs SET every_seconds = 3600")
    assert (await _checks(client))["scheduler"] == "ok"
    # it has never succeeded since it was first seen
    await db.execute("UPDATE core.job_runs SET last_success_at = NULL, first_run_at = now() - interval '4 hours'")
    assert (await _checks(client))["scheduler"] == "late"


async def test_readiness_on_a_database_that_cannot_tell(client: httpx.AsyncClient, db: Connection) -> None:
    await db.execute("DROP VIEW api.job_runs")
    assert (await _checks(client))["scheduler"] == "unavailable"


@pytest.mark.makes_events
async def test_readiness_tells_how_far_the_relay_is_behind(client: httpx.AsyncClient, db: Connection) -> None:
    url = api("/public/health/ready")
    assert (await client.get(url)).json()["relay_lag_seconds"] == 0
    await db.execute("""
        INSERT INTO core.outbox (type, channels, payload, created_at)
        VALUES ('x', '{a}', '{}', clock_timestamp() - interval '1 minute')""")
    answer = await client.get(url)
    assert (answer.status_code, answer.json()["relay_lag_seconds"] >= 60) == (200, True)
    await db.execute("SELECT api.relay_events()")
    assert (await client.get(url)).json()["relay_lag_seconds"] == 0
