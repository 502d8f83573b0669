"""Calls: a block is paid before it starts, never twice, never for time that nobody was there."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.support.calls import (
    ACCEPT,
    BEAT,
    DECLINE,
    END,
    METER,
    METER_DUE,
    OPEN,
    PAUSE,
    RESUME,
    ask_for,
    elapse,
    one,
    pass_time,
)
from tests.support.money import (
    Person,
    Tip,
    World,
    as_ledger,
    balance,
    person,
    refused,
    revenue,
    set_fee,
    set_rate,
    set_status,
    tip,
    unguarded,
    without_rate,
    written,
)
from tests.support.postgres import Connection

PRICE = 10
"""Of a block: 20 tokens a minute, blocks of 30 seconds. Alice has 100 tokens."""


@pytest_asyncio.fixture
async def ringing(world: World, app_conn: Connection) -> UUID:
    """Alice calls the creator."""
    await ask_for(world.db, world.creator, 20)
    call: UUID = (await one(app_conn, OPEN, world.alice.id, world.creator.id, "k"))["call_id"]
    return call


@pytest_asyncio.fixture
async def call(world: World, app_conn: Connection, ringing: UUID) -> UUID:
    """And the creator has answered."""
    await one(app_conn, ACCEPT, ringing, world.creator.id)
    return ringing


async def _all(conn: Connection) -> list[Any]:
    tables = ("calls", "call_clocks", "call_parties", "meter_blocks")
    return [await written(conn), *[await conn.fetch(f"SELECT * FROM core.{table} ORDER BY 1, 2") for table in tables]]


async def _events(conn: Connection, kind: str) -> list[dict[str, Any]]:
    rows = await conn.fetch("SELECT payload FROM core.outbox WHERE type = $1 ORDER BY id", kind)
    return [json.loads(row["payload"]) for row in rows]


class TestOpening:
    """api.open_call"""

    async def test_it_rings_and_costs_nothing(self, world: World, app_conn: Connection) -> None:
        await ask_for(world.db, world.creator, 21)
        offer = await one(app_conn, OPEN, world.alice.id, world.creator.id, "k")
        # 21 a minute is 10.5 a block, and that is 11
        assert (offer["status"], offer["rate_per_minute"], offer["block_price"], offer["block_ms"]) == (
            "ringing",
            21,
            11,
            30_000,
        )
        assert offer["channel"] == f"call:{offer['call_id']}"
        assert (offer["rings_until"] - offer["opened_at"]).total_seconds() == 45
        row = await one(world.db, "SELECT * FROM api.calls")
        assert (row["fan_id"], row["creator_id"], row["blocks"], row["billed"]) == (
            world.alice.id,
            world.creator.id,
            0,
            0,
        )
        assert await balance(world.db, world.alice.wallet) == 100
        event = await one(world.db, "SELECT channels FROM core.outbox WHERE type = 'call.ringing'")
        assert event["channels"] == [offer["channel"], f"user:{world.alice.id}", f"user:{world.creator.id}"]

    async def test_the_price_is_frozen(self, world: World, app_conn: Connection, ringing: UUID) -> None:
        await ask_for(world.db, world.creator, 2000)
        await set_rate(world.db, "call_block", 7, "seconds")
        await one(app_conn, ACCEPT, ringing, world.creator.id)
        assert await balance(world.db, world.alice.wallet) == 90
        assert await app_conn.fetchval("SELECT block_ms FROM api.calls") == 30_000

    async def test_the_key_opens_once(self, world: World, app_conn: Connection, ringing: UUID) -> None:
        first = await one(app_conn, OPEN, world.alice.id, world.creator.id, "k")
        assert (first["call_id"], first["replayed"]) == (ringing, True)
        before = await _all(world.db)
        await one(app_conn, OPEN, world.alice.id, world.creator.id, "k")
        assert await _all(world.db) == before
        other = await person(world.db, "other", roles=["creator"])
        await ask_for(world.db, other, 20)
        assert (await refused(app_conn, OPEN, world.alice.id, other.id, "k")).slug == "IDEMPOTENCY_KEY_REUSED"
        # when it is over too, and nobody is kept busy by the question
        await one(app_conn, END, ringing, world.alice.id)
        again = await one(app_conn, OPEN, world.alice.id, world.creator.id, "k")
        assert dict(again) == dict(first)
        assert await world.db.fetchval("SELECT count(*) FROM core.call_parties") == 0

    async def test_twins_open_one(self, world: World, connect: Connect) -> None:
        await ask_for(world.db, world.creator, 20)
        connections = [await connect("app") for _ in range(8)]
        rows = await asyncio.gather(*(one(c, OPEN, world.alice.id, world.creator.id, "k") for c in connections))
        assert len({row["call_id"] for row in rows}) == 1
        assert sorted(row["replayed"] for row in rows) == [False] + [True] * 7

    async def test_nobody_is_in_two(self, world: World, app_conn: Connection, ringing: UUID) -> None:
        other = await person(world.db, "other", tokens=50, roles=["creator"])
        await ask_for(world.db, other, 20)
        found = await refused(app_conn, OPEN, world.alice.id, other.id, None)
        assert (found.code, found.slug, found.facts) == ("TS332", "CALL_IN_PROGRESS", {"call_id": str(ringing)})
        assert (await refused(app_conn, OPEN, world.bob.id, world.creator.id, None)).slug == "CREATOR_BUSY"
        # a creator who calls somebody is busy as well
        assert (await refused(app_conn, OPEN, other.id, world.creator.id, None)).slug == "CREATOR_BUSY"
        assert (await refused(app_conn, OPEN, world.creator.id, other.id, None)).slug == "CALL_IN_PROGRESS"

    async def test_of_many_who_call_one_gets_through(self, world: World, connect: Connect) -> None:
        await ask_for(world.db, world.creator, 20)
        fans = [await person(world.db, f"fan{number}", tokens=100) for number in range(8)]
        connections = [await connect("app") for _ in fans]
        outcomes = await asyncio.gather(
            *(c.fetchrow(OPEN, fan.id, world.creator.id, "k") for c, fan in zip(connections, fans, strict=True)),
            return_exceptions=True,
        )
        lost = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert len(lost) == 7
        assert {error.args[0] for error in lost} == {"CREATOR_BUSY"}

    async def test_two_who_call_each_other(self, world: World, connect: Connect) -> None:
        other = await person(world.db, "other", tokens=50, roles=["creator"])
        await as_rich(world, world.creator)
        for creator in (other, world.creator):
            await ask_for(world.db, creator, 20)
        a, b = await connect("app"), await connect("app")
        outcomes = await asyncio.gather(
            a.fetchrow(OPEN, other.id, world.creator.id, None),
            b.fetchrow(OPEN, world.creator.id, other.id, None),
            return_exceptions=True,
        )
        lost = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert [error.args[0] for error in lost] == ["CALL_IN_PROGRESS"]

    async def test_who_cannot_call(self, world: World, app_conn: Connection) -> None:
        async def slug(fan: UUID | None, creator: UUID | None, key: str | None = None) -> str:
            return (await refused(app_conn, OPEN, fan, creator, key)).slug

        alice, creator = world.alice.id, world.creator.id
        assert await slug(alice, creator) == "CALLS_NOT_ACCEPTED"  # has named no price
        await ask_for(world.db, world.creator, 20)
        await ask_for(world.db, world.suspended, 20)
        assert await slug(creator, creator) == "SELF_CALL"
        assert await slug(NOBODY, creator) == "USER_NOT_FOUND"
        assert await slug(None, creator) == "USER_NOT_FOUND"
        assert await slug(alice, NOBODY) == "CREATOR_NOT_FOUND"
        assert await slug(alice, world.bob.id) == "CREATOR_NOT_FOUND"
        assert await slug(alice, None) == "CREATOR_NOT_FOUND"
        assert await slug(world.suspended.id, creator) == "USER_SUSPENDED"
        assert await slug(alice, world.suspended.id) == "CALLS_NOT_ACCEPTED"
        assert await slug(alice, creator, "") == "IDEMPOTENCY_KEY_INVALID"
        await world.db.execute("UPDATE core.creator_settings SET accepts_calls = false")
        assert await slug(alice, creator) == "CALLS_NOT_ACCEPTED"
        await world.db.execute("UPDATE core.creator_settings SET accepts_calls = true")
        await app_conn.fetch("SELECT api.ban_user($1, $2)", creator, alice)
        assert await slug(alice, creator) == "BANNED"
        await app_conn.fetch("SELECT api.unban_user($1, $2)", creator, alice)
        await ask_for(world.db, world.creator, 500)
        found = await refused(app_conn, OPEN, alice, creator, None)
        assert (found.slug, found.facts) == (
            "INSUFFICIENT_TOKENS",
            {"required": 250, "current": 100, "shortfall": 150, "asset": "TOKEN"},
        )
        stranger = await world.without_wallet()
        assert await slug(stranger, creator) == "WALLET_NOT_FOUND"
        await without_rate(world.db, "call_grace")
        await without_rate(world.db, "call_block")
        assert await slug(alice, creator) == "CONFIGURATION_ERROR"
        await set_rate(world.db, "call_block", 0, "seconds")
        assert await slug(alice, creator) == "CONFIGURATION_ERROR"
        assert await world.db.fetchval("SELECT count(*) FROM core.calls") == 0
        assert await world.db.fetchval("SELECT count(*) FROM core.call_parties") == 0

    @pytest.mark.parametrize("how", ["declined", "missed"])
    async def test_cooldown(self, world: World, app_conn: Connection, ringing: UUID, how: str) -> None:
        row = (
            await one(app_conn, DECLINE, ringing, world.creator.id)
            if how == "declined"
            else await one(app_conn, END, ringing, world.alice.id)
        )
        assert row["status"] == how
        found = await refused(app_conn, OPEN, world.alice.id, world.creator.id, None)
        assert (found.code, found.slug, found.facts["creator_id"]) == (
            "TS605",
            "CALL_COOLDOWN",
            str(world.creator.id),
        )
        assert 0 < found.facts["retry_after"] <= 30
        assert (await one(app_conn, OPEN, world.bob.id, world.creator.id, None))["status"] == "ringing"
        await one(
            app_conn, END, await app_conn.fetchval("SELECT call_id FROM api.calls WHERE status = 'ringing'"), None
        )
        await elapse(world.db, ringing, 31)
        assert (await one(app_conn, OPEN, world.alice.id, world.creator.id, None))["status"] == "ringing"

    async def test_after_a_call_that_was_answered_there_is_no_cooldown(
        self, world: World, app_conn: Connection, call: UUID
    ) -> None:
        await one(app_conn, END, call, world.alice.id)
        assert (await one(app_conn, OPEN, world.alice.id, world.creator.id, None))["status"] == "ringing"


async def as_rich(world: World, who: Person, tokens: int = 1000) -> None:
    """With so many tokens more."""
    await world.db.fetch("SELECT * FROM api.grant_tokens($1, $2, 'test')", who.id, tokens)


class TestAnswering:
    """api.accept_call, api.decline_call, and nobody at all"""

    async def test_the_first_block_is_paid_with_the_answer(
        self, world: World, app_conn: Connection, ringing: UUID
    ) -> None:
        row = await one(app_conn, ACCEPT, ringing, world.creator.id)
        assert (row["status"], row["blocks"], row["billed"]) == ("active", 1, PRICE)
        assert (row["next_block_at"] - row["accepted_at"]).total_seconds() == 30
        assert (await balance(world.db, world.alice.wallet), await balance(world.db, world.creator.wallet)) == (90, 10)
        block = await one(world.db, "SELECT * FROM api.call_blocks")
        moved = await one(world.db, "SELECT * FROM api.transfers WHERE transfer_id = $1", block["transfer_id"])
        assert (moved["kind"], moved["reference"], moved["amount"]) == ("call_block", str(ringing), PRICE)
        assert (await _events(world.db, "call.block_paid"))[0]["block_no"] == 0
        before = await _all(world.db)
        assert (await one(app_conn, ACCEPT, ringing, world.creator.id))["blocks"] == 1
        assert await _all(world.db) == before

    async def test_the_fan_has_spent_it_meanwhile(self, world: World, app_conn: Connection, ringing: UUID) -> None:
        await tip(app_conn, Tip(sender=world.alice.id, creator=world.creator.id, amount=95))
        row = await one(app_conn, ACCEPT, ringing, world.creator.id)
        assert (row["status"], row["end_reason"], row["blocks"], row["active_ms"]) == (
            "ended",
            "insufficient_tokens",
            0,
            0,
        )
        assert [event["end_reason"] for event in await _events(world.db, "call.ended")] == ["insufficient_tokens"]
        assert await balance(world.db, world.alice.wallet) == 5

    async def test_too_late(self, world: World, app_conn: Connection, ringing: UUID) -> None:
        await elapse(world.db, ringing, 46)
        row = await one(app_conn, ACCEPT, ringing, world.creator.id)
        assert (row["status"], row["end_reason"], row["accepted_at"]) == ("missed", "no_answer", None)
        assert await balance(world.db, world.alice.wallet) == 100

    async def test_nobody_answers(self, world: World, app_conn: Connection, ringing: UUID) -> None:
        assert await app_conn.fetch(METER_DUE, 10) == []
        await elapse(world.db, ringing, 46)
        row = await one(app_conn, METER_DUE, 10)
        assert (row["status"], row["end_reason"], row["blocks_paid"], row["next_due_at"]) == (
            "missed",
            "no_answer",
            0,
            None,
        )
        assert len(await _events(world.db, "call.missed")) == 1
        assert await app_conn.fetch(METER_DUE, 10) == []

    async def test_declined(self, world: World, app_conn: Connection, ringing: UUID) -> None:
        row = await one(app_conn, DECLINE, ringing, world.creator.id)
        assert (row["status"], row["end_reason"], row["ended_by"]) == ("declined", "declined", world.creator.id)
        before = await _all(world.db)
        assert await one(app_conn, DECLINE, ringing, world.creator.id) == row
        assert await _all(world.db) == before
        assert (await refused(app_conn, ACCEPT, ringing, world.creator.id)).slug == "CALL_ENDED"

    async def test_whose_it_is(self, world: World, app_conn: Connection, ringing: UUID) -> None:
        for query in (ACCEPT, DECLINE, PAUSE, RESUME, END):
            assert (await refused(app_conn, query, ringing, world.bob.id)).slug == "NOT_CALL_PARTICIPANT"
            assert (await refused(app_conn, query, NOBODY, world.alice.id)).slug == "CALL_NOT_FOUND"
            assert (await refused(app_conn, query, ringing, NOBODY)).slug == "USER_NOT_FOUND"
            assert (await refused(app_conn, query, ringing, world.suspended.id)).slug == "USER_SUSPENDED"
        for query in (ACCEPT, DECLINE):
            assert (await refused(app_conn, query, ringing, world.alice.id)).slug == "NOT_THE_CALLED"
        for query in (PAUSE, RESUME):
            assert (await refused(app_conn, query, ringing, world.alice.id)).slug == "CALL_NOT_ACTIVE"
        assert (await refused(app_conn, METER, NOBODY)).slug == "CALL_NOT_FOUND"
        await one(app_conn, ACCEPT, ringing, world.creator.id)
        assert (await refused(app_conn, DECLINE, ringing, world.creator.id)).slug == "CALL_NOT_RINGING"
        await one(app_conn, END, ringing, world.alice.id)
        for query in (DECLINE, PAUSE, RESUME):
            assert (await refused(app_conn, query, ringing, world.creator.id)).slug == "CALL_ENDED"

    async def test_the_creator_ends_what_rings(self, world: World, app_conn: Connection, ringing: UUID) -> None:
        row = await one(app_conn, END, ringing, world.creator.id)
        assert (row["status"], row["end_reason"]) == ("declined", "declined")


class TestMetering:
    """api.meter_call_block and api.meter_due_calls"""

    @pytest.mark.parametrize("query", [METER, METER_DUE])
    async def test_a_block_once(self, world: World, app_conn: Connection, call: UUID, query: str) -> None:
        argument: Any = call if query == METER else 10
        await elapse(world.db, call, 29)
        assert [row["blocks_paid"] for row in await app_conn.fetch(query, argument)] == ([0] if query == METER else [])
        await elapse(world.db, call, 2)
        row = await one(app_conn, query, argument)
        assert (row["call_id"], row["status"], row["blocks_paid"], row["charged"]) == (call, "active", 1, PRICE)
        assert (row["next_due_at"] - row["due_at"]).total_seconds() == 30
        assert [row["blocks_paid"] for row in await app_conn.fetch(query, argument)] == ([0] if query == METER else [])
        assert await balance(world.db, world.alice.wallet) == 80

    async def test_many_at_once_pay_a_block_once(self, world: World, connect: Connect, call: UUID) -> None:
        await elapse(world.db, call, 31)
        connections = [await connect("scheduler") for _ in range(8)]
        rows = await asyncio.gather(
            *(c.fetch(METER_DUE, 10) if n % 2 else c.fetch(METER, call) for n, c in enumerate(connections))
        )
        assert sum(row["blocks_paid"] for found in rows for row in found) == 1
        assert await balance(world.db, world.alice.wallet) == 80

    async def test_what_was_missed_is_made_up_for(self, world: World, app_conn: Connection, call: UUID) -> None:
        await elapse(world.db, call, 100)
        row = await one(app_conn, METER, call)
        assert (row["blocks_paid"], row["charged"]) == (3, 30)
        blocks = await world.db.fetch("SELECT block_no FROM api.call_blocks ORDER BY block_no")
        assert [block["block_no"] for block in blocks] == [0, 1, 2, 3]

    async def test_catching_up_is_bounded(self, world: World, app_conn: Connection, call: UUID) -> None:
        await as_rich(world, world.alice, 2000)
        await elapse(world.db, call, 30 * 120 + 5)
        first = await one(app_conn, METER_DUE, 10)
        assert first["blocks_paid"] == 100
        second = await one(app_conn, METER_DUE, 10)
        assert second["blocks_paid"] == 20
        assert await app_conn.fetch(METER_DUE, 10) == []
        await one(app_conn, END, call, world.alice.id)
        assert (await one(app_conn, "SELECT * FROM api.calls"))["blocks"] == 121

    @pytest.mark.parametrize("bps", [0, 250, 1000, 10000])
    async def test_the_fee(self, world: World, app_conn: Connection, ringing: UUID, bps: int) -> None:
        await set_fee(world.db, bps)
        await one(app_conn, ACCEPT, ringing, world.creator.id)
        await elapse(world.db, ringing, 65)
        await one(app_conn, METER, ringing)
        fee = 3 * (PRICE * bps // 10000)
        row = await one(app_conn, END, ringing, None)
        assert (row["billed"], row["platform_fees"]) == (30, fee)
        assert await balance(world.db, world.alice.wallet) == 70
        assert (await balance(world.db, world.creator.wallet), await revenue(world.db)) == (30 - fee, fee)

    async def test_out_of_money(self, world: World, app_conn: Connection, call: UUID) -> None:
        await tip(app_conn, Tip(sender=world.alice.id, creator=world.creator.id, amount=75))
        await elapse(world.db, call, 70)
        row = await one(app_conn, METER_DUE, 10)
        assert (row["status"], row["end_reason"], row["blocks_paid"], row["next_due_at"]) == (
            "ended",
            "insufficient_tokens",
            1,
            None,
        )
        assert await balance(world.db, world.alice.wallet) == 5
        ended = await one(app_conn, "SELECT * FROM api.calls")
        # what was paid for, and not a millisecond more
        assert (ended["blocks"], ended["billed"], ended["active_ms"]) == (2, 20, 60_000)
        assert (ended["ended_at"] - ended["accepted_at"]).total_seconds() == 60
        event = await one(world.db, "SELECT channels, payload FROM core.outbox WHERE type = 'call.ended'")
        assert event["channels"] == [f"call:{call}", f"user:{world.alice.id}", f"user:{world.creator.id}"]
        assert json.loads(event["payload"])["end_reason"] == "insufficient_tokens"

    async def test_the_fan_is_told_when_two_blocks_remain(self, world: World, app_conn: Connection, call: UUID) -> None:
        await tip(app_conn, Tip(sender=world.alice.id, creator=world.creator.id, amount=50))
        for _ in range(2):
            await elapse(world.db, call, 30.2)
            await one(app_conn, METER, call)
        told = await _events(world.db, "call.low_balance")
        assert [event["blocks_left"] for event in told] == [2]
        # more tokens, and told again when they run out
        await as_rich(world, world.alice)
        await elapse(world.db, call, 30.2)
        await one(app_conn, METER, call)
        await tip(app_conn, Tip(sender=world.alice.id, creator=world.creator.id, amount=1000))
        await elapse(world.db, call, 30.2)
        await one(app_conn, METER, call)
        assert [event["blocks_left"] for event in await _events(world.db, "call.low_balance")] == [2, 0]

    async def test_a_wallet_that_is_frozen(self, world: World, app_conn: Connection, call: UUID) -> None:
        await set_status(world.db, world.alice.wallet, "frozen")
        await elapse(world.db, call, 35)
        row = await one(app_conn, METER_DUE, 10)
        assert (row["status"], row["end_reason"], row["blocks_paid"]) == ("ended", "wallet_frozen", 0)

    @pytest.mark.parametrize("who", ["alice", "creator"])
    async def test_somebody_is_suspended(self, world: World, app_conn: Connection, call: UUID, who: str) -> None:
        await world.suspend(getattr(world, who))
        await elapse(world.db, call, 35)
        row = await one(app_conn, METER_DUE, 10)
        assert (row["end_reason"], row["blocks_paid"]) == ("user_suspended", 0)
        assert await balance(world.db, world.alice.wallet) == 90

    async def test_the_longest_call(self, world: World, app_conn: Connection) -> None:
        await ask_for(world.db, world.creator, 20)
        await set_rate(world.db, "call_longest", 90, "seconds")
        call = (await one(app_conn, OPEN, world.alice.id, world.creator.id, None))["call_id"]
        await one(app_conn, ACCEPT, call, None)
        await elapse(world.db, call, 500)
        row = await one(app_conn, METER_DUE, 10)
        assert (row["status"], row["end_reason"], row["blocks_paid"]) == ("ended", "time_limit", 2)
        ended = await one(app_conn, "SELECT * FROM api.calls")
        assert (ended["blocks"], ended["active_ms"], (ended["ended_at"] - ended["accepted_at"]).seconds) == (
            3,
            90_000,
            90,
        )

    async def test_one_who_cannot_pay_is_no_matter_to_the_others(self, world: World, app_conn: Connection) -> None:
        calls = []
        for number in range(12):
            fan = await person(world.db, f"fan{number}", tokens=10 if number % 3 == 0 else 50)
            creator = await person(world.db, f"star{number}", roles=["creator"])
            await ask_for(world.db, creator, 20)
            call = (await one(app_conn, OPEN, fan.id, creator.id, None))["call_id"]
            await one(app_conn, ACCEPT, call, creator.id)
            await elapse(world.db, call, 40)
            calls.append(call)
        await set_fee(world.db, 2000)
        rows = {row["call_id"]: row for row in await app_conn.fetch(METER_DUE, 100)}
        assert [rows[call]["status"] for call in calls] == ["ended", "active", "active"] * 4
        assert await app_conn.fetch(METER_DUE, 100) == []
        assert await revenue(world.db) == 8 * 2

    async def test_the_limit_of_calls(self, world: World, app_conn: Connection) -> None:
        await ask_for(world.db, world.creator, 20)
        for number in range(3):
            fan = await person(world.db, f"fan{number}", tokens=50)
            creator = await person(world.db, f"star{number}", roles=["creator"])
            await ask_for(world.db, creator, 20)
            call = (await one(app_conn, OPEN, fan.id, creator.id, None))["call_id"]
            await elapse(world.db, call, 60 + number)
        for limit, expected in ((0, 1), (None, 2)):
            assert len(await app_conn.fetch(METER_DUE, limit)) == expected

    @pytest.mark.parametrize("end", ["stopped", "user_suspended"])
    async def test_a_clock_that_is_set_back_takes_no_paid_time_back(
        self, world: World, app_conn: Connection, call: UUID, end: str
    ) -> None:
        for _ in range(2):
            await elapse(world.db, call, 31)
            await one(app_conn, METER, call)
        await elapse(world.db, call, -3600)
        assert (await one(app_conn, METER, call))["blocks_paid"] == 0
        if end == "user_suspended":
            await world.suspend(world.alice)
            assert (await one(app_conn, METER, call))["end_reason"] == end
        else:
            # two blocks are used up by the pause, and not had again after it
            assert (await one(app_conn, PAUSE, call, None))["active_ms"] == 60_000
            await one(app_conn, RESUME, call, None)
            await elapse(world.db, call, 31)
            assert (await one(app_conn, METER, call))["blocks_paid"] == 1
            await elapse(world.db, call, -3600)
            await one(app_conn, END, call, None)
        ended = await one(app_conn, "SELECT * FROM api.calls")
        blocks = 3 if end == "user_suspended" else 4
        assert (ended["end_reason"], ended["blocks"], ended["active_ms"]) == (end, blocks, (blocks - 1) * 30_000)

    @pytest.mark.parametrize(
        "name", ["call_grace", "call_low_balance", "call_ringing", "call_cooldown", "call_longest"]
    )
    async def test_the_highest_rates_stop_nothing(
        self, world: World, app_conn: Connection, call: UUID, name: str
    ) -> None:
        highest = 2**31 - 1 if name == "call_low_balance" else 36500 * 86400
        await world.db.execute("SELECT api.set_rate($1, $2::bigint)", name, highest)
        await elapse(world.db, call, 31)
        assert (await one(app_conn, METER_DUE, 10))["blocks_paid"] == 1
        assert (await one(app_conn, PAUSE, call, None))["status"] == "paused"
        await one(app_conn, END, call, None)
        other = (await one(app_conn, OPEN, world.bob.id, world.creator.id, None))["call_id"]
        assert (await one(app_conn, ACCEPT, other, None))["status"] == "active"
        await one(app_conn, END, other, None)
        third = (await one(app_conn, OPEN, world.bob.id, world.creator.id, None))["call_id"]
        await one(app_conn, DECLINE, third, None)
        assert (await refused(app_conn, OPEN, world.bob.id, world.creator.id, None)).slug == "CALL_COOLDOWN"

    async def test_no_rate_no_metering(self, world: World, app_conn: Connection, call: UUID) -> None:
        await elapse(world.db, call, 35)
        await without_rate(world.db, "call_grace")
        before = await _all(world.db)
        for query, argument in ((METER, call), (METER_DUE, 10), (PAUSE, call), (END, call)):
            arguments = (argument,) if query in (METER, METER_DUE) else (argument, None)
            assert (await refused(app_conn, query, *arguments)).slug == "CONFIGURATION_ERROR"
        assert await _all(world.db) == before


class TestPausing:
    """api.pause_call, api.resume_call"""

    async def test_the_clock_stops(self, world: World, app_conn: Connection, call: UUID) -> None:
        await elapse(world.db, call, 12)
        paused = await one(app_conn, PAUSE, call, world.alice.id)
        assert (paused["status"], paused["blocks"], paused["next_block_at"]) == ("paused", 1, None)
        assert 12_000 <= paused["active_ms"] < 17_000
        await elapse(world.db, call, 3600)
        assert [row["blocks_paid"] for row in await app_conn.fetch(METER_DUE, 10)] == [0]
        again = await one(app_conn, PAUSE, call, world.creator.id)
        assert (again["status"], again["active_ms"]) == ("paused", paused["active_ms"])
        resumed = await one(app_conn, RESUME, call, world.creator.id)
        assert (resumed["status"], resumed["blocks"]) == ("active", 1)
        # what is left of the block: to the microsecond
        clock = await one(
            world.db,
            "SELECT active_us, (extract(epoch FROM due_at - running_since) * 1000000)::bigint AS rest"
            " FROM core.call_clocks",
        )
        assert clock["active_us"] + clock["rest"] == 30_000_000
        assert clock["active_us"] // 1000 == paused["active_ms"]
        await elapse(world.db, call, 20)
        assert (await one(app_conn, METER, call))["blocks_paid"] == 1
        types = await world.db.fetch("SELECT type FROM core.outbox WHERE type ~ 'paused|resumed' ORDER BY id")
        assert [row["type"] for row in types] == ["call.paused", "call.resumed"]

    async def test_pauses_add_up(self, world: World, app_conn: Connection, call: UUID) -> None:
        for times in (1, 2, 3):
            await elapse(world.db, call, 9)
            row = await one(app_conn, PAUSE, call, world.alice.id)
            assert 9_000 * times <= row["active_ms"] < 9_000 * times + 2_500
            await elapse(world.db, call, 100)
            await one(app_conn, RESUME, call, world.alice.id)
        await elapse(world.db, call, 5)
        ended = await one(app_conn, END, call, world.alice.id)
        assert (ended["blocks"], 32_000 <= ended["active_ms"] < 40_000) == (2, True)

    async def test_what_has_begun_is_paid_first(self, world: World, app_conn: Connection, call: UUID) -> None:
        await elapse(world.db, call, 65)
        paused = await one(app_conn, PAUSE, call, world.alice.id)
        assert (paused["status"], paused["blocks"]) == ("paused", 3)
        assert await balance(world.db, world.alice.wallet) == 70

    async def test_or_it_ends(self, world: World, app_conn: Connection, call: UUID) -> None:
        await tip(app_conn, Tip(sender=world.alice.id, creator=world.creator.id, amount=85))
        await elapse(world.db, call, 65)
        row = await one(app_conn, PAUSE, call, world.alice.id)
        assert (row["status"], row["end_reason"], row["blocks"], row["active_ms"]) == (
            "ended",
            "insufficient_tokens",
            1,
            30_000,
        )

    async def test_on_the_very_edge_of_a_block(self, world: World, app_conn: Connection, call: UUID) -> None:
        async with unguarded(world.db):
            await world.db.execute("UPDATE core.calls SET status = 'paused'")
            await world.db.execute("UPDATE core.call_clocks SET active_us = 30000000, running_since = NULL")
        # the next block starts when the clock does, so it is paid then
        resumed = await one(app_conn, RESUME, call, world.alice.id)
        assert (resumed["status"], resumed["blocks"]) == ("active", 2)

    async def test_a_pause_is_looked_at_whatever_the_grace_was(
        self, world: World, app_conn: Connection, call: UUID
    ) -> None:
        await set_rate(world.db, "call_grace", 10**9, "seconds")
        await one(app_conn, PAUSE, call, world.alice.id)
        await set_rate(world.db, "call_grace", 120, "seconds")
        await elapse(world.db, call, 3601, seen=False)
        assert (await one(app_conn, METER_DUE, 10))["end_reason"] == "not_seen"

    async def test_a_pause_that_is_forgotten(self, world: World, app_conn: Connection, call: UUID) -> None:
        await elapse(world.db, call, 10)
        await one(app_conn, PAUSE, call, world.alice.id)
        await elapse(world.db, call, 130, seen=False)
        row = await one(app_conn, METER_DUE, 10)
        assert (row["status"], row["end_reason"]) == ("ended", "not_seen")
        assert await balance(world.db, world.alice.wallet) == 90


class TestEnding:
    """api.end_call"""

    @pytest.mark.parametrize("who", ["alice", "creator", None])
    async def test_what_has_begun_is_paid_and_no_more(
        self, world: World, app_conn: Connection, call: UUID, who: str | None
    ) -> None:
        await elapse(world.db, call, 65)
        actor = None if who is None else getattr(world, who).id
        row = await one(app_conn, END, call, actor)
        assert (row["status"], row["end_reason"], row["ended_by"]) == ("ended", "stopped", actor)
        assert (row["blocks"], row["billed"]) == (3, 30)
        assert 65_000 <= row["active_ms"] < 75_000
        assert await balance(world.db, world.alice.wallet) == 70
        before = await _all(world.db)
        assert await one(app_conn, END, call, actor) == row
        assert (await one(app_conn, METER, call))["blocks_paid"] == 0
        assert await _all(world.db) == before

    async def test_beside_the_metering(self, world: World, connect: Connect, call: UUID) -> None:
        await elapse(world.db, call, 65)
        a, b, c = [await connect("app") for _ in range(3)]
        ended, again, _ = await asyncio.gather(
            one(a, END, call, world.alice.id), one(b, END, call, world.creator.id), c.fetch(METER_DUE, 10)
        )
        assert (ended["billed"], again["billed"]) == (30, 30)
        assert await balance(world.db, world.alice.wallet) == 70

    async def test_two_whole_calls_after_one_another(self, world: World, app_conn: Connection, call: UUID) -> None:
        await one(app_conn, END, call, world.alice.id)
        other = (await one(app_conn, OPEN, world.alice.id, world.creator.id, "l"))["call_id"]
        await one(app_conn, ACCEPT, other, world.creator.id)
        await elapse(world.db, other, 40)
        await one(app_conn, END, other, world.creator.id)
        for role, user in (("fan", world.alice), ("creator", world.creator), (None, world.alice)):
            stats = await one(app_conn, "SELECT * FROM api.call_stats($1, $2)", user.id, role)
            assert (stats["calls"], stats["answered"], stats["blocks"], stats["billed"]) == (2, 2, 3, 30)
            assert stats["longest_ms"] >= 40_000
        nothing = await one(app_conn, "SELECT * FROM api.call_stats($1, 'creator')", world.alice.id)
        assert (nothing["calls"], nothing["billed"], nothing["average_ms"]) == (0, 0, 0)
        past = await one(
            app_conn, "SELECT * FROM api.call_stats($1, NULL, NULL, now() - interval '1 day')", world.alice.id
        )
        assert past["calls"] == 0


class TestSignsOfLife:
    """api.beat_calls, and calls that are not seen any more"""

    async def test_a_beat(self, world: World, app_conn: Connection, call: UUID) -> None:
        await elapse(world.db, call, 100, seen=False)
        rows = await app_conn.fetch(
            BEAT, [(call, world.alice.id), (call, world.bob.id), (NOBODY, world.alice.id), (call, None)]
        )
        assert [(row["status"], row["error"]) for row in rows] == [
            ("active", None),
            (None, "NOT_CALL_PARTICIPANT"),
            (None, "CALL_NOT_FOUND"),
            (None, "NOT_CALL_PARTICIPANT"),
        ]
        assert rows[0]["blocks"] == 1
        await elapse(world.db, call, 100, seen=False)
        # seen 100 seconds ago: it goes on
        assert (await one(app_conn, METER, call))["status"] == "active"

    async def test_one_of_the_two_is_enough(self, world: World, app_conn: Connection, call: UUID) -> None:
        for _ in range(3):
            await elapse(world.db, call, 60, seen=False)
            await app_conn.fetch(BEAT, [(call, world.creator.id)])
        assert (await one(app_conn, METER, call))["status"] == "active"

    async def test_not_seen(self, world: World, app_conn: Connection, call: UUID) -> None:
        await elapse(world.db, call, 40)
        await app_conn.fetch(BEAT, [(call, world.alice.id)])
        await elapse(world.db, call, 125, seen=False)
        row = await one(app_conn, METER_DUE, 10)
        # billed up to the last sign of life, 40 seconds in
        assert (row["status"], row["end_reason"], row["blocks_paid"], row["blocks_refunded"]) == (
            "ended",
            "not_seen",
            1,
            0,
        )
        ended = await one(app_conn, "SELECT * FROM api.calls")
        assert (ended["blocks"], ended["billed"]) == (2, 20)
        assert 40_000 <= ended["active_ms"] < 45_000
        assert await balance(world.db, world.alice.wallet) == 80

    async def test_a_beat_that_comes_too_late_brings_nothing_back(
        self, world: World, app_conn: Connection, call: UUID
    ) -> None:
        await elapse(world.db, call, 125, seen=False)
        await app_conn.fetch(BEAT, [(call, world.alice.id), (call, world.creator.id)])
        assert (await one(app_conn, METER, call))["end_reason"] == "not_seen"
        over = await one(app_conn, BEAT, [(call, world.alice.id)])
        assert (over["status"], over["blocks"], over["next_block_at"]) == ("ended", 1, None)

    @pytest.mark.parametrize("bps", [0, 2500, 10000])
    async def test_blocks_paid_while_nobody_was_there_are_given_back(
        self, world: World, app_conn: Connection, ringing: UUID, bps: int
    ) -> None:
        await set_fee(world.db, bps)
        await one(app_conn, ACCEPT, ringing, world.creator.id)
        for _ in range(4):  # seen when it began, and paid as it went on
            await elapse(world.db, ringing, 29, seen=False)
            await app_conn.fetch(METER_DUE, 10)
        assert await balance(world.db, world.alice.wallet) == 60
        await elapse(world.db, ringing, 10, seen=False)
        row = await one(app_conn, METER_DUE, 10)
        assert (row["end_reason"], row["blocks_paid"], row["blocks_refunded"]) == ("not_seen", 0, 3)
        ended = await one(app_conn, "SELECT * FROM api.calls")
        assert (ended["blocks"], ended["billed"]) == (1, PRICE)
        assert await balance(world.db, world.alice.wallet) == 90
        fee = PRICE * bps // 10000
        assert (await balance(world.db, world.creator.wallet), await revenue(world.db)) == (PRICE - fee, fee)
        blocks = await world.db.fetch("SELECT refunded_at IS NOT NULL AS back FROM api.call_blocks ORDER BY block_no")
        assert [block["back"] for block in blocks] == [False, True, True, True]

    async def test_a_creator_who_has_spent_them_owes_them(self, world: World, app_conn: Connection, call: UUID) -> None:
        for _ in range(4):
            await elapse(world.db, call, 29, seen=False)
            await app_conn.fetch(METER_DUE, 10)
        await app_conn.fetch(
            "SELECT * FROM api.transfer($1, $2, 40, p_actor => $3)",
            world.creator.wallet,
            world.bob.wallet,
            world.creator.id,
        )
        await elapse(world.db, call, 10, seen=False)
        assert (await one(app_conn, METER_DUE, 10))["blocks_refunded"] == 3
        assert await balance(world.db, world.creator.wallet) == -30
        assert await balance(world.db, world.alice.wallet) == 90

    async def test_more_than_one_batch_is_given_back(self, world: World, app_conn: Connection) -> None:
        await set_rate(world.db, "call_grace", 3000, "seconds")
        await set_fee(world.db, 1000)
        calls, fans = [], []
        for number in range(26):
            fan = await person(world.db, f"fan{number}", tokens=1000)
            creator = await person(world.db, f"star{number}", roles=["creator"])
            await ask_for(world.db, creator, 20)
            call = (await one(app_conn, OPEN, fan.id, creator.id, None))["call_id"]
            await one(app_conn, ACCEPT, call, creator.id)
            calls.append(call)
            fans.append(fan)
        await pass_time(world.db, calls, 2990, seen=False)
        while [row for row in await app_conn.fetch(METER_DUE, 500) if row["blocks_paid"]]:
            pass
        assert await balance(world.db, fans[0].wallet) == 0
        await pass_time(world.db, calls, 20, seen=False)
        rows = await app_conn.fetch(METER_DUE, 500)
        # 26 × 99 blocks, each of two transfers
        assert {(row["end_reason"], row["blocks_refunded"]) for row in rows} == {("not_seen", 99)}
        assert len(rows) == 26
        assert [await balance(world.db, fan.wallet) for fan in fans] == [990] * 26

    async def test_giving_back_knows_no_velocity_limit(self, world: World, app_conn: Connection, call: UUID) -> None:
        for _ in range(4):
            await elapse(world.db, call, 29, seen=False)
            await app_conn.fetch(METER_DUE, 10)
        await set_rate(world.db, "velocity_count_minute", 1, "count")
        await elapse(world.db, call, 10, seen=False)
        assert (await one(app_conn, METER_DUE, 10))["blocks_refunded"] == 3
        assert await balance(world.db, world.alice.wallet) == 90

    async def test_what_cannot_be_given_back_is_left_to_a_person(
        self, world: World, app_conn: Connection, call: UUID
    ) -> None:
        for _ in range(4):
            await elapse(world.db, call, 29, seen=False)
            await app_conn.fetch(METER_DUE, 10)
        await set_status(world.db, world.creator.wallet, "frozen")
        await elapse(world.db, call, 10, seen=False)
        row = await one(app_conn, METER_DUE, 10)
        assert (row["end_reason"], row["blocks_refunded"]) == ("not_seen", 0)
        act = await one(world.db, "SELECT details FROM core.audit_log WHERE action = 'call.refund_refused'")
        assert json.loads(act["details"])["calls"] == [str(call)]
        assert (await one(app_conn, "SELECT * FROM api.calls"))["billed"] == 40

    @pytest.mark.parametrize("who", ["alice", "creator"])
    async def test_of_who_is_suspended_too_blocks_are_given_back(
        self, world: World, app_conn: Connection, call: UUID, who: str
    ) -> None:
        for _ in range(4):
            await elapse(world.db, call, 29, seen=False)
            await app_conn.fetch(METER_DUE, 10)
        await world.suspend(getattr(world, who))
        await elapse(world.db, call, 10, seen=False)
        row = await one(app_conn, METER_DUE, 10)
        assert (row["end_reason"], row["blocks_paid"], row["blocks_refunded"]) == ("not_seen", 0, 3)
        assert await balance(world.db, world.alice.wallet) == 90

    async def test_after_an_outage_nobody_pays_for_time_not_seen(
        self, world: World, app_conn: Connection, call: UUID
    ) -> None:
        await elapse(world.db, call, 7200, seen=False)
        row = await one(app_conn, METER_DUE, 10)
        assert (row["end_reason"], row["blocks_paid"]) == ("not_seen", 0)
        assert await balance(world.db, world.alice.wallet) == 90


class TestPresence:
    """core._note_call_presence: what the room's server tells"""

    NOTE = "SELECT core._note_call_presence($1, $2, $3, clock_timestamp() + $4::numeric * interval '1 second')"

    async def _note(self, world: World, call: UUID, who: UUID | None, event: str, seconds: float) -> bool:
        async with as_ledger(world.db):
            told: bool = await world.db.fetchval(self.NOTE, call, who, event, seconds)
        return told

    async def test_who_has_left_shortens_the_call(self, world: World, app_conn: Connection, call: UUID) -> None:
        await elapse(world.db, call, 100, seen=False)
        assert await self._note(world, call, world.alice.id, "left", -60)
        # the creator is still seen, and the fan is gone since second 40
        await app_conn.fetch(BEAT, [(call, world.creator.id)])
        assert (await one(app_conn, METER, call))["status"] == "active"
        await elapse(world.db, call, 70, seen=False)
        await app_conn.fetch(BEAT, [(call, world.creator.id)])
        row = await one(app_conn, METER, call)
        assert (row["end_reason"], row["blocks_refunded"]) == ("not_seen", 2)
        assert (await one(app_conn, "SELECT * FROM api.calls"))["billed"] == 20

    async def test_whoever_comes_back_goes_on(self, world: World, app_conn: Connection, call: UUID) -> None:
        await elapse(world.db, call, 100, seen=False)
        await self._note(world, call, world.alice.id, "left", -60)
        await self._note(world, call, world.alice.id, "joined", -20)
        await elapse(world.db, call, 90, seen=False)
        assert (await one(app_conn, METER, call))["status"] == "active"

    async def test_late_news_is_no_news(self, world: World, app_conn: Connection, call: UUID) -> None:
        await elapse(world.db, call, 100, seen=False)
        await app_conn.fetch(BEAT, [(call, world.alice.id)])
        await self._note(world, call, world.alice.id, "left", -60)  # older than the beat
        await self._note(world, call, world.creator.id, "joined", -90)
        assert not await self._note(world, call, world.creator.id, "left", -200)  # from before the call
        clock = await one(world.db, "SELECT fan_left_at, creator_left_at FROM core.call_clocks")
        assert tuple(clock) == (None, None)

    async def test_told_twice_the_first_time_counts(self, world: World, call: UUID) -> None:
        await elapse(world.db, call, 100, seen=False)
        await self._note(world, call, None, "left", -50)
        first = await one(world.db, "SELECT fan_left_at, creator_left_at FROM core.call_clocks")
        await self._note(world, call, None, "left", -10)
        assert await one(world.db, "SELECT fan_left_at, creator_left_at FROM core.call_clocks") == first

    async def test_it_never_pays_for_anything(self, world: World, app_conn: Connection, call: UUID) -> None:
        await elapse(world.db, call, 10)
        for event in ("joined", "left", "joined"):
            await self._note(world, call, world.alice.id, event, 86_400)
        assert await balance(world.db, world.alice.wallet) == 90
        assert await world.db.fetchval("SELECT fan_seen_at <= clock_timestamp() FROM core.call_clocks")

    async def test_strangers_and_calls_that_are_over(self, world: World, app_conn: Connection, call: UUID) -> None:
        assert not await self._note(world, call, world.bob.id, "left", 0)
        assert not await self._note(world, NOBODY, world.alice.id, "left", 0)
        await one(app_conn, END, call, None)
        assert not await self._note(world, call, world.alice.id, "joined", 0)


async def test_beats_are_bounded(world: World, app_conn: Connection) -> None:
    found = await refused(app_conn, BEAT, [(NOBODY, NOBODY)] * 5001)
    assert (found.slug, found.facts) == ("BATCH_TOO_LARGE", {"size": 5001, "maximum": 5000})


async def _often(conn: Connection, query: str, argument: Any) -> None:
    for _ in range(25):
        await conn.fetch(query, argument)


async def _pause(conn: Connection, calls: list[UUID]) -> None:
    for _ in range(5):
        for call in calls:
            await conn.fetch(PAUSE, call, None)
            await conn.fetch(RESUME, call, None)


async def test_beats_beside_metering_and_pauses_do_not_deadlock(world: World, connect: Connect) -> None:
    calls: list[tuple[UUID, UUID]] = []
    for number in range(6):
        fan = await person(world.db, f"fan{number}", tokens=1000)
        creator = await person(world.db, f"star{number}", roles=["creator"])
        await ask_for(world.db, creator, 20)
        call = (await one(world.db, OPEN, fan.id, creator.id, None))["call_id"]
        await one(world.db, ACCEPT, call, creator.id)
        calls.append((call, fan.id))
    for call, _ in calls:
        await elapse(world.db, call, 45)

    ids = [call for call, _ in calls]
    a, b, c, d = [await connect("app") for _ in range(4)]
    try:
        await asyncio.gather(
            _often(a, BEAT, calls), _often(b, BEAT, calls[::-1]), _pause(c, ids), _often(d, METER_DUE, 10)
        )
    except asyncpg.DeadlockDetectedError as exc:
        pytest.fail(f"deadlock: {exc}")
    assert {row["status"] for row in await world.db.fetch("SELECT status FROM core.calls")} == {"active"}
