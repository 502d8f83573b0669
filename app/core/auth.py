"""Who is asking, and may they?

A caller shows an access token (``Authorization: Bearer eyJ…``) or an API key (``Authorization: Bearer tsk_…`` or
``X-API-Key: tsk_…``). ``requires(...)`` is the guard of every route that is not public; it leaves an ``Actor``, which
handlers get as ``actor: CurrentActor``::

    @post("/tips/send", guards=[requires("tips:write")])
    async def send_tip(data: TipRequest, actor: CurrentActor, ...) -> TipReceipt: ...

Access tokens are HS256 JWTs of at most 15 minutes with issuer, audience, type and key id, all checked, algorithm
pinned. Verifying one and reading the account's state costs more than all the rest of a request, so what was verified
is remembered. Any change to an account, session or key is notified by the database in the commit that makes it
(app/core/revocation.py) and forgets that user's entries in every process at once; while the notifications cannot be
heard, nothing is remembered (docs/decisions/0010-token-cache-and-revocation.md).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, Protocol
from uuid import UUID

import jwt
import msgspec
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler

from app.core.context import RequestInfo, from_request, info_of
from app.core.errors import TesseraError, error
from app.core.keys import KEY_PREFIX, is_well_formed
from app.core.metrics import RATE_LIMITED, TOKEN_CHECKS
from app.core.ratelimit import RateLimits
from app.settings import Settings

Role = Literal["creator", "validator", "moderator", "operator", "admin"]

ALGORITHM = "HS256"
TOKEN_TYPE = "at+jwt"
MAX_CREDENTIAL = 2048
MAX_CACHED = 50_000
RECHECK_SECONDS = 60.0

STEP_UP = (
    "STEP_UP_REQUIRED",
    "STEP_UP_FAILED",
    "TOO_MANY_ATTEMPTS",
    "RATE_LIMITED",
    "SERVER_BUSY",
    "ENCRYPTION_NOT_CONFIGURED",
    "USER_NOT_FOUND",
)
"""Errors of routes that ask again who is asking (app/accounts/stepup.py)."""

SCOPES: set[str] = set()
"""Every scope that some route asks for. An API key has some of them; a signed-in session has all."""


class Actor(msgspec.Struct, frozen=True):
    """The caller. ``scopes`` is None for a signed-in session, which may do all that its user may."""

    user_id: UUID
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] | None = None
    session_id: UUID | None = None
    key_id: UUID | None = None
    rate_limit_per_minute: int | None = None
    token_epoch: int | None = None
    expires_at: float | None = None
    """When the token or key ends, in Unix seconds; None: never."""

    def may(self, scope: str) -> bool:
        """Does the credential cover this scope?"""
        return self.scopes is None or scope in self.scopes

    def has_role(self, role: str) -> bool:
        """Does the user hold the role? An admin holds all but ``creator`` and ``validator``."""
        return role in self.roles or ("admin" in self.roles and role not in ("creator", "validator"))


class SessionState(msgspec.Struct, frozen=True):
    """What the database says now about the session of an access token."""

    user_id: UUID
    status: str
    roles: list[str]
    token_epoch: int
    revoked: bool


class KeyState(msgspec.Struct, frozen=True):
    """What the database says now about an API key. ``expires_at`` in Unix seconds, None for never."""

    key_id: UUID
    user_id: UUID
    status: str
    roles: list[str]
    scopes: list[str]
    expires_at: float | None
    rate_limit_per_minute: int | None


class CredentialStore(Protocol):
    """Where the state of credentials is kept (app/accounts/queries.py)."""

    async def session_state(self, session_id: UUID) -> SessionState | None: ...

    async def key_state(self, key: str) -> KeyState | None: ...


class TokenSigner:
    """Issues and verifies access tokens. Keys rotate by key id: the current one signs, all known ones verify."""

    def __init__(self, settings: Settings) -> None:
        if settings.token_secret is None:
            raise ValueError("TESSERA_TOKEN_SECRET is not set")
        self._keys = settings.token_keys
        self._kid = settings.token_key_id
        self._issuer = settings.token_issuer
        self._audience = settings.token_audience
        self.ttl_seconds = settings.token_ttl_seconds

    def issue(self, user_id: UUID, session_id: UUID, token_epoch: int, now: float | None = None) -> str:
        """A token for this session, good for ``ttl_seconds``."""
        issued_at = int(time.time() if now is None else now)
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "sid": str(session_id),
            "epoch": token_epoch,
            "iat": issued_at,
            "exp": issued_at + self.ttl_seconds,
        }
        headers = {"typ": TOKEN_TYPE, "kid": self._kid}
        return jwt.encode(claims, self._keys[self._kid], algorithm=ALGORITHM, headers=headers)

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a valid token. Errors: TOKEN_EXPIRED, INVALID_TOKEN."""
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.get(header.get("kid", ""))
            if key is None or header.get("typ") != TOKEN_TYPE:
                raise error("INVALID_TOKEN")
            return jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                options={"require": ["iss", "aud", "sub", "sid", "epoch", "iat", "exp"]},
            )
        except jwt.ExpiredSignatureError:
            raise error("TOKEN_EXPIRED") from None
        except (jwt.PyJWTError, TypeError, ValueError):
            raise error("INVALID_TOKEN") from None


class _Cached(msgspec.Struct, frozen=True):
    actor: Actor
    until: float


class Authenticator:
    """Turns credentials into actors, remembering those it verified until something about their user changes."""

    def __init__(self, signer: TokenSigner, store: CredentialStore, limits: RateLimits) -> None:
        self.signer = signer
        self.trusted_until = 0.0
        """Monotonic time until which notifications of changes are known to arrive; the cache is used only till then."""
        self.on_revoked: list[Callable[[UUID | None], None]] = []
        """Called with each user whose rights changed (None: anybody's may have), to drop what was derived from them."""
        self.keys_used: dict[UUID, float] = {}
        """When each API key was last seen, in Unix seconds, until written down (app/accounts/service.py)."""
        self._store = store
        self._limits = limits
        self._cache: dict[bytes, _Cached] = {}
        self._by_user: dict[UUID, set[bytes]] = {}
        self._changes = 0

    def cached(self, credential: bytes) -> Actor | None:
        """The actor of a credential that was verified before, if that can be relied on now."""
        entry = self._cache.get(credential)
        if entry is None:
            return None
        now = time.monotonic()
        if now >= self.trusted_until or now >= entry.until:
            return None
        return entry.actor

    async def authenticate(self, info: RequestInfo) -> Actor:
        """The caller of this request, counted against their rate limit.

        Errors: NOT_AUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED, USER_SUSPENDED, RATE_LIMITED, DATABASE_UNAVAILABLE.
        """
        return await self.verify(_credential(info), info.address)

    async def verify(self, credential: bytes, address: str) -> Actor:
        """Whose token or key this is, counted against their rate limit. Errors: as `authenticate`."""
        actor = self.cached(credential)
        if actor is None:
            check_limit(self._limits.address.hit(address), "address")
            actor = await self._verify(credential)
        if actor.key_id is not None:
            self.keys_used[actor.key_id] = time.time()
            check_limit(self._limits.caller.hit(actor.key_id, actor.rate_limit_per_minute), "key")
        check_limit(self._limits.caller.hit(actor.user_id), "user")
        return actor

    def forget_user(self, user_id: UUID) -> None:
        """Verify this user's credentials anew from now on."""
        self._changes += 1
        for credential in self._by_user.pop(user_id, ()):
            self._cache.pop(credential, None)
        for callback in self.on_revoked:
            callback(user_id)

    def forget_all(self) -> None:
        """Verify everything anew: changes may have been missed."""
        self._changes += 1
        self._cache.clear()
        self._by_user.clear()
        for callback in self.on_revoked:
            callback(None)

    async def _verify(self, credential: bytes) -> Actor:
        changes = self._changes
        text = credential.decode("latin-1")
        if text.startswith(KEY_PREFIX):
            actor, seconds = await self._verify_key(text)
        else:
            actor, seconds = await self._verify_token(text)
        if changes == self._changes:
            self._remember(credential, actor, seconds)
        return actor

    async def _verify_token(self, token: str) -> tuple[Actor, float]:
        claims = self.signer.verify(token)
        TOKEN_CHECKS.labels("token").inc()
        try:
            session_id, user_id = UUID(claims["sid"]), UUID(claims["sub"])
        except (ValueError, AttributeError, TypeError):
            raise error("INVALID_TOKEN") from None
        state = await self._store.session_state(session_id)
        if state is None or state.user_id != user_id:
            raise error("INVALID_TOKEN")
        if state.status != "active":
            raise error("USER_SUSPENDED")
        if state.revoked or state.token_epoch != claims["epoch"]:
            raise error("INVALID_TOKEN", "The session has ended.")
        actor = Actor(
            user_id=user_id,
            roles=frozenset(state.roles),
            session_id=session_id,
            token_epoch=state.token_epoch,
            expires_at=float(claims["exp"]),
        )
        return actor, claims["exp"] - time.time()

    async def _verify_key(self, key: str) -> tuple[Actor, float]:
        if not is_well_formed(key):
            raise error("INVALID_TOKEN")
        TOKEN_CHECKS.labels("key").inc()
        state = await self._store.key_state(key)
        if state is None:
            raise error("INVALID_TOKEN")
        if state.status != "active":
            raise error("USER_SUSPENDED")
        seconds = RECHECK_SECONDS if state.expires_at is None else state.expires_at - time.time()
        if seconds <= 0:
            raise error("TOKEN_EXPIRED")
        actor = Actor(
            user_id=state.user_id,
            roles=frozenset(state.roles),
            scopes=frozenset(state.scopes),
            key_id=state.key_id,
            rate_limit_per_minute=state.rate_limit_per_minute,
            expires_at=state.expires_at,
        )
        return actor, seconds

    def _remember(self, credential: bytes, actor: Actor, seconds: float) -> None:
        if len(self._cache) >= MAX_CACHED and credential not in self._cache:
            oldest = next(iter(self._cache))
            user_id = self._cache.pop(oldest).actor.user_id
            credentials = self._by_user.get(user_id)
            if credentials is not None:
                credentials.discard(oldest)
                if not credentials:
                    del self._by_user[user_id]
        self._cache[credential] = _Cached(actor, time.monotonic() + min(seconds, RECHECK_SECONDS))
        self._by_user.setdefault(actor.user_id, set()).add(credential)


def check_limit(wait_seconds: float, by: str) -> None:
    """Refuse the request when a rate limit says to wait. Errors: RATE_LIMITED."""
    if wait_seconds > 0:
        RATE_LIMITED.labels(by).inc()
        raise error("RATE_LIMITED", retry_after=int(wait_seconds) + 1, limited_by=by)


def _credential(info: RequestInfo) -> bytes:
    if info.authorization is not None:
        scheme, _, credential = info.authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not credential or len(credential) > MAX_CREDENTIAL:
            raise error("INVALID_TOKEN", "Send 'Authorization: Bearer <token or key>'.")
        return credential
    if info.api_key is None:
        raise error("NOT_AUTHENTICATED")
    if len(info.api_key) > MAX_CREDENTIAL or not info.api_key.startswith(KEY_PREFIX.encode()):
        raise error("INVALID_TOKEN")
    return info.api_key


Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]


def requires(scope: str | None = None, *, role: Role | None = None, session: bool = False) -> Guard:
    """A guard: the caller must be signed in, cover ``scope``, and hold ``role``.

    ``session=True`` refuses API keys: for what only a person may do (their keys, their password).
    Errors: those of ``Authenticator.authenticate``, INSUFFICIENT_SCOPE, FORBIDDEN.
    """
    if scope is not None:
        SCOPES.add(scope)

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        info = info_of(connection.scope)
        actor = await info.context.auth.authenticate(info)
        if scope is not None and actor.scopes is not None and scope not in actor.scopes:
            raise error("INSUFFICIENT_SCOPE", required=scope)
        if session and actor.session_id is None:
            raise error("INSUFFICIENT_SCOPE", "An API key cannot do this; sign in.")
        if role is not None and not actor.has_role(role):
            raise error("FORBIDDEN", required_role=role)
        info.actor = actor

    guard.requires = (scope, role, session)  # type: ignore[attr-defined]
    return guard


def _actor(info: RequestInfo) -> Actor:
    if info.actor is None:
        raise error("NOT_AUTHENTICATED")
    return info.actor


CurrentActor = NamedDependency[Actor]
"""Annotation of a handler's ``actor`` parameter: the caller that its guard let in."""

provide_actor = from_request(_actor)

__all__ = [
    "Actor",
    "Authenticator",
    "CurrentActor",
    "TesseraError",
    "TokenSigner",
    "requires",
]
