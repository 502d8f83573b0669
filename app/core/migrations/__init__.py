"""Migrations and functions: brings a database to what `sql/` says, or says what is in the way.

`sql/migrations/NNNN_name.sql` are applied once, in order, each in its own transaction; `sql/functions/**` are applied
again whenever they change, all in one transaction. Any number of processes may call `migrate` at once: one works,
the others wait and find nothing left to do. An up-to-date database costs one query.

    MigrationError                  everything below
      SourceError                   a file of sql/ breaks the rules (name, number, no function in it…)
      HistoryError                  the files are not what this database was made from
        EditedMigrationError        an applied file was changed
        MissingMigrationError       an applied file is gone: the database belongs to a newer release
        OutOfOrderMigrationError    a file came in before one that was applied already
      MigrationFailedError          the server refused a statement; names file and line
      MigrationPrivilegeError       the login may not do what is needed
      MigrationBusyError            another process is migrating, or a lock was not to be had
      RolePrefixError               the database was made with another role prefix
"""

from __future__ import annotations

from app.core.migrations.errors import (
    EditedMigrationError,
    HistoryError,
    MigrationBusyError,
    MigrationError,
    MigrationFailedError,
    MigrationPrivilegeError,
    MissingMigrationError,
    OutOfOrderMigrationError,
    RolePrefixError,
    SourceError,
)
from app.core.migrations.runner import MigrationReport, Pending, migrate, pending
from app.core.migrations.script import render_script
from app.core.migrations.sources import SQL_DIRECTORY, Sources, read_sources

__all__ = [
    "SQL_DIRECTORY",
    "EditedMigrationError",
    "HistoryError",
    "MigrationBusyError",
    "MigrationError",
    "MigrationFailedError",
    "MigrationPrivilegeError",
    "MigrationReport",
    "MissingMigrationError",
    "OutOfOrderMigrationError",
    "Pending",
    "RolePrefixError",
    "SourceError",
    "Sources",
    "migrate",
    "pending",
    "read_sources",
    "render_script",
]
