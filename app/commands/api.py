"""`tessera api`."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import click
import msgspec
import uvicorn

from app.commands._common import say
from app.core.connections import located, service_settings, target
from app.core.durability import NotDurableError, durability_faults
from app.core.embedded.processes import die_with_parent
from app.core.garbage import settle
from app.realtime.protocol import MAX_FRAME
from app.settings import Settings, load_settings

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75


@click.command()
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that share the port.  [TESSERA_WORKERS]")
@click.option("--host", help="Address to listen on.  [TESSERA_HOST]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on.  [TESSERA_PORT]")
def command(workers: int | None, host: str | None, port: int | None) -> None:
    """Serve the API on DATABASE_URL, or on the embedded server that `tessera up` runs.

    Any number of these may run, on any number of machines. The database may be away when it starts: requests get 503
    until it is there. SIGTERM or Ctrl-C lets requests in flight finish first (TESSERA_SHUTDOWN_SECONDS).

    \b
      DATABASE_URL=postgresql://… tessera api --workers 4
      tessera api --host 0.0.0.0 --port 80
    """
    given = {"workers": workers, "host": host, "port": port}
    settings = msgspec.structs.replace(
        located(load_settings(), say), **{name: value for name, value in given.items() if value is not None}
    )
    ready = service_settings("app", settings)
    if ready.production:
        refuse_unsafe(ready)
    with shared_metrics(settings.workers):
        uvicorn.run(
            "app.commands.api:make_app",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            loop="uvloop",
            http="httptools",
            ws="app.core.wire:WireProtocol",
            ws_max_size=MAX_FRAME,
            ws_per_message_deflate=False,
            interface="asgi3",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=settings.shutdown_seconds,
        )


@contextmanager
def shared_metrics(workers: int) -> Iterator[None]:
    """Give several workers a folder for their metrics, so that each can tell those of all (app/core/metrics.py)."""
    if workers == 1 or "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="tessera-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield


def make_app() -> Any:
    """The application of one worker process."""
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        # A worker whose supervisor was killed would go on holding the port.
        ask = die_with_parent(signal.SIGTERM, supervisor.pid)
        if ask is not None:
            ask()
    from app.main import create_app

    app = create_app(service_settings("app"))
    settle()
    return app


def refuse_unsafe(settings: Settings) -> None:
    """Raise NotDurableError for a database that may lose a commit. One that is away is not judged."""

    async def check() -> list[str]:
        try:
            connection = await target(settings, "app").connect("tessera-api-start")
        except (OSError, asyncpg.PostgresError) as error:
            say(f"The database cannot be checked now: {error}")
            return []
        try:
            return await durability_faults(connection)
        finally:
            await connection.close()

    faults = asyncio.run(check())
    if faults:
        raise NotDurableError(faults)
