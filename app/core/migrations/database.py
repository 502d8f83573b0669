"""What the runner asks and tells the database: bookkeeping, roles, and which functions and triggers there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import asyncpg
import msgspec

from app.core.migrations.sources import FunctionFile, Migration, Sources

Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"

LOCK_KEY = 0x7E55_E12A_0001
"""The advisory lock of all that migrate one database (advisory locks are per database)."""


class FunctionRecord(msgspec.Struct, frozen=True):
    """A function file as applied here, and the functions it made."""

    sha256: str
    signatures: tuple[str, ...]


class Applied(msgspec.Struct, frozen=True):
    """The bookkeeping: what was applied to this database."""

    migrations: dict[int, tuple[str, str]]
    """Version to (name, sha256)."""
    functions: dict[str, FunctionRecord]


class Routine(msgspec.Struct, frozen=True):
    """A function as the catalogue has it; `stamp` changes whenever it is replaced."""

    oid: int
    name: str
    signature: str
    stamp: str


class Trigger(msgspec.Struct, frozen=True):
    """A trigger as the catalogue has it."""

    oid: int
    name: str
    table: str
    routine: int
    stamp: str


class Catalogue(msgspec.Struct, frozen=True):
    """The functions that tessera_ledger owns, and all triggers, by object id."""

    routines: dict[int, Routine]
    triggers: dict[int, Trigger]

    def touched_since(self, before: Catalogue) -> tuple[list[Routine], set[int]]:
        """Functions and ids of triggers that were made or replaced since `before`."""
        routines = [
            r for oid, r in self.routines.items() if oid not in before.routines or before.routines[oid].stamp != r.stamp
        ]
        triggers = {
            oid
            for oid, t in self.triggers.items()
            if oid not in before.triggers or before.triggers[oid].stamp != t.stamp
        }
        return routines, triggers


async def read_applied(conn: Connection) -> Applied | None:
    """The bookkeeping in one query; None where there is none: an empty database."""
    try:
        rows = await conn.fetch("""
            SELECT m.version, m.name, m.sha256, NULL AS signatures FROM core.schema_migrations AS m
            UNION ALL
            SELECT NULL, f.path, f.sha256, f.signatures FROM core.schema_functions AS f
            ORDER BY 1, 2""")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return None
    return Applied(
        {row["version"]: (row["name"], row["sha256"]) for row in rows if row["version"] is not None},
        {
            row["name"]: FunctionRecord(row["sha256"], tuple(row["signatures"]))
            for row in rows
            if row["version"] is None
        },
    )


async def read_catalogue(conn: Connection, ledger: str) -> Catalogue:
    """The functions of `ledger` in our schemas, and the triggers on our tables."""
    routines = await conn.fetch(
        """
        SELECT p.oid, n.nspname || '.' || p.proname AS name,
            p.oid::regprocedure::text AS signature, p.ctid::text AS stamp
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE n.nspname IN ('core', 'api') AND p.proowner = (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = $1)""",
        ledger,
    )
    triggers = await conn.fetch("""
        SELECT t.oid, t.tgname AS name, t.tgrelid::regclass::text AS table, t.tgfoid AS routine, t.ctid::text AS stamp
        FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE NOT t.tgisinternal AND n.nspname IN ('core', 'api')""")
    return Catalogue(
        {row["oid"]: Routine(**dict(row)) for row in routines},
        {row["oid"]: Trigger(**dict(row)) for row in triggers},
    )


async def record_migration(conn: Connection, migration: Migration) -> None:
    """Note, in the migration's own transaction, that it was applied."""
    await conn.execute(
        "INSERT INTO core.schema_migrations (version, name, sha256) VALUES ($1, $2, $3)",
        migration.version,
        migration.name,
        migration.sha256,
    )


async def record_functions(conn: Connection, signatures: dict[FunctionFile, list[str]], removed: Iterable[str]) -> None:
    """Note which files are in force now, and forget those that are gone."""
    await conn.executemany(
        """
        INSERT INTO core.schema_functions (path, sha256, signatures) VALUES ($1, $2, $3)
        ON CONFLICT (path) DO UPDATE
        SET sha256 = excluded.sha256, signatures = excluded.signatures, applied_at = now()""",
        [(file.path, file.sha256, sorted(made)) for file, made in signatures.items()],
    )
    await conn.execute("DELETE FROM core.schema_functions WHERE path = ANY ($1)", list(removed))


async def missing_functions(conn: Connection, sources: Sources, applied: Applied) -> set[str]:
    """Paths in force whose functions are gone from the database (a migration dropped a type they used)."""
    rows = await conn.fetch("""
        SELECT f.path FROM core.schema_functions AS f
        WHERE EXISTS (SELECT FROM unnest(f.signatures) AS s (name) WHERE to_regprocedure(s.name) IS NULL)""")
    return {row["path"] for row in rows} & applied.functions.keys() & {file.path for file in sources.functions}
