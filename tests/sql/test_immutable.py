"""What test_privileges.py leaves over: tips, keys, ways around the triggers, and that a superuser meets TS901."""

from __future__ import annotations

import pytest

from tests.conftest import Connect
from tests.support.money import Tip, Transfer, World, refused, tip, transfer, written
from tests.support.postgres import LOGINS

CHANGES = {
    "update tips": "UPDATE core.tips SET amount = amount + 1",
    "delete tips": "DELETE FROM core.tips",
    "truncate tips": "TRUNCATE core.tips",
}
INSERTS = {
    "insert tip": """
        INSERT INTO core.tips (id, sender_id, creator_id, amount, platform_fee, created_at)
        SELECT core.uuid7(), t.sender_id, t.creator_id, 1, 0, now() FROM core.tips AS t""",
    "insert key": """
        INSERT INTO core.idempotency_keys (actor_id, key, transfer_id, created_at, request_hash)
        SELECT k.actor_id, 'forged', k.transfer_id, now(), k.request_hash FROM core.idempotency_keys AS k""",
}
WAYS_AROUND = {
    "no triggers": "SET session_replication_role = replica",
    "disable triggers": "ALTER TABLE core.entries DISABLE TRIGGER ALL",
    "drop trigger": "DROP TRIGGER entries_guard_history ON core.entries",
    "replace the guard": "CREATE OR REPLACE FUNCTION core._guard_ledger() RETURNS trigger LANGUAGE sql AS ''",
    "rule": "CREATE RULE mine AS ON INSERT TO core.entries DO INSTEAD NOTHING",
    "drop table": "DROP TABLE core.tips",
    "become the ledger": "SET SESSION AUTHORIZATION tessera_ledger",
}
HISTORY = ("transfers", "entries", "wallets", "idempotency_keys", "tips")
SERVICE = [login for login in LOGINS if login != "migrator"]


async def _happened(world: World) -> None:
    await transfer(world.db, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1, key="k"))
    await tip(world.db, Tip(sender=world.alice.id, creator=world.creator.id, amount=1, key="k"))


@pytest.mark.parametrize("who", [*LOGINS, "owner"])
async def test_tips_and_keys(world: World, connect: Connect, who: str) -> None:
    await _happened(world)
    conn = await connect("migrator" if who == "owner" else who)
    if who == "owner":
        await conn.execute("SET ROLE tessera_owner")
    before = await written(world.db)
    for name, statement in CHANGES.items():
        assert (await refused(conn, statement)).code in {"42501", "TS901"}, name
    for name, statement in INSERTS.items():
        # the migrator has the ledger's own rights, with which functions write; nobody else has
        if who not in ("migrator", "owner"):
            assert (await refused(conn, statement)).code == "42501", name
    assert await written(world.db) == before


@pytest.mark.parametrize("who", SERVICE)
@pytest.mark.parametrize("way", WAYS_AROUND)
async def test_no_way_around(world: World, connect: Connect, who: str, way: str) -> None:
    conn = await connect(who)
    assert (await refused(conn, WAYS_AROUND[way])).code == "42501"


@pytest.mark.parametrize("table", HISTORY)
async def test_a_superuser_is_told(world: World, table: str) -> None:
    """Not by privilege but by trigger, with a hint at what to do instead."""
    await _happened(world)
    column = {"wallets": "balance", "tips": "amount"}.get(table, "created_at")
    statements = {
        "update": f"UPDATE core.{table} SET {column} = {column}",
        "delete": f"DELETE FROM core.{table}",
        "truncate": f"TRUNCATE core.{table} CASCADE",
    }
    if table in ("transfers", "entries", "wallets"):
        statements["insert"] = f"INSERT INTO core.{table} SELECT * FROM core.{table}"
    before = await written(world.db)
    for operation, statement in statements.items():
        refusal = await refused(world.db, statement)
        assert (refusal.code, refusal.slug) == ("TS901", "LEDGER_IMMUTABLE")
        assert refusal.facts == {"table": f"core.{table}", "operation": operation}
    assert await written(world.db) == before
