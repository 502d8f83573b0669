"""The database, as the rest of the application sees it: one pool, owned by Piccolo's engine.

``Database`` runs SQL with bounded waiting and turns whatever the driver raises into the tree of app/core/errors.py.
It starts without a database, says so on readiness, answers 503 meanwhile, and recovers by itself.

Where time may be lost, and the bound on it:

- getting a connection: ``ACQUIRE_SECONDS`` (a pool that is exhausted, a server that drops packets);
- a statement: ``statement_timeout`` and ``lock_timeout`` in the server, and a little later ``command_timeout`` here,
  for a server that does not answer any more; the connection is thrown away then, because nothing is known about it.

Connections are handed back without a reset query: nothing here changes session state (transactions use SET LOCAL),
and the round trip would cost a third of the statements per second. Only app/**/queries.py name SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import asyncpg
import msgspec
import structlog
from piccolo.engine.postgres import PostgresEngine
from piccolo.query.base import Query

from app.core.errors import TesseraError, error, translate
from app.settings import Settings

Connection = asyncpg.pool.PoolConnectionProxy
T = TypeVar("T", bound=msgspec.Struct)

ACQUIRE_SECONDS = 3.0
CONNECT_SECONDS = 3.0
COMMAND_SLACK_SECONDS = 2.0
RELEASE_SECONDS = 2.0
CLOSE_SECONDS = 5.0

log = structlog.get_logger("tessera.database")


class _Connection(asyncpg.Connection):
    """A connection without a reset query; an open transaction is still rolled back when it is handed back."""

    def get_reset_query(self) -> str:
        return ""


class _QuietEngine(PostgresEngine):
    """Piccolo's engine without its habit of connecting when it is made."""

    async def check_version(self) -> None:
        pass

    async def prep_database(self) -> None:
        pass


class Engine(_QuietEngine):
    """Piccolo's engine with our pool in it. ``config`` is that of one connection, ``pool_config`` that of the pool."""

    def __init__(self, config: dict[str, Any], pool_config: dict[str, Any]) -> None:
        super().__init__(config=config)
        self.pool_config = pool_config

    async def start_connection_pool(self, **kwargs: Any) -> None:
        self.pool = await asyncpg.create_pool(**{**self.config, **self.pool_config, **kwargs})


_current: ContextVar[Engine | None] = ContextVar("tessera_engine", default=None)
_last: Engine | None = None


class CurrentEngine(_QuietEngine):
    """What Piccolo tables are bound to: the engine of the running application (of this context, if there are many)."""

    @property
    def pool(self) -> Any:
        engine = _current.get() or _last
        return engine.pool if engine is not None else None

    @pool.setter
    def pool(self, value: Any) -> None:
        if value is not None:
            raise RuntimeError("the pool belongs to Database")

    async def get_new_connection(self) -> Any:
        raise error("DATABASE_UNAVAILABLE", "No pool is open.")


ENGINE = CurrentEngine(config={})
"""Give it to every Piccolo table: ``class User(Table, tablename="users", schema="core", db=ENGINE)``."""


def login_of(dsn: str) -> str:
    """The user name in a database URL ('' when it leaves it to the environment)."""
    return unquote(urlsplit(dsn).username or "")


def server_settings(settings: Settings, application_name: str = "tessera-api") -> dict[str, str]:
    """Session settings sent while connecting. The rights are always those of the app role, whoever logs in."""
    role = f"{settings.role_prefix}_app"
    session = {
        "application_name": application_name,
        "statement_timeout": str(settings.statement_timeout_ms),
        "lock_timeout": str(settings.lock_timeout_ms),
        "idle_in_transaction_session_timeout": "30000",
        "timezone": "UTC",
        "jit": "off",
    }
    if login_of(settings.database_url or "") != role:
        session["role"] = role
    return session


class Database:
    """The pool and the few ways to use it. Safe to share; one per application."""

    def __init__(self, settings: Settings) -> None:
        if settings.database_url is None:
            raise ValueError("DATABASE_URL is not set and no embedded server was started")
        self._min_size = min(settings.pool_min, settings.pool_max)
        statement_seconds = settings.statement_timeout_ms / 1000
        self.engine = Engine(
            config={
                "dsn": settings.database_url,
                "timeout": CONNECT_SECONDS,
                "command_timeout": statement_seconds + COMMAND_SLACK_SECONDS if statement_seconds else None,
                "connection_class": _Connection,
                "server_settings": server_settings(settings),
            },
            pool_config={
                "min_size": 0,
                "max_size": settings.pool_max,
                "max_inactive_connection_lifetime": 0,
                "max_queries": 1_000_000,
            },
        )

    async def open(self) -> None:
        """Make the pool. Needs no database: connections are made when they are first needed."""
        global _last
        await self.engine.start_connection_pool()
        _last = self.engine
        try:
            await asyncio.gather(*(self.fetchval("SELECT 1") for _ in range(self._min_size)))
        except TesseraError as exc:
            log.warning("database_unavailable", reason=repr(exc.__cause__ or exc))

    async def close(self) -> None:
        """Wait for the connections in use, then close; after ``CLOSE_SECONDS`` cut what is left."""
        global _last
        pool, self.engine.pool = self.engine.pool, None
        if _last is self.engine:
            _last = None
        if pool is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await pool.close()
            except (TimeoutError, asyncpg.InterfaceError, OSError):
                pool.terminate()

    def bind(self) -> None:
        """Make Piccolo tables of this context use this database. Only needed where a process has several."""
        _current.set(self.engine)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of the pool; every error of the driver inside becomes one of the tree."""
        pool = self.engine.pool
        if pool is None:
            raise error("DATABASE_UNAVAILABLE", "The pool is closed.")
        try:
            connection = await pool.acquire(timeout=ACQUIRE_SECONDS)
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as exc:
            if (
                isinstance(exc, asyncio.TimeoutError)
                and pool.get_idle_size() == 0
                and pool.get_size() == pool.get_max_size()
            ):
                raise error("DATABASE_BUSY", "All connections are in use.") from exc
            raise translate(exc) or error("DATABASE_UNAVAILABLE") from exc
        try:
            yield connection
        except TimeoutError as exc:
            connection.terminate()
            raise error("DATABASE_UNAVAILABLE", "The database did not answer in time.") from exc
        except asyncpg.InternalClientError as exc:
            # The server ended the idle connection, and the driver has seen its last words but not yet its end.
            connection.terminate()
            raise error("DATABASE_UNAVAILABLE", "The connection to the database was lost.") from exc
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as exc:
            translated = translate(exc)
            if translated is None:
                raise
            raise translated from exc
        finally:
            await _release(pool, connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection inside a transaction: commits on leaving, rolls back on an exception."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        """All rows of a query."""
        async with self.connection() as connection:
            return await connection.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None:
        """The first row, or None."""
        async with self.connection() as connection:
            return await connection.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        async with self.connection() as connection:
            return await connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> int:
        """Run a statement; the number of rows it touched."""
        async with self.connection() as connection:
            status: str = await connection.execute(sql, *args)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def fetch_as(self, row_type: type[T], sql: str, *args: Any) -> list[T]:
        """All rows as structs of the type; columns are matched by name."""
        return [row_type(**row) for row in await self.fetch(sql, *args)]

    async def fetch_one_as(self, row_type: type[T], sql: str, *args: Any) -> T | None:
        """The first row as a struct of the type, or None."""
        row = await self.fetchrow(sql, *args)
        return None if row is None else row_type(**row)

    async def run(self, query: Query[Any, Any], row_type: type[T]) -> list[T]:
        """A query built with Piccolo (``User.select(...)``), its rows as structs."""
        sql, args = query.querystrings[0].compile_string()
        return await self.fetch_as(row_type, sql, *args)

    async def is_ready(self) -> bool:
        """Can a statement be run now?"""
        try:
            return bool(await self.fetchval("SELECT 1") == 1)
        except TesseraError:
            return False


async def _release(pool: Any, connection: Any) -> None:
    """Hand a connection back. A server that went silent must not hold us up: the connection is cut instead."""
    try:
        await pool.release(connection, timeout=RELEASE_SECONDS)
    except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as exc:
        log.debug("connection_dropped", reason=repr(exc))


def as_rows(records: Sequence[asyncpg.Record], row_type: type[T]) -> list[T]:
    """Records as structs of the type, for reads that used a connection of their own."""
    return [row_type(**record) for record in records]
