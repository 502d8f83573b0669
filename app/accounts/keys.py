"""API keys of a user: made, listed, rotated, deleted; each change is in the audit log."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from app.accounts.queries import AccountQueries
from app.accounts.structs import ApiKey, KeyRequest, NewApiKey
from app.core.auth import SCOPES, Actor
from app.core.context import AppContext, RequestInfo
from app.core.errors import error
from app.core.keys import new_api_key

MAX_KEYS = 50


class ApiKeyService:
    """The keys of a caller; never those of another."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._queries = context.get(AccountQueries)

    async def list_keys(self, actor: Actor) -> list[ApiKey]:
        """The caller's keys."""
        return await self._queries.api_keys(actor.user_id)

    async def create(self, actor: Actor, data: KeyRequest, info: RequestInfo) -> NewApiKey:
        """A new key. Errors: UNKNOWN_SCOPE, VALIDATION_ERROR, TOO_MANY_API_KEYS."""
        scopes = sorted(set(data.scopes))
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown:
            raise error("UNKNOWN_SCOPE", unknown=unknown, known=sorted(SCOPES))
        _check_expiry(data.expires_at)
        key, prefix = new_api_key()
        async with self._queries.db.transaction() as connection:
            if await self._queries.lock_user(connection, actor.user_id) >= MAX_KEYS:
                raise error("TOO_MANY_API_KEYS", limit=MAX_KEYS)
            made = await self._queries.new_api_key(
                connection, actor.user_id, key, prefix, data.name, scopes, data.expires_at, data.rate_limit_per_minute
            )
            await self._queries.audit(
                connection,
                actor.user_id,
                "api_key.created",
                made.id,
                {"scopes": scopes, "prefix": prefix},
                info.request_id,
                info.address,
            )
        return NewApiKey(key=key, api_key=made)

    async def rotate(self, actor: Actor, key_id: UUID, overlap_seconds: int, info: RequestInfo) -> NewApiKey:
        """A new key with the same rights in the place of the old. Errors: API_KEY_NOT_FOUND."""
        key, prefix = new_api_key()
        async with self._queries.db.transaction() as connection:
            made = await self._queries.rotate_api_key(connection, actor.user_id, key_id, key, prefix, overlap_seconds)
            details = {"prefix": prefix, "overlap_seconds": overlap_seconds}
            await self._queries.audit(
                connection, actor.user_id, "api_key.rotated", key_id, details, info.request_id, info.address
            )
        self._context.auth.forget_user(actor.user_id)
        return NewApiKey(key=key, api_key=made)

    async def delete(self, actor: Actor, key_id: UUID, info: RequestInfo) -> None:
        """Make a key worthless at once. Errors: API_KEY_NOT_FOUND."""
        async with self._queries.db.transaction() as connection:
            await self._queries.delete_api_key(connection, actor.user_id, key_id)
            await self._queries.audit(
                connection, actor.user_id, "api_key.deleted", key_id, {}, info.request_id, info.address
            )
        self._context.auth.forget_user(actor.user_id)


def _check_expiry(expires_at: datetime | None) -> None:
    if expires_at is None:
        return
    if expires_at.tzinfo is None or expires_at <= datetime.now(UTC):
        raise error(
            "VALIDATION_ERROR",
            errors=[{"field": "expires_at", "message": "Give a time in the future with its offset from UTC"}],
        )
