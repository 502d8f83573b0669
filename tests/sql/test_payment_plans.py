"""Payments stay cheap when there are many: no call reads a table from end to end, whenever it was planned."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from tests.conftest import Connect
from tests.support.money import Person, World, unguarded
from tests.support.payments import NOTE, NOTE_REFUND, OPEN, REVERSE, SETTLE, Fact, package
from tests.support.postgres import Connection

MANY = 20_000
SMALL_PAGES = 8
"""A scan of so little is as good as an index."""
MOST_ROWS = 150
TABLES = (
    "payments",
    "payment_events",
    "payment_refunds",
    "payment_disputes",
    "payment_transfers",
    "transfers",
    "entries",
    "wallets",
    "users",
    "refunds",
    "idempotency_keys",
)
GROW = """
    INSERT INTO core.payments (
        id, buyer_id, package_id, tokens, amount, currency, provider, status, created_at, expires_at, failed_at,
        failure, reference, charge, success_url, cancel_url
    )
    SELECT
        core.uuid7(), core.uuid7(), core.uuid7(), 1, 1, 'USD', 'stripe', 'failed', now(), now(), now(),
        'expired', 'cs_' || n, 'pi_' || n, 'x', 'x'
    FROM generate_series(1, $1::integer) AS n"""
GROW_MORE = """
    INSERT INTO core.payment_events (provider, event_id, type, kind, payment_id, charge, outcome, due_at, body)
    SELECT 'stripe', 'old_' || p.id::text, 'x', 'other', p.id, p.charge, 'ignored', NULL, '' FROM core.payments AS p"""
GROW_REFUNDS = """
    INSERT INTO core.payment_refunds (id, payment_id, amount, created_at, closed_at, status, provider_refund, reason)
    SELECT core.uuid7(), p.id, 1, now(), now(), 'failed', 're_' || p.id::text, 'x' FROM core.payments AS p
    WHERE p.status = 'failed'"""
MINE = """
    SELECT p.* FROM api.payments AS p WHERE p.buyer_id = $1 AND p.payment_id < $2 ORDER BY p.payment_id DESC LIMIT 5"""
EVENTS_OPEN = (
    "SELECT e.* FROM api.payment_events AS e WHERE e.open ORDER BY e.received_at DESC, e.event_id DESC LIMIT 5"
)


class Step(NamedTuple):
    """One call."""

    name: str
    query: str
    arguments: tuple[object, ...]


async def _steps(conn: Connection, buyer: Person, admin: UUID, run: str) -> list[Step]:
    """A payment from beginning to end; the ids of what comes to be are filled in as it goes."""
    payment = await conn.fetchval(
        OPEN.replace("*", "payment_id", 1), buyer.id, await package(conn), "stripe", f"made-{run}"
    )
    charge = f"pi_{run}"
    facts = [
        Fact(id=f"paid-{run}", payment=payment, charge=charge),
        Fact(id=f"refunded-{run}", kind="refunded", charge=charge, item=f"re_{run}", amount=100),
        Fact(id=f"disputed-{run}", kind="disputed", charge=charge, item=f"dp_{run}", amount=100),
        Fact(id=f"won-{run}", kind="dispute_won", charge=charge, item=f"dp_{run}", amount=100),
        Fact(id=f"stranger-{run}", kind="refunded", charge=f"pi_none_{run}", item="x", amount=100),
    ]
    steps = [Step("open", OPEN, (buyer.id, await package(conn), "stripe", f"opened-{run}"))] * 2
    steps.append(Step("start", "SELECT * FROM api.start_payment($1, $2, 'url', 'cus')", (payment, f"cs_{run}")))
    for fact in facts:
        steps += [Step(f"note {fact.kind}", NOTE, (fact.row(),)), Step(fact.kind, SETTLE, ("stripe", fact.id))]
    steps += [
        Step("repeated", SETTLE, ("stripe", facts[0].id)),
        Step("refund", REVERSE, (payment, 50, "x", f"refund-{run}", admin)),
        Step("refund again", REVERSE, (payment, 50, "x", f"refund-{run}", admin)),
        Step("claim payments", "SELECT * FROM api.claim_payments()", ()),
        Step("claim refunds", "SELECT * FROM api.claim_payment_refunds()", ()),
        Step("due events", "SELECT * FROM api.due_payment_events()", ()),
        Step("mine", MINE, (buyer.id, UUID(int=2**128 - 1))),
        Step("open events", EVENTS_OPEN, ()),
    ]
    return steps


async def _scans(session: Connection, observer: Connection) -> dict[str, tuple[int, int, int]]:
    for conn in (session, observer):
        await conn.execute("SELECT pg_stat_force_next_flush()")
    rows = await observer.fetch(r"""
        SELECT s.relname, regexp_replace(s.relname, '_(p\d{4}_\d\d|default)$', '') AS table,
            coalesce(s.seq_scan, 0) AS scans, coalesce(s.seq_tup_read, 0) + coalesce(s.idx_tup_fetch, 0) AS rows,
            pg_relation_size(s.relid) / 8192 AS pages
        FROM pg_stat_user_tables AS s WHERE s.schemaname = 'core'""")
    return {row["relname"]: (row["scans"], row["rows"], row["pages"]) for row in rows if row["table"] in TABLES}


async def test_no_scans_once_there_are_many(world: World, connect: Connect) -> None:
    session, db = await connect("app"), world.db
    for number in range(7):  # so that the session keeps its plans
        for step in await _steps(db, world.bob, world.admin.id, f"small{number}"):
            await session.fetch(step.query, *step.arguments)
    async with unguarded(db):
        await db.execute(GROW, MANY)
        await db.execute(GROW_MORE)
        await db.execute(GROW_REFUNDS)
    found = []
    for analysed in (False, True):
        if analysed:
            await db.execute("ANALYZE")
        for step in await _steps(db, world.bob, world.admin.id, f"many{analysed}"):
            before = await _scans(session, db)
            await session.fetch(step.query, *step.arguments)
            after = await _scans(session, db)
            scanned = [
                name for name, (scans, _, pages) in after.items() if scans > before[name][0] and pages > SMALL_PAGES
            ]
            rows = sum(new[1] - before[name][1] for name, new in after.items())
            if scanned or rows > MOST_ROWS:
                found.append((step.name, analysed, scanned, rows))
    assert found == []
    refund = await db.fetchval("SELECT id FROM core.payment_refunds WHERE status = 'pending' LIMIT 1")
    before = await _scans(session, db)
    await session.fetch(NOTE_REFUND, refund, "done", "re_last", None)
    after = await _scans(session, db)
    assert [name for name, (scans, _, pages) in after.items() if scans > before[name][0] and pages > SMALL_PAGES] == []
