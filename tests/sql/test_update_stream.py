"""api.update_stream: what a creator may change, and that no seat is taken from who has a ticket."""

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
from tests.support.money import Person, World, person, raised, refused
from tests.support.postgres import Connection

UPDATE = "SELECT * FROM api.update_stream($1, $2, $3)"
BUY = "SELECT * FROM api.buy_ticket($1, $2)"
STREAM = "SELECT stream_id FROM api.create_stream($1, 'Show', $2, 'private', $3, $4)"


async def _stream(world: World, channel: str = "show", *, price: int = 10, seats: int | None = None) -> UUID:
    stream: UUID = await world.db.fetchval(STREAM, world.creator.id, channel, price, seats)
    return stream


async def _change(conn: Connection, stream: UUID, who: UUID | None = None, **changes: Any) -> asyncpg.Record:
    row = await conn.fetchrow(UPDATE, stream, json.dumps(changes), who)
    assert row is not None
    return row


@pytest_asyncio.fixture
async def stream(world: World) -> UUID:
    """A private stream at 10 tokens, any number of seats."""
    return await _stream(world)


async def test_only_what_is_named_changes(world: World, app_conn: Connection, stream: UUID) -> None:
    before = await app_conn.fetchrow("SELECT * FROM api.streams")
    assert before is not None
    changes = {
        "title": " Later show ",
        "ticket_price": 0,
        "seats": 5,
        "starts_at": "2030-01-01T20:00:00+01:00",
        "sales_from": "2029-01-01T00:00:00Z",
        "sales_to": "2030-01-01T00:00:00Z",
    }
    row = await _change(app_conn, stream, world.creator.id, **changes)
    same = ("visibility", "channel", "status", "creator_id", "created_at")
    assert [row[name] for name in same] == [before[name] for name in same]
    assert (row["title"], row["ticket_price"], row["seats"], row["seats_left"]) == ("Later show", 0, 5, 5)
    assert row["starts_at"].isoformat() == "2030-01-01T19:00:00+00:00"
    cleared = await _change(app_conn, stream, seats=None, starts_at=None, sales_from=None, sales_to=None)
    assert dict(cleared) == dict(before) | {"title": "Later show", "ticket_price": 0}
    event = await world.db.fetchrow("SELECT channels, payload FROM core.outbox WHERE type = 'stream.updated' LIMIT 1")
    assert event is not None
    assert event["channels"] == [f"creator:{world.creator.id}", f"stream:{stream}"]
    assert json.loads(event["payload"])["title"] == "Later show"


async def test_nothing_new_is_no_event(world: World, app_conn: Connection, stream: UUID) -> None:
    before = await app_conn.fetchrow("SELECT * FROM api.streams")
    assert await _change(app_conn, stream) == before
    assert await _change(app_conn, stream, title="Show", seats=None) == before
    assert await world.db.fetchval("SELECT count(*) FROM core.outbox WHERE type = 'stream.updated'") == 0


async def test_whose_and_when(world: World, app_conn: Connection, stream: UUID) -> None:
    assert (await refused(app_conn, UPDATE, stream, "{}", world.alice.id)).slug == "NOT_STREAM_OWNER"
    assert (await refused(app_conn, UPDATE, NOBODY, "{}", world.creator.id)).slug == "STREAM_NOT_FOUND"
    assert (await refused(app_conn, UPDATE, stream, "{}", NOBODY)).slug == "USER_NOT_FOUND"
    assert (await refused(app_conn, UPDATE, stream, "{}", world.suspended.id)).slug == "USER_SUSPENDED"
    await app_conn.fetch("SELECT api.start_stream($1)", stream)
    assert (await _change(app_conn, stream, title="Live"))["title"] == "Live"
    await app_conn.fetch("SELECT api.end_stream($1)", stream)
    assert (await refused(app_conn, UPDATE, stream, '{"title": "Over"}', None)).slug == "STREAM_ENDED"


BAD: list[tuple[str | None, str]] = [
    (None, "changes"),
    ("[]", "changes"),
    ('"title"', "changes"),
    ('{"channel": "other"}', "channel"),
    ('{"status": "live"}', "status"),
    ('{"seats_sold": 0}', "seats_sold"),
    ('{"title": null}', "title"),
    ('{"title": "  "}', "title"),
    ('{"visibility": "secret"}', "visibility"),
    ('{"visibility": null}', "visibility"),
    ('{"ticket_price": -1}', "ticket_price"),
    ('{"ticket_price": null}', "ticket_price"),
    ('{"ticket_price": 1.5}', "changes"),
    ('{"ticket_price": "NaN"}', "changes"),
    ('{"ticket_price": 9223372036854775808}', "changes"),
    ('{"seats": 0}', "seats"),
    ('{"seats": 2147483648}', "changes"),
    ('{"starts_at": "soon"}', "changes"),
    ('{"starts_at": "infinity"}', "starts_at"),
    ('{"sales_to": "0001-01-01T00:00:00+14:00"}', "sales_to"),
    ('{"sales_from": "2030-01-01T00:00:00Z", "sales_to": "2030-01-01T00:00:00Z"}', "sales_to"),
]


@pytest.mark.parametrize(("changes", "field"), BAD)
async def test_changes_that_cannot_be(
    world: World, app_conn: Connection, stream: UUID, changes: str | None, field: str
) -> None:
    before = await app_conn.fetchrow("SELECT * FROM api.streams")
    found = await refused(app_conn, UPDATE, stream, changes, None)
    assert (found.slug, found.facts["field"]) == ("INVALID_REQUEST", field)
    assert await app_conn.fetchrow("SELECT * FROM api.streams") == before


async def test_never_fewer_seats_than_tickets(world: World, app_conn: Connection, stream: UUID) -> None:
    for fan in (world.alice, world.bob):
        await app_conn.fetch(BUY, fan.id, stream)
    found = await refused(app_conn, UPDATE, stream, '{"seats": 1}', None)
    assert (found.code, found.slug) == ("TS331", "SEATS_SOLD")
    assert found.facts == {"stream_id": str(stream), "seats": 1, "seats_sold": 2}
    assert (await _change(app_conn, stream, seats=2))["seats_left"] == 0
    assert (await refused(app_conn, BUY, world.frozen.id, stream)).slug == "SOLD_OUT"
    assert (await _change(app_conn, stream, seats=3))["seats_left"] == 1
    assert (await refused(app_conn, UPDATE, stream, '{"seats": 1}', None)).slug == "SEATS_SOLD"
    late, later = [await person(world.db, name, tokens=10) for name in ("late", "later")]
    assert (await _change(app_conn, stream, seats=None))["seats_left"] is None
    for fan in (late, later):
        await app_conn.fetch(BUY, fan.id, stream)
    assert (await refused(app_conn, UPDATE, stream, '{"seats": 3}', None)).facts["seats_sold"] == 4
    assert (await _change(app_conn, stream, seats=4))["seats_left"] == 0


@pytest.mark.parametrize("level", ["repeatable_read", "serializable"])
async def test_under_an_old_snapshot_no_ticket_is_overlooked(
    world: World, connect: Connect, stream: UUID, level: Any
) -> None:
    editor, buyer = await connect("app"), await connect("app")
    transaction = editor.transaction(isolation=level)
    await transaction.start()
    await editor.fetchval("SELECT count(*) FROM api.streams")
    await buyer.fetch(BUY, world.alice.id, stream)
    with pytest.raises(asyncpg.SerializationError):
        await _change(editor, stream, seats=1)
    await transaction.rollback()
    async with editor.transaction(isolation=level):
        assert (await _change(editor, stream, seats=1))["seats_left"] == 0


async def test_a_stream_made_public_keeps_its_tickets(world: World, app_conn: Connection, stream: UUID) -> None:
    await app_conn.fetch(BUY, world.alice.id, stream)
    await _change(app_conn, stream, seats=3)
    access = "SELECT reason FROM api.stream_access($1, $2)"
    assert (await _change(app_conn, stream, visibility="public"))["seats_left"] == 2
    assert await app_conn.fetchval(access, stream, world.bob.id) == "public_stream"
    assert (await refused(app_conn, BUY, world.bob.id, stream)).facts["reason"] == "public_stream"
    await _change(app_conn, stream, visibility="private", ticket_price=20)
    assert await app_conn.fetchval(access, stream, world.bob.id) == "no_ticket"
    assert await app_conn.fetchval(access, stream, world.alice.id) == "ticket_purchased"
    assert await app_conn.fetchval("SELECT price FROM api.tickets") == 10
    await app_conn.fetch("SELECT api.cancel_stream($1, 'ill')", stream)
    assert await app_conn.fetchval("SELECT balance FROM api.wallets WHERE wallet_id = $1", world.alice.wallet) == 100


async def test_seats_changed_beside_buyers(world: World, connect: Connect) -> None:
    """Whatever comes first: never more tickets than seats, and what is counted is what was sold."""
    fans = [await person(world.db, f"fan{n}", tokens=1000) for n in range(12)]
    buyers = [await connect("app") for _ in range(4)]
    editors = [await connect("app") for _ in range(2)]

    async def attempt(conn: Connection, query: str, *args: Any) -> str:
        try:
            await conn.fetch(query, *args)
        except asyncpg.PostgresError as error:
            return raised(error).slug
        return "done"

    async def buy(conn: Connection, mine: list[Person], stream: UUID) -> list[str]:
        return [await attempt(conn, BUY, fan.id, stream) for fan in mine]

    async def edit(conn: Connection, stream: UUID, sizes: list[int | None]) -> list[str]:
        return [await attempt(conn, UPDATE, stream, json.dumps({"seats": seats}), None) for seats in sizes]

    for n in range(10):
        stream = await _stream(world, f"race-{n}", price=n % 2)
        told = await asyncio.gather(
            *(buy(conn, fans[i::4], stream) for i, conn in enumerate(buyers)),
            edit(editors[0], stream, [3, None, 8]),
            edit(editors[1], stream, [None, 5, 6]),
        )
        outcomes = {slug for slugs in told for slug in slugs}
        assert outcomes <= {"done", "SOLD_OUT", "SEATS_SOLD"}
        sold = sum(slugs.count("done") for slugs in told[:4])
        row = await world.db.fetchrow("SELECT seats, seats_left FROM api.streams WHERE stream_id = $1", stream)
        assert row is not None
        assert row["seats"] is None or (row["seats"] >= sold and row["seats_left"] == row["seats"] - sold)
