"""docs/sql-examples/*.sql run as a DBA, and print what is committed beside them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from app.core.embedded import find_installation
from app.settings import PROJECT_ROOT, load_settings
from tests.support.postgres import Clone

EXAMPLES = sorted((PROJECT_ROOT / "docs" / "sql-examples").glob("*.sql"))
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
async def test_example_prints_what_it_says(example: Path, database: Clone) -> None:
    """TESSERA_WRITE_EXAMPLES=1 writes the outputs anew."""
    program = find_installation(load_settings(dotenv=None).pg_bin).program("psql")
    result = subprocess.run(
        [program, "--no-psqlrc", "--quiet", "--echo-queries", "--set=SHOW_CONTEXT=never", database.url("dba")],
        stdin=example.open(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    printed = _UUID.sub("<uuid>", re.sub(r"[ \t]+$", "", result.stdout, flags=re.MULTILINE))
    output = example.with_suffix(".out")
    if os.environ.get("TESSERA_WRITE_EXAMPLES"):
        output.write_text(printed)
    assert printed == output.read_text()
