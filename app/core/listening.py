"""One connection of this process that hears what the database notifies, and knows when it does not.

Whoever wants to hear a channel says so before it starts: ``heard`` gets each payload, ``missed`` is called whenever
notifications may have been lost (the connection is new, or was), and ``alive`` every second with the monotonic time
until which it is sure that everything arrives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from app.core.background import end
from app.core.database import Database
from app.core.metrics import DATABASE_UP

BEAT_SECONDS = 1.0
BEAT_TIMEOUT_SECONDS = 2.0
TRUST_SECONDS = 3.5
RETRY_SECONDS = 0.5

log = structlog.get_logger("tessera.listening")


def _nothing(_until: float) -> None:
    pass


class Hearer(msgspec.Struct, frozen=True):
    """What somebody wants to hear."""

    channel: str
    heard: Callable[[str], None]
    missed: Callable[[], None]
    alive: Callable[[float], None] = _nothing


class Listener:
    """One task that listens, proves that it hears, and starts over whenever it does not."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._hearers: list[Hearer] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, hearer: Hearer) -> None:
        """Hear a channel; before `start`."""
        self._hearers.append(hearer)

    async def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._run(), name="listener")

    async def stop(self) -> None:
        """End; nothing is heard any more."""
        await end(self._task)
        self._alive(0.0)

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as exc:  # whatever it is: who hears nothing for ever would not know it
                log.warning("notifications_not_heard", reason=repr(exc))
            DATABASE_UP.set(0)
            self._alive(0.0)
            self._missed()
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        connection = await self._database.engine.get_new_connection()
        try:
            for hearer in self._hearers:
                await connection.add_listener(hearer.channel, self._told(hearer))
            self._missed()
            while True:
                asked = time.monotonic()
                await connection.execute("SELECT 1", timeout=BEAT_TIMEOUT_SECONDS)
                DATABASE_UP.set(1)
                self._alive(asked + TRUST_SECONDS)
                await asyncio.sleep(BEAT_SECONDS)
        finally:
            connection.terminate()

    @staticmethod
    def _told(hearer: Hearer) -> Callable[[Any, int, str, Any], None]:
        def told(_connection: Any, _pid: int, _channel: str, payload: Any) -> None:
            hearer.heard(str(payload))

        return told

    def _alive(self, until: float) -> None:
        for hearer in self._hearers:
            hearer.alive(until)

    def _missed(self) -> None:
        for hearer in self._hearers:
            hearer.missed()
