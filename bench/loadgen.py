"""A load generator in a process of its own: keep-alive connections, one request in flight on each, all begun at once.

Reads a plan from standard input, writes what it measured to standard output, both JSON. Requests are built before the
clock starts where they can be; answers are looked at only as far as status and length, refusals as far as their slug.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from typing import cast

import msgspec
import uvloop


class Lane(msgspec.Struct):
    """What one connection sends: ``head`` (up to and without the blank line) and ``body``; ``keyed`` adds a new key.

    With ``heads``, each of them once in place of ``head``; then the connection is done, however long that took.
    """

    head: str
    body: str
    keyed: bool
    heads: list[str] = []


class Plan(msgspec.Struct):
    """One measurement. With ``rate``, no more requests a second than that, of all lanes together, evenly."""

    port: int
    seconds: float
    run: str
    lanes: list[Lane]
    rate: float = 0.0


class Measured(msgspec.Struct):
    """Rate in answers a second, latencies in milliseconds, answers by status, refusals by slug.

    ``done_rate`` is that of what took effect (2xx), up to the last of it.
    """

    rate: float
    p50: float
    p95: float
    p99: float
    statuses: dict[int, int]
    refusals: dict[str, int] = {}
    done_rate: float = 0.0


class _Client(asyncio.Protocol):
    def __init__(self, lane: Lane, name: str, done: asyncio.Future[None]) -> None:
        body = lane.body.encode()
        self.heads = [head.encode() for head in lane.heads or [lane.head]]
        self.once = bool(lane.heads)
        self.tail = b"\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        self.keyed, self.name, self.until, self.done = lane.keyed, name.encode(), 0.0, done
        self.count = 0
        self.buffer = b""
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}
        self.refusals: dict[str, int] = {}
        self.last_done = 0.0
        self.every = self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def start(self, until: float, every: float = 0.0, after: float = 0.0) -> None:
        """Send the first request ``after`` seconds, the next ones ``every`` so many; no new one after ``until``."""
        self.until, self.every = until, every
        self.due = time.perf_counter() + after
        self._send_due()

    def _send_due(self) -> None:
        wait = self.due - time.perf_counter() if self.every else 0.0
        self.due += self.every
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._send)
        else:
            self._send()

    def _send(self) -> None:
        head = self.heads[self.count % len(self.heads)]
        self.count += 1
        key = b"\r\nIdempotency-Key: %b-%d" % (self.name, self.count) if self.keyed else b""
        self.sent = time.perf_counter()
        self.transport.write(head + key + self.tail)

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
                if status < 300:
                    self.last_done = now
                else:
                    slug = str(msgspec.json.decode(buffer[end + 4 :]).get("error"))
                    self.refusals[slug] = self.refusals.get(slug, 0) + 1
                self.buffer = b""
                if self.count < len(self.heads) if self.once else now < self.until:
                    self._send_due()
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
    clients: list[_Client] = []
    for number, lane in enumerate(plan.lanes):
        done: asyncio.Future[None] = loop.create_future()
        client = _Client(lane, f"{plan.run}-{number}", done)
        clients.append(client)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", plan.port)  # type: ignore[misc]
    started = time.perf_counter()
    every = len(clients) / plan.rate if plan.rate else 0.0
    for number, client in enumerate(clients):
        client.start(started + plan.seconds, every, every * number / len(clients))
    await asyncio.gather(*(client.done for client in clients))
    elapsed = time.perf_counter() - started
    latencies = sorted(value for client in clients for value in client.latencies)
    statuses: Counter[int] = sum((Counter(client.statuses) for client in clients), Counter())
    refusals: Counter[str] = sum((Counter(client.refusals) for client in clients), Counter())
    took_effect = sum(count for status, count in statuses.items() if 200 <= status < 300)
    last = max(client.last_done for client in clients)

    def at(share: float) -> float:
        return 1000 * latencies[min(len(latencies) - 1, int(share * len(latencies)))]

    return Measured(
        len(latencies) / elapsed,
        at(0.5),
        at(0.95),
        at(0.99),
        statuses,
        refusals,
        took_effect / (last - started) if took_effect else 0.0,
    )


if __name__ == "__main__":
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_measure(plan))))
