"""Every event once, in order: across reconnects, nodes, slow writers, losses of the listening connection."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from uuid import uuid4

import pytest

from app.realtime.hub import Hub
from tests.api.people import Person, api, register
from tests.conftest import Connect
from tests.realtime.world import MANY, PUT, numbers, put, relay
from tests.support.nodes import Node, Talk, running_node
from tests.support.postgres import Clone, Connection

pytestmark = pytest.mark.makes_events


async def test_from_the_position_on_and_then_live(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    await put(db, channel, 1, 5)
    async with node.socket(fan.access_token) as talk:
        at = await talk.follow(channel)
        assert (at["seq"], at["head"], at["recovered"]) == (5, 5, False)
        await talk.silent()
    async with node.socket(fan.access_token) as talk:
        reply = await talk.follow(channel, epoch=at["epoch"], seq=2)
        assert (reply["seq"], reply["head"], reply["recovered"]) == (2, 5, True)
        assert numbers(await talk.events(3)) == [3, 4, 5]
        await put(db, channel, 6, 7)
        assert numbers(await talk.events(2)) == [6, 7]
        await talk.silent()


async def test_an_empty_channel_has_a_position(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    async with node.socket(fan.access_token) as talk:
        at = await talk.follow(channel)
        assert (at["seq"], at["head"]) == (0, 0)
    await put(db, channel, 1, 2)
    async with node.socket(fan.access_token) as talk:
        assert (await talk.follow(channel, epoch=at["epoch"], seq=0))["recovered"]
        assert numbers(await talk.events(2)) == [1, 2]


async def test_positions_that_mean_nothing_get_the_present_one_and_never_a_part(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    await put(db, channel, 1, 5)
    await db.execute("DELETE FROM core.channel_events WHERE seq <= 2")  # as if their day were dropped
    async with node.socket(fan.access_token) as talk:
        epoch = (await talk.follow(channel))["epoch"]
        for position in (
            {"epoch": str(uuid4()), "seq": 3},
            {"epoch": epoch, "seq": 1},
            {"epoch": epoch, "seq": 6},
            {"epoch": epoch, "seq": 2**62},
        ):
            reply = await talk.follow(channel, **position)
            assert (reply["seq"], reply["recovered"], reply["epoch"]) == (5, False, epoch), position
        await talk.silent()
        assert (await talk.follow(channel, epoch=epoch, seq=2))["recovered"]
        assert numbers(await talk.events(3)) == [3, 4, 5]


async def test_what_is_missing_in_between_is_never_passed_over(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    async with node.socket(fan.access_token) as talk:
        epoch = (await talk.follow(channel))["epoch"]
        await db.execute(MANY, [channel], 1, 3)
        async with db.transaction():
            await db.execute("SELECT api.relay_events()")
            await db.execute("DELETE FROM core.channel_events WHERE seq = 2")
        assert await talk.closed() == (4009, "EPOCH_CHANGED")
    await put(db, channel, 4, 5)
    async with node.socket(fan.access_token) as talk:
        await talk.follow(channel, epoch=epoch, seq=2)
        assert numbers(await talk.events(3)) == [3, 4, 5]
        await talk.follow(channel, epoch=epoch, seq=1)
        assert await talk.closed() == (4009, "EPOCH_CHANGED")


async def test_subscribing_again_begins_anew(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    await put(db, channel, 1, 3)
    async with node.socket(fan.access_token) as talk:
        epoch = (await talk.follow(channel))["epoch"]
        for _ in range(2):
            await talk.follow(channel, epoch=epoch, seq=1)
            assert numbers(await talk.events(2)) == [2, 3]
        await put(db, channel, 4)
        assert numbers(await talk.events(1)) == [4]
        await talk.silent()


async def test_many_pages(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    await put(db, channel, 1, 2345)
    async with node.socket(fan.access_token) as talk:
        epoch = (await talk.follow(channel))["epoch"]
        for seq in (0, 1, 99, 100, 101, 2244, 2245, 2300, 2344, 2345):
            reply = await talk.follow(channel, epoch=epoch, seq=seq)
            assert (reply["seq"], reply["head"], reply["recovered"]) == (seq, 2345, True)
            assert numbers(await talk.events(2345 - seq)) == list(range(seq + 1, 2346))
        await talk.silent()


async def test_frames_are_never_too_large(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    async with node.socket(fan.access_token) as talk:
        epoch = (await talk.follow(channel))["epoch"]
        await db.execute(
            """
            INSERT INTO core.outbox (type, channels, payload)
            SELECT 'n', ARRAY[$1], jsonb_build_object('n', n, 'x', repeat('ü', 5000)) FROM generate_series(1, 300) AS n
            """,
            channel,
        )
        await relay(db)
        assert numbers(await talk.events(300)) == list(range(1, 301))  # Talk checks the size of each frame
        await talk.follow(channel, epoch=epoch, seq=0)
        assert numbers(await talk.events(300)) == list(range(1, 301))


async def _everything(talk: Talk, channel: str, epoch: str, seq: int, until: int) -> list[int]:
    await talk.follow(channel, epoch=epoch, seq=seq)
    return numbers(await talk.events(until - seq))


async def test_no_hole_between_history_and_live(node: Node, db: Connection, connect: Connect) -> None:
    """Sockets come back at every position while events are written all the time."""
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    await put(db, channel, 1, 500)
    async with node.socket(fan.access_token) as first:
        epoch = (await first.follow(channel))["epoch"]
    writer = await connect()

    async def write() -> None:
        for n in range(501, 1201, 7):
            await put(writer, channel, n, n + 6)

    async def come_back(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 (no secret)
        at = chance.randrange(0, 500)
        while at < 1200:
            async with node.socket(fan.access_token) as talk:
                reply = await talk.follow(channel, epoch=epoch, seq=at)
                assert reply["recovered"]
                while at < 1200:
                    for event in (await talk.next())["events"]:
                        assert event["seq"] == event["data"]["n"] == at + 1
                        at += 1
                    if chance.random() < 0.1:
                        break

    await asyncio.gather(write(), *(come_back(seed) for seed in range(12)))


async def test_two_nodes_are_one(node: Node, database: Clone, db: Connection) -> None:
    async with running_node(database.settings()) as other:
        fan = await register(node.http)
        channel = f"creator:{fan.id}"
        async with node.socket(fan.access_token) as here, other.socket(fan.access_token) as there:
            epoch = (await here.follow(channel))["epoch"]
            assert (await there.follow(channel))["epoch"] == epoch
            await put(db, channel, 1, 10)
            assert numbers(await here.events(10)) == numbers(await there.events(10)) == list(range(1, 11))
        await put(db, channel, 11, 12)
        async with other.socket(fan.access_token) as there:
            assert await _everything(there, channel, epoch, 9, 12) == [10, 11, 12]


async def test_an_event_of_many_channels_is_in_each(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    channels = [f"creator:{fan.id}", f"user:{fan.id}"]
    async with node.socket(fan.access_token) as talk:
        for channel in channels:
            await talk.follow(channel)
        await db.execute(PUT, channels, 1)
        await relay(db)
        found = await talk.events(2)
        assert sorted(event["channel"] for event in found) == sorted(channels)
        assert numbers(found) == [1, 1]


async def test_what_is_committed_by_a_request_is_relayed_by_its_process(node: Node, db: Connection) -> None:
    """Nobody else relays here: no scheduler runs."""
    fan, friend = await register(node.http), await register(node.http)
    await db.execute("SELECT api.grant_tokens($1, 10, 'gift')", fan.id)
    async with node.socket(friend.access_token) as talk:
        await talk.follow(f"user:{friend.id}")
        body = {"to_user_id": str(fan.id), "amount": 1}
        refused = await node.http.post(
            api("/wallets/transfers"), json=body, headers=friend.headers | {"Idempotency-Key": "k"}
        )
        assert refused.status_code == 402, refused.text
        await talk.silent()
        body = {"to_user_id": str(friend.id), "amount": 3}
        paid = await node.http.post(
            api("/wallets/transfers"), json=body, headers=fan.headers | {"Idempotency-Key": "k"}
        )
        assert paid.status_code == 201, paid.text
        found: list[dict[str, Any]] = []
        while not found:
            frame = await talk.next()
            found = [event for event in frame["events"] if event["type"] == "transfer.posted"]
        assert found[0]["data"]["amount"] == 3


async def test_nothing_is_missed_without_any_hint(
    database: Clone, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hub, "_hint", lambda self, payload: None)
    await relay(db)
    async with running_node(database.settings()) as node:
        fan = await register(node.http)
        channel = f"creator:{fan.id}"
        async with node.socket(fan.access_token) as talk:
            await talk.follow(channel)
            for n in range(1, 4):
                await put(db, channel, n)
                assert numbers(await talk.events(1)) == [n]


async def test_nothing_is_missed_while_the_listening_connection_is_lost(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    async with node.socket(fan.access_token) as talk:
        await talk.follow(channel)
        # which of its connections that is cannot be told from here
        await db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await put(db, channel, 1, 3)
        assert numbers(await talk.events(3)) == [1, 2, 3]


async def test_whatever_ends_the_listening_connection_it_is_made_again(
    node: Node, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop raises its own errors for a transport that has just gone."""
    listener = node.app.state["context"].listener
    connect = listener._database.engine.get_new_connection
    tries = 0

    async def broken() -> object:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise RuntimeError("the handler is closed")
        return await connect()

    monkeypatch.setattr(listener._database.engine, "get_new_connection", broken)
    await db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    for _ in range(200):
        if tries == 2:
            break
        await asyncio.sleep(0.05)
    assert tries == 2
    assert not listener._task.done()


@pytest.mark.parametrize(
    "payload", ["", "x", "1:2", "9:1:", "-1:5:abc", "1:99999999:zz", "0:1:*", ":::", "1:2:" + "a" * 3000]
)
async def test_hints_that_are_lies_do_no_harm(node: Node, db: Connection, payload: str) -> None:
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    async with node.socket(fan.access_token) as talk:
        await talk.follow(channel)
        await db.execute("SELECT pg_notify('tessera_events', $1)", payload)
        await put(db, channel, 1, 2)
        assert numbers(await talk.events(2)) == [1, 2]


async def test_a_database_that_goes_away_and_comes_back(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    async with node.socket(fan.access_token) as talk:
        await talk.follow(channel)
        for n in range(1, 6):
            await db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await put(db, channel, n)
        assert numbers(await talk.events(5)) == [1, 2, 3, 4, 5]


async def test_who_cannot_be_brought_up_to_date_is_told(
    node: Node, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By nothing that anybody thought of: a socket that stays behind in silence would miss everything from then on."""
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    await put(db, channel, 1, 5)

    async def broken(*_: object) -> list[bytes]:
        raise RuntimeError("broken")

    async with node.socket(fan.access_token) as talk:
        epoch = (await talk.follow(channel))["epoch"]
        monkeypatch.setattr(Hub, "history", broken)
        await talk.follow(channel, epoch=epoch, seq=0)
        assert await talk.closed() == (1013, "INTERNAL_ERROR")


async def test_another_epoch_closes_and_begins_anew(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    await put(db, channel, 1, 3)
    async with node.socket(fan.access_token) as talk, node.socket(fan.access_token) as idle:
        epoch = (await talk.follow(channel))["epoch"]
        await db.execute("UPDATE core.relay_state SET epoch = gen_random_uuid()")
        await put(db, channel, 4)
        assert await talk.closed() == (4009, "EPOCH_CHANGED")
        assert (await idle.ask("ping"))["op"] == "ping"  # it follows nothing
        reply = await idle.follow(channel, epoch=epoch, seq=3)
        assert (reply["recovered"], reply["seq"]) == (False, 4)
        assert reply["epoch"] != epoch
        await put(db, channel, 5)
        assert numbers(await idle.events(1)) == [5]


async def test_who_joins_while_the_epoch_changes(node: Node, db: Connection) -> None:
    """Before the node has noticed it by itself."""
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    async with node.socket(fan.access_token) as talk:
        await db.execute("UPDATE core.relay_state SET epoch = gen_random_uuid()")
        epoch = (await talk.follow(channel))["epoch"]
        assert epoch == str(await db.fetchval("SELECT epoch FROM core.relay_state"))
        await put(db, channel, 1)
        assert numbers(await talk.events(1)) == [1]


async def test_a_slow_writer_delays_only_its_own(node: Node, db: Connection, connect: Connect) -> None:
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    slow, aborted = await connect(), await connect()
    async with node.socket(fan.access_token) as talk:
        await talk.follow(channel)
        late, never = slow.transaction(), aborted.transaction()
        await late.start()
        await never.start()
        await slow.execute(PUT, [channel], 100)
        await aborted.execute(PUT, [channel], 999)
        await put(db, channel, 1, 99)
        assert numbers(await talk.events(99)) == list(range(1, 100))
        await never.rollback()
        await late.commit()
        await relay(db)
        assert numbers(await talk.events(1)) == [100]


async def test_channels_that_nobody_follows_any_more_are_forgotten(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    hub = node.app.state["context"].get(Hub)
    async with node.socket(fan.access_token) as talk:
        for _ in range(3):
            await talk.follow(f"creator:{fan.id}")
            await talk.follow(f"user:{fan.id}")
        assert len(hub._channels) == len(hub._by_mark) == 2
        await talk.ask("unsubscribe", channel=f"user:{fan.id}")
        assert len(hub._channels) == 1
    for _ in range(100):
        if not hub._channels:
            break
        await asyncio.sleep(0.02)
    assert (hub._channels, hub._by_mark) == ({}, {})


async def test_a_thousand_events_for_many_sockets(node: Node, db: Connection) -> None:
    people: list[Person] = [await register(node.http) for _ in range(3)]
    async with node.socket(people[0].access_token) as a, node.socket(people[1].access_token) as b:
        for talk, who in ((a, people[0]), (b, people[1])):
            await talk.follow(f"creator:{who.id}")
        for n in range(1, 1001, 50):
            for who in people:
                await db.execute(MANY, [f"creator:{who.id}"], n, n + 49)
            await relay(db)
        for talk in (a, b):
            assert numbers(await talk.events(1000)) == list(range(1, 1001))
