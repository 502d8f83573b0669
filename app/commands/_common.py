"""What the commands share: one connection for a short job, and how they talk."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import asyncpg
import click
import msgspec

from app.core.connections import Access, located, running_database, target
from app.settings import Settings, load_settings

T = TypeVar("T")
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


def say(message: str) -> None:
    """A remark for the person at the terminal. Results go to standard output, remarks do not."""
    click.echo(click.style(message, dim=sys.stderr.isatty()), err=True)


def command_settings() -> Settings:
    """The settings of this run, with the data folder in its place."""
    return located(load_settings(), say)


def local_url(settings: Settings) -> str:
    """Where this machine itself reaches the API."""
    return msgspec.structs.replace(settings, public_url=None).base_url


def with_connection(access: Access, work: Callable[[Connection], Awaitable[T]], settings: Settings | None = None) -> T:
    """The result of `work` on a connection; the embedded server is started for it if it does not run."""
    found = settings or command_settings()

    async def connected() -> T:
        try:
            connection = await target(found, access).connect("tessera-cli")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise click.ClickException(f"the database cannot be reached: {error}. Try: ./run doctor") from error
        try:
            return await work(connection)
        finally:
            await connection.close()

    with running_database(found, say):
        return asyncio.run(connected())


def database_failure(error: asyncpg.PostgresError) -> click.ClickException:
    """An error of our SQL functions as a person reads it: its slug, its facts, what to do."""
    detail, hint = (getattr(error, name, None) for name in ("detail", "hint"))
    said = [part for part in (str(error.args[0] if error.args else error), detail, hint) if part and part != "{}"]
    return click.ClickException(". ".join(part.rstrip(".") for part in said) + ".")
