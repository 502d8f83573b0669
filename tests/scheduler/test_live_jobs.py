"""Rooms of LiveKit whose stream or call is over are closed; what was told long ago goes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from uuid import UUID, uuid4

import asyncpg
import pytest_asyncio

from app.settings import Settings
from scheduler.jobs.close_rooms import BATCH, FAILURES
from scheduler.metrics import JOB_LAG
from scheduler.process import Runner
from scheduler.registry import JobContext, all_jobs
from tests.support.livekit import FakeLiveKit, fake_livekit
from tests.support.money import person
from tests.support.postgres import Clone, Connection

JOBS = {job.name: job for job in all_jobs()}
OPEN = "SELECT room FROM api.live_rooms WHERE closed_at IS NULL ORDER BY opened_at"


@pytest_asyncio.fixture
async def livekit() -> AsyncIterator[FakeLiveKit]:
    """A LiveKit."""
    async with fake_livekit() as found:
        yield found


@pytest_asyncio.fixture
async def scheduler(database: Clone) -> AsyncIterator[Callable[[Settings], Runner]]:
    """A runner of jobs with these settings."""
    pool = await asyncpg.create_pool(database.url("scheduler"), min_size=1, max_size=2)
    yield lambda settings: Runner(JobContext(pool, settings))
    await pool.close()


async def rooms(db: Connection, count: int) -> list[str]:
    """Rooms of live streams, with the creator in them."""
    creator = await person(db, "creator", roles=["creator"])
    made: list[str] = []
    for number in range(count):
        stream: UUID = await db.fetchval(
            "SELECT stream_id FROM api.create_stream($1, 'Show', $2)", creator.id, f"show-{number}"
        )
        await db.execute("SELECT api.start_stream($1)", stream)
        made.append(await db.fetchval("SELECT room FROM api.enter_room('stream', $1, $2)", stream, creator.id))
    return made


async def end(db: Connection, *which: str) -> None:
    """These streams end, however."""
    for room in which:
        await db.execute("SELECT api.end_stream($1)", UUID(room.removeprefix("stream-")))


async def due(db: Connection) -> list[str]:
    """Rooms that are open."""
    return [row["room"] for row in await db.fetch(OPEN)]


async def test_what_is_over_is_closed_once(
    scheduler: Callable[[Settings], Runner], db: Connection, livekit: FakeLiveKit
) -> None:
    runner, (first, second) = scheduler(livekit.settings(Settings())), await rooms(db, 2)
    await end(db, first)
    for _ in range(2):
        assert await runner.run(JOBS["close-rooms"])
        assert (livekit.deleted, await due(db)) == ([first], [second])
    # somebody came back with a token that was still good
    event = "SELECT api.note_live_event('EV_1', 'participant_joined', $1, $2)"
    assert await db.fetchval(event, first, str(uuid4())) == "over"
    assert await runner.run(JOBS["close-rooms"])
    assert (livekit.deleted, await due(db)) == ([first, first], [second])


async def test_while_livekit_is_away_rooms_stay_due(
    scheduler: Callable[[Settings], Runner], db: Connection, livekit: FakeLiveKit
) -> None:
    made = await rooms(db, FAILURES + 1)
    await end(db, *made)
    livekit.answers = [(503, {"code": "unavailable", "msg": "later"})] * FAILURES
    runner = scheduler(livekit.settings(Settings()))
    assert not await runner.run(JOBS["close-rooms"])
    assert (livekit.deleted, await due(db)) == ([], made), "it is not asked any further"
    # there is no such room any more, and one that it cannot close stops no other
    livekit.answers = [(404, {"code": "not_found", "msg": "none"}), (500, {"code": "internal", "msg": "no"})]
    assert not await runner.run(JOBS["close-rooms"])
    assert (livekit.deleted, await due(db)) == (made[2:], made[1:2])
    assert await runner.run(JOBS["close-rooms"])
    assert await due(db) == []


async def test_without_livekit_nothing_fails(scheduler: Callable[[Settings], Runner], db: Connection) -> None:
    made = await rooms(db, 1)
    await end(db, *made)
    assert await scheduler(Settings()).run(JOBS["close-rooms"])
    assert await due(db) == made
    assert JOB_LAG.labels("close-rooms")._value.get() > 0


async def test_a_run_is_bounded(scheduler: Callable[[Settings], Runner], db: Connection, livekit: FakeLiveKit) -> None:
    await db.execute(
        "INSERT INTO core.live_rooms (id, kind, reopened_at)"
        " SELECT gen_random_uuid(), 'call', now() FROM generate_series(1, $1)",
        BATCH + 5,
    )
    runner = scheduler(livekit.settings(Settings()))
    for closed in (BATCH, BATCH + 5):
        assert await runner.run(JOBS["close-rooms"])
        assert len(livekit.deleted) == closed
    assert await due(db) == []


async def test_old_events_and_rooms_go(scheduler: Callable[[Settings], Runner], db: Connection) -> None:
    await db.execute(
        """
        INSERT INTO core.live_events (id, event, room, created_at, received_at)
        SELECT 'EV_' || g, 'room_finished', 'call-', now(), now() - make_interval(days => g)
        FROM generate_series(29, 31) AS g
        """
    )
    await db.execute(
        """
        INSERT INTO core.live_rooms (id, kind, opened_at, closed_at)
        SELECT
            lpad(g::text, 32, '0')::uuid, 'call', now() - interval '90 days',
            CASE WHEN g > 28 THEN now() - make_interval(days => g) END
        FROM generate_series(28, 31) AS g
        """
    )
    assert await scheduler(Settings()).run(JOBS["prune-live-events"])
    assert [row["id"] for row in await db.fetch("SELECT id FROM core.live_events ORDER BY id")] == ["EV_29"]
    assert await db.fetchval("SELECT count(*) FROM core.live_rooms") == 2
