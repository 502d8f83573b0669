"""Who does not read is closed, and delays nobody else."""

from __future__ import annotations

import asyncio
import socket as sockets

import pytest

from app.realtime.service import Realtime
from tests.api.people import Person, register
from tests.realtime.world import numbers, relay
from tests.support.nodes import Node, running_node
from tests.support.postgres import Clone, Connection

pytestmark = pytest.mark.makes_events

BIG = """
    INSERT INTO core.outbox (type, channels, payload)
    SELECT 'n', $1::text[], jsonb_build_object('n', n, 'x', repeat('x', 20000))
    FROM generate_series($2::int, $3::int) AS n"""


async def _stalled(node: Node, who: Person, channel: str) -> sockets.socket:
    """A socket that follows a channel and then reads nothing, with little room on its way."""
    loop = asyncio.get_running_loop()
    raw = await node.raw(who.access_token)
    body = f'{{"op": "subscribe", "id": 1, "channel": "{channel}"}}'.encode()
    await loop.sock_sendall(raw, bytes((0x81, 0x80 | len(body))) + b"\0\0\0\0" + body)
    assert b'"subscribe"' in await loop.sock_recv(raw, 4096)
    return raw


async def test_one_that_stalls_is_closed_and_the_others_get_everything(
    database: Clone, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.realtime.sockets.STALL_SECONDS", 1.0)
    await relay(db)
    async with running_node(database.settings(realtime_queue_kb=256)) as node:
        fan = await register(node.http)
        channel = f"creator:{fan.id}"
        stalled = await _stalled(node, fan, channel)
        async with node.socket(fan.access_token) as talk:
            await talk.follow(channel)

            async def write() -> None:
                for n in range(1, 1001, 20):
                    await db.execute(BIG, [channel], n, n + 19)
                    await relay(db)

            writing = asyncio.create_task(write())
            assert numbers(await talk.events(1000)) == list(range(1, 1001))
            await writing
        for _ in range(400):
            if not _realtime(node)._sockets:
                break
            await asyncio.sleep(0.05)
        # what it reads now ends with the close frame: 4008 is 0x0FA8
        loop = asyncio.get_running_loop()
        read = b""
        while True:
            some = await asyncio.wait_for(loop.sock_recv(stalled, 1 << 20), 20)
            if not some:
                break
            read += some
        stalled.close()
        assert read.endswith(b"\x88\x0a\x0f\xa8TOO_SLOW")
        assert len(read) < 10_000_000


async def test_one_that_never_reads_again_is_cut_off(
    database: Clone, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.wire.CLOSE_SECONDS", 0.2)
    monkeypatch.setattr("app.realtime.sockets.STALL_SECONDS", 0.2)
    await relay(db)
    async with running_node(database.settings(realtime_queue_kb=64)) as node:
        fan = await register(node.http)
        channel = f"creator:{fan.id}"
        stalled = await _stalled(node, fan, channel)
        realtime = _realtime(node)
        assert len(realtime._sockets) == 1
        for n in range(1, 1001, 20):
            await db.execute(BIG, [channel], n, n + 19)
            await relay(db)
        for _ in range(200):
            if not realtime._sockets:
                break
            await asyncio.sleep(0.05)
        assert not realtime._sockets
        stalled.close()


async def test_a_burst_that_is_more_than_any_queue_closes_nobody(database: Clone, db: Connection) -> None:
    await relay(db)
    async with running_node(database.settings(realtime_queue_kb=64)) as node:
        fan = await register(node.http)
        channels = [f"creator:{fan.id}", f"user:{fan.id}"]
        async with node.socket(fan.access_token) as talk:
            for channel in channels:
                await talk.follow(channel)
            await db.execute(BIG, channels, 1, 500)
            await relay(db)
            found = await talk.events(1000)
            for channel in channels:
                assert numbers([event for event in found if event["channel"] == channel]) == list(range(1, 501))
            await db.execute(BIG, channels, 501, 501)
            await relay(db)
            assert numbers(await talk.events(2)) == [501, 501]


async def test_a_slow_reader_catches_up_at_its_own_pace(database: Clone, db: Connection) -> None:
    """History waits for who reads it; only what is live does not."""
    await relay(db)
    async with running_node(database.settings(realtime_queue_kb=256)) as node:
        fan = await register(node.http)
        channel = f"creator:{fan.id}"
        async with node.socket(fan.access_token) as talk:
            epoch = (await talk.follow(channel))["epoch"]
        await db.execute(BIG, [channel], 1, 400)
        await relay(db)
        async with node.socket(fan.access_token, max_queue=1) as talk:
            await talk.follow(channel, epoch=epoch, seq=0)
            await asyncio.sleep(0.5)
            assert numbers(await talk.events(400)) == list(range(1, 401))


def _realtime(node: Node) -> Realtime:
    found: Realtime = node.app.state["context"].get(Realtime)
    return found
