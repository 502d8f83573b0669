"""Hears from the database whose rights changed, so that verified credentials can be remembered safely.

Triggers on users, sessions and API keys run ``pg_notify('tessera_auth', user_id)`` in the transaction that changes
them (also when a DBA does it in psql). Each process listens on one connection of its own and forgets what it knew of
that user. The cache is trusted only while that connection has just proved to be alive (``TRUST_SECONDS``); after any
gap everything is forgotten before it is trusted again.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from app.core.auth import Authenticator
from app.core.database import Database
from app.core.metrics import DATABASE_UP

CHANNEL = "tessera_auth"
BEAT_SECONDS = 1.0
BEAT_TIMEOUT_SECONDS = 2.0
TRUST_SECONDS = 3.5
RETRY_SECONDS = 0.5

log = structlog.get_logger("tessera.revocation")


class RevocationListener:
    """One task that listens, proves that it hears, and starts over whenever it does not."""

    def __init__(self, database: Database, auth: Authenticator) -> None:
        self._database = database
        self._auth = auth
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._run(), name="revocation-listener")

    async def stop(self) -> None:
        """End; the cache is not trusted any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._auth.trusted_until = 0.0

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except (
                TimeoutError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
                OSError,
            ) as exc:
                log.warning("revocations_not_heard", reason=repr(exc))
            DATABASE_UP.set(0)
            self._auth.trusted_until = 0.0
            self._auth.forget_all()
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        connection = await self._database.engine.get_new_connection()
        try:
            await connection.add_listener(CHANNEL, self._changed)
            self._auth.forget_all()
            while True:
                asked = time.monotonic()
                await connection.execute("SELECT 1", timeout=BEAT_TIMEOUT_SECONDS)
                DATABASE_UP.set(1)
                self._auth.trusted_until = asked + TRUST_SECONDS
                await asyncio.sleep(BEAT_SECONDS)
        finally:
            connection.terminate()

    def _changed(self, _connection: Any, _pid: int, _channel: str, payload: Any) -> None:
        try:
            user_id = UUID(payload)
        except ValueError:
            self._auth.forget_all()
            return
        self._auth.forget_user(user_id)
