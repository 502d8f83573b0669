"""api.grant_tokens"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.support.money import (
    AMOUNT_RANGE,
    GRANT,
    MAX_AMOUNT,
    Refusal,
    World,
    as_ledger,
    balance,
    refused,
    unguarded,
    written,
)
from tests.support.postgres import Connection


def _args(world: World, **changes: Any) -> list[Any]:
    plain = {"user": world.bob.id, "amount": 40, "reason": "welcome", "key": None, "actor": None, "asset": "TOKEN"}
    return list({**plain, **changes}.values())


async def _issued(conn: Connection, asset: str = "TOKEN") -> int:
    value: int = await conn.fetchval(
        "SELECT sum(balance)::bigint FROM core.wallets WHERE purpose = 'issuance' AND asset = $1", asset
    )
    return -value


async def test_a_grant_mints_and_is_audited(world: World, app_conn: Connection) -> None:
    before = await _issued(world.db)
    row = await app_conn.fetchrow(GRANT, *_args(world, actor=world.admin.id))
    assert row is not None
    assert (row["new_balance"], row["replayed"]) == (140, False)
    assert await _issued(world.db) == before + 40
    log = await world.db.fetchrow("SELECT * FROM core.audit_log ORDER BY id DESC LIMIT 1")
    assert log is not None
    assert (log["action"], log["actor_id"], log["subject_id"]) == ("tokens.granted", world.admin.id, world.bob.id)
    assert json.loads(log["details"]) == {
        "transfer_id": str(row["transfer_id"]),
        "amount": 40,
        "asset": "TOKEN",
        "reason": "welcome",
    }


async def test_another_asset(world: World, app_conn: Connection) -> None:
    row = await app_conn.fetchrow(GRANT, *_args(world, asset="EUR"))
    assert row is not None
    assert row["new_balance"] == await balance(world.db, world.bob_eur) == 40


REFUSALS: dict[str, tuple[dict[str, Any], Refusal]] = {
    "no reason": ({"reason": None}, Refusal("TS101", "INVALID_REQUEST", {"field": "reason"})),
    "blank reason": ({"reason": " "}, Refusal("TS101", "INVALID_REQUEST", {"field": "reason"})),
    "long reason": (
        {"reason": "r" * 256},
        Refusal("TS101", "INVALID_REQUEST", {"field": "reference", "maximum_bytes": 255}),
    ),
    "nothing": ({"amount": 0}, Refusal("TS102", "INVALID_AMOUNT", {"amount": 0, **AMOUNT_RANGE})),
    "no amount": ({"amount": None}, Refusal("TS102", "INVALID_AMOUNT", {"amount": None, **AMOUNT_RANGE})),
    "too much": (
        {"amount": MAX_AMOUNT + 1},
        Refusal("TS102", "INVALID_AMOUNT", {"amount": MAX_AMOUNT + 1, **AMOUNT_RANGE}),
    ),
    "empty key": ({"key": ""}, Refusal("TS106", "IDEMPOTENCY_KEY_INVALID", {"bytes": 0, "maximum_bytes": 255})),
    "nobody": ({"user": NOBODY}, Refusal("TS211", "USER_NOT_FOUND", {"user_id": str(NOBODY)})),
    "no user": ({"user": None}, Refusal("TS211", "USER_NOT_FOUND", {"user_id": None})),
    "unknown actor": ({"actor": NOBODY}, Refusal("TS211", "USER_NOT_FOUND", {"user_id": str(NOBODY)})),
    "unknown asset": ({"asset": "GOLD"}, Refusal("TS213", "ASSET_NOT_FOUND", {"asset": "GOLD", "purpose": "issuance"})),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_refusal(world: World, app_conn: Connection, case: str) -> None:
    changes, expected = REFUSALS[case]
    before = await written(world.db)
    assert await refused(app_conn, GRANT, *_args(world, **changes)) == expected
    assert await written(world.db) == before


async def test_refusals_of_people_and_wallets(world: World, app_conn: Connection) -> None:
    async def slug(**changes: UUID | str) -> str:
        return (await refused(app_conn, GRANT, *_args(world, **changes))).slug

    assert await slug(user=world.creator.id, asset="EUR") == "WALLET_NOT_FOUND"
    assert await slug(user=world.frozen.id) == "WALLET_FROZEN"
    assert await slug(user=world.closed.id) == "WALLET_CLOSED"
    assert await slug(actor=world.suspended.id) == "USER_SUSPENDED"
    assert await slug(actor=world.alice.id) == "FORBIDDEN"
    async with as_ledger(world.db):
        await world.db.execute("UPDATE core.wallets SET minimum = balance WHERE purpose = 'issuance'")
    assert await slug() == "INSUFFICIENT_TOKENS"


@pytest.mark.breaks_ledger
async def test_a_wallet_has_a_limit(world: World, app_conn: Connection) -> None:
    async with unguarded(world.db):
        await world.db.execute(
            "UPDATE core.wallets SET lifetime_earned = 8999999999999999999 WHERE id = $1", world.bob.wallet
        )
    assert await refused(app_conn, GRANT, *_args(world)) == Refusal(
        "TS314", "BALANCE_LIMIT", {"wallet_id": str(world.bob.wallet)}
    )


async def test_a_key_grants_once(world: World, app_conn: Connection) -> None:
    first = await app_conn.fetchrow(GRANT, *_args(world, key="k"))
    assert first is not None
    before = await written(world.db)
    again = await app_conn.fetchrow(GRANT, *_args(world, key="k"))
    assert again is not None
    assert dict(again) == {**dict(first), "replayed": True}
    for changes in ({"amount": 41}, {"user": world.alice.id}, {"reason": "other"}):
        refusal = await refused(app_conn, GRANT, *_args(world, key="k", **changes))
        assert refusal == Refusal("TS301", "IDEMPOTENCY_KEY_REUSED", {"idempotency_key": "k"})
    assert await written(world.db) == before


async def test_eight_at_once_grant_once(world: World, connect: Connect) -> None:
    conns = [await connect("app") for _ in range(8)]
    rows = await asyncio.gather(*(conn.fetchrow(GRANT, *_args(world, key="k")) for conn in conns))
    assert len({row["transfer_id"] for row in rows if row is not None}) == 1
    assert await balance(world.db, world.bob.wallet) == 140
    assert await world.db.fetchval("SELECT count(*) FROM core.audit_log WHERE subject_id = $1", world.bob.id) == 2
