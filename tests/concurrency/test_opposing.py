"""Many sessions sending both ways between the same few wallets: nobody deadlocks, nothing is lost."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import asyncpg
import pytest

from tests.conftest import Connect
from tests.support.money import Person, Tip, Transfer, person, raised, set_fee, tip, tips, transfer, transfer_batch
from tests.support.postgres import Connection, violations

PEOPLE = 5
START = 300
ROUNDS = 20


def _some_transfer(rng: random.Random, people: list[Person], key: str) -> Transfer:
    source, target = rng.sample(people, 2)
    return Transfer(
        source=source.wallet,
        target=target.wallet,
        amount=rng.randint(1, 40),
        key=key,
        actor=source.id,
    )


def _some_tip(rng: random.Random, people: list[Person], key: str) -> Tip:
    sender, creator = rng.sample(people, 2)
    return Tip(sender=sender.id, creator=creator.id, amount=rng.randint(1, 40), key=key)


async def _once(conn: Connection, rng: random.Random, people: list[Person], key: str) -> list[str]:
    """One call of a random kind; what became of each request in it."""
    size = rng.randint(1, 12)
    match rng.randrange(4):
        case 0:
            rows = await transfer_batch(conn, [_some_transfer(rng, people, f"{key}-{n}") for n in range(size)])
        case 1:
            rows = await tips(conn, [_some_tip(rng, people, f"{key}-{n}") for n in range(size)])
        case 2:
            rows = [await transfer(conn, _some_transfer(rng, people, key))]
        case _:
            rows = [await tip(conn, _some_tip(rng, people, key))]
    return [row.get("error") or ("replayed" if row["replayed"] else "done") for row in rows]


async def _work(number: int, conn: Connection, people: list[Person]) -> Counter[str]:
    """Rounds of calls. Each is made twice, the second time with the same numbers: it moves nothing."""
    count: Counter[str] = Counter()
    for n in range(ROUNDS):
        for _ in range(1 + n % 2):
            rng = random.Random(number * 1000 + n)  # noqa: S311
            try:
                count.update(await _once(conn, rng, people, f"{number}-{n}"))
            except asyncpg.PostgresError as error:
                refusal = raised(error)
                assert refusal.code == "TS401", f"{refusal.code} {refusal.slug}"
                count[refusal.slug] += 1
    return count


@pytest.mark.parametrize(("sessions", "bps"), [(8, 0), (12, 1500)])
async def test_both_ways_between_the_same_few(connect: Connect, db: Connection, sessions: int, bps: int) -> None:
    people = [await person(db, f"person{n}", tokens=START, roles=["creator"]) for n in range(PEOPLE)]
    await set_fee(db, bps)
    conns = [await connect("app" if n % 3 else "dba") for n in range(sessions)]
    counts = await asyncio.gather(*(_work(n, conn, people) for n, conn in enumerate(conns)))
    total = sum(counts, Counter[str]())
    assert set(total) <= {"done", "replayed", "INSUFFICIENT_TOKENS"}
    assert total["done"] > sessions * ROUNDS
    assert total["replayed"] > 0

    keys, own = await _counted(db)
    assert keys == total["done"]
    assert own == START * PEOPLE
    assert await db.fetchval("SELECT bool_and(balance >= 0) FROM core.wallets WHERE owner_id IS NOT NULL")
    gaps = await db.fetch("""
        SELECT wallet_id FROM core.entries GROUP BY wallet_id HAVING max(seq) <> count(*) OR min(seq) <> 1""")
    assert gaps == []
    assert await violations(db) == []


async def _counted(db: Connection) -> tuple[int, int]:
    """Keys used, and what people and platform have together."""
    row = await db.fetchrow("""
        SELECT (SELECT count(*) FROM core.idempotency_keys) AS keys, sum(balance)::bigint AS own
        FROM core.wallets WHERE purpose IN ('user', 'revenue')""")
    assert row is not None
    return row["keys"], row["own"]


async def test_two_users_with_the_same_key_do_not_meet(connect: Connect, db: Connection) -> None:
    people = [await person(db, f"person{n}", tokens=START, roles=["creator"]) for n in range(2)]
    conns = [await connect("app") for _ in range(8)]

    async def send(number: int, conn: Connection) -> asyncpg.Record:
        one, other = people[number % 2], people[1 - number % 2]
        return await tip(conn, Tip(sender=one.id, creator=other.id, amount=10, key="same"))

    rows = await asyncio.gather(*(send(n, conn) for n, conn in enumerate(conns)))
    assert len({row["tip_id"] for row in rows}) == 2
    assert sum(not row["replayed"] for row in rows) == 2
    assert await db.fetchval("SELECT count(*) FROM core.tips") == 2


async def test_long_transactions_in_opposite_order_end(connect: Connect, db: Connection) -> None:
    """Each locks once a transaction, and keeps its locks over other work: they queue, in no circle."""
    people = [await person(db, f"person{n}", tokens=START) for n in range(3)]
    conns = [await connect("app") for _ in range(16)]

    async def turn(number: int, conn: Connection) -> None:
        for n in range(10):
            rng = random.Random(number * 100 + n)  # noqa: S311
            async with conn.transaction():
                await transfer_batch(conn, [_some_transfer(rng, people, f"{number}-{n}-{i}") for i in range(6)])
                await asyncio.sleep(0)

    await asyncio.gather(*(turn(n, conn) for n, conn in enumerate(conns)))
    assert await db.fetchval("SELECT sum(balance)::bigint FROM core.wallets WHERE owner_id IS NOT NULL") == START * 3
