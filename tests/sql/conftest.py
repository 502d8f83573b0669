"""Fixtures of the ledger's tests."""

from __future__ import annotations

import pytest_asyncio

from tests.support.money import World, make_world
from tests.support.postgres import Connection


@pytest_asyncio.fixture
async def world(db: Connection) -> World:
    """People and wallets for a test to use up."""
    return await make_world(db)
