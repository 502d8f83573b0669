"""`tessera grant`."""

from __future__ import annotations

import uuid

import asyncpg
import click

from app.commands import _queries
from app.commands._common import Connection, database_failure, with_connection


@click.command()
@click.argument("email")
@click.argument("amount", type=click.IntRange(1, 10**15))
@click.option("--reason", default="granted from the command line", show_default=True, help="Kept with the transfer.")
@click.option("--key", help="Idempotency key: the same one twice grants once.  [default: a new one]")
def command(email: str, amount: int, reason: str, key: str | None) -> None:
    """Mint AMOUNT tokens into the wallet of the user with this EMAIL.

    They come from the system wallet `issuance`, whose balance goes below zero by as much: the sum over all wallets
    stays zero. The transfer records who asked, which is the database login here.

    \b
      tessera grant fan@example.com 500
      tessera grant fan@example.com 500 --reason "lost in the outage" --key ticket-4711
    """
    used_key = key or f"cli-{uuid.uuid4()}"

    async def grant(connection: Connection) -> _queries.Granted:
        user = await _queries.user_by_email(connection, email)
        if user is None:
            raise click.ClickException(f"there is no user {email}. They register first: POST /api/v1/auth/register")
        return await _queries.grant_tokens(connection, user, amount, reason, used_key)

    try:
        granted = with_connection("dba", grant)
    except asyncpg.PostgresError as error:
        raise database_failure(error) from error
    done = f"{amount:,} {_queries.TOKEN} to {email}"
    then = f"(transfer {granted.transfer_id}, key {used_key})"
    if granted.replayed:
        click.echo(
            f"Nothing moved: this key has granted {done} before; their balance was {granted.balance:,} then {then}."
        )
    else:
        click.echo(f"Granted {done}; their balance is now {granted.balance:,} {then}.")
