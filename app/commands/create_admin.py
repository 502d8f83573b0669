"""`tessera create-admin`."""

from __future__ import annotations

import re
import sys
from uuid import UUID

import asyncpg
import click
from argon2 import PasswordHasher

from app.commands import _queries
from app.commands._common import Connection, command_settings, database_failure, with_connection

MIN_PASSWORD = 12


@click.command()
@click.argument("email")
@click.option("--username", help="For a new account.  [default: made from the address]")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")
def command(email: str, username: str | None, password_stdin: bool) -> None:
    """Make EMAIL an admin: a new account, or one that has registered already.

    This is how the first admin comes to be; there are no default credentials. A new account needs a password of at
    least 12 characters: it is asked for, or comes by standard input for scripts. An account that exists keeps its own.

    \b
      tessera create-admin you@example.com
      printf '%s\\n' "$PASSWORD" | tessera create-admin you@example.com --password-stdin
    """
    settings = command_settings()

    async def find(connection: Connection) -> UUID | None:
        return await _queries.user_by_email(connection, email)

    try:
        password = None if with_connection("app", find, settings) else read_password(password_stdin)
        hashed = PasswordHasher().hash(password) if password else None

        async def create(connection: Connection) -> bool:
            async with connection.transaction():
                user = await _queries.user_by_email(connection, email)
                if user is None:
                    assert hashed is not None
                    name = username or username_from(email)
                    user = await _queries.register_user(connection, email, name, hashed)
                return await _queries.make_admin(connection, user)

        changed = with_connection("app", create, settings)
    except asyncpg.PostgresError as error:
        raise database_failure(error) from error
    click.echo(f"{email} is an admin." if changed else f"{email} was an admin already.")


def read_password(from_stdin: bool) -> str:
    """The new account's password, typed twice or from standard input."""
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    if len(password) < MIN_PASSWORD:
        raise click.ClickException(f"the password must have at least {MIN_PASSWORD} characters.")
    return password


def username_from(email: str) -> str:
    """A username that the rules allow, from an address."""
    kept = re.sub(r"[^a-z0-9_.-]", "", email.partition("@")[0].lower()).lstrip("_.-")[:32]
    return kept if len(kept) >= 2 else "admin"
