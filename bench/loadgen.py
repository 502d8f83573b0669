"""A load generator in a process of its own: keep-alive connections, one request in flight on each.

Reads a plan from standard input, writes what it measured to standard output, both JSON. Requests are built before the
clock starts where they can be; answers are looked at only as far as status and length.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import msgspec
import uvloop


class Lane(msgspec.Struct):
    """What one connection sends: ``head`` (up to and without the blank line) and ``body``; ``keyed`` adds a new key."""

    head: str
    body: str
    keyed: bool


class Plan(msgspec.Struct):
    """One measurement."""

    port: int
    seconds: float
    run: str
    lanes: list[Lane]


class Measured(msgspec.Struct):
    """Rate in answers a second, latencies in milliseconds, and answers by status."""

    rate: float
    p50: float
    p95: float
    p99: float
    statuses: dict[int, int]


class _Client(asyncio.Protocol):
    def __init__(self, lane: Lane, name: str, until: float, done: asyncio.Future[None]) -> None:
        body = lane.body.encode()
        self.head = lane.head.encode()
        self.tail = b"\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        self.keyed, self.name, self.until, self.done = lane.keyed, name.encode(), until, done
        self.count = 0
        self.buffer = b""
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._send()

    def _send(self) -> None:
        self.count += 1
        key = b"\r\nIdempotency-Key: %b-%d" % (self.name, self.count) if self.keyed else b""
        self.sent = time.perf_counter()
        self.transport.write(self.head + key + self.tail)

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer + data
        end = buffer.find(b"\r\n\r\n")
        if end >= 0:
            at = buffer.lower().find(b"content-length:", 0, end)
            length = int(buffer[at + 15 : buffer.find(b"\r\n", at)]) if at >= 0 else 0
            if len(buffer) >= end + 4 + length:
                now = time.perf_counter()
                self.latencies.append(now - self.sent)
                status = int(buffer[9:12])
                self.statuses[status] = self.statuses.get(status, 0) + 1
                self.buffer = b""
                if now < self.until:
                    self._send()
                else:
                    self._finish()
                return
        self.buffer = buffer

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.statuses[0] = self.statuses.get(0, 0) + 1
            self.done.set_result(None)

    def _finish(self) -> None:
        self.done.set_result(None)
        self.transport.close()


async def _measure(plan: Plan) -> Measured:
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    clients: list[_Client] = []
    for number, lane in enumerate(plan.lanes):
        done: asyncio.Future[None] = loop.create_future()
        client = _Client(lane, f"{plan.run}-{number}", started + plan.seconds, done)
        clients.append(client)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", plan.port)  # type: ignore[misc]
    await asyncio.gather(*(client.done for client in clients))
    elapsed = time.perf_counter() - started
    latencies = sorted(value for client in clients for value in client.latencies)
    statuses: dict[int, int] = {}
    for client in clients:
        for status, count in client.statuses.items():
            statuses[status] = statuses.get(status, 0) + count

    def at(share: float) -> float:
        return 1000 * latencies[min(len(latencies) - 1, int(share * len(latencies)))]

    return Measured(len(latencies) / elapsed, at(0.5), at(0.95), at(0.99), statuses)


if __name__ == "__main__":
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_measure(plan))))
