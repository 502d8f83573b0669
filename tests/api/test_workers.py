"""`tessera api --workers 2`: real processes on a real port, one set of metrics, a stop that lets requests finish."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from uuid import uuid4

import httpx
import pytest

from app.settings import PROJECT_ROOT
from tests.api.people import PASSWORD, api
from tests.support.postgres import Clone


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _until_ready(client: httpx.AsyncClient) -> None:
    for _ in range(300):
        try:
            if (await client.get(api("/public/health/ready"))).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)
    pytest.fail("the service did not start")


async def test_workers_serve_count_together_and_finish_what_they_began(database: Clone) -> None:
    port = _free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": database.url("app"),
        "TESSERA_TOKEN_SECRET": "zq8Xv1Lm3Pk7Rw9Ty5Bn2Hs6Jd4Fg0Cx",
        "TESSERA_RATE_LIMIT_AUTH_PER_MINUTE": "1000",
    }
    command = (sys.executable, "-m", "app.cli", "api", "--workers", "2", "--port", str(port))
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, cwd=PROJECT_ROOT, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            await _until_ready(client)
            for _ in range(10):
                await client.get(api("/public/health"))
            metrics = (await client.get("/metrics")).text
            count = 'tessera_http_request_seconds_count{method="GET",route="/api/v1/public/health",status="200"} 10.0'
            assert count in metrics

            async def register() -> int:
                name = f"p{uuid4().hex[:12]}"
                body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
                return (await client.post(api("/auth/register"), json=body)).status_code

            begun = [asyncio.create_task(register()) for _ in range(20)]
            await asyncio.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            answered = [task for task in await asyncio.gather(*begun, return_exceptions=True) if task == 201]
            assert answered
        assert await asyncio.wait_for(process.wait(), 60) == 0
        admin = await database.connect()
        assert await admin.fetchval("SELECT count(*) FROM core.users") == len(answered)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
