"""Where credentials are looked up: of sessions asked for at the same time, many in one statement.

Thousands who come at once after a restart, or to a stream that opens, would otherwise each wait for a statement of
their own.
"""

from __future__ import annotations

from uuid import UUID

from app.accounts.queries import AccountQueries
from app.core.auth import KeyState, SessionState
from app.core.batching import Batcher, batcher
from app.core.context import AppContext


class Credentials:
    """What sessions and API keys are worth now."""

    def __init__(self, context: AppContext) -> None:
        self._queries = context.get(AccountQueries)
        self._sessions: Batcher[UUID, SessionState | None] = batcher(
            context, "session_states", self._queries.session_states
        )

    async def session_state(self, session_id: UUID) -> SessionState | None:
        """What an access token of this session is worth; None when there is no such session. Errors: SERVER_BUSY."""
        return await self._sessions.submit(session_id)

    async def key_state(self, key: str) -> KeyState | None:
        """What an API key is worth; None when there is no such key, or it was deleted."""
        return await self._queries.key_state(key)
