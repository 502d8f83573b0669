"""A service that speaks docs/realtime.md, and can be told to fail in every way a client must survive.

It keeps its channels in memory, and it answers GET for a few pages, for browsers.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

PATH = "/api/v1/realtime"
PAGE_EVENTS = 3
"""So many events go into a frame when many are read again, so that there are several frames."""


class FakeRealtime:
    """See the module. What clients said is in `heard`, frame by frame, with the op as it came."""

    def __init__(self) -> None:
        self.epoch = str(uuid4())
        self.channels: dict[str, list[Any]] = defaultdict(list)
        """The data of each event; its number is its place, from 1 on."""
        self.kept_from: dict[str, int] = {}
        """Events below this number are gone."""
        self.heard: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        """What clients said who they are with: headers, tokens and tickets."""
        self.refusals: list[tuple[int, str]] = []
        """HTTP status and slug with which the next upgrades are refused."""
        self.greetings: list[tuple[int, str]] = []
        """Codes and reasons with which the next sockets are closed when they have said who they are."""
        self.errors: dict[str, list[dict[str, Any]]] = defaultdict(list)
        """Errors with which the next subscriptions to a channel are answered."""
        self.lives_seconds: float | None = None
        """How long a token is good."""
        self.dumb = False
        """Subscriptions are not answered."""
        self.pages: dict[str, tuple[str, bytes]] = {}
        """Media type and body of what GET answers, by path."""
        self.port = 0
        self.sockets: dict[ServerConnection, dict[str, int]] = {}
        """Who is here, and the last number that each was sent of each channel."""
        self._server: Server | None = None

    async def __aenter__(self) -> FakeRealtime:
        self._server = await serve(
            self._talk, "127.0.0.1", 0, process_request=self._answer, compression=None, close_timeout=1
        )
        self.port = int(next(iter(self._server.sockets)).getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Of the service."""
        return f"http://127.0.0.1:{self.port}"

    def ops(self, op: str) -> list[dict[str, Any]]:
        """What was heard of one kind."""
        return [frame for frame in self.heard if frame["op"] == op]

    async def publish(self, channel: str, *data: Any) -> None:
        """Events happen, and whoever follows is told in one frame."""
        self.channels[channel] += data
        for socket, follows in list(self.sockets.items()):
            if channel in follows:
                await self._bring_up_to_date(socket, channel, len(data))

    async def tell(self, frame: dict[str, Any]) -> None:
        """Send a frame to everybody, just so."""
        for socket in list(self.sockets):
            await _send(socket, frame)

    async def tell_events(self, channel: str, *numbers: int) -> None:
        """Send these events to everybody, whatever they were sent before."""
        await self.tell(self._frame(channel, list(numbers)))

    async def close(self, code: int, reason: str = "") -> None:
        """Close every socket."""
        await asyncio.gather(*(socket.close(code, reason) for socket in list(self.sockets)))

    def abort(self) -> None:
        """Lose every connection."""
        for socket in list(self.sockets):
            socket.transport.abort()

    def restore(self) -> None:
        """Another epoch begins; what was is forgotten."""
        self.epoch = str(uuid4())
        self.channels.clear()

    # one socket

    def _answer(self, socket: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path != PATH:
            kind, body = self.pages.get(path, ("text/plain", b""))
            return _http(200 if path in self.pages else 404, kind, body)
        if self.refusals:
            status, slug = self.refusals.pop(0)
            body = msgspec.json.encode({"error": slug, "title": slug.lower(), "status": status})
            return _http(status, "application/problem+json", body)
        return None

    async def _talk(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        header = socket.request.headers.get("Authorization")
        known = header is not None
        if header is not None:
            self.tokens.append(header.removeprefix("Bearer "))
            known = not await self._greet(socket)
        try:
            async for text in socket:
                frame = msgspec.json.decode(text, type=dict[str, Any])
                self.heard.append(frame)
                if frame["op"] == "auth":
                    self.tokens.append(frame.get("ticket") or frame["token"])
                    if not known and await self._greet(socket):
                        continue
                    known = True
                if not known:
                    await socket.close(4001, "NOT_AUTHENTICATED")
                    return
                self.sockets.setdefault(socket, {})
                await self._reply(socket, frame)
        except ConnectionClosed:
            pass
        finally:
            self.sockets.pop(socket, None)

    async def _greet(self, socket: ServerConnection) -> bool:
        if not self.greetings:
            return False
        await socket.close(*self.greetings.pop(0))
        return True

    async def _reply(self, socket: ServerConnection, frame: dict[str, Any]) -> None:
        op, channel = frame["op"], frame.get("channel", "")
        reply: dict[str, Any] = {"op": op, "id": frame["id"]}
        match op:
            case "auth":
                reply |= {"user_id": str(uuid4()), "expires_at": _time(self.lives_seconds)}
            case "ping":
                reply |= {"at": _time(0)}
            case "subscribe" if self.dumb:
                return
            case "subscribe" if self.errors[channel]:
                reply = {"op": "error", "id": frame["id"], "title": "no"} | self.errors[channel].pop(0)
            case "subscribe":
                await self._subscribe(socket, frame, reply | {"channel": channel})
                return
            case "presence":
                reply |= {"channel": channel}
                if not frame.get("leave"):
                    reply |= {"viewers": 1, "until": _time(3)}
            case _:
                self.sockets[socket].pop(channel, None)
                reply |= {"channel": channel}
        await _send(socket, reply)

    async def _subscribe(self, socket: ServerConnection, frame: dict[str, Any], reply: dict[str, Any]) -> None:
        channel, seq = frame["channel"], int(frame.get("seq", 0))
        head = len(self.channels[channel])
        recovered = frame.get("epoch") == self.epoch and self.kept_from.get(channel, 1) - 1 <= seq <= head
        start = seq if recovered else head
        await _send(socket, reply | {"epoch": self.epoch, "seq": start, "head": head, "recovered": recovered})
        self.sockets[socket][channel] = start
        await self._bring_up_to_date(socket, channel, PAGE_EVENTS)

    async def _bring_up_to_date(self, socket: ServerConnection, channel: str, at_once: int) -> None:
        follows = self.sockets[socket]
        while (start := follows.get(channel, 0)) < (head := len(self.channels[channel])):
            numbers = list(range(start + 1, min(start + at_once, head) + 1))
            follows[channel] = numbers[-1]
            await _send(socket, self._frame(channel, numbers))

    def _frame(self, channel: str, numbers: list[int]) -> dict[str, Any]:
        events = [
            {"seq": n, "type": "tip.sent", "at": _time(0), "data": self.channels[channel][n - 1]} for n in numbers
        ]
        return {"op": "events", "channel": channel, "events": events}


async def _send(socket: ServerConnection, frame: dict[str, Any]) -> None:
    with suppress(ConnectionClosed):
        await socket.send(msgspec.json.encode(frame).decode())


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def _http(status: int, kind: str, body: bytes) -> Response:
    headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"})
    return Response(status, "", headers, body)
