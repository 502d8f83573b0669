"""Each job, with the rights of the scheduler, on a real database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from app.settings import Settings
from scheduler.jobs import relay_events
from scheduler.jobs.prune_sessions import BATCH
from scheduler.metrics import (
    JOB_ITEMS,
    JOB_LAG,
    LEDGER_VIOLATIONS,
    METER_BLOCKS,
    NO_SHOWS,
    RELAY_BACKLOG,
    RELAY_EVENTS,
    RELAY_LAG,
)
from scheduler.process import Runner
from scheduler.registry import JobContext, all_jobs
from tests.support.calls import ACCEPT, OPEN, ask_for, elapse, one
from tests.support.money import balance, lapse, person, set_status, unguarded
from tests.support.postgres import Clone, Connection

JOBS = {job.name: job for job in all_jobs()}


@pytest_asyncio.fixture
async def runner(database: Clone) -> AsyncIterator[Runner]:
    """Runs jobs as tessera_scheduler."""
    pool = await asyncpg.create_pool(database.url("scheduler"), min_size=1, max_size=2)
    yield Runner(JobContext(pool, Settings()))
    await pool.close()


def _items(name: str) -> float:
    value: float = JOB_ITEMS.labels(name)._value.get()
    return value


async def test_every_job_runs_on_an_empty_ledger(runner: Runner) -> None:
    assert sorted(JOBS) == [
        "audit-ledger",
        "cancel-no-shows",
        "close-rooms",
        "count-viewers",
        "expire-holds",
        "fan-webhooks",
        "keep-channel-events",
        "make-partitions",
        "meter-calls",
        "prune-live-events",
        "prune-sessions",
        "prune-webhooks",
        "relay-events",
        "seal-entries",
        "send-webhooks",
        "verify-seals",
    ]
    assert [await runner.run(job) for job in JOBS.values()] == [True] * len(JOBS)
    assert all(job.summary for job in JOBS.values())


async def test_expired_holds_are_closed(runner: Runner, db: Connection) -> None:
    someone = await person(db, "someone", tokens=100)
    holds: list[UUID] = [
        await db.fetchval("SELECT hold_id FROM api.place_hold($1, 10, $2)", someone.wallet, timedelta(hours=1))
        for _ in range(3)
    ]
    for hold in holds[:2]:
        await lapse(db, hold)
    before = _items("expire-holds")
    assert await runner.run(JOBS["expire-holds"])
    assert _items("expire-holds") - before == 2
    assert await db.fetchval("SELECT held FROM core.wallets WHERE id = $1", someone.wallet) == 10
    assert JOB_LAG.labels("expire-holds")._value.get() == 0
    assert await db.fetchval("SELECT api.hold_lag()") is None
    await lapse(db, holds[2])
    assert await db.fetchval("SELECT api.hold_lag()") > timedelta(0)


async def test_events_are_relayed(runner: Runner, db: Connection) -> None:
    someone = await person(db, "someone", tokens=100)
    before, relayed = _items("relay-events"), RELAY_EVENTS._value.get()
    assert await runner.run(JOBS["relay-events"])
    events = await db.fetchval("SELECT count(*) FROM core.outbox")
    assert events > 0
    assert (_items("relay-events") - before, RELAY_EVENTS._value.get() - relayed) == (events, events)
    assert await db.fetchval("SELECT seq FROM api.channel_position('user:' || $1::text)", str(someone.id)) > 0
    assert (RELAY_LAG._value.get(), RELAY_BACKLOG._value.get()) == (0, 0)
    assert JOB_LAG.labels("relay-events")._value.get() == 0
    # the connection went back as it was
    assert await runner.run(JOBS["keep-channel-events"])


@pytest.mark.makes_events
async def test_a_hint_wakes_the_relay(runner: Runner, db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one it would look again in an hour."""
    monkeypatch.setattr(relay_events, "POLL_SECONDS", 3600)
    monkeypatch.setattr(relay_events, "TURN_SECONDS", 20)
    turn = asyncio.create_task(runner.run(JOBS["relay-events"]))
    for number in range(1, 4):
        await db.execute("INSERT INTO core.outbox (type, channels, payload) VALUES ('x', '{a}', '{}')")
        for _ in range(1000):
            await db.execute("SELECT pg_notify('tessera_outbox', '')")
            if await db.fetchval("SELECT seq FROM api.channel_position('a')") == number:
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError("the hint was not heard")
    await runner.finish(0)
    with suppress(asyncio.CancelledError):
        await turn


async def test_due_calls_are_metered(runner: Runner, db: Connection) -> None:
    calls = []
    for number, tokens in enumerate((100, 100, 10)):
        fan = await person(db, f"fan{number}", tokens=tokens)
        creator = await person(db, f"star{number}", roles=["creator"])
        await ask_for(db, creator, 20)
        call = (await one(db, OPEN, fan.id, creator.id, None))["call_id"]
        await one(db, ACCEPT, call, creator.id)
        calls.append(call)
    for call in (calls[0], calls[2]):
        await elapse(db, call, 40)
    assert await db.fetchval("SELECT api.meter_lag()") > timedelta(seconds=5)
    counters = [METER_BLOCKS.labels(outcome) for outcome in ("paid", "refused")]
    before = [counter._value.get() for counter in counters]
    assert await runner.run(JOBS["meter-calls"])
    assert [counter._value.get() for counter in counters] == [before[0] + 1, before[1] + 1]
    assert timedelta(seconds=-30) < await db.fetchval("SELECT api.meter_lag()") < timedelta(0)
    assert JOB_LAG.labels("meter-calls")._value.get() == 0
    rows = await db.fetch("SELECT status, blocks FROM api.calls ORDER BY call_id")
    assert [tuple(row) for row in rows] == [("active", 2), ("active", 1), ("ended", 1)]


async def test_no_shows_are_cancelled_and_one_that_is_refused_stops_none(runner: Runner, db: Connection) -> None:
    fan = await person(db, "fan", tokens=100)
    creators = [await person(db, f"creator{n}", roles=["creator"]) for n in range(3)]
    streams = []
    for creator in creators:
        stream = await db.fetchval(
            "SELECT stream_id FROM api.create_stream($1, 'Show', $2, 'private', 10, NULL, now() - interval '2 days')",
            creator.id,
            f"show-{creator.id}",
        )
        await db.execute("SELECT api.buy_ticket($1, $2)", fan.id, stream)
        streams.append(stream)
    await set_status(db, creators[0].wallet, "frozen")
    before = [NO_SHOWS.labels(outcome)._value.get() for outcome in ("cancelled", "refused")]
    for _ in range(2):
        assert await runner.run(JOBS["cancel-no-shows"])
        after = [NO_SHOWS.labels(outcome)._value.get() for outcome in ("cancelled", "refused")]
        assert [b - a for a, b in zip(before, after, strict=True)] == [2, 1]
    states = await db.fetch("SELECT status FROM api.streams ORDER BY array_position($1, stream_id)", streams)
    assert [row["status"] for row in states] == ["scheduled", "ended", "ended"]
    assert await balance(db, fan.wallet) == 90


async def test_old_sessions_and_attempts_go_and_young_ones_stay(runner: Runner, db: Connection) -> None:
    someone = await person(db, "someone")
    await db.execute(
        """
        INSERT INTO core.sessions (user_id, expires_at)
        SELECT $1, now() - make_interval(days => CASE WHEN g <= $2 THEN 31 ELSE 29 END)
        FROM generate_series(1, $2 + 2) AS g
        """,
        someone.id,
        BATCH + 5,
    )
    await db.execute(
        """
        INSERT INTO core.refresh_tokens (token_hash, session_id)
        SELECT sha256(s.id::text::bytea), s.id FROM core.sessions AS s
        """
    )
    await db.execute(
        """
        INSERT INTO core.login_attempts (account_hash, address, attempts, since)
        SELECT sha256('a'), 'address ' || g, 1, now() - make_interval(hours => g * 20) FROM generate_series(0, 3) AS g
        """
    )
    assert await runner.run(JOBS["prune-sessions"])
    assert await db.fetchval("SELECT count(*) FROM core.sessions") == 2
    assert await db.fetchval("SELECT count(*) FROM core.refresh_tokens") == 2
    assert await db.fetchval("SELECT count(*) FROM core.login_attempts") == 2


@pytest.mark.breaks_ledger
async def test_a_broken_invariant_is_a_metric(runner: Runner, db: Connection) -> None:
    someone = await person(db, "someone", tokens=10)
    assert await runner.run(JOBS["audit-ledger"])
    assert LEDGER_VIOLATIONS._value.get() == 0
    async with unguarded(db):
        await db.execute("UPDATE core.wallets SET lifetime_spent = lifetime_spent + 1 WHERE id = $1", someone.wallet)
        await db.execute(
            "UPDATE core.audits"
            " SET finished_at = now() - interval '1 minute', started_at = now() - interval '8 minutes'"
        )
    assert await runner.run(JOBS["audit-ledger"])
    assert LEDGER_VIOLATIONS._value.get() == 0, "it took 7 minutes, so it is not its turn yet"
    await db.execute("DELETE FROM core.audits")
    assert await runner.run(JOBS["audit-ledger"])
    assert LEDGER_VIOLATIONS._value.get() == 1
    kept = await db.fetchrow("SELECT violations, found FROM api.audits ORDER BY audit_id DESC LIMIT 1")
    assert kept is not None
    assert (kept["violations"], json.loads(kept["found"])[0]["rule"]) == (1, "lifetime_is_sum_of_entries")

    await db.execute("UPDATE core.audits SET started_at = finished_at - interval '7 minutes'")
    LEDGER_VIOLATIONS.set(0)
    assert await runner.run(JOBS["audit-ledger"])
    assert LEDGER_VIOLATIONS._value.get() == 1, "of a scheduler that was started meanwhile"
    await db.execute("DELETE FROM core.audits WHERE violations = 0")
    await db.execute(
        "UPDATE core.audits SET violations = 0, finished_at = now() + interval '1 day', started_at = now()"
    )
    assert await runner.run(JOBS["audit-ledger"])
    assert LEDGER_VIOLATIONS._value.get() == 1, "a clock that was ahead then does not put it off"


async def test_long_work_has_no_limit_but_the_jobs_own(database: Clone) -> None:
    pool = await asyncpg.create_pool(
        database.url("scheduler"), min_size=1, max_size=2, server_settings={"statement_timeout": "1min"}
    )
    try:
        async with JobContext(pool, Settings()).unhurried() as connection:
            assert await connection.fetchval("SHOW statement_timeout") == "0"
            assert await pool.fetchval("SHOW statement_timeout") == "1min"
        assert await pool.fetchval("SHOW statement_timeout") == "1min"
    finally:
        await pool.close()
