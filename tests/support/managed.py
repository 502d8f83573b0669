"""A database as managed PostgreSQL gives one: its owner is no superuser, and makes its own roles."""

from __future__ import annotations

import asyncpg

from tests.support.postgres import LOGINS, Clone, Connection, ServerInfo, unique_name


async def drop_roles(server: ServerInfo, prefix: str) -> None:
    """Drop every role and login that a test made under its own prefix."""
    admin = await asyncpg.connect(server.url)
    for role in ("owner", "ledger", "app", "scheduler", "dba", "readonly", "migrator", "second"):
        await admin.execute(f'DROP ROLE IF EXISTS "{prefix}_{role}"')
    await admin.close()


class Managed:
    """An empty database, and logins and roles of its own."""

    def __init__(self, server: ServerInfo) -> None:
        self.server = server
        self.prefix = unique_name("m").replace("tessera_test_", "tm_")[:24]
        self.clone = Clone(server, unique_name("managed"))

    async def execute(self, statement: str) -> None:
        """Run a statement as the server's superuser."""
        admin = await asyncpg.connect(self.server.url)
        try:
            await admin.execute(statement)
        finally:
            await admin.close()

    async def make_login(self, name: str, options: str) -> None:
        await self.execute(f"CREATE ROLE {self.prefix}_{name} LOGIN PASSWORD '{self.server.password}' {options}")

    async def grant_create(self, name: str) -> None:
        await self.execute(f'GRANT CREATE ON DATABASE "{self.clone.name}" TO {self.prefix}_{name}')

    def url(self, name: str) -> str:
        """Connection URL of this database for one of its logins."""
        return self.server.url_of(self.clone.name, "app").replace(f"{LOGINS['app']}:", f"{self.prefix}_{name}:", 1)

    async def connect(self, name: str) -> Connection:
        conn: Connection = await asyncpg.connect(self.url(name))
        self.clone._open.append(conn)
        return conn
