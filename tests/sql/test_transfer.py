"""api.transfer"""

from __future__ import annotations

import asyncio
import json

import asyncpg
import msgspec
import pytest

from tests.conftest import Connect
from tests.sql.refusals import REFUSALS
from tests.support.money import (
    TRANSFER,
    Refusal,
    Transfer,
    World,
    balance,
    raised,
    refused,
    transfer,
    unguarded,
    until_waiting,
    written,
)
from tests.support.postgres import LOGINS, Connection


async def test_it_moves_and_records_everything(world: World, app_conn: Connection) -> None:
    request = Transfer(
        source=world.alice.wallet,
        target=world.bob.wallet,
        amount=30,
        key="k",
        kind="gift.birthday",
        reference="for you",
        actor=world.alice.id,
        metadata='{"a": 1}',
    )
    receipt = await transfer(app_conn, request)
    assert (receipt["from_balance"], receipt["to_balance"], receipt["replayed"]) == (70, 130, False)
    row = await world.db.fetchrow("SELECT * FROM core.transfers WHERE id = $1", receipt["transfer_id"])
    assert row is not None
    assert (row["amount"], row["kind"], row["reference"], row["actor_id"]) == (
        30,
        "gift.birthday",
        "for you",
        world.alice.id,
    )
    assert (row["db_user"], json.loads(row["metadata"]), row["asset"]) == (None, {"a": 1}, "TOKEN")
    entries = await world.db.fetch(
        "SELECT wallet_id, seq, amount, balance FROM core.entries WHERE transfer_id = $1 ORDER BY amount", row["id"]
    )
    assert [tuple(entry) for entry in entries] == [
        (world.alice.wallet, 2, -30, 70),
        (world.bob.wallet, 2, 30, 130),
    ]
    event = await world.db.fetchrow(
        "SELECT type, channels FROM core.outbox WHERE payload ->> 'transfer_id' = $1", str(row["id"])
    )
    assert event is not None
    assert event["type"] == "transfer.posted"
    assert set(event["channels"]) == {f"user:{world.alice.id}", f"user:{world.bob.id}"}


async def test_without_an_actor_the_login_is_recorded(world: World, dba_conn: Connection) -> None:
    receipt = await transfer(dba_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1))
    recorded = await dba_conn.fetchval(
        "SELECT db_user FROM api.transfers WHERE transfer_id = $1", receipt["transfer_id"]
    )
    assert recorded == LOGINS["dba"]


async def test_the_last_token_can_be_spent_and_other_assets_move_too(world: World, app_conn: Connection) -> None:
    whole = await transfer(app_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=100))
    assert (whole["from_balance"], whole["to_balance"]) == (0, 200)
    euro = await transfer(app_conn, Transfer(source=world.alice_eur, target=world.bob_eur, amount=123, asset="EUR"))
    assert (euro["from_balance"], euro["to_balance"]) == (377, 123)


@pytest.mark.parametrize("case", REFUSALS)
async def test_refusal(world: World, app_conn: Connection, case: str) -> None:
    request, expected = REFUSALS[case](world)
    before = await written(world.db)
    assert await refused(app_conn, TRANSFER, *request.arguments()) == expected
    assert await written(world.db) == before


async def test_no_kind_and_no_asset_are_no_defaults_here(world: World, app_conn: Connection) -> None:
    plain = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1)
    no_kind = msgspec.structs.replace(plain, kind=None)
    assert await refused(app_conn, TRANSFER, *no_kind.arguments()) == Refusal("TS109", "INVALID_KIND", {"kind": None})
    no_asset = msgspec.structs.replace(plain, asset=None)
    assert (await refused(app_conn, TRANSFER, *no_asset.arguments())).slug == "ASSET_MISMATCH"


async def test_metadata_has_a_limit(world: World, app_conn: Connection) -> None:
    plain = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1)
    large = msgspec.structs.replace(plain, metadata=json.dumps({"a": [f"{n}" for n in range(3000)]}))
    refusal = await refused(app_conn, TRANSFER, *large.arguments())
    assert (refusal.code, refusal.slug, refusal.facts["maximum_bytes"]) == ("TS105", "METADATA_TOO_LARGE", 4096)
    assert refusal.facts["bytes"] > 4096
    await transfer(app_conn, msgspec.structs.replace(plain, metadata=json.dumps({"a": "x" * 3000})))


@pytest.mark.breaks_ledger
async def test_a_wallet_has_a_limit(world: World, app_conn: Connection) -> None:
    async with unguarded(world.db):
        await world.db.execute(
            "UPDATE core.wallets SET lifetime_earned = 8999999999999999999 WHERE id = $1", world.bob.wallet
        )
    request = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=2)
    assert await refused(app_conn, TRANSFER, *request.arguments()) == Refusal(
        "TS314", "BALANCE_LIMIT", {"wallet_id": str(world.bob.wallet)}
    )
    assert (await transfer(app_conn, msgspec.structs.replace(request, amount=1)))["to_balance"] == 101


async def test_a_key_replays_its_transfer_as_it_was(world: World, app_conn: Connection) -> None:
    request = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=30, key="k", actor=world.alice.id)
    first = await transfer(app_conn, request)
    await transfer(app_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=70))
    before = await written(world.db)
    again = await transfer(app_conn, request)
    assert dict(again) == {**dict(first), "replayed": True}
    assert await written(world.db) == before


async def test_a_replay_outlives_the_means(world: World, app_conn: Connection) -> None:
    """The key was good: neither a suspension since then nor a frozen wallet makes the answer another one."""
    request = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=30, key="k", actor=world.alice.id)
    first = await transfer(app_conn, request)
    await world.suspend(world.alice)
    assert (await transfer(app_conn, request))["transfer_id"] == first["transfer_id"]


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 31},
        {"target": "creator"},
        {"kind": "other"},
        {"reference": "other"},
        {"metadata": "{}"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_key_is_for_one_request(world: World, app_conn: Connection, change: dict[str, object]) -> None:
    request = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=30, key="k")
    await transfer(app_conn, request)
    if "target" in change:
        change = {"target": world.creator.wallet}
    before = await written(world.db)
    other = msgspec.structs.replace(request, **change)
    assert await refused(app_conn, TRANSFER, *other.arguments()) == Refusal(
        "TS301", "IDEMPOTENCY_KEY_REUSED", {"idempotency_key": "k"}
    )
    assert await written(world.db) == before


async def test_a_refused_request_leaves_its_key_free(world: World, app_conn: Connection) -> None:
    request = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=101, key="k")
    await refused(app_conn, TRANSFER, *request.arguments())
    await transfer(app_conn, msgspec.structs.replace(request, amount=100))


async def test_keys_belong_to_their_actor(world: World, app_conn: Connection, dba_conn: Connection) -> None:
    sent = [
        await transfer(
            app_conn,
            Transfer(source=a.wallet, target=world.creator.wallet, amount=1, key="same", actor=a.id),
        )
        for a in (world.alice, world.bob)
    ]
    by_login = Transfer(source=world.alice.wallet, target=world.creator.wallet, amount=1, key="same")
    sent += [await transfer(conn, by_login) for conn in (app_conn, dba_conn)]
    assert len({row["transfer_id"] for row in sent}) == 4
    assert not any(row["replayed"] for row in sent)


async def test_eight_at_once_with_one_key_are_one_transfer(world: World, connect: Connect) -> None:
    request = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=30, key="k")
    conns = [await connect("app") for _ in range(8)]
    rows = await asyncio.gather(*(transfer(conn, request) for conn in conns))
    assert sorted(row["replayed"] for row in rows) == [False] + [True] * 7
    assert len({(row["transfer_id"], row["from_balance"], row["to_balance"]) for row in rows}) == 1
    assert await balance(world.db, world.alice.wallet) == 70


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_the_second_with_a_key_waits_for_the_first(world: World, connect: Connect, end: str) -> None:
    request = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=30, key="k")
    one, two = await connect("app"), await connect("app")
    transaction = one.transaction()
    await transaction.start()
    first = await transfer(one, request)
    waiting = asyncio.create_task(transfer(two, request))
    await until_waiting(world.db, two)
    await (transaction.commit() if end == "commit" else transaction.rollback())
    second = await waiting
    assert second["replayed"] is (end == "commit")
    assert (second["transfer_id"] == first["transfer_id"]) is (end == "commit")
    assert await balance(world.db, world.alice.wallet) == 70


async def test_the_last_tokens_are_spent_once(world: World, connect: Connect) -> None:
    request = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=100)
    conns = [await connect("app") for _ in range(4)]
    results = await asyncio.gather(*(transfer(conn, request) for conn in conns), return_exceptions=True)
    lost = [raised(result).slug for result in results if isinstance(result, asyncpg.PostgresError)]
    assert lost == ["INSUFFICIENT_TOKENS"] * 3
    assert await balance(world.db, world.bob.wallet) == 200


async def test_one_key_for_two_requests_at_once(world: World, connect: Connect) -> None:
    """Their wallets do not meet, so no lock orders them: one fails as a whole, and is told why when it asks again."""
    one, two = await connect("app"), await connect("app")
    request = Transfer(source=world.alice.wallet, target=world.creator.wallet, amount=30, key="k")
    other = Transfer(source=world.alice_eur, target=world.bob_eur, amount=30, key="k", asset="EUR")
    transaction = one.transaction()
    await transaction.start()
    await transfer(one, request)
    waiting = asyncio.create_task(refused(two, TRANSFER, *other.arguments()))
    await until_waiting(world.db, two)
    await transaction.commit()
    assert (await waiting).code in {"23505", "TS301"}
    assert (await refused(two, TRANSFER, *other.arguments())).code == "TS301"
    assert await balance(world.db, world.alice_eur) == 500
