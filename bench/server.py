"""What the benchmarks run on: a durable embedded PostgreSQL of their own, or the server that DATABASE_URL names."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import statistics
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec

from app.core.embedded import EmbeddedPostgres, find_installation
from app.core.migrations import migrate
from app.settings import load_settings

SEASON_SEGMENTS = 64
"""WAL segments made before a measurement: 1 GiB, more than a run writes."""

ID_BASE = 100_000_000_000

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
T = TypeVar("T")


class Bench(msgspec.Struct, frozen=True):
    """The server of this run, by the URL of a superuser."""

    url: str

    def url_of(self, database: str) -> str:
        """URL of one of its databases."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{database}"))

    def on(self, database: str, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The result of work on a connection."""

        async def connected() -> T:
            connection = await asyncpg.connect(self.url_of(database))
            try:
                return await work(connection)
            finally:
                await connection.close()

        return asyncio.run(connected())

    def program(self, name: str) -> str:
        """A client program (pgbench, psql)."""
        return find_installation(load_settings(dotenv=None).pg_bin).program(name)


@contextmanager
def bench_server() -> Iterator[Bench]:
    """A server with the settings of `tessera up` (fsync, full_page_writes, synchronous_commit on)."""
    settings = load_settings(dotenv=None)
    if settings.database_url is not None:
        yield Bench(settings.database_url)
        return
    folder = Path(tempfile.mkdtemp(prefix="tessera-bench-"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(
        folder / "data",
        superuser_password=secrets.token_urlsafe(16),
        pg_bin=settings.pg_bin,
        account=settings.pg_user,
    )
    try:
        server.start()
        yield Bench(server.superuser_url("postgres"))
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def database(bench: Bench, *, migrated: bool = True) -> Iterator[str]:
    """A database of this run, dropped afterwards."""
    name = f"tessera_bench_{os.getpid()}_{secrets.token_hex(3)}"

    async def create(connection: Connection) -> None:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')

    async def drop(connection: Connection) -> None:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def build(connection: Connection) -> None:
        await migrate(connection)

    bench.on(_maintenance(bench), create)
    try:
        if migrated:
            bench.on(name, build)
        yield name
    finally:
        bench.on(_maintenance(bench), drop)


def _maintenance(bench: Bench) -> str:
    return urlsplit(bench.url).path.lstrip("/") or "postgres"


async def fund(connection: Connection, users: int, creators: int, balance: int) -> None:
    """People numbered from 1 with wallets of known ids, funded out of issuance by transfers, then analysed.

    The ids end in 100000000000 + number (``ID_BASE``): of fixed width, so that a script can write them as literals.
    """
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(
            """
            INSERT INTO core.users (id, email, username, display_name, roles)
            SELECT ('00000000-0000-7000-9000-' || (100000000000 + g)::text)::uuid,
                   'u' || g || '@bench.invalid', 'u' || g, 'U',
                   CASE WHEN g <= $2 THEN '{creator}'::text[] ELSE '{}'::text[] END
            FROM generate_series(1, $1::integer) AS g
            """,
            users,
            creators,
        )
        await connection.execute(
            """
            INSERT INTO core.wallets (id, owner_id, asset)
            SELECT ('00000000-0000-7000-8000-' || (100000000000 + g)::text)::uuid,
                   ('00000000-0000-7000-9000-' || (100000000000 + g)::text)::uuid, 'TOKEN'
            FROM generate_series(1, $1::integer) AS g
            """,
            users,
        )
    for first in range(1, users + 1, 1000):
        refused = await connection.fetchval(
            """
            SELECT count(*) FROM api.transfer_batch(ARRAY(
                SELECT ROW(i.id, ('00000000-0000-7000-8000-' || (100000000000 + g)::text)::uuid, NULL, $3::bigint,
                           'TOKEN', 'grant', NULL, NULL, NULL, NULL, NULL)::api.transfer_request
                FROM generate_series($1::integer, least($1 + 999, $2::integer)) AS g,
                     (SELECT w.id FROM core.wallets AS w WHERE w.purpose = 'issuance' AND w.shard = 0) AS i
            )) AS t WHERE t.error_code IS NOT NULL
            """,
            first,
            users,
            balance,
        )
        assert refused == 0
    await connection.execute("VACUUM (FREEZE, ANALYZE)")
    await season(connection)


async def season(connection: Connection) -> None:
    """A server past its first gigabyte: WAL segments that a checkpoint recycled, instead of new ones.

    A new segment is written with zeros and flushed by the backend that needs it, 30 to 60 ms each; once a server has
    seen some checkpoints it hardly makes any.
    """
    for _ in range(SEASON_SEGMENTS):
        await connection.execute("SELECT pg_logical_emit_message(false, 'bench', ''), pg_switch_wal()")
    await connection.execute("CHECKPOINT")


def spread(values: Sequence[float]) -> str:
    """Median and range of what the rounds gave: how far this machine is to be trusted now."""
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})"


def machine() -> str:
    """The machine, and what else it does."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f"{os.cpu_count()} cores, load average {load:.2f} before the run"
