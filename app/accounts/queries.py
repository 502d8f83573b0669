"""The SQL of accounts: one typed function per statement."""

from __future__ import annotations

from uuid import UUID

from app.core.auth import KeyState, SessionState
from app.core.context import AppContext
from app.core.keys import digest


class AccountQueries:
    """Statements on users, sessions, keys and what belongs to them."""

    def __init__(self, context: AppContext) -> None:
        self._db = context.database

    async def session_state(self, session_id: UUID) -> SessionState | None:
        """What an access token of this session is worth now; None when there is no such session."""
        return await self._db.fetch_one_as(
            SessionState,
            """
            SELECT u.id AS user_id, u.status, u.roles, u.token_epoch,
                   (s.revoked_at IS NOT NULL OR s.expires_at <= now()) AS revoked
            FROM core.sessions AS s JOIN core.users AS u ON u.id = s.user_id
            WHERE s.id = $1
            """,
            session_id,
        )

    async def key_state(self, key: str) -> KeyState | None:
        """What an API key is worth now; None when there is no such key, or it was deleted."""
        return await self._db.fetch_one_as(
            KeyState,
            """
            SELECT k.id AS key_id, u.id AS user_id, u.status, u.roles, k.scopes, k.rate_limit_per_minute,
                   extract(epoch FROM least(
                       k.expires_at, CASE WHEN k.old_key_hash = $1 THEN k.old_key_expires_at END
                   ))::double precision AS expires_at
            FROM core.api_keys AS k JOIN core.users AS u ON u.id = k.user_id
            WHERE (k.key_hash = $1 OR k.old_key_hash = $1) AND k.deleted_at IS NULL
            """,
            digest(key),
        )
