"""API nodes that really listen, in the test's own event loop, and sockets to them."""

from __future__ import annotations

import asyncio
import socket as sockets
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import msgspec
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app.core.wire import WireProtocol
from app.realtime.protocol import MAX_FRAME
from app.settings import Settings
from tests.support.application import application

WAIT_SECONDS = 10.0


class Node(msgspec.Struct):
    """A node: its port and application."""

    port: int
    app: Any
    http: httpx.AsyncClient

    @property
    def ws_url(self) -> str:
        """Where its sockets are."""
        return f"ws://127.0.0.1:{self.port}/api/v1/realtime"

    @asynccontextmanager
    async def socket(self, token: str | None = None, **options: Any) -> AsyncIterator[Talk]:
        """An open socket of whoever has the token."""
        headers = dict(options.pop("additional_headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with connect(self.ws_url, additional_headers=headers, compression=None, **options) as raw:
            yield Talk(raw)

    async def raw(self, token: str) -> sockets.socket:
        """A WebSocket as bytes: accepted, read by nobody, with little room on the way to it."""
        loop = asyncio.get_running_loop()
        raw = sockets.socket()
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await loop.sock_connect(raw, ("127.0.0.1", self.port))
        key = b64encode(b"0123456789abcdef").decode()
        head = (
            f"GET /api/v1/realtime HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Authorization: Bearer {token}\r\n\r\n"
        )
        await loop.sock_sendall(raw, head.encode())
        assert (await loop.sock_recv(raw, 4096)).startswith(b"HTTP/1.1 101 ")
        return raw


class Talk:
    """A socket, and what was heard of it that nobody asked for yet."""

    def __init__(self, raw: ClientConnection) -> None:
        self.raw = raw
        self.heard: list[dict[str, Any]] = []
        self._count = 0

    async def next(self) -> dict[str, Any]:
        """The next frame."""
        if self.heard:
            return self.heard.pop(0)
        return await self._receive()

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a request; its reply. What comes before is kept for `next`."""
        self._count += 1
        await self.raw.send(msgspec.json.encode({"op": op, "id": self._count, **fields}).decode())
        while True:
            frame = await self._receive()
            if frame.get("id") == self._count:
                return frame
            self.heard.append(frame)

    async def follow(self, channel: str, **fields: Any) -> dict[str, Any]:
        """Subscribe; the reply, which is no error."""
        reply = await self.ask("subscribe", channel=channel, **fields)
        assert reply["op"] == "subscribe", reply
        return reply

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next events, across frames; whatever else comes is kept."""
        found: list[dict[str, Any]] = []
        others: list[dict[str, Any]] = []
        while len(found) < count:
            frame = await self.next()
            if frame["op"] == "events":
                found += [{"channel": frame["channel"], **event} for event in frame["events"]]
            else:
                others.append(frame)
        self.heard = others + self.heard
        assert len(found) == count, found
        return found

    async def silent(self, seconds: float = 0.4) -> None:
        """Nothing comes."""
        assert self.heard == []
        try:
            frame = await asyncio.wait_for(self.raw.recv(), seconds)
        except TimeoutError:
            return
        raise AssertionError(frame)

    async def closed(self) -> tuple[int | None, str]:
        """Code and reason with which the service closes it, whatever comes before."""
        try:
            while True:
                await asyncio.wait_for(self.raw.recv(), WAIT_SECONDS)
        except ConnectionClosed:
            return self.raw.close_code, self.raw.close_reason or ""

    async def _receive(self) -> dict[str, Any]:
        frame = await asyncio.wait_for(self.raw.recv(), WAIT_SECONDS)
        assert isinstance(frame, str)
        assert len(frame.encode()) <= MAX_FRAME
        return cast("dict[str, Any]", msgspec.json.decode(frame))


@asynccontextmanager
async def running_node(settings: Settings) -> AsyncIterator[Node]:
    """A node with these settings, as `tessera api` serves it."""
    app = application(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            cast("Any", app),
            host="127.0.0.1",
            port=0,
            http="httptools",
            ws=WireProtocol,
            ws_max_size=MAX_FRAME,
            ws_per_message_deflate=False,
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
        )
    )
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    life = asyncio.create_task(server._serve())
    try:
        while not server.started:
            if life.done():
                await life
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            yield Node(port, app, http)
    finally:
        server.should_exit = True
        await life
