"""What the embedded server needs beside migrations: the database, and passwords for its logins.

On a server of somebody else's (`DATABASE_URL`) that is the DBA's to do, and nothing here runs.
"""

from __future__ import annotations

from typing import TypeAlias

import asyncpg

from app.core.connections import DATABASE, local_dba
from app.core.secrets import Secrets
from app.settings import Settings

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


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


async def let_login_act(connection: asyncpg.Connection[asyncpg.Record], prefix: str) -> None:
    """Where one login does everything (one DATABASE_URL): let it take on the roles of API, scheduler and DBA.

    A superuser may anyway. Who made the roles by CREATEROLE may grant them, but is no member by that.
    """
    kind = "SET" if connection.get_server_version().major >= 16 else "MEMBER"
    for role in (f"{prefix}_app", f"{prefix}_scheduler", f"{prefix}_dba"):
        if not await connection.fetchval("SELECT pg_has_role(session_user, $1, $2)", role, kind):
            await connection.execute(f'GRANT "{role}" TO SESSION_USER')
