"""`tessera up`: everything in one process tree."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from urllib.parse import urlsplit

import click
import httpx
import msgspec

from app import __version__
from app.commands._common import command_settings, local_url, say
from app.commands.migrate import summary
from app.core import migrations
from app.core.connections import start_embedded, target
from app.core.embedded import EmbeddedError, EmbeddedPostgres
from app.core.provision import create_database, let_login_serve, set_logins
from app.core.secrets import load_secrets
from app.core.supervisor import Child, ChildFailedError, Supervisor
from app.settings import Settings

POSTGRES_CHECK_SECONDS = 0.5
PROBE_SECONDS = 2.0


@click.command()
@click.option("--host", help="Address the API listens on.  [TESSERA_HOST]")
@click.option("--port", type=click.IntRange(1, 65535), help="Port the API listens on.  [TESSERA_PORT]")
@click.option("--workers", type=click.IntRange(1, 256), help="API processes.  [TESSERA_WORKERS]")
@click.option("--no-scheduler", is_flag=True, help="Leave the scheduler out.")
def command(host: str | None, port: int | None, workers: int | None, no_scheduler: bool) -> None:
    """Run the whole service: PostgreSQL, migrations, API and scheduler. Ctrl-C stops it in an orderly way.

    Without DATABASE_URL it runs a PostgreSQL of its own, whose data stays in TESSERA_DATA; after a crash or a power
    cut it recovers by itself. A process that crashes is started again.

    \b
      tessera up                                  http://127.0.0.1:8000
      tessera up --port 9000 --workers 2
      TESSERA_DATA=/srv/tessera tessera up        keep the data elsewhere
      DATABASE_URL=postgresql://… tessera up      on a PostgreSQL of your own
    """
    given = {"host": host, "port": port, "workers": workers}
    settings = msgspec.structs.replace(command_settings(), **{k: v for k, v in given.items() if v is not None})
    with interruptible():
        server = start_embedded(settings, say) if settings.embedded else None
        try:
            check_port(settings)
            asyncio.run(prepare(settings, server))
            asyncio.run(serve(settings, server, with_scheduler=not no_scheduler))
        except ChildFailedError as error:
            raise click.ClickException(str(error)) from error
        finally:
            # From here on signals would only cut the shutdown short.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            if server is not None:
                say("Stopping PostgreSQL")
                server.stop()


def check_port(settings: Settings) -> None:
    """Fail while something else listens there: its answers would pass for those of our API."""
    try:
        addresses = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in addresses:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            return  # such as a machine without IPv6: the API itself will tell
        where = f"{settings.host}:{settings.port}"
        raise click.ClickException(
            f"the API cannot listen on {where}: {error.strerror}. Choose another port: --port or TESSERA_PORT."
        ) from error


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, SIGTERM and Ctrl-C end the command through its `finally` blocks, with exit code 0."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    yield


async def prepare(settings: Settings, server: EmbeddedPostgres | None) -> None:
    """Bring the database up to date and, on the embedded server, give the logins their passwords."""
    if server is not None:
        await create_database(server.superuser_url())
    connection = await target(settings, "migrate").connect("tessera-migrate")
    try:
        report = await migrations.migrate(connection, role_prefix=settings.role_prefix)
        say(summary(report))
        if server is not None:
            await set_logins(connection, settings, load_secrets(settings.data))
        elif todo := await let_login_serve(connection, settings):
            raise click.ClickException(todo)
    finally:
        await connection.close()


async def serve(settings: Settings, server: EmbeddedPostgres | None, *, with_scheduler: bool) -> None:
    """Run the children until a signal asks for the end, and PostgreSQL with them."""
    stop = asyncio.Event()
    supervisor = Supervisor(children(settings, with_scheduler), stop_seconds=settings.shutdown_seconds, notify=say)
    loop = asyncio.get_running_loop()

    def ask() -> None:
        if stop.is_set():
            say("Stopping at once")
            supervisor.kill()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    starting = asyncio.create_task(supervisor.start())
    stopping = asyncio.create_task(stop.wait())
    watching = asyncio.create_task(watch_postgres(server, stop)) if server is not None else None
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            click.echo(banner(settings, await database_line(settings, server)))
            await stop.wait()
        if watching is not None and watching.done():
            watching.result()
    finally:
        say("Stopping: requests in flight finish first (Ctrl-C again stops at once)")
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await supervisor.stop()
        stopping.cancel()
        if watching is not None:
            stop.set()
            await asyncio.gather(watching, return_exceptions=True)


async def watch_postgres(server: EmbeddedPostgres, stop: asyncio.Event) -> None:
    """Start PostgreSQL again when it dies by itself. When it cannot be, everything stops."""
    while not stop.is_set():
        if not server.running:
            say("PostgreSQL ended by itself; starting it again")
            try:
                server.stop()
                await asyncio.to_thread(server.start)
            except EmbeddedError:
                stop.set()
                raise
        await asyncio.sleep(POSTGRES_CHECK_SECONDS)


def children(settings: Settings, with_scheduler: bool) -> list[Child]:
    """The processes of the service. They read the same settings, so only what was given by option is passed on."""
    environment = {
        "TESSERA_HOST": settings.host,
        "TESSERA_PORT": str(settings.port),
        "TESSERA_WORKERS": str(settings.workers),
        "TESSERA_DATA": str(settings.data),
    }
    if sys.stdout.isatty() and "TESSERA_LOG_FORMAT" not in os.environ:
        environment["TESSERA_LOG_FORMAT"] = "console"
    tessera = [sys.executable, "-P", "-m", "app.cli"]

    async def answers() -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                url = f"{local_url(settings)}/api/v1/public/health"
                return (await client.get(url, timeout=PROBE_SECONDS)).status_code < 500
        except httpx.HTTPError:
            return False

    api = Child("The API", [*tessera, "api"], environment, answers)
    scheduler = Child("The scheduler", [*tessera, "scheduler"], environment)
    return [api, scheduler] if with_scheduler else [api]


async def database_line(settings: Settings, server: EmbeddedPostgres | None) -> str:
    """One line that says which database it is."""
    if server is not None:
        tcp = f", 127.0.0.1:{settings.pg_port}" if settings.pg_port else ""
        return f"PostgreSQL {server.installation.version}, embedded, in {settings.data}{tcp}"
    parts = urlsplit(settings.database_url or "")
    return f"PostgreSQL at {parts.hostname or 'the local socket'}{f':{parts.port}' if parts.port else ''}{parts.path}"


def banner(settings: Settings, database: str) -> str:
    """What somebody who has just started the service wants to know."""
    url = settings.base_url
    run = "./run"
    rows = [
        ("API", f"{url}/api/v1"),
        ("Docs", f"{url}/api/v1/docs"),
        ("Health", f"{url}/api/v1/public/health/ready"),
        ("Database", database),
    ]
    steps = [
        (f"{run} create-admin you@example.com", "make yourself an admin"),
        (f"{run} grant fan@example.com 500", "give a registered user tokens"),
        (f"{run} psql", r"look inside: \df+ api.* explains every function"),
        (f"{run} audit", "check that the books balance"),
    ]
    if _has_demo():
        steps.insert(0, (f"{run} demo", "tips, tickets and a metered call, while you watch"))
    bold = (lambda text: click.style(text, bold=True)) if sys.stdout.isatty() else str
    lines = ["", bold(f"Tessera {__version__} is up."), ""]
    lines += [f"  {name:<10}{value}" for name, value in rows]
    lines += ["", "Next, in another terminal:"]
    lines += [f"  {step:<38}{meaning}" for step, meaning in steps]
    return "\n".join([*lines, "", "Ctrl-C stops it; the data stays.", ""])


def _has_demo() -> bool:
    from app.cli import main

    return "demo" in main.list_commands(click.Context(main))
