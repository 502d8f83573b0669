"""Realtime put together: tickets, who may open a socket, and the sockets that are open."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from app.calls.service import Calls
from app.core.auth import Actor, check_limit
from app.core.context import AppContext, RequestInfo
from app.core.errors import TesseraError, error
from app.core.keys import digest
from app.core.metrics import SOCKETS
from app.core.wire import Wire
from app.realtime.guard import Guard
from app.realtime.hub import Hub
from app.realtime.presence import Audiences
from app.realtime.queries import RealtimeQueries
from app.realtime.sockets import EPOCH_CHANGED, LIMITED, Socket
from app.realtime.structs import Ticket
from app.streams.service import Viewers

SCOPE = "realtime:read"
TICKET_PREFIX = "rt_"


class Realtime:
    """One for an application."""

    def __init__(self, context: AppContext) -> None:
        settings = context.settings
        self.hub = context.get(Hub)
        self.viewers = context.get(Viewers)
        self.calls = context.get(Calls)
        self.queue_bytes = settings.realtime_queue_kb * 1024
        self._context = context
        self._queries = context.get(RealtimeQueries)
        self._sockets: dict[Socket, None] = {}
        self._of_user: Counter[object] = Counter()
        self._of_address: Counter[str] = Counter()
        self._origins = {_origin(text) for text in (*settings.cors_origins, settings.base_url)}
        self._guard = Guard(context, self._sockets)
        self._audiences = Audiences(context, self._sockets)
        self.hub.on_epoch.append(self._epoch_changed)

    # who may

    async def ticket(self, actor: Actor) -> Ticket:
        """A ticket for a socket of this caller."""
        made = TICKET_PREFIX + secrets.token_urlsafe(32)
        expires_at = await self._queries.add_ticket(
            digest(made), actor.user_id, actor.session_id, actor.key_id, actor.token_epoch, actor.expires_at
        )
        return Ticket(ticket=made, expires_at=expires_at)

    async def redeem(self, ticket: str, address: str) -> Actor:
        """Whose ticket it is; spent with that. Errors: INVALID_TICKET, INVALID_TOKEN, USER_SUSPENDED, RATE_LIMITED."""
        self._limit(address)
        found = await self._queries.take_ticket(digest(ticket))
        if found is None:
            raise error("INVALID_TICKET")
        (credit,) = await self._queries.credits([found.session_id], [found.key_id])
        if credit.status != "active":
            raise error("USER_SUSPENDED")
        if not credit.good or (found.token_epoch is not None and found.token_epoch != credit.token_epoch):
            raise error("INVALID_TOKEN", "The session has ended.")
        until = found.token_expires_at
        return Actor(
            user_id=found.user_id,
            scopes=None if credit.scopes is None else frozenset(credit.scopes),
            session_id=found.session_id,
            key_id=found.key_id,
            token_epoch=found.token_epoch,
            expires_at=None if until is None else until.timestamp(),
        )

    async def verify(self, credential: bytes, address: str) -> Actor:
        """Whose token or key it is. Errors: as Authenticator.verify, INSUFFICIENT_SCOPE."""
        return _scoped(await self._context.auth.verify(credential, address))

    async def authenticate(self, info: RequestInfo) -> Actor | None:
        """Who asks for the upgrade; None where they will say so later. Errors: as `verify`."""
        if info.authorization is None and info.api_key is None:
            return None
        return _scoped(await self._context.auth.authenticate(info))

    def check_origin(self, info: RequestInfo, host: bytes | None) -> None:
        """Let no page of a stranger open a socket in its reader's name. Errors: ORIGIN_NOT_ALLOWED."""
        if info.origin is None:
            return
        origin = _origin(info.origin.decode("latin-1"))
        own = origin.partition("://")[2] == (host or b"").decode("latin-1").lower()
        if not (own and origin) and origin not in self._origins and "*" not in self._origins:
            raise error("ORIGIN_NOT_ALLOWED")

    def check_address(self, address: str) -> None:
        """Errors: TOO_MANY_CONNECTIONS, RATE_LIMITED."""
        self._limit(address)
        maximum = self._context.settings.realtime_per_address
        if self._of_address[address] >= maximum:
            raise error("TOO_MANY_CONNECTIONS", maximum=maximum, limited_by="address")

    def _limit(self, address: str) -> None:
        check_limit(self._context.limits.address.hit(address), "address")

    def check_user(self, actor: Actor) -> None:
        """Errors: TOO_MANY_CONNECTIONS."""
        maximum = self._context.settings.realtime_per_user
        if self._of_user[actor.user_id] >= maximum:
            raise error("TOO_MANY_CONNECTIONS", maximum=maximum, limited_by="user")

    def admit(self, socket: Socket, actor: Actor) -> None:
        """A socket that has just said whose it is. Errors: TOO_MANY_CONNECTIONS."""
        self.check_user(actor)
        socket.actor = actor
        socket.doubted = True  # what was notified since they were looked at was not told to this socket
        self._of_user[actor.user_id] += 1

    # sockets

    async def serve(self, wire: Wire, receive: Callable[[], Any], info: RequestInfo, actor: Actor | None) -> Socket:
        """Serve an accepted socket until it is closed."""
        socket = Socket(self, wire, info.address)
        self._sockets[socket] = None
        self._of_address[info.address] += 1
        SOCKETS.inc()
        try:
            if self._of_address[info.address] > self._context.settings.realtime_per_address:
                socket.close(LIMITED, "TOO_MANY_CONNECTIONS")  # others came first
            elif actor is not None:
                try:
                    self.admit(socket, actor)
                except TesseraError as exc:  # another one came first
                    socket.close(LIMITED, exc.slug)
            await socket.run(receive)
        finally:
            del self._sockets[socket]
            SOCKETS.dec()
            _less(self._of_address, info.address)
            if socket.actor is not None:
                _less(self._of_user, socket.actor.user_id)
        return socket

    def _epoch_changed(self) -> None:
        for socket in tuple(self._sockets):
            if socket.follows:
                socket.close(EPOCH_CHANGED, "EPOCH_CHANGED")


def _scoped(actor: Actor) -> Actor:
    if not actor.may(SCOPE):
        raise error("INSUFFICIENT_SCOPE", required=SCOPE)
    return actor


def _less(counter: Counter[Any], key: object) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


def _origin(url: str) -> str:
    """Scheme and host of a URL, as browsers write an Origin."""
    if url == "*":
        return url
    try:
        parts = urlsplit(url.strip().lower())
        port = parts.port
    except ValueError:
        return ""
    default = {"http": 80, "https": 443}.get(parts.scheme)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None and port != default else "")
