"""Following channels: who may, where they stand, and reading many of them at once."""

from __future__ import annotations

from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from tests.sql.refusals import NOBODY
from tests.support.calls import OPEN, ask_for
from tests.support.money import World, outcome_refusal, person, refused
from tests.support.postgres import Connection

pytestmark = pytest.mark.makes_events

FOLLOW = "SELECT * FROM api.follow_channels($1::api.follow_request[])"
READ = "SELECT * FROM api.read_channels($1, $2, $3)"
LEAVE = "SELECT api.leave_streams($1::api.watch_beat[])"
AUDIENCE = "SELECT * FROM api.stream_audience($1, $2)"
PUT = "INSERT INTO core.outbox (type, channels, payload) VALUES ($1, $2, '{}')"


async def put(db: Connection, *channels: str, count: int = 1) -> None:
    """Events that are relayed at once."""
    for n in range(count):
        await db.execute(PUT, f"n{n}", list(channels))
    await db.execute("SELECT api.relay_events()")


async def stream(world: World, visibility: str = "public") -> UUID:
    """A stream of the creator that is live, for 10 tokens where it is not public."""
    made: UUID = await world.db.fetchval(
        "SELECT stream_id FROM api.create_stream($1, 'Show', $2, $3, 10)", world.creator.id, uuid4().hex, visibility
    )
    await world.db.execute("SELECT api.start_stream($1)", made)
    return made


async def may(conn: Connection, user: UUID, channel: str) -> str | None:
    """Why not; None: they may."""
    (row,) = await conn.fetch(FOLLOW, [(user, channel)])
    refusal = outcome_refusal(row)
    assert (row["epoch"] is None) == (refusal is not None)
    return None if refusal is None else refusal.slug


async def test_public_streams_are_anybodys(world: World, app_conn: Connection) -> None:
    channel = f"stream:{await stream(world)}"
    assert await may(app_conn, world.alice.id, channel) is None
    assert await may(app_conn, world.creator.id, channel) is None


async def test_other_streams_are_their_owners_and_ticket_holders(world: World, app_conn: Connection) -> None:
    made = await stream(world, "private")
    channel = f"stream:{made}"
    assert await may(app_conn, world.creator.id, channel) is None
    assert await may(app_conn, world.alice.id, channel) == "NO_ACCESS_TO_STREAM"
    await world.db.execute("SELECT api.buy_ticket($1, $2, 'k')", world.alice.id, made)
    assert await may(app_conn, world.alice.id, channel) is None
    assert await may(app_conn, world.bob.id, channel) == "NO_ACCESS_TO_STREAM"
    await world.db.execute("SELECT api.cancel_stream($1, 'ill', $2)", made, world.creator.id)
    assert await may(app_conn, world.alice.id, channel) == "NO_ACCESS_TO_STREAM"


async def test_calls_are_their_peoples(world: World, app_conn: Connection) -> None:
    await ask_for(world.db, world.creator, 60)
    row = await world.db.fetchrow(OPEN, world.alice.id, world.creator.id, "k")
    assert row is not None
    channel = f"call:{row['call_id']}"
    assert await may(app_conn, world.alice.id, channel) is None
    assert await may(app_conn, world.creator.id, channel) is None
    assert await may(app_conn, world.bob.id, channel) == "NOT_CALL_PARTICIPANT"


@pytest.mark.parametrize("kind", ["user", "creator"])
async def test_ones_own(world: World, app_conn: Connection, kind: str) -> None:
    assert await may(app_conn, world.alice.id, f"{kind}:{world.alice.id}") is None
    assert await may(app_conn, world.bob.id, f"{kind}:{world.alice.id}") == "FORBIDDEN"


async def test_ops_is_the_operators(world: World, db: Connection, app_conn: Connection) -> None:
    assert await may(app_conn, world.alice.id, "ops") == "FORBIDDEN"
    for role in ("operator", "admin"):
        who = await person(db, f"the_{role}", roles=[role])
        assert await may(app_conn, who.id, "ops") is None


async def test_what_is_not_there(world: World, app_conn: Connection) -> None:
    assert await may(app_conn, world.alice.id, f"stream:{NOBODY}") == "STREAM_NOT_FOUND"
    assert await may(app_conn, world.alice.id, f"call:{NOBODY}") == "CALL_NOT_FOUND"
    assert await may(app_conn, NOBODY, f"user:{NOBODY}") == "USER_NOT_FOUND"


@pytest.mark.parametrize(
    "channel",
    [
        "",
        "user:",
        "user:x",
        "USER:{id}",
        "user:{upper}",
        "user:{id} ",
        "user:{id}\n",
        "campaign:{id}",
        "ops:",
        "all",
        "o'ps",
    ],
)
async def test_names_that_are_none(world: World, app_conn: Connection, channel: str) -> None:
    name = channel.format(id=world.alice.id, upper=str(world.alice.id).upper())
    assert await may(app_conn, world.alice.id, name) == "INVALID_CHANNEL"


async def test_no_name_at_all(world: World, app_conn: Connection) -> None:
    (row,) = await app_conn.fetch(FOLLOW, [(world.alice.id, None)])
    assert row["error"] == "INVALID_CHANNEL"


async def test_who_is_suspended_follows_nothing(world: World, app_conn: Connection) -> None:
    await world.suspend(world.alice)
    assert await may(app_conn, world.alice.id, f"user:{world.alice.id}") == "USER_SUSPENDED"


async def test_many_at_once_in_order(world: World, app_conn: Connection) -> None:
    mine = f"creator:{world.alice.id}"
    await put(world.db, mine, count=3)
    rows = await app_conn.fetch(FOLLOW, [(world.alice.id, mine), (world.bob.id, mine), (world.alice.id, mine)])
    assert [(row["ord"], row["seq"], row["first_seq"], row["error"]) for row in rows] == [
        (1, 3, 1, None),
        (2, None, None, "FORBIDDEN"),
        (3, 3, 1, None),
    ]
    assert await app_conn.fetch(FOLLOW, []) == []
    refusal = await refused(app_conn, FOLLOW, [(world.alice.id, mine)] * 1001)
    assert (refusal.slug, refusal.facts) == ("BATCH_TOO_LARGE", {"size": 1001, "maximum": 1000})


async def read(conn: Connection, channels: list[str], after: list[int], limit: int = 100) -> list[tuple[int, int, str]]:
    """Places, numbers and types of what is new; the row of the log itself is looked at, and left out."""
    rows = await conn.fetch(READ, channels, after, limit)
    state = await conn.fetchrow("SELECT epoch, entries FROM api.relay_state")
    assert state is not None
    assert (rows[0]["place"], rows[0]["last_seq"], rows[0]["events"]) == (0, state["entries"], str(state["epoch"]))
    found: list[tuple[int, int, str]] = []
    for row in rows[1:]:
        events = [msgspec.json.decode(line) for line in row["events"].split("\n")]
        assert [event["seq"] for event in events] == list(range(row["first_seq"], row["last_seq"] + 1))
        found += [(row["place"], event["seq"], event["type"]) for event in events]
    return found


async def test_events_read_as_they_stand_in_frames(db: Connection, app_conn: Connection) -> None:
    payload = {"a": 'ä\n"\\\u2028', "n": 12345678901234567890, "x": None}
    for at in ("2026-01-02 03:04:05+05", "2026-06-07 08:09:10.000012+00"):
        await db.execute(
            "INSERT INTO core.outbox (type, channels, payload, created_at)"
            " VALUES ('n', '{a}', $1::text::jsonb, $2::text::timestamptz)",
            msgspec.json.encode(payload).decode(),
            at,
        )
    await db.execute("SELECT api.relay_events()")
    await app_conn.execute("SET timezone = 'Asia/Kathmandu'")
    (_, row) = await app_conn.fetch(READ, ["a"], [0], 10)
    first, second = (msgspec.json.decode(line) for line in row["events"].split("\n"))
    assert first == {"seq": 1, "type": "n", "at": "2026-01-01T22:04:05.000000Z", "data": payload}
    assert second == {"seq": 2, "type": "n", "at": "2026-06-07T08:09:10.000012Z", "data": payload}


async def test_reading_many_channels(db: Connection, app_conn: Connection) -> None:
    await put(db, "a", "b", count=3)
    await put(db, "b", count=2)
    assert await read(app_conn, ["b", "nix", "a"], [3, 0, 1]) == [
        (1, 4, "n0"),
        (1, 5, "n1"),
        (3, 2, "n1"),
        (3, 3, "n2"),
    ]
    assert await read(app_conn, ["a", "b"], [0, 0], 2) == [(1, 1, "n0"), (1, 2, "n1"), (2, 1, "n0"), (2, 2, "n1")]
    assert await read(app_conn, ["a", "b"], [3, 99]) == []
    assert await read(app_conn, [], []) == []


@pytest.mark.parametrize(
    ("channels", "after", "limit"),
    [(["a"], [], 1), (None, [], 1), (["a"], [0], 0), (["a"], [0], None), (["a"] * 1001, [0] * 1001, 1)],
)
async def test_questions_that_make_no_sense(
    app_conn: Connection, channels: list[str] | None, after: list[int], limit: int | None
) -> None:
    assert (await refused(app_conn, READ, channels, after, limit)).slug == "INVALID_REQUEST"


async def test_a_relay_that_leaves_backlogs_alone(db: Connection, app_conn: Connection) -> None:
    await db.execute("SELECT api.relay_events()")  # a new database: its own epoch
    small = "SELECT * FROM api.relay_events(2, false)"
    for _ in range(3):
        await db.execute(PUT, "x", ["a"])
    row = await app_conn.fetchrow(small)
    assert row is not None
    assert (row["busy"], row["events"], row["more"]) == (True, 0, True)
    assert await app_conn.fetchval("SELECT events FROM api.relay_events(2)") in (1, 2)
    assert (await app_conn.fetchrow(small))["busy"]  # type: ignore[index]  # the rest of the backlog
    assert await app_conn.fetchval("SELECT events FROM api.relay_events(2)") in (1, 2)
    await db.execute(PUT, "x", ["a"])
    row = await app_conn.fetchrow(small)
    assert row is not None
    assert (row["busy"], row["events"]) == (False, 1)
    assert await read(app_conn, ["a"], [2]) == [(1, 3, "x"), (1, 4, "x")]


async def test_a_relay_that_leaves_restores_alone(db: Connection, app_conn: Connection) -> None:
    await db.execute(PUT, "x", ["a"])
    row = await app_conn.fetchrow("SELECT * FROM api.relay_events(10, false)")
    assert row is not None
    assert (row["busy"], row["events"]) == (True, 0)  # this copy of the template is another database
    assert await db.fetchval("SELECT events FROM api.relay_events()") == 1


async def test_leaving_and_the_audience(world: World, app_conn: Connection) -> None:
    made, empty = await stream(world), await stream(world)
    people = sorted([world.alice.id, world.bob.id])
    await app_conn.execute("SELECT api.watch_streams($1::api.watch_beat[])", [(who, made) for who in people])
    assert [tuple(row) for row in await app_conn.fetch(AUDIENCE, [made, empty, NOBODY], 5)] == [
        (made, 2, people),
        (empty, 0, []),
        (NOBODY, 0, []),
    ]
    await world.db.execute("SELECT api.count_viewers()")
    assert [tuple(row) for row in await app_conn.fetch(AUDIENCE, [made], 1)] == [(made, 2, None)]
    assert await app_conn.fetchval(LEAVE, [(world.alice.id, made), (world.alice.id, made), (NOBODY, made)]) == 1
    assert await app_conn.fetchval(LEAVE, [(world.alice.id, made)]) == 0
    assert [tuple(row) for row in await app_conn.fetch(AUDIENCE, [made], 5)] == [(made, 1, [world.bob.id])]
    assert (await refused(app_conn, LEAVE, [(NOBODY, made)] * 2501)).slug == "BATCH_TOO_LARGE"


async def test_a_lapsed_lease_is_nobody(world: World, app_conn: Connection) -> None:
    made = await stream(world)
    await app_conn.execute("SELECT api.watch_streams($1::api.watch_beat[])", [(world.alice.id, made)])
    await world.db.execute("UPDATE core.viewers SET seen_until = now() - interval '1 second'")
    assert [tuple(row) for row in await app_conn.fetch(AUDIENCE, [made], 5)] == [(made, 0, [])]


async def test_tickets_are_the_apis(app_conn: Connection, dba_conn: Connection) -> None:
    put_ticket = """
        INSERT INTO core.realtime_tickets (ticket_hash, user_id, session_id, expires_at)
        VALUES (sha256('x'), gen_random_uuid(), gen_random_uuid(), now())"""
    await app_conn.execute(put_ticket)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await dba_conn.execute(put_ticket)
