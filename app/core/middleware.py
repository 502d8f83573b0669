"""The edge: one pure ASGI layer around everything, also around routing errors and CORS.

For each request it notes an id (``X-Request-ID``, accepted or made), the client's address (``X-Forwarded-For`` peeled
back through trusted proxies only) and the headers that handlers need, in one pass; adds the id and the security
headers to the answer; and leaves an access line and a metric. One layer, because each costs every request.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
import secrets
import time
from collections.abc import Iterable
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from app.core.context import AppContext, RequestInfo
from app.core.logging import AccessLog
from app.core.metrics import observe_request
from app.core.relaying import Relay

CSP = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_SECURITY_HEADERS: list[tuple[bytes, bytes]] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
_RESOURCE_POLICY = b"same-site"
_HSTS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
_FIELDS = {
    b"authorization": "authorization",
    b"x-api-key": "api_key",
    b"content-type": "content_type",
    b"content-length": "content_length",
    b"user-agent": "user_agent",
    b"origin": "origin",
}

_READS = ("GET", "HEAD", "OPTIONS")

log = structlog.get_logger("tessera.http")


class Edge:
    """See the module. ``app`` is Litestar's own handler."""

    def __init__(self, app: ASGIApp, context: AppContext, access_log: AccessLog) -> None:
        self.app = app
        self.context = context
        self.access_log = access_log
        self._relay = context.get(Relay)
        self._prefix = secrets.token_hex(6)
        self._count = itertools.count(1)
        self._proxies = TrustedProxies(context.settings.trusted_proxies)
        self._log_requests = context.settings.log_level in ("debug", "info")
        self._headers = list(_SECURITY_HEADERS)
        if context.settings.base_url.startswith("https://"):
            self._headers.append(_HSTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        info = self._read(scope)
        scope["tessera"] = info  # type: ignore[typeddict-unknown-key]
        if scope["type"] == ScopeType.WEBSOCKET:
            await self.app(scope, receive, send)
            return

        async def respond(message: Message) -> None:
            if message["type"] == "http.response.start":
                info.status = message["status"]
                if 200 <= info.status < 300 and scope["method"] not in _READS:
                    self._relay.poke()
                headers = message["headers"] = list(message.get("headers", ()))
                headers += self._headers
                headers.append((b"content-security-policy", info.csp or CSP))
                headers.append((b"cross-origin-resource-policy", info.resource_policy or _RESOURCE_POLICY))
                headers.append((b"x-request-id", info.request_id.encode("latin-1")))
            await send(message)

        try:
            await self.app(scope, receive, respond)
        finally:
            self._note(scope, info)

    def _read(self, scope: Any) -> RequestInfo:
        info = RequestInfo()
        info.started = time.perf_counter()
        info.context = self.context
        info.authorization = info.api_key = info.content_type = info.content_length = None
        info.user_agent = info.origin = info.actor = info.csp = info.resource_policy = None
        info.msgpack = False
        info.status = 0
        request_id = forwarded = key = None
        for name, value in scope["headers"]:
            field = _FIELDS.get(name)
            if field is not None:
                setattr(info, field, value)
            elif name == b"idempotency-key":
                key = value if key is None else key + b", " + value  # two keys are none
            elif name == b"accept":
                info.msgpack = b"msgpack" in value
            elif name == b"x-request-id":
                request_id = value
            elif name == b"x-forwarded-for":
                forwarded = value if forwarded is None else forwarded + b"," + value
        info.idempotency_key = key
        if request_id is not None and _REQUEST_ID.fullmatch(request_id):
            info.request_id = request_id.decode("ascii")
        else:
            info.request_id = f"{self._prefix}-{next(self._count):x}"
        client = scope.get("client")
        peer = client[0] if client else "unknown"
        info.address = self._proxies.client(peer, forwarded) if forwarded is not None else peer
        return info

    def _note(self, scope: Any, info: RequestInfo) -> None:
        seconds = time.perf_counter() - info.started
        route = scope.get("path_template") or "unmatched"
        status = info.status or 499
        observe_request(scope["method"], route, status, seconds)
        if not self._log_requests:
            return
        actor = info.actor
        self.access_log.write(
            {
                "event": "request",
                "timestamp": time.time(),
                "level": "info",
                "request_id": info.request_id,
                "method": scope["method"],
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 3),
                "address": info.address,
                "user_id": None if actor is None else actor.user_id,
                "key_id": None if actor is None else actor.key_id,
            }
        )


class TrustedProxies:
    """Which peers may say whom they speak for. Entries are addresses or networks (``10.0.0.0/8``)."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(entry, strict=False) for entry in entries]

    def client(self, peer: str, forwarded: bytes) -> str:
        """The client's address: the last one in ``X-Forwarded-For`` that is not itself a trusted proxy."""
        if not self._trusts(peer):
            return peer
        address = peer
        for hop in reversed(forwarded.decode("latin-1").split(",")):
            candidate = hop.strip()
            try:
                ipaddress.ip_address(candidate)
            except ValueError:
                break
            address = candidate
            if not self._trusts(candidate):
                break
        return address

    def _trusts(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._networks)
