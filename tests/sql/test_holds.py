"""api.place_hold, api.capture_hold, api.release_hold, api.expire_holds: money set aside, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.support.money import (
    AMOUNT_RANGE,
    MAX_AMOUNT,
    Refusal,
    Transfer,
    World,
    balance,
    lapse,
    overdraft,
    raised,
    refused,
    set_status,
    transfer,
    until_waiting,
    written,
)
from tests.support.postgres import Connection

PLACE = "SELECT * FROM api.place_hold($1, $2, $3, $4, $5, $6, $7, $8)"
CAPTURE = "SELECT * FROM api.capture_hold($1, $2, $3, $4, $5, $6, $7, $8)"
RELEASE = "SELECT * FROM api.release_hold($1, $2, $3)"
RACES = 200
HOUR = timedelta(hours=1)
Arguments = tuple[Any, ...]


def _place(world: World, amount: int | None = 60, **changes: Any) -> Arguments:
    fields = {
        "wallet": world.alice.wallet,
        "amount": amount,
        "expires_in": HOUR,
        "key": None,
        "kind": "hold",
        "reference": None,
        "actor": None,
        "metadata": None,
    }
    return tuple((fields | changes).values())


def _capture(hold: UUID, world: World, amount: int | None = None, **changes: Any) -> Arguments:
    fields = {
        "hold": hold,
        "to": world.bob.wallet,
        "amount": amount,
        "close": False,
        "key": None,
        "reference": None,
        "actor": None,
        "metadata": None,
    }
    return tuple((fields | changes).values())


async def _held(conn: Connection, arguments: Arguments) -> UUID:
    hold: UUID = (await _one(conn, PLACE, arguments))["hold_id"]
    return hold


async def _one(conn: Connection, query: str, arguments: Arguments) -> asyncpg.Record:
    row = await conn.fetchrow(query, *arguments)
    assert row is not None
    return row


async def _wallet(world: World) -> tuple[int, int, int]:
    row = await world.db.fetchrow(
        "SELECT balance, held, spendable FROM api.wallet_balances($1) WHERE asset = 'TOKEN'", world.alice.id
    )
    assert row is not None
    return row["balance"], row["held"], row["spendable"]


async def test_a_hold_sets_aside_and_moves_nothing(world: World, app_conn: Connection) -> None:
    receipt = await _one(app_conn, PLACE, _place(world, kind="ticket", reference="r", actor=world.alice.id))
    assert (receipt["status"], receipt["amount"], receipt["captured"], receipt["remaining"]) == ("open", 60, 0, 60)
    assert (receipt["balance"], receipt["spendable"], receipt["replayed"]) == (100, 40, False)
    assert await _wallet(world) == (100, 60, 40)
    row = await world.db.fetchrow("SELECT * FROM api.holds WHERE hold_id = $1", receipt["hold_id"])
    assert row is not None
    assert (row["kind"], row["reference"], row["actor_id"], row["db_user"]) == ("ticket", "r", world.alice.id, None)
    assert row["expires_at"] - row["created_at"] == HOUR
    assert await world.db.fetchval("SELECT channels FROM core.outbox WHERE type = 'hold.placed'") == [
        f"user:{world.alice.id}"
    ]


async def test_what_is_held_cannot_be_spent_or_held_again(world: World, app_conn: Connection) -> None:
    await _held(app_conn, _place(world))
    short = {"required": 41, "current": 40, "shortfall": 1, "asset": "TOKEN"}
    spend = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=41)
    assert await refused(app_conn, "SELECT * FROM api.transfer($1, $2, $3)", *spend.arguments()[:3]) == Refusal(
        "TS401", "INSUFFICIENT_TOKENS", short
    )
    assert await refused(app_conn, PLACE, *_place(world, 41)) == Refusal("TS401", "INSUFFICIENT_TOKENS", short)
    await transfer(app_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=40))
    assert await _wallet(world) == (60, 60, 0)


@pytest.mark.parametrize(("minimum", "most"), [(-50, 100), (30, 70)], ids=["overdraft", "reserve"])
async def test_a_hold_never_draws_on_overdraft(world: World, app_conn: Connection, minimum: int, most: int) -> None:
    await overdraft(world.db, world.alice.wallet, minimum)
    facts = {"required": most + 1, "current": most, "shortfall": 1, "asset": "TOKEN"}
    assert await refused(app_conn, PLACE, *_place(world, most + 1)) == Refusal("TS401", "INSUFFICIENT_TOKENS", facts)
    assert (await _one(app_conn, PLACE, _place(world, most)))["spendable"] == 0


async def test_captures_in_parts_until_it_is_used_up(world: World, app_conn: Connection) -> None:
    hold = await _held(app_conn, _place(world, kind="ticket", reference="seat 1"))
    first = await _one(app_conn, CAPTURE, _capture(hold, world, 20))
    assert (first["status"], first["captured"], first["remaining"], first["balance"]) == ("open", 20, 40, 80)
    assert await _wallet(world) == (80, 40, 40)
    second = await _one(app_conn, CAPTURE, _capture(hold, world, 15, reference="seat 2"))
    last = await _one(app_conn, CAPTURE, _capture(hold, world))
    assert (last["status"], last["captured"], last["remaining"], last["balance"]) == ("captured", 60, 0, 40)
    assert await _wallet(world) == (40, 0, 40)
    assert await balance(world.db, world.bob.wallet) == 160
    made = await world.db.fetch(
        "SELECT t.amount, t.kind, t.reference FROM core.captures AS c JOIN core.transfers AS t ON t.id = c.transfer_id"
        " WHERE c.hold_id = $1 ORDER BY t.created_at",
        hold,
    )
    assert [tuple(row) for row in made] == [
        (20, "ticket", "seat 1"),
        (15, "ticket", "seat 2"),
        (25, "ticket", "seat 1"),
    ]
    assert second["transfer_id"] != last["transfer_id"]
    closed = Refusal("TS316", "HOLD_CLOSED", {"hold_id": str(hold), "hold_status": "captured"})
    found = await refused(app_conn, CAPTURE, *_capture(hold, world, 1))
    assert found._replace(facts={k: v for k, v in found.facts.items() if k != "expires_at"}) == closed


async def test_a_closing_capture_gives_back_the_rest(world: World, app_conn: Connection) -> None:
    hold = await _held(app_conn, _place(world))
    receipt = await _one(app_conn, CAPTURE, _capture(hold, world, 10, close=True))
    assert (receipt["status"], receipt["captured"], receipt["remaining"]) == ("captured", 10, 0)
    assert await _wallet(world) == (90, 0, 90)


async def test_release_gives_back_what_is_left(world: World, app_conn: Connection) -> None:
    hold = await _held(app_conn, _place(world))
    await _one(app_conn, CAPTURE, _capture(hold, world, 10))
    receipt = await _one(app_conn, RELEASE, (hold, None, world.alice.id))
    assert (receipt["status"], receipt["captured"], receipt["remaining"], receipt["spendable"]) == (
        "released",
        10,
        0,
        90,
    )
    assert await _wallet(world) == (90, 0, 90)
    assert (await refused(app_conn, RELEASE, hold, None, None)).facts["hold_status"] == "released"


async def test_an_expired_hold_blocks_nothing_and_captures_nothing(world: World, app_conn: Connection) -> None:
    hold = await _held(app_conn, _place(world, 100))
    await lapse(world.db, hold)
    assert await _wallet(world) == (100, 0, 100), "not even before anybody has cleared it away"
    assert await world.db.fetchval("SELECT (status, remaining)::text FROM api.holds") == "(expired,0)"
    for query, arguments in ((CAPTURE, _capture(hold, world)), (RELEASE, (hold, None, None))):
        found = await refused(app_conn, query, *arguments)
        assert (found.code, found.slug, found.facts["hold_status"]) == ("TS316", "HOLD_CLOSED", "expired")
    await transfer(app_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=100))
    assert await _wallet(world) == (0, 0, 0)
    assert await world.db.fetchval("SELECT status FROM core.holds") == "expired"
    assert await world.db.fetchval("SELECT count(*) FROM core.outbox WHERE type = 'hold.expired'") == 1


@pytest.mark.parametrize("way", ["transfer_batch", "place_hold", "send_tip"])
async def test_every_way_to_spend_passes_an_expired_hold(world: World, app_conn: Connection, way: str) -> None:
    await lapse(world.db, await _held(app_conn, _place(world, 100)))
    if way == "place_hold":
        await _held(app_conn, _place(world, 100))
        return
    if way == "send_tip":
        await app_conn.fetch("SELECT api.send_tip($1, $2, 100)", world.alice.id, world.creator.id)
    else:
        item = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=100).item()
        outcome = await app_conn.fetchrow("SELECT * FROM api.transfer_batch($1::api.transfer_request[])", [item])
        assert outcome is not None
        assert outcome["error"] is None
    assert await _wallet(world) == (0, 0, 0)


async def test_the_scheduler_closes_what_has_expired_and_nothing_else(world: World, connect: Connect) -> None:
    scheduler = await connect("scheduler")
    kept = await _held(world.db, _place(world, 10))
    for amount in (20, 30):
        await lapse(world.db, await _held(world.db, _place(world, amount)))
    await lapse(world.db, await _held(world.db, _place(world, 5, wallet=world.bob.wallet)))
    assert await scheduler.fetchval("SELECT api.expire_holds(1)") >= 1
    assert await scheduler.fetchval("SELECT api.expire_holds(NULL)") <= 2
    assert await scheduler.fetchval("SELECT api.expire_holds()") == 0
    assert await world.db.fetchval("SELECT array_agg(hold_id) FROM api.holds WHERE status = 'open'") == [kept]
    assert await world.db.fetchval("SELECT held FROM core.wallets WHERE id = $1", world.alice.wallet) == 10


async def test_a_hold_of_a_wallet_in_overdraft_is_paid_out_all_the_same(world: World, app_conn: Connection) -> None:
    await overdraft(world.db, world.alice.wallet, -50)
    hold = await _held(app_conn, _place(world, 100))
    await transfer(app_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=50))
    await _one(app_conn, CAPTURE, _capture(hold, world))
    assert await _wallet(world) == (-50, 0, 0)


Case = Callable[[World], tuple[Arguments, Refusal]]


def _refused(code: str, slug: str, facts: dict[str, Any], **changes: Any) -> Case:
    return lambda world: (_place(world, **changes), Refusal(code, slug, facts))


PLACE_REFUSED: dict[str, Case] = {
    "nothing": _refused("TS102", "INVALID_AMOUNT", {"amount": 0, **AMOUNT_RANGE}, amount=0),
    "less than nothing": _refused("TS102", "INVALID_AMOUNT", {"amount": -1, **AMOUNT_RANGE}, amount=-1),
    "no amount": _refused("TS102", "INVALID_AMOUNT", {"amount": None, **AMOUNT_RANGE}, amount=None),
    "too much": _refused("TS102", "INVALID_AMOUNT", {"amount": MAX_AMOUNT + 1, **AMOUNT_RANGE}, amount=MAX_AMOUNT + 1),
    "no time": _refused(
        "TS101", "INVALID_REQUEST", {"field": "expires_in", "maximum_seconds": 31622400}, expires_in=timedelta(0)
    ),
    "years": _refused(
        "TS101", "INVALID_REQUEST", {"field": "expires_in", "maximum_seconds": 31622400}, expires_in=timedelta(367)
    ),
    "for ever": _refused(
        "TS101", "INVALID_REQUEST", {"field": "expires_in", "maximum_seconds": 31622400}, expires_in=None
    ),
    "metadata": _refused(
        "TS105", "METADATA_TOO_LARGE", {"bytes": 5011, "maximum_bytes": 4096}, metadata='{"a": "' + "x" * 4998 + '"}'
    ),
    "empty key": _refused("TS106", "IDEMPOTENCY_KEY_INVALID", {"bytes": 0, "maximum_bytes": 255}, key=""),
    "kind": _refused("TS109", "INVALID_KIND", {"kind": "No"}, kind="No"),
    "tip": _refused("TS109", "INVALID_KIND", {"kind": "tip", "reserved": True}, kind="tip"),
    "no wallet": _refused("TS210", "WALLET_NOT_FOUND", {"wallet_id": str(NOBODY)}, wallet=NOBODY),
    "unknown actor": _refused("TS211", "USER_NOT_FOUND", {"user_id": str(NOBODY)}, actor=NOBODY),
    "frozen": lambda w: (
        _place(w, 1, wallet=w.frozen.wallet),
        Refusal("TS310", "WALLET_FROZEN", {"wallet_id": str(w.frozen.wallet), "wallet_status": "frozen"}),
    ),
    "closed": lambda w: (
        _place(w, 1, wallet=w.closed.wallet),
        Refusal("TS311", "WALLET_CLOSED", {"wallet_id": str(w.closed.wallet), "wallet_status": "closed"}),
    ),
    "suspended actor": lambda w: (
        _place(w, actor=w.suspended.id),
        Refusal("TS502", "USER_SUSPENDED", {"user_id": str(w.suspended.id)}),
    ),
}


@pytest.mark.parametrize("name", PLACE_REFUSED)
async def test_a_hold_that_cannot_be(world: World, app_conn: Connection, name: str) -> None:
    arguments, refusal = PLACE_REFUSED[name](world)
    before = await written(world.db)
    found = await refused(app_conn, PLACE, *arguments)
    if name == "metadata":
        refusal = refusal._replace(facts={**refusal.facts, "bytes": found.facts["bytes"]})
    assert found == refusal
    assert await written(world.db) == before


async def test_a_wallet_whose_debits_are_frozen_gives_none(world: World, app_conn: Connection) -> None:
    hold = await _held(app_conn, _place(world))
    await set_status(world.db, world.alice.wallet, "debits_frozen")
    facts = {"wallet_id": str(world.alice.wallet), "wallet_status": "debits_frozen"}
    assert await refused(app_conn, PLACE, *_place(world, 1)) == Refusal("TS310", "WALLET_FROZEN", facts)
    assert await refused(app_conn, CAPTURE, *_capture(hold, world)) == Refusal("TS310", "WALLET_FROZEN", facts)
    assert (await _one(app_conn, RELEASE, (hold, None, None)))["status"] == "released"


CAPTURE_REFUSED: dict[str, Callable[[World, UUID], tuple[Arguments, str, str]]] = {
    "not there": lambda w, h: (_capture(NOBODY, w), "TS215", "HOLD_NOT_FOUND"),
    "nothing": lambda w, h: (_capture(h, w, 0), "TS102", "INVALID_AMOUNT"),
    "less than nothing": lambda w, h: (_capture(h, w, -5), "TS102", "INVALID_AMOUNT"),
    "more than held": lambda w, h: (_capture(h, w, 61), "TS317", "HOLD_EXCEEDED"),
    "other asset": lambda w, h: (_capture(h, w, to=w.bob_eur), "TS103", "ASSET_MISMATCH"),
    "to itself": lambda w, h: (_capture(h, w, to=w.alice.wallet), "TS104", "SELF_TRANSFER"),
    "to nowhere": lambda w, h: (_capture(h, w, to=None), "TS210", "WALLET_NOT_FOUND"),
    "to a frozen wallet": lambda w, h: (_capture(h, w, to=w.frozen.wallet), "TS310", "WALLET_FROZEN"),
    "to a closed wallet": lambda w, h: (_capture(h, w, to=w.closed.wallet), "TS311", "WALLET_CLOSED"),
    "long key": lambda w, h: (_capture(h, w, key="k" * 256), "TS106", "IDEMPOTENCY_KEY_INVALID"),
    "long reference": lambda w, h: (_capture(h, w, reference="r" * 256), "TS101", "INVALID_REQUEST"),
    "metadata": lambda w, h: (_capture(h, w, metadata='{"a": "' + "x" * 5000 + '"}'), "TS105", "METADATA_TOO_LARGE"),
    "unknown actor": lambda w, h: (_capture(h, w, actor=NOBODY), "TS211", "USER_NOT_FOUND"),
    "suspended actor": lambda w, h: (_capture(h, w, actor=w.suspended.id), "TS502", "USER_SUSPENDED"),
}


@pytest.mark.parametrize("name", CAPTURE_REFUSED)
async def test_a_capture_that_cannot_be(world: World, app_conn: Connection, name: str) -> None:
    hold = await _held(app_conn, _place(world))
    arguments, code, slug = CAPTURE_REFUSED[name](world, hold)
    before = await written(world.db)
    found = await refused(app_conn, CAPTURE, *arguments)
    assert (found.code, found.slug) == (code, slug)
    assert await written(world.db) == before


async def test_a_release_that_cannot_be(world: World, app_conn: Connection) -> None:
    hold = await _held(app_conn, _place(world))
    cases: list[tuple[Arguments, str]] = [
        ((NOBODY, None, None), "HOLD_NOT_FOUND"),
        ((hold, "", None), "IDEMPOTENCY_KEY_INVALID"),
        ((hold, None, NOBODY), "USER_NOT_FOUND"),
        ((hold, None, world.suspended.id), "USER_SUSPENDED"),
    ]
    before = await written(world.db)
    assert [(await refused(app_conn, RELEASE, *arguments)).slug for arguments, _ in cases] == [s for _, s in cases]
    assert await written(world.db) == before


async def test_each_key_takes_effect_once_and_says_the_same_again(world: World, app_conn: Connection) -> None:
    async def twice(query: str, arguments: Arguments) -> asyncpg.Record:
        first = await _one(app_conn, query, arguments)
        before = await written(world.db)
        again = await _one(app_conn, query, arguments)
        assert await written(world.db) == before
        assert dict(again) == {**dict(first), "replayed": True}
        return first

    hold = (await twice(PLACE, _place(world, key="p")))["hold_id"]
    await twice(CAPTURE, _capture(hold, world, 10, key="c"))
    await twice(RELEASE, (hold, "r", None))
    assert (await _one(app_conn, CAPTURE, _capture(hold, world, 10, key="c")))["replayed"], (
        "closed since, still the same"
    )
    for query, arguments in (
        (PLACE, _place(world, 61, key="p")),
        (CAPTURE, _capture(hold, world, 11, key="c")),
        (RELEASE, (hold, "c", None)),
        (PLACE, _place(world, key="r")),
    ):
        assert (await refused(app_conn, query, *arguments)).slug == "IDEMPOTENCY_KEY_REUSED"
    mine = await _one(app_conn, PLACE, _place(world, 1, key="p", actor=world.alice.id))
    assert not mine["replayed"], "another actor's key is another key"


async def test_a_key_of_a_transfer_is_not_one_of_a_hold(world: World, app_conn: Connection) -> None:
    await transfer(app_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1, key="k"))
    assert (await refused(app_conn, PLACE, *_place(world, key="k"))).slug == "IDEMPOTENCY_KEY_REUSED"
    await _held(app_conn, _place(world, 1, key="h"))
    spend = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1, key="h")
    query = "SELECT * FROM api.transfer($1, $2, $3, $4, $5)"
    assert (await refused(app_conn, query, *spend.arguments()[:5])).slug == "IDEMPOTENCY_KEY_REUSED"


async def _at_once(sessions: list[Connection], query: str, arguments: Arguments) -> list[str]:
    """What became of the same call in several sessions at once: 'done' or a slug."""

    async def attempt(conn: Connection) -> str:
        try:
            await conn.fetch(query, *arguments)
        except asyncpg.PostgresError as error:
            return raised(error).slug
        return "done"

    return sorted(await asyncio.gather(*map(attempt, sessions)))


async def test_two_captures_of_all_have_one_winner(world: World, connect: Connect) -> None:
    sessions = [await connect("app") for _ in range(2)]
    for _ in range(RACES):
        hold = await _held(world.db, _place(world, 60))
        assert await _at_once(sessions, CAPTURE, _capture(hold, world, 60)) == ["HOLD_CLOSED", "done"]
        await transfer(world.db, Transfer(source=world.bob.wallet, target=world.alice.wallet, amount=60))


async def test_a_capture_and_a_release_have_one_winner(world: World, connect: Connect) -> None:
    first, second = [await connect("app") for _ in range(2)]
    for _ in range(20):
        hold = await _held(world.db, _place(world, 5))
        results = await asyncio.gather(
            first.fetch(CAPTURE, *_capture(hold, world)),
            second.fetch(RELEASE, hold, None, None),
            return_exceptions=True,
        )
        assert sum(isinstance(result, BaseException) for result in results) == 1


async def test_the_last_token_is_held_or_spent(world: World, connect: Connect) -> None:
    first, second = [await connect("app") for _ in range(2)]
    results = await asyncio.gather(
        first.fetch(PLACE, *_place(world, 100)),
        transfer(second, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=100)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, BaseException) for result in results) == 1


async def test_twins_at_once_place_one_hold(world: World, connect: Connect) -> None:
    sessions = [await connect("app") for _ in range(4)]
    rows = await asyncio.gather(*(conn.fetchrow(PLACE, *_place(world, 20, key="k")) for conn in sessions))
    assert len({row["hold_id"] for row in rows if row is not None}) == 1
    assert await _wallet(world) == (100, 20, 80)


async def test_expiry_waits_for_whoever_has_the_wallet(world: World, connect: Connect) -> None:
    hold = await _held(world.db, _place(world, 60))
    spender, scheduler = await connect("app"), await connect("scheduler")
    async with spender.transaction():
        await transfer(spender, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1))
        await lapse(world.db, hold)
        expiring = asyncio.create_task(scheduler.fetchval("SELECT api.expire_holds()"))
        await until_waiting(world.db, scheduler)
    assert await expiring == 1
    assert await _wallet(world) == (99, 0, 99)
