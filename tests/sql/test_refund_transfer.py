"""api.refund_transfer: never more than was paid, and three ways when the payee has spent it."""

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
from tests.sql.test_holds import PLACE, RELEASE
from tests.support.money import (
    Refusal,
    Tip,
    Transfer,
    World,
    balance,
    overdraft,
    raised,
    refused,
    set_status,
    tip,
    transfer,
    written,
)
from tests.support.postgres import Connection

REFUND = "SELECT * FROM api.refund_transfer($1, $2, $3, $4, $5, $6)"
RACES = 200
Arguments = tuple[Any, ...]


async def _paid(world: World, amount: int = 60) -> UUID:
    """Alice has paid Bob, who then has 100 + amount."""
    receipt = await transfer(world.db, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=amount))
    paid: UUID = receipt["transfer_id"]
    return paid


async def _spend(world: World, amount: int) -> None:
    await transfer(world.db, Transfer(source=world.bob.wallet, target=world.creator.wallet, amount=amount))


def _refund(
    original: UUID | None,
    amount: int | None = None,
    key: str | None = None,
    policy: str | None = "refuse",
    reason: str | None = None,
    actor: UUID | None = None,
) -> Arguments:
    return (original, amount, key, policy, reason, actor)


async def _one(conn: Connection, arguments: Arguments) -> asyncpg.Record:
    row = await conn.fetchrow(REFUND, *arguments)
    assert row is not None
    return row


async def _debt(world: World) -> int:
    debt: int = await world.db.fetchval("SELECT debt FROM api.wallets WHERE wallet_id = $1", world.bob.wallet)
    return debt


async def test_gives_back_the_whole_by_a_linked_transfer(world: World, app_conn: Connection) -> None:
    original = await _paid(world)
    receipt = await _one(app_conn, _refund(original, reason="sorry", actor=world.alice.id))
    assert (receipt["amount"], receipt["owed"], receipt["refundable"], receipt["replayed"]) == (60, 0, 0, False)
    assert (receipt["from_balance"], receipt["to_balance"], receipt["original_id"]) == (100, 100, original)
    row = await world.db.fetchrow("SELECT * FROM api.transfers WHERE transfer_id = $1", receipt["transfer_id"])
    assert row is not None
    assert (row["kind"], row["reference"], row["actor_id"]) == ("refund", "sorry", world.alice.id)
    assert (row["from_wallet_id"], row["to_wallet_id"]) == (world.bob.wallet, world.alice.wallet)
    assert (
        await world.db.fetchval("SELECT original_id FROM api.refunds WHERE transfer_id = $1", row["transfer_id"])
        == original
    )
    event = await world.db.fetchval(
        "SELECT payload ->> 'original_id' FROM core.outbox WHERE type = 'transfer.refunded'"
    )
    assert event == str(original)


async def test_parts_never_sum_to_more(world: World, app_conn: Connection) -> None:
    original = await _paid(world)
    assert (await _one(app_conn, _refund(original, 25)))["refundable"] == 35
    facts = {"transfer_id": str(original), "amount": 60, "requested": 36, "refundable": 35}
    assert await refused(app_conn, REFUND, *_refund(original, 36)) == Refusal("TS315", "REFUND_EXCEEDED", facts)
    assert (await _one(app_conn, _refund(original)))["amount"] == 35
    assert (await refused(app_conn, REFUND, *_refund(original))).facts["refundable"] == 0
    assert (await refused(app_conn, REFUND, *_refund(original, 1))).slug == "REFUND_EXCEEDED"
    assert await balance(world.db, world.alice.wallet) == 100


async def test_refuse_moves_nothing_that_is_not_there(world: World, app_conn: Connection) -> None:
    original = await _paid(world)
    await _spend(world, 120)
    before = await written(world.db)
    facts = {"required": 60, "current": 40, "shortfall": 20, "asset": "TOKEN"}
    assert await refused(app_conn, REFUND, *_refund(original)) == Refusal("TS401", "INSUFFICIENT_TOKENS", facts)
    assert await written(world.db) == before


async def test_within_balance_gives_what_there_is(world: World, app_conn: Connection) -> None:
    original = await _paid(world)
    await _spend(world, 120)
    receipt = await _one(app_conn, _refund(original, policy="within_balance"))
    assert (receipt["amount"], receipt["refundable"], receipt["from_balance"]) == (40, 20, 0)
    assert (await refused(app_conn, REFUND, *_refund(original, policy="within_balance"))).slug == "INSUFFICIENT_TOKENS"
    await transfer(world.db, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=5))
    assert (await _one(app_conn, _refund(original, policy="within_balance")))["amount"] == 5


async def test_within_balance_leaves_holds_and_reserves_alone(world: World, app_conn: Connection) -> None:
    original = await _paid(world)
    await app_conn.fetch(PLACE, world.bob.wallet, 100, timedelta(hours=1), None, "hold", None, None, None)
    await overdraft(world.db, world.bob.wallet, 10)
    assert (await _one(app_conn, _refund(original, policy="within_balance")))["amount"] == 50


async def test_a_debt_is_paid_off_by_what_comes_in_first(world: World, app_conn: Connection) -> None:
    original = await _paid(world)
    await _spend(world, 120)
    receipt = await _one(app_conn, _refund(original, policy="create_debt"))
    assert (receipt["amount"], receipt["owed"], receipt["from_balance"]) == (60, 20, -20)
    assert await _debt(world) == 20
    spend = "SELECT * FROM api.transfer($1, $2, 1)"
    facts = {"required": 1, "current": -20, "shortfall": 21, "asset": "TOKEN"}
    assert await refused(app_conn, spend, world.bob.wallet, world.alice.wallet) == Refusal(
        "TS401", "INSUFFICIENT_TOKENS", facts
    )
    await transfer(app_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=15))
    assert (await _debt(world), await balance(world.db, world.bob.wallet)) == (5, -5)
    assert (await refused(app_conn, spend, world.bob.wallet, world.alice.wallet)).slug == "INSUFFICIENT_TOKENS"
    await transfer(app_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=8))
    assert (await _debt(world), await balance(world.db, world.bob.wallet)) == (0, 3)
    await transfer(app_conn, Transfer(source=world.bob.wallet, target=world.alice.wallet, amount=3))


async def test_what_a_hold_gives_back_pays_off_a_debt(world: World, app_conn: Connection) -> None:
    original = await _paid(world)
    hold = await app_conn.fetchval(PLACE, world.bob.wallet, 150, timedelta(hours=1), None, "hold", None, None, None)
    receipt = await _one(app_conn, _refund(original, policy="create_debt"))
    assert (receipt["owed"], await _debt(world)) == (50, 50)
    await app_conn.fetch(RELEASE, hold, None, None)
    assert (await _debt(world), await balance(world.db, world.bob.wallet)) == (0, 100)


async def test_a_second_debt_adds_up(world: World, app_conn: Connection) -> None:
    first, second = await _paid(world, 40), await _paid(world, 20)
    await _spend(world, 160)
    for original in (first, second):
        await _one(app_conn, _refund(original, policy="create_debt"))
    assert (await _debt(world), await balance(world.db, world.bob.wallet)) == (60, -60)


async def test_a_tip_and_a_grant_are_refunded_like_any_transfer(world: World, app_conn: Connection) -> None:
    sent = await tip(app_conn, Tip(sender=world.alice.id, creator=world.creator.id, amount=10))
    assert (await _one(app_conn, _refund(sent["tip_id"])))["amount"] == 10
    grant = await world.db.fetchval(
        "SELECT transfer_id FROM api.transfers WHERE kind = 'grant' AND to_wallet_id = $1", world.alice.wallet
    )
    assert (await _one(app_conn, _refund(grant, 100)))["from_balance"] == 0


Case = Callable[[World, UUID], tuple[Arguments, str, str]]
REFUSED: dict[str, Case] = {
    "no transfer": lambda w, t: (_refund(NOBODY), "TS214", "TRANSFER_NOT_FOUND"),
    "null": lambda w, t: (_refund(None), "TS214", "TRANSFER_NOT_FOUND"),
    "nothing": lambda w, t: (_refund(t, 0), "TS102", "INVALID_AMOUNT"),
    "less than nothing": lambda w, t: (_refund(t, -1), "TS102", "INVALID_AMOUNT"),
    "least bigint": lambda w, t: (_refund(t, -(2**63)), "TS102", "INVALID_AMOUNT"),
    "debt of less than nothing": lambda w, t: (_refund(t, -1, policy="create_debt"), "TS102", "INVALID_AMOUNT"),
    "nothing within balance": lambda w, t: (_refund(t, 0, policy="within_balance"), "TS102", "INVALID_AMOUNT"),
    "most bigint": lambda w, t: (_refund(t, 2**63 - 1), "TS315", "REFUND_EXCEEDED"),
    "policy": lambda w, t: (_refund(t, policy="maybe"), "TS101", "INVALID_REQUEST"),
    "no policy": lambda w, t: (_refund(t, policy=None), "TS101", "INVALID_REQUEST"),
    "long reason": lambda w, t: (_refund(t, reason="r" * 256), "TS101", "INVALID_REQUEST"),
    "empty key": lambda w, t: (_refund(t, key=""), "TS106", "IDEMPOTENCY_KEY_INVALID"),
    "unknown actor": lambda w, t: (_refund(t, actor=NOBODY), "TS211", "USER_NOT_FOUND"),
    "suspended actor": lambda w, t: (_refund(t, actor=w.suspended.id), "TS502", "USER_SUSPENDED"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused(world: World, app_conn: Connection, name: str) -> None:
    arguments, code, slug = REFUSED[name](world, await _paid(world))
    before = await written(world.db)
    found = await refused(app_conn, REFUND, *arguments)
    assert (found.code, found.slug) == (code, slug)
    assert await written(world.db) == before


async def test_a_refund_is_not_refundable(world: World, app_conn: Connection) -> None:
    receipt = await _one(app_conn, _refund(await _paid(world)))
    assert (await refused(app_conn, REFUND, *_refund(receipt["transfer_id"]))).slug == "NOT_REFUNDABLE"


@pytest.mark.parametrize(("status", "slug"), [("frozen", "WALLET_FROZEN"), ("closed", "WALLET_CLOSED")])
async def test_wallets_that_are_shut(world: World, app_conn: Connection, status: str, slug: str) -> None:
    original = await _paid(world)
    await set_status(world.db, world.bob.wallet, status)
    for policy in ("refuse", "create_debt"):
        assert (await refused(app_conn, REFUND, *_refund(original, policy=policy))).slug == slug


async def test_the_key_refunds_once_and_says_the_same_again(world: World, app_conn: Connection) -> None:
    original = await _paid(world)
    await _spend(world, 120)
    first = await _one(app_conn, _refund(original, key="k", policy="within_balance"))
    before = await written(world.db)
    again = await _one(app_conn, _refund(original, key="k", policy="within_balance"))
    assert dict(again) == {**dict(first), "replayed": True}
    assert await written(world.db) == before
    for changed in (_refund(original, 1, "k", "within_balance"), _refund(original, None, "k", "refuse")):
        assert (await refused(app_conn, REFUND, *changed)).slug == "IDEMPOTENCY_KEY_REUSED"


async def test_two_refunds_at_once_have_one_winner(world: World, connect: Connect) -> None:
    sessions = [await connect("app") for _ in range(2)]

    async def attempt(conn: Connection, original: UUID) -> str:
        try:
            await conn.fetch(REFUND, *_refund(original, 31))
        except asyncpg.PostgresError as error:
            return raised(error).slug
        return "done"

    for _ in range(RACES):
        original = await _paid(world)
        outcomes = await asyncio.gather(*(attempt(conn, original) for conn in sessions))
        assert sorted(outcomes) == ["REFUND_EXCEEDED", "done"]
        await _one(world.db, _refund(original, 29))


async def test_twins_at_once_refund_once(world: World, connect: Connect) -> None:
    original = await _paid(world)
    sessions = [await connect("app") for _ in range(4)]
    rows = await asyncio.gather(*(conn.fetchrow(REFUND, *_refund(original, 30, "k")) for conn in sessions))
    assert len({row["transfer_id"] for row in rows if row is not None}) == 1
    assert await balance(world.db, world.alice.wallet) == 70
