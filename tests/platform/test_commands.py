"""Every command explains itself."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from app.cli import main

COMMANDS = ("up", "api", "scheduler", "migrate", "psql", "audit", "create-admin", "grant", "demo", "doctor")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert f"tessera {name}" in result.output or f"./run {name}" in result.output
    assert len(result.output.splitlines()) > 6


def test_all_commands_are_listed() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert [name for name in COMMANDS if name not in result.output] == []
