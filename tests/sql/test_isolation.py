"""The ledger inside transactions of its caller's own: every isolation level, other work, savepoints, rollbacks."""

from __future__ import annotations

import asyncio
import random

import asyncpg
import pytest

from tests.conftest import Connect
from tests.support.money import Tip, Transfer, World, balance, raised, tip, transfer, transfer_batch, written
from tests.support.postgres import Connection

LEVELS = ["read_committed", "repeatable_read", "serializable"]
levels = pytest.mark.parametrize("level", LEVELS)


def _pay(world: World, amount: int, key: str | None = None) -> Transfer:
    return Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=amount, key=key)


async def _everything(world: World, conn: Connection) -> None:
    """Some work of each kind, and other work beside it."""
    await conn.execute("CREATE TEMP TABLE IF NOT EXISTS notes (n integer)")
    await conn.execute("INSERT INTO notes VALUES (1)")
    await transfer(conn, _pay(world, 5, "one"))
    await transfer_batch(conn, [_pay(world, 6, "two"), _pay(world, 6, "two"), _pay(world, 5000)])
    await tip(conn, Tip(sender=world.alice.id, creator=world.creator.id, amount=7, key="one"))
    await conn.fetch("SELECT api.grant_tokens($1, 8, 'for a test', 'three')", world.alice.id)


async def _gapless(world: World) -> bool:
    value: bool = await world.db.fetchval("""
        SELECT bool_and(w.version = e.entries AND e.entries = e.last)
        FROM core.wallets AS w
        JOIN (SELECT wallet_id, count(*) AS entries, max(seq) AS last FROM core.entries GROUP BY 1) AS e
            ON e.wallet_id = w.id""")
    return value


@levels
async def test_rolled_back_nothing_remains(world: World, dba_conn: Connection, level: str) -> None:
    before = await written(world.db)
    transaction = dba_conn.transaction(isolation=level)  # type: ignore[arg-type]
    await transaction.start()
    await _everything(world, dba_conn)
    assert await balance(dba_conn, world.alice.wallet) == 100 - 5 - 6 - 7 + 8
    await transaction.rollback()
    assert await written(world.db) == before
    await _everything(world, dba_conn)
    assert await balance(world.db, world.alice.wallet) == 90
    assert await _gapless(world)


@levels
async def test_committed_with_other_work(world: World, dba_conn: Connection, level: str) -> None:
    async with dba_conn.transaction(isolation=level):  # type: ignore[arg-type]
        await _everything(world, dba_conn)
        assert (await transfer(dba_conn, _pay(world, 5, "one")))["replayed"]
        assert await dba_conn.fetch("SELECT * FROM api.audit_ledger()") == []
    assert await balance(world.db, world.alice.wallet) == 90
    assert await dba_conn.fetchval("SELECT count(*) FROM notes") == 1


@levels
async def test_savepoints(world: World, dba_conn: Connection, level: str) -> None:
    async with dba_conn.transaction(isolation=level):  # type: ignore[arg-type]
        await transfer(dba_conn, _pay(world, 10))
        undone = dba_conn.transaction()
        await undone.start()
        await transfer(dba_conn, _pay(world, 20, "k"))
        await undone.rollback()
        with pytest.raises(asyncpg.PostgresError, match="INSUFFICIENT_TOKENS"):
            async with dba_conn.transaction():
                await transfer(dba_conn, _pay(world, 91))
        kept = await transfer(dba_conn, _pay(world, 30, "k"))
        assert (kept["from_balance"], kept["replayed"]) == (60, False)
    assert await balance(world.db, world.alice.wallet) == 60
    assert await _gapless(world)


@pytest.mark.parametrize("level", LEVELS[1:])
async def test_a_stale_snapshot_is_a_clean_failure(world: World, connect: Connect, level: str) -> None:
    one, two = await connect("dba"), await connect("dba")
    transaction = one.transaction(isolation=level)  # type: ignore[arg-type]
    await transaction.start()
    assert await balance(one, world.alice.wallet) == 100
    await transfer(two, _pay(world, 60, "k"))
    with pytest.raises(asyncpg.SerializationError):
        await transfer(one, _pay(world, 60, "k"))
    await transaction.rollback()
    async with one.transaction(isolation=level):  # type: ignore[arg-type]
        assert (await transfer(one, _pay(world, 60, "k")))["replayed"]


async def test_read_committed_goes_by_what_is_there_now(world: World, connect: Connect) -> None:
    one, two = await connect("dba"), await connect("app")
    async with one.transaction():
        assert await balance(one, world.alice.wallet) == 100
        await transfer(two, _pay(world, 60))
        assert (await transfer(one, _pay(world, 40)))["from_balance"] == 0


@levels
async def test_many_at_once_give_right_totals_or_say_40001(world: World, connect: Connect, level: str) -> None:
    async def work(number: int, conn: Connection) -> None:
        rng = random.Random(number)  # noqa: S311
        for n in range(6):
            pair = [world.alice.wallet, world.bob.wallet]
            rng.shuffle(pair)
            request = Transfer(source=pair[0], target=pair[1], amount=rng.randint(1, 5), key=f"{number}-{n}")
            await _until_done(conn, level, request)

    conns = [await connect("app") for _ in range(4)]
    await asyncio.gather(*(work(number, conn) for number, conn in enumerate(conns)))
    assert await balance(world.db, world.alice.wallet) + await balance(world.db, world.bob.wallet) == 200
    assert await world.db.fetchval("SELECT count(*) FROM core.idempotency_keys") == 24
    assert await _gapless(world)


async def _until_done(conn: Connection, level: str, request: Transfer) -> None:
    for _ in range(500):
        try:
            async with conn.transaction(isolation=level):  # type: ignore[arg-type]
                await transfer(conn, request)
        except asyncpg.PostgresError as error:
            assert raised(error).code == "40001"  # noqa: PT017
            assert level != "read_committed"
        else:
            return
    raise AssertionError("never done")
