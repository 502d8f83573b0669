"""Child processes that are kept alive: started again when they crash, stopped together, gone when we are gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from app.core.embedded.processes import die_with_parent

FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 30.0
STEADY_SECONDS = 30.0
"""A child that lived this long had started well: its next crash is met with the first backoff again."""
KILL_GRACE_SECONDS = 5.0
POLL_SECONDS = 0.2

Notify = Callable[[str], None]


class ChildFailedError(RuntimeError):
    """A child ended before it was ready for the first time, so starting it again would not help."""

    def __init__(self, name: str, exit_code: int) -> None:
        self.name = name
        self.exit_code = exit_code
        super().__init__(f"{name} did not start (exit code {exit_code}); it says why above.")


@dataclass(frozen=True)
class Child:
    """One process to keep alive. `ready` says whether it serves yet; without it, running is enough."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Callable[[], Awaitable[bool]] | None = None


class Supervisor:
    """Keeps children alive between `start` and `stop`. Each has a session of its own, out of reach of Ctrl-C."""

    def __init__(self, children: Sequence[Child], *, stop_seconds: float, notify: Notify) -> None:
        self._children = {child.name: child for child in children}
        self._stop_seconds = stop_seconds
        self._notify = notify
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Start all children and wait until each is ready. Raises ChildFailedError when one ends before that."""
        for child in self._children.values():
            await self._spawn(child)
        for child in self._children.values():
            await self._until_ready(child)
        self._keepers = [asyncio.create_task(self._keep(child)) for child in self._children.values()]

    async def stop(self) -> None:
        """Ask all children to finish, wait for `stop_seconds`, then kill those that are left. May be repeated."""
        self._stopping = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        alive = [process for process in self._processes.values() if process.returncode is None]
        for process in alive:
            _signal(process, signal.SIGTERM)
        waits = [asyncio.create_task(process.wait()) for process in alive]
        if waits:
            await asyncio.wait(waits, timeout=self._stop_seconds + KILL_GRACE_SECONDS)
        self.kill()
        await asyncio.gather(*waits)

    def kill(self) -> None:
        """End every child at once."""
        self._stopping = True
        for process in self._processes.values():
            if process.returncode is None:
                _signal(process, signal.SIGKILL)

    def pids(self) -> dict[str, int]:
        """Process id of each child that runs."""
        return {name: process.pid for name, process in self._processes.items() if process.returncode is None}

    async def _spawn(self, child: Child) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *child.command,
            stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, **child.environment},
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
        self._processes[child.name] = process
        return process

    async def _until_ready(self, child: Child) -> None:
        process = self._processes[child.name]
        while True:
            if process.returncode is not None:
                raise ChildFailedError(child.name, process.returncode)
            if child.ready is None or await child.ready():
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _keep(self, child: Child) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        started = time.monotonic()
        while not self._stopping:
            code = await self._processes[child.name].wait()
            if time.monotonic() - started >= STEADY_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            self._notify(f"{child.name} ended (exit code {code}); starting it again in {backoff:g} s")
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)
            started = time.monotonic()
            await self._spawn(child)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
