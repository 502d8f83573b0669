"""A session keeps its plans; none may turn into a scan of a table that has grown since they were made.

The session under test calls everything while the tables are empty, the tables grow, and it calls everything again: by
PostgreSQL's own counters it then reads no table from end to end, and no more rows than the call is about.
"""

from __future__ import annotations

import asyncpg
import pytest

from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.support.money import BATCH, TIPS, TRANSFER, Tip, Transfer, person, set_fee, tip
from tests.support.postgres import Connection

TABLES = ("wallets", "transfers", "entries", "idempotency_keys", "tips", "users")
STATEMENT = "SELECT count(*) FROM api.statement($1, NULL, NULL, $2, $3, NULL)"
BALANCE_AT = "SELECT api.balance_at($1, $2)"
PEOPLE = 2000


class Calls:
    """One call of each kind, and how many rows it may fetch from all tables together."""

    def __init__(self, users: list[asyncpg.Record], creators: list[asyncpg.Record]) -> None:
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
        size = len(users)
        self.all: list[tuple[str, str, tuple[object, ...], int]] = [
            ("transfer", TRANSFER, pay.arguments(), 20),
            ("replay", TRANSFER, pay.arguments(), 40),
            ("batch", BATCH, (batch,), 20 * size),
            ("replayed batch", BATCH, (batch,), 20 * size),
            ("tips", TIPS, (tips,), 30 * size),
            ("replayed tips", TIPS, (tips,), 60 * size),
            ("statement", STATEMENT, (creators[0]["wallet"], None, 5), 20),
            ("deep page", STATEMENT, (creators[0]["wallet"], PEOPLE, 10), 40),
            ("balance_at", BALANCE_AT, (creators[0]["wallet"], None), 30),
            ("balances", "SELECT * FROM api.wallet_balances($1)", (ids[0],), 5),
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
    for turn in range(3):
        tips = [Tip(sender=u["id"], creator=creators[0]["id"], amount=50, key=f"old-{turn}").arguments() for u in users]
        await conn.fetch(TIPS, tips)


async def _counters(session: Connection, observer: Connection) -> dict[str, tuple[int, int]]:
    """Scans from end to end, and rows fetched, of each table so far; both sessions' own counts brought up to date."""
    for conn in (session, observer):
        await conn.execute("SELECT pg_stat_force_next_flush()")
    rows = await observer.fetch(
        "SELECT relname, coalesce(seq_scan, 0) AS scans, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) AS rows"
        " FROM pg_stat_user_tables WHERE schemaname = 'core' AND relname = ANY ($1)",
        list(TABLES),
    )
    return {row["relname"]: (row["scans"], row["rows"]) for row in rows}


async def _cost(session: Connection, observer: Connection, query: str, *args: object) -> tuple[set[str], int]:
    """Tables that a call scanned, and the rows it fetched."""
    before = await _counters(session, observer)
    await session.fetch(query, *args)
    after = await _counters(session, observer)
    scanned = {name for name in TABLES if after[name][0] > before[name][0]}
    return scanned, sum(after[name][1] - before[name][1] for name in TABLES)


async def _while_empty(session: Connection) -> None:
    """Enough calls that every plan which PostgreSQL would keep is kept."""
    nobody = Calls(
        [{"id": NOBODY, "wallet": NOBODY}] * 2,  # type: ignore[list-item]
        [{"id": NOBODY, "wallet": NOBODY}],  # type: ignore[list-item]
    )
    for _ in range(8):
        for _, query, args, _ in nobody.all:
            try:
                await session.fetch(query, *args)
            except asyncpg.PostgresError as error:
                assert error.sqlstate in {"TS211", "TS210"}  # noqa: PT017


async def _a_little(conn: Connection) -> None:
    """A few rows in each table, and statistics that say so: scans look cheap."""
    people = [await person(conn, name, tokens=9, roles=["creator"]) for name in ("one", "two")]
    for sender, creator in (people, people[::-1]):
        await tip(conn, Tip(sender=sender.id, creator=creator.id, amount=3, key="k"))
    await conn.execute("ANALYZE")


@pytest.mark.parametrize("bps", [0, 250])
@pytest.mark.parametrize("analyzed", [False, True], ids=["not analyzed", "analyzed"])
@pytest.mark.parametrize("start", ["empty", "tiny"])
async def test_no_scans_once_tables_have_grown(
    connect: Connect, db: Connection, start: str, analyzed: bool, bps: int
) -> None:
    session = await connect("app")
    await set_fee(db, bps)
    if start == "tiny":
        await _a_little(db)
    await _while_empty(session)
    await _grow(db)
    if analyzed:
        await db.execute("ANALYZE")
    calls = Calls(await _people(db, offset=100), await _people(db, "creator"))
    found = {}
    for name, query, args, limit in calls.all:
        scanned, rows = await _cost(session, db, query, *args)
        if scanned or rows > limit:
            found[name] = (scanned, rows)
    assert found == {}


async def test_a_scan_would_be_seen(connect: Connect, db: Connection) -> None:
    session = await connect("dba")
    await _grow(db)
    scanned, rows = await _cost(session, db, "SELECT sum(amount) FROM core.entries")
    assert scanned == {"entries"}
    assert rows == await db.fetchval("SELECT 2 * count(*) FROM core.transfers")
