"""People with wallets, requests to move money, and what became of them: the words the ledger's tests are told in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import msgspec

from tests.support.postgres import Connection

TRANSFER = "SELECT * FROM api.transfer($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
BATCH = "SELECT * FROM api.transfer_batch($1::api.transfer_request[])"
TIP = "SELECT * FROM api.send_tip($1, $2, $3, $4, $5, $6, $7)"
TIPS = "SELECT * FROM api.send_tips($1::api.tip_request[])"
GRANT = "SELECT * FROM api.grant_tokens($1, $2, $3, $4, $5, $6)"
MAX_AMOUNT = 10**15
AMOUNT_RANGE = {"minimum": 1, "maximum": MAX_AMOUNT}


class Person(NamedTuple):
    """A user and their wallet of tokens."""

    id: UUID
    wallet: UUID


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """One transfer asked for, as an argument list of api.transfer and as an item of api.transfer_batch."""

    source: UUID | None
    target: UUID | None
    amount: int | None
    asset: str | None = "TOKEN"
    key: str | None = None
    kind: str | None = "transfer"
    reference: str | None = None
    actor: UUID | None = None
    metadata: str | None = None
    event_at: datetime | None = None

    def arguments(self) -> tuple[Any, ...]:
        """Of api.transfer."""
        return (
            self.source,
            self.target,
            self.amount,
            self.asset,
            self.key,
            self.kind,
            self.reference,
            self.actor,
            self.metadata,
            self.event_at,
        )

    def item(self) -> tuple[Any, ...]:
        """An api.transfer_request."""
        return (
            self.source,
            self.target,
            None,
            self.amount,
            self.asset,
            self.kind,
            self.key,
            self.reference,
            self.actor,
            self.metadata,
            self.event_at,
        )


class Tip(msgspec.Struct, frozen=True, kw_only=True):
    """One tip asked for: the arguments of api.send_tip are the fields of api.tip_request."""

    sender: UUID | None
    creator: UUID | None
    amount: int | None
    key: str | None = None
    message: str | None = None
    stream: UUID | None = None
    call: UUID | None = None

    def arguments(self) -> tuple[Any, ...]:
        """Of api.send_tip, and an api.tip_request."""
        return (self.sender, self.creator, self.amount, self.key, self.message, self.stream, self.call)


class Refusal(NamedTuple):
    """One of our errors, raised or in an outcome."""

    code: str
    slug: str
    facts: dict[str, Any]


async def transfer(conn: Connection, request: Transfer) -> asyncpg.Record:
    """api.transfer"""
    row = await conn.fetchrow(TRANSFER, *request.arguments())
    assert row is not None
    return row


async def transfer_batch(conn: Connection, requests: Iterable[Transfer]) -> list[asyncpg.Record]:
    """api.transfer_batch"""
    return list(await conn.fetch(BATCH, [request.item() for request in requests]))


async def tip(conn: Connection, request: Tip) -> asyncpg.Record:
    """api.send_tip"""
    row = await conn.fetchrow(TIP, *request.arguments())
    assert row is not None
    return row


async def tips(conn: Connection, requests: Iterable[Tip]) -> list[asyncpg.Record]:
    """api.send_tips"""
    return list(await conn.fetch(TIPS, [request.arguments() for request in requests]))


def raised(error: asyncpg.PostgresError) -> Refusal:
    """The refusal that an exception carries."""
    code, detail = str(error.sqlstate), getattr(error, "detail", None)
    return Refusal(code, str(error.args[0]), json.loads(detail) if detail and code.startswith("TS") else {})


async def refused(conn: Connection, query: str, *args: Any) -> Refusal:
    """Run what must be refused, in a transaction of its own (or a savepoint)."""
    try:
        async with conn.transaction():
            await conn.fetch(query, *args)
    except asyncpg.PostgresError as error:
        return raised(error)
    raise AssertionError(f"not refused: {query} {args}")


def outcome_refusal(row: asyncpg.Record) -> Refusal | None:
    """The refusal in a row of a batch; None where it took effect."""
    return Refusal(row["error_code"], row["error"], json.loads(row["detail"])) if row["error_code"] else None


async def person(conn: Connection, name: str, *, tokens: int = 0, roles: Iterable[str] = ()) -> Person:
    """A new user (by a superuser), with tokens granted."""
    user = await conn.fetchval(
        "INSERT INTO core.users (email, username, display_name, roles) VALUES ($1 || '@example.org', $1, $1, $2)"
        " RETURNING id",
        name,
        list(roles),
    )
    wallet = await conn.fetchval("SELECT id FROM core.wallets WHERE owner_id = $1 AND asset = 'TOKEN'", user)
    if tokens:
        await conn.fetch(GRANT, user, tokens, "for a test", None, None, "TOKEN")
    return Person(user, wallet)


@asynccontextmanager
async def as_ledger(conn: Connection) -> AsyncIterator[Connection]:
    """A superuser's connection with the role that owns the functions: may write wallets, not change history."""
    await conn.execute("SET ROLE tessera_ledger")
    try:
        yield conn
    finally:
        await conn.execute("RESET ROLE")


@asynccontextmanager
async def unguarded(conn: Connection) -> AsyncIterator[Connection]:
    """A superuser's connection on which no trigger fires."""
    await conn.execute("SET session_replication_role = replica")
    try:
        yield conn
    finally:
        await conn.execute("RESET session_replication_role")


async def open_wallet(
    conn: Connection, *, asset: str, owner: UUID | None = None, purpose: str = "user", minimum: int = 0
) -> UUID:
    """A further wallet (by a superuser)."""
    async with as_ledger(conn):
        wallet: UUID = await conn.fetchval(
            "INSERT INTO core.wallets (owner_id, asset, purpose, minimum) VALUES ($1, $2, $3, $4) RETURNING id",
            owner,
            asset,
            purpose,
            minimum,
        )
    return wallet


async def overdraft(conn: Connection, wallet: UUID, minimum: int) -> None:
    """How far below zero a wallet may go, or (above zero) how much must stay in it (by a superuser)."""
    async with as_ledger(conn):
        await conn.execute("UPDATE core.wallets SET minimum = $2 WHERE id = $1", wallet, minimum)


async def lapse(conn: Connection, hold: UUID) -> None:
    """Let a hold's time have passed (by a superuser, behind the ledger's back)."""
    async with unguarded(conn):
        await conn.execute(
            "UPDATE core.holds SET created_at = created_at - interval '1 day', expires_at = clock_timestamp()"
            " - interval '1 second' WHERE id = $1",
            hold,
        )


async def set_rate(conn: Connection, name: str, value: int, unit: str, *, scope: str | None = None) -> None:
    """A rate from now on (by a superuser)."""
    await conn.execute(
        "INSERT INTO core.rates (name, scope, value, unit, valid_from) VALUES ($1, $2, $3, $4, clock_timestamp())",
        name,
        scope,
        value,
        unit,
    )


async def without_rate(conn: Connection, name: str) -> None:
    """As if a rate had never been set (by a superuser, behind the ledger's back)."""
    async with unguarded(conn):
        await conn.execute("DELETE FROM core.rates WHERE name = $1", name)


async def set_status(conn: Connection, wallet: UUID, status: str) -> None:
    """active, debits_frozen, frozen or closed (by a superuser)."""
    async with as_ledger(conn):
        await conn.execute("UPDATE core.wallets SET status = $2 WHERE id = $1", wallet, status)


async def set_fee(conn: Connection, bps: int) -> None:
    """The platform's fee from now on."""
    await conn.execute(
        "INSERT INTO core.rates (name, asset, value, unit, valid_from)"
        " VALUES ('platform_fee', 'TOKEN', $1, 'bps', clock_timestamp())",
        bps,
    )


async def balance(conn: Connection, wallet: UUID) -> int:
    """What is in a wallet."""
    value: int = await conn.fetchval("SELECT balance FROM api.wallets WHERE wallet_id = $1", wallet)
    return value


async def revenue(conn: Connection) -> int:
    """What the platform has earned."""
    value: int = await conn.fetchval("SELECT sum(balance)::bigint FROM core.wallets WHERE purpose = 'revenue'")
    return value


async def written(conn: Connection) -> list[asyncpg.Record]:
    """All that a money function can write, for comparing before with after."""
    return list(
        await conn.fetch("""
        SELECT 'wallet' AS what, to_jsonb(w) AS is FROM core.wallets AS w
        UNION ALL SELECT 'transfer', to_jsonb(t) FROM core.transfers AS t
        UNION ALL SELECT 'entry', to_jsonb(e) FROM core.entries AS e
        UNION ALL SELECT 'key', to_jsonb(k) FROM core.idempotency_keys AS k
        UNION ALL SELECT 'hold', to_jsonb(h) FROM core.holds AS h
        UNION ALL SELECT 'capture', to_jsonb(c) FROM core.captures AS c
        UNION ALL SELECT 'refund', to_jsonb(r) FROM core.refunds AS r
        UNION ALL SELECT 'counter', to_jsonb(v) FROM core.velocity_counters AS v
        UNION ALL SELECT 'tip', to_jsonb(p) FROM core.tips AS p
        UNION ALL SELECT 'event', to_jsonb(o) FROM core.outbox AS o
        UNION ALL SELECT 'act', to_jsonb(a) FROM core.audit_log AS a
        ORDER BY 1, 2""")
    )


async def until_waiting(observer: Connection, waiter: Connection) -> None:
    """Return once `waiter` waits for a lock. Bounded: an assertion, not a hang, if it never does."""
    for _ in range(2000):
        if await observer.fetchval(
            "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1", waiter.get_server_pid()
        ):
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the other session never waited")


class World(msgspec.Struct, frozen=True):
    """A little of everything: who can pay, who cannot, and wallets that are shut or of another asset."""

    db: Connection
    alice: Person
    bob: Person
    creator: Person
    frozen: Person
    closed: Person
    suspended: Person
    alice_eur: UUID
    bob_eur: UUID
    admin: Person
    second_admin: Person

    async def suspend(self, who: Person) -> None:
        """As an operator would."""
        await self.db.execute("UPDATE core.users SET status = 'suspended' WHERE id = $1", who.id)

    async def without_wallet(self, *roles: str) -> UUID:
        """A user from before wallets opened by themselves."""
        async with unguarded(self.db):
            user: UUID = await self.db.fetchval(
                "INSERT INTO core.users (email, username, display_name, roles, created_at)"
                " VALUES ($1 || '@example.org', $1, 'Old', $2, '2000-01-01') RETURNING id",
                f"old-{uuid4().hex[:8]}",
                list(roles),
            )
        return user


async def make_world(db: Connection) -> World:
    """Alice and Bob have 100 tokens each, Alice 500 minor units of EUR, the frozen and the closed wallet 50."""
    await db.execute("INSERT INTO core.assets (code, scale, name) VALUES ('EUR', 4, 'Euro')")
    mint = await open_wallet(db, asset="EUR", purpose="issuance", minimum=-(10**18))
    alice = await person(db, "alice", tokens=100)
    bob = await person(db, "bob", tokens=100)
    world = World(
        db=db,
        alice=alice,
        bob=bob,
        creator=await person(db, "creator", roles=["creator"]),
        frozen=await person(db, "frozen", tokens=50, roles=["creator"]),
        closed=await person(db, "closed", tokens=50, roles=["creator"]),
        suspended=await person(db, "suspended", tokens=50, roles=["creator"]),
        alice_eur=await open_wallet(db, asset="EUR", owner=alice.id),
        bob_eur=await open_wallet(db, asset="EUR", owner=bob.id),
        admin=await person(db, "admin", roles=["admin"]),
        second_admin=await person(db, "second_admin", roles=["admin"]),
    )
    await transfer(db, Transfer(source=mint, target=world.alice_eur, amount=500, asset="EUR"))
    await set_status(db, world.frozen.wallet, "frozen")
    await set_status(db, world.closed.wallet, "closed")
    await world.suspend(world.suspended)
    return world
