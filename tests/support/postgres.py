"""The PostgreSQL the tests run on: one server and one migrated template a run, one clone of it a test.

The server is an embedded one that is thrown away afterwards (TESSERA_PG_BIN: another version's binaries), or the one
that DATABASE_URL names, as a login that may make databases and roles: databases `tessera_test_…` come and go there, and
tessera_app and tessera_scheduler get new passwords. Never name one that serves anybody.

Clones are made by copying files, which on a server that never syncs is half as expensive as WAL_LOG. On one that
syncs it would wait for two checkpoints.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import os
import secrets
import shutil
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import msgspec

from app.core.embedded import EmbeddedPostgres
from app.core.migrations import SQL_DIRECTORY, migrate
from app.settings import Settings, load_settings

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

LOGINS: Mapping[str, str] = {
    "app": "tessera_app",
    "scheduler": "tessera_scheduler",
    "dba": "tessera_test_dba",
    "readonly": "tessera_test_readonly",
    "migrator": "tessera_test_migrator",
}
"""Who can log in; `superuser` (the server's own) comes on top. The migrator is a member of owner and ledger."""

DISPOSABLE = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum_naptime": "1h",
    "shared_buffers": "128MB",
}
"""Options of a server whose data nobody will ever need."""

MEMORY_BYTES = 4 * 2**30
"""So much must be free in /dev/shm for the server's data to be there."""

_admins: dict[asyncio.AbstractEventLoop, Connection] = {}
_serial = itertools.count(1)


class ServerInfo(msgspec.Struct, frozen=True):
    """What workers need to know about the run's server; passes from the controller to them as a dict."""

    url: str
    template: str
    password: str
    unsynced: bool

    def url_of(self, database: str, login: str = "superuser") -> str:
        """Connection URL of a database for a key of LOGINS, or for the superuser."""
        parts = urlsplit(self.url)
        if login == "superuser":
            return urlunsplit(parts._replace(path=f"/{database}"))
        host = parts.netloc.rpartition("@")[2]
        user = f"{quote(LOGINS[login])}:{quote(self.password)}"
        return urlunsplit(parts._replace(netloc=f"{user}@{host}", path=f"/{database}"))

    async def create(self, name: str, *, template: str | None = None) -> None:
        """Make a database: a clone of the migrated template, or of another one."""
        admin = await self._admin()
        strategy = "FILE_COPY" if self.unsynced else "WAL_LOG"
        await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template or self.template}" STRATEGY {strategy}')

    async def drop(self, name: str) -> None:
        """Drop a database and whoever is connected to it."""
        admin = await self._admin()
        await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def _admin(self) -> Connection:
        """This event loop's connection for making and dropping databases."""
        loop = asyncio.get_running_loop()
        admin = _admins.get(loop)
        if admin is None or admin.is_closed():
            admin = _admins[loop] = await asyncpg.connect(self.url)
        return admin


def _memory() -> Path | None:
    """A folder in memory with room for the run, if there is one: clones are made ten times as fast there."""
    folder = Path("/dev/shm")  # noqa: S108 (mkdtemp makes a private folder in it)
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)) or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return None
    return folder if shutil.disk_usage(folder).free >= MEMORY_BYTES else None


@contextmanager
def run_server() -> Iterator[str]:
    """The server of this run: URL of its superuser."""
    settings = load_settings(dotenv=None)
    if settings.database_url is not None:
        yield settings.database_url
        return
    folder = Path(tempfile.mkdtemp(prefix="tessera-test-", dir=_memory()))
    folder.chmod(0o755)
    password = secrets.token_urlsafe(16)
    server = EmbeddedPostgres(
        folder / "data",
        superuser_password=password,
        pg_bin=settings.pg_bin,
        account=settings.pg_user,
        options=DISPOSABLE,
    )
    try:
        server.start()
        url = server.superuser_url("postgres")
        asyncio.run(_keep_cheaper(url, password))
        yield url
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def _keep_cheaper(url: str, password: str) -> None:
    """Of our own superuser only: whoever else's keep theirs as they are."""
    conn = await asyncpg.connect(url)
    await conn.execute(f"ALTER ROLE CURRENT_USER PASSWORD '{verifier_of(password)}'")
    await conn.close()


async def prepare(url: str) -> ServerInfo:
    """Make the template and the logins. Once a run."""
    admin = await asyncpg.connect(url)
    unsynced = await admin.fetchval("SHOW fsync") == "off"
    await admin.close()
    info = ServerInfo(url, unique_name("template"), secrets.token_urlsafe(16), unsynced)
    await info.create(info.template, template="template0")
    conn = await asyncpg.connect(info.url_of(info.template))
    try:
        # ./run mutants: the suite on functions with a mistake in them
        await migrate(conn, directory=Path(os.environ.get("TESSERA_TEST_SQL", SQL_DIRECTORY)))
        for login in LOGINS.values():
            if not await conn.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", login):
                await conn.execute(f"CREATE ROLE {login}")
            await conn.execute(f"ALTER ROLE {login} LOGIN PASSWORD '{verifier_of(info.password)}'")
        await conn.execute("GRANT tessera_dba TO tessera_test_dba")
        await conn.execute("GRANT tessera_readonly TO tessera_test_readonly")
        await conn.execute("GRANT tessera_owner, tessera_ledger TO tessera_test_migrator")
    finally:
        await conn.close()
        await release()
    return info


def verifier_of(password: str) -> str:
    """What PostgreSQL keeps of a password, made in one iteration instead of 4096: each test signs in some times.

    RFC 5803 (format), RFC 5802 (keys).
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    keys = [b64encode(key).decode() for key in (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))]
    return f"SCRAM-SHA-256$1:{keys[0]}${keys[1]}:{keys[2]}"


async def discard(info: ServerInfo) -> None:
    """Drop the template of a run (which matters where the server stays)."""
    await info.drop(info.template)
    await release()


async def release() -> None:
    """Give back what this event loop keeps for making and dropping databases."""
    admin = _admins.pop(asyncio.get_running_loop(), None)
    if admin is not None:
        await admin.close(timeout=5)


def unique_name(what: str) -> str:
    """A database name that no other worker, run or test uses."""
    return f"tessera_test_{what}_{os.getpid()}_{next(_serial)}_{secrets.token_hex(3)}"


class Clone:
    """One test's own database."""

    def __init__(self, info: ServerInfo, name: str) -> None:
        self.info = info
        self.name = name
        self._open: list[Connection] = []

    def url(self, login: str = "superuser") -> str:
        """Connection URL for `superuser` or a key of LOGINS."""
        return self.info.url_of(self.name, login)

    async def connect(self, login: str = "superuser", **options: str) -> Connection:
        """A connection of its own, closed when the test ends. `options` are session settings."""
        conn: Connection = await asyncpg.connect(self.url(login), server_settings=options)
        self._open.append(conn)
        return conn

    async def close(self) -> None:
        """Close what `connect` opened."""
        while self._open:
            conn = self._open.pop()
            if not conn.is_closed():
                await conn.close(timeout=5)

    def settings(self, **changes: object) -> Settings:
        """Settings of a service on this database, as development would have them."""
        base = Settings(
            database_url=self.url("app"),
            migrate_url=self.url(),
            token_secret="not-used-outside-of-the-tests-0123456789",
            pool_min=1,
            pool_max=5,
            log_level="error",
        )
        return msgspec.structs.replace(base, **changes)


async def violations(conn: Connection) -> list[str]:
    """What the auditor has to say; nothing while there is none."""
    if await conn.fetchval("SELECT to_regprocedure('api.audit_ledger()') IS NULL"):
        return []
    return [str(dict(row)) for row in await conn.fetch("SELECT * FROM api.audit_ledger()")]
