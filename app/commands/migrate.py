"""`tessera migrate`."""

from __future__ import annotations

import asyncio

import click

from app.commands._common import Connection, command_settings, say, with_connection
from app.core import migrations
from app.core.connections import maintenance_url, running_database
from app.core.provision import create_database, let_login_serve, set_logins
from app.core.secrets import load_secrets


@click.command()
@click.option("--status", is_flag=True, help="List what is pending and change nothing. Exits with 1 if anything is.")
@click.option("--print-sql", is_flag=True, help="Print one script for psql and change nothing.")
def command(status: bool, print_sql: bool) -> None:
    """Bring the database up to date: migrations in order, then every changed function.

    Safe to run at any time and by many processes at once; `tessera up` does it by itself. On DATABASE_URL it logs in
    as TESSERA_MIGRATE_URL if that is set. On the embedded server it makes what is missing: the cluster, the database,
    the logins.

    \b
      tessera migrate                                apply what is pending
      tessera migrate --status                       what would be applied
      tessera migrate --print-sql | psql "$URL"      let a DBA apply it with psql
    """
    settings = command_settings()
    if print_sql:
        click.echo(migrations.render_script(role_prefix=settings.role_prefix))
        return

    async def show(connection: Connection) -> list[str]:
        return pending_names(await migrations.pending(connection))

    async def apply(connection: Connection) -> migrations.MigrationReport:
        report = await migrations.migrate(connection, role_prefix=settings.role_prefix)
        if settings.embedded:
            await set_logins(connection, settings, load_secrets(settings.data))
        elif todo := await let_login_serve(connection, settings):
            say(todo)
        return report

    if status:
        waiting = with_connection("migrate", show, settings)
        click.echo("\n".join(waiting) if waiting else "Nothing is pending.")
        raise SystemExit(1 if waiting else 0)
    with running_database(settings, say):
        if settings.embedded:
            asyncio.run(create_database(maintenance_url(settings)))
        click.echo(summary(with_connection("migrate", apply, settings)))


def pending_names(waiting: migrations.Pending) -> list[str]:
    """What is pending, a line each."""
    names = [f"migration {migration.name}" for migration in waiting.migrations]
    names += [f"function  {function.path}" for function in waiting.functions]
    return names + [f"dropped   {path}" for path in waiting.removed]


def summary(report: migrations.MigrationReport) -> str:
    """One line on what a migration did."""
    if not report.changed:
        return "The database is up to date."
    counts = (
        (len(report.migrations), "migration"),
        (len(report.functions), "function file"),
        (len(report.dropped), "dropped function"),
    )
    return "Migrated: " + ", ".join(f"{count} {name}{'s' * (count != 1)}" for count, name in counts if count) + "."
