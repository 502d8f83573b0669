"""What accounts do beyond one statement: passwords, tokens, attempts, and the order in which these are asked.

Decisions are told in docs/decisions/ (sessions, refresh tokens and the grace for a lost answer; limits on attempts;
what registration reveals).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
from uuid import UUID

import structlog

from app.accounts.passwords import Passwords, check_policy
from app.accounts.queries import AccountQueries, RefreshRow
from app.accounts.structs import CreatorRequest, LoginRequest, LogoutRequest, Profile, RegisterRequest, Tokens
from app.core.auth import Actor, check_limit
from app.core.context import AppContext, RequestInfo
from app.core.database import Connection
from app.core.errors import TesseraError, error
from app.core.keys import REFRESH_PREFIX, digest, new_refresh_token
from app.core.metrics import LOGINS

ATTEMPTS = 5
ATTEMPT_WINDOW_SECONDS = 15 * 60
GRACE_SECONDS = 30
"""How long a used refresh token gives the same successor again: its answer may have been lost."""
NOTE_KEYS_SECONDS = 30.0

log = structlog.get_logger("tessera.accounts")


class Accounts:
    """Registration, sessions and profiles of one application."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._settings = context.settings
        self._queries = context.get(AccountQueries)
        self.passwords = Passwords()
        context.on_shutdown.append(self._stop)
        context.in_background(self._note_keys, "api-keys-last-used")

    # Getting in

    async def register(self, data: RegisterRequest, info: RequestInfo) -> Tokens:
        """A new account, signed in. Errors: WEAK_PASSWORD, EMAIL_TAKEN, USERNAME_TAKEN, RATE_LIMITED."""
        check_limit(self._context.limits.sign_in.hit(limit_address(info.address)), "address")
        email = normalise_email(data.email)
        check_policy(data.password, email, data.username, email.partition("@")[0])
        password_hash = await self.passwords.hash(data.password)
        async with self._queries.db.transaction() as connection:
            user_id = await self._queries.register_user(
                connection, email, data.username, data.display_name, password_hash
            )
            return await self._new_session(connection, user_id, 0, info)

    async def login(self, data: LoginRequest, info: RequestInfo) -> Tokens:
        """Sign in. Unknown user and wrong password give the same answer after the same work.

        Errors: INVALID_CREDENTIALS, TOO_MANY_ATTEMPTS, USER_SUSPENDED (only after the right password), RATE_LIMITED.
        """
        address = limit_address(info.address)
        check_limit(self._context.limits.sign_in.hit(address), "address")
        email = normalise_email(data.email)
        account_hash = digest(email)
        attempts, seconds = await self._queries.count_attempt(account_hash, address, ATTEMPT_WINDOW_SECONDS)
        if attempts > ATTEMPTS:
            LOGINS.labels("limited").inc()
            raise error("TOO_MANY_ATTEMPTS", retry_after=max(1, seconds))
        user = await self._queries.login_row(email)
        if not await self.passwords.verify(user.password_hash if user else None, data.password) or user is None:
            LOGINS.labels("refused").inc()
            raise error("INVALID_CREDENTIALS")
        await self._queries.clear_attempts(account_hash, address)
        if user.status != "active":
            LOGINS.labels("suspended").inc()
            raise error("USER_SUSPENDED")
        if user.password_hash is not None and self.passwords.is_outdated(user.password_hash):
            await self._queries.set_password_hash(user.id, await self.passwords.hash(data.password))
        LOGINS.labels("ok").inc()
        async with self._queries.db.transaction() as connection:
            return await self._new_session(connection, user.id, user.token_epoch, info)

    async def refresh(self, token: str, info: RequestInfo) -> Tokens:
        """The next pair of tokens. A token used again within ``GRACE_SECONDS`` gives the same successor again;
        later, its whole session is revoked, because one of its two users is not the owner.

        Errors: INVALID_TOKEN, REFRESH_TOKEN_REUSED, USER_SUSPENDED, RATE_LIMITED.
        """
        check_limit(self._context.limits.address.hit(limit_address(info.address)), "address")
        if not token.startswith(REFRESH_PREFIX):
            raise error("INVALID_TOKEN")
        token_hash = digest(token)
        async with self._queries.db.transaction() as connection:
            row = await self._queries.lock_refresh_token(connection, token_hash, GRACE_SECONDS)
            if row is None or row.session_ended:
                raise error("INVALID_TOKEN")
            if row.status != "active":
                raise error("USER_SUSPENDED")
            successor = self._successor(token, row)
            if successor is not None:
                if not row.used:
                    await self._queries.use_refresh_token(
                        connection, token_hash, digest(successor), row.session_id, self._settings.refresh_ttl_days
                    )
                profile = await self._queries.profile(row.user_id, connection)
                return self._tokens(profile, row.session_id, row.token_epoch, successor)
            await self._queries.revoke_session(connection, row.session_id, "refresh_token_reused")
            await self._queries.audit(
                connection, row.user_id, "session.reuse_detected", row.session_id, {}, info.request_id, info.address
            )
        self._context.auth.forget_user(row.user_id)
        log.warning("session_reuse_detected", user_id=str(row.user_id), request_id=info.request_id)
        raise error("REFRESH_TOKEN_REUSED")

    async def logout(self, data: LogoutRequest) -> None:
        """End the session of this refresh token, or all of its user's. An unknown token changes nothing."""
        async with self._queries.db.transaction() as connection:
            row = await self._queries.lock_refresh_token(connection, digest(data.refresh_token), GRACE_SECONDS)
            if row is None:
                return
            if data.everywhere and not row.session_ended:
                await self._queries.revoke_sessions(connection, row.user_id, "logout")
            else:
                await self._queries.revoke_session(connection, row.session_id, "logout")
        self._context.auth.forget_user(row.user_id)

    # Being somebody

    async def become_creator(self, actor: Actor, data: CreatorRequest, info: RequestInfo) -> Profile:
        """Take on the role, or change what is asked for."""
        async with self._queries.db.transaction() as connection:
            user_id = actor.user_id
            await self._queries.set_creator(connection, user_id, data)
            if await self._queries.add_role(connection, user_id, "creator"):
                await self._queries.audit(
                    connection, user_id, "user.became_creator", user_id, {}, info.request_id, info.address
                )
            profile = await self._queries.profile(user_id, connection)
        self._context.auth.forget_user(user_id)
        return profile

    # Inside

    async def _new_session(self, connection: Connection, user_id: UUID, token_epoch: int, info: RequestInfo) -> Tokens:
        refresh_token = new_refresh_token()
        agent = (info.user_agent or b"").decode("latin-1").encode("ascii", "replace").decode()[:200] or None
        session_id = await self._queries.new_session(
            connection, user_id, digest(refresh_token), self._settings.refresh_ttl_days, agent, info.address[:64]
        )
        profile = await self._queries.profile(user_id, connection)
        return self._tokens(profile, session_id, token_epoch, refresh_token)

    def _tokens(self, profile: Profile, session_id: UUID, token_epoch: int, refresh_token: str) -> Tokens:
        signer = self._context.auth.signer
        return Tokens(
            access_token=signer.issue(profile.id, session_id, token_epoch),
            refresh_token=refresh_token,
            expires_in=signer.ttl_seconds,
            user=profile,
        )

    def _successor(self, token: str, row: RefreshRow) -> str | None:
        """The token that comes after this one; None when it was used up longer ago than a lost answer explains.

        It is derived, not drawn, so that it can be given again without being stored.
        """
        if not row.used:
            return derive_successor(self._settings.token_secret or "", token, row.session_id)
        if row.used_recently:
            for secret in self._settings.token_keys.values():
                successor = derive_successor(secret, token, row.session_id)
                if digest(successor) == row.successor_hash:
                    return successor
        return None

    async def _stop(self) -> None:
        await self._write_keys_used()
        await self.passwords.close()

    async def _note_keys(self) -> None:
        while True:
            await asyncio.sleep(NOTE_KEYS_SECONDS)
            await self._write_keys_used()

    async def _write_keys_used(self) -> None:
        auth = self._context.auth
        used, auth.keys_used = auth.keys_used, {}
        if not used:
            return
        try:
            await self._queries.note_keys_used(used)
        except TesseraError:
            auth.keys_used = {**used, **auth.keys_used}


def derive_successor(secret: str, token: str, session_id: UUID) -> str:
    """The refresh token that follows ``token``; nobody can tell it without our secret."""
    mac = hmac.new(secret.encode(), b"refresh-successor\0" + session_id.bytes + token.encode(), hashlib.sha256)
    return REFRESH_PREFIX + mac.hexdigest()


def normalise_email(email: str) -> str:
    """The form in which an email address is stored and looked up."""
    return email.strip().lower()


def limit_address(address: str) -> str:
    """What attempts are counted under: the address, or of IPv6 the /64, which is what one subscriber gets."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return address
