"""What the embedded server needs beside migrations: the database, and passwords for its logins.

On a server of somebody else's (`DATABASE_URL`) that is the DBA's to do. There only `let_login_serve` runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import asyncpg

from app.core.connections import DATABASE, local_dba, login_of
from app.core.secrets import Secrets
from app.settings import Settings

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


SERVICE_ROLES = ("app", "scheduler", "dba")
"""What `DATABASE_URL` is used as: by the API, by the scheduler, and by the commands of an operator."""


async def roles_out_of_reach(connection: Connection, settings: Settings, login: str = "") -> list[str]:
    """Those of the service's roles that a login (by default the connection's) may not take on."""
    # From PostgreSQL 16 on, a member may be one that inherits or administers, and yet may not SET ROLE.
    privilege = "SET" if connection.get_server_version().major >= 16 else "MEMBER"
    rows = await connection.fetch(
        """
        SELECT r.rolname FROM pg_catalog.pg_roles AS r
        WHERE r.rolname = ANY ($1::text []) AND NOT pg_catalog.pg_has_role(coalesce($2, current_user), r.oid, $3)
        ORDER BY r.rolname
        """,
        [f"{settings.role_prefix}_{part}" for part in SERVICE_ROLES],
        login or None,
        privilege,
    )
    return [row["rolname"] for row in rows]


def grant_statement(roles: Sequence[str], login: str) -> str:
    """What lets a login take on roles."""
    return "GRANT {} TO {}".format(", ".join(f'"{role}"' for role in roles), f'"{login}"')


async def let_login_serve(connection: Connection, settings: Settings) -> str | None:
    """After migrating: let the login take on the service's roles, if it is the one that serves too.

    It made these roles and may do more than they, so nothing is won or lost by it. Returns what somebody else has to do
    when it may not grant them, as where another login has made them.
    """
    if settings.migrate_url is not None and login_of(settings.migrate_url) != login_of(settings.database_url or ""):
        return None
    roles = await roles_out_of_reach(connection, settings)
    if not roles:
        return None
    login: str = await connection.fetchval("SELECT current_user")
    only_set = " WITH INHERIT FALSE, SET TRUE" if connection.get_server_version().major >= 16 else ""
    try:
        await connection.execute(grant_statement(roles, login) + only_set)
    except asyncpg.InsufficientPrivilegeError:
        return f"{login} may not become {', '.join(roles)}. A superuser runs: {grant_statement(roles, login)}"
    return None


async def create_database(superuser_url: str) -> None:
    """Make the database on a new cluster; does nothing when it is there."""
    connection: Connection = await asyncpg.connect(superuser_url)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f'CREATE DATABASE "{DATABASE}"')
    finally:
        await connection.close()


async def set_logins(connection: Connection, settings: Settings, secrets: Secrets) -> None:
    """Give the service's roles their generated passwords, and make the local DBA's login. After migrating."""
    prefix = settings.role_prefix
    dba = local_dba(settings)
    await connection.execute(
        f"""
        DO $$
        BEGIN
            CREATE ROLE "{dba}" LOGIN IN ROLE "{prefix}_dba";
        EXCEPTION WHEN duplicate_object THEN
            NULL;
        END
        $$
        """
    )
    passwords = {
        f"{prefix}_app": secrets.app_password,
        f"{prefix}_scheduler": secrets.scheduler_password,
        dba: secrets.dba_password,
    }
    for role, password in passwords.items():
        # Generated from the alphabet of base64url, so there is nothing to quote.
        await connection.execute(f"ALTER ROLE \"{role}\" LOGIN PASSWORD '{password}'")
