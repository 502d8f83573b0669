"""Reading `sql/`: which migrations and function files there are, in which order they go, for which role names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import msgspec

from app.core.migrations.errors import SourceError

SQL_DIRECTORY = Path(__file__).resolve().parents[3] / "sql"
DEFAULT_PREFIX = "tessera"

_MIGRATION_NAME = re.compile(r"(\d{4})_[a-z0-9_]+")
_ROLE = re.compile(r"\btessera_(owner|ledger|app|scheduler|dba|readonly)\b")
_NOT_CODE = re.compile(
    r"--[^\n]*"  # comment
    r"|/\*.*?\*/"  # comment, not nested
    r"|'(?:[^']|'')*'"  # string
    r"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$",  # dollar-quoted string: a function's body
    re.DOTALL,
)
_DEFINES = re.compile(r"\bCREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE)\s+((?:core|api)\.\w+)", re.IGNORECASE)
_REFERS = re.compile(r"\b((?:core|api)\.\w+)\s*\(", re.IGNORECASE)
_TRIGGER_TABLE = re.compile(
    r"\bCREATE\s+(?:OR\s+REPLACE\s+)?TRIGGER\s+\w+\s[^;]*?\bON\s+((?:core|api)\.\w+)", re.IGNORECASE
)
_TRANSACTION_CONTROL = re.compile(
    r"(?:^|;)\s*(BEGIN|START\s+TRANSACTION|COMMIT|ROLLBACK)\s*(?:;|WORK|TRANSACTION)", re.IGNORECASE
)


class Migration(msgspec.Struct, frozen=True):
    """One file of `sql/migrations`."""

    version: int
    name: str
    sha256: str
    sql: str


class FunctionFile(msgspec.Struct, frozen=True):
    """One file of `sql/functions`; `path` is relative to that folder."""

    path: str
    sha256: str
    sql: str
    defines: frozenset[str]
    needs: frozenset[str]
    """Functions that must be there when this file is applied: named outside of quoted bodies."""
    trigger_tables: frozenset[str]


class Sources(msgspec.Struct, frozen=True):
    """All of `sql/`, in the order in which it is applied."""

    migrations: tuple[Migration, ...]
    functions: tuple[FunctionFile, ...]


def read_sources(directory: Path = SQL_DIRECTORY) -> Sources:
    """Read and check the files below `directory`. Raises SourceError."""
    return Sources(_read_migrations(directory / "migrations"), _read_functions(directory / "functions"))


def with_role_prefix(sql: str, prefix: str) -> str:
    """The same SQL for a cluster in which the roles are called `<prefix>_owner`, `<prefix>_ledger`…"""
    return sql if prefix == DEFAULT_PREFIX else _ROLE.sub(rf"{prefix}_\1", sql)


def _read_migrations(folder: Path) -> tuple[Migration, ...]:
    migrations: dict[int, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _MIGRATION_NAME.fullmatch(path.stem)
        if match is None or int(match[1]) == 0:
            raise SourceError(f"migrations/{path.name}: the name must be like 0007_what_it_does.sql")
        version = int(match[1])
        if version in migrations:
            raise SourceError(f"migrations/{path.name}: {migrations[version].name}.sql has the same number")
        sql, sha256 = _read(path, f"migrations/{path.name}")
        migrations[version] = Migration(version, path.stem, sha256, sql)
    if not migrations:
        raise SourceError(f"no migrations in {folder}")
    if next(iter(migrations)) != 1:
        raise SourceError("the first migration must have the number 0001")
    return tuple(migrations.values())


def _read_functions(folder: Path) -> tuple[FunctionFile, ...]:
    files = [_read_function(path, path.relative_to(folder).as_posix()) for path in sorted(folder.rglob("*.sql"))]
    return _in_order(sorted(files, key=lambda file: (not file.path.startswith("core/"), file.path)))


def _read_function(path: Path, name: str) -> FunctionFile:
    sql, sha256 = _read(path, f"functions/{name}")
    code = _NOT_CODE.sub(" ", sql)
    defines = frozenset(found.lower() for found in _DEFINES.findall(code))
    if not defines:
        raise SourceError(f"functions/{name}: there is no CREATE OR REPLACE FUNCTION core.… or api.… in it")
    return FunctionFile(
        path=name,
        sha256=sha256,
        sql=sql,
        defines=defines,
        needs=frozenset(found.lower() for found in _REFERS.findall(code)) - defines,
        trigger_tables=frozenset(found.lower() for found in _TRIGGER_TABLE.findall(code)),
    )


def _in_order(files: Iterable[FunctionFile]) -> tuple[FunctionFile, ...]:
    home: dict[str, FunctionFile] = {}
    graph: TopologicalSorter[str] = TopologicalSorter()
    by_path = {file.path: file for file in files}
    for file in by_path.values():
        for name in file.defines:
            if name in home:
                raise SourceError(f"functions/{file.path}: {name} is in functions/{home[name].path} already")
            home[name] = file
    for file in by_path.values():
        graph.add(file.path, *(home[name].path for name in sorted(file.needs) if name in home))
    try:
        return tuple(by_path[path] for path in graph.static_order())
    except CycleError as error:
        raise SourceError(f"functions need each other outside of their bodies: {' → '.join(error.args[1])}") from error


def _read(path: Path, name: str) -> tuple[str, str]:
    data = path.read_bytes()
    try:
        sql = data.decode()
    except UnicodeDecodeError as error:
        raise SourceError(f"{name}: not UTF-8: {error}") from error
    control = _TRANSACTION_CONTROL.search(_NOT_CODE.sub(" ", sql))
    if control is not None:
        raise SourceError(f"{name}: {control[1].upper()} is not allowed: each file is one transaction already")
    return sql, hashlib.sha256(data).hexdigest()
