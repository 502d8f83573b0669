"""Whether a database keeps what it has confirmed. Production refuses one that may not."""

from __future__ import annotations

import asyncpg

REMEDIES = {
    "fsync": "ALTER SYSTEM SET fsync = on, then reload",
    "full_page_writes": "ALTER SYSTEM SET full_page_writes = on, then reload",
    "synchronous_commit": "ALTER SYSTEM (or ALTER ROLE, ALTER DATABASE) … SET synchronous_commit = on",
}


class NotDurableError(RuntimeError):
    """The database may lose a commit that it has confirmed."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("this database may lose confirmed payments, which production refuses: " + "; ".join(faults))


async def durability_faults(connection: asyncpg.Connection[asyncpg.Record]) -> list[str]:
    """Each setting of this session by which a confirmed commit could be lost, with its remedy."""
    rows = await connection.fetch(
        "SELECT s.name, s.setting FROM pg_catalog.pg_settings AS s WHERE s.name = ANY($1::text[]) ORDER BY s.name",
        list(REMEDIES),
    )
    # "local" is as safe as "on" without standbys; "remote_write" and "remote_apply" wait for even more than "on".
    lost = {"off"}
    return [f"{row['name']} is {row['setting']} ({REMEDIES[row['name']]})" for row in rows if row["setting"] in lost]
