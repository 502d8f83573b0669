"""Freezing, closing, minimum balances, new assets and wallets: what operators do, and that it is written down."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.sql.test_holds import PLACE
from tests.support.money import Transfer, World, raised, refused, transfer, written
from tests.support.postgres import Connection

FREEZE = "SELECT * FROM api.freeze_wallet($1, $2, $3, $4)"
UNFREEZE = "SELECT * FROM api.unfreeze_wallet($1, $2, $3)"
CLOSE = "SELECT * FROM api.close_wallet($1, $2, $3)"
MINIMUM = "SELECT * FROM api.set_wallet_minimum($1, $2, $3, $4)"
SPEND = "SELECT * FROM api.transfer($1, $2, $3)"
ASSET = "SELECT * FROM api.create_asset($1, $2, $3, $4, $5)"
SYSTEM = "SELECT * FROM api.open_system_wallet($1, $2, $3, $4, $5)"


async def _acts(world: World, wallet: UUID) -> list[tuple[str, dict[str, Any]]]:
    rows = await world.db.fetch(
        "SELECT action, details FROM api.audit_log WHERE subject_id = $1 ORDER BY audit_id", wallet
    )
    return [(row["action"], json.loads(row["details"])) for row in rows]


async def test_a_wallet_whose_debits_are_frozen_takes_and_does_not_give(world: World, app_conn: Connection) -> None:
    row = await app_conn.fetchrow(FREEZE, world.alice.wallet, "odd logins", "debits", world.admin.id)
    assert row is not None
    assert row["status"] == "debits_frozen"
    await transfer(app_conn, Transfer(source=world.bob.wallet, target=world.alice.wallet, amount=1))
    assert (await refused(app_conn, SPEND, world.alice.wallet, world.bob.wallet, 1)).slug == "WALLET_FROZEN"
    await app_conn.fetch(FREEZE, world.alice.wallet, "worse", "all", world.admin.id)
    assert (await refused(app_conn, SPEND, world.bob.wallet, world.alice.wallet, 1)).slug == "WALLET_FROZEN"
    await app_conn.fetch(UNFREEZE, world.alice.wallet, "it was she", world.admin.id)
    await transfer(app_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1))
    assert await _acts(world, world.alice.wallet) == [
        ("wallet.frozen", {"reason": "odd logins", "status": "debits_frozen", "status_before": "active"}),
        ("wallet.frozen", {"reason": "worse", "status": "frozen", "status_before": "debits_frozen"}),
        ("wallet.unfrozen", {"reason": "it was she", "status": "active", "status_before": "frozen"}),
    ]


async def test_only_administrators_may(world: World, app_conn: Connection) -> None:
    before = await written(world.db)
    assert (await refused(app_conn, FREEZE, world.alice.wallet, "why", "all", world.bob.id)).slug == "FORBIDDEN"
    found = await refused(app_conn, "SELECT api.create_asset('GOLD', 0, 'Gold', false, $1)", world.bob.id)
    assert (found.code, found.slug, found.facts["role"]) == ("TS504", "FORBIDDEN", "admin")
    assert await written(world.db) == before


async def test_the_systems_own_wallets_stay_open(world: World, app_conn: Connection) -> None:
    rows = await world.db.fetch("SELECT wallet_id, purpose FROM api.create_asset('GOLD', 0, 'Gold')")
    assert {row["purpose"] for row in rows} == {"issuance", "revenue", "rewards", "payout_clearing"}
    for row in rows:
        found = await refused(app_conn, "SELECT * FROM api.close_wallet($1, 'why', NULL)", row["wallet_id"])
        assert (found.slug, found.facts["purpose"]) == ("INVALID_REQUEST", row["purpose"])


async def test_the_same_again_is_no_act(world: World, app_conn: Connection) -> None:
    for _ in range(2):
        await app_conn.fetch(FREEZE, world.alice.wallet, "why", "all", None)
    assert len(await _acts(world, world.alice.wallet)) == 1


async def test_only_an_empty_wallet_closes_and_stays_closed(world: World, app_conn: Connection) -> None:
    before = await written(world.db)
    found = await refused(app_conn, CLOSE, world.alice.wallet, "gone", None)
    assert (found.slug, found.facts["balance"], found.facts["held"]) == ("WALLET_NOT_EMPTY", 100, 0)
    assert await written(world.db) == before
    await transfer(app_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=100))
    row = await app_conn.fetchrow(CLOSE, world.alice.wallet, "gone", None)
    assert row is not None
    assert row["status"] == "closed"
    for query, arguments in (
        (UNFREEZE, (world.alice.wallet, "back", None)),
        (FREEZE, (world.alice.wallet, "cold", "all", None)),
        (MINIMUM, (world.alice.wallet, -5, "lend", None)),
    ):
        assert (await refused(app_conn, query, *arguments)).slug == "WALLET_CLOSED"
    assert (await refused(app_conn, SPEND, world.bob.wallet, world.alice.wallet, 1)).slug == "WALLET_CLOSED"


async def test_a_minimum_is_an_overdraft_or_a_reserve(world: World, app_conn: Connection) -> None:
    await app_conn.fetch(MINIMUM, world.alice.wallet, -50, "trusted", None)
    await transfer(app_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=150))
    found = await refused(app_conn, MINIMUM, world.alice.wallet, 0, "no more", None)
    assert (found.slug, found.facts["shortfall"]) == ("INSUFFICIENT_TOKENS", 50)
    await app_conn.fetch(MINIMUM, world.bob.wallet, 200, "deposit", None)
    assert (await refused(app_conn, SPEND, world.bob.wallet, world.alice.wallet, 51)).facts["current"] == 50
    assert (await _acts(world, world.bob.wallet))[0][1]["minimum_before"] == 0


async def test_held_money_counts(world: World, app_conn: Connection) -> None:
    await app_conn.fetch(PLACE, world.alice.wallet, 60, timedelta(hours=1), None, "hold", None, None, None)
    assert (await refused(app_conn, MINIMUM, world.alice.wallet, 41, "deposit", None)).slug == "INSUFFICIENT_TOKENS"
    await app_conn.fetch(MINIMUM, world.alice.wallet, 40, "deposit", None)


BAD: list[tuple[str, tuple[Any, ...], str]] = [
    (FREEZE, (NOBODY, "why", "all", None), "WALLET_NOT_FOUND"),
    (FREEZE, (None, "why", "all", None), "WALLET_NOT_FOUND"),
    (FREEZE, (NOBODY, "why", "some", None), "INVALID_REQUEST"),
    (FREEZE, (NOBODY, " ", "all", None), "INVALID_REQUEST"),
    (FREEZE, (NOBODY, "why", "all", NOBODY), "USER_NOT_FOUND"),
    (UNFREEZE, (NOBODY, None, None), "INVALID_REQUEST"),
    (CLOSE, (NOBODY, "r" * 256, None), "INVALID_REQUEST"),
    (MINIMUM, (NOBODY, None, "why", None), "INVALID_REQUEST"),
    (MINIMUM, (NOBODY, 0, "why", None), "WALLET_NOT_FOUND"),
    (ASSET, ("usd", 4, "Dollar", False, None), "INVALID_REQUEST"),
    (ASSET, ("USD", 19, "Dollar", False, None), "INVALID_REQUEST"),
    (ASSET, ("USD", 4, "", False, None), "INVALID_REQUEST"),
    (ASSET, ("TOKEN", 0, "Token", False, None), "ASSET_EXISTS"),
    (ASSET, ("USD", 4, "Dollar", False, NOBODY), "USER_NOT_FOUND"),
    (SYSTEM, ("user", "TOKEN", 0, 1, None), "INVALID_REQUEST"),
    (SYSTEM, ("escrow", "TOKEN", 1, 1, None), "INVALID_REQUEST"),
    (SYSTEM, ("escrow", "TOKEN", 0, 65, None), "INVALID_REQUEST"),
    (SYSTEM, ("escrow", "GOLD", 0, 1, None), "ASSET_NOT_FOUND"),
    ("SELECT * FROM api.open_wallet($1, $2)", (NOBODY, "TOKEN"), "USER_NOT_FOUND"),
]


@pytest.mark.parametrize(("query", "arguments", "slug"), BAD, ids=str)
async def test_refused(db: Connection, query: str, arguments: tuple[Any, ...], slug: str) -> None:
    before = await written(db)
    assert (await refused(db, query, *arguments)).slug == slug
    assert await written(db) == before


async def test_who_is_suspended_administers_nothing(world: World, app_conn: Connection) -> None:
    who = world.suspended.id
    for query, arguments in (
        (FREEZE, (world.alice.wallet, "why", "all", who)),
        (CLOSE, (world.creator.wallet, "why", who)),
        (ASSET, ("USD", 4, "Dollar", False, who)),
        (SYSTEM, ("escrow", "TOKEN", 0, 1, who)),
    ):
        assert (await refused(app_conn, query, *arguments)).slug == "USER_SUSPENDED"


async def test_an_asset_comes_with_its_system_wallets(world: World, dba_conn: Connection) -> None:
    rows = await dba_conn.fetch(ASSET, "USD", 4, "Dollar", True, None)
    assert {row["purpose"] for row in rows} == {"issuance", "revenue", "rewards", "payout_clearing"}
    assert {row["scale"] for row in rows} == {4}
    user = await dba_conn.fetchval("SELECT user_id FROM api.register_user('n@example.org', 'newbie', NULL, NULL)")
    granted = await dba_conn.fetchrow("SELECT * FROM api.grant_tokens($1, 5, 'gift', p_asset => 'USD')", user)
    assert granted is not None
    assert granted["new_balance"] == 5


async def test_wallets_open_once(world: World, dba_conn: Connection) -> None:
    mine = "SELECT wallet_id FROM api.open_wallet($1, 'EUR')"
    first = await dba_conn.fetchval(mine, world.creator.id)
    assert await dba_conn.fetchval(mine, world.creator.id) == first
    assert (await refused(dba_conn, "SELECT * FROM api.open_wallet($1, 'GOLD')", world.creator.id)).slug == (
        "ASSET_NOT_FOUND"
    )
    shards = await dba_conn.fetch(SYSTEM, "escrow", "TOKEN", -5, 3, None)
    assert [row["shard"] for row in shards] == [0, 1, 2]
    assert len(await dba_conn.fetch(SYSTEM, "escrow", "TOKEN", 0, 4, None)) == 4
    assert await world.db.fetchval("SELECT count(*) FROM api.audit_log WHERE action = 'wallet.opened'") == 2


async def test_the_last_payment_or_the_closing_wins(world: World, connect: Connect) -> None:
    closer, payer = [await connect("app") for _ in range(2)]
    await transfer(world.db, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=100))

    async def attempt(conn: Connection, query: str, *arguments: object) -> str:
        try:
            await conn.fetch(query, *arguments)
        except asyncpg.PostgresError as error:
            return raised(error).slug
        return "done"

    outcomes = await asyncio.gather(
        attempt(closer, CLOSE, world.alice.wallet, "gone", None),
        attempt(payer, SPEND, world.bob.wallet, world.alice.wallet, 1),
    )
    assert sorted(outcomes) in (["WALLET_CLOSED", "done"], ["WALLET_NOT_EMPTY", "done"])


async def test_summary_and_balance_at_any_entry(world: World, app_conn: Connection) -> None:
    entries = await world.db.fetch("SELECT * FROM api.entries WHERE wallet_id = $1 ORDER BY seq", world.alice.wallet)
    for amount in (10, 20, 30):
        await transfer(app_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=amount))
    await transfer(app_conn, Transfer(source=world.bob.wallet, target=world.alice.wallet, amount=5))
    entries = await world.db.fetch("SELECT * FROM api.entries WHERE wallet_id = $1 ORDER BY seq", world.alice.wallet)
    at = "SELECT api.balance_at_seq($1, $2)"
    assert [await app_conn.fetchval(at, world.alice.wallet, n) for n in range(len(entries) + 2)] == [
        0,
        *(entry["balance"] for entry in entries),
        None,
    ]
    assert await app_conn.fetchval(at, NOBODY, 0) is None
    summary = await app_conn.fetchrow(
        "SELECT * FROM api.statement_summary($1, $2, 'infinity')", world.alice.wallet, entries[1]["created_at"]
    )
    assert summary is not None
    assert tuple(summary) == (100, 5, 60, 4, 45)
    nothing = await app_conn.fetchrow(
        "SELECT * FROM api.statement_summary($1, '2000-01-01', '2001-01-01')", world.bob.wallet
    )
    assert nothing is not None
    assert tuple(nothing) == (0, 0, 0, 0, 0)
    assert (
        await refused(app_conn, "SELECT api.statement_summary($1, now(), now())", NOBODY)
    ).slug == "WALLET_NOT_FOUND"
