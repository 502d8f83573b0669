"""api.balance_at, api.statement, api.wallet_balances, api.tip_stats, core._rate: what reads the books."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from tests.sql.refusals import NOBODY
from tests.support.money import (
    Refusal,
    Tip,
    Transfer,
    World,
    refused,
    set_status,
    tip,
    tips,
    transfer,
    transfer_batch,
)
from tests.support.postgres import Connection

STATEMENT = "SELECT * FROM api.statement($1, $2, $3, $4, $5, $6)"


async def _history(world: World, conn: Connection, count: int = 12) -> list[asyncpg.Record]:
    """Alice pays Bob 1, 2, 3… in commits of their own, every third one a gift; her entries, oldest first."""
    for n in range(1, count + 1):
        request = Transfer(
            source=world.alice.wallet,
            target=world.bob.wallet,
            amount=n,
            kind="gift" if n % 3 == 0 else "transfer",
            reference=f"r{n}",
        )
        await transfer(conn, request)
    return await world.db.fetch("SELECT * FROM api.entries WHERE wallet_id = $1 ORDER BY seq", world.alice.wallet)


async def test_balance_at_each_moment(world: World, app_conn: Connection) -> None:
    entries = await _history(world, app_conn)
    query = "SELECT api.balance_at($1, $2)"
    tick = timedelta(microseconds=1)
    before = 0
    for entry in entries:
        assert await app_conn.fetchval(query, world.alice.wallet, entry["created_at"] - tick) == before
        assert await app_conn.fetchval(query, world.alice.wallet, entry["created_at"]) == entry["balance"]
        before = entry["balance"]
    assert await app_conn.fetchval("SELECT api.balance_at($1, 'infinity')", world.alice.wallet) == before
    assert await app_conn.fetchval("SELECT api.balance_at($1, '-infinity')", world.alice.wallet) == 0
    assert await app_conn.fetchval("SELECT api.balance_at($1, now())", world.creator.wallet) == 0


async def test_balance_at_a_moment_shared_by_a_batch_is_the_last(world: World, app_conn: Connection) -> None:
    pay = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=10)
    rows = await transfer_batch(app_conn, [pay] * 5)
    assert len({row["created_at"] for row in rows}) == 1
    at = await app_conn.fetchval("SELECT api.balance_at($1, $2)", world.alice.wallet, rows[0]["created_at"])
    assert at == 50


FAR = ["4714-11-24 00:00:00+00 BC", "0001-01-01", "10890-01-01", "20000-01-01", "294276-12-31 23:59:59.999999+00"]


@pytest.mark.parametrize("moment", FAR)
async def test_moments_far_away(world: World, app_conn: Connection, moment: str) -> None:
    entries = await _history(world, app_conn)
    wallet, last = world.alice.wallet, entries[-1]["balance"]
    paid_in = sum(entry["amount"] for entry in entries if entry["amount"] > 0)
    everything = (0, paid_in, paid_in - last, len(entries), last)
    past = moment in FAR[:2]
    at = "SELECT api.balance_at($1, '{}')"
    assert await app_conn.fetchval(at.format(moment), wallet) == (0 if past else last)
    summary = "SELECT * FROM api.statement_summary($1, {}, {})"
    count = "SELECT count(*) FROM api.statement($1, {}, {}, p_limit => 1000)"
    for bounds, expected, rows in (
        (("NULL", f"'{moment}'"), (0, 0, 0, 0, 0) if past else everything, 0 if past else len(entries)),
        ((f"'{moment}'", "NULL"), everything if past else (last, 0, 0, 0, last), len(entries) if past else 0),
    ):
        row = await app_conn.fetchrow(summary.format(*bounds), wallet)
        assert row is not None
        assert tuple(row) == expected
        assert await app_conn.fetchval(count.format(*bounds), wallet) == rows


async def test_balance_at_no_moment_is_unknown(world: World, app_conn: Connection) -> None:
    assert await app_conn.fetchval("SELECT api.balance_at($1, NULL)", world.alice.wallet) is None


async def test_balance_at_of_no_wallet(app_conn: Connection) -> None:
    assert await refused(app_conn, "SELECT api.balance_at($1, now())", NOBODY) == Refusal(
        "TS210", "WALLET_NOT_FOUND", {"wallet_id": str(NOBODY)}
    )


async def test_a_statement_without_a_limit_is_one_of_a_hundred(world: World, app_conn: Connection) -> None:
    pay = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1)
    await transfer_batch(app_conn, [pay] * 100)
    for limit, count in ((None, 100), (0, 1), (-1, 1), (7, 7), (5000, 101)):
        rows = await app_conn.fetch(STATEMENT, world.alice.wallet, None, None, None, limit, None)
        assert len(rows) == count


async def test_statement_pages_through_everything_once(world: World, app_conn: Connection) -> None:
    entries = await _history(world, app_conn)
    seen: list[asyncpg.Record] = []
    before: int | None = None
    while page := await app_conn.fetch(STATEMENT, world.alice.wallet, None, None, before, 5, None):
        assert len(page) <= 5
        seen += page
        before = page[-1]["seq"]
    assert [(r["seq"], r["amount"], r["balance"], r["transfer_id"], r["created_at"]) for r in reversed(seen)] == [
        (e["seq"], e["amount"], e["balance"], e["transfer_id"], e["created_at"]) for e in entries
    ]
    newest = seen[0]
    assert (newest["kind"], newest["reference"], newest["counterparty_wallet_id"], newest["counterparty_user_id"]) == (
        "gift",
        "r12",
        world.bob.wallet,
        world.bob.id,
    )
    assert (seen[-1]["kind"], seen[-1]["counterparty_user_id"]) == ("grant", None)
    credit = await app_conn.fetchrow(STATEMENT, world.bob.wallet, None, None, None, 1, None)
    assert credit is not None
    assert (credit["amount"], credit["counterparty_user_id"]) == (12, world.alice.id)


async def test_statement_from_to_kind_and_limit(world: World, app_conn: Connection) -> None:
    entries = await _history(world, app_conn)
    start, end = entries[3]["created_at"], entries[7]["created_at"]

    async def seqs(*args: object) -> list[int]:
        return [row["seq"] for row in await app_conn.fetch(STATEMENT, world.alice.wallet, *args)]

    assert await seqs(start, end, None, 100, None) == [7, 6, 5, 4]
    assert await seqs(None, None, None, 100, "gift") == [13, 10, 7, 4]
    assert await seqs(start, None, 10, 100, "gift") == [7, 4]
    assert await seqs(None, None, None, 0, None) == [13]
    assert await seqs(None, None, None, -5, None) == [13]
    assert await seqs(end, start, None, 100, None) == []
    assert len(await seqs(None, None, None, 10**6, None)) == 13
    assert await app_conn.fetch(STATEMENT, NOBODY, None, None, None, 10, None) == []


async def test_statement_gives_a_thousand_at_most(world: World, app_conn: Connection) -> None:
    to_and_fro = [
        Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1),
        Transfer(source=world.bob.wallet, target=world.alice.wallet, amount=1),
    ]
    await transfer_batch(app_conn, to_and_fro * 501)
    assert len(await app_conn.fetch(STATEMENT, world.alice.wallet, None, None, None, 5000, None)) == 1000


async def test_wallet_balances(world: World, app_conn: Connection) -> None:
    await transfer(app_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=30))
    await set_status(world.db, world.alice_eur, "frozen")
    rows = [tuple(row) for row in await app_conn.fetch("SELECT * FROM api.wallet_balances($1)", world.alice.id)]
    assert rows == [
        (world.alice_eur, "EUR", 4, 500, 0, 500, 500, 0, "frozen"),
        (world.alice.wallet, "TOKEN", 0, 70, 0, 70, 100, 30, "active"),
    ]
    assert await app_conn.fetch("SELECT * FROM api.wallet_balances($1)", NOBODY) == []


@pytest.mark.breaks_ledger
async def test_what_is_held_cannot_be_spent(world: World, app_conn: Connection) -> None:
    """Holds come later; the floor they stand on is here."""
    await world.db.execute("SET ROLE tessera_ledger")
    await world.db.execute("UPDATE core.wallets SET held = 30, minimum = 10 WHERE id = $1", world.alice.wallet)
    await world.db.execute("RESET ROLE")
    row = await app_conn.fetchrow("SELECT * FROM api.wallet_balances($1) WHERE asset = 'TOKEN'", world.alice.id)
    assert row is not None
    assert (row["balance"], row["held"], row["spendable"]) == (100, 30, 60)
    pay = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=61)
    refusal = await refused(app_conn, "SELECT api.transfer($1, $2, 61)", pay.source, pay.target)
    assert refusal.facts == {"required": 61, "current": 60, "shortfall": 1, "asset": "TOKEN"}
    assert (await app_conn.fetchval("SELECT from_balance FROM api.transfer($1, $2, 60)", pay.source, pay.target)) == 40


async def test_tip_stats(world: World, app_conn: Connection) -> None:
    def give(sender: object, amount: int) -> Tip:
        return Tip(sender=sender, creator=world.creator.id, amount=amount)  # type: ignore[arg-type]

    empty = await app_conn.fetchrow("SELECT * FROM api.tip_stats($1)", world.creator.id)
    assert empty is not None
    assert tuple(empty) == (0, 0, Decimal(0), 0, 0, "[]")
    await tips(app_conn, [give(world.alice.id, 10), give(world.alice.id, 20), give(world.bob.id, 71)])
    await app_conn.execute("SELECT pg_sleep(0.001)")
    last = await tip(app_conn, give(world.alice.id, 3))
    ever = await app_conn.fetchrow("SELECT * FROM api.tip_stats($1)", world.creator.id)
    assert ever is not None
    assert tuple(ever)[:5] == (4, 104, Decimal("26.00"), 71, 2)
    assert json.loads(ever["top"]) == [
        {"user_id": str(world.bob.id), "username": "bob", "total": 71, "count": 1},
        {"user_id": str(world.alice.id), "username": "alice", "total": 33, "count": 3},
    ]
    since = await app_conn.fetchrow("SELECT * FROM api.tip_stats($1, $2)", world.creator.id, last["created_at"])
    assert since is not None
    assert tuple(since)[:5] == (1, 3, Decimal("3.00"), 3, 1)


async def test_tip_stats_names_five(world: World, app_conn: Connection) -> None:
    fans = await world.db.fetch("""
        INSERT INTO core.users (email, username, display_name)
        SELECT 'fan' || n || '@example.org', 'fan' || n, 'Fan' FROM generate_series(1, 7) AS n RETURNING id""")
    for fan in fans:
        await world.db.execute("SELECT api.grant_tokens($1, 100, 'for a test')", fan["id"])
    await tips(app_conn, [Tip(sender=f["id"], creator=world.creator.id, amount=n + 1) for n, f in enumerate(fans)])
    row = await app_conn.fetchrow("SELECT * FROM api.tip_stats($1)", world.creator.id)
    assert row is not None
    assert row["unique_tippers"] == 7
    assert [leader["total"] for leader in json.loads(row["top"])] == [7, 6, 5, 4, 3]


async def test_rate_in_force(db: Connection) -> None:
    async def rate(asset: str | None, at: datetime | None = None) -> Decimal:
        value: Decimal = await db.fetchval("SELECT core._rate('limit_of_test', $1, $2)", asset, at)
        return value

    await db.execute("INSERT INTO core.assets (code, scale, name) VALUES ('EUR', 4, 'Euro')")
    await db.execute("""
        INSERT INTO core.rates (name, asset, value, unit, valid_from, valid_to) VALUES
        ('limit_of_test', NULL, 1, 'count', '2020-01-01', NULL),
        ('limit_of_test', NULL, 2, 'count', '2021-01-01', '2022-01-01'),
        ('limit_of_test', 'TOKEN', 3, 'count', '2021-06-01', '2021-07-01'),
        ('limit_of_test', 'TOKEN', 4, 'count', '2999-01-01', NULL)""")
    assert await rate("TOKEN") == await rate("EUR") == await rate(None) == 1
    assert await rate("TOKEN", datetime(2021, 1, 1, tzinfo=UTC)) == 2
    assert await rate("TOKEN", datetime(2021, 6, 1, tzinfo=UTC)) == 3
    assert await rate("EUR", datetime(2021, 6, 1, tzinfo=UTC)) == 2
    assert await rate("TOKEN", datetime(2021, 7, 1, tzinfo=UTC)) == 2
    assert await rate("TOKEN", datetime(2022, 1, 1, tzinfo=UTC)) == 1
    assert await rate("TOKEN", datetime(2999, 1, 1, tzinfo=UTC)) == 4
    refusal = await refused(db, "SELECT core._rate('limit_of_test', 'TOKEN', '2019-12-31T00:00:00Z')")
    assert (refusal.code, refusal.slug) == ("TS801", "CONFIGURATION_ERROR")
    assert (refusal.facts["rate"], refusal.facts["asset"]) == ("limit_of_test", "TOKEN")
    assert refusal.facts["at"].startswith("2019-12-31") or refusal.facts["at"].startswith("2019-12-30")


@pytest.mark.parametrize(("value", "unit"), [(-1, "bps"), (10001, "bps"), (10**15, "tokens"), (1, "furlongs")])
async def test_a_rate_makes_sense(db: Connection, value: int, unit: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await db.execute("INSERT INTO core.rates (name, value, unit) VALUES ('some_rate', $1, $2)", value, unit)
