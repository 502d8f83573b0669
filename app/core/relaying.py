"""Relays events that this process has committed, at once (docs/relay.md).

When a request that wrote is answered (app/core/middleware.py), in a transaction of its own: nobody who pays waits
for it. Only what is there at that moment; when another relay is at work, or there is a backlog, the scheduler's relay
is told, and it goes on. Without all of this events would come up to 250 ms later, for the scheduler looks by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import asyncpg

from app.core.background import end
from app.core.context import AppContext
from app.core.errors import TesseraError
from app.core.queries import Relayed, hint_relay, relay_events

LIMIT = 5000
"""Events of one turn."""
PAUSE_SECONDS = 0.005
"""Between two turns, at least…"""
EVENTS_PER_SECOND = 100_000
"""… or as much of a second as the events of the last turns are of this: what comes meanwhile goes together…"""
BUSY_PAUSE_SECONDS = 0.1
"""… but no longer."""
HINT_SECONDS = 0.05


class Relay:
    """One for an application: ``context.get(Relay).poke()``."""

    def __init__(self, context: AppContext) -> None:
        self._database = context.database
        self._wanted = False
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._turned = 0.0
        self.asks_for: Callable[[], Sequence[str]] = tuple
        """Channels whose new events are to be told…"""
        self.tell: Callable[[Relayed | None], None] = lambda _: None
        """… to this, after each turn; with nothing where it failed."""
        self.turning = False
        """A turn is under way: readers may hear of it from the database before it is told."""
        context.on_shutdown.append(self.close)

    def poke(self) -> None:
        """There are new events. Waits for nothing, and never fails."""
        self._wanted = True
        if not self._closed and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._work(), name="relay")

    async def close(self) -> None:
        """Relay no more."""
        self._closed = True
        await end(self._task)

    async def _work(self) -> None:
        while self._wanted:
            self._wanted = False
            pause = HINT_SECONDS
            turn: Relayed | None = None
            self.turning = True
            before, self._turned = self._turned, time.monotonic()
            try:
                with suppress(TesseraError, asyncpg.PostgresError):
                    turn = await relay_events(self._database, LIMIT, self.asks_for())
            finally:
                self.turning = False
                self.tell(turn)
            if turn is not None and not turn.busy:
                rate = turn.events / max(self._turned - before, PAUSE_SECONDS)
                pause = min(max(rate / EVENTS_PER_SECOND, PAUSE_SECONDS), BUSY_PAUSE_SECONDS)
            elif turn is not None:
                with suppress(TesseraError, asyncpg.PostgresError):
                    await hint_relay(self._database)
            await asyncio.sleep(pause)
