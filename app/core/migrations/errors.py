"""What can go wrong while migrating; the tree is told in the package's docstring."""

from __future__ import annotations


class MigrationError(Exception):
    """The database is not, and was not made, what `sql/` says. What had been committed before stays."""


class SourceError(MigrationError):
    """A file of `sql/` breaks the rules."""


class HistoryError(MigrationError):
    """The files are not what this database was made from."""


class EditedMigrationError(HistoryError):
    """An applied migration was changed afterwards."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"migration {name} was edited after it had been applied here: restore the file and write a new migration"
        )


class MissingMigrationError(HistoryError):
    """A migration was applied whose file is not here."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"migration {name} was applied here but has no file: this database belongs to a newer release")


class OutOfOrderMigrationError(HistoryError):
    """A migration has a lower number than one already applied."""

    def __init__(self, name: str, last: str) -> None:
        self.name = name
        self.last = last
        super().__init__(
            f"migration {name} comes before {last}, which was applied here already: give it a higher number"
        )


class MigrationFailedError(MigrationError):
    """The server refused a statement; that file changed nothing."""

    def __init__(self, path: str, line: int | None, message: str, sqlstate: str, hint: str | None = None) -> None:
        self.path = path
        self.line = line
        self.sqlstate = sqlstate
        where = path if line is None else f"{path}:{line}"
        super().__init__(f"{where}: {message} (SQLSTATE {sqlstate})" + (f". {hint}" if hint else ""))


class MigrationPrivilegeError(MigrationFailedError):
    """The login that migrates lacks a privilege; docs/operations-database.md lists what it needs."""


class MigrationBusyError(MigrationError):
    """Another process migrates, or somebody holds a lock, for longer than we wait. Trying again later is safe."""


class RolePrefixError(MigrationError):
    """The database was made with another TESSERA_ROLE_PREFIX."""

    def __init__(self, expected: str, owner: str) -> None:
        self.expected = expected
        self.owner = owner
        super().__init__(f"schema core belongs to role {owner}, not to {expected}: set TESSERA_ROLE_PREFIX as it was")
