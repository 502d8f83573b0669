"""Administrative acts: what they do and their row in the audit log commit together, with where they came from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec

from app.core.context import RequestInfo
from app.core.database import Connection, Database


@asynccontextmanager
async def act_of(database: Database, info: RequestInfo) -> AsyncIterator[Connection]:
    """A transaction whose rows in the audit log have the request's id and address by themselves."""
    async with database.transaction() as connection:
        await connection.execute(
            "SELECT set_config('tessera.request_id', $1, true), set_config('tessera.address', $2, true)",
            info.request_id,
            info.address,
        )
        yield connection


async def note_act(connection: Connection, actor: UUID, action: str, subject: UUID, details: Mapping[str, Any]) -> None:
    """A row of the audit log, for what no SQL function notes itself."""
    await connection.execute(
        "INSERT INTO core.audit_log (actor_id, action, subject_id, details) VALUES ($1, $2, $3, $4::text::jsonb)",
        actor,
        action,
        subject,
        msgspec.json.encode(details).decode(),
    )
