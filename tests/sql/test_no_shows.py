"""Streams that never began: cancelled with every ticket given back, once, and one that is refused stops no other."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.conftest import Connect
from tests.support.money import (
    World,
    balance,
    outcome_refusal,
    raised,
    refused,
    set_fee,
    set_rate,
    set_status,
    without_rate,
    written,
)
from tests.support.postgres import Connection

NO_SHOWS = "SELECT * FROM api.cancel_no_shows($1)"
START = "SELECT * FROM api.start_stream($1)"


async def _stream(world: World, channel: str, *, ago: str | None = "2 days", price: int = 30) -> UUID:
    stream: UUID = await world.db.fetchval(
        "SELECT stream_id FROM api.create_stream($1, 'Show', $2, 'private', $3, NULL, now() - $4::text::interval)",
        world.creator.id,
        channel,
        price,
        ago,
    )
    return stream


async def _status(world: World, stream: UUID) -> str:
    row = await world.db.fetchrow("SELECT status, cancelled_at FROM api.streams WHERE stream_id = $1", stream)
    assert row is not None
    return "cancelled" if row["cancelled_at"] else str(row["status"])


@pytest.fixture
async def jobs(connect: Connect) -> Connection:
    """As the scheduler has it."""
    return await connect("scheduler")


async def test_what_never_began_is_cancelled_and_given_back(world: World, jobs: Connection) -> None:
    await set_fee(world.db, 1000)
    stream = await _stream(world, "late")
    for viewer in (world.alice, world.bob):
        await world.db.fetch("SELECT api.buy_ticket($1, $2)", viewer.id, stream)
    rows = await jobs.fetch(NO_SHOWS, 10)
    assert [tuple(row) for row in rows] == [(stream, world.creator.id, 2, None, None, None)]
    assert await _status(world, stream) == "cancelled"
    assert [await balance(world.db, who.wallet) for who in (world.alice, world.bob, world.creator)] == [100, 100, 0]
    assert await world.db.fetchval("SELECT count(*) FROM core.outbox WHERE type = 'stream.cancelled'") == 1
    act = await world.db.fetchrow("SELECT * FROM core.audit_log WHERE action = 'stream.cancelled'")
    assert act is not None
    assert (act["actor_id"], act["subject_id"], act["details"]) == (None, stream, '{"reason": "no show"}')
    assert await jobs.fetch(NO_SHOWS, 10) == []


async def test_what_is_no_no_show(world: World, jobs: Connection) -> None:
    streams = {
        "live": await _stream(world, "live"),
        "over": await _stream(world, "over"),
        "undated": await _stream(world, "undated", ago=None),
        "early": await _stream(world, "early", ago="23 hours"),
        "ahead": await _stream(world, "ahead", ago="-1 day"),
    }
    await world.db.fetch(START, streams["live"])
    await world.db.fetch(START, streams["over"])
    await world.db.fetch("SELECT api.end_stream($1)", streams["over"])
    assert await jobs.fetch(NO_SHOWS, 10) == []
    await set_rate(world.db, "stream_no_show", 3600, "seconds")
    rows = await jobs.fetch(NO_SHOWS, 10)
    assert [row["stream_id"] for row in rows] == [streams["early"]]
    await set_rate(world.db, "stream_no_show", 999_999_999_999, "seconds")
    assert await jobs.fetch(NO_SHOWS, 10) == []
    assert [await _status(world, stream) for stream in streams.values()] == [
        "live",
        "ended",
        "scheduled",
        "cancelled",
        "scheduled",
    ]


async def test_the_longest_due_first_and_as_many_as_asked_for(world: World, jobs: Connection) -> None:
    streams = [await _stream(world, f"s-{n}", ago=f"{n + 2} days", price=0) for n in range(5)]
    found = [[row["stream_id"] for row in await jobs.fetch(NO_SHOWS, limit)] for limit in (1, 3, 3, 1)]
    assert found == [streams[4:], streams[3:0:-1], streams[:1], []]


async def test_refused_alone_and_not_again_at_once(world: World, jobs: Connection) -> None:
    held, fine = await _stream(world, "held", ago="9 days"), await _stream(world, "fine")
    await world.db.fetch("SELECT api.buy_ticket($1, $2)", world.alice.id, held)
    await world.db.fetch("SELECT api.buy_ticket($1, $2)", world.bob.id, fine)
    await set_status(world.db, world.alice.wallet, "frozen")
    before = await written(world.db)
    (row,) = await jobs.fetch(NO_SHOWS, 1)
    found = outcome_refusal(row)
    assert found is not None
    assert (row["stream_id"], row["tickets"], found.code, found.slug) == (held, 0, "TS310", "WALLET_FROZEN")
    assert found.facts["wallet_id"] == str(world.alice.wallet)
    assert await written(world.db) == before
    assert await _status(world, held) == "scheduled"
    # it does not stand before the others
    assert [row["stream_id"] for row in await jobs.fetch(NO_SHOWS, 1)] == [fine]
    assert await jobs.fetch(NO_SHOWS, 1) == []
    await set_status(world.db, world.alice.wallet, "active")
    await world.db.execute("UPDATE core.streams SET cancel_refused_at = cancel_refused_at - interval '10 minutes'")
    assert [row["error"] for row in await jobs.fetch(NO_SHOWS, 1)] == [None]
    assert [await balance(world.db, who.wallet) for who in (world.alice, world.bob, world.creator)] == [100, 100, 0]


async def test_one_call_cancels_what_it_can(world: World, jobs: Connection) -> None:
    streams = [await _stream(world, f"s-{n}", ago=f"{9 - n} days") for n in range(3)]
    buyers = (world.bob, world.alice, world.bob)
    for viewer, stream in zip(buyers, streams, strict=True):
        await world.db.fetch("SELECT api.buy_ticket($1, $2)", viewer.id, stream)
    await set_status(world.db, world.alice.wallet, "closed")
    rows = await jobs.fetch(NO_SHOWS, 3)
    assert [row["error"] for row in rows] == [None, "WALLET_CLOSED", None]
    assert [await _status(world, stream) for stream in streams] == ["cancelled", "scheduled", "cancelled"]
    assert await balance(world.db, world.bob.wallet) == 100


async def test_a_balance_that_can_take_no_more(world: World, jobs: Connection) -> None:
    stream = await _stream(world, "s-1")
    await world.db.fetch("SELECT api.buy_ticket($1, $2)", world.alice.id, stream)
    async with world.db.transaction():
        await world.db.execute("SET LOCAL session_replication_role = replica")
        sql = "UPDATE core.wallets SET lifetime_earned = lifetime_earned + $2, lifetime_spent = lifetime_spent + $2"
        await world.db.execute(sql + " WHERE id = $1", world.alice.wallet, 9 * 10**18)
    (row,) = await jobs.fetch(NO_SHOWS, 1)
    assert row["error"] == "BALANCE_LIMIT"
    async with world.db.transaction():
        await world.db.execute("SET LOCAL session_replication_role = replica")
        sql = "UPDATE core.wallets SET lifetime_earned = lifetime_earned - $2, lifetime_spent = lifetime_spent - $2"
        await world.db.execute(sql + " WHERE id = $1", world.alice.wallet, 9 * 10**18)


async def test_raised(world: World, jobs: Connection) -> None:
    for limit in (0, -1, 101, None):
        found = await refused(jobs, NO_SHOWS, limit)
        assert (found.code, found.slug, found.facts["field"]) == ("TS101", "INVALID_REQUEST", "p_limit")
    await without_rate(world.db, "stream_no_show")
    found = await refused(jobs, NO_SHOWS, 1)
    assert (found.code, found.facts["rate"]) == ("TS801", "stream_no_show")


async def test_one_that_is_locked_is_passed_over(world: World, jobs: Connection, connect: Connect) -> None:
    first, second = await _stream(world, "first", ago="3 days"), await _stream(world, "second")
    other = await connect("app")
    async with other.transaction():
        await other.fetch(START, first)
        assert [row["stream_id"] for row in await jobs.fetch(NO_SHOWS, 5)] == [second]
    assert await jobs.fetch(NO_SHOWS, 5) == []
    assert await _status(world, first) == "live"


async def test_starting_beside_cancelling_has_one_winner(world: World, connect: Connect) -> None:
    """Whoever comes first: a stream is live with its tickets, or cancelled without."""
    schedulers = [await connect("scheduler") for _ in range(2)]
    starter = await connect("app")

    async def start(stream: UUID) -> str:
        try:
            await starter.fetch(START, stream)
        except asyncpg.PostgresError as error:
            return raised(error).slug
        return "live"

    seen: list[Any] = []
    for n in range(30):
        stream = await _stream(world, f"race-{n}", price=1)
        await world.db.fetch("SELECT api.buy_ticket($1, $2)", world.alice.id, stream)
        results: list[Any] = await asyncio.gather(start(stream), *(conn.fetch(NO_SHOWS, 1) for conn in schedulers))
        told, *rows = results
        cancelled = [row["stream_id"] for found in rows for row in found]
        status = await _status(world, stream)
        assert (status, told, cancelled) in (
            ("live", "live", []),
            ("cancelled", "STREAM_ENDED", [stream]),
        )
        given_back = await world.db.fetchval(
            "SELECT count(*) FROM core.tickets WHERE stream_id = $1 AND refunded_at IS NOT NULL", stream
        )
        assert given_back == (status == "cancelled")
        seen.append(status)
    assert await balance(world.db, world.alice.wallet) == 100 - seen.count("live")


async def test_many_streams_of_the_same_people_at_once_without_a_deadlock(world: World, connect: Connect) -> None:
    streams = [await _stream(world, f"s-{n}", price=1) for n in range(24)]
    for stream in streams:
        for viewer in (world.alice, world.bob):
            await world.db.fetch("SELECT api.buy_ticket($1, $2)", viewer.id, stream)
    schedulers = [await connect("scheduler") for _ in range(4)]

    async def work(conn: Connection) -> list[UUID]:
        mine: list[UUID] = []
        while rows := await conn.fetch(NO_SHOWS, 3):
            assert [row["error"] for row in rows] == [None] * len(rows)
            mine += [row["stream_id"] for row in rows]
        return mine

    done = [stream for mine in await asyncio.gather(*(work(conn) for conn in schedulers)) for stream in mine]
    assert sorted(done) == sorted(streams)
    assert [await balance(world.db, who.wallet) for who in (world.alice, world.bob)] == [100, 100]
