"""The relay: every committed event gets its number in each of its channels, once, whatever the order of commits."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from hashlib import md5
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.conftest import Connect
from tests.support.money import Tip, Transfer, World, person, raised, refused, set_rate, tips, transfer, unguarded
from tests.support.postgres import Connection

pytestmark = pytest.mark.makes_events

RELAY = "SELECT * FROM api.relay_events($1)"
POSITION = "SELECT * FROM api.channel_position($1)"
READ = "SELECT * FROM api.read_channel($1, $2, $3, $4)"
LAG = "SELECT * FROM api.relay_lag()"
PUT = "INSERT INTO core.outbox (type, channels, payload) VALUES ($1, $2, '{}')"
MANY = """
    INSERT INTO core.outbox (type, channels, payload)
    SELECT 'many', ARRAY['c:' || n % 7, 'all'], jsonb_build_object('n', n) FROM generate_series(1, $1) AS n"""


async def put(conn: Connection, kind: str, *channels: str) -> None:
    """An event, in a transaction of its own unless one is open."""
    await conn.execute(PUT, kind, list(channels) or ["a"])


async def relay(conn: Connection, limit: int = 5000) -> int:
    """Relay until nothing is left; how many events that were."""
    total: int = 0
    for _ in range(10_000):
        row = await conn.fetchrow(RELAY, limit)
        assert row is not None
        assert not row["busy"]
        assert row["events"] <= limit
        total += int(row["events"])
        if not row["events"] and not row["more"]:
            return total
    raise AssertionError("there is always something left to relay")


async def channel(conn: Connection, name: str = "a", after: int = 0) -> list[str]:
    """Types of the events of a channel, read in pages; their numbers are dense."""
    position = await conn.fetchrow(POSITION, name)
    assert position is not None
    found: list[str] = []
    while after + len(found) < position["seq"]:
        page = await conn.fetch(READ, name, position["epoch"], after + len(found), 3000)
        assert [row["seq"] for row in page] == [after + len(found) + n for n in range(1, len(page) + 1)]
        found += [row["type"] for row in page]
    return found


async def each_once(conn: Connection) -> None:
    """Every event is in each of its channels once, and nothing else is; numbers are dense and channels know them."""
    wrong = await conn.fetch("""
        SELECT * FROM (
            SELECT DISTINCT o.xid, o.id, c.channel FROM core.outbox AS o CROSS JOIN unnest(o.channels) AS c (channel)
        ) AS o
        FULL JOIN (
            SELECT e.xid, e.id, c.channel, count(*) AS times
            FROM core.channel_events AS e JOIN core.channels AS c ON c.id = e.channel_id GROUP BY 1, 2, 3
        ) AS e USING (xid, id, channel)
        WHERE o.xid IS NULL OR e.times IS DISTINCT FROM 1""")
    assert wrong == []
    await dense(conn)


async def dense(conn: Connection) -> None:
    """Numbers are 1, 2, 3… in each channel."""
    wrong = await conn.fetch("""
        SELECT c.channel FROM core.channels AS c LEFT JOIN core.channel_events AS e ON e.channel_id = c.id
        GROUP BY c.channel, c.seq
        HAVING count(*) <> c.seq OR min(e.seq) <> 1 OR max(e.seq) <> c.seq OR count(DISTINCT e.seq) <> c.seq""")
    assert wrong == []


async def test_events_come_in_order_with_dense_numbers(db: Connection, connect: Connect) -> None:
    scheduler, app = await connect("scheduler"), await connect("app")
    for kind, channels in (("one", "a"), ("two", "ab"), ("three", "b"), ("four", "aab")):
        await put(db, kind, *channels)
    assert await relay(scheduler) == 4
    assert await channel(app) == ["one", "two", "four"]
    assert await channel(app, "b") == ["two", "three", "four"]
    assert await channel(app, after=1) == ["two", "four"]
    assert await channel(app, "none") == []
    await put(db, "five", "b")
    assert await relay(scheduler) == 1
    assert await channel(app, "b", after=3) == ["five"]
    await each_once(db)


async def test_an_event_of_no_channel_is_relayed_to_nobody(db: Connection) -> None:
    await db.execute(
        "INSERT INTO core.outbox (type, channels, payload) VALUES ('x', '{}', '{}'), ('y', '{NULL}', '{}')"
    )
    row = await db.fetchrow(RELAY, 10)
    assert row is not None
    assert (row["events"], row["entries"]) == (2, 0)
    assert await relay(db) == 0


async def test_nothing_to_do_writes_nothing(db: Connection) -> None:
    await put(db, "one")
    await relay(db)
    before = await db.fetchval("SELECT r.xmin::text || r.ctid::text FROM core.relay_state AS r")
    async with db.transaction():
        assert (await db.fetchrow(RELAY, 10))["events"] == 0  # type: ignore[index]
        assert await db.fetchval("SELECT pg_current_xact_id_if_assigned()") is None
    assert await db.fetchval("SELECT r.xmin::text || r.ctid::text FROM core.relay_state AS r") == before


@pytest.mark.parametrize("limit", [1, 2, 3, 5000])
async def test_a_slow_writer_delays_its_own_events_only(db: Connection, connect: Connect, limit: int) -> None:
    slow, second = await connect(), await connect()
    await put(db, "before")
    await relay(db, limit)
    async with slow.transaction():
        await put(slow, "slow 1", "a", "s")
        async with second.transaction():
            await put(second, "second 1", "s")
            for n in range(5):
                await put(db, f"quick {n}")
                if n % 2:
                    assert await relay(db, limit) > 0
            await relay(db, limit)
            assert await channel(db) == ["before", *(f"quick {n}" for n in range(5))]
            await put(slow, "slow 2", "a", "s")
        await relay(db, limit)
        assert await channel(db, "s") == ["second 1"]
    await put(db, "after")
    await relay(db, limit)
    assert await channel(db) == ["before", *(f"quick {n}" for n in range(5)), "slow 1", "slow 2", "after"]
    assert await channel(db, "s") == ["second 1", "slow 1", "slow 2"]
    assert await relay(db, limit) == 0
    await each_once(db)


async def test_a_held_transaction_costs_no_scan(db: Connection, connect: Connect) -> None:
    slow = await connect()
    async with slow.transaction():
        await put(slow, "slow")
        await db.execute(MANY, 3000)
        await relay(db)
        await put(db, "one")
        await db.execute("SELECT pg_stat_force_next_flush()")
        fetched = (
            "SELECT coalesce(sum(idx_tup_fetch + seq_tup_read), 0) FROM pg_stat_user_tables WHERE relname ~ '^outbox'"
        )
        before = await db.fetchval(fetched)
        await relay(db)
        await db.execute("SELECT pg_stat_force_next_flush()")
        assert await db.fetchval(fetched) - before < 100


async def test_transactions_that_come_to_nothing_leave_no_gap(db: Connection, connect: Connect) -> None:
    other = await connect()
    await put(db, "one")
    open_one = other.transaction()
    await open_one.start()
    await put(other, "never")
    await put(db, "two")
    await relay(db)
    await open_one.rollback()
    await put(db, "three")
    await db.execute("BEGIN; INSERT INTO core.outbox (type, channels, payload) VALUES ('no', '{a}', '{}'); ROLLBACK")
    await db.execute("""
        BEGIN; SAVEPOINT s; INSERT INTO core.outbox (type, channels, payload) VALUES ('no', '{a}', '{}');
        ROLLBACK TO s; SAVEPOINT t;
        INSERT INTO core.outbox (type, channels, payload) VALUES ('four', '{a}', '{}'); COMMIT""")
    assert await relay(db) == 2
    assert await channel(db) == ["one", "two", "three", "four"]
    await each_once(db)


async def test_what_the_relays_own_transaction_writes_comes_later_and_once(db: Connection) -> None:
    async with db.transaction():
        await put(db, "before")
        await db.fetch(RELAY, 10)
        await put(db, "after")
        await db.fetch(RELAY, 10)
    assert await relay(db) == 2
    assert await channel(db) == ["before", "after"]
    await each_once(db)


@pytest.mark.parametrize("seed", range(4))
async def test_any_order_of_commits(db: Connection, connect: Connect, seed: int) -> None:
    """Sessions that begin, write, commit and roll back as they like, with relays in between."""
    dice = random.Random(seed)  # noqa: S311
    sessions = [await connect() for _ in range(6)]
    open_ones: dict[int, asyncpg.transaction.Transaction] = {}
    for step in range(300):
        n = dice.randrange(len(sessions))
        if n not in open_ones:
            open_ones[n] = sessions[n].transaction()
            await open_ones[n].start()
        match dice.randrange(8):
            case 0 | 1:
                await open_ones.pop(n).commit()
            case 2:
                await open_ones.pop(n).rollback()
            case 3:
                await db.fetch(RELAY, dice.choice((1, 3, 1000)))
            case _:
                await put(sessions[n], f"{n} {step}", *dice.sample("abc", dice.randrange(1, 4)))
    for left in open_ones.values():
        await left.commit()
    await relay(db, dice.choice((2, 1000)))
    await each_once(db)
    for name in "abc":
        kinds = [kind.split() for kind in await channel(db, name)]
        for n in range(len(sessions)):
            steps = [int(step) for session, step in kinds if int(session) == n]
            assert steps == sorted(steps)


async def test_a_backlog_goes_in_chunks(db: Connection) -> None:
    await db.execute(MANY, 20_000)
    lag = await db.fetchrow(LAG)
    assert lag is not None
    assert lag["lag"] is not None
    assert lag["backlog"] >= 20_000
    calls = 0
    while True:
        row = await db.fetchrow(RELAY, 3000)
        assert row is not None
        calls += 1
        assert row["events"] <= 3000
        state = await db.fetchrow("SELECT * FROM api.relay_state")
        assert state is not None
        assert (state["in_chunks"] > 0) == row["more"]
        assert (await db.fetchrow(LAG))["backlog"] == state["in_chunks"]  # type: ignore[index]
        if not row["more"]:
            break
    assert calls in (7, 8)
    assert dict(await db.fetchrow(LAG) or {}) == {"lag": None, "backlog": 0}
    await each_once(db)
    ids = await db.fetch(
        "SELECT e.id FROM core.channel_events AS e JOIN core.channels AS c ON c.id = e.channel_id"
        " WHERE c.channel = 'all' ORDER BY e.seq"
    )
    assert [row[0] for row in ids] == sorted(row[0] for row in ids)


async def test_new_events_wait_for_the_backlog(db: Connection, connect: Connect) -> None:
    slow = await connect()
    held = slow.transaction()
    await held.start()
    await put(slow, "slow", "all")
    await db.execute(MANY, 2500)
    assert (await db.fetchrow(RELAY, 1000))["more"]  # type: ignore[index]
    await held.commit()
    await put(db, "new", "all")
    await relay(db, 1000)
    assert (await channel(db, "all"))[2500:] == ["slow", "new"]
    await each_once(db)


async def test_a_relay_that_dies_between_chunks_repeats_and_skips_nothing(db: Connection, connect: Connect) -> None:
    dying = await connect()
    await db.execute(MANY, 2500)
    for _ in range(4):
        lost = dying.transaction()
        await lost.start()
        await dying.fetch(RELAY, 1000)
        await lost.rollback()
        await db.fetch(RELAY, 1000)
        await db.execute(MANY, 300)
    await relay(db, 1000)
    await each_once(db)


async def test_one_relay_works_at_a_time_and_the_next_takes_over_at_once(db: Connection, connect: Connect) -> None:
    first, second = await connect("scheduler"), await connect("scheduler")
    await db.execute(MANY, 2500)
    working = first.transaction()
    await working.start()
    assert (await first.fetchrow(RELAY, 1000))["events"] > 0  # type: ignore[index]
    row = await second.fetchrow(RELAY, 1000)
    assert row is not None
    assert (row["busy"], row["events"]) == (True, 0)
    first.terminate()
    for _ in range(2000):
        if not (await second.fetchrow(RELAY, 1000))["busy"]:  # type: ignore[index]
            break
        await asyncio.sleep(0.005)
    await relay(second, 1000)
    await each_once(db)


async def test_many_relays_at_once(connect: Connect, db: Connection) -> None:
    relays, writers = [await connect("scheduler") for _ in range(3)], [await connect() for _ in range(3)]
    done = asyncio.Event()

    async def work(conn: Connection) -> None:
        while not done.is_set():
            await conn.fetch(RELAY, 50)
            await asyncio.sleep(0)

    async def write(conn: Connection) -> None:
        for n in range(40):
            await conn.execute(MANY, n)

    workers = [asyncio.create_task(work(conn)) for conn in relays]
    await asyncio.gather(*map(write, writers))
    done.set()
    await asyncio.gather(*workers)
    await relay(db)
    await each_once(db)


async def test_the_order_of_a_wallet_is_kept(connect: Connect, db: Connection) -> None:
    """In the channel of a user the entries of their wallet come in the order of seq, however tips overlap."""
    creator = await person(db, "creator", roles=("creator",))
    fans = [await person(db, f"fan{n}", tokens=1000) for n in range(6)]
    sessions, scheduler = [await connect("app") for _ in range(4)], await connect("scheduler")
    done = asyncio.Event()

    async def pay(conn: Connection, seed: int) -> None:
        dice = random.Random(seed)  # noqa: S311
        for n in range(25):
            some = dice.sample(fans, 3)
            if n % 3:
                await tips(
                    conn, [Tip(sender=f.id, creator=creator.id, amount=1, key=f"{seed} {n} {f.id}") for f in some]
                )
            else:
                async with conn.transaction():
                    # a number of a transaction long before the wallet is locked
                    await conn.fetchval("SELECT pg_current_xact_id()")
                    await asyncio.sleep(0)
                    pay = Transfer(
                        source=some[0].wallet, target=some[1].wallet, amount=1, key=f"{seed} {n}", actor=some[0].id
                    )
                    await transfer(conn, pay)

    async def work() -> None:
        while not done.is_set():
            await scheduler.fetch(RELAY, 7)

    worker = asyncio.create_task(work())
    await asyncio.gather(*(pay(conn, seed) for seed, conn in enumerate(sessions)))
    done.set()
    await worker
    await relay(scheduler)
    await each_once(db)
    for who in (creator, *fans):
        rows = await db.fetch(
            """
            SELECT en.seq FROM core.channels AS c
            JOIN core.channel_events AS e ON e.channel_id = c.id
            JOIN core.outbox AS o ON o.xid = e.xid AND o.id = e.id
            JOIN core.transfers AS t ON t.id = coalesce(o.payload ->> 'transfer_id', o.payload ->> 'tip_id')::uuid
            JOIN core.entries AS en ON en.transfer_id = t.id AND en.wallet_id = $2
            WHERE c.channel = ANY (ARRAY['user:' || $1::text, 'creator:' || $1::text]) ORDER BY e.channel_id, e.seq""",
            str(who.id),
            who.wallet,
        )
        assert len(rows) > 3
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)


async def _restored(db: Connection) -> UUID:
    """As after a logical restore into another cluster."""
    epoch: UUID = await db.fetchval("UPDATE core.relay_state SET cluster = '1' RETURNING epoch")
    return epoch


@pytest.mark.parametrize("limit", [2, 5000])
@pytest.mark.parametrize("ahead", [True, False])
async def test_a_restore_elsewhere_is_a_new_epoch(db: Connection, connect: Connect, limit: int, ahead: bool) -> None:
    """Numbers of its transactions mean nothing here: they are ahead of this cluster's, or long gone by."""
    slow = await connect()
    shift = 4_000_000 if ahead else -300
    async with slow.transaction():
        await put(slow, "slow")
        await put(db, "one")
        await put(db, "two")
        await relay(db)
    await put(db, "three")
    # as another cluster numbered them
    shifted = f"(xid::text::bigint + {shift})::text::xid8"
    base = await db.fetchval("SELECT base::text FROM core.relay_state")
    xmin, xmax, xips = base.split(":")
    moved = [
        ":".join(str(int(n) + shift) for n in (xmin, xmax)),
        ",".join(str(int(n) + shift) for n in xips.split(",") if n),
    ]
    await db.execute(f"UPDATE core.outbox SET xid = {shifted}")
    await db.execute(f"UPDATE core.channel_events SET xid = {shifted}")
    await db.execute("UPDATE core.relay_state SET base = $1::text::pg_snapshot", ":".join(moved))
    before = await _restored(db)
    await put(db, "new")
    assert await relay(db, limit) == 3
    position = await db.fetchrow(POSITION, "a")
    assert position is not None
    assert position["epoch"] != before
    assert await channel(db) == ["one", "two", "slow", "three", "new"]
    await put(db, "newer")
    assert await relay(db, limit) == 1
    assert await relay(db, limit) == 0
    assert (await db.fetchrow(POSITION, "a"))["epoch"] == position["epoch"]  # type: ignore[index]
    await each_once(db)
    assert (await refused(db, READ, "a", before, 0, 10)).slug == "POSITION_LOST"


async def test_a_restore_in_the_midst_of_a_backlog(db: Connection) -> None:
    await db.execute(MANY, 2500)
    await db.fetch(RELAY, 1000)
    await put(db, "last", "all")
    await _restored(db)
    await put(db, "new", "all")
    epochs = {(await db.fetchrow(RELAY, 1000))["epoch"] for _ in range(8)}  # type: ignore[index]
    assert len(epochs) == 1
    assert await relay(db) == 0
    assert (await channel(db, "all"))[2500:] == ["last", "new"]
    await each_once(db)


async def test_a_restore_of_nothing(db: Connection) -> None:
    await _restored(db)
    assert await relay(db) == 0
    assert await db.fetchval("SELECT phase FROM core.relay_state") == "own"
    await put(db, "one")
    assert await relay(db) == 1


async def test_another_timeline_is_a_new_epoch_and_nothing_else(db: Connection) -> None:
    await put(db, "one")
    await relay(db)
    before = await db.fetchval("UPDATE core.relay_state SET history = '00000000/1' RETURNING epoch")
    await put(db, "two")
    assert await relay(db) == 1
    assert await channel(db) == ["one", "two"]
    assert await db.fetchval("SELECT epoch FROM core.relay_state") != before


async def test_days_are_dropped_when_they_are_over_for_long(db: Connection, connect: Connect) -> None:
    scheduler = await connect("scheduler")
    await put(db, "old")
    await put(db, "older")
    await relay(db)
    await db.execute("""
        UPDATE core.relay_state SET relayed_at = '2020-01-01';
        SELECT core._make_channel_days(now() - interval '9 days', 0);
        UPDATE core.channel_events SET relayed_at = now() - interval '9 days'""")
    await put(db, "new")
    await relay(db)
    assert await channel(db) == ["old", "older", "new"]
    dropped = await scheduler.fetchval("SELECT api.keep_channel_events()")
    assert len(dropped) == 1
    assert await scheduler.fetchval("SELECT api.keep_channel_events()") == []
    epoch = await db.fetchval("SELECT epoch FROM core.relay_state")
    refusal = await refused(scheduler, READ, "a", epoch, 1, 10)
    assert (refusal.code, refusal.slug) == ("TS345", "POSITION_LOST")
    assert refusal.facts == {"channel": "a", "epoch": str(epoch), "seq": 3, "first_seq": 3}
    assert await channel(scheduler, after=2) == ["new"]
    days = await db.fetchval("SELECT count(*) FROM core.channel_days WHERE to_at > now()")
    assert days == 4
    assert days == await db.fetchval(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'core.channel_events'::regclass"
    )


async def test_all_that_was_kept_is_dropped(db: Connection) -> None:
    await put(db, "old")
    await relay(db)
    await db.execute("""
        SELECT core._make_channel_days(now() - interval '9 days', 0);
        UPDATE core.channel_events SET relayed_at = now() - interval '9 days';
        SELECT api.keep_channel_events()""")
    position = await db.fetchrow(POSITION, "a")
    assert position is not None
    assert (position["seq"], position["first_seq"]) == (1, 2)
    assert await channel(db, after=1) == []


async def test_nothing_is_dropped_without_the_rate(db: Connection) -> None:
    async with unguarded(db):
        await db.execute("DELETE FROM core.rates WHERE name = 'channel_events_kept'")
    assert (await refused(db, "SELECT api.keep_channel_events()")).slug == "CONFIGURATION_ERROR"
    await set_rate(db, "channel_events_kept", 30, "days")
    assert await db.fetchval("SELECT api.keep_channel_events()") == []


async def test_positions_that_cannot_be(db: Connection) -> None:
    await put(db, "one")
    await relay(db)
    epoch = await db.fetchval("SELECT epoch FROM core.relay_state")
    for name, at, after in (("a", uuid4(), 0), ("a", None, 0), ("a", epoch, 2), ("none", epoch, 1)):
        assert (await refused(db, READ, name, at, after, 10)).slug == "POSITION_LOST"
    assert await db.fetch(READ, "a", epoch, 1, 10) == []
    for arguments in (
        (None, epoch, 0, 1),
        ("a", epoch, -1, 1),
        ("a", epoch, None, 1),
        ("a", epoch, 0, 0),
        ("a", epoch, 0, 10_001),
    ):
        assert (await refused(db, READ, *arguments)).slug == "INVALID_REQUEST"


@pytest.mark.parametrize("age", [None, "-1 second"])
async def test_bad_ages(db: Connection, age: str | None) -> None:
    refusal = await refused(db, "SELECT * FROM api.relay_events(1, true, $1::text::interval)", age)
    assert (refusal.code, refusal.facts) == ("TS101", {"field": "p_age"})


async def test_what_is_young_is_left_to_who_wrote_it(db: Connection, app_conn: Connection) -> None:
    await db.execute("SELECT api.relay_events()")
    put = """
        INSERT INTO core.outbox (type, channels, payload, created_at)
        VALUES ('n', '{a}', '{}', clock_timestamp() - $1::interval)"""
    relay = "SELECT busy, events, more FROM api.relay_events(10, true, '1 minute')"
    await db.execute(put, timedelta(seconds=1))
    assert tuple(await app_conn.fetchrow(relay) or ()) == (False, 0, False)
    await db.execute(put, timedelta(hours=1))
    assert tuple(await app_conn.fetchrow(relay) or ()) == (False, 0, False)  # the first one decides
    assert tuple(await app_conn.fetchrow("SELECT busy, events, more FROM api.relay_events(10)") or ()) == (
        False,
        2,
        False,
    )
    await db.execute(put, timedelta(hours=1))
    await db.execute(put, timedelta(seconds=1))
    assert tuple(await app_conn.fetchrow(relay) or ()) == (False, 2, False)


@pytest.mark.parametrize("limit", [None, 0, -1, 100_001])
async def test_bad_limits(db: Connection, limit: int | None) -> None:
    refusal = await refused(db, RELAY, limit)
    assert (refusal.code, refusal.facts) == ("TS101", {"field": "p_limit"})


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_only_at_read_committed(db: Connection, isolation: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as caught:
        async with db.transaction(isolation=isolation):  # type: ignore[arg-type]
            await db.fetch(RELAY, 10)
    assert raised(caught.value).facts == {"field": "transaction_isolation"}


async def test_what_is_needed_is_not_detached(world: World, dba_conn: Connection) -> None:
    """Neither an event that is not relayed, nor one that can still be read from a channel."""
    await world.db.execute("""
        UPDATE core.outbox SET created_at = created_at - interval '1 year';
        UPDATE core.partitions SET to_at = to_at - interval '1 year'
        WHERE table_name = 'outbox' AND from_at = '-infinity'""")
    detach = "SELECT api.detach_month('outbox')"
    assert (await refused(dba_conn, detach)).slug == "EVENTS_NEEDED"
    await relay(world.db)
    assert (await refused(dba_conn, detach)).slug == "EVENTS_NEEDED"
    await world.db.execute("UPDATE core.channel_days SET oldest_at = now()")
    assert len(await dba_conn.fetchval(detach)) == 1


async def test_readers_are_told_when_it_is_committed(db: Connection, connect: Connect) -> None:
    listener, hints = await connect("app"), []
    await listener.add_listener("tessera_events", lambda *told: hints.append(told[-1]))
    await put(db, "one")
    assert await relay(db) == 1
    for _ in range(200):
        if hints:
            break
        await asyncio.sleep(0.01)
    assert hints == [f"0:1:{md5(b'a', usedforsecurity=False).hexdigest()[:8]}"]
    await relay(db)
    await listener.execute("SELECT 1")
    assert hints == [f"0:1:{md5(b'a', usedforsecurity=False).hexdigest()[:8]}"]
