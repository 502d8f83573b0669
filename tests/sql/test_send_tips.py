"""api.send_tip and api.send_tips, with and without a fee."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.support.calls import ask_for
from tests.support.money import (
    AMOUNT_RANGE,
    MAX_AMOUNT,
    TIP,
    TIPS,
    Person,
    Refusal,
    Tip,
    World,
    balance,
    outcome_refusal,
    person,
    raised,
    refused,
    revenue,
    set_fee,
    set_status,
    tip,
    tips,
    unguarded,
    until_waiting,
    without_rate,
    written,
)
from tests.support.postgres import Connection

STREAM = UUID("00000000-0000-7000-8000-000000000001")
OTHER_STREAM = UUID("00000000-0000-7000-8000-000000000002")
Case = Callable[[World], tuple[Tip, Refusal]]


def _plain(world: World, **changes: Any) -> Tip:
    return msgspec.structs.replace(Tip(sender=world.alice.id, creator=world.creator.id, amount=10), **changes)


def _case(code: str, slug: str, facts: dict[str, Any], **changes: Any) -> Case:
    return lambda world: (_plain(world, **changes), Refusal(code, slug, facts))


def _amount(amount: int | None) -> Case:
    return _case("TS102", "INVALID_AMOUNT", {"amount": amount, **AMOUNT_RANGE}, amount=amount)


REFUSALS: dict[str, Case] = {
    "no such stream": _case("TS218", "STREAM_NOT_FOUND", {"stream_id": str(NOBODY)}, stream=NOBODY),
    "no such call": _case("TS219", "CALL_NOT_FOUND", {"call_id": str(NOBODY)}, call=NOBODY),
    "stream and call": _case("TS101", "INVALID_REQUEST", {"field": "context"}, stream=STREAM, call=STREAM),
    "nothing": _amount(0),
    "less than nothing": _amount(-5),
    "least bigint": _amount(-(2**63)),
    "most bigint": _amount(2**63 - 1),
    "above the limit": _amount(MAX_AMOUNT + 1),
    "no amount": _amount(None),
    "to oneself": lambda w: (
        _plain(w, sender=w.creator.id),
        Refusal("TS104", "SELF_TRANSFER", {"wallet_id": str(w.creator.wallet)}),
    ),
    "empty key": _case("TS106", "IDEMPOTENCY_KEY_INVALID", {"bytes": 0, "maximum_bytes": 255}, key=""),
    "long key": _case("TS106", "IDEMPOTENCY_KEY_INVALID", {"bytes": 256, "maximum_bytes": 255}, key="é" * 128),
    "long message": _case("TS108", "MESSAGE_TOO_LONG", {"length": 501, "maximum": 500}, message="é" * 501),
    "unknown sender": _case("TS211", "USER_NOT_FOUND", {"user_id": str(NOBODY)}, sender=NOBODY),
    "no sender": _case("TS211", "USER_NOT_FOUND", {"user_id": None}, sender=None),
    "unknown creator": _case("TS212", "CREATOR_NOT_FOUND", {"creator_id": str(NOBODY)}, creator=NOBODY),
    "not a creator": lambda w: (
        _plain(w, creator=w.bob.id),
        Refusal("TS212", "CREATOR_NOT_FOUND", {"creator_id": str(w.bob.id)}),
    ),
    "suspended creator": lambda w: (
        _plain(w, creator=w.suspended.id),
        Refusal("TS212", "CREATOR_NOT_FOUND", {"creator_id": str(w.suspended.id)}),
    ),
    "frozen creator": lambda w: (
        _plain(w, creator=w.frozen.id),
        Refusal("TS310", "WALLET_FROZEN", {"wallet_id": str(w.frozen.wallet), "wallet_status": "frozen"}),
    ),
    "closed sender": lambda w: (
        _plain(w, sender=w.closed.id),
        Refusal("TS311", "WALLET_CLOSED", {"wallet_id": str(w.closed.wallet), "wallet_status": "closed"}),
    ),
    "one token short": _case(
        "TS401", "INSUFFICIENT_TOKENS", {"required": 101, "current": 100, "shortfall": 1, "asset": "TOKEN"}, amount=101
    ),
    "suspended sender": lambda w: (
        _plain(w, sender=w.suspended.id),
        Refusal("TS502", "USER_SUSPENDED", {"user_id": str(w.suspended.id)}),
    ),
}


async def _streams(world: World) -> None:
    """STREAM is the creator's; OTHER_STREAM is somebody else's."""
    for stream, whose, channel in ((STREAM, world.creator, "mine"), (OTHER_STREAM, world.frozen, "other")):
        await world.db.execute(
            "INSERT INTO core.streams (id, creator_id, title, channel) VALUES ($1, $2, 'Show', $3)",
            stream,
            whose.id,
            channel,
        )


async def test_a_tip_arrives_whole_and_is_recorded(world: World, app_conn: Connection) -> None:
    await _streams(world)
    sent = await tip(app_conn, _plain(world, message="thänks", stream=STREAM, key="k"))
    assert (sent["amount"], sent["creator_cut"], sent["platform_fee"], sent["new_balance"]) == (10, 10, 0, 90)
    assert sent["replayed"] is False
    row = await world.db.fetchrow("SELECT * FROM api.tips")
    assert row is not None
    assert (row["tip_id"], row["message"], row["stream_id"], row["call_id"], row["created_at"]) == (
        sent["tip_id"],
        "thänks",
        STREAM,
        None,
        sent["created_at"],
    )
    event = await world.db.fetchrow("SELECT channels, payload FROM core.outbox WHERE type = 'tip.sent'")
    assert event is not None
    assert event["channels"] == [f"creator:{world.creator.id}", f"user:{world.alice.id}", f"stream:{STREAM}"]
    payload = json.loads(event["payload"])
    assert (payload["amount"], payload["sender_name"]) == (10, "alice")
    assert await balance(world.db, world.creator.wallet) == 10


@pytest.mark.parametrize("bps", [0, 250])
@pytest.mark.parametrize("case", REFUSALS)
async def test_refusal(world: World, app_conn: Connection, case: str, bps: int) -> None:
    """With a fee and without; alone, and between tips that are fine."""
    await set_fee(world.db, bps)
    request, expected = REFUSALS[case](world)
    before = await written(world.db)
    assert await refused(app_conn, TIP, *request.arguments()) == expected
    assert await written(world.db) == before
    good = _plain(world, sender=world.bob.id, amount=40)
    rows = await tips(app_conn, [good, request, good])
    assert [outcome_refusal(row) for row in rows] == [None, expected, None]
    assert [row["ord"] for row in rows] == [1, 2, 3]
    assert set(rows[1].values()) - {2, False, rows[1]["detail"], expected.code, expected.slug} == {None}
    assert rows[2]["new_balance"] == 20
    assert await world.db.fetchval("SELECT count(*) FROM core.tips") == 2


async def test_a_user_without_a_wallet(world: World, app_conn: Connection) -> None:
    poor = await world.without_wallet("creator")
    for request in (_plain(world, sender=poor), _plain(world, creator=poor)):
        assert (await refused(app_conn, TIP, *request.arguments())).slug == "WALLET_NOT_FOUND"


@pytest.mark.breaks_ledger
async def test_a_wallet_has_a_limit(world: World, app_conn: Connection) -> None:
    async with unguarded(world.db):
        await world.db.execute(
            "UPDATE core.wallets SET lifetime_earned = 8999999999999999999 WHERE id = $1", world.creator.wallet
        )
    assert (await refused(app_conn, TIP, *_plain(world).arguments())).slug == "BALANCE_LIMIT"


async def test_too_many(world: World, app_conn: Connection) -> None:
    many = [_plain(world, amount=1).arguments()] * 5001
    assert await refused(app_conn, TIPS, many) == Refusal("TS107", "BATCH_TOO_LARGE", {"size": 5001, "maximum": 5000})
    await set_fee(world.db, 5000)
    paired = [_plain(world, amount=2).arguments()] * 2501
    assert (await refused(app_conn, TIPS, paired)).code == "TS107"
    assert await tips(app_conn, []) == []


@pytest.mark.parametrize("query", [TIP, TIPS])
async def test_without_a_rate_nothing_is_sent(world: World, app_conn: Connection, query: str) -> None:
    await without_rate(world.db, "platform_fee")
    before = await written(world.db)
    arguments = _plain(world).arguments()
    refusal = await refused(app_conn, query, *(arguments if query == TIP else [[arguments]]))
    assert (refusal.code, refusal.slug, refusal.facts["rate"]) == ("TS801", "CONFIGURATION_ERROR", "platform_fee")
    assert await written(world.db) == before


@pytest.mark.parametrize("bps", [0, 1, 250, 9999, 10000])
async def test_a_fee_neither_loses_nor_makes_a_token(world: World, app_conn: Connection, bps: int) -> None:
    amounts = [1, 2, 39, 40, 41, 99, 10_000, 10_001, 999_999, MAX_AMOUNT]
    await world.db.fetch("SELECT api.grant_tokens($1, $2, 'rich')", world.alice.id, MAX_AMOUNT)
    await world.db.fetch("SELECT api.grant_tokens($1, $2, 'rich')", world.alice.id, sum(amounts[:-1]) - 100)
    await set_fee(world.db, bps)
    left = sum(amounts)
    rows = await tips(app_conn, [_plain(world, amount=amount) for amount in amounts])
    for amount, row in zip(amounts, rows, strict=True):
        left -= amount
        fee = amount * bps // 10000
        assert (row["error"], row["amount"], row["platform_fee"], row["creator_cut"], row["new_balance"]) == (
            None,
            amount,
            fee,
            amount - fee,
            left,
        )
    fees = sum(row["platform_fee"] for row in rows)
    assert await revenue(world.db) == fees
    assert await balance(world.db, world.creator.wallet) == sum(amounts) - fees


@pytest.mark.parametrize("bps", [0, 250, 10000])
async def test_a_key_replays_its_tip_whatever_the_rate_is_now(world: World, app_conn: Connection, bps: int) -> None:
    await set_fee(world.db, bps)
    request = _plain(world, amount=80, key="k")
    first = await tip(app_conn, request)
    await tip(app_conn, _plain(world, amount=5))
    for now in (bps, 0, 1000, 10000):
        await set_fee(world.db, now)
        before = await written(world.db)
        assert dict(await tip(app_conn, request)) == {**dict(first), "replayed": True}
        twice = await tips(app_conn, [request, _plain(world, amount=79, key="k"), request])
        assert [(row["tip_id"], row["error_code"]) for row in twice] == [
            (first["tip_id"], None),
            (None, "TS301"),
            (first["tip_id"], None),
        ]
        assert await written(world.db) == before


@pytest.mark.parametrize("bps", [0, 250])
async def test_a_key_twice_in_one_batch_is_one_tip(world: World, app_conn: Connection, bps: int) -> None:
    await set_fee(world.db, bps)
    one = _plain(world, amount=40, key="k")
    rows = await tips(app_conn, [one, one, msgspec.structs.replace(one, message="!"), _plain(world, amount=40)])
    assert [(row["replayed"], row["error_code"], row["new_balance"]) for row in rows] == [
        (False, None, 60),
        (True, None, 60),
        (False, "TS301", None),
        (False, None, 20),
    ]


@pytest.mark.parametrize("change", [{"amount": 11}, {"message": "m"}, {"stream": STREAM}, {"call": STREAM}])
async def test_a_key_is_for_one_tip(world: World, app_conn: Connection, change: dict[str, Any]) -> None:
    await _streams(world)
    await tip(app_conn, _plain(world, key="k"))
    assert await refused(app_conn, TIP, *_plain(world, key="k", **change).arguments()) == Refusal(
        "TS301", "IDEMPOTENCY_KEY_REUSED", {"idempotency_key": "k"}
    )


async def test_the_totals_of_streams_are_the_sums_of_their_tips(world: World, app_conn: Connection) -> None:
    await _streams(world)
    await set_fee(world.db, 1000)
    rows = await tips(
        app_conn,
        [
            _plain(world, stream=STREAM, key="a"),
            _plain(world, stream=STREAM, key="a"),
            _plain(world, stream=STREAM, sender=world.bob.id, amount=7),
            _plain(world),
            _plain(world, stream=STREAM, amount=1000),
            _plain(world, stream=OTHER_STREAM),
            _plain(world, stream=NOBODY),
        ],
    )
    found = [None if (refusal := outcome_refusal(row)) is None else refusal.slug for row in rows]
    assert found == [None, None, None, None, "INSUFFICIENT_TOKENS", "INVALID_REQUEST", "STREAM_NOT_FOUND"]
    told = outcome_refusal(rows[5])
    assert told is not None
    assert told.facts == {"field": "context", "stream_id": str(OTHER_STREAM)}
    totals = await world.db.fetch("SELECT stream_id, tips, tip_count FROM core.stream_totals")
    assert [tuple(row) for row in totals] == [(STREAM, 17, 2)]
    assert await world.db.fetchval("SELECT total_tips FROM api.streams WHERE stream_id = $1", STREAM) == 17
    await world.db.execute("SELECT api.refund_transfer($1)", rows[0]["tip_id"])
    assert await world.db.fetchval("SELECT total_tips FROM api.streams WHERE stream_id = $1", STREAM) == 17


async def test_totals_are_exact_when_many_tip_at_once(world: World, connect: Connect) -> None:
    await _streams(world)
    fans = [await person(world.db, f"fan{n}", tokens=1000) for n in range(6)]
    sessions = [await connect("app") for _ in fans]

    async def some(conn: Connection, fan: Person) -> None:
        for n in range(20):
            request = _plain(world, sender=fan.id, amount=1 + n % 3, stream=STREAM)
            other = _plain(world, sender=fan.id, creator=world.frozen.id, stream=OTHER_STREAM)
            await tips(conn, [other, request] if n % 2 else [request, other])

    await set_status(world.db, world.frozen.wallet, "active")
    await asyncio.gather(*(some(conn, fan) for conn, fan in zip(sessions, fans, strict=True)))
    totals = await world.db.fetch("SELECT total_tips FROM api.streams ORDER BY stream_id")
    assert [row["total_tips"] for row in totals] == [6 * (7 * 1 + 7 * 2 + 6 * 3), 6 * 20 * 10]


async def test_two_senders_with_one_key_do_not_meet(world: World, app_conn: Connection) -> None:
    rows = await tips(app_conn, [_plain(world, key="k"), _plain(world, key="k", sender=world.bob.id)])
    assert len({row["tip_id"] for row in rows}) == 2
    assert not any(row["replayed"] for row in rows)


async def test_fee_and_tip_are_both_done_or_neither(world: World, app_conn: Connection) -> None:
    """Enough for the creator's cut, not for the fee after it; and a platform whose wallet is shut."""
    await set_fee(world.db, 1000)
    before = await written(world.db)
    rows = await tips(app_conn, [_plain(world, amount=105)])
    assert outcome_refusal(rows[0]) == Refusal(
        "TS401", "INSUFFICIENT_TOKENS", {"required": 105, "current": 100, "shortfall": 5, "asset": "TOKEN"}
    )
    assert (rows[0]["new_balance"], rows[0]["tip_id"], rows[0]["platform_fee"]) == (None, None, None)
    assert await written(world.db) == before
    for shard in await world.db.fetch("SELECT id FROM core.wallets WHERE purpose = 'revenue'"):
        await set_status(world.db, shard["id"], "frozen")
    before = await written(world.db)
    assert (await refused(app_conn, TIP, *_plain(world, amount=50).arguments())).slug == "WALLET_FROZEN"
    assert await written(world.db) == before


async def test_refused_pairs_leave_later_tips_right(world: World, app_conn: Connection) -> None:
    await set_fee(world.db, 1000)
    rows = await tips(
        app_conn,
        [_plain(world, amount=60), _plain(world, amount=42), _plain(world, amount=9), _plain(world, amount=31)],
    )
    assert [(row["error_code"], row["new_balance"]) for row in rows] == [
        (None, 40),
        ("TS401", None),
        (None, 31),
        (None, 0),
    ]
    assert await revenue(world.db) == 6 + 0 + 3


@pytest.mark.parametrize("bps", [0, 250])
async def test_eight_at_once_with_one_key_are_one_tip(world: World, connect: Connect, bps: int) -> None:
    await set_fee(world.db, bps)
    conns = [await connect("app") for _ in range(8)]
    rows = await asyncio.gather(*(tip(conn, _plain(world, amount=80, key="k")) for conn in conns))
    assert sorted(row["replayed"] for row in rows) == [False] + [True] * 7
    assert len({tuple(row.values())[:-1] for row in rows}) == 1


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_the_second_waits_for_the_first(world: World, connect: Connect, end: str) -> None:
    await set_fee(world.db, 250)
    one, two = await connect("app"), await connect("app")
    transaction = one.transaction()
    await transaction.start()
    first = await tip(one, _plain(world, amount=80, key="k"))
    waiting = asyncio.create_task(tip(two, _plain(world, amount=80, key="k")))
    await until_waiting(world.db, two)
    await (transaction.commit() if end == "commit" else transaction.rollback())
    second = await waiting
    assert (second["tip_id"] == first["tip_id"]) is second["replayed"] is (end == "commit")


async def test_the_last_tokens_are_tipped_once(world: World, connect: Connect) -> None:
    conns = [await connect("app") for _ in range(4)]
    results = await asyncio.gather(*(tip(conn, _plain(world, amount=100)) for conn in conns), return_exceptions=True)
    lost = [raised(result).slug for result in results if isinstance(result, asyncpg.PostgresError)]
    assert lost == ["INSUFFICIENT_TOKENS"] * 3


async def test_a_tip_in_a_call_is_from_its_fan_to_its_creator(world: World, app_conn: Connection) -> None:
    await ask_for(world.db, world.creator, 20)
    call = await app_conn.fetchval("SELECT call_id FROM api.open_call($1, $2)", world.alice.id, world.creator.id)
    await tip(app_conn, _plain(world, call=call))
    event = await world.db.fetchval("SELECT channels FROM core.outbox WHERE type = 'tip.sent'")
    assert event == [f"creator:{world.creator.id}", f"user:{world.alice.id}", f"call:{call}"]
    other = await person(world.db, "other", roles=["creator"])
    rows = await tips(
        app_conn, [_plain(world, call=call, sender=world.bob.id), _plain(world, call=call, creator=other.id)]
    )
    assert [outcome_refusal(row) for row in rows] == [
        Refusal("TS508", "NOT_CALL_PARTICIPANT", {"call_id": str(call)}),
        Refusal("TS101", "INVALID_REQUEST", {"field": "context", "call_id": str(call)}),
    ]
