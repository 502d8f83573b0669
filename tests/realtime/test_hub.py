"""The hub of a node, without its sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.core.context import AppContext
from app.core.database import Database
from app.core.ratelimit import RateLimits
from app.realtime.hub import Hub
from app.realtime.queries import RealtimeQueries
from tests.api.people import register
from tests.api.test_tips import creator_of, fund, tip
from tests.realtime.world import relay
from tests.support.clients import eventually
from tests.support.nodes import running_node
from tests.support.postgres import Clone, Connection


@pytest.mark.parametrize("turns", range(6))
async def test_it_ends_though_it_is_woken_at_that_moment(database: Clone, turns: int) -> None:
    """A cancellation that comes with a hint is not lost: the node would never stop."""
    settings = database.settings()
    context = AppContext(settings, Database(settings), RateLimits(0, 0))
    Hub(context)
    start, stop = context.on_startup[-1], context.on_shutdown[-1]
    await start()
    await asyncio.sleep(0.01)
    for hearer in context.listener._hearers:
        hearer.missed()
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await stop()


async def test_what_the_own_relay_tells_is_not_read_again(
    database: Clone, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All events come by what the relay tells, in all channels of an event, and none twice."""
    await relay(db)
    read: list[list[str]] = []
    reads = RealtimeQueries.read_channels

    async def noted(self: RealtimeQueries, channels: list[str], after: list[int], limit: int) -> list[Any]:
        read.append(list(channels))
        return await reads(self, channels, after, limit)

    monkeypatch.setattr(RealtimeQueries, "read_channels", noted)
    monkeypatch.setattr("app.realtime.hub.POLL_SECONDS", 60.0)  # who looks at that moment is not told
    async with running_node(database.settings()) as node:
        fan, creator = await register(node.http), await creator_of(node.http)
        await fund(db, fan, 1000)
        await relay(db)
        mine = f"user:{fan.id}"
        hub = node.app.state["context"].get(Hub)
        async with node.socket(fan.access_token) as one, node.socket(creator.access_token) as two:
            first = (await one.follow(mine))["seq"]
            await two.follow(f"creator:{creator.id}")
            await eventually(lambda: not (hub._hinted or hub._all or hub._reading.locked()))
            read.clear()
            for n in range(20):
                sent = await tip(node.http, fan, creator.id, 1, f"key-{n}", message=f'{n} "ä"')
                assert sent.status_code == 201, sent.text
            got = await one.events(40)
            assert [event["seq"] for event in got] == list(range(first + 1, first + 41))
            tips = [event["data"]["message"] for event in got if event["type"] == "tip.sent"]
            assert tips == [f'{n} "ä"' for n in range(20)]
            assert [event["data"]["message"] for event in await two.events(20)] == tips
    # nobody asked for these events
    assert not [channels for channels in read if mine in channels], read
