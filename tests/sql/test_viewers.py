"""Viewers: leases that beats renew, counted now and then, without a hot row."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.support.money import World, outcome_refusal, person, refused, without_rate
from tests.support.postgres import Connection

WATCH = "SELECT * FROM api.watch_streams($1::api.watch_beat[])"
COUNT = "SELECT api.count_viewers()"
NOTE = "SELECT core._note_viewer($1, $2, $3, clock_timestamp() + $4::text::interval)"


async def _stream(world: World, channel: str, visibility: str = "public", *, live: bool = True) -> UUID:
    stream: UUID = await world.db.fetchval(
        "SELECT stream_id FROM api.create_stream($1, 'Show', $2, $3, 10)", world.creator.id, channel, visibility
    )
    if live:
        await world.db.execute("SELECT api.start_stream($1)", stream)
    return stream


@pytest_asyncio.fixture
async def stream(world: World) -> UUID:
    """A public stream that is live."""
    return await _stream(world, "show")


async def _viewers(world: World, stream: UUID) -> tuple[int, int]:
    row = await world.db.fetchrow("SELECT viewers, peak_viewers FROM api.streams WHERE stream_id = $1", stream)
    assert row is not None
    return (row["viewers"], row["peak_viewers"])


async def _lapse(world: World, who: UUID) -> None:
    await world.db.execute("UPDATE core.viewers SET seen_until = now() - interval '1 second' WHERE user_id = $1", who)


async def _told(world: World) -> list[tuple[int, int]]:
    rows = await world.db.fetch("SELECT channels, payload FROM core.outbox WHERE type = 'stream.viewers' ORDER BY id")
    payloads = [json.loads(row["payload"]) for row in rows]
    assert [row["channels"] for row in rows] == [[f"stream:{payload['stream_id']}"] for payload in payloads]
    return [(payload["viewers"], payload["peak_viewers"]) for payload in payloads]


async def test_viewers_are_counted(world: World, app_conn: Connection, stream: UUID) -> None:
    rows = await app_conn.fetch(WATCH, [(world.alice.id, stream), (world.bob.id, stream), (world.alice.id, stream)])
    assert [(row["ord"], row["viewers"], row["error_code"]) for row in rows] == [(n, 0, None) for n in (1, 2, 3)]
    ahead = await world.db.fetchval("SELECT $1::timestamptz - clock_timestamp()", rows[0]["seen_until"])
    assert 0 < ahead.total_seconds() <= 45
    assert await _viewers(world, stream) == (0, 0)
    assert await app_conn.fetchval(COUNT) == 1
    assert await app_conn.fetchval(COUNT) == 0
    assert await _viewers(world, stream) == (2, 2)
    (row,) = await app_conn.fetch(WATCH, [(world.alice.id, stream)])
    assert row["viewers"] == 2
    await _lapse(world, world.bob.id)
    assert await app_conn.fetchval(COUNT) == 1
    assert await _viewers(world, stream) == (1, 2)
    assert await world.db.fetchval("SELECT count(*) FROM core.viewers") == 1
    await app_conn.fetch("SELECT api.end_stream($1)", stream)
    assert await app_conn.fetchval(COUNT) == 1
    assert await _viewers(world, stream) == (0, 2)
    assert await _told(world) == [(2, 2), (1, 2), (0, 2)]
    assert await app_conn.fetchval(COUNT) == 0


async def test_who_counts(world: World, app_conn: Connection, stream: UUID) -> None:
    private = await _stream(world, "private", "private")
    later = await _stream(world, "later", live=False)
    await app_conn.fetch("SELECT api.buy_ticket($1, $2)", world.bob.id, private)
    cases: list[tuple[UUID | None, UUID | None, str | None]] = [
        (world.alice.id, private, "NO_ACCESS_TO_STREAM"),
        (world.bob.id, private, None),
        (world.creator.id, private, None),
        (world.alice.id, later, "STREAM_NOT_LIVE"),
        (world.alice.id, NOBODY, "STREAM_NOT_FOUND"),
        (world.alice.id, None, "STREAM_NOT_FOUND"),
        (NOBODY, stream, "USER_NOT_FOUND"),
        (None, stream, "USER_NOT_FOUND"),
        (world.suspended.id, stream, "USER_SUSPENDED"),
    ]
    rows = await app_conn.fetch(WATCH, [(who, where) for who, where, _ in cases])
    for row, (_, _, slug) in zip(rows, cases, strict=True):
        told = outcome_refusal(row)
        assert (None if told is None else told.slug) == slug
        assert (row["seen_until"] is None) == (slug is not None)
    assert [row["user_id"] for row in await world.db.fetch("SELECT user_id FROM core.viewers")] == [world.bob.id]
    assert await app_conn.fetch(WATCH, []) == []
    assert (await refused(app_conn, WATCH, [(world.bob.id, stream)] * 2501)).slug == "BATCH_TOO_LARGE"
    await without_rate(world.db, "viewer_lease")
    assert (await refused(app_conn, WATCH, [(world.bob.id, stream)])).slug == "CONFIGURATION_ERROR"


async def test_what_a_media_server_saw(world: World, stream: UUID) -> None:
    async def leases() -> list[UUID]:
        return [row["user_id"] for row in await world.db.fetch("SELECT user_id FROM core.viewers ORDER BY user_id")]

    await world.db.execute(NOTE, stream, world.creator.id, True, "0")
    await world.db.execute(NOTE, NOBODY, world.alice.id, True, "0")
    await world.db.execute(NOTE, stream, world.alice.id, True, "-1 hour")
    assert await leases() == []
    await world.db.execute(NOTE, stream, world.alice.id, True, "1 hour")
    assert await world.db.fetchval("SELECT seen_until < now() + interval '1 minute' FROM core.viewers")
    await world.db.execute(NOTE, stream, world.alice.id, False, "-10 seconds")
    assert await leases() == [world.alice.id], "they came back after that"
    await world.db.execute(NOTE, stream, world.alice.id, False, "0")
    assert await leases() == []
    await world.db.execute(NOTE, stream, world.alice.id, False, "0")


async def test_counting_beside_beats(world: World, connect: Connect, stream: UUID) -> None:
    """Beats in any order, leases that lapse under them, two who count: no deadlock, and the end is exact."""
    other = await _stream(world, "other")
    fans = [await person(world.db, f"fan{n}") for n in range(10)]
    sessions = [await connect("app") for _ in range(4)]
    counters = [await connect("scheduler") for _ in range(2)]

    async def beat(conn: Connection, turn: int) -> None:
        for n in range(15):
            order = fans if (n + turn) % 2 else fans[::-1]
            rows = await conn.fetch(WATCH, [(fan.id, where) for fan in order for where in (stream, other)])
            assert not any(row["error_code"] for row in rows)

    async def count(conn: Connection) -> None:
        for _ in range(15):
            await conn.fetchval(COUNT)

    async def lapse() -> None:
        for _ in range(15):
            await world.db.execute(
                "UPDATE core.viewers SET seen_until = now() - interval '1 second' WHERE (stream_id, user_id) IN ("
                "SELECT v.stream_id, v.user_id FROM core.viewers AS v ORDER BY 1, 2 LIMIT 5 FOR UPDATE)"
            )

    await asyncio.gather(*(beat(conn, n) for n, conn in enumerate(sessions)), *(count(c) for c in counters), lapse())
    await sessions[0].fetch(WATCH, [(fan.id, where) for fan in fans for where in (stream, other)])
    await counters[0].fetchval(COUNT)
    assert [(await _viewers(world, where))[0] for where in (stream, other)] == [10, 10]
    assert (await _told(world))[-1][0] == 10


async def test_old_counters_of_messages_go(world: World, app_conn: Connection, stream: UUID) -> None:
    for who, age in ((world.alice, "59 minutes"), (world.bob, "61 minutes")):
        await world.db.execute(
            "INSERT INTO core.chat_counters VALUES ($1, $2, now() - $3::text::interval, 1)", stream, who.id, age
        )
    await app_conn.fetchval(COUNT)
    left: list[Any] = [row["user_id"] for row in await world.db.fetch("SELECT user_id FROM core.chat_counters")]
    assert left == [world.alice.id]


@pytest.mark.parametrize("limit", [None, -1, 0, 1])
async def test_at_most_so_many_leases_a_run(world: World, app_conn: Connection, stream: UUID, limit: Any) -> None:
    await app_conn.fetch(WATCH, [(world.alice.id, stream), (world.bob.id, stream)])
    for who in (world.alice, world.bob):
        await _lapse(world, who.id)
    await app_conn.fetchval("SELECT api.count_viewers($1)", limit)
    left = await world.db.fetchval("SELECT count(*) FROM core.viewers")
    assert left == (0 if limit is None else 1)
    assert await _viewers(world, stream) == (0, 0)
