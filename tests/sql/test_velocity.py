"""Velocity limits: how much and how often a wallet may pay in a window, by rates, inside the transaction."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import pytest

from tests.conftest import Connect
from tests.support.money import (
    Tip,
    Transfer,
    World,
    outcome_refusal,
    raised,
    refused,
    set_fee,
    set_rate,
    tips,
    transfer,
    transfer_batch,
    unguarded,
    written,
)
from tests.support.postgres import Connection

SPEND = "SELECT * FROM api.transfer($1, $2, $3, p_kind => $4)"


def _pay(world: World, amount: int, kind: str = "transfer", **changes: Any) -> Transfer:
    plain = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=amount, kind=kind)
    return msgspec.structs.replace(plain, **changes)


async def test_an_amount_a_day(world: World, app_conn: Connection) -> None:
    await set_rate(world.db, "velocity_amount_day", 50, "minor_units")
    await transfer(app_conn, _pay(world, 30))
    before = await written(world.db)
    found = await refused(app_conn, SPEND, world.alice.wallet, world.bob.wallet, 21, "gift")
    assert (found.code, found.slug) == ("TS601", "VELOCITY_LIMIT")
    resets = datetime.fromisoformat(found.facts.pop("resets_at"))
    assert 0 < found.facts.pop("retry_after") <= 86400
    assert resets > datetime.now(UTC)
    assert resets.astimezone(UTC).hour == 0
    assert found.facts == {
        "limit": "velocity_amount_day",
        "maximum": 50,
        "remaining": 20,
        "requested": 21,
        "wallet_id": str(world.alice.wallet),
    }
    assert await written(world.db) == before
    await transfer(app_conn, _pay(world, 20))


async def test_a_number_an_hour_of_one_kind(world: World, app_conn: Connection) -> None:
    await set_rate(world.db, "velocity_count_hour", 2, "count", scope="gift")
    outcomes = await transfer_batch(app_conn, [_pay(world, 1, "gift") for _ in range(3)] + [_pay(world, 1)])
    refusals = [outcome_refusal(row) for row in outcomes]
    assert [refusal and refusal.slug for refusal in refusals] == [None, None, "VELOCITY_LIMIT", None]
    assert (await refused(app_conn, SPEND, world.alice.wallet, world.bob.wallet, 1, "gift")).facts["remaining"] == 0
    await transfer(app_conn, _pay(world, 1, "gift", source=world.bob.wallet, target=world.alice.wallet))


async def test_both_the_limit_of_the_kind_and_that_of_all_count(world: World, app_conn: Connection) -> None:
    await set_rate(world.db, "velocity_count_minute", 3, "count")
    await set_rate(world.db, "velocity_amount_minute", 5, "minor_units", scope="gift")
    outcomes = await transfer_batch(
        app_conn, [_pay(world, 5, "gift"), _pay(world, 1, "gift"), _pay(world, 90), _pay(world, 1), _pay(world, 1)]
    )
    facts = [refusal and refusal.facts["limit"] for refusal in map(outcome_refusal, outcomes)]
    assert facts == [None, "velocity_amount_minute", None, None, "velocity_count_minute"]


async def test_what_is_refused_for_another_reason_uses_nothing_up(world: World, app_conn: Connection) -> None:
    await set_rate(world.db, "velocity_count_hour", 1, "count")
    outcomes = await transfer_batch(
        app_conn, [_pay(world, 101), _pay(world, 1, target=world.frozen.wallet), _pay(world, 1)]
    )
    assert [refusal and refusal.slug for refusal in map(outcome_refusal, outcomes)] == [
        "INSUFFICIENT_TOKENS",
        "WALLET_FROZEN",
        None,
    ]


async def test_replays_use_nothing_up(world: World, app_conn: Connection) -> None:
    await set_rate(world.db, "velocity_count_hour", 1, "count")
    for replayed in (False, True, True):
        assert (await transfer(app_conn, _pay(world, 1, key="k")))["replayed"] is replayed


async def test_a_journal_that_fails_gives_all_back(world: World, app_conn: Connection) -> None:
    await set_rate(world.db, "velocity_count_hour", 2, "count")
    leg = (world.alice.wallet, world.bob.wallet, 1, None, None, None)
    bad = (world.bob.wallet, world.alice.wallet, 1000, None, None, None)
    query = "SELECT * FROM api.post_journal($1::api.journal_leg[])"
    assert (await refused(app_conn, query, [leg, leg, bad])).slug == "INSUFFICIENT_TOKENS"
    assert (await refused(app_conn, query, [leg, leg, leg])).slug == "VELOCITY_LIMIT"
    assert len(await app_conn.fetch(query, [leg, leg])) == 2


async def test_linked_legs_taken_back_give_their_room_to_later_items(world: World, app_conn: Connection) -> None:
    await set_rate(world.db, "velocity_amount_hour", 20, "minor_units", scope="tip")
    await set_rate(world.db, "velocity_count_hour", 1, "count", scope="fee")
    await set_fee(world.db, 1000)
    rows = await tips(
        app_conn,
        # 9 and a fee of 1; 9 again and a fee that is one too many, so neither; 9 without a fee, for which there is room
        [Tip(sender=world.alice.id, creator=world.creator.id, amount=amount) for amount in (10, 10, 9)],
    )
    assert [refusal and refusal.facts["limit"] for refusal in map(outcome_refusal, rows)] == [
        None,
        "velocity_count_hour",
        None,
    ]


async def test_a_new_window_begins_afresh(world: World, app_conn: Connection) -> None:
    await set_rate(world.db, "velocity_count_minute", 1, "count")
    await transfer(app_conn, _pay(world, 1))
    async with unguarded(world.db):
        await world.db.execute("UPDATE core.velocity_counters SET since = since - interval '1 minute'")
    await transfer(app_conn, _pay(world, 1))
    assert await world.db.fetchval("SELECT used FROM core.velocity_counters") == 1


@pytest.mark.parametrize("amount", [1, 10**15])
async def test_system_wallets_and_payees_have_no_limit(world: World, app_conn: Connection, amount: int) -> None:
    await set_rate(world.db, "velocity_amount_day", 0, "minor_units")
    granted = await world.db.fetchrow("SELECT * FROM api.grant_tokens($1, $2, 'reason')", world.alice.id, amount)
    assert granted is not None
    assert granted["new_balance"] == 100 + amount


async def test_a_limit_that_has_ended_or_not_begun_limits_nothing(world: World, app_conn: Connection) -> None:
    await world.db.execute(
        "INSERT INTO core.rates (name, value, unit, valid_from, valid_to) VALUES"
        " ('velocity_count_day', 0, 'count', now() - interval '2 days', now() - interval '1 day'),"
        " ('velocity_count_hour', 0, 'count', now() + interval '1 day', NULL)"
    )
    await transfer(app_conn, _pay(world, 1))


async def test_of_several_rows_the_latest_counts(world: World, app_conn: Connection) -> None:
    await set_rate(world.db, "velocity_count_hour", 0, "count")
    await set_rate(world.db, "velocity_count_hour", 5, "count")
    await transfer(app_conn, _pay(world, 1))


async def test_the_last_of_a_limit_has_one_winner(world: World, connect: Connect) -> None:
    await set_rate(world.db, "velocity_count_day", 20, "count")
    sessions = [await connect("app") for _ in range(4)]

    async def attempt(conn: Connection) -> list[str]:
        outcomes = []
        for _ in range(10):
            try:
                await transfer(conn, _pay(world, 1))
            except asyncpg.PostgresError as error:
                outcomes.append(raised(error).slug)
            else:
                outcomes.append("done")
        return outcomes

    outcomes = [slug for several in await asyncio.gather(*map(attempt, sessions)) for slug in several]
    assert (outcomes.count("done"), outcomes.count("VELOCITY_LIMIT")) == (20, 20)
