"""api.post_journal: all legs or none, between any wallets, in several assets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.support.money import Refusal, Transfer, World, balance, open_wallet, raised, refused, transfer, written
from tests.support.postgres import Connection

JOURNAL = "SELECT * FROM api.post_journal($1::api.journal_leg[], $2, $3, $4, $5)"
Leg = tuple[UUID | None, UUID | None, int | None, str | None, str | None, str | None]
Arguments = tuple[Any, ...]


def _leg(source: UUID | None, target: UUID | None, amount: int | None, asset: str | None = None, **more: Any) -> Leg:
    return (source, target, amount, asset, more.get("kind"), more.get("reference"))


def _journal(legs: list[Leg], key: str | None = None, **more: Any) -> Arguments:
    return (legs, key, more.get("actor"), more.get("metadata"), more.get("event_at"))


async def test_an_exchange_through_liquidity_wallets(world: World, dba_conn: Connection) -> None:
    tokens = await open_wallet(world.db, asset="TOKEN", purpose="liquidity")
    euros = await open_wallet(world.db, asset="EUR", purpose="liquidity")
    await transfer(world.db, Transfer(source=world.bob.wallet, target=tokens, amount=50))
    rows = await dba_conn.fetch(
        JOURNAL,
        *_journal(
            [
                _leg(world.alice_eur, euros, 500, "EUR", kind="exchange", reference="10 tokens"),
                _leg(tokens, world.alice.wallet, 10, kind="exchange", reference="10 tokens"),
            ],
            "x-1",
            metadata='{"rate": "50"}',
        ),
    )
    assert [(row["leg"], row["amount"], row["asset"], row["replayed"]) for row in rows] == [
        (1, 500, "EUR", False),
        (2, 10, "TOKEN", False),
    ]
    assert (rows[0]["from_balance"], rows[0]["to_balance"]) == (0, 500)
    assert (rows[1]["from_balance"], rows[1]["to_balance"]) == (40, 110)
    kept = await world.db.fetch("SELECT kind, metadata ->> 'rate' AS rate FROM core.transfers WHERE kind = 'exchange'")
    assert [tuple(row) for row in kept] == [("exchange", "50")] * 2
    assert await world.db.fetchval("SELECT count(*) FROM core.outbox WHERE payload ->> 'kind' = 'exchange'") == 2


async def test_later_legs_use_what_earlier_ones_brought(world: World, app_conn: Connection) -> None:
    legs = [
        _leg(world.alice.wallet, world.bob.wallet, 100),
        _leg(world.bob.wallet, world.creator.wallet, 200),
        _leg(world.creator.wallet, world.alice.wallet, 150),
    ]
    await app_conn.fetch(JOURNAL, *_journal(legs))
    people = (world.alice, world.bob, world.creator)
    assert [await balance(world.db, person.wallet) for person in people] == [150, 0, 50]


async def test_one_bad_leg_undoes_all(world: World, app_conn: Connection) -> None:
    before = await written(world.db)
    legs = [
        _leg(world.alice.wallet, world.bob.wallet, 100),
        _leg(world.bob.wallet, world.creator.wallet, 200),
        _leg(world.creator.wallet, world.alice.wallet, 201),
    ]
    found = await refused(app_conn, JOURNAL, *_journal(legs))
    assert (found.code, found.slug) == ("TS401", "INSUFFICIENT_TOKENS")
    assert await written(world.db) == before


Case = Callable[[World], tuple[Arguments, str, str]]


def _one(world: World, **changes: Any) -> Arguments:
    first = _leg(world.alice.wallet, world.bob.wallet, 1)
    return _journal([first, _leg(world.alice.wallet, world.bob.wallet, 1, **changes)])


REFUSED: dict[str, Case] = {
    "no legs": lambda w: (_journal([]), "TS101", "INVALID_REQUEST"),
    "long reference": lambda w: (_one(w, reference="r" * 256), "TS101", "INVALID_REQUEST"),
    "kind": lambda w: (_one(w, kind="No"), "TS109", "INVALID_KIND"),
    "tip": lambda w: (_one(w, kind="tip"), "TS109", "INVALID_KIND"),
    "other asset": lambda w: (_one(w, asset="EUR"), "TS103", "ASSET_MISMATCH"),
    "nothing": lambda w: (_journal([_leg(w.alice.wallet, w.bob.wallet, 0)]), "TS102", "INVALID_AMOUNT"),
    "to itself": lambda w: (_journal([_leg(w.alice.wallet, w.alice.wallet, 1)]), "TS104", "SELF_TRANSFER"),
    "across assets": lambda w: (_journal([_leg(w.alice.wallet, w.bob_eur, 1)]), "TS103", "ASSET_MISMATCH"),
    "no wallet": lambda w: (_journal([_leg(NOBODY, w.bob.wallet, 1)]), "TS210", "WALLET_NOT_FOUND"),
    "null wallet": lambda w: (_journal([_leg(w.alice.wallet, None, 1)]), "TS210", "WALLET_NOT_FOUND"),
    "frozen": lambda w: (_journal([_leg(w.frozen.wallet, w.bob.wallet, 1)]), "TS310", "WALLET_FROZEN"),
    "closed": lambda w: (_journal([_leg(w.alice.wallet, w.closed.wallet, 1)]), "TS311", "WALLET_CLOSED"),
    "too many": lambda w: (_journal([_leg(w.alice.wallet, w.bob.wallet, 1)] * 5001), "TS107", "BATCH_TOO_LARGE"),
    "key": lambda w: (_journal([_leg(w.alice.wallet, w.bob.wallet, 1)], ""), "TS106", "IDEMPOTENCY_KEY_INVALID"),
    "metadata": lambda w: (
        _journal([_leg(w.alice.wallet, w.bob.wallet, 1)], metadata='{"a": "' + "x" * 5000 + '"}'),
        "TS105",
        "METADATA_TOO_LARGE",
    ),
    "actor": lambda w: (_journal([_leg(w.alice.wallet, w.bob.wallet, 1)], actor=NOBODY), "TS211", "USER_NOT_FOUND"),
    "suspended": lambda w: (
        _journal([_leg(w.alice.wallet, w.bob.wallet, 1)], actor=w.suspended.id),
        "TS502",
        "USER_SUSPENDED",
    ),
    "tomorrow": lambda w: (
        _journal([_leg(w.alice.wallet, w.bob.wallet, 1)], event_at=datetime.now(UTC) + timedelta(days=1)),
        "TS101",
        "INVALID_REQUEST",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused(world: World, app_conn: Connection, name: str) -> None:
    arguments, code, slug = REFUSED[name](world)
    before = await written(world.db)
    found = await refused(app_conn, JOURNAL, *arguments)
    assert (found.code, found.slug) == (code, slug)
    assert await written(world.db) == before


async def test_the_key_posts_once_and_says_the_same_again(world: World, app_conn: Connection) -> None:
    legs = [_leg(world.alice.wallet, world.bob.wallet, 10), _leg(world.alice_eur, world.bob_eur, 20, "EUR")]
    first = await app_conn.fetch(JOURNAL, *_journal(legs, "k"))
    before = await written(world.db)
    again = await app_conn.fetch(JOURNAL, *_journal(legs, "k"))
    assert [dict(row) for row in again] == [{**dict(row), "replayed": True} for row in first]
    assert await written(world.db) == before
    assert await refused(app_conn, JOURNAL, *_journal(legs[:1], "k")) == Refusal(
        "TS301", "IDEMPOTENCY_KEY_REUSED", {"idempotency_key": "k"}
    )


async def test_it_may_be_backdated(world: World, app_conn: Connection) -> None:
    then = datetime(2020, 2, 29, 12, tzinfo=UTC)
    rows = await app_conn.fetch(JOURNAL, *_journal([_leg(world.alice.wallet, world.bob.wallet, 1)], "k", event_at=then))
    row = await world.db.fetchrow("SELECT * FROM api.transfers WHERE transfer_id = $1", rows[0]["transfer_id"])
    assert row is not None
    assert row["event_at"] == then < row["created_at"]


async def test_opposing_journals_end_and_one_wins_the_last_token(world: World, connect: Connect) -> None:
    sessions = [await connect("app") for _ in range(2)]
    there = [_leg(world.alice.wallet, world.bob.wallet, 100), _leg(world.bob_eur, world.alice_eur, 1, "EUR")]
    back = [_leg(world.alice.wallet, world.creator.wallet, 100), _leg(world.alice_eur, world.bob_eur, 1, "EUR")]
    await transfer(world.db, Transfer(source=world.alice_eur, target=world.bob_eur, amount=100, asset="EUR"))

    async def attempt(conn: Connection, legs: list[Leg]) -> str:
        try:
            await conn.fetch(JOURNAL, *_journal(legs))
        except asyncpg.PostgresError as error:
            return raised(error).slug
        return "done"

    for _ in range(200):
        outcomes = await asyncio.gather(attempt(sessions[0], there), attempt(sessions[1], back))
        assert sorted(outcomes) == ["INSUFFICIENT_TOKENS", "done"]
        payer = world.bob.wallet if outcomes[0] == "done" else world.creator.wallet
        await transfer(world.db, Transfer(source=payer, target=world.alice.wallet, amount=100))


async def test_twins_at_once_post_once(world: World, connect: Connect) -> None:
    sessions = [await connect("app") for _ in range(4)]
    arguments = _journal([_leg(world.alice.wallet, world.bob.wallet, 30)], "k")
    results = await asyncio.gather(*(conn.fetch(JOURNAL, *arguments) for conn in sessions))
    assert len({rows[0]["transfer_id"] for rows in results}) == 1
    assert await balance(world.db, world.alice.wallet) == 70
