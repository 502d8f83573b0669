"""Rooms of LiveKit in SQL: who may enter, and events that come late, again, reordered, at once."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.support.calls import ACCEPT, END, OPEN, ask_for, elapse, one
from tests.support.money import World, refused, without_rate
from tests.support.postgres import Connection

ENTER = "SELECT * FROM api.enter_room($1, $2, $3)"
NOTE = "SELECT api.note_live_event($1, $2, $3, $4, $5)"


@pytest_asyncio.fixture
async def call(world: World, app_conn: Connection) -> UUID:
    """Alice calls the creator, who has answered a minute ago; both have been heard of since then once."""
    await ask_for(world.db, world.creator, 20)
    found: UUID = (await one(app_conn, OPEN, world.alice.id, world.creator.id, "k"))["call_id"]
    await app_conn.fetch(ACCEPT, found, world.creator.id)
    await elapse(world.db, found, 60, seen=False)
    return found


@pytest_asyncio.fixture
async def stream(world: World, app_conn: Connection) -> UUID:
    """A private stream of the creator's, which is live; Alice has a ticket."""
    made = "SELECT stream_id FROM api.create_stream($1, 'Show', 'show', 'private', 10)"
    found: UUID = await app_conn.fetchval(made, world.creator.id)
    await app_conn.fetch("SELECT api.buy_ticket($1, $2)", world.alice.id, found)
    await app_conn.fetch("SELECT api.start_stream($1)", found)
    return found


async def ago(db: Connection, seconds: float) -> datetime:
    """A moment of the database's."""
    now: datetime = await db.fetchval("SELECT clock_timestamp()")
    return now - timedelta(seconds=seconds)


async def left(db: Connection, call: UUID) -> tuple[Any, Any]:
    """When each of the two left, as far as is known."""
    return tuple(await one(db, "SELECT fan_left_at, creator_left_at FROM core.call_clocks WHERE call_id = $1", call))


async def test_places(world: World, app_conn: Connection, call: UUID, stream: UUID) -> None:
    name = await world.db.fetchval("SELECT display_name FROM core.users WHERE id = $1", world.alice.id)
    for _ in range(2):
        assert tuple(await one(app_conn, ENTER, "stream", stream, world.alice.id)) == (f"stream-{stream}", name, False)
        assert tuple(await one(app_conn, ENTER, "call", call, world.alice.id)) == (f"call-{call}", name, True)
    for kind, subject in (("stream", stream), ("call", call)):
        assert (await one(app_conn, ENTER, kind, subject, world.creator.id))["publishes"] is True
    rooms = await app_conn.fetch("SELECT room, over_since, closed_at FROM api.live_rooms ORDER BY kind")
    assert [tuple(row) for row in rooms] == [(f"call-{call}", None, None), (f"stream-{stream}", None, None)]


async def test_nobody_enters_without_a_right(world: World, app_conn: Connection, call: UUID, stream: UUID) -> None:
    ringing = (await one(app_conn, OPEN, world.bob.id, await _creator(world), "k"))["call_id"]
    cases: list[tuple[str | None, UUID | None, UUID | None, str]] = [
        ("stream", stream, world.bob.id, "NO_ACCESS_TO_STREAM"),
        ("stream", UUID(str(NOBODY)), world.alice.id, "STREAM_NOT_FOUND"),
        ("stream", None, world.alice.id, "STREAM_NOT_FOUND"),
        ("stream", call, world.alice.id, "STREAM_NOT_FOUND"),
        ("call", stream, world.alice.id, "CALL_NOT_FOUND"),
        ("call", None, world.alice.id, "CALL_NOT_FOUND"),
        ("call", call, world.bob.id, "NOT_CALL_PARTICIPANT"),
        ("call", ringing, world.bob.id, "CALL_NOT_ACTIVE"),
        ("stream", stream, None, "USER_NOT_FOUND"),
        ("stream", stream, UUID(str(NOBODY)), "USER_NOT_FOUND"),
        ("stream", stream, world.suspended.id, "USER_SUSPENDED"),
        ("house", stream, world.alice.id, "INVALID_REQUEST"),
        (None, stream, world.alice.id, "INVALID_REQUEST"),
    ]
    for kind, subject, who, slug in cases:
        assert (await refused(app_conn, ENTER, kind, subject, who)).slug == slug, (kind, slug)
    await app_conn.fetch("SELECT api.end_stream($1)", stream)
    await app_conn.fetch(END, call, world.alice.id)
    assert (await refused(app_conn, ENTER, "stream", stream, world.creator.id)).slug == "STREAM_ENDED"
    assert (await refused(app_conn, ENTER, "call", call, world.alice.id)).slug == "CALL_ENDED"
    assert await app_conn.fetch("SELECT * FROM api.live_rooms") == []


async def _creator(world: World) -> UUID:
    """Another creator, whom one may call."""
    made: UUID = await world.db.fetchval(
        "SELECT user_id FROM api.register_user('c2@example.com', 'c2', 'c2', 'x')",
    )
    await world.db.execute("UPDATE core.users SET roles = '{creator}' WHERE id = $1", made)
    await ask_for(world.db, made, 20)
    return made


async def test_an_event_again_changes_nothing(world: World, app_conn: Connection, call: UUID) -> None:
    gone = ("EV_1", "participant_left", f"call-{call}", str(world.alice.id), await ago(world.db, 5))
    assert await app_conn.fetchval(NOTE, *gone) == "applied"
    noted = await left(world.db, call)
    assert noted == (gone[4], None)
    back = ("EV_2", "participant_joined", f"call-{call}", str(world.alice.id), await ago(world.db, 3))
    assert await app_conn.fetchval(NOTE, *back) == "applied"
    for _ in range(2):
        assert await app_conn.fetchval(NOTE, *gone) == "repeated"
    # the id decides, whatever else is said
    assert await app_conn.fetchval(NOTE, "EV_1", "room_finished", f"call-{call}", None, None) == "repeated"
    assert await left(world.db, call) == noted
    clock = await one(
        world.db, "SELECT fan_seen_at > fan_left_at AS back FROM core.call_clocks WHERE call_id = $1", call
    )
    assert clock["back"]


async def test_any_order_tells_the_same(world: World, app_conn: Connection, call: UUID) -> None:
    joined = ("participant_joined", await ago(world.db, 5))
    gone = ("participant_left", await ago(world.db, 10))
    for number, (name, at) in enumerate((joined, gone)):
        await app_conn.fetch(NOTE, f"EV_{number}", name, f"call-{call}", str(world.alice.id), at)
    assert await left(world.db, call) == (None, None)


async def test_a_room_that_is_closed_has_nobody_in_it(world: World, app_conn: Connection, call: UUID) -> None:
    before = await world.db.fetchval("SELECT count(*) FROM core.transfers")
    assert await app_conn.fetchval(NOTE, "EV_1", "room_finished", f"call-{call}", None, None) == "applied"
    assert None not in await left(world.db, call)
    assert await world.db.fetchval("SELECT count(*) FROM core.transfers") == before


async def test_times_that_cannot_be(world: World, app_conn: Connection, call: UUID) -> None:
    ahead = await ago(world.db, -10_000)
    cases: list[datetime | None] = [ahead, None]
    for number, at in enumerate(cases):
        event = (f"EV_{number}", "participant_joined", f"call-{call}", str(world.creator.id), at)
        assert await app_conn.fetchval(NOTE, *event) == "applied"
    for end_of_time in ("infinity", "-infinity"):
        await world.db.execute(
            f"SELECT api.note_live_event('EV_{end_of_time}', 'participant_joined', $1, $2, '{end_of_time}')",
            f"call-{call}",
            str(world.alice.id),
        )
    assert await world.db.fetchval("SELECT max(created_at) <= clock_timestamp() FROM core.live_events")
    clock = await one(
        world.db,
        "SELECT greatest(fan_seen_at, creator_seen_at) <= clock_timestamp() AS past FROM core.call_clocks"
        " WHERE call_id = $1",
        call,
    )
    assert clock["past"]


IGNORED: list[tuple[str | None, str | None, str | None]] = [
    ("participant_left", "lobby", "alice"),
    ("participant_left", None, "alice"),
    ("participant_left", f"call-{NOBODY}", "alice"),
    ("participant_left", f"stream-{NOBODY}", "alice"),
    ("participant_left", "call", "bob"),
    ("participant_left", "call", "EG_1"),
    ("participant_left", "call", ""),
    ("participant_left", "call", None),
    ("participant_left", "call+", "alice"),
    ("room_started", "call", None),
    ("track_published", "call", "alice"),
    ("", "call", "alice"),
    (None, "call", "alice"),
]


@pytest.mark.parametrize(("event", "room", "who"), IGNORED, ids=str)
async def test_what_tells_nothing(
    world: World, app_conn: Connection, call: UUID, event: str | None, room: str | None, who: str | None
) -> None:
    people = {"alice": str(world.alice.id), "bob": str(world.bob.id)}
    names = {"call": f"call-{call}", "call+": f"call-{call}\n"}
    identity = people.get(who, who) if who is not None else None
    where = names.get(room, room) if room is not None else None
    assert await app_conn.fetchval(NOTE, "EV_1", event, where, identity, None) == "ignored"
    assert await left(world.db, call) == (None, None)


async def test_events_that_are_refused(world: World, app_conn: Connection, call: UUID) -> None:
    for wrong in ("", "x" * 256, None):
        found = await refused(app_conn, NOTE, wrong, "room_finished", f"call-{call}", None, None)
        assert (found.slug, found.facts) == ("INVALID_REQUEST", {"field": "id"})
    await without_rate(world.db, "call_grace")
    found = await refused(app_conn, NOTE, "EV_1", "room_finished", f"call-{call}", None, None)
    assert found.slug == "CONFIGURATION_ERROR"
    assert await world.db.fetchval("SELECT count(*) FROM core.live_events") == 0, "it can be told again"


async def test_who_comes_afterwards_opens_the_room_again(
    world: World, app_conn: Connection, call: UUID, stream: UUID
) -> None:
    await app_conn.fetch("SELECT api.end_stream($1)", stream)
    await app_conn.fetch(END, call, world.alice.id)
    for room in (f"call-{call}", f"stream-{stream}"):
        for _ in range(2):
            event = ("EV_1", "participant_joined", room, str(world.alice.id), None)
            assert await app_conn.fetchval(NOTE, *event) == "over"
            assert await app_conn.fetchval(
                "SELECT over_since >= reopened_at AND closed_at IS NULL FROM api.live_rooms WHERE room = $1",
                room,
            )
            await world.db.execute("UPDATE core.live_rooms SET closed_at = now()")
        assert await app_conn.fetchval(NOTE, "EV_2", "participant_left", room, str(world.alice.id), None) == "ignored"
        assert await app_conn.fetchval(NOTE, "EV_3", "room_finished", room, None, None) == "ignored"
        assert await app_conn.fetchval("SELECT closed_at IS NOT NULL FROM api.live_rooms WHERE room = $1", room)


async def test_the_same_event_at_once_counts_once(world: World, connect: Connect, call: UUID) -> None:
    sessions = [await connect("app") for _ in range(6)]
    for _ in range(10):
        event = (uuid4().hex, "participant_joined", f"call-{call}", str(world.alice.id), None)
        told = await asyncio.gather(*(session.fetchval(NOTE, *event) for session in sessions))
        assert sorted(told) == ["applied", *["repeated"] * 5]


async def test_who_comes_into_a_stream_is_a_viewer(world: World, app_conn: Connection, stream: UUID) -> None:
    room, people = f"stream-{stream}", (str(world.alice.id), str(world.creator.id), NOBODY)
    viewers = "SELECT user_id FROM core.viewers WHERE stream_id = $1 AND seen_until > clock_timestamp()"
    joined = [
        await app_conn.fetchval(NOTE, f"EV_{number}", "participant_joined", room, str(who), None)
        for number, who in enumerate(people)
    ]
    assert joined == ["applied", "applied", "ignored"]
    assert [row["user_id"] for row in await world.db.fetch(viewers, stream)] == [world.alice.id]
    # what happened before she came tells nothing of her
    late = ("EV_3", "participant_left", room, str(world.alice.id), await ago(world.db, 30))
    await app_conn.fetch(NOTE, *late)
    assert len(await world.db.fetch(viewers, stream)) == 1
    assert await app_conn.fetchval(NOTE, "EV_4", "room_finished", room, None, None) == "ignored"
    gone = ("EV_5", "participant_connection_aborted", room, str(world.alice.id), None)
    assert await app_conn.fetchval(NOTE, *gone) == "applied"
    assert await world.db.fetch(viewers, stream) == []
    await app_conn.fetch(NOTE, "EV_0", "participant_joined", room, str(world.alice.id), None)
    assert await world.db.fetch(viewers, stream) == []
