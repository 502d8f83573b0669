"""The SQL of bans: one typed function per statement."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from app.bans.structs import Ban
from app.core.context import AppContext


class BanQueries:
    """Statements on bans."""

    def __init__(self, context: AppContext) -> None:
        self.db = context.database

    async def ban(self, creator: UUID, user: UUID, reason: str | None) -> Ban:
        """Ban somebody; the ban there is, if they are already. Errors: those of api.ban_user."""
        await self.db.fetchval("SELECT api.ban_user($1, $2, $3)", creator, user, reason)
        found = await self.db.fetch_one_as(
            Ban,
            "SELECT b.user_id, b.reason, b.created_at FROM api.bans AS b WHERE b.creator_id = $1 AND b.user_id = $2",
            creator,
            user,
        )
        # taken back by the creator in the same moment: it was there
        return found or Ban(user_id=user, reason=reason, created_at=datetime.now(UTC))

    async def unban(self, creator: UUID, user: UUID) -> None:
        """Take a ban back."""
        await self.db.fetchval("SELECT api.unban_user($1, $2)", creator, user)

    async def bans(self, creator: UUID, before: tuple[datetime | None, UUID] | None, limit: int) -> list[Ban]:
        """Whom the creator has banned, newest first."""
        return await self.db.fetch_as(
            Ban,
            """
            SELECT b.user_id, b.reason, b.created_at FROM api.bans AS b
            WHERE b.creator_id = $1 AND ($2::timestamptz IS NULL OR (b.created_at, b.user_id) < ($2, $3::uuid))
            ORDER BY b.created_at DESC, b.user_id DESC LIMIT $4
            """,
            creator,
            *(before or (None, None)),
            limit,
        )
