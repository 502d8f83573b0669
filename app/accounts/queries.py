"""The SQL of accounts: one typed function per statement.

Statements that belong to one decision take the connection whose transaction they are part of; the others take one of
the pool for themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from app.accounts.structs import AdminUser, ApiKey, Creator, CreatorRequest, Profile
from app.accounts.tables import User
from app.core.auth import KeyState, SessionState
from app.core.context import AppContext
from app.core.database import Connection
from app.core.errors import error
from app.core.keys import digest
from app.core.vault import Sealed

_PROFILE = "u.id, u.email, u.username, u.display_name, u.roles, u.status, u.created_at"
_KEY = "id, name, prefix, scopes, created_at, rotated_at, expires_at, last_used_at, rate_limit_per_minute"
_ADMIN = "id, email, username, display_name, roles, status, created_at, updated_at"


class LoginRow(msgspec.Struct, frozen=True):
    """What logging in needs to know of a user."""

    id: UUID
    password_hash: str | None
    status: str
    token_epoch: int


class RefreshRow(msgspec.Struct, frozen=True):
    """A refresh token with its session and user, the session locked."""

    session_id: UUID
    user_id: UUID
    status: str
    token_epoch: int
    session_ended: bool
    used: bool
    used_recently: bool
    successor_hash: bytes | None


class StepUpRow(msgspec.Struct, frozen=True):
    """What showing again that it is you needs to know of a user."""

    email: str
    password_hash: str | None
    confirmed: bool
    key_id: str | None
    secret: bytes | None
    last_step: int


class AccountQueries:
    """Statements on users, sessions, keys and what belongs to them."""

    def __init__(self, context: AppContext) -> None:
        self.db = context.database

    # Credentials (app/core/auth.py asks these when it has nothing remembered)

    async def session_states(self, session_ids: Sequence[UUID]) -> list[SessionState | None]:
        """What access tokens of these sessions are worth now, in order; None where there is no such session."""
        rows = await self.db.fetch(
            """
            SELECT u.id AS user_id, u.status, u.roles, u.token_epoch, s.revoked_at IS NOT NULL AS revoked
            FROM unnest($1::uuid[]) WITH ORDINALITY AS i (id, ord)
            LEFT JOIN core.sessions AS s ON s.id = i.id
            LEFT JOIN core.users AS u ON u.id = s.user_id
            ORDER BY i.ord
            """,
            session_ids,
        )
        return [None if row["user_id"] is None else SessionState(**row) for row in rows]

    async def key_state(self, key: str) -> KeyState | None:
        """What an API key is worth now; None when there is no such key, or it was deleted."""
        return await self.db.fetch_one_as(
            KeyState,
            """
            SELECT k.id AS key_id, u.id AS user_id, u.status, u.roles, k.scopes, k.rate_limit_per_minute,
                   extract(epoch FROM least(
                       k.expires_at, CASE WHEN k.key_hash <> $1 THEN k.old_key_expires_at END
                   ))::double precision AS expires_at
            FROM core.api_keys AS k JOIN core.users AS u ON u.id = k.user_id
            WHERE (k.key_hash = $1 OR k.old_key_hash = $1) AND k.deleted_at IS NULL
            """,
            digest(key),
        )

    async def note_keys_used(self, used: Mapping[UUID, float]) -> None:
        """Write down when keys were last seen (Unix seconds)."""
        await self.db.execute(
            """
            UPDATE core.api_keys AS k SET last_used_at = to_timestamp(s.seen)
            FROM unnest($1::uuid[], $2::double precision[]) AS s (id, seen)
            WHERE k.id = s.id AND (k.last_used_at IS NULL OR k.last_used_at < to_timestamp(s.seen))
            """,
            list(used),
            list(used.values()),
        )

    # Users

    async def register_user(
        self, connection: Connection, email: str, username: str, display_name: str | None, password_hash: str
    ) -> UUID:
        """A new account with its wallets. Errors: INVALID_REQUEST, EMAIL_TAKEN, USERNAME_TAKEN."""
        user_id: UUID = await connection.fetchval(
            "SELECT r.user_id FROM api.register_user($1, $2, $3, $4) AS r", email, username, display_name, password_hash
        )
        return user_id

    async def login_row(self, email: str) -> LoginRow | None:
        """The user with this (lower-case) email address."""
        return await self.db.fetch_one_as(
            LoginRow,
            "SELECT u.id, u.password_hash, u.status, u.token_epoch FROM core.users AS u WHERE lower(u.email) = $1",
            email,
        )

    async def set_password_hash(self, user_id: UUID, password_hash: str) -> None:
        """Store the hash of the same password made with other parameters."""
        await self.db.execute("UPDATE core.users SET password_hash = $2 WHERE id = $1", user_id, password_hash)

    async def profile(self, user_id: UUID, connection: Connection | None = None) -> Profile:
        """A user with what they ask for as a creator. Errors: USER_NOT_FOUND."""
        sql = f"""
            SELECT {_PROFILE}, c.rate_per_minute, c.ticket_price, c.bio, c.accepts_calls
            FROM core.users AS u LEFT JOIN core.creator_settings AS c ON c.user_id = u.id
            WHERE u.id = $1
            """
        row = await (connection or self.db).fetchrow(sql, user_id)
        if row is None:
            raise error("USER_NOT_FOUND")
        fields = dict(row)
        asked = {name: fields.pop(name) for name in Creator.__struct_fields__}
        is_creator = asked["rate_per_minute"] is not None and "creator" in fields["roles"]
        return Profile(**fields, creator=Creator(**asked) if is_creator else None)

    async def update_user(self, connection: Connection, user_id: UUID, changes: Mapping[str, Any]) -> AdminUser:
        """Set the named columns (never from client input). Errors: USER_NOT_FOUND, EMAIL_TAKEN, USERNAME_TAKEN."""
        assignments = "".join(f", {column} = ${number}" for number, column in enumerate(changes, 2))
        row = await connection.fetchrow(
            f"UPDATE core.users SET updated_at = now(){assignments} WHERE id = $1 RETURNING {_ADMIN}",
            user_id,
            *changes.values(),
        )
        if row is None:
            raise error("USER_NOT_FOUND", user_id=user_id)
        return AdminUser(**row)

    async def raise_token_epoch(self, connection: Connection, user_id: UUID) -> None:
        """Make every access token of the user issued so far worthless."""
        await connection.execute("UPDATE core.users SET token_epoch = token_epoch + 1 WHERE id = $1", user_id)

    async def add_role(self, connection: Connection, user_id: UUID, role: str) -> bool:
        """Give the user a role; False when they had it."""
        status = await connection.execute(
            """
            UPDATE core.users SET roles = array_append(roles, $2), updated_at = now()
            WHERE id = $1 AND NOT roles @> ARRAY[$2]
            """,
            user_id,
            role,
        )
        return bool(status == "UPDATE 1")

    async def set_creator(self, connection: Connection, user_id: UUID, data: CreatorRequest) -> None:
        """Set what a creator asks for."""
        await connection.execute(
            """
            INSERT INTO core.creator_settings AS c (user_id, rate_per_minute, ticket_price, bio, accepts_calls)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (user_id) DO UPDATE SET rate_per_minute = excluded.rate_per_minute,
                ticket_price = excluded.ticket_price, bio = excluded.bio, accepts_calls = excluded.accepts_calls,
                updated_at = now()
            """,
            user_id,
            data.rate_per_minute,
            data.ticket_price,
            data.bio,
            data.accepts_calls,
        )

    async def admin_user(self, user_id: UUID) -> AdminUser:
        """A user. Errors: USER_NOT_FOUND."""
        user = await self.db.fetch_one_as(AdminUser, f"SELECT {_ADMIN} FROM core.users WHERE id = $1", user_id)
        if user is None:
            raise error("USER_NOT_FOUND", user_id=user_id)
        return user

    async def admin_users(
        self, limit: int, before: UUID | None, status: str | None, role: str | None, search: str | None
    ) -> list[AdminUser]:
        """Users, newest first, from the one before ``before`` on. ``search`` is the start of an email or username."""
        columns = (User.id, User.email, User.username, User.display_name, User.roles, User.status)
        query = User.select(*columns, User.created_at, User.updated_at).order_by(User.id, ascending=False)
        if before is not None:
            query = query.where(User.id < before)
        if status is not None:
            query = query.where(User.status == status)
        if role is not None:
            query = query.where(User.roles.any(role))
        if search is not None:
            start = search.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            query = query.where(User.email.like(start) | User.username.like(start))
        return await self.db.run(query.limit(limit), AdminUser)

    # Attempts to log in

    async def count_attempt(self, account_hash: bytes, address: str, window_seconds: int) -> tuple[int, int]:
        """Count an attempt before it is made; attempts in this window, and seconds until it ends."""
        row = await self.db.fetchrow(
            """
            INSERT INTO core.login_attempts AS a (account_hash, address, attempts, since)
            VALUES ($1, $2, 1, now())
            ON CONFLICT (account_hash, address) DO UPDATE SET
                attempts = CASE WHEN a.since <= now() - make_interval(secs => $3) THEN 1 ELSE a.attempts + 1 END,
                since = CASE WHEN a.since <= now() - make_interval(secs => $3) THEN now() ELSE a.since END
            RETURNING a.attempts, ceil(extract(epoch FROM a.since - now()) + $3)::integer AS seconds
            """,
            account_hash,
            address,
            float(window_seconds),
        )
        assert row is not None
        return row["attempts"], row["seconds"]

    async def clear_attempts(self, account_hash: bytes, address: str) -> None:
        """Forget the attempts of this pair: one succeeded."""
        await self.db.execute(
            "DELETE FROM core.login_attempts WHERE account_hash = $1 AND address = $2", account_hash, address
        )

    # Second factor

    async def step_up_row(self, user_id: UUID) -> StepUpRow:
        """Password and second factor of a user. Errors: USER_NOT_FOUND."""
        row = await self.db.fetch_one_as(
            StepUpRow,
            """
            SELECT u.email, u.password_hash, t.confirmed_at IS NOT NULL AS confirmed, t.key_id, t.secret,
                   coalesce(t.last_step, 0) AS last_step
            FROM core.users AS u LEFT JOIN core.totp_secrets AS t ON t.user_id = u.id
            WHERE u.id = $1
            """,
            user_id,
        )
        if row is None:
            raise error("USER_NOT_FOUND")
        return row

    async def enrol_totp(self, user_id: UUID, sealed: Sealed) -> bool:
        """Keep a secret that is not confirmed yet; False where one is confirmed."""
        count = await self.db.execute(
            """
            INSERT INTO core.totp_secrets AS t (user_id, key_id, secret) VALUES ($1, $2, $3)
            ON CONFLICT (user_id) DO UPDATE SET
                key_id = excluded.key_id, secret = excluded.secret, created_at = now(), last_step = 0
            WHERE t.confirmed_at IS NULL
            """,
            user_id,
            sealed.key_id,
            sealed.data,
        )
        return count == 1

    async def use_totp_step(self, user_id: UUID, sealed: bytes, step: int) -> bool:
        """Take the code of this step, the first one of an enrolment too; False where it, or a later one, was taken, or
        the secret is another by now."""
        count = await self.db.execute(
            """
            UPDATE core.totp_secrets SET last_step = $3, confirmed_at = coalesce(confirmed_at, now())
            WHERE user_id = $1 AND secret = $2 AND last_step < $3
            """,
            user_id,
            sealed,
            step,
        )
        return count == 1

    async def remove_totp(self, user_id: UUID) -> None:
        """From now on passwords do again."""
        await self.db.execute("DELETE FROM core.totp_secrets WHERE user_id = $1", user_id)

    # Sessions and refresh tokens

    async def new_session(
        self, connection: Connection, user_id: UUID, token_hash: bytes, days: int, user_agent: str | None, address: str
    ) -> UUID:
        """A session with its first refresh token."""
        session_id: UUID = await connection.fetchval(
            """
            WITH s AS (
                INSERT INTO core.sessions (user_id, expires_at, user_agent, address)
                VALUES ($1, now() + make_interval(days => $3), $4, $5) RETURNING id
            )
            INSERT INTO core.refresh_tokens (token_hash, session_id) SELECT $2, s.id FROM s RETURNING session_id
            """,
            user_id,
            token_hash,
            days,
            user_agent,
            address,
        )
        return session_id

    async def lock_refresh_token(
        self, connection: Connection, token_hash: bytes, grace_seconds: int
    ) -> RefreshRow | None:
        """The token, its session locked so that of two refreshes at once the second sees the first."""
        await connection.execute(
            """
            SELECT s.id FROM core.sessions AS s JOIN core.refresh_tokens AS t ON t.session_id = s.id
            WHERE t.token_hash = $1 FOR UPDATE OF s
            """,
            token_hash,
        )
        row = await connection.fetchrow(
            """
            SELECT s.id AS session_id, u.id AS user_id, u.status, u.token_epoch, t.successor_hash,
                   (s.revoked_at IS NOT NULL OR s.expires_at <= now()) AS session_ended,
                   t.used_at IS NOT NULL AS used,
                   coalesce(t.used_at > clock_timestamp() - make_interval(secs => $2), false) AS used_recently
            FROM core.refresh_tokens AS t
            JOIN core.sessions AS s ON s.id = t.session_id
            JOIN core.users AS u ON u.id = s.user_id
            WHERE t.token_hash = $1
            """,
            token_hash,
            float(grace_seconds),
        )
        return None if row is None else RefreshRow(**row)

    async def use_refresh_token(
        self, connection: Connection, token_hash: bytes, successor_hash: bytes, session_id: UUID, days: int
    ) -> None:
        """Put the successor in the token's place and move the end of the session on."""
        await connection.execute(
            "UPDATE core.refresh_tokens SET used_at = clock_timestamp(), successor_hash = $2 WHERE token_hash = $1",
            token_hash,
            successor_hash,
        )
        await connection.execute(
            "INSERT INTO core.refresh_tokens (token_hash, session_id) VALUES ($1, $2)", successor_hash, session_id
        )
        await connection.execute(
            """
            UPDATE core.sessions SET last_used_at = now(), expires_at = now() + make_interval(days => $2) WHERE id = $1
            """,
            session_id,
            days,
        )

    async def revoke_session(self, connection: Connection, session_id: UUID, reason: str) -> None:
        """End a session."""
        await connection.execute(
            "UPDATE core.sessions SET revoked_at = now(), revoke_reason = $2 WHERE id = $1 AND revoked_at IS NULL",
            session_id,
            reason,
        )

    async def revoke_sessions(self, connection: Connection, user_id: UUID, reason: str) -> None:
        """End all sessions of a user."""
        await connection.execute(
            "UPDATE core.sessions SET revoked_at = now(), revoke_reason = $2 WHERE user_id = $1 AND revoked_at IS NULL",
            user_id,
            reason,
        )

    # API keys

    async def api_keys(self, user_id: UUID) -> list[ApiKey]:
        """The user's keys, newest first."""
        return await self.db.fetch_as(
            ApiKey,
            f"SELECT {_KEY} FROM core.api_keys WHERE user_id = $1 AND deleted_at IS NULL ORDER BY id DESC",
            user_id,
        )

    async def lock_user(self, connection: Connection, user_id: UUID) -> int:
        """Make changes to the user's keys wait for each other; how many keys there are."""
        await connection.execute("SELECT 1 FROM core.users WHERE id = $1 FOR NO KEY UPDATE", user_id)
        count: int = await connection.fetchval(
            "SELECT count(*) FROM core.api_keys WHERE user_id = $1 AND deleted_at IS NULL", user_id
        )
        return count

    async def new_api_key(
        self,
        connection: Connection,
        user_id: UUID,
        key: str,
        prefix: str,
        name: str,
        scopes: Sequence[str],
        expires_at: datetime | None,
        rate_limit_per_minute: int | None,
    ) -> ApiKey:
        """Store a key that was just made."""
        row = await connection.fetchrow(
            f"""
            INSERT INTO core.api_keys (user_id, name, prefix, key_hash, scopes, expires_at, rate_limit_per_minute)
            VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {_KEY}
            """,
            user_id,
            name,
            prefix,
            digest(key),
            list(scopes),
            expires_at,
            rate_limit_per_minute,
        )
        assert row is not None
        return ApiKey(**row)

    async def rotate_api_key(
        self, connection: Connection, user_id: UUID, key_id: UUID, key: str, prefix: str, overlap_seconds: int
    ) -> ApiKey:
        """Put a new key in the old one's place. Errors: API_KEY_NOT_FOUND."""
        row = await connection.fetchrow(
            f"""
            UPDATE core.api_keys SET key_hash = $3, prefix = $4, rotated_at = now(),
                old_key_hash = CASE WHEN $5::double precision > 0 THEN key_hash END,
                old_key_expires_at = CASE WHEN $5::double precision > 0 THEN now() + make_interval(secs => $5) END
            WHERE id = $2 AND user_id = $1 AND deleted_at IS NULL
            RETURNING {_KEY}
            """,
            user_id,
            key_id,
            digest(key),
            prefix,
            float(overlap_seconds),
        )
        if row is None:
            raise error("API_KEY_NOT_FOUND")
        return ApiKey(**row)

    async def delete_api_key(self, connection: Connection, user_id: UUID, key_id: UUID) -> None:
        """Make a key worthless. Errors: API_KEY_NOT_FOUND."""
        status = await connection.execute(
            """
            UPDATE core.api_keys SET deleted_at = now(), old_key_hash = NULL, old_key_expires_at = NULL
            WHERE id = $2 AND user_id = $1 AND deleted_at IS NULL
            """,
            user_id,
            key_id,
        )
        if status != "UPDATE 1":
            raise error("API_KEY_NOT_FOUND")

    # Audit log

    async def audit(
        self,
        connection: Connection,
        actor_id: UUID | None,
        action: str,
        subject_id: UUID | None,
        details: Mapping[str, Any],
        request_id: str | None = None,
        address: str | None = None,
    ) -> None:
        """Note who did what to whom, in the transaction that does it."""
        await connection.execute(
            """
            INSERT INTO core.audit_log (actor_id, action, subject_id, details, request_id, address)
            VALUES ($1, $2, $3, $4::text::jsonb, $5, $6)
            """,
            actor_id,
            action,
            subject_id,
            msgspec.json.encode(details).decode(),
            request_id,
            address,
        )
