"""`sql/` as one psql script, for a DBA who applies it by hand: the same order, checks and bookkeeping as the runner."""

from __future__ import annotations

from pathlib import Path

from app.core.migrations.sources import DEFAULT_PREFIX, SQL_DIRECTORY, read_sources


def render_script(role_prefix: str = DEFAULT_PREFIX, directory: Path = SQL_DIRECTORY) -> str:
    read_sources(directory)
    raise NotImplementedError
