"""kill -9 of the whole service, PostgreSQL included, in the middle of 1,000 tips; then the same requests again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.settings import PROJECT_ROOT
from tests.api.people import Person, api, register

TIPS = 1_000
AT_ONCE = 32
KILL_AFTER = 300

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the service's processes in /proc")


class Service:
    """`tessera up` on data of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        keep = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
        keep.pop("DATABASE_URL", None)
        if "TESSERA_PG_BIN" in os.environ:
            keep["TESSERA_PG_BIN"] = os.environ["TESSERA_PG_BIN"]
        self.environment = {
            **keep,
            "TESSERA_DATA": str(folder / "data"),
            "TESSERA_PORT": str(self.port),
            "TESSERA_RATE_LIMIT_PER_MINUTE": "1000000",
            "TESSERA_LOG_LEVEL": "error",
        }
        self.log = (folder / "log").open("ab")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready: as long as it lives."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "up"],
            cwd=PROJECT_ROOT,
            env=self.environment,
            stdout=self.log,
            stderr=self.log,
        )
        while self.process.poll() is None:
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}{api('/public/health/ready')}").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(f"the service ended with {self.process.returncode}")

    def command(self, *arguments: str) -> str:
        """Output of a `tessera` command on the same data; it must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", *arguments],
            cwd=PROJECT_ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def kill(self) -> None:
        """SIGKILL to every process of it, parents first, so that nothing can tidy up."""
        assert self.process is not None
        for pid in _tree(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def stop(self) -> None:
        """End it as an operator does."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        self.log.close()


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


@pytest.fixture
def service() -> Iterator[Service]:
    folder = Path(tempfile.mkdtemp(prefix="tessera-kill-"))
    folder.chmod(0o755)
    running = Service(folder)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def _send(service: Service, fan: Person, creator: Person, kill_after: int | None) -> list[int]:
    """Statuses of all tips (0: no answer); the service is killed when so many are answered."""
    statuses = [0] * TIPS
    waiting = list(range(TIPS - 1, -1, -1))
    answered = 0

    async def lane(http: httpx.AsyncClient) -> None:
        nonlocal answered
        while waiting:
            number = waiting.pop()
            body = {"creator_id": str(creator.id), "amount": 1 + number % 3}
            headers = {**fan.headers, "Idempotency-Key": f"tip-{number}"}
            try:
                answer = await http.post(api("/tips/send"), json=body, headers=headers)
            except httpx.TransportError:
                continue
            statuses[number] = answer.status_code
            answered += 1
            if answered == kill_after:
                service.kill()

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", timeout=60) as http:
        await asyncio.gather(*(lane(http) for _ in range(AT_ONCE)))
    return statuses


async def test_killed_in_the_middle_of_a_thousand_tips(service: Service) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", timeout=60) as http:
        fan, creator = await register(http), await register(http)
        answer = await http.post(
            api("/dashboard/profile/creator"), json={"rate_per_minute": 60}, headers=creator.headers
        )
        assert answer.status_code == 200
    service.command("grant", fan.email, "10000")

    before = await _send(service, fan, creator, KILL_AFTER)
    assert before.count(201) >= KILL_AFTER
    assert before.count(0) > 0, "nothing was cut off: the kill came too late to show anything"

    service.start()
    service.command("audit")
    after = await _send(service, fan, creator, None)
    assert after == [201] * TIPS
    expected = sum(1 + number % 3 for number in range(TIPS))
    found = service.command(
        "psql", "-c", "SELECT concat_ws('|', 'found', count(*), sum(amount), count(DISTINCT tip_id)) FROM api.tips"
    )
    assert f"found|{TIPS}|{expected}|{TIPS}" in found
    service.command("audit")
