"""docs/schema.sql: the schema that `sql/` makes on an empty database, as pg_dump writes it.

`./run schema-dump` writes it, tests/contract/test_schema_dump.py compares. What differs from one machine or day to
the next (versions, session settings, the random key of `\\restrict`, the partitions of months) is left out.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

from app.core.embedded import find_installation
from app.settings import load_settings
from tests.support.postgres import discard, prepare, run_server

PARTITIONS = "core.*_p20[0-9][0-9]_[0-9][0-9]"
"""Partitions of months: each day has its own."""
SCHEMA_FILE = Path(__file__).resolve().parent.parent / "docs" / "schema.sql"

HEADER = """\
-- The schema as the migrations and functions of sql/ make it. Written by ./run schema-dump; do not edit.

"""
_NOISE = re.compile(
    r"^(--|-- (Dumped|Name:|PostgreSQL database dump).*|\\(un)?restrict .*|SET .*|SELECT pg_catalog\.set_config.*)$\n?",
    re.MULTILINE,
)


def dump(url: str) -> str:
    """The schema of a database, normalised. Needs a pg_dump no older than the server."""
    program = find_installation(load_settings(dotenv=None).pg_bin).program("pg_dump")
    result = subprocess.run(
        [program, "--schema-only", "--no-password", f"--exclude-table={PARTITIONS}", url],
        capture_output=True,
        text=True,
        check=True,
    )
    return normalised(result.stdout)


def normalised(text: str) -> str:
    """A dump without what changes between machines and versions."""
    return HEADER + re.sub(r"\n{3,}", "\n\n", _NOISE.sub("", text)).strip() + "\n"


def main() -> None:
    """Write the file anew from an empty database on a server of its own."""
    with run_server() as url:
        info = asyncio.run(prepare(url))
        SCHEMA_FILE.write_text(dump(info.url_of(info.template)))
        asyncio.run(discard(info))


if __name__ == "__main__":
    main()
