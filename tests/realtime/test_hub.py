"""The hub of a node, without its sockets."""

from __future__ import annotations

import asyncio

import pytest

from app.core.context import AppContext
from app.core.database import Database
from app.core.ratelimit import RateLimits
from app.realtime.hub import Hub
from tests.support.postgres import Clone


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
