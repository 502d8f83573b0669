"""A LiveKit of our own: it speaks the part of its HTTP interface that we use, over a real socket, and signs webhooks.

From its documentation: Twirp is a POST of protobuf to /twirp/livekit.RoomService/DeleteRoom with a bearer JWT that
grants `roomCreate`; errors are JSON `{"code", "msg"}`. A webhook's Authorization is a JWT, without "Bearer", signed
with the API secret, whose claim `sha256` is the base64 of the SHA-256 of the raw body.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import jwt
import msgspec

from app.settings import Settings

KEY = "APItests"
SECRET = "s8Kx2mQ9vR4tY7wZ1aB3cD5eF6gH0jLnPqUxEiO-of-the-tests-only"


class FakeLiveKit:
    """What it was told, and what it is to answer."""

    def __init__(self, port: int) -> None:
        self.url = f"ws://127.0.0.1:{port}"
        self.deleted: list[str] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        """Errors to answer the next requests with."""

    def settings(self, base: Settings) -> Settings:
        """These settings, with this LiveKit in them."""
        return msgspec.structs.replace(
            base, livekit_url=self.url, livekit_api_key=KEY, livekit_api_secret=SECRET, livekit_token_ttl_seconds=120
        )

    def answer(self, path: str, authorization: str, body: bytes) -> tuple[int, bytes]:
        """One request."""
        try:
            claims = jwt.decode(authorization.removeprefix("Bearer "), SECRET, algorithms=["HS256"], issuer=KEY)
        except jwt.PyJWTError as exc:
            return 401, json.dumps({"code": "unauthenticated", "msg": str(exc)}).encode()
        if path != "/twirp/livekit.RoomService/DeleteRoom":
            return 404, json.dumps({"code": "bad_route", "msg": path}).encode()
        if not claims.get("video", {}).get("roomCreate"):
            return 403, json.dumps({"code": "permission_denied", "msg": "roomCreate"}).encode()
        if self.answers:
            status, problem = self.answers.pop(0)
            return status, json.dumps(problem).encode()
        assert body[:2] == bytes([0x0A, len(body) - 2])  # protobuf: field 1, a text of this length
        self.deleted.append(body[2:].decode())
        return 200, b""


@asynccontextmanager
async def fake_livekit() -> AsyncIterator[FakeLiveKit]:
    """A LiveKit that serves on loopback until it is left."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        status, answer = livekit.answer(head[0].split(" ")[1], headers.get("authorization", ""), body)
        kind = "application/protobuf" if status == 200 else "application/json"
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(answer)}\r\n"
            "Connection: close\r\n\r\n".encode()
            + answer
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    livekit = FakeLiveKit(server.sockets[0].getsockname()[1])
    async with server:
        yield livekit


def event(name: str, room: str, identity: object = None, **changes: Any) -> dict[str, Any]:
    """A webhook's body, as LiveKit writes it: camelCase, int64 as texts."""
    told: dict[str, Any] = {
        "event": name,
        "id": f"EV_{uuid4().hex[:12]}",
        "createdAt": str(int(time.time())),
        "room": {"sid": "RM_1", "name": room, "emptyTimeout": 300, "creationTime": str(int(time.time()))},
    }
    if identity is not None:
        told["participant"] = {"sid": "PA_1", "identity": str(identity), "state": "ACTIVE", "joinedAt": "1700000000"}
    return told | changes


def sign(body: bytes, *, secret: str = SECRET, expires_in: int = 300, algorithm: str = "HS256", **changes: Any) -> str:
    """The Authorization of a webhook with this body; `changes` are claims (None: left out)."""
    claims = {
        "iss": KEY,
        "nbf": int(time.time()) - 600,
        "exp": int(time.time()) + expires_in,
        "sha256": base64.b64encode(hashlib.sha256(body).digest()).decode(),
    } | changes
    kept = {name: value for name, value in claims.items() if value is not None}
    key: Any = None if algorithm == "none" else secret
    return jwt.encode(kept, key, algorithm=algorithm)
