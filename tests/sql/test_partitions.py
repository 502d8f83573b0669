"""Partitions by month: nothing is lost when they come, when they are missed, when they go and when they come back."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.core.migrations import SQL_DIRECTORY, migrate
from scheduler.jobs.make_partitions import make_partitions
from scheduler.metrics import MISPLACED_ROWS
from scheduler.registry import JobContext
from tests.conftest import Connect
from tests.support.money import (
    TRANSFER,
    Tip,
    Transfer,
    World,
    balance,
    refused,
    set_fee,
    tip,
    transfer,
    transfer_batch,
    unguarded,
    until_waiting,
    written,
)
from tests.support.postgres import LOGINS, Clone, Connection, violations

MIGRATION = 8
BOOKS = ("entries", "tips", "transfers")
TABLES = ("audit_log", "entries", "outbox", "tips", "transfers")
MONTHS = 3

OLD_BOOKS = """
    SET session_replication_role = replica;
    INSERT INTO core.users (id, email, username, display_name)
    SELECT ('00000000-0000-7000-9000-00000000000' || n)::uuid, n || '@example.org', 'old' || n, 'Old'
    FROM generate_series(1, 2) AS n;
    INSERT INTO core.wallets (id, owner_id, asset, balance, version, lifetime_earned, lifetime_spent, last_entry_at)
    SELECT u.id, u.id, 'TOKEN', 0, 2, 7, 7, now() FROM core.users AS u;
    INSERT INTO core.transfers
        (id, from_wallet_id, to_wallet_id, amount, from_seq, to_seq, created_at, asset, kind, actor_id, reference)
    SELECT ('019' || n || '0000-0000-7000-8000-000000000000')::uuid, w.f, w.t, 7, n, n,
        timestamptz '2025-01-01 00:00:00.5+00' + n * interval '1 day', 'TOKEN', 'tip', w.f, 'before'
    FROM generate_series(1, 2) AS n, LATERAL (
        SELECT ('00000000-0000-7000-9000-00000000000' || n)::uuid AS f,
            ('00000000-0000-7000-9000-00000000000' || 3 - n)::uuid AS t
    ) AS w;
    INSERT INTO core.entries (wallet_id, seq, transfer_id, amount, balance, created_at)
    SELECT e.wallet, e.seq, e.id, e.amount,
        sum(e.amount) OVER (PARTITION BY e.wallet ORDER BY e.seq), e.created_at
    FROM (
        SELECT from_wallet_id AS wallet, from_seq AS seq, id, - amount AS amount, created_at FROM core.transfers
        UNION ALL
        SELECT to_wallet_id, to_seq, id, amount, created_at FROM core.transfers
    ) AS e;
    INSERT INTO core.tips (id, sender_id, creator_id, amount, platform_fee, created_at)
    SELECT id, from_wallet_id, to_wallet_id, amount, 0, created_at FROM core.transfers;
    INSERT INTO core.outbox (type, channels, payload) SELECT 'old', '{}', '{}' FROM generate_series(1, 5);
    INSERT INTO core.audit_log (action, details) SELECT 'old.act', '{}' FROM generate_series(1, 3);
    RESET session_replication_role"""


async def _later(db: Connection, months: int) -> datetime:
    """Let each wallet have had its last entry in a month to come: nothing is dated before it."""
    async with unguarded(db):
        moment: datetime = await db.fetchval(
            """
            UPDATE core.wallets
            SET last_entry_at = (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => $1, days => 4))
                AT TIME ZONE 'UTC'
            RETURNING last_entry_at""",
            months,
        )
    return moment


async def _month(world: World, name: str) -> None:
    """A transfer of each kind, with keys."""
    alice, bob, creator = world.alice, world.bob, world.creator
    await transfer(
        world.db, Transfer(source=alice.wallet, target=bob.wallet, amount=3, key=f"{name}-1", actor=alice.id)
    )
    batch = [
        Transfer(source=bob.wallet, target=alice.wallet, amount=n, key=f"{name}-{n}", actor=bob.id) for n in (1, 2)
    ]
    assert all(row["error_code"] is None for row in await transfer_batch(world.db, batch))
    stream = await world.db.fetchval("SELECT id FROM core.streams LIMIT 1")
    await tip(world.db, Tip(sender=alice.id, creator=creator.id, amount=1, key=f"{name}-tip", stream=stream))


async def _months(world: World) -> None:
    """Some of this month, and some of each of those that there are partitions for."""
    await _month(world, "m0")
    for number in range(1, MONTHS + 1):
        await _later(world.db, number)
        await _month(world, f"m{number}")


async def _rows(db: Connection, table: str) -> dict[str, int]:
    rows = await db.fetch(f"SELECT tableoid::regclass::text AS name, count(*) FROM core.{table} GROUP BY 1 ORDER BY 1")
    return {row["name"].removeprefix("core."): row["count"] for row in rows}


async def _leaves(db: Connection, table: str) -> list[str]:
    rows = await db.fetch(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::regclass ORDER BY 1", f"core.{table}"
    )
    return [row[0] for row in rows]


async def _statement(db: Connection, wallet: UUID, *args: Any) -> list[tuple[int, int, int]]:
    rows = await db.fetch("SELECT * FROM api.statement($1, $2, $3, $4, $5, $6)", wallet, *args)
    return [(row["seq"], row["amount"], row["balance"]) for row in rows]


async def _entries(db: Connection, wallet: UUID) -> list[asyncpg.Record]:
    return await db.fetch("SELECT * FROM core.entries WHERE wallet_id = $1 ORDER BY seq DESC", wallet)


async def _may_go(db: Connection) -> None:
    """Months that are not over yet may be detached too."""
    await db.execute("UPDATE core.partitioned SET keep = '-2 years'")


async def test_all_that_was_there_is_there_afterwards(empty_database: Clone, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(SQL_DIRECTORY / "migrations", before / "migrations")
    (before / "functions").mkdir()
    for path in (before / "migrations").glob("*.sql"):
        if int(path.name[:4]) >= MIGRATION:
            path.unlink()
    db = await empty_database.connect()
    await migrate(db, directory=before)
    await db.execute(OLD_BOOKS)
    grants = """
        SELECT c.relname, a.privilege_type, a.grantee::regrole::text FROM pg_class AS c, aclexplode(c.relacl) AS a
        WHERE c.relnamespace = 'core'::regnamespace AND c.relname = ANY ($1)
            AND (c.relname, a.privilege_type) <> ('audit_log', 'INSERT') -- of columns later (0011)
        ORDER BY 1, 2, 3"""
    old, granted = await written(db), await db.fetch(grants, list(TABLES))
    await migrate(db)
    assert await written(db) == old
    assert await db.fetch(grants, list(TABLES)) == granted
    assert await violations(db) == []
    wallet = UUID("00000000-0000-7000-9000-000000000001")
    assert await _statement(db, wallet, None, None, None, 10, None) == [(2, 7, 0), (1, -7, -7)]
    assert await db.fetchval("SELECT api.balance_at($1, '2025-01-02 12:00+00')", wallet) == -7
    assert await db.fetchval("SELECT count(*) FROM api.tips") == 2
    await db.execute("INSERT INTO core.outbox (type, channels, payload) VALUES ('new', '{}', '{}')")
    assert await db.fetchval("SELECT array_agg(id ORDER BY id) FROM core.outbox") == [1, 2, 3, 4, 5, 6]
    assert not (await migrate(db)).changed


async def test_transfers_are_in_the_partitions_of_their_months(world: World) -> None:
    await _months(world)
    for table in BOOKS:
        found = await _rows(world.db, table)
        assert len(found) == MONTHS + 1
        assert f"{table}_default" not in found
    wrong = await world.db.fetch("""
        SELECT t.id FROM core.transfers AS t
        WHERE date_trunc('month', core._uuid_time(t.id), 'UTC') <> date_trunc('month', t.created_at, 'UTC')""")
    assert wrong == []


async def test_a_statement_goes_through_the_months(world: World) -> None:
    await _months(world)
    wallet = world.alice.wallet
    entries = await _entries(world.db, wallet)
    expected = [(row["seq"], row["amount"], row["balance"]) for row in entries]
    assert await _statement(world.db, wallet, None, None, None, 1000, None) == expected
    for size in (1, 2, 5):
        pages, before = [], None
        while page := await _statement(world.db, wallet, None, None, before, size, None):
            assert len(page) <= size
            pages += page
            before = page[-1][0]
        assert pages == expected
    tips = await world.db.fetch("SELECT * FROM api.statement($1, p_kind => 'tip')", wallet)
    assert len(tips) == MONTHS + 1
    times = sorted({row["created_at"] for row in entries})
    for start, end in ((times[0], times[-1]), (times[2], times[5]), (times[3], times[3]), (None, times[4])):
        inside = [
            (row["seq"], row["amount"], row["balance"])
            for row in entries
            if (start is None or row["created_at"] >= start) and row["created_at"] < end
        ]
        assert await _statement(world.db, wallet, start, end, None, 1000, None) == inside
    far = times[-1] + timedelta(days=4000)
    assert await _statement(world.db, wallet, far, None, None, 10, None) == []
    assert await _statement(world.db, wallet, None, datetime(2001, 1, 1, tzinfo=far.tzinfo), None, 10, None) == []
    infinite = "SELECT count(*) FROM api.statement($1, $2::text::timestamptz, $3::text::timestamptz)"
    assert await world.db.fetchval(infinite, wallet, "-infinity", "infinity") == len(entries)
    assert await world.db.fetchval(infinite, wallet, "infinity", "-infinity") == 0


async def test_balance_at_every_moment(world: World) -> None:
    await _months(world)
    at = "SELECT api.balance_at($1, $2)"
    for wallet in (world.alice.wallet, world.creator.wallet, world.suspended.wallet):
        entries = (await _entries(world.db, wallet))[::-1]
        first = entries[0]["created_at"]
        assert await world.db.fetchval(at, wallet, first - timedelta(microseconds=1)) == 0
        for row, after in zip_longest(entries, entries[1:]):
            if after is None or after["created_at"] > row["created_at"]:
                assert await world.db.fetchval(at, wallet, row["created_at"]) == row["balance"]
            if after is not None and after["created_at"] > row["created_at"]:
                just_before = after["created_at"] - timedelta(microseconds=1)
                assert await world.db.fetchval(at, wallet, just_before) == row["balance"]
        infinite = "SELECT api.balance_at($1, $2::text::timestamptz)"
        assert await world.db.fetchval(infinite, wallet, "infinity") == entries[-1]["balance"]
        assert await world.db.fetchval(infinite, wallet, "-infinity") == 0


async def test_keys_of_every_month_are_remembered(world: World) -> None:
    await _months(world)
    before = await written(world.db)
    first = await world.db.fetchrow("SELECT * FROM api.entries WHERE wallet_id = $1 AND seq = 2", world.alice.wallet)
    assert first is not None
    request = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=3, key="m0-1", actor=world.alice.id)
    again = await transfer(world.db, request)
    assert (again["replayed"], again["transfer_id"], again["from_balance"]) == (
        True,
        first["transfer_id"],
        first["balance"],
    )
    for number in range(MONTHS + 1):
        await _month(world, f"m{number}")
    assert await written(world.db) == before


@pytest.mark.parametrize("who", [*LOGINS, "owner", "ledger", "superuser"])
async def test_nobody_writes_to_a_partition_itself(world: World, connect: Connect, who: str) -> None:
    await _months(world)
    before = await written(world.db)
    conn = await connect("migrator" if who in ("owner", "ledger") else who)
    if who in ("owner", "ledger"):
        await conn.execute(f"SET ROLE tessera_{who}")
    for table in TABLES:
        for leaf in await _leaves(world.db, table):
            for statement in (
                f"INSERT INTO {leaf} SELECT * FROM {leaf}",
                f"UPDATE {leaf} SET created_at = now()",
                f"DELETE FROM {leaf}",
                f"TRUNCATE {leaf}",
            ):
                assert (await refused(conn, statement)).code in {"42501", "TS901", "428C9"}, statement
    assert await written(world.db) == before


async def test_making_partitions_again_makes_none(db: Connection, connect: Connect) -> None:
    scheduler = await connect("scheduler")
    assert await scheduler.fetchval("SELECT api.make_partitions()") == []
    made = await scheduler.fetchval("SELECT api.make_partitions('5 months')")
    assert len(made) == 2 * len(TABLES)
    assert await scheduler.fetchval("SELECT api.make_partitions('5 months')") == []
    for table in TABLES:
        rows = await db.fetch("SELECT * FROM api.partitions() WHERE table_name = $1 ORDER BY from_at", table)
        months = [row for row in rows if row["state"] == "attached"]
        assert all(a["to_at"] == b["from_at"] for a, b in pairwise(months))
        assert [row["partition_name"] for row in rows if row["state"] == "default"] == [f"{table}_default"]


async def test_partitions_are_made_while_money_moves(world: World, connect: Connect) -> None:
    """No lock that an open money transaction holds is in the way."""
    payer, maker = await connect("app"), await connect("scheduler")
    async with payer.transaction():
        await transfer(payer, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1))
        assert len(await maker.fetchval("SELECT api.make_partitions('7 months')")) == 4 * len(TABLES)
        await transfer(payer, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1))


async def test_months_without_a_partition_stop_no_money(world: World, connect: Connect, database: Clone) -> None:
    scheduler = await connect("scheduler")
    await _months(world)
    for number in (6, 8):
        await _later(world.db, number)
        await _month(world, f"m{number}")
    assert "transfers_default" in await _rows(world.db, "transfers")
    misplaced = "SELECT array_agg(table_name ORDER BY 1) FROM api.partitions() WHERE misplaced"
    assert await scheduler.fetchval(misplaced) == list(BOOKS)
    assert await violations(world.db) == []
    before = await written(world.db)
    entries = await _entries(world.db, world.alice.wallet)
    async with asyncpg.create_pool(database.url("scheduler"), min_size=1, max_size=1) as pool:
        assert await make_partitions(JobContext(pool, database.settings())) == len(BOOKS)
    assert MISPLACED_ROWS._value.get() == 0
    assert await written(world.db) == before
    assert "transfers_default" not in await _rows(world.db, "transfers")
    assert await scheduler.fetchval(misplaced) is None
    got = await _statement(world.db, world.alice.wallet, None, None, None, 1000, None)
    assert got == [(row["seq"], row["amount"], row["balance"]) for row in entries]
    await _later(world.db, 9)
    await _month(world, "m9")
    await world.db.fetchval("SELECT api.make_partitions('10 months')")
    assert await scheduler.fetchval(misplaced) is None


async def test_detached_months_leave_the_books_balanced(world: World, dba_conn: Connection) -> None:
    await world.db.execute("SELECT api.create_stream($1, 'Show', 'show')", world.creator.id)
    await _months(world)
    await _may_go(world.db)
    before = await written(world.db)
    balances = await world.db.fetch("SELECT * FROM api.wallets ORDER BY 1")
    entries = await _entries(world.db, world.alice.wallet)
    gone: list[str] = []
    for _ in range(2):
        gone += await dba_conn.fetchval("SELECT api.detach_month('books')")
        assert await violations(world.db) == []
    assert len(gone) == 2 * len(BOOKS)
    assert await world.db.fetch("SELECT * FROM api.wallets ORDER BY 1") == balances
    left = await _entries(world.db, world.alice.wallet)
    assert 0 < len(left) < len(entries)
    got = await _statement(world.db, world.alice.wallet, None, None, None, 1000, None)
    assert [row[0] for row in got] == [row["seq"] for row in left]
    opening = left[-1]["balance"] - left[-1]["amount"]
    at = "SELECT api.balance_at($1, $2)"
    assert await dba_conn.fetchval(at, world.alice.wallet, left[-1]["created_at"] - timedelta(seconds=1)) == opening
    refusal = await refused(dba_conn, at, world.alice.wallet, entries[-1]["created_at"])
    assert (refusal.code, refusal.slug) == ("TS240", "HISTORY_DETACHED")

    old = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=3, key="m0-1", actor=world.alice.id)
    refusal = await refused(world.db, TRANSFER, *old.arguments())
    assert (refusal.code, refusal.slug) == ("TS240", "HISTORY_DETACHED")
    assert (await transfer_batch(world.db, [old]))[0]["error"] == "HISTORY_DETACHED"
    await _month(world, "later")
    assert await violations(world.db) == []

    back = []
    while names := await dba_conn.fetchval("SELECT api.attach_month('books')"):
        back += names
        assert await violations(world.db) == []
    assert sorted(back) == sorted(gone)
    assert await world.db.fetchval("SELECT count(*) FROM core.brought_forward") == 0
    now = await written(world.db)
    assert [row for row in before if row["what"] != "wallet" and row not in now] == []
    assert (await transfer(world.db, old))["replayed"]


async def test_a_stream_whose_tickets_are_detached_is_not_cancelled(world: World, dba_conn: Connection) -> None:
    await set_fee(world.db, 1000)
    stream = await world.db.fetchval(
        "SELECT s.stream_id FROM api.create_stream($1, 'Show', 'show', 'private', 10) AS s", world.creator.id
    )
    await world.db.execute("SELECT api.buy_ticket($1, $2)", world.alice.id, stream)
    for number in range(1, 3):
        await _later(world.db, number)
        request = Transfer(source=world.bob.wallet, target=world.alice.wallet, amount=1, actor=world.bob.id)
        await transfer(world.db, request)
    await _may_go(world.db)
    assert await dba_conn.fetchval("SELECT api.detach_month('books')")
    cancel = "SELECT * FROM api.cancel_stream($1, 'ill')"
    assert (await refused(world.db, cancel, stream)).slug == "HISTORY_DETACHED"
    assert await world.db.fetchval("SELECT refunded_at FROM core.tickets") is None
    while await dba_conn.fetchval("SELECT api.attach_month('books')"):
        pass
    await world.db.execute(cancel, stream)
    assert await balance(world.db, world.alice.wallet) == 102
    # and what was given back before its month went is no violation
    assert await dba_conn.fetchval("SELECT api.detach_month('books')")
    assert await violations(world.db) == []


async def test_adjustments_of_detached_months_are_no_violation(world: World, dba_conn: Connection) -> None:
    asked = await world.db.fetchval(
        "SELECT r.adjustment_id FROM api.request_adjustment($1, $2, 5, 'paid twice', NULL, $3) AS r",
        world.alice.wallet,
        world.bob.wallet,
        world.admin.id,
    )
    await dba_conn.execute("SELECT api.approve_adjustment($1, $2)", asked, world.second_admin.id)
    await _months(world)
    await _may_go(world.db)
    assert await dba_conn.fetchval("SELECT api.detach_month('books')")
    assert await violations(world.db) == []


async def test_months_go_while_money_moves(world: World, dba_conn: Connection, connect: Connect) -> None:
    """Money that comes while the detaching waits for money waits too, and is no victim of a deadlock."""
    await _months(world)
    await _may_go(world.db)
    first, second = await connect("app"), await connect("app")
    begun = first.transaction()
    await begun.start()
    await transfer(first, Transfer(source=world.bob.wallet, target=world.creator.wallet, amount=1))
    detaching = asyncio.create_task(dba_conn.fetchval("SELECT api.detach_month('books')"))
    await until_waiting(world.db, dba_conn)
    pay = Transfer(source=world.alice.wallet, target=world.admin.wallet, amount=1)
    paying = asyncio.create_task(transfer(second, pay))
    await until_waiting(world.db, second)
    await begun.commit()
    await paying
    with suppress(asyncpg.LockNotAvailableError):  # so slow a machine that it gave up
        await detaching


async def test_months_that_were_dropped_are_to_be_restored_first(world: World, dba_conn: Connection) -> None:
    await _months(world)
    await _may_go(world.db)
    names = await dba_conn.fetchval("SELECT api.detach_month('books')")
    async with world.db.transaction():
        await world.db.execute("SET LOCAL ROLE tessera_owner")
        await world.db.execute(f"DROP TABLE {', '.join(f'core.{name}' for name in names)}")
    refusal = await refused(dba_conn, "SELECT api.attach_month('books')")
    assert (refusal.slug, refusal.facts["elsewhere"]) == ("INVALID_REQUEST", sorted(names))
    assert await violations(world.db) == []


async def test_months_that_were_dropped_come_back_from_their_dump(
    world: World, dba_conn: Connection, database: Clone, tmp_path: Path
) -> None:
    """As docs/growth.md says: of these tables only, for others of that month may still be attached."""
    folder = Path(await world.db.fetchval("SELECT setting FROM pg_config WHERE name = 'BINDIR'"))
    if not (folder / "pg_dump").is_file():
        pytest.skip("the server's programs are not on this machine")
    found = re.search(r"--table='(.+)p2025_01'", (SQL_DIRECTORY.parent / "docs/growth.md").read_text())
    assert found is not None
    await _months(world)
    await _may_go(world.db)
    names = await dba_conn.fetchval("SELECT api.detach_month('books')")
    before = {name: await world.db.fetch(f"SELECT * FROM core.{name} ORDER BY 1, 2") for name in names}
    dump, url = tmp_path / "month.sql", database.url()
    only = found[1] + names[0].rpartition("p")[2].join(("p", ""))
    run = partial(subprocess.run, check=True, capture_output=True)
    await asyncio.to_thread(run, [folder / "pg_dump", f"--table={only}", f"--file={dump}", url])
    async with world.db.transaction():
        await world.db.execute("SET LOCAL ROLE tessera_owner")
        await world.db.execute(f"DROP TABLE {', '.join(f'core.{name}' for name in names)}")
    await asyncio.to_thread(run, [folder / "psql", "-X", "-v", "ON_ERROR_STOP=1", "-1", "-f", dump, url])
    assert sorted(await dba_conn.fetchval("SELECT api.attach_month('books')")) == sorted(names)
    for name, rows in before.items():
        assert await world.db.fetch(f"SELECT * FROM core.{name} ORDER BY 1, 2") == rows
    assert await violations(world.db) == []


@pytest.mark.breaks_ledger
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE core.{name} SET amount = amount * 2",
        "UPDATE core.{name} SET balance = balance + 1",
        "DELETE FROM core.{name} WHERE seq = 1 AND wallet_id = (SELECT min(wallet_id::text)::uuid FROM core.{name})",
        "DELETE FROM core.{name}",
    ],
)
async def test_what_was_changed_meanwhile_does_not_come_back(world: World, dba_conn: Connection, change: str) -> None:
    await _months(world)
    await _may_go(world.db)
    names = await dba_conn.fetchval("SELECT api.detach_month('books')")
    name = next(name for name in names if name.startswith("entries"))
    async with unguarded(world.db):
        await world.db.execute(change.format(name=name))
    refusal = await refused(dba_conn, "SELECT api.attach_month('books')")
    assert (refusal.code, refusal.slug) == ("TS902", "INVARIANT_VIOLATED")
    assert await violations(world.db) == []


async def test_what_is_not_old_enough_stays(world: World, dba_conn: Connection) -> None:
    await _months(world)
    for what in ("books", "outbox", "audit_log"):
        assert await dba_conn.fetchval("SELECT api.detach_month($1)", what) == []
        assert await dba_conn.fetchval("SELECT api.attach_month($1)", what) == []
    for unknown in ("transfers", "wallets", None):
        assert (await refused(dba_conn, "SELECT api.detach_month($1)", unknown)).slug == "INVALID_REQUEST"


async def test_events_and_acts_go_alone(world: World, dba_conn: Connection) -> None:
    await _months(world)
    await _may_go(world.db)
    before = await written(world.db)
    # the relay has read it, and no channel points to it
    await world.db.execute("SELECT api.relay_events(); UPDATE core.channel_days SET oldest_at = NULL")
    assert len(await dba_conn.fetchval("SELECT api.detach_month('outbox')")) == 1
    assert await world.db.fetchval("SELECT count(*) FROM core.outbox") == 0
    assert len(await dba_conn.fetchval("SELECT api.attach_month('outbox')")) == 1
    acts = [row for row in await written(world.db) if row not in before]
    assert [row for row in before if row not in await written(world.db)] == []
    assert [json.loads(row["is"])["action"] for row in acts] == ["months.detached", "months.attached"]


@pytest.mark.parametrize("who", ["app", "scheduler", "readonly"])
async def test_only_people_detach(connect: Connect, who: str) -> None:
    conn = await connect(who)
    for name in ("detach_month", "attach_month"):
        assert (await refused(conn, f"SELECT api.{name}('books')")).code == "42501"
