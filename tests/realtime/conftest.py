"""Nodes and people for the tests of realtime."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.nodes import Node, running_node
from tests.support.postgres import Clone


@pytest_asyncio.fixture
async def node(database: Clone) -> AsyncIterator[Node]:
    """A node on this test's database."""
    connection = await database.connect()
    # a copy of the template is another database: its first relay begins an epoch
    await connection.execute("SELECT api.relay_events()")
    async with running_node(database.settings()) as made:
        yield made
