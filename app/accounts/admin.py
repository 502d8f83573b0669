"""What admins do to accounts: look, change, suspend, give and take roles. Every change is in the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from msgspec import UNSET

from app.accounts.queries import AccountQueries
from app.accounts.structs import AdminUser, UserPatch
from app.core.auth import Actor
from app.core.context import AppContext, RequestInfo
from app.core.database import Connection
from app.core.errors import error


class UserAdmin:
    """Changes by an admin. They take effect at once in every process (app/core/revocation.py)."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._queries = context.get(AccountQueries)

    async def patch(self, actor: Actor, user_id: UUID, data: UserPatch, info: RequestInfo) -> AdminUser:
        """Change fields. Errors: USER_NOT_FOUND, EMAIL_TAKEN, USERNAME_TAKEN, OWN_RIGHTS."""
        changes: dict[str, Any] = {}
        if data.display_name is not UNSET:
            changes["display_name"] = data.display_name.strip()
        if data.username is not UNSET:
            changes["username"] = data.username.lower()
        if data.email is not UNSET:
            changes["email"] = data.email.strip().lower()
        if data.status is not UNSET:
            changes["status"] = data.status
        if changes.get("status") == "suspended":
            return await self.suspend(actor, user_id, "", info, changes)
        async with self._queries.db.transaction() as connection:
            user = await self._queries.update_user(connection, user_id, changes)
            await self._note(connection, actor, "user.changed", user_id, {"changed": sorted(changes)}, info)
        self._context.auth.forget_user(user_id)
        return user

    async def suspend(
        self,
        actor: Actor,
        user_id: UUID,
        reason: str,
        info: RequestInfo,
        changes: Mapping[str, Any] | None = None,
    ) -> AdminUser:
        """Refuse the user from now on: sessions end, keys are refused. Errors: USER_NOT_FOUND, OWN_RIGHTS."""
        if actor.user_id == user_id:
            raise error("OWN_RIGHTS")
        async with self._queries.db.transaction() as connection:
            user = await self._queries.update_user(connection, user_id, {**(changes or {}), "status": "suspended"})
            await self._queries.raise_token_epoch(connection, user_id)
            await self._queries.revoke_sessions(connection, user_id, "suspended")
            await self._note(connection, actor, "user.suspended", user_id, {"reason": reason}, info)
        self._context.auth.forget_user(user_id)
        return user

    async def set_roles(self, actor: Actor, user_id: UUID, roles: list[str], info: RequestInfo) -> AdminUser:
        """Set the roles. Errors: USER_NOT_FOUND, OWN_RIGHTS."""
        if actor.user_id == user_id:
            raise error("OWN_RIGHTS")
        async with self._queries.db.transaction() as connection:
            user = await self._queries.update_user(connection, user_id, {"roles": sorted(set(roles))})
            await self._note(connection, actor, "user.roles_set", user_id, {"roles": user.roles}, info)
        self._context.auth.forget_user(user_id)
        return user

    async def _note(
        self,
        connection: Connection,
        actor: Actor,
        action: str,
        user_id: UUID,
        details: Mapping[str, Any],
        info: RequestInfo,
    ) -> None:
        await self._queries.audit(connection, actor.user_id, action, user_id, details, info.request_id, info.address)
