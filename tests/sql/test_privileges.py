"""Ledger history cannot be changed, by anybody who can log in: tried as each of them."""

from __future__ import annotations

import asyncpg
import pytest

from app.core.migrations import pending
from tests.conftest import Connect
from tests.support.postgres import LOGINS, Connection

STATEMENTS = {
    "update transfers": "UPDATE core.transfers SET amount = amount + 1",
    "update entries": "UPDATE core.entries SET balance = balance + 1",
    "update wallets": "UPDATE core.wallets SET balance = balance + 1, version = version + 1",
    "update keys": "UPDATE core.idempotency_keys SET created_at = now()",
    "delete transfers": "DELETE FROM core.transfers",
    "delete entries": "DELETE FROM core.entries",
    "delete wallets": "DELETE FROM core.wallets",
    "delete keys": "DELETE FROM core.idempotency_keys",
    "truncate transfers": "TRUNCATE core.transfers",
    "truncate entries": "TRUNCATE core.entries",
    "truncate wallets": "TRUNCATE core.wallets CASCADE",
    "truncate keys": "TRUNCATE core.idempotency_keys",
    "truncate all": "TRUNCATE core.transfers, core.entries, core.wallets, core.idempotency_keys CASCADE",
    "insert entry": """
        INSERT INTO core.entries (wallet_id, seq, transfer_id, amount, balance, created_at)
        SELECT w.id, w.version + 1, core.uuid7(), 1, w.balance + 1, now() FROM core.wallets AS w LIMIT 1""",
    "insert transfer": """
        INSERT INTO core.transfers
            (id, from_wallet_id, to_wallet_id, amount, from_seq, to_seq, created_at, db_user, asset, kind)
        VALUES (core.uuid7(), core.uuid7(), core.uuid7(), 1, 1, 1, now(), 'x', 'TOKEN', 'transfer')""",
    "insert wallet": "INSERT INTO core.wallets (purpose, asset, balance) VALUES ('extra', 'TOKEN', 1000)",
    "merge wallets": """
        MERGE INTO core.wallets AS w USING (SELECT 1) AS s ON true WHEN MATCHED THEN UPDATE SET balance = 1""",
    "lock in vain": "SELECT w.id FROM core.wallets AS w FOR UPDATE",
}
LOCKING = {"lock in vain"}
"""Changes nothing: a superuser and the functions' own role may."""

WHO = [*LOGINS, "owner", "ledger", "superuser"]


async def _become(connect: Connect, who: str) -> Connection:
    """A session of a login, or of a role that nobody logs in as but the migrator may take on."""
    if who not in ("owner", "ledger"):
        return await connect(who)
    conn = await connect("migrator")
    await conn.execute(f"SET ROLE tessera_{who}")
    return conn


async def _history(conn: Connection) -> list[asyncpg.Record]:
    return await conn.fetch("""
        SELECT 'wallet' AS kind, w.id, w.version, w.balance FROM core.wallets AS w
        UNION ALL SELECT 'entry', e.wallet_id, e.seq, e.balance FROM core.entries AS e
        UNION ALL SELECT 'transfer', t.id, t.from_seq, t.amount FROM core.transfers AS t
        ORDER BY 1, 2, 3""")


@pytest.fixture
async def money(db: Connection) -> Connection:
    """Books with something in them."""
    user = await db.fetchval("""
        INSERT INTO core.users (email, username, display_name) VALUES ('a@example.org', 'anna', 'Anna') RETURNING id""")
    await db.execute("SELECT api.grant_tokens($1, 100, 'for the test', 'k1')", user)
    return db


@pytest.mark.parametrize("who", WHO)
async def test_nobody_changes_the_ledger(money: Connection, connect: Connect, who: str) -> None:
    before = await _history(money)
    conn = await _become(connect, who)
    accepted, refusals = [], {}
    for name, statement in STATEMENTS.items():
        transaction = conn.transaction()
        await transaction.start()
        try:
            await conn.execute(statement)
        except asyncpg.PostgresError as error:
            refusals[name] = error.sqlstate
        else:
            accepted.append(name)
        await transaction.rollback()
    assert set(accepted) <= _allowed(who)
    assert set(refusals.values()) <= {"42501", "TS901"}
    assert await _history(money) == before


def _allowed(who: str) -> set[str]:
    if who in ("superuser", "migrator"):
        return LOCKING
    if who == "ledger":
        # What the functions themselves need. No login has this role's rights but the migrator's, and no function
        # lets a caller choose the statement.
        return LOCKING | {"update wallets", "insert entry", "insert transfer", "insert wallet", "merge wallets"}
    return set()


@pytest.mark.parametrize("who", ["app", "scheduler", "dba", "readonly"])
async def test_no_service_login_makes_anything_in_our_schemas(connect: Connect, who: str) -> None:
    conn = await connect(who)
    for schema in ("core", "api", "public"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(f"CREATE TABLE {schema}.mine (n integer)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(f"CREATE FUNCTION {schema}.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'")


@pytest.mark.parametrize("who", ["app", "scheduler", "dba", "readonly"])
@pytest.mark.parametrize("role", ["owner", "ledger"])
async def test_no_service_login_becomes_an_owner(connect: Connect, who: str, role: str) -> None:
    conn = await connect(who)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await conn.execute(f"SET ROLE tessera_{role}")


@pytest.mark.parametrize("who", ["app", "scheduler", "dba", "readonly"])
async def test_no_service_login_calls_internal_functions(connect: Connect, who: str) -> None:
    conn = await connect(who)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await conn.execute("SELECT core._lock_wallets('{}')")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await conn.execute("SELECT core._post_transfers('{}', '{}', false)")


@pytest.mark.parametrize("who", ["app", "scheduler", "dba", "readonly", "migrator"])
async def test_no_login_has_powers_over_the_server(connect: Connect, who: str) -> None:
    conn = await connect(who)
    assert not await conn.fetchval("""
        SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
        FROM pg_roles WHERE rolname = session_user""")


async def _readable(conn: Connection, schema: str, kinds: str) -> set[bool]:
    rows = await conn.fetch(
        """
        SELECT DISTINCT has_schema_privilege(c.relnamespace, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS yes
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname <> 'webhook_secrets'
        AND c.relkind::text = ANY (string_to_array($2, NULL))""",
        schema,
        kinds,
    )
    return {row["yes"] for row in rows}


async def test_readonly_reads_the_views_and_no_table(connect: Connect) -> None:
    conn = await connect("readonly")
    assert await _readable(conn, "api", "vm") == {True}
    assert await _readable(conn, "core", "rpvm") == {False}
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await conn.fetch("SELECT * FROM core.users")


async def test_a_dba_reads_every_table_but_secrets(dba_conn: Connection) -> None:
    assert await _readable(dba_conn, "core", "rpvm") == {True}
    assert await _readable(dba_conn, "api", "vm") == {True}
    assert not await dba_conn.fetchval("SELECT has_any_column_privilege('core.webhook_secrets', 'SELECT')")


async def test_every_login_but_readonly_can_tell_what_is_pending(connect: Connect) -> None:
    for login in ("app", "scheduler", "dba", "migrator"):
        assert not await pending(await connect(login))


async def test_a_dba_reads_everything_and_moves_money_only_through_the_contract(
    money: Connection, dba_conn: Connection
) -> None:
    wallets = await dba_conn.fetch("SELECT id FROM core.wallets WHERE owner_id IS NOT NULL")
    revenue = await dba_conn.fetchval("SELECT id FROM core.wallets WHERE purpose = 'revenue' LIMIT 1")
    await dba_conn.fetch("SELECT * FROM api.transfer($1, $2, 10)", wallets[0]["id"], revenue)
    assert await dba_conn.fetchval("SELECT balance FROM core.wallets WHERE id = $1", revenue) == 10
    assert await dba_conn.fetchval("SELECT db_user FROM core.transfers ORDER BY id DESC LIMIT 1") == LOGINS["dba"]


async def test_no_table_of_ours_can_be_written_by_everybody(db: Connection) -> None:
    assert (
        await db.fetch("""
        SELECT c.oid::regclass::text FROM pg_class AS c, aclexplode(c.relacl) AS a
        WHERE c.relnamespace IN ('core'::regnamespace, 'api'::regnamespace) AND a.grantee = 0""")
        == []
    )
