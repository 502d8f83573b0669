"""A session keeps its plans; none may turn into a scan of a table that has grown since they were made.

The session under test calls everything while the tables are empty, the tables grow, and it calls everything again: by
PostgreSQL's own counters it then reads no table from end to end, and no more rows than the call is about. What has
partitions has rows in several of them, and their counters count together.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg
import pytest

from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.support.calls import ACCEPT, BEAT, END, METER, METER_DUE, ask_for
from tests.support.money import BATCH, TIPS, TRANSFER, Tip, Transfer, person, set_fee, tip, unguarded
from tests.support.postgres import Connection

TABLES = (
    "wallets",
    "transfers",
    "entries",
    "idempotency_keys",
    "tips",
    "streams",
    "tickets",
    "users",
    "holds",
    "captures",
    "refunds",
    "outbox",
    "audit_log",
    "calls",
    "call_clocks",
    "call_parties",
    "meter_blocks",
)
TICKETS = "SELECT * FROM api.buy_tickets($1::api.ticket_request[])"
STREAM = "SELECT stream_id FROM api.create_stream($1, 'T', $2, 'private', 5, 1000, NULL, NULL, NULL)"
STATEMENT = "SELECT count(*) FROM api.statement($1, NULL, NULL, $2, $3, NULL)"
BALANCE_AT = "SELECT api.balance_at($1, $2)"
TIPS_OF = "SELECT * FROM api.tips AS t WHERE t.{side}_id = $1 AND t.tip_id < $2 ORDER BY t.tip_id DESC LIMIT 10"
KIND = "SELECT count(*) FROM api.statement($1, p_kind => $2, p_limit => $3)"
DAY = "SELECT count(*) FROM api.statement($1, p_from => $2)"
HOLD = "SELECT * FROM api.place_hold($1, $2, interval '1 day', p_key => $3, p_actor => $4)"
REFUND = "SELECT * FROM api.refund_transfer($1, $2, $3, $4, $5, $6)"
EVENTS = "SELECT * FROM core.outbox WHERE xid >= $1::text::xid8 ORDER BY xid, id LIMIT 100"
OLD_HOLDS_AND_ACTS = """
    INSERT INTO core.holds
        (id, wallet_id, amount, released, created_at, expires_at, closed_at, asset, kind, status, db_user)
    SELECT core.uuid7(), w.id, 5, 5, now(), now() + interval '1 day', now(), w.asset, 'hold', 'released', 'test'
    FROM core.wallets AS w WHERE w.owner_id IS NOT NULL;
    INSERT INTO core.audit_log (action, subject_id) SELECT 'user.seen', u.id FROM core.users AS u"""
OLD_STREAMS_AND_TICKETS = """
    INSERT INTO core.streams (creator_id, title, channel, visibility, seats, seats_sold)
    SELECT u.id, 'T', 'old-' || u.username, 'private', 1, 1 FROM core.users AS u;
    INSERT INTO core.tickets (stream_id, viewer_id, price, platform_fee, created_at)
    SELECT s.id, s.creator_id, 0, 0, now() FROM core.streams AS s WHERE s.channel LIKE 'old-%'"""
LIVE_CALLS = """
    WITH made AS (
        SELECT
            core.uuid7() AS id, n, f.id AS fan, c.id AS creator, fw.id AS fan_wallet, cw.id AS creator_wallet,
            clock_timestamp() + CASE WHEN n <= 20 THEN interval '-1 second' ELSE interval '1 hour' END AS starts
        FROM generate_series(1, $1::integer / 2) AS n
        INNER JOIN (SELECT u.*, row_number() OVER (ORDER BY u.id) AS place FROM core.users AS u) AS f ON f.place = n
        INNER JOIN (SELECT u.*, row_number() OVER (ORDER BY u.id) AS place FROM core.users AS u) AS c
            ON c.place = n + $1::integer / 2
        INNER JOIN core.wallets AS fw ON fw.owner_id = f.id
        INNER JOIN core.wallets AS cw ON cw.owner_id = c.id
    ), calls AS (
        INSERT INTO core.calls (
            id, fan_id, creator_id, fan_wallet_id, creator_wallet_id, rate_per_minute, block_us, block_price,
            block_limit, opened_at, accepted_at, status
        )
        SELECT id, fan, creator, fan_wallet, creator_wallet, 2, 30000000, 1, 100, starts, starts, 'active' FROM made
    ), parties AS (
        INSERT INTO core.call_parties (user_id, call_id)
        SELECT p.id, made.id FROM made CROSS JOIN LATERAL (VALUES (fan), (creator)) AS p (id)
    )
    INSERT INTO core.call_clocks (call_id, due_at, running_since, fan_seen_at, creator_seen_at)
    SELECT id, starts, starts, clock_timestamp(), clock_timestamp() FROM made"""
OLD_BLOCKS = """
    INSERT INTO core.meter_blocks (call_id, block_no, price, platform_fee, transfer_id, paid_at)
    SELECT c.id, 1000 + b, 1, 0, core.uuid7(), now() FROM core.calls AS c CROSS JOIN generate_series(1, 12) AS b
    WHERE c.id > (SELECT x.id FROM core.calls AS x ORDER BY x.id OFFSET 600 LIMIT 1)"""
LAST_ID = UUID(int=2**128 - 1)
PEOPLE = 2000
SMALL_PAGES = 8
"""A scan of so little is as good as an index."""
MONTHS = 3


class Calls:
    """One call of each kind, and how many rows it may fetch from all tables together."""

    def __init__(
        self,
        users: list[asyncpg.Record],
        creators: list[asyncpg.Record],
        transfer: UUID,
        streams: list[UUID],
        beats: list[tuple[UUID, UUID]],
    ) -> None:
        wallets = [user["wallet"] for user in users]
        ids = [user["id"] for user in users]
        pay = Transfer(source=wallets[0], target=wallets[1], amount=1, key="single", actor=ids[0])
        batch = [
            Transfer(source=a, target=b, amount=1, key=f"key-{n}", actor=actor).item()
            for n, (a, b, actor) in enumerate(zip(wallets, wallets[1:] + wallets[:1], ids, strict=True))
        ]
        tips = [
            Tip(sender=i, creator=creators[n % len(creators)]["id"], amount=50, key=f"tip-{n}").arguments()
            for n, i in enumerate(ids)
        ]
        tickets = [(i, stream, f"ticket-{stream}") for i in ids for stream in streams]
        size = len(users)
        creator = creators[0]
        refund = (transfer, None, "refund", "refuse", None, None)
        self.all: list[tuple[str, str, tuple[object, ...], int]] = [
            ("transfer", TRANSFER, pay.arguments(), 20),
            ("replay", TRANSFER, pay.arguments(), 40),
            ("batch", BATCH, (batch,), 20 * size),
            ("replayed batch", BATCH, (batch,), 20 * size),
            ("tips", TIPS, (tips,), 30 * size),
            ("replayed tips", TIPS, (tips,), 60 * size),
            ("tickets", TICKETS, (tickets,), 40 * len(tickets)),
            ("replayed tickets", TICKETS, (tickets,), 40 * len(tickets)),
            ("tickets twice", TICKETS, ([(*ticket[:2], None) for ticket in tickets],), 40 * len(tickets)),
            ("metering", METER_DUE, (5,), 400),
            ("metering of one", METER, (beats[0][0],), 80),
            ("signs of life", BEAT, (beats,), 10 * len(beats)),
            ("end of a call", END, (beats[0][0], None), 100),
            ("statement", STATEMENT, (creators[0]["wallet"], None, 5), 20),
            ("deep page", STATEMENT, (creators[0]["wallet"], PEOPLE, 10), 40),
            ("balance_at", BALANCE_AT, (creators[0]["wallet"], datetime(2000, 1, 1, tzinfo=UTC)), 30),
            ("balance at a time", BALANCE_AT, (creator["wallet"], datetime.now(UTC) - timedelta(seconds=1)), 60),
            ("balance after an entry", "SELECT api.balance_at_seq($1, $2)", (creator["wallet"], 2), 5),
            ("balances", "SELECT * FROM api.wallet_balances($1)", (ids[0],), 5),
            ("statement of a kind", KIND, (creator["wallet"], "tip", 5), 1000),
            ("statement of a day", DAY, (creator["wallet"], datetime.now(UTC) + timedelta(days=500)), 5),
            ("hold", HOLD, (wallets[0], 5, f"hold-{ids[0]}", ids[0]), 20),
            ("hold again", HOLD, (wallets[0], 5, f"hold-{ids[0]}", ids[0]), 20),
            ("refund", REFUND, refund, 30),
            ("refund again", REFUND, refund, 30),
        ]
        self.views: list[tuple[str, str, tuple[object, ...], int]] = [
            ("transfer", "SELECT * FROM api.transfers WHERE transfer_id = $1", (transfer,), 2),
            ("tips sent", TIPS_OF.format(side="sender"), (ids[0], LAST_ID), 60),
            ("tips received", TIPS_OF.format(side="creator"), (creator["id"], LAST_ID), 20),
            ("tips received earlier", TIPS_OF.format(side="creator"), (creator["id"], transfer), 20),
            ("holds", "SELECT * FROM api.holds WHERE wallet_id = $1 ORDER BY hold_id DESC LIMIT 5", (wallets[0],), 10),
            ("refunds", "SELECT * FROM api.refunds WHERE original_id = $1", (transfer,), 5),
        ]
        self.of_a_dba: list[tuple[str, str, tuple[object, ...], int]] = [
            ("events", EVENTS, (str(2**60),), 5),
            ("acts", "SELECT * FROM core.audit_log WHERE subject_id = $1 ORDER BY id DESC LIMIT 5", (ids[0],), 10),
        ]


async def _people(conn: Connection, roles: str = "{}", offset: int = 0, limit: int = 20) -> list[asyncpg.Record]:
    return await conn.fetch(
        "SELECT u.id, w.id AS wallet FROM core.users AS u JOIN core.wallets AS w ON w.owner_id = u.id"
        " WHERE u.roles = $1::text[] ORDER BY u.id OFFSET $2 LIMIT $3",
        [] if roles == "{}" else ["creator"],
        offset,
        limit,
    )


async def _grow(conn: Connection) -> None:
    """Thousands of users with histories; one creator's is thousands of entries long."""
    await conn.execute(
        "INSERT INTO core.users (email, username, display_name, roles)"
        " SELECT 'u' || n || '@example.org', 'u' || n, 'U', CASE WHEN n <= 3 THEN ARRAY['creator'] ELSE '{}' END"
        " FROM generate_series(1, $1::integer) AS n",
        PEOPLE,
    )
    mint = await conn.fetchval("SELECT id FROM core.wallets WHERE purpose = 'issuance' LIMIT 1")
    users = await _people(conn, limit=PEOPLE)
    creators = await _people(conn, "creator")
    await conn.fetch(BATCH, [Transfer(source=mint, target=u["wallet"], amount=10**6).item() for u in users])
    async with unguarded(conn):
        await conn.execute(OLD_STREAMS_AND_TICKETS)
        await conn.execute(LIVE_CALLS, PEOPLE)
        await conn.execute(OLD_BLOCKS)
    for turn in range(MONTHS):
        tips = [Tip(sender=u["id"], creator=creators[0]["id"], amount=50, key=f"old-{turn}").arguments() for u in users]
        await conn.fetch(TIPS, tips)
        async with unguarded(conn):
            await conn.execute(OLD_HOLDS_AND_ACTS)
            await conn.execute("UPDATE core.wallets SET last_entry_at = last_entry_at + interval '1 month'")


async def _without_old_blocks(conn: Connection) -> None:
    """For the auditor: they were never paid."""
    async with unguarded(conn):
        await conn.execute("DELETE FROM core.meter_blocks WHERE block_no > 1000")


class Count(NamedTuple):
    """What PostgreSQL counted of one table or partition."""

    table: str
    scans: int
    rows: int
    pages: int


async def _counters(session: Connection, observer: Connection) -> dict[str, Count]:
    """Scans from end to end, and rows fetched, so far; the sessions' own counts brought up to date."""
    for conn in (session, observer):
        await conn.execute("SELECT pg_stat_force_next_flush()")
    rows = await observer.fetch(r"""
        SELECT s.relname, regexp_replace(s.relname, '_(p\d{4}_\d\d|default)$', '') AS table,
            coalesce(s.seq_scan, 0) AS scans, coalesce(s.seq_tup_read, 0) + coalesce(s.idx_tup_fetch, 0) AS rows,
            pg_relation_size(s.relid) / 8192 AS pages
        FROM pg_stat_user_tables AS s WHERE s.schemaname = 'core'""")
    return {row["relname"]: Count(row["table"], row["scans"], row["rows"], row["pages"]) for row in rows}


async def _cost(session: Connection, observer: Connection, query: str, *args: object) -> tuple[set[str], int]:
    """Tables that a call scanned, and the rows it fetched."""
    before = await _counters(session, observer)
    await session.fetch(query, *args)
    after = await _counters(session, observer)
    changed = [(before[name], count) for name, count in after.items() if count.table in TABLES]
    scanned = {new.table for old, new in changed if new.scans > old.scans and new.pages > SMALL_PAGES}
    return scanned, sum(new.rows - old.rows for old, new in changed)


async def _while_empty(session: Connection, *, dba: bool = False) -> None:
    """Enough calls that every plan which PostgreSQL would keep is kept."""
    nobody = Calls(
        [{"id": NOBODY, "wallet": NOBODY}] * 2,  # type: ignore[list-item]
        [{"id": NOBODY, "wallet": NOBODY}],  # type: ignore[list-item]
        NOBODY,
        [NOBODY],
        [(NOBODY, NOBODY)],
    )
    for _ in range(8):
        for _, query, args, _ in nobody.of_a_dba if dba else nobody.all + nobody.views:
            try:
                await session.fetch(query, *args)
            except asyncpg.PostgresError as error:
                assert error.sqlstate in {"TS210", "TS211", "TS214", "TS219"}  # noqa: PT017


async def _a_little(conn: Connection, session: Connection) -> None:
    """A few rows in each table, and statistics that say so: scans look cheap. The session has sold tickets by then."""
    people = [await person(conn, name, tokens=99, roles=["creator"]) for name in ("one", "two")]
    for sender, creator in (people, people[::-1]):
        await tip(conn, Tip(sender=sender.id, creator=creator.id, amount=3, key="k"))
    await ask_for(conn, people[0], 2)
    for _ in range(7):
        call = await conn.fetchval("SELECT call_id FROM api.open_call($1, $2)", people[1].id, people[0].id)
        await session.fetch(ACCEPT, call, None)
        await session.fetch(BEAT, [(call, people[1].id)])
        await conn.execute("UPDATE core.call_clocks SET due_at = now(), running_since = running_since - interval '9 s'")
        await session.fetch(METER_DUE, 5)
        await session.fetch(END, call, None)
    stream = await conn.fetchval(STREAM, people[0].id, "tiny")
    for key in ("k", "l"):
        await conn.execute("ANALYZE")
        await session.fetch(TICKETS, [(people[1].id, stream, key)] * 2)


@pytest.mark.parametrize("bps", [0, 250])
@pytest.mark.parametrize("analyzed", [False, True], ids=["not analyzed", "analyzed"])
@pytest.mark.parametrize("start", ["empty", "tiny"])
async def test_no_scans_once_tables_have_grown(
    connect: Connect, db: Connection, start: str, analyzed: bool, bps: int
) -> None:
    session, person_ = await connect("app"), await connect("dba")
    await set_fee(db, bps)
    if start == "tiny":
        await _a_little(db, session)
    await _while_empty(session)
    await _while_empty(person_, dba=True)
    await _grow(db)
    if analyzed:
        await db.execute("ANALYZE")
    old = await db.fetch("SELECT id FROM core.transfers WHERE kind = 'tip' ORDER BY id LIMIT 300")
    await db.executemany(REFUND, [(row["id"], 1, f"old-{row['id']}", "refuse", None, None) for row in old])
    if analyzed:
        await db.execute("ANALYZE core.refunds")
    assert await db.fetchval("SELECT count(DISTINCT tableoid) FROM core.entries") == MONTHS + 1
    one = await db.fetchval("SELECT id FROM core.transfers WHERE kind = 'tip' ORDER BY id OFFSET 3000 LIMIT 1")
    creators = await _people(db, "creator")
    streams = [await db.fetchval(STREAM, creators[0]["id"], f"new-{n}") for n in range(3)]
    beats = [tuple(row) for row in await db.fetch("SELECT id, fan_id FROM core.calls ORDER BY id OFFSET 500 LIMIT 30")]
    calls = Calls(await _people(db, offset=100), creators, one, streams, beats)
    found = {}
    # views have no settings of their own: their plans are those of tables that autovacuum has seen
    views = ((session, calls.views), (person_, calls.of_a_dba)) if analyzed else ()
    for conn, several in ((session, calls.all), *views):
        for name, query, args, limit in several:
            scanned, rows = await _cost(conn, db, query, *args)
            if scanned or rows > limit:
                found[name] = (scanned, rows)
    assert found == {}, found
    await _without_old_blocks(db)


async def test_a_scan_would_be_seen(connect: Connect, db: Connection) -> None:
    session = await connect("dba")
    await _grow(db)
    scanned, rows = await _cost(session, db, "SELECT sum(amount) FROM core.entries")
    assert scanned == {"entries"}
    assert rows == await db.fetchval("SELECT 2 * count(*) FROM core.transfers")
    await _without_old_blocks(db)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM core.transfers WHERE id = $1",
        "SELECT * FROM core.entries WHERE wallet_id = $1 AND seq = 1 AND transfer_id = $1",
        "SELECT * FROM core.tips WHERE id = $1",
    ],
)
async def test_a_lookup_opens_one_partition(db: Connection, query: str) -> None:
    """Even with a plan that does not know which."""
    await db.execute("SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off")
    await db.execute(f"PREPARE lookup (uuid) AS {query}")
    plan = "\n".join(row[0] for row in await db.fetch(f"EXPLAIN EXECUTE lookup ('{NOBODY}')"))
    partitions = await db.fetchval("SELECT count(*) FROM pg_inherits WHERE inhparent = 'core.transfers'::regclass")
    assert f"Subplans Removed: {partitions - 1}" in plan
    assert plan.count("Index Scan") == 1
    assert "Seq Scan" not in plan
