"""The work of webhooks costs what it is about, however many endpoints and deliveries there are."""

from __future__ import annotations

import time

import pytest

from tests.conftest import Connect
from tests.support.money import person
from tests.support.postgres import Connection
from tests.support.webhooks import FAN, endpoint, put, relay

pytestmark = pytest.mark.makes_events

USERS, BACKLOG, HISTORY = 2_000, 20_000, 20_000
LEASE = "SELECT * FROM api.lease_webhooks(20)"
FINISH = "SELECT api.finish_webhook($1, $2, 200, NULL, 7)"
LAG = "SELECT * FROM api.webhook_lag()"
PRUNE = "SELECT api.prune_webhooks(100)"
ENDPOINTS = "SELECT * FROM api.webhook_endpoints AS e WHERE e.user_id = $1 ORDER BY e.endpoint_id DESC LIMIT 51"
DELIVERIES = """
    SELECT * FROM api.webhook_deliveries AS d
    WHERE d.endpoint_id = $1 AND d.delivery_id < 'ffffffff-ffff-ffff-ffff-ffffffffffff'{}
    ORDER BY d.delivery_id DESC LIMIT 51"""
ONE = "SELECT * FROM api.webhook_deliveries AS d WHERE d.delivery_id = $1"
TRIES = "SELECT * FROM api.webhook_attempts AS a WHERE a.delivery_id = $1 ORDER BY a.attempt DESC LIMIT 100"
GROW = """
    INSERT INTO core.users (email, username, display_name)
    SELECT 'u' || n || '@example.org', 'u' || n, 'U' FROM generate_series(1, $1::integer) AS n"""
ENDPOINT = """
    SELECT api.create_webhook_endpoint(u.id, 'https://example.com/', '{*}') FROM core.users AS u
    WHERE u.username LIKE 'u%'"""
MANY = """
    INSERT INTO core.webhook_deliveries (endpoint_id, event_id, type, payload, event_at, due_at, status, ended_at)
    SELECT $1, -n, 'x.y', '{}', now(), now() - interval '1 hour', $3, CASE WHEN $3 <> 'pending' THEN now() END
    FROM generate_series(1, $2::integer) AS n"""
MANY_TRIES = """
    INSERT INTO core.webhook_attempts (delivery_id, attempt, started_at)
    SELECT d.id, 1, now() FROM core.webhook_deliveries AS d WHERE d.status = 'delivered'"""


async def counters(session: Connection, observer: Connection) -> dict[str, tuple[int, int]]:
    """Of each table: scans from end to end, rows read."""
    for conn in (session, observer):
        await conn.execute("SELECT pg_stat_force_next_flush()")
    rows = await observer.fetch("""
        SELECT s.relname, coalesce(s.seq_scan, 0) AS scans,
            coalesce(s.seq_tup_read, 0) + coalesce(s.idx_tup_fetch, 0) AS rows
        FROM pg_stat_user_tables AS s
        WHERE s.schemaname = 'core' AND (s.relname LIKE 'webhook%' OR s.relname IN ('users', 'channels'))""")
    return {row["relname"]: (row["scans"], row["rows"]) for row in rows}


async def test_no_scans_however_much_there_is(connect: Connect, db: Connection) -> None:
    session = await connect("scheduler")
    await relay(db)
    tarpit = await person(db, "tarpit")
    await relay(db)
    slow, _ = await endpoint(db, tarpit.id, "https://example.com/")
    # plans that are kept were made while there was nothing
    for _ in range(8):
        for sql, args in ((FAN, (None, 200, 100)), (LEASE, ()), (LAG, ()), (PRUNE, ())):
            await session.fetch(sql, *args)
    await db.execute(GROW, USERS)
    await db.execute(ENDPOINT)
    await db.execute(MANY, slow, BACKLOG, "pending")
    quick = await db.fetchrow("SELECT endpoint_id, user_id FROM api.webhook_endpoints WHERE endpoint_id <> $1", slow)
    assert quick is not None
    await db.execute(MANY, quick["endpoint_id"], HISTORY, "delivered")
    await db.execute(MANY_TRIES)
    await db.execute("UPDATE core.webhook_queues SET next_at = now() WHERE endpoint_id = $1", slow)
    await put(db, quick["user_id"], *["x.y"] * 10, both=True)
    await relay(db)
    delivery = await db.fetchval("SELECT delivery_id FROM api.webhook_deliveries WHERE status = 'delivered' LIMIT 1")

    async def costs(sql: str, *args: object) -> int:
        before = await counters(session, db)
        started = time.perf_counter()
        await session.fetch(sql, *args)
        print(sql[:60].strip(), round((time.perf_counter() - started) * 1000, 1), "ms")
        after = await counters(session, db)
        scanned = {name for name in after if after[name][0] > before[name][0]}
        assert scanned == set(), sql
        return sum(after[name][1] - before[name][1] for name in after)

    # a look at every position, with its channel where it has one
    assert await costs(FAN, None, 200, 100) < 10 * USERS
    assert await costs(LEASE) < 300
    assert await costs(LEASE) < 300
    leased = await db.fetch("SELECT id, attempts FROM core.webhook_deliveries WHERE leased_until IS NOT NULL")
    assert len(leased) == 10
    for row in leased:
        assert await costs(FINISH, row["id"], row["attempts"]) < 20
    assert await costs(LAG) <= 10_100
    assert await costs(PRUNE) < 20
    await db.execute("ANALYZE")  # as autovacuum has by then
    assert await costs(ENDPOINTS, quick["user_id"]) < 30
    for status in ("", " AND d.status = 'dead'", " AND d.status = 'delivered'"):
        assert await costs(DELIVERIES.format(status), quick["endpoint_id"]) < 200
    assert await costs(DELIVERIES.format(" AND d.status = 'dead'"), slow) < 200
    assert await costs(DELIVERIES.format(" AND d.status = 'delivered'"), slow) < 200
    assert await costs(DELIVERIES.format(" AND d.status = 'pending'"), quick["endpoint_id"]) < 200
    assert await costs(ONE, delivery) < 10
    assert await costs(TRIES, delivery) < 10
