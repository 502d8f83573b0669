"""The SQL of chats: one typed function per statement."""

from __future__ import annotations

from uuid import UUID

from app.chat.structs import ChatMessage, MessageReceipt
from app.core.context import AppContext
from app.wallets.queries import Replayable


class ChatQueries:
    """Statements on messages."""

    def __init__(self, context: AppContext) -> None:
        self.db = context.database

    async def post(self, stream: UUID, author: UUID, body: str, key: str | None) -> Replayable:
        """Post a message. Errors: those of api.post_message."""
        row = await self.db.fetchrow("SELECT * FROM api.post_message($1, $2, $3, $4)", stream, author, body, key)
        assert row is not None
        receipt = MessageReceipt(message_id=row["message_id"], created_at=row["created_at"])
        return Replayable(receipt, row["replayed"])

    async def messages(self, stream: UUID, viewer: UUID, before: UUID | None, limit: int) -> list[ChatMessage]:
        """Messages, newest first. Errors: those of api.stream_messages."""
        return await self.db.fetch_as(
            ChatMessage,
            """
            SELECT m.message_id, m.user_id, m.username, m.body, m.created_at
            FROM api.stream_messages($1, $2, $3, $4) AS m
            """,
            stream,
            viewer,
            before,
            limit,
        )

    async def remove(self, stream: UUID, message: UUID, actor: UUID) -> None:
        """Remove a message. Errors: those of api.remove_message."""
        await self.db.fetchval("SELECT api.remove_message($1, $2, $3)", stream, message, actor)
