"""Tells relays in other processes that events were committed, so that they need not wait for their next look.

Only a hint: it is sent after the commit, outside of every transaction of money, at most every ``PAUSE_SECONDS``, and
nothing is lost without it, for relays look by themselves (scheduler/jobs/relay_events.py).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg

from app.core.context import AppContext
from app.core.errors import TesseraError
from app.core.queries import hint_relay

PAUSE_SECONDS = 0.05


class RelayHints:
    """One for an application: ``context.get(RelayHints).poke()``."""

    def __init__(self, context: AppContext) -> None:
        self._database = context.database
        self._wanted = False
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        context.on_shutdown.append(self.close)

    def poke(self) -> None:
        """There are new events. Waits for nothing, and never fails."""
        self._wanted = True
        if not self._closed and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._send(), name="relay-hints")

    async def close(self) -> None:
        """Send no more."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _send(self) -> None:
        while self._wanted:
            self._wanted = False
            with suppress(TesseraError, asyncpg.PostgresError):
                await hint_relay(self._database)
            await asyncio.sleep(PAUSE_SECONDS)
