"""Commands of `tessera` as a person runs them: a process of their own, with just these settings."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import msgspec

from app.settings import PROJECT_ROOT, setting_names

SECONDS = 60


class Ran(msgspec.Struct, frozen=True):
    """What a command said (both streams) and its exit code."""

    code: int
    output: str


async def run_command(*arguments: str, **settings: str) -> Ran:
    """`tessera ARGUMENTS` with these settings and none of this process's own."""
    kept = {name: value for name, value in os.environ.items() if name not in setting_names()}

    def run() -> Ran:
        ran = subprocess.run(
            [sys.executable, "-P", "-m", "app.cli", *arguments],
            cwd=PROJECT_ROOT,
            env=kept | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout)

    return await asyncio.to_thread(run)
