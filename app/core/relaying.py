"""Relays events that this process has committed, at once (docs/relay.md).

When a request that wrote is answered (app/core/middleware.py), in a transaction of its own: nobody who pays waits
for it. Only what is there at that moment; when another relay is at work, or there is a backlog, the scheduler's relay
is told, and it goes on. Without all of this events would come up to 200 ms later, for the scheduler looks by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import asyncpg

from app.core.background import end
from app.core.context import AppContext
from app.core.errors import TesseraError
from app.core.queries import Relayed, hint_relay, relay_events

LIMIT = 2000
"""Events of one turn."""
PAUSE_SECONDS = 0.005
"""Between two turns…"""
MANY = 32
BUSY_PAUSE_SECONDS = 0.1
"""… and after one with `MANY` events or more: what comes meanwhile goes together, which costs less for each."""
HINT_SECONDS = 0.05


class Relay:
    """One for an application: ``context.get(Relay).poke()``."""

    def __init__(self, context: AppContext) -> None:
        self._database = context.database
        self._wanted = False
        self._closed = False
        self._task: asyncio.Task[None] | None = None
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
            try:
                with suppress(TesseraError, asyncpg.PostgresError):
                    turn = await relay_events(self._database, LIMIT, self.asks_for())
            finally:
                self.turning = False
                self.tell(turn)
            if turn is not None and not turn.busy:
                pause = BUSY_PAUSE_SECONDS if turn.events >= MANY else PAUSE_SECONDS
            elif turn is not None:
                with suppress(TesseraError, asyncpg.PostgresError):
                    await hint_relay(self._database)
            await asyncio.sleep(pause)
