"""Streams and tickets: one a viewer, never more than there are seats, given back when the stream is cancelled."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.support.money import (
    Person,
    Transfer,
    World,
    as_ledger,
    balance,
    person,
    raised,
    refused,
    revenue,
    set_fee,
    set_rate,
    set_status,
    transfer,
    until_waiting,
    written,
)
from tests.support.postgres import Connection

CREATE = "SELECT * FROM api.create_stream($1, $2, $3, $4, $5, $6, $7, $8, $9)"
BUY = "SELECT * FROM api.buy_ticket($1, $2, $3)"
BATCH = "SELECT * FROM api.buy_tickets($1::api.ticket_request[])"
CANCEL = "SELECT * FROM api.cancel_stream($1, $2, $3)"


def _new(world: World, **more: Any) -> tuple[Any, ...]:
    fields = {
        "creator": world.creator.id,
        "title": "Late show",
        "channel": "late-show",
        "visibility": "private",
        "price": 30,
        "seats": None,
        "starts_at": None,
        "sales_from": None,
        "sales_to": None,
    } | more
    return tuple(fields.values())


async def _stream(world: World, **more: Any) -> UUID:
    stream: UUID = await world.db.fetchval("SELECT stream_id FROM (" + CREATE + ") AS s", *_new(world, **more))
    return stream


@pytest_asyncio.fixture
async def stream(world: World) -> UUID:
    """A private stream at 30 tokens."""
    return await _stream(world)


async def _all(conn: Connection) -> list[Any]:
    tickets = await conn.fetch("SELECT * FROM core.tickets ORDER BY id")
    streams = await conn.fetch("SELECT * FROM core.streams ORDER BY id")
    return [await written(conn), tickets, streams]


async def test_a_ticket(world: World, app_conn: Connection, stream: UUID) -> None:
    row = await app_conn.fetchrow(BUY, world.alice.id, stream, "k")
    assert row is not None
    assert (row["price"], row["new_balance"], row["replayed"]) == (30, 70, False)
    assert await balance(world.db, world.creator.wallet) == 30
    kept = await world.db.fetchrow("SELECT * FROM api.tickets")
    assert kept is not None
    assert (kept["ticket_id"], kept["stream_id"], kept["viewer_id"]) == (row["ticket_id"], stream, world.alice.id)
    moved = await world.db.fetchrow("SELECT * FROM api.transfers WHERE transfer_id = $1", kept["transfer_id"])
    assert moved is not None
    assert (moved["kind"], moved["reference"], moved["actor_id"]) == ("stream_ticket", str(stream), world.alice.id)
    event = await world.db.fetchrow("SELECT channels FROM core.outbox WHERE type = 'ticket.sold'")
    assert event is not None
    assert event["channels"] == [f"creator:{world.creator.id}", f"user:{world.alice.id}", f"stream:{stream}"]


async def test_the_key_buys_once_and_says_the_same_again(world: World, app_conn: Connection, stream: UUID) -> None:
    await set_fee(world.db, 2500)
    first = await app_conn.fetchrow(BUY, world.alice.id, stream, "k")
    assert first is not None
    assert first["new_balance"] == 70
    again = await app_conn.fetchrow(BUY, world.alice.id, stream, "k")
    assert again is not None
    assert dict(again) == dict(first) | {"replayed": True}
    other = await _stream(world, channel="other")
    assert (await refused(app_conn, BUY, world.alice.id, other, "k")).slug == "IDEMPOTENCY_KEY_REUSED"
    found = await refused(app_conn, BUY, world.alice.id, stream, "l")
    assert (found.code, found.slug, found.facts["ticket_id"]) == (
        "TS325",
        "TICKET_ALREADY_PURCHASED",
        str(first["ticket_id"]),
    )
    assert await world.db.fetchval("SELECT count(*) FROM core.tickets") == 1


@pytest.mark.parametrize(("bps", "creator", "platform"), [(0, 30, 0), (250, 30, 0), (1000, 27, 3), (10000, 0, 30)])
async def test_the_fee_neither_loses_nor_makes_a_token(
    world: World, app_conn: Connection, stream: UUID, bps: int, creator: int, platform: int
) -> None:
    await set_fee(world.db, bps)
    row = await app_conn.fetchrow(BUY, world.alice.id, stream, "k")
    assert row is not None
    assert row["new_balance"] == await balance(world.db, world.alice.wallet) == 70
    assert (await balance(world.db, world.creator.wallet), await revenue(world.db)) == (creator, platform)
    assert await world.db.fetchval("SELECT platform_fee FROM api.tickets") == platform


async def test_a_suspended_creator_sells_no_tickets(world: World, app_conn: Connection, stream: UUID) -> None:
    bought = await app_conn.fetchrow(BUY, world.bob.id, stream, "k")
    assert bought is not None
    await world.suspend(world.creator)
    found = await refused(app_conn, BUY, world.alice.id, stream, None)
    assert (found.slug, found.facts["reason"]) == ("SALES_CLOSED", "creator_suspended")
    again = await app_conn.fetchrow(BUY, world.bob.id, stream, "k")
    assert again is not None
    assert (again["ticket_id"], again["replayed"]) == (bought["ticket_id"], True)


async def test_the_price_is_the_creators_usual_one_unless_the_stream_says_otherwise(world: World) -> None:
    prices = []
    for channel, asked in (("none-set", None), ("usual", None), ("free", 0), ("dear", 99)):
        if channel == "usual":
            await world.db.execute(
                "INSERT INTO core.creator_settings (user_id, rate_per_minute, ticket_price) VALUES ($1, 1, 25)",
                world.creator.id,
            )
        stream = await _stream(world, channel=channel, price=asked)
        prices.append(await world.db.fetchval("SELECT ticket_price FROM api.streams WHERE stream_id = $1", stream))
    assert prices == [0, 25, 0, 99]


async def test_a_free_ticket(world: World, app_conn: Connection) -> None:
    stream = await _stream(world, price=0, seats=1)
    first = await app_conn.fetchrow(BUY, world.alice.id, stream, "k")
    assert first is not None
    assert (first["price"], first["new_balance"]) == (0, None)
    again = await app_conn.fetchrow(BUY, world.alice.id, stream, "k")
    assert again is not None
    assert dict(again) == dict(first) | {"replayed": True}
    assert (await refused(app_conn, BUY, world.alice.id, stream, "l")).slug == "TICKET_ALREADY_PURCHASED"
    assert (await refused(app_conn, BUY, world.bob.id, stream, None)).slug == "SOLD_OUT"


async def test_refused(world: World, app_conn: Connection, stream: UUID) -> None:
    sold_out = await _stream(world, channel="small", seats=1)
    await app_conn.fetch(BUY, world.bob.id, sold_out, None)
    public = await _stream(world, channel="public", visibility="public")
    now = await world.db.fetchval("SELECT now()")
    later = now.replace(year=now.year + 1)
    early = await _stream(world, channel="early", sales_from=later)
    late = await _stream(world, channel="late", sales_to=now)
    dear = await _stream(world, channel="dear", price=101)
    no_wallet = await world.without_wallet()
    cases: list[tuple[UUID | str | None, UUID | str | None, str | None, str]] = [
        (NOBODY, stream, None, "USER_NOT_FOUND"),
        (None, stream, None, "USER_NOT_FOUND"),
        (world.suspended.id, stream, None, "USER_SUSPENDED"),
        (world.alice.id, NOBODY, None, "STREAM_NOT_FOUND"),
        (world.alice.id, None, None, "STREAM_NOT_FOUND"),
        (world.creator.id, stream, None, "OWN_STREAM"),
        (world.alice.id, sold_out, None, "SOLD_OUT"),
        (world.alice.id, public, None, "SALES_CLOSED"),
        (world.alice.id, early, None, "SALES_CLOSED"),
        (world.alice.id, late, None, "SALES_CLOSED"),
        (world.alice.id, stream, "", "IDEMPOTENCY_KEY_INVALID"),
        (world.alice.id, stream, "k" * 256, "IDEMPOTENCY_KEY_INVALID"),
        (world.frozen.id, stream, None, "WALLET_FROZEN"),
        (world.closed.id, stream, None, "WALLET_CLOSED"),
        (no_wallet, stream, None, "WALLET_NOT_FOUND"),
    ]
    before = await _all(world.db)
    for viewer, which, key, slug in cases:
        assert (await refused(app_conn, BUY, viewer, which, key)).slug == slug, slug
    found = await refused(app_conn, BUY, world.alice.id, dear, None)
    assert (found.slug, found.facts["required"], found.facts["current"], found.facts["shortfall"]) == (
        "INSUFFICIENT_TOKENS",
        101,
        100,
        1,
    )
    assert await _all(world.db) == before
    await set_status(world.db, world.creator.wallet, "frozen")
    assert (await refused(app_conn, BUY, world.alice.id, stream, None)).slug == "WALLET_FROZEN"


async def test_limits_of_batch_balance_velocity_and_rates(world: World, app_conn: Connection, stream: UUID) -> None:
    many = [(world.alice.id, stream, None)] * 2501
    assert (await refused(app_conn, BATCH, many)).slug == "BATCH_TOO_LARGE"
    assert await app_conn.fetch(BATCH, []) == []
    await world.db.execute("SELECT api.set_rate('velocity_amount_day', 29)")
    assert (await refused(app_conn, BUY, world.alice.id, stream, None)).slug == "VELOCITY_LIMIT"
    await world.db.execute("SELECT api.end_rate(rate_id) FROM api.rates WHERE name = 'velocity_amount_day'")
    async with as_ledger(world.db):
        await world.db.execute(
            "UPDATE core.wallets SET lifetime_earned = 9000000000000000000, lifetime_spent = 9000000000000000000"
            " WHERE id = $1",
            world.creator.wallet,
        )
    assert (await refused(app_conn, BUY, world.alice.id, stream, None)).slug == "BALANCE_LIMIT"
    async with as_ledger(world.db):
        await world.db.execute(
            "UPDATE core.wallets SET lifetime_earned = 0, lifetime_spent = 0 WHERE id = $1", world.creator.wallet
        )
    await world.db.execute("SELECT api.end_rate(rate_id) FROM api.rates WHERE name = 'platform_fee'")
    assert (await refused(app_conn, BUY, world.alice.id, stream, None)).slug == "CONFIGURATION_ERROR"


async def test_in_a_batch_each_stands_alone_and_a_seat_goes_to_who_can_pay(world: World, app_conn: Connection) -> None:
    poor = await person(world.db, "poor", tokens=1)
    stream = await _stream(world, seats=2)
    rows = await app_conn.fetch(
        BATCH,
        [
            (poor.id, stream, "a"),
            (world.alice.id, stream, "b"),
            (world.alice.id, stream, "b"),
            (world.alice.id, stream, "c"),
            (world.creator.id, stream, "d"),
            (world.bob.id, stream, "e"),
            (world.frozen.id, stream, "f"),
        ],
    )
    assert [row["ord"] for row in rows] == list(range(1, 8))
    assert [row["error"] for row in rows] == [
        "INSUFFICIENT_TOKENS",
        None,
        None,
        "TICKET_ALREADY_PURCHASED",
        "OWN_STREAM",
        None,
        "SOLD_OUT",
    ]
    assert rows[2]["replayed"]
    assert rows[2]["ticket_id"] == rows[1]["ticket_id"]
    assert await world.db.fetchval("SELECT seats_left FROM api.streams") == 0


async def test_the_last_seat_has_one_winner(world: World, connect: Connect) -> None:
    sessions = [await connect("app") for _ in range(10)]
    viewers = [await person(world.db, f"v{n}", tokens=1000) for n in range(20)]

    async def attempt(conn: Connection, viewer: Person, stream: UUID) -> str:
        try:
            await conn.fetch(BUY, viewer.id, stream, None)
        except asyncpg.PostgresError as error:
            return raised(error).slug
        return "sold"

    for n in range(20):
        stream = await _stream(world, channel=f"race-{n}", price=1, seats=1)

        async def some(conn: Connection, mine: list[Person], stream: UUID = stream) -> list[str]:
            return [await attempt(conn, viewer, stream) for viewer in mine]

        told = await asyncio.gather(*(some(c, viewers[i::10]) for i, c in enumerate(sessions)))
        outcomes = [slug for slugs in told for slug in slugs]
        assert sorted(outcomes) == ["SOLD_OUT"] * 19 + ["sold"]


async def _errors(conn: Connection, *asked: tuple[UUID, UUID, str | None]) -> list[str | None]:
    return [row["error"] for row in await conn.fetch(BATCH, list(asked))]


async def test_a_seat_that_several_cannot_pay_for_goes_on_to_the_next(world: World, app_conn: Connection) -> None:
    poor = [await person(world.db, f"poor-{n}", tokens=29) for n in range(5)]
    rich = [await person(world.db, f"exact-{n}", tokens=30) for n in range(2)]
    stream = await _stream(world, seats=1)
    asked = [(who.id, stream, None) for who in (*poor[:4], world.frozen, rich[0], rich[1], poor[4])]
    assert await _errors(app_conn, *asked) == [
        *["INSUFFICIENT_TOKENS"] * 4,
        "WALLET_FROZEN",
        None,
        "SOLD_OUT",
        "SOLD_OUT",
    ]


async def test_a_viewer_spends_in_the_order_of_the_requests(world: World, app_conn: Connection) -> None:
    first, second, third = [await _stream(world, channel=f"s-{n}", seats=seats) for n, seats in enumerate((9, 1, 9))]
    once, next_ = [await person(world.db, name, tokens=30) for name in ("once", "next")]
    asked = [(once.id, first, None), (once.id, second, None), (next_.id, second, None), (next_.id, third, None)]
    assert await _errors(app_conn, *asked) == [None, "INSUFFICIENT_TOKENS", None, "INSUFFICIENT_TOKENS"]


async def test_who_is_paid_in_a_batch_may_spend_it_there(world: World, app_conn: Connection) -> None:
    other = await person(world.db, "other", roles=["creator"])
    own = await _stream(world)
    last = await _stream(world, creator=other.id, channel="other", seats=1)
    asked = [(world.alice.id, own, None), (world.creator.id, last, None), (world.bob.id, last, None)]
    assert await _errors(app_conn, *asked) == [None, None, "SOLD_OUT"]
    assert await balance(world.db, world.creator.wallet) == 0


async def test_the_same_asked_again_in_one_batch(world: World, app_conn: Connection) -> None:
    poor = await person(world.db, "poor", tokens=30)
    free, paid = await _stream(world, channel="free", price=0), await _stream(world, channel="paid", seats=3)
    asked = [
        (poor.id, free, "a"),
        (poor.id, paid, "a"),
        (poor.id, free, "a"),
        (poor.id, paid, "b"),
        (poor.id, paid, "b"),
        (poor.id, free, "b"),
        (poor.id, paid, None),
        (NOBODY, paid, "b"),
    ]
    rows = await app_conn.fetch(BATCH, asked)
    assert [row["error"] for row in rows] == [
        None,
        "IDEMPOTENCY_KEY_REUSED",
        None,
        None,
        None,
        "IDEMPOTENCY_KEY_REUSED",
        "TICKET_ALREADY_PURCHASED",
        "USER_NOT_FOUND",
    ]
    assert [row["replayed"] for row in rows[:5]] == [False, False, True, False, True]
    assert dict(rows[4]) == dict(rows[3]) | {"ord": 5, "replayed": True}
    again = await app_conn.fetch(BATCH, asked)
    assert [row["ticket_id"] for row in again] == [row["ticket_id"] for row in rows]
    assert await world.db.fetchval("SELECT count(*) FROM core.tickets") == 2


async def test_of_two_hundred_at_once_one_gets_the_last_seat(world: World, connect: Connect) -> None:
    sessions = [await connect("app") for _ in range(20)]
    viewers = [await person(world.db, f"v{n}", tokens=30) for n in range(201)]
    stream = await _stream(world, seats=2)
    await world.db.fetch(BUY, viewers.pop().id, stream, None)

    async def ask(conn: Connection, mine: list[Person], *, together: bool) -> list[str | None]:
        if together:
            return await _errors(conn, *((who.id, stream, "k") for who in mine))
        return [(await _errors(conn, (who.id, stream, "k")))[0] for who in mine]

    told = await asyncio.gather(*(ask(c, viewers[i::20], together=i % 2 == 0) for i, c in enumerate(sessions)))
    outcomes = [slug for slugs in told for slug in slugs]
    assert (outcomes.count(None), outcomes.count("SOLD_OUT")) == (1, 199)
    assert await balance(world.db, world.creator.wallet) == 60
    assert await world.db.fetchval("SELECT seats_left FROM api.streams") == 0


async def test_the_wallets_of_all_turns_are_locked_at_once(world: World, connect: Connect) -> None:
    """In id order: a wallet of a later turn is not waited for with one of an earlier turn in hand."""
    buyer, other = await connect("app"), await connect("app")
    low, high = [await person(world.db, name, tokens=31) for name in ("low", "high")]
    assert low.wallet < high.wallet
    plenty, last = await _stream(world, channel="plenty"), await _stream(world, channel="last", seats=1)
    asked = [(high.id, plenty, None), (high.id, last, None), (low.id, last, None)]
    async with other.transaction():
        await transfer(other, Transfer(source=low.wallet, target=world.bob.wallet, amount=1))
        told = asyncio.create_task(_errors(buyer, *asked))
        await until_waiting(world.db, buyer)
        await transfer(other, Transfer(source=high.wallet, target=world.bob.wallet, amount=1))
    assert await told == [None, "INSUFFICIENT_TOKENS", None]


async def test_one_viewer_at_once_buys_one(world: World, connect: Connect, stream: UUID) -> None:
    sessions = [await connect("app") for _ in range(8)]
    rows = await asyncio.gather(*(conn.fetchrow(BUY, world.alice.id, stream, "k") for conn in sessions))
    assert len({row["ticket_id"] for row in rows if row}) == 1
    assert sum(not row["replayed"] for row in rows if row) == 1
    assert await balance(world.db, world.alice.wallet) == 70


async def test_cancelled_every_ticket_is_given_back_once(world: World, app_conn: Connection, stream: UUID) -> None:
    await set_fee(world.db, 1000)
    for viewer in (world.alice, world.bob):
        await app_conn.fetch(BUY, viewer.id, stream, None)
    paid = await world.db.fetchval("SELECT transfer_id FROM api.tickets WHERE viewer_id = $1", world.bob.id)
    await world.db.execute("SELECT api.refund_transfer($1, 7, p_reason => 'half of it was bad')", paid)
    async with as_ledger(world.db):
        await world.db.execute("UPDATE core.wallets SET minimum = 20 WHERE id = $1", world.creator.wallet)
    row = await app_conn.fetchrow(CANCEL, stream, "ill", world.creator.id)
    assert row is not None
    assert (row["status"], row["cancelled_at"] is not None) == ("ended", True)
    assert [await balance(world.db, who.wallet) for who in (world.alice, world.bob, world.creator)] == [100, 100, 0]
    assert await revenue(world.db) == 0
    assert await world.db.fetchval("SELECT debt FROM core.wallets WHERE id = $1", world.creator.wallet) == 20
    assert (await refused(app_conn, CANCEL, stream, "again", world.creator.id)).slug == "STREAM_ENDED"
    assert (await refused(app_conn, BUY, world.alice.id, stream, None)).slug == "TICKET_ALREADY_PURCHASED"
    assert (await refused(app_conn, BUY, world.frozen.id, stream, None)).facts["reason"] == "cancelled"
    access = await app_conn.fetchrow("SELECT * FROM api.stream_access($1, $2)", stream, world.alice.id)
    assert access is not None
    assert tuple(access) == (False, "no_ticket")


async def test_cancelling_knows_no_velocity_limit(world: World, app_conn: Connection, stream: UUID) -> None:
    for viewer in (world.alice, world.bob):
        await app_conn.fetch(BUY, viewer.id, stream, None)
    await set_rate(world.db, "velocity_count_day", 1, "count")
    await set_rate(world.db, "velocity_amount_hour", 0, "minor_units", scope="refund")
    await app_conn.fetch(CANCEL, stream, "ill", world.creator.id)
    assert [await balance(world.db, who.wallet) for who in (world.alice, world.bob, world.creator)] == [100, 100, 0]


async def test_cancelling_beside_buyers_leaves_no_paid_ticket(world: World, connect: Connect) -> None:
    viewers = [await person(world.db, f"v{n}", tokens=100) for n in range(12)]
    sessions = [await connect("app") for _ in range(4)]
    canceller = await connect("app")

    async def buy(conn: Connection, mine: list[Person], stream: UUID) -> None:
        for viewer in mine:
            try:
                await conn.fetch(BUY, viewer.id, stream, None)
            except asyncpg.PostgresError as error:
                assert raised(error).slug == "SALES_CLOSED"  # noqa: PT017

    for n in range(10):
        stream = await _stream(world, channel=f"s-{n}", price=5)
        await asyncio.gather(
            *(buy(c, viewers[i::4], stream) for i, c in enumerate(sessions)),
            canceller.fetch(CANCEL, stream, "no", None),
        )
        assert await world.db.fetchval("SELECT count(*) FROM core.tickets WHERE refunded_at IS NULL") == 0
    assert [await balance(world.db, viewer.wallet) for viewer in viewers] == [100] * 12


async def test_the_life_of_a_stream(world: World, app_conn: Connection, stream: UUID) -> None:
    start, end = "SELECT * FROM api.start_stream($1, $2)", "SELECT * FROM api.end_stream($1, $2)"
    for query in (start, end):
        assert (await refused(app_conn, query, stream, world.alice.id)).slug == "NOT_STREAM_OWNER"
        assert (await refused(app_conn, query, NOBODY, world.creator.id)).slug == "STREAM_NOT_FOUND"
        assert (await refused(app_conn, query, stream, NOBODY)).slug == "USER_NOT_FOUND"
        assert (await refused(app_conn, query, stream, world.suspended.id)).slug == "USER_SUSPENDED"
    assert (await refused(app_conn, end, stream, world.creator.id)).slug == "STREAM_NOT_LIVE"
    first = await app_conn.fetchrow(start, stream, world.creator.id)
    assert await app_conn.fetchrow(start, stream, world.creator.id) == first
    done = await app_conn.fetchrow(end, stream, world.creator.id)
    assert done is not None
    assert (done["status"], done["ended_at"] is not None) == ("ended", True)
    assert (await refused(app_conn, start, stream, world.creator.id)).slug == "STREAM_ENDED"
    assert (await refused(app_conn, BUY, world.alice.id, stream, None)).facts["reason"] == "ended"
    types = await world.db.fetch("SELECT type FROM core.outbox WHERE type ~ '^stream[.]' ORDER BY id")
    assert [row["type"] for row in types] == ["stream.created", "stream.started", "stream.ended"]


async def test_who_may_watch(world: World, app_conn: Connection, stream: UUID) -> None:
    access = "SELECT * FROM api.stream_access($1, $2)"
    public = await _stream(world, channel="public", visibility="public")
    await app_conn.fetch(BUY, world.alice.id, stream, None)
    for which, who, reason in (
        (stream, world.creator.id, "owner"),
        (stream, world.alice.id, "ticket_purchased"),
        (stream, world.bob.id, "no_ticket"),
        (stream, None, "no_ticket"),
        (public, world.bob.id, "public_stream"),
    ):
        row = await app_conn.fetchrow(access, which, who)
        assert row is not None
        assert tuple(row) == (reason != "no_ticket", reason)
    assert (await refused(app_conn, access, NOBODY, world.bob.id)).slug == "STREAM_NOT_FOUND"


BAD: dict[str, Any] = {
    "title": ["", "  ", "t" * 201, None],
    "channel": ["", "a", "UPPER", "with space", "-begins", "c" * 64, None],
    "visibility": ["secret", None],
    "price": [-1, 1_000_000_001],
    "seats": [0, -1, 10_000_001],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in BAD.items() for value in values])
async def test_a_stream_that_cannot_be(world: World, app_conn: Connection, field: str, value: Any) -> None:
    found = await refused(app_conn, CREATE, *_new(world, **{field: value}))
    assert found.slug == "INVALID_REQUEST"
    assert found.facts["field"].removeprefix("ticket_") == field
    assert await world.db.fetchval("SELECT count(*) FROM core.streams") == 0


async def test_more_streams_that_cannot_be(world: World, app_conn: Connection, stream: UUID) -> None:
    assert (await refused(app_conn, CREATE, *_new(world))).slug == "CHANNEL_TAKEN"
    assert (await refused(app_conn, CREATE, *_new(world, creator=world.alice.id))).slug == "CREATOR_NOT_FOUND"
    assert (await refused(app_conn, CANCEL, stream, " ", None)).slug == "INVALID_REQUEST"
    assert (await refused(app_conn, CANCEL, stream, "why", world.alice.id)).slug == "NOT_STREAM_OWNER"
