"""Schedulers killed while they send webhooks: every event reaches every endpoint, always under one webhook-id.

Two schedulers, 4 kills each; with TESSERA_TEST_EFFORT above 1 (`./run chaos`) 20.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from uuid import UUID

import pytest

from tests.conftest import Connect
from tests.support.money import person
from tests.support.postgres import Clone, Connection
from tests.support.processes import Scheduler, kill, schedulers
from tests.support.webhooks import Answer, Received, Receiver, answer, endpoint, put, receiving, relay

pytestmark = pytest.mark.makes_events

KILLS = 20 if int(os.environ.get("TESSERA_TEST_EFFORT", "1")) > 1 else 4
USERS, EVENTS = 6, 40 * KILLS
LIFE_SECONDS = (0.1, 3.0)
WAIT_SECONDS = 120
JOBS = ("relay-events", "fan-webhooks", "send-webhooks")
SILENT = """
    UPDATE core.webhook_deliveries SET leased_until = now() - interval '1 s'
    WHERE leased_until IS NOT NULL AND leased_at < clock_timestamp() - interval '2 s';
    UPDATE core.webhook_queues SET next_at = now()"""
"""As if a minute had passed: what nobody has told of for two seconds is somebody's who was killed."""
RETRIES = """
    UPDATE core.webhook_deliveries SET due_at = now() WHERE status = 'pending' AND due_at > now();
    UPDATE core.webhook_queues SET next_at = now()"""


async def test_no_delivery_is_lost_or_made_twice(database: Clone, connect: Connect, db: Connection) -> None:
    rng = random.Random(11)  # noqa: S311 (no secret)
    await relay(db)
    users = [await person(db, f"user{n}") for n in range(USERS)]
    await relay(db)
    async with receiving() as receiver:
        for number, user in enumerate(users):
            receiver.answers[f"/slow?{number}"] = slow
            receiver.answers[f"/shaky?{number}"] = shaky(rng)
            for path in ("/good", "/slow", "/shaky"):
                await endpoint(db, user.id, f"{receiver.url(path)}?{number}", ["x.*"])
        sent: dict[int, list[int]] = defaultdict(list)
        async with schedulers(database, db, [{}, {}], JOBS) as both, asyncio.TaskGroup() as life:
            life.create_task(events(await connect(), [user.id for user in users], sent, rng))
            helper = life.create_task(lapses(await connect()))
            async with asyncio.TaskGroup() as tormentors:
                for scheduler in both:
                    tormentors.create_task(torment(scheduler, await connect(), rng))
            await until_all_are_delivered(db, 3 * EVENTS)
            helper.cancel()
            for scheduler in both:
                await scheduler.stop()
    await check(db, receiver, sent)


async def events(conn: Connection, users: list[UUID], sent: dict[int, list[int]], rng: random.Random) -> None:
    """Numbered events for users, while schedulers come and go."""
    for number in range(EVENTS):
        place = rng.randrange(len(users))
        sent[place].append(number)
        await put(conn, users[place], "x.y", payload=f'{{"n": {number}}}', both=rng.random() < 0.5)
        await asyncio.sleep(0.03)


async def torment(scheduler: Scheduler, conn: Connection, rng: random.Random) -> None:
    """Kill and start it, again and again."""
    for _ in range(KILLS):
        await scheduler.connected(conn)
        await asyncio.sleep(rng.uniform(*LIFE_SECONDS))
        await kill(scheduler.process)
        await scheduler.start(conn)


async def lapses(conn: Connection) -> None:
    """Time goes by faster: leases end, and retries are due."""
    while True:
        await asyncio.sleep(1)
        await conn.execute(SILENT)
        await conn.execute(RETRIES)


async def until_all_are_delivered(db: Connection, count: int) -> None:
    made = delivered = 0
    for _ in range(WAIT_SECONDS * 4):
        row = await db.fetchrow(
            "SELECT count(*) FILTER (WHERE status = 'delivered') AS delivered, count(*) AS made"
            " FROM core.webhook_deliveries"
        )
        assert row is not None
        delivered, made = row["delivered"], row["made"]
        if delivered >= count:
            assert (delivered, made) == (count, count)
            return
        await asyncio.sleep(0.25)
    raise AssertionError(f"of {count} deliveries {made} were made and {delivered} delivered")


async def slow(_: Received, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.4)
    writer.write(answer(200))


def shaky(rng: random.Random) -> Answer:
    """Fails every third time, in one way or another."""

    async def answers(_: Received, writer: asyncio.StreamWriter) -> None:
        chance = rng.random()
        if chance < 0.2:
            writer.write(answer(500))
        elif chance < 0.33:
            writer.transport.abort()
        else:
            writer.write(answer(200))

    return answers


async def check(db: Connection, receiver: Receiver, sent: dict[int, list[int]]) -> None:
    """Each event of each user reached each of their endpoints, under one id there and no other."""
    ids: dict[tuple[str, int], set[str]] = defaultdict(set)
    times: dict[str, int] = defaultdict(int)
    for request in receiver.received:
        ids[request.path, request.event["data"]["n"]].add(request.id)
        times[request.id] += 1
    expected = {
        (f"{path}?{place}", number)
        for place, numbers in sent.items()
        for number in numbers
        for path in ("/good", "/slow", "/shaky")
    }
    assert set(ids) == expected
    assert all(len(found) == 1 for found in ids.values())
    assert len(times) == 3 * EVENTS
    interrupted = await db.fetchval("SELECT count(*) FROM core.webhook_attempts WHERE error = 'interrupted'")
    print(f"{len(receiver.received)} requests for {3 * EVENTS} deliveries, {interrupted} attempts interrupted")
