"""Chat: who may write, how often, who takes a message out; and bans."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.support.money import World, person, raised, refused, set_rate, without_rate
from tests.support.postgres import Connection

POST = "SELECT * FROM api.post_message($1, $2, $3, $4)"
READ = "SELECT * FROM api.stream_messages($1, $2, $3, $4)"
REMOVE = "SELECT api.remove_message($1, $2, $3)"
BAN = "SELECT api.ban_user($1, $2, $3)"
UNBAN = "SELECT api.unban_user($1, $2)"


async def _stream(world: World, channel: str, visibility: str = "public") -> UUID:
    stream: UUID = await world.db.fetchval(
        "SELECT stream_id FROM api.create_stream($1, 'Show', $2, $3, 10)", world.creator.id, channel, visibility
    )
    return stream


@pytest_asyncio.fixture
async def stream(world: World) -> UUID:
    """A public stream."""
    return await _stream(world, "show")


async def _events(world: World, kind: str) -> list[dict[str, Any]]:
    rows = await world.db.fetch("SELECT channels, payload FROM core.outbox WHERE type = $1 ORDER BY id", kind)
    return [json.loads(row["payload"]) | {"channels": row["channels"]} for row in rows]


async def test_a_message(world: World, app_conn: Connection, stream: UUID) -> None:
    row = await app_conn.fetchrow(POST, stream, world.alice.id, "Hëllo", None)
    assert row is not None
    assert row["replayed"] is False
    (read,) = await app_conn.fetch(READ, stream, world.bob.id, None, None)
    assert (read["message_id"], read["user_id"], read["username"], read["body"], read["created_at"]) == (
        row["message_id"],
        world.alice.id,
        "alice",
        "Hëllo",
        row["created_at"],
    )
    (event,) = await _events(world, "chat.message")
    assert event["channels"] == [f"stream:{stream}"]
    assert (event["message_id"], event["body"], event["username"]) == (str(row["message_id"]), "Hëllo", "alice")


async def test_who_may_write_and_read(world: World, app_conn: Connection, stream: UUID) -> None:
    private = await _stream(world, "private", "private")
    over = await _stream(world, "over")
    await world.db.execute("SELECT api.start_stream($1), api.end_stream($1)", over)
    cases: list[tuple[UUID | None, UUID | None, str | None, str | None, str]] = [
        (NOBODY, world.alice.id, "m", None, "STREAM_NOT_FOUND"),
        (None, world.alice.id, "m", None, "STREAM_NOT_FOUND"),
        (stream, NOBODY, "m", None, "USER_NOT_FOUND"),
        (stream, None, "m", None, "INVALID_REQUEST"),
        (stream, world.suspended.id, "m", None, "USER_SUSPENDED"),
        (private, world.alice.id, "m", None, "NO_ACCESS_TO_STREAM"),
        (over, world.alice.id, "m", None, "STREAM_ENDED"),
        (stream, world.alice.id, None, None, "INVALID_REQUEST"),
        (stream, world.alice.id, "", None, "INVALID_REQUEST"),
        (stream, world.alice.id, " \n ", None, "INVALID_REQUEST"),
        (stream, world.alice.id, "m" * 501, None, "INVALID_REQUEST"),
        (stream, world.alice.id, "m", "", "IDEMPOTENCY_KEY_INVALID"),
        (stream, world.alice.id, "m", "k" * 256, "IDEMPOTENCY_KEY_INVALID"),
    ]
    for where, who, body, key, slug in cases:
        assert (await refused(app_conn, POST, where, who, body, key)).slug == slug, slug
    found = await refused(app_conn, READ, private, world.alice.id, None, None)
    assert (found.code, found.slug, found.facts["reason"]) == ("TS506", "NO_ACCESS_TO_STREAM", "no_ticket")
    assert (await refused(app_conn, READ, NOBODY, world.alice.id, None, None)).slug == "STREAM_NOT_FOUND"
    assert (await refused(app_conn, READ, private, None, None, None)).slug == "NO_ACCESS_TO_STREAM"
    assert await world.db.fetchval("SELECT count(*) FROM core.messages") == 0
    assert await world.db.fetchval("SELECT count(*) FROM core.chat_counters") == 0
    await app_conn.fetch("SELECT api.buy_ticket($1, $2)", world.alice.id, private)
    for who in (world.alice.id, world.creator.id):
        await app_conn.fetch(POST, private, who, "m" * 500, None)
    assert len(await app_conn.fetch(READ, private, world.alice.id, None, None)) == 2
    assert await app_conn.fetch(READ, over, world.alice.id, None, None) == []


async def test_a_key_posts_once(world: World, app_conn: Connection, stream: UUID) -> None:
    await world.db.execute("SELECT api.set_rate('chat_messages_minute', 1)")
    first = await app_conn.fetchrow(POST, stream, world.alice.id, "once", "k")
    assert first is not None
    await app_conn.fetch(BAN, world.creator.id, world.alice.id, None)
    for _ in range(3):
        again = await app_conn.fetchrow(POST, stream, world.alice.id, "once", "k")
        assert again is not None
        assert dict(again) == dict(first) | {"replayed": True}
    assert (await refused(app_conn, POST, stream, world.alice.id, "twice", "k")).slug == "IDEMPOTENCY_KEY_REUSED"
    assert await world.db.fetchval("SELECT used FROM core.chat_counters") == 1
    assert len(await _events(world, "chat.message")) == 1


async def test_one_key_at_once(world: World, connect: Connect, stream: UUID) -> None:
    sessions = [await connect("app") for _ in range(6)]
    rows = await asyncio.gather(*(conn.fetchrow(POST, stream, world.alice.id, "once", "k") for conn in sessions))
    assert len({row["message_id"] for row in rows if row}) == 1
    assert sum(not row["replayed"] for row in rows if row) == 1
    assert await world.db.fetchval("SELECT used FROM core.chat_counters") == 1


async def test_as_often_as_the_rate_says(world: World, app_conn: Connection, stream: UUID) -> None:
    await world.db.execute("SELECT api.set_rate('chat_messages_minute', 2)")
    other = await _stream(world, "other")
    await _begin_minute(world, stream)
    for _ in range(2):
        await app_conn.fetch(POST, stream, world.alice.id, "m", None)
    found = await refused(app_conn, POST, stream, world.alice.id, "m", None)
    assert (found.code, found.slug, found.facts["maximum"]) == ("TS604", "CHAT_LIMIT", 2)
    assert found.facts["retry_after"] >= 1
    await app_conn.fetch(POST, other, world.alice.id, "m", None)
    await app_conn.fetch(POST, stream, world.bob.id, "m", None)
    await world.db.execute("UPDATE core.chat_counters SET since = since - interval '3 minutes'")
    await app_conn.fetch(POST, stream, world.alice.id, "m", None)
    await without_rate(world.db, "chat_messages_minute")
    assert (await refused(app_conn, POST, stream, world.alice.id, "m", None)).slug == "CONFIGURATION_ERROR"


async def _begin_minute(world: World, stream: UUID) -> None:
    """A counter of Alice's whose minute lasts longer than the test."""
    await world.db.execute(
        "INSERT INTO core.chat_counters"
        " VALUES ($1, $2, date_bin('1 minute', now() + interval '1 minute', '2000-01-01'), 0)",
        stream,
        world.alice.id,
    )


async def test_at_the_limit_two_at_once_are_one(world: World, connect: Connect, stream: UUID) -> None:
    await world.db.execute("SELECT api.set_rate('chat_messages_minute', 5)")
    await _begin_minute(world, stream)
    sessions = [await connect("app") for _ in range(8)]

    async def attempt(conn: Connection) -> str:
        try:
            await conn.fetch(POST, stream, world.alice.id, "m", None)
        except asyncpg.PostgresError as error:
            return raised(error).slug
        return "posted"

    told = await asyncio.gather(*(attempt(conn) for conn in sessions))
    assert sorted(told) == ["CHAT_LIMIT"] * 3 + ["posted"] * 5
    assert await world.db.fetchval("SELECT count(*) FROM core.messages") == 5


async def test_pages(world: World, app_conn: Connection, stream: UUID) -> None:
    ids = [await app_conn.fetchval(POST, stream, world.alice.id, f"m{n}", None) for n in range(5)]
    first = await app_conn.fetch(READ, stream, world.bob.id, None, 2)
    assert [row["body"] for row in first] == ["m4", "m3"]
    await app_conn.fetch(REMOVE, stream, ids[1], None)
    rest = await app_conn.fetch(READ, stream, world.bob.id, first[-1]["message_id"], 100)
    assert [row["body"] for row in rest] == ["m2", "m0"]


async def test_who_may_remove(world: World, app_conn: Connection, stream: UUID) -> None:
    moderator = await person(world.db, "moderator", roles=["moderator"])
    other = await _stream(world, "other")
    for who in (world.alice.id, world.creator.id, moderator.id, world.admin.id, None):
        message = await app_conn.fetchval(POST, stream, world.alice.id, "secret", None)
        found = await refused(app_conn, REMOVE, stream, message, world.bob.id)
        assert (found.slug, found.facts["required_role"]) == ("FORBIDDEN", "moderator")
        assert (await refused(app_conn, REMOVE, other, message, who)).slug == "MESSAGE_NOT_FOUND"
        assert await app_conn.fetchval(REMOVE, stream, message, who) is True
        assert await app_conn.fetchval(REMOVE, stream, message, who) is False
        row = await world.db.fetchrow("SELECT * FROM api.messages WHERE message_id = $1", message)
        assert row is not None
        assert (row["body"], row["removed_by"], row["removed_at"] is None) == (None, who, False)
    assert (await refused(app_conn, REMOVE, stream, NOBODY, None)).slug == "MESSAGE_NOT_FOUND"
    assert (await refused(app_conn, REMOVE, stream, message, NOBODY)).slug == "USER_NOT_FOUND"
    assert (await refused(app_conn, REMOVE, stream, message, world.suspended.id)).slug == "USER_SUSPENDED"
    events = await _events(world, "chat.message_removed")
    assert [event["channels"] for event in events] == [[f"stream:{stream}"]] * 5
    assert "secret" not in json.dumps(events)
    assert await app_conn.fetch(READ, stream, world.bob.id, None, None) == []


async def test_removed_once_by_two_at_once(world: World, connect: Connect, stream: UUID) -> None:
    message = await world.db.fetchval(POST, stream, world.alice.id, "m", None)
    sessions = [await connect("app") for _ in range(4)]
    told = await asyncio.gather(*(conn.fetchval(REMOVE, stream, message, None) for conn in sessions))
    assert sorted(told) == [False, False, False, True]
    assert len(await _events(world, "chat.message_removed")) == 1


async def test_a_ban(world: World, app_conn: Connection, stream: UUID) -> None:
    assert await app_conn.fetchval(BAN, world.creator.id, world.alice.id, "shouts") is True
    assert await app_conn.fetchval(BAN, world.creator.id, world.alice.id, "again") is False
    assert await app_conn.fetchval("SELECT reason FROM api.bans") == "shouts"
    found = await refused(app_conn, POST, stream, world.alice.id, "m", None)
    assert (found.code, found.slug, found.facts) == ("TS507", "BANNED", {"creator_id": str(world.creator.id)})
    await app_conn.fetch(POST, stream, world.bob.id, "m", None)
    assert len(await app_conn.fetch(READ, stream, world.alice.id, None, None)) == 1
    assert await app_conn.fetchval(UNBAN, world.creator.id, world.alice.id) is True
    assert await app_conn.fetchval(UNBAN, world.creator.id, world.alice.id) is False
    await app_conn.fetch(POST, stream, world.alice.id, "m", None)
    for kind in ("user.banned", "user.unbanned"):
        (event,) = await _events(world, kind)
        assert (event["channels"], event["user_id"]) == ([f"creator:{world.creator.id}"], str(world.alice.id))


async def test_bans_that_cannot_be(world: World, app_conn: Connection) -> None:
    cases: list[tuple[UUID | None, UUID | None, str | None, str]] = [
        (world.alice.id, world.bob.id, None, "CREATOR_NOT_FOUND"),
        (world.suspended.id, world.bob.id, None, "CREATOR_NOT_FOUND"),
        (None, world.bob.id, None, "CREATOR_NOT_FOUND"),
        (world.creator.id, world.creator.id, None, "SELF_BAN"),
        (world.creator.id, NOBODY, None, "USER_NOT_FOUND"),
        (world.creator.id, None, None, "USER_NOT_FOUND"),
        (world.creator.id, world.bob.id, " ", "INVALID_REQUEST"),
        (world.creator.id, world.bob.id, "r" * 256, "INVALID_REQUEST"),
    ]
    for creator, user, reason, slug in cases:
        assert (await refused(app_conn, BAN, creator, user, reason)).slug == slug
    assert await world.db.fetchval("SELECT count(*) FROM core.bans") == 0
    assert await app_conn.fetchval(UNBAN, world.creator.id, None) is False


async def test_banned_by_two_at_once_is_banned_once(world: World, connect: Connect) -> None:
    sessions = [await connect("app") for _ in range(4)]
    told = await asyncio.gather(*(conn.fetchval(BAN, world.creator.id, world.alice.id, None) for conn in sessions))
    assert sorted(told) == [False, False, False, True]
    assert len(await _events(world, "user.banned")) == 1


@pytest.mark.parametrize("level", ["repeatable_read", "serializable"])
async def test_an_old_snapshot_does_not_get_round_the_limit(
    world: World, connect: Connect, stream: UUID, level: Any
) -> None:
    await set_rate(world.db, "chat_messages_minute", 1, "count")
    await _begin_minute(world, stream)
    old, new = await connect("app"), await connect("app")
    async with new.transaction():
        pass
    transaction = old.transaction(isolation=level)
    await transaction.start()
    await old.fetchval("SELECT count(*) FROM api.messages")
    await new.fetch(POST, stream, world.alice.id, "m", None)
    with pytest.raises(asyncpg.SerializationError):
        await old.fetch(POST, stream, world.alice.id, "m", None)
    await transaction.rollback()
