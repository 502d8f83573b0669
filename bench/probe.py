"""How long a tip takes from its commit to a socket, beside round trips of a bare echo and of a ping on the same server.

One process with three connections: tips over HTTP, a socket that follows their creator, and a socket of /bench/echo.
In turns, so many times a second: a tip, an echo, a ping, a bare commit in the database. Reads a plan from standard
input, writes what it measured to standard output, both JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import cast

import asyncpg
import msgspec
import uvloop

from bench.sockets import client_frame, upgrade

SETTLE_SECONDS = 2.0
"""What has not come so long after the end is lost."""


class Plan(msgspec.Struct):
    """Who tips whom, how often and how long."""

    port: int
    seconds: float
    rate: float
    run: str
    fan_token: str
    creator_token: str
    creator_id: str
    database_url: str


class Delays(msgspec.Struct):
    """All in milliseconds.

    ``written``: from the event's own time, in the transaction that is then committed, to the frame.
    ``answered``: from the tip's answer, which is sent after the commit, to the frame.
    """

    written: list[float]
    answered: list[float]
    tips: list[float]
    echoes: list[float]
    pings: list[float]
    commits: list[float]
    lost: int


class _Data(msgspec.Struct):
    message: str | None = None


class _Event(msgspec.Struct):
    type: str
    at: datetime
    data: _Data


class _Frame(msgspec.Struct):
    op: str
    id: int | None = None
    events: list[_Event] = []


class _Lines(asyncio.Protocol):
    """Whole frames of a socket, or whole answers of HTTP, to ``heard``."""

    def __init__(self, request: bytes, heard: Callable[[bytes], None]) -> None:
        self.request, self.heard = request, heard
        self.buffer = b""
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not request:
            self.open.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.request:
            self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.request:
            head, blank, body = self.buffer.partition(b"\r\n\r\n")
            at = head.lower().find(b"content-length:")
            if blank and len(body) >= int(head[at + 15 :].partition(b"\r\n")[0]):
                self.buffer = b""
                self.heard(head)
            return
        if not self.open.done():
            head, blank, self.buffer = self.buffer.partition(b"\r\n\r\n")
            if not blank:
                self.buffer = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self.open.set_exception(ConnectionError(head.decode()))
                return
            self.open.set_result(None)
        while len(self.buffer) >= 2:
            size, start = self.buffer[1], 2
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(self.buffer[2:start])
            if len(self.buffer) < start + size:
                return
            kind, text, self.buffer = self.buffer[0], self.buffer[start : start + size], self.buffer[start + size :]
            if kind == 0x89:
                self.transport.write(client_frame(text, 0x8A))
            else:
                self.heard(text)


class _Probe:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.delays = Delays([], [], [], [], [], [], 0)
        self.answered: dict[str, float] = {}
        self.framed: dict[str, float] = {}
        self.tip_at = self.echo_at = self.ping_at = 0.0
        self.tip = ""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_answer(self, head: bytes) -> None:
        now = time.perf_counter()
        if not head.startswith(b"HTTP/1.1 201"):
            raise ValueError(head.decode())
        self.answered[self.tip] = now
        self.delays.tips.append(1000 * (now - self.tip_at))
        self.tip_at = 0.0

    def on_frame(self, text: bytes) -> None:
        now, wall = time.perf_counter(), time.time()
        frame = msgspec.json.decode(text, type=_Frame)
        if frame.op == "ping":
            self.delays.pings.append(1000 * (now - self.ping_at))
            self.ping_at = 0.0
        elif frame.op == "subscribe":
            self.ready.set_result(None)
        elif frame.op == "error":
            raise ValueError(text.decode())
        for event in frame.events:
            if event.type == "tip.sent" and event.data.message is not None and event.data.message in self.sent:
                self.framed[event.data.message] = now
                self.delays.written.append(1000 * (wall - event.at.timestamp()))

    def on_echo(self, _text: bytes) -> None:
        self.delays.echoes.append(1000 * (time.perf_counter() - self.echo_at))
        self.echo_at = 0.0

    async def commit(self, database: asyncpg.Connection[asyncpg.Record]) -> None:
        """The least that can be committed and must be flushed."""
        at = time.perf_counter()
        await database.execute("SELECT pg_logical_emit_message(true, 'bench', '')")
        self.delays.commits.append(1000 * (time.perf_counter() - at))

    async def run(self) -> Delays:
        loop, plan = asyncio.get_running_loop(), self.plan
        self.sent: set[str] = set()

        async def connect(request: bytes, heard: Callable[[bytes], None]) -> _Lines:
            _, made = await loop.create_connection(lambda: _Lines(request, heard), "127.0.0.1", plan.port)
            await made.open
            return made

        http = await connect(b"", self.on_answer)
        realtime = await connect(upgrade(plan.port, "/api/v1/realtime", plan.creator_token), self.on_frame)
        echo = await connect(upgrade(plan.port, "/api/v1/bench/echo", plan.creator_token), self.on_echo)
        realtime.transport.write(client_frame(b'{"op":"subscribe","channel":"creator:%s"}' % plan.creator_id.encode()))
        await self.ready
        head = (
            f"POST /api/v1/tips/send HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {plan.fan_token}\r\n"
            "Content-Type: application/json\r\n"
        )
        database = await asyncpg.connect(plan.database_url)
        flush: asyncio.Task[None] | None = None
        started, number = time.perf_counter(), 0
        while (due := number / plan.rate) < plan.seconds:
            for turn in range(4):
                await asyncio.sleep(max(0.0, started + due + turn / 4 / plan.rate - time.perf_counter()))
                if turn == 0 and not self.tip_at:
                    self.tip = f"{plan.run}-{number}"
                    self.sent.add(self.tip)
                    body = f'{{"creator_id":"{plan.creator_id}","amount":1,"message":"{self.tip}"}}'
                    request = f"{head}Idempotency-Key: {self.tip}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
                    self.tip_at = time.perf_counter()
                    http.transport.write(request)
                elif turn == 1 and not self.echo_at:
                    text = b"%0300d" % number
                    self.echo_at = time.perf_counter()
                    echo.transport.write(client_frame(text))
                elif (
                    turn == 2 and not self.ping_at and number % 2 == 0
                ):  # half as often: 10 frames a second are allowed
                    self.ping_at = time.perf_counter()
                    realtime.transport.write(client_frame(b'{"op":"ping","id":%d}' % number))
                elif turn == 3 and (flush is None or flush.done()):
                    flush = asyncio.create_task(self.commit(database))
            number += 1
        await asyncio.gather(*filter(None, [flush]))
        await database.close()
        for _ in range(int(SETTLE_SECONDS * 100)):
            if not (self.sent - self.framed.keys() or self.tip_at):
                break
            await asyncio.sleep(0.01)
        self.delays.lost = len(self.sent - self.framed.keys())
        self.delays.answered = [
            1000 * (at - self.answered[tip]) for tip, at in self.framed.items() if tip in self.answered
        ]
        return self.delays


async def _main(plan: Plan) -> Delays:
    return await _Probe(plan).run()


if __name__ == "__main__":
    made = uvloop.run(_main(msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)))
    sys.stdout.buffer.write(msgspec.json.encode(made))
