"""A receiver of webhooks that serves on loopback over a real socket, and what the tests of webhooks say often."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID, uuid4

import msgspec
from standardwebhooks import Webhook

from tests.support.postgres import Connection

MAKE = "SELECT * FROM api.create_webhook_endpoint($1, $2, $3)"
FAN = "SELECT * FROM api.fan_webhooks($1, $2, $3)"
PUT = "INSERT INTO core.outbox (type, channels, payload) VALUES ($1, $2, $3::text::jsonb)"


class Received(msgspec.Struct, frozen=True):
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """Its webhook-id."""
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        """Its body."""
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return found

    def verify(self, secret: str) -> Any:
        """The body, once the library of Standard Webhooks has found it right. Raises where it is not."""
        return Webhook(secret).verify(self.body, self.headers)


Answer = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of an answer."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Receiver:
    """What came, and what it answers: 200, or what `answers` has for the path (bytes, or a function that writes)."""

    def __init__(self) -> None:
        self.port = 0
        self.received: list[Received] = []
        self.answers: dict[str, bytes | Answer] = {}
        self.connections = 0
        self.at_once = 0
        self.most_at_once = 0

    def url(self, path: str = "/hook", host: str = "127.0.0.1", scheme: str = "http") -> str:
        """A URL of it."""
        return f"{scheme}://{host}:{self.port}{path}"

    def at(self, path: str) -> list[Received]:
        """What came to a path."""
        return [request for request in self.received if request.path == path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                request = Received(head[0].split(" ")[1], headers, body)
                self.received.append(request)
                told = self.answers.get(request.path, answer(200, b"thanks"))
                if isinstance(told, bytes):
                    writer.write(told)
                    await writer.drain()
                else:
                    await told(request, writer)
        finally:
            self.at_once -= 1
            writer.close()


@asynccontextmanager
async def receiving(context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver that serves until it is left."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


async def endpoint(db: Connection, user: UUID, url: str, types: Collection[str] = ("*",)) -> tuple[UUID, str]:
    """An endpoint of a user: its id and its secret."""
    row = await db.fetchrow(MAKE, user, url, list(types))
    assert row is not None
    return row["endpoint_id"], row["secret"]


async def put(db: Connection, user: UUID, *types: str, payload: str = '{"n": 1}', both: bool = False) -> None:
    """Events for a user, in a transaction of their own each."""
    channels = [f"user:{user}"] + ([f"creator:{user}"] if both else [])
    for kind in types:
        await db.execute(PUT, kind, channels, payload)


async def relay(db: Connection) -> None:
    """Relay all that is there."""
    for _ in range(10_000):
        row = await db.fetchrow("SELECT busy, events, more FROM api.relay_events(1000)")
        assert row is not None
        if not any(row):
            return
        await asyncio.sleep(0.01 if row["busy"] else 0)
    raise AssertionError("there is always something left to relay")


async def fan(db: Connection, events: int = 100, cursors: int = 200) -> int:
    """Relay, and make deliveries until no endpoint is behind; how many that made."""
    await relay(db)
    made, after = 0, None
    for _ in range(10_000):
        row = await db.fetchrow(FAN, after, cursors, events)
        assert row is not None
        made += int(row["deliveries"])
        if row["last_endpoint"] is None and after is None:
            return made
        after = row["last_endpoint"]
    raise AssertionError("there is always an endpoint that is behind")


def unknown() -> UUID:
    """An id of nothing."""
    return uuid4()
