"""`tessera …`: every command of the service. Each module in app/commands that has a `command` is one."""

from __future__ import annotations

import importlib
import pkgutil
import socket

import asyncpg
import click

import app.commands
from app import __version__
from app.core.connections import RoleError
from app.core.durability import NotDurableError
from app.core.embedded import EmbeddedError
from app.core.migrations import MigrationError
from app.core.secrets import SecretsError
from app.settings import SettingsError

EXPECTED_ERRORS = (SettingsError, EmbeddedError, SecretsError, MigrationError, NotDurableError, RoleError)
"""Their messages say what to do, so they are shown without a traceback."""
UNREACHABLE = (
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    asyncpg.PostgresConnectionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
)
"""How a connection can fail to come about, or be lost."""


class Commands(click.Group):
    """Finds commands by their file name and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        modules = (module.name for module in pkgutil.iter_modules(app.commands.__path__))
        return sorted(name.replace("_", "-") for name in modules if not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"app.commands.{cmd_name.replace('-', '_')}")
        command = module.command
        if not isinstance(command, click.Command):
            raise TypeError(f"app.commands.{cmd_name}.command is no click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            names = ", ".join(self.list_commands(ctx))
            raise click.UsageError(f"{error.message} The commands are: {names}.", ctx) from None

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except EXPECTED_ERRORS as error:
            raise click.ClickException(str(error)) from error
        except UNREACHABLE as error:
            raise click.ClickException(f"the database cannot be reached: {error}. Try: ./run doctor") from error


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`tessera COMMAND --help` explains each with examples. Settings are in docs/settings.md.",
)
@click.version_option(__version__, prog_name="tessera")
def main() -> None:
    """Tessera, the money engine of a creator platform.

    `up` runs everything on one machine, with its own PostgreSQL. `api` and `scheduler` are the same processes
    one by one, for a PostgreSQL of your own (DATABASE_URL).

    \b
      tessera up                              the whole service, on http://127.0.0.1:8000
      tessera create-admin you@example.com    make the first admin
      tessera grant fan@example.com 500       give a user tokens
      tessera psql                            look inside
      tessera audit                           check that the books balance
      tessera tail creator:0199…              events as they happen
      tessera doctor                          check that all is well, and say what to do
    """


if __name__ == "__main__":
    main(prog_name="tessera")
