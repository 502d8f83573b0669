"""The runner: compares `sql/` with the bookkeeping and applies what is missing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import msgspec

from app.core.migrations.database import (
    LOCK_KEY,
    Applied,
    Catalogue,
    Connection,
    missing_functions,
    read_applied,
    read_catalogue,
    record_functions,
    record_migration,
)
from app.core.migrations.errors import (
    EditedMigrationError,
    MigrationBusyError,
    MigrationFailedError,
    MigrationPrivilegeError,
    MissingMigrationError,
    OutOfOrderMigrationError,
    RolePrefixError,
)
from app.core.migrations.sources import (
    DEFAULT_PREFIX,
    SQL_DIRECTORY,
    FunctionFile,
    Migration,
    Sources,
    read_sources,
    with_role_prefix,
)

BOOTSTRAP = 1
"""The migration that makes roles and schemas: it runs as the login itself, all later ones as tessera_owner."""
LOCK_TIMEOUT_MS = 3_000
"""How long one statement waits for a lock: behind it everybody else would be waiting too."""
ATTEMPTS = 8
WAIT_SECONDS = 600.0
"""How long to wait for another process that migrates the same database."""
POLL_SECONDS = 0.1
MANUAL = "See docs/operations-database.md for what the login that migrates needs"


class MigrationReport(msgspec.Struct, frozen=True):
    """What `migrate` did: names of migrations, paths of function files, signatures of dropped functions."""

    migrations: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything was to be done."""
        return bool(self.migrations or self.functions or self.dropped)


class Pending(msgspec.Struct, frozen=True):
    """What `migrate` would do. True when that is anything."""

    migrations: tuple[Migration, ...] = ()
    functions: tuple[FunctionFile, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.migrations or self.functions or self.removed)


async def pending(conn: Connection, *, directory: Path = SQL_DIRECTORY) -> Pending:
    """What is still to be applied to this database. Raises HistoryError when the files do not fit it."""
    return _compare(read_sources(directory), await read_applied(conn))


async def migrate(
    conn: Connection,
    *,
    role_prefix: str = DEFAULT_PREFIX,
    directory: Path = SQL_DIRECTORY,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
    wait_seconds: float = WAIT_SECONDS,
) -> MigrationReport:
    """Apply what is pending, one process at a time. Raises MigrationError; each file applies wholly or not at all.

    `conn` must be a session of its own (no transaction open, no transaction-mode pooler between).
    """
    sources = read_sources(directory)
    if not _compare(sources, await read_applied(conn)):
        return MigrationReport()
    async with _alone(conn, wait_seconds):
        todo = _compare(sources, await read_applied(conn))
        await _check_prefix(conn, role_prefix)
        runner = _Runner(conn, role_prefix, lock_timeout_ms)
        for migration in todo.migrations:
            await runner.apply_migration(migration)
        applied = await read_applied(conn)
        assert applied is not None
        report = await runner.apply_functions(todo, sources, applied)
        await runner.make_partitions()
        return report


def _compare(sources: Sources, applied: Applied | None) -> Pending:
    if applied is None:
        return Pending(sources.migrations, sources.functions)
    known = {migration.version: migration for migration in sources.migrations}
    for version, (name, sha256) in applied.migrations.items():
        if version not in known:
            raise MissingMigrationError(name)
        if known[version].sha256 != sha256:
            raise EditedMigrationError(name)
    last = max(applied.migrations, default=0)
    todo = tuple(m for m in sources.migrations if m.version not in applied.migrations)
    if todo and todo[0].version < last:
        raise OutOfOrderMigrationError(todo[0].name, applied.migrations[last][0])
    in_force = {path: record.sha256 for path, record in applied.functions.items()}
    return Pending(
        todo,
        tuple(file for file in sources.functions if in_force.get(file.path) != file.sha256),
        tuple(sorted(in_force.keys() - {file.path for file in sources.functions})),
    )


@contextlib.asynccontextmanager
async def _alone(conn: Connection, wait_seconds: float) -> AsyncIterator[None]:
    """Hold the database's migration lock; it belongs to the session, so a crash lets go of it."""
    deadline = asyncio.get_running_loop().time() + wait_seconds
    while not await conn.fetchval("SELECT pg_catalog.pg_try_advisory_lock($1)", LOCK_KEY):
        if asyncio.get_running_loop().time() > deadline:
            raise MigrationBusyError(f"another process has been migrating this database for {wait_seconds:.0f} s")
        await asyncio.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        if not conn.is_closed():
            await conn.execute("SELECT pg_catalog.pg_advisory_unlock($1)", LOCK_KEY)


async def _check_prefix(conn: Connection, prefix: str) -> None:
    owner = await conn.fetchval("""
        SELECT r.rolname FROM pg_catalog.pg_namespace AS n JOIN pg_catalog.pg_roles AS r ON r.oid = n.nspowner
        WHERE n.nspname = 'core' AND pg_catalog.to_regclass('core.schema_migrations') IS NOT NULL""")
    if owner is not None and owner != f"{prefix}_owner":
        raise RolePrefixError(f"{prefix}_owner", owner)


class _Runner:
    """Applies files over one connection that holds the migration lock."""

    def __init__(self, conn: Connection, prefix: str, lock_timeout_ms: int) -> None:
        self._conn = conn
        self._prefix = prefix
        self._lock_timeout_ms = lock_timeout_ms

    async def apply_migration(self, migration: Migration) -> None:
        async def work() -> None:
            if migration.version != BOOTSTRAP:
                await self._act_as("owner")
            await self._run(migration.sql)
            await self._act_as("owner")
            await record_migration(self._conn, migration)

        await self._transaction(work, f"migrations/{migration.name}.sql", migration.sql)

    async def apply_functions(self, todo: Pending, sources: Sources, applied: Applied) -> MigrationReport:
        """Apply changed files, drop what no file makes any more: all in one transaction."""
        lost = await missing_functions(self._conn, sources, applied)
        changed = [file for file in sources.functions if file in todo.functions or file.path in lost]
        report = MigrationReport(tuple(m.name for m in todo.migrations))
        if not changed and not todo.removed:
            return report

        dropped: list[str] = []

        async def work() -> None:
            dropped.clear()
            before = await read_catalogue(self._conn, f"{self._prefix}_ledger")
            await self._open_schemas(changed)
            await self._act_as("ledger")
            await self._conn.execute("SET LOCAL check_function_bodies = off")
            for file in changed:
                await self._apply_function(file, before, applied)
            after = await read_catalogue(self._conn, f"{self._prefix}_ledger")
            await self._act_as("owner")
            await self._close_schemas(changed)
            dropped.extend(await self._drop_leftovers(before, after, changed, todo.removed, applied))

        await self._transaction(work, "functions", None)
        return msgspec.structs.replace(
            report, functions=tuple(file.path for file in changed), dropped=tuple(sorted(dropped))
        )

    async def make_partitions(self) -> None:
        """Partitions of the coming months. The scheduler does it daily, so a lock that cannot be had is no failure."""
        if not await self._conn.fetchval(
            "SELECT pg_catalog.to_regprocedure('api.make_partitions(interval)') IS NOT NULL"
        ):
            return

        async def work() -> None:
            await self._act_as("ledger")
            await self._conn.execute("SELECT api.make_partitions()")

        with contextlib.suppress(MigrationBusyError):
            await self._transaction(work, "partitions", None)

    async def _apply_function(self, file: FunctionFile, before: Catalogue, applied: Applied) -> None:
        try:
            async with self._conn.transaction():
                await self._run(file.sql)
        except asyncpg.InvalidFunctionDefinitionError as error:
            # Another result type or other parameter names: the server wants the old one dropped first.
            elsewhere = {
                s for path, record in applied.functions.items() if path != file.path for s in record.signatures
            }
            old = [
                r.signature for r in before.routines.values() if r.name in file.defines and r.signature not in elsewhere
            ]
            if not old:
                raise _failure(f"functions/{file.path}", file.sql, error) from error
            try:
                await self._conn.execute(f"DROP ROUTINE {', '.join(old)}")
                await self._run(file.sql)
            except asyncpg.PostgresError as second:
                raise _failure(f"functions/{file.path}", file.sql, second) from second
        except asyncpg.PostgresError as error:
            if _is_transient(error):
                raise
            raise _failure(f"functions/{file.path}", file.sql, error) from error

    async def _drop_leftovers(
        self,
        before: Catalogue,
        after: Catalogue,
        changed: list[FunctionFile],
        removed: tuple[str, ...],
        applied: Applied,
    ) -> list[str]:
        """Drop functions and triggers that these files made before and make no longer; record what they make now."""
        routines, triggers = after.touched_since(before)
        made = {file: [r.signature for r in routines if r.name in file.defines] for file in changed}
        await record_functions(self._conn, made, removed)
        gone = {file.path for file in changed} | set(removed)
        kept = {s for path, record in applied.functions.items() if path not in gone for s in record.signatures}
        kept.update(routine.signature for routine in routines)
        old = {s for path in gone if path in applied.functions for s in applied.functions[path].signatures} - kept
        leftovers = [r for r in after.routines.values() if r.signature in old]
        stale = {r.oid for r in leftovers}
        remade = {r.oid for r in routines}
        for trigger in after.triggers.values():
            if trigger.routine in stale or (trigger.routine in remade and trigger.oid not in triggers):
                await self._conn.execute(f'DROP TRIGGER "{trigger.name}" ON {trigger.table}')
        if leftovers:
            await self._act_as("ledger")
            await self._conn.execute(f"DROP ROUTINE {', '.join(r.signature for r in leftovers)}")
        return [r.signature for r in leftovers]

    async def _open_schemas(self, files: list[FunctionFile]) -> None:
        """Let tessera_ledger make functions and triggers, within this transaction only."""
        await self._act_as("owner")
        await self._run("GRANT CREATE ON SCHEMA core, api TO tessera_ledger")
        for table in sorted({table for file in files for table in file.trigger_tables}):
            await self._run(f"GRANT TRIGGER ON TABLE {table} TO tessera_ledger")

    async def _close_schemas(self, files: list[FunctionFile]) -> None:
        await self._run("REVOKE CREATE ON SCHEMA core, api FROM tessera_ledger")
        for table in sorted({table for file in files for table in file.trigger_tables}):
            await self._run(f"REVOKE TRIGGER ON TABLE {table} FROM tessera_ledger")

    async def _act_as(self, role: str) -> None:
        await self._conn.execute(f"SET LOCAL ROLE {self._prefix}_{role}")

    async def _run(self, sql: str) -> None:
        await self._conn.execute(with_role_prefix(sql, self._prefix))

    async def _transaction(self, work: Callable[[], Awaitable[None]], path: str, sql: str | None) -> None:
        """Run `work` in a transaction, again (a few times) when a lock was not to be had in time."""
        for attempt in range(ATTEMPTS):
            try:
                async with self._conn.transaction():
                    await self._conn.execute(
                        f"SET LOCAL lock_timeout = {self._lock_timeout_ms};"
                        "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;"
                        "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL client_min_messages = warning"
                    )
                    await work()
                return
            except asyncpg.PostgresError as error:
                if not _is_transient(error):
                    raise _failure(path, sql, error) from error
                if attempt == ATTEMPTS - 1:
                    raise MigrationBusyError(f"{path}: no lock in {ATTEMPTS} attempts: {error}") from error
            await asyncio.sleep(POLL_SECONDS * 2**attempt)


def _is_transient(error: asyncpg.PostgresError) -> bool:
    """Whether the same again may succeed: a lock, or another database of the cluster making the same roles."""
    if isinstance(error, asyncpg.LockNotAvailableError | asyncpg.DeadlockDetectedError):
        return True
    if isinstance(error, asyncpg.UniqueViolationError):
        return (error.table_name or "") in (
            "pg_authid",
            "pg_auth_members",
            "pg_db_role_setting",
            "pg_shdescription",
        )
    if isinstance(error, asyncpg.DuplicateObjectError):
        return str(error).startswith("role ")
    return "concurrently updated" in str(error)


def _failure(path: str, sql: str | None, error: asyncpg.PostgresError) -> MigrationFailedError:
    position = error.position if sql is not None else None
    line = sql.count("\n", 0, int(position) - 1) + 1 if sql is not None and position else None
    kind = MigrationPrivilegeError if isinstance(error, asyncpg.InsufficientPrivilegeError) else MigrationFailedError
    hint = MANUAL if kind is MigrationPrivilegeError else error.hint
    return kind(path, line, error.message or str(error), error.sqlstate or "", hint)
