"""api.set_referrer and api.credit_with_referral: no circles, and a match that neither loses nor makes anything."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Connect
from tests.properties.stage import EFFORT, Stage
from tests.sql.refusals import NOBODY
from tests.support.money import (
    MAX_AMOUNT,
    Person,
    World,
    balance,
    person,
    raised,
    refused,
    set_status,
    unguarded,
    without_rate,
    written,
)
from tests.support.postgres import Clone, Connection, violations

CREDIT = "SELECT * FROM api.credit_with_referral($1, $2, $3, $4, $5, $6)"
REFER = "SELECT api.set_referrer($1, $2, $3)"
Arguments = tuple[Any, ...]


def _credit(user: UUID | None, amount: int | None = 100, **more: Any) -> Arguments:
    fields = {"asset": "TOKEN", "reason": "a good clip", "key": None, "actor": None} | more
    return (user, amount, *fields.values())


async def _one(conn: Connection, arguments: Arguments) -> asyncpg.Record:
    row = await conn.fetchrow(CREDIT, *arguments)
    assert row is not None
    return row


async def _rewards(world: World) -> int:
    value: int = await world.db.fetchval("SELECT sum(balance)::bigint FROM core.wallets WHERE purpose = 'rewards'")
    return value


async def _refer(world: World, user: Person, referrer: Person) -> None:
    await world.db.fetch(REFER, user.id, referrer.id, None)


async def test_a_reward_without_a_referrer(world: World, app_conn: Connection) -> None:
    row = await _one(app_conn, _credit(world.alice.id, actor=world.bob.id))
    assert (row["amount"], row["new_balance"], row["match_amount"]) == (100, 200, 0)
    assert (row["referrer_id"], row["match_transfer_id"], row["match_skipped"]) == (None, None, "no_referrer")
    assert await _rewards(world) == -100
    kept = await world.db.fetchrow("SELECT * FROM api.transfers WHERE transfer_id = $1", row["transfer_id"])
    assert kept is not None
    assert (kept["kind"], kept["reference"], kept["actor_id"]) == ("reward", "a good clip", world.bob.id)


async def test_the_referrer_gets_five_percent_on_top(world: World, app_conn: Connection) -> None:
    await _refer(world, world.alice, world.bob)
    row = await _one(app_conn, _credit(world.alice.id, 119))
    assert (row["amount"], row["new_balance"], row["match_amount"], row["referrer_id"]) == (119, 219, 5, world.bob.id)
    assert (await balance(world.db, world.bob.wallet), await _rewards(world)) == (105, -124)
    channels = await world.db.fetch("SELECT channels FROM core.outbox WHERE payload ->> 'reference' = 'a good clip'")
    assert sorted(row["channels"] for row in channels) == sorted([[f"user:{world.alice.id}"], [f"user:{world.bob.id}"]])


async def test_an_ambassadors_share_is_a_rate(world: World, app_conn: Connection) -> None:
    await world.db.execute("ALTER TABLE core.users DROP CONSTRAINT users_roles_check")
    await world.db.execute("UPDATE core.users SET roles = '{ambassador}' WHERE id = $1", world.bob.id)
    await world.db.fetch("SELECT api.set_rate('referral', 1500, p_scope => 'ambassador')")
    await _refer(world, world.alice, world.bob)
    assert (await _one(app_conn, _credit(world.alice.id)))["match_amount"] == 15


async def test_a_cent_at_four_decimals(world: World, app_conn: Connection) -> None:
    await world.db.fetch("SELECT api.create_asset('USD', 4, 'Dollar')")
    await world.db.fetch("SELECT api.set_rate('referral', 500, 'USD')")
    for who in (world.alice, world.bob):
        await world.db.fetch("SELECT api.open_wallet($1, 'USD')", who.id)
    await _refer(world, world.alice, world.bob)
    row = await _one(app_conn, _credit(world.alice.id, 100, asset="USD"))
    assert (row["amount"], row["match_amount"]) == (100, 5), "5 % of 0.0100 is 0.0005"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("UPDATE core.users SET status = 'suspended' WHERE id = $1", "referrer_suspended"),
        ("", "rounds_to_zero"),
    ],
)
async def test_the_reward_does_not_wait_for_the_match(world: World, app_conn: Connection, spoil: str, why: str) -> None:
    await _refer(world, world.alice, world.bob)
    if spoil:
        await world.db.execute(spoil, world.bob.id)
    row = await _one(app_conn, _credit(world.alice.id, 19))
    assert (row["new_balance"], row["match_amount"], row["match_skipped"]) == (119, 0, why)


@pytest.mark.parametrize(("status", "why"), [("frozen", "wallet_not_open"), ("debits_frozen", None)])
async def test_a_referrers_wallet_that_is_shut(
    world: World, app_conn: Connection, status: str, why: str | None
) -> None:
    await _refer(world, world.alice, world.bob)
    await set_status(world.db, world.bob.wallet, status)
    assert (await _one(app_conn, _credit(world.alice.id)))["match_skipped"] == why


async def test_the_key_credits_once_and_says_the_same_again(world: World, app_conn: Connection) -> None:
    await _refer(world, world.alice, world.bob)
    first = await _one(app_conn, _credit(world.alice.id, key="k"))
    before = await written(world.db)
    assert dict(await _one(app_conn, _credit(world.alice.id, key="k"))) == {**dict(first), "replayed": True}
    assert await written(world.db) == before
    found = await refused(app_conn, CREDIT, *_credit(world.alice.id, 101, key="k"))
    assert found.slug == "IDEMPOTENCY_KEY_REUSED"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nobody": ({"user": NOBODY}, "USER_NOT_FOUND"),
    "null": ({"user": None}, "USER_NOT_FOUND"),
    "nothing": ({"amount": 0}, "INVALID_AMOUNT"),
    "less": ({"amount": -1}, "INVALID_AMOUNT"),
    "no amount": ({"amount": None}, "INVALID_AMOUNT"),
    "too much": ({"amount": MAX_AMOUNT + 1}, "INVALID_AMOUNT"),
    "most bigint": ({"amount": 2**63 - 1}, "INVALID_AMOUNT"),
    "no reason": ({"reason": " "}, "INVALID_REQUEST"),
    "long reason": ({"reason": "r" * 256}, "INVALID_REQUEST"),
    "no such asset": ({"asset": "GOLD"}, "ASSET_NOT_FOUND"),
    "empty key": ({"key": ""}, "IDEMPOTENCY_KEY_INVALID"),
    "unknown actor": ({"actor": NOBODY}, "USER_NOT_FOUND"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused(world: World, app_conn: Connection, name: str) -> None:
    await _refer(world, world.alice, world.bob)
    changes, slug = REFUSED[name]
    before = await written(world.db)
    fields: dict[str, Any] = {"user": world.alice.id} | changes
    assert (await refused(app_conn, CREDIT, *_credit(fields.pop("user"), **fields))).slug == slug
    assert await written(world.db) == before


async def test_wallets_of_the_user_that_cannot_take_it(world: World, app_conn: Connection) -> None:
    for user, slug in ((world.frozen, "WALLET_FROZEN"), (world.closed, "WALLET_CLOSED")):
        assert (await refused(app_conn, CREDIT, *_credit(user.id))).slug == slug
    assert (
        await refused(app_conn, CREDIT, *_credit(world.alice.id, actor=world.suspended.id))
    ).slug == "USER_SUSPENDED"
    newcomer = await world.without_wallet()
    assert (await refused(app_conn, CREDIT, *_credit(newcomer))).slug == "WALLET_NOT_FOUND"


async def test_without_a_rate_nothing_is_credited(world: World, app_conn: Connection) -> None:
    await _refer(world, world.alice, world.bob)
    await without_rate(world.db, "referral")
    before = await written(world.db)
    assert (await refused(app_conn, CREDIT, *_credit(world.alice.id))).slug == "CONFIGURATION_ERROR"
    assert await written(world.db) == before


async def test_twins_at_once_credit_once(world: World, connect: Connect) -> None:
    await _refer(world, world.alice, world.bob)
    sessions = [await connect("app") for _ in range(4)]
    rows = await asyncio.gather(*(_one(conn, _credit(world.alice.id, key="k")) for conn in sessions))
    assert len({row["transfer_id"] for row in rows}) == 1
    assert await _rewards(world) == -105


async def test_a_referrer_is_set_once(world: World, app_conn: Connection) -> None:
    await app_conn.fetch(REFER, world.alice.id, world.bob.id, world.alice.id)
    await app_conn.fetch(REFER, world.alice.id, world.bob.id, world.alice.id)
    assert await world.db.fetchval("SELECT count(*) FROM api.audit_log WHERE action = 'referrer.set'") == 1
    for user, referrer, slug in (
        (world.alice.id, world.creator.id, "REFERRER_SET"),
        (world.bob.id, world.bob.id, "SELF_REFERRAL"),
        (world.bob.id, world.alice.id, "REFERRAL_CIRCLE"),
        (world.bob.id, NOBODY, "USER_NOT_FOUND"),
        (NOBODY, world.bob.id, "USER_NOT_FOUND"),
    ):
        assert (await refused(app_conn, REFER, user, referrer, None)).slug == slug
    found = await refused(app_conn, REFER, world.bob.id, world.creator.id, world.suspended.id)
    assert found.slug == "USER_SUSPENDED"


async def test_no_circle_of_any_length(world: World, db: Connection) -> None:
    chain = [await person(db, f"c{n}") for n in range(6)]
    for user, referrer in zip(chain[1:], chain, strict=False):
        await _refer(world, user, referrer)
    assert (await refused(db, REFER, chain[0].id, chain[-1].id, None)).slug == "REFERRAL_CIRCLE"
    assert (
        await refused(db, "UPDATE core.users SET referred_by_id = $2 WHERE id = $1", chain[0].id, chain[3].id)
    ).slug == "REFERRAL_CIRCLE"


@pytest.mark.breaks_ledger
async def test_above_a_circle_made_by_force_the_walk_ends(world: World, db: Connection) -> None:
    chain = [await person(db, f"c{n}") for n in range(9)]
    for user, referrer in zip(chain[1:], chain, strict=False):
        await _refer(world, user, referrer)
    async with unguarded(db):
        await db.execute("UPDATE core.users SET referred_by_id = $2 WHERE id = $1", chain[0].id, chain[4].id)
    assert (await refused(db, REFER, world.alice.id, chain[-1].id, None)).slug == "REFERRAL_CIRCLE"


@pytest.mark.parametrize("level", ["read_committed", "repeatable_read", "serializable"])
async def test_two_who_refer_each_other_at_once(world: World, connect: Connect, level: str) -> None:
    first, second = [await connect("app") for _ in range(2)]

    async def attempt(conn: Connection, user: Person, referrer: Person) -> str:
        try:
            async with conn.transaction(isolation=level):  # type: ignore[arg-type]
                await conn.fetch("SELECT 1 FROM api.wallets LIMIT 1")  # takes the snapshot
                await conn.fetch(REFER, user.id, referrer.id, None)
        except asyncpg.SerializationError:
            return "again"
        except asyncpg.PostgresError as error:
            return raised(error).slug
        return "done"

    for n in range(20):
        one, two = await person(world.db, f"one{n}"), await person(world.db, f"two{n}")
        outcomes = await asyncio.gather(attempt(first, one, two), attempt(second, two, one))
        assert sorted(outcomes) in (["REFERRAL_CIRCLE", "done"], ["again", "done"])


def test_nothing_vanishes_and_nothing_is_made(database: Clone) -> None:
    stage = Stage(database)
    conn = stage.conn

    async def pair() -> tuple[Person, Person]:
        user, referrer = await person(conn, "user"), await person(conn, "referrer")
        await conn.fetch(REFER, user.id, referrer.id, None)
        return user, referrer

    user, referrer = stage.run(pair())
    total = "SELECT sum(balance)::bigint FROM core.wallets WHERE purpose = 'rewards'"

    async def rewards() -> int:
        value: int = await conn.fetchval(total)
        return value

    @settings(max_examples=60 * EFFORT)
    @given(amount=st.integers(1, 10**6) | st.integers(1, MAX_AMOUNT // 1000), bps=st.integers(0, 10_000))
    def check(amount: int, bps: int) -> None:
        stage.run(conn.fetch("SELECT api.set_rate('referral', $1, 'TOKEN')", bps))
        before = [stage.run(balance(conn, who.wallet)) for who in (user, referrer)] + [stage.run(rewards())]
        row = stage.run(_one(conn, _credit(user.id, amount)))
        after = [stage.run(balance(conn, who.wallet)) for who in (user, referrer)] + [stage.run(rewards())]
        match = amount * bps // 10_000
        assert row["match_amount"] == match
        assert [now - then for now, then in zip(after, before, strict=True)] == [amount, match, -amount - match]

    try:
        check()
        assert stage.run(violations(conn)) == []
    finally:
        stage.close()
