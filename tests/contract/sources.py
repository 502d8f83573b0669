"""What the contract tests read: the function files, without comments."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import msgspec

from app.core.migrations import SQL_DIRECTORY, read_sources
from app.settings import PROJECT_ROOT

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_STRING = re.compile(r"'(?:[^']|'')*'")


class FunctionSource(msgspec.Struct, frozen=True):
    """One file of `sql/functions`."""

    path: str
    name: str
    """Qualified name of the function it is for."""
    header: str
    """The comment above it, one line, without dashes."""
    code: str
    """Without comments."""

    @property
    def bare_code(self) -> str:
        """Without comments and strings."""
        return _STRING.sub("''", self.code)


@cache
def function_sources() -> tuple[FunctionSource, ...]:
    """All function files."""
    found = []
    for file in read_sources().functions:
        head = re.match(r"(?:--[^\n]*\n)*", file.sql)
        header = re.sub(r"\s+", " ", (head[0] if head else "").replace("--", " "))
        (name,) = file.defines if len(file.defines) == 1 else (", ".join(sorted(file.defines)),)
        found.append(FunctionSource(file.path, name, header.strip(), _COMMENT.sub(" ", file.sql)))
    return tuple(found)


def sql_files() -> list[Path]:
    """Every file below `sql/`."""
    return sorted(SQL_DIRECTORY.rglob("*.sql"))


def without_comments(path: Path) -> str:
    """The SQL of a file, without comments and strings."""
    return _STRING.sub("''", _COMMENT.sub(" ", path.read_text()))


def documentation(name: str) -> str:
    """A file below `docs/`."""
    return (PROJECT_ROOT / "docs" / name).read_text()
