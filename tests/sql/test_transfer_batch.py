"""api.transfer_batch"""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from tests.conftest import Connect
from tests.sql.refusals import NOBODY, REFUSALS
from tests.support.money import (
    BATCH,
    Person,
    Refusal,
    Transfer,
    World,
    balance,
    outcome_refusal,
    refused,
    transfer_batch,
    unguarded,
    written,
)
from tests.support.postgres import Connection


def _pay(world: World, amount: int, key: str | None = None) -> Transfer:
    return Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=amount, key=key)


async def test_outcomes_are_in_order_and_balances_run(world: World, app_conn: Connection) -> None:
    rows = await transfer_batch(app_conn, [_pay(world, 10), _pay(world, 20), _pay(world, 70)])
    assert [(r["ord"], r["amount"], r["from_balance"], r["to_balance"]) for r in rows] == [
        (1, 10, 90, 110),
        (2, 20, 70, 130),
        (3, 70, 0, 200),
    ]
    seqs = await world.db.fetch(
        "SELECT seq, balance FROM api.entries WHERE wallet_id = $1 ORDER BY seq", world.alice.wallet
    )
    assert [tuple(row) for row in seqs] == [(1, 100), (2, 90), (3, 70), (4, 0)]


async def test_later_items_use_what_earlier_ones_brought(world: World, app_conn: Connection) -> None:
    rows = await transfer_batch(
        app_conn,
        [
            Transfer(source=world.creator.wallet, target=world.alice.wallet, amount=5),
            Transfer(source=world.bob.wallet, target=world.creator.wallet, amount=5),
            Transfer(source=world.creator.wallet, target=world.alice.wallet, amount=5),
        ],
    )
    assert [row["error_code"] for row in rows] == ["TS401", None, None]
    assert rows[2]["to_balance"] == 105


@pytest.mark.parametrize("case", REFUSALS)
async def test_refusal_of_one_item_is_its_own(world: World, app_conn: Connection, case: str) -> None:
    request, expected = REFUSALS[case](world)
    if case == "no payer":
        expected = Refusal("TS210", "WALLET_NOT_FOUND", {"wallet_id": None})
    # the first leaves Alice with what she had, so that the facts of the second are the same as alone
    back = Transfer(source=world.bob.wallet, target=world.alice.wallet, amount=1)
    rows = await transfer_batch(app_conn, [_pay(world, 1), back, request, _pay(world, 1)])
    assert [outcome_refusal(row) for row in rows] == [None, None, expected, None]
    assert (rows[2]["transfer_id"], rows[2]["from_balance"], rows[2]["to_balance"]) == (None, None, None)
    assert rows[3]["from_balance"] == 99


async def test_metadata_has_a_limit(world: World, app_conn: Connection) -> None:
    large = msgspec.structs.replace(_pay(world, 1), metadata=json.dumps([str(n) for n in range(3000)]))
    (row,) = await transfer_batch(app_conn, [large])
    assert row["error"] == "METADATA_TOO_LARGE"


@pytest.mark.breaks_ledger
async def test_a_wallet_has_a_limit(world: World, app_conn: Connection) -> None:
    async with unguarded(world.db):
        await world.db.execute(
            "UPDATE core.wallets SET lifetime_earned = 8999999999999999999 WHERE id = $1", world.bob.wallet
        )
    rows = await transfer_batch(app_conn, [_pay(world, 1), _pay(world, 1)])
    assert [row["error"] for row in rows] == [None, "BALANCE_LIMIT"]


async def test_nothing_in_nothing_out(app_conn: Connection) -> None:
    assert await transfer_batch(app_conn, []) == []


async def test_an_item_of_nulls_is_refused(world: World, app_conn: Connection) -> None:
    rows = await app_conn.fetch(
        "SELECT * FROM api.transfer_batch(ARRAY[NULL, ROW($1, $2, NULL, 5, NULL, NULL, NULL, NULL, NULL, NULL, NULL)]"
        "::api.transfer_request[])",
        world.alice.wallet,
        world.bob.wallet,
    )
    assert [row["error"] for row in rows] == ["INVALID_AMOUNT", None]


async def test_too_large(world: World, app_conn: Connection) -> None:
    items = [_pay(world, 1).item()] * 5001
    assert await refused(app_conn, BATCH, items) == Refusal("TS107", "BATCH_TOO_LARGE", {"size": 5001, "maximum": 5000})


async def test_wallets_are_found_by_their_owners(world: World, app_conn: Connection) -> None:
    rows = await app_conn.fetch(
        BATCH,
        [
            (None, None, world.bob.id, 5, None, None, None, None, world.alice.id, None, None),
            (None, None, world.bob.id, 7, "EUR", None, None, None, world.alice.id, None, None),
            (None, None, NOBODY, 7, None, None, None, None, world.alice.id, None, None),
        ],
    )
    assert [(r["from_wallet_id"], r["to_wallet_id"], r["asset"], r["error"]) for r in rows] == [
        (world.alice.wallet, world.bob.wallet, "TOKEN", None),
        (world.alice_eur, world.bob_eur, "EUR", None),
        (world.alice.wallet, None, "TOKEN", "WALLET_NOT_FOUND"),
    ]


async def test_keys_in_one_batch_and_over_two(world: World, app_conn: Connection) -> None:
    rows = await transfer_batch(
        app_conn, [_pay(world, 10, "a"), _pay(world, 10, "a"), _pay(world, 11, "a"), _pay(world, 10, "b")]
    )
    assert [(r["replayed"], r["error"]) for r in rows] == [
        (False, None),
        (True, None),
        (False, "IDEMPOTENCY_KEY_REUSED"),
        (False, None),
    ]
    assert dict(rows[1]) == {**dict(rows[0]), "ord": 2, "replayed": True}
    before = await written(world.db)
    again = await transfer_batch(app_conn, [_pay(world, 10, "b"), _pay(world, 10, "a"), _pay(world, 9, "a")])
    assert [r["transfer_id"] for r in again] == [rows[3]["transfer_id"], rows[0]["transfer_id"], None]
    assert outcome_refusal(again[2]) == Refusal("TS301", "IDEMPOTENCY_KEY_REUSED", {"idempotency_key": "a"})
    assert await written(world.db) == before


async def test_a_key_whose_first_request_was_refused_is_used_once(world: World, app_conn: Connection) -> None:
    """Refused, then possible, then twice more: the key stands for the one that took effect."""
    thanks = Transfer(source=world.creator.wallet, target=world.bob.wallet, amount=5, key="k")
    fund = Transfer(source=world.alice.wallet, target=world.creator.wallet, amount=20)
    rows = await transfer_batch(app_conn, [thanks, fund, thanks, thanks, msgspec.structs.replace(thanks, amount=6)])
    assert [(r["error"], r["replayed"]) for r in rows] == [
        ("INSUFFICIENT_TOKENS", False),
        (None, False),
        (None, False),
        (None, True),
        ("IDEMPOTENCY_KEY_REUSED", False),
    ]
    assert rows[3]["transfer_id"] == rows[2]["transfer_id"]
    assert await balance(world.db, world.creator.wallet) == 15


async def test_same_batch_from_four_sessions_at_once_counts_once(world: World, connect: Connect) -> None:
    batch = [_pay(world, 10, f"k{n}") for n in range(8)]
    conns = [await connect("app") for _ in range(4)]
    orders = [batch, batch[::-1], batch[4:] + batch[:4], batch]
    answers = await asyncio.gather(*(transfer_batch(c, order) for c, order in zip(conns, orders, strict=True)))
    assert {r["error"] for rows in answers for r in rows} == {None}
    assert len({r["transfer_id"] for rows in answers for r in rows}) == 8
    assert await balance(world.db, world.alice.wallet) == 20


async def test_last_tokens_are_spent_once(world: World, connect: Connect) -> None:
    conns = [await connect("app") for _ in range(3)]
    answers = await asyncio.gather(*(transfer_batch(c, [_pay(world, 60), _pay(world, 40)]) for c in conns))
    assert sorted(str(r["error"]) for rows in answers for r in rows) == ["INSUFFICIENT_TOKENS"] * 4 + ["None"] * 2
    assert await balance(world.db, world.bob.wallet) == 200


async def test_keys_of_two_actors_do_not_meet(world: World, app_conn: Connection) -> None:
    def pay(payer: Person, payee: Person, amount: int) -> Transfer:
        return Transfer(source=payer.wallet, target=payee.wallet, amount=amount, key="k", actor=payer.id)

    first = await transfer_batch(app_conn, [pay(world.alice, world.bob, 5)])
    second = await transfer_batch(app_conn, [pay(world.bob, world.alice, 6), pay(world.alice, world.bob, 5)])
    assert [(row["error"], row["replayed"]) for row in first + second] == [(None, False), (None, False), (None, True)]
