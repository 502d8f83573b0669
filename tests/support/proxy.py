"""A network that fails: a TCP proxy that cuts, delays, stalls, half-closes, throttles and refuses.

    async with Proxy(8000) as proxy:
        url = proxy.instead_of(url)       # the same URL, by way of the proxy
        proxy.cut()                       # every connection is reset
        proxy.half_close(UP)              # the server reads an end, and may go on writing
        proxy.stall(DOWN)                 # what the server says does not arrive until `flow()`
        proxy.refuse(True)                # who comes is reset
        async with proxy.weather(random.Random(7)):  # all of that by itself, a little all the time

TCP goes on promising what it promises: what arrives is in order and whole, up to where a connection ends.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal
from urllib.parse import parse_qs, urlsplit, urlunsplit

Direction = Literal["up", "down"]
UP: Final = "up"
"""From the client to the server."""
DOWN: Final = "down"
CHUNK = 16 * 1024
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 seconds: closing sends RST."""


class Link:
    """One connection through the proxy."""

    def __init__(self, client: StreamWriter, server: StreamWriter) -> None:
        self.ends = {UP: server, DOWN: client}
        """Where each direction leads to."""
        self.half_closed: set[Direction] = set()

    def cut(self) -> None:
        """Reset both halves."""
        for writer in self.ends.values():
            reset(writer)

    def half_close(self, direction: Direction) -> None:
        """Say in one direction that nothing more comes; what does come is swallowed."""
        self.half_closed.add(direction)
        with suppress(OSError, RuntimeError):
            self.ends[direction].write_eof()


class Proxy:
    """A proxy on a port of its own (`port`) before what listens at these ports or Unix sockets, in turn."""

    def __init__(self, *targets: int | str) -> None:
        self.port = 0
        self.delay_seconds = 0.0
        """How long each piece is held back, both ways."""
        self.bytes_per_second: float | None = None
        self.refusing = False
        self.links: set[Link] = set()
        self.done: Counter[str] = Counter()
        """How often what was done to connections."""
        self._targets = itertools.cycle(targets)
        self._flows = {UP: asyncio.Event(), DOWN: asyncio.Event()}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.flow()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def instead_of(self, url: str) -> str:
        """The URL of the server, by way of this proxy."""
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.port}", query=""))

    def cut(self, some: Sequence[Link] | None = None) -> None:
        """Reset these connections, or all."""
        for link in list(self.links if some is None else some):
            link.cut()
            self.done["cut"] += 1

    def half_close(self, direction: Direction, some: Sequence[Link] | None = None) -> None:
        """End one direction of these connections, or of all."""
        for link in list(self.links if some is None else some):
            link.half_close(direction)
            self.done["half_close"] += 1

    def stall(self, *directions: Direction) -> None:
        """Let nothing through in these directions (both, when none is named): a half-open network."""
        for direction in directions or (UP, DOWN):
            self._flows[direction].clear()
        self.done["stall"] += 1

    def flow(self) -> None:
        """What was stalled goes on."""
        for event in self._flows.values():
            event.set()

    def refuse(self, refusing: bool) -> None:
        """Reset who comes, or no longer."""
        self.refusing = refusing
        self.done["refuse"] += refusing

    @asynccontextmanager
    async def weather(
        self, chance: random.Random, every_seconds: tuple[float, float] = (0.1, 0.8), longest_seconds: float = 0.5
    ) -> AsyncIterator[None]:
        """Random faults at random moments, each over after `longest_seconds` at most. Fair weather afterwards."""
        task = asyncio.create_task(self._weather(chance, every_seconds, longest_seconds))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.delay_seconds, self.bytes_per_second = 0.0, None
            self.refuse(False)
            self.flow()

    async def _weather(self, chance: random.Random, every_seconds: tuple[float, float], longest_seconds: float) -> None:
        while True:
            await asyncio.sleep(chance.uniform(*every_seconds))
            lasts = chance.uniform(0, longest_seconds)
            links = sorted(self.links, key=id)
            some = chance.sample(links, min(len(links), 1 + len(links) // 4))
            match chance.choice(("cut", "cut", "half_close", "stall", "delay", "throttle", "refuse")):
                case "cut":
                    self.cut(some)
                case "half_close":
                    self.half_close(chance.choice((UP, DOWN)), some)
                    await asyncio.sleep(lasts)
                    self.cut(some)  # nobody has to notice half a connection, and some take very long
                case "stall":
                    self.stall(*chance.choice(((UP,), (DOWN,), (UP, DOWN))))
                    await asyncio.sleep(lasts)
                    self.flow()
                case "delay":
                    self.delay_seconds = lasts / 5
                    self.done["delay"] += 1
                    await asyncio.sleep(lasts)
                    self.delay_seconds = 0.0
                case "throttle":
                    self.bytes_per_second = chance.uniform(2_000, 50_000)
                    self.done["throttle"] += 1
                    await asyncio.sleep(lasts)
                    self.bytes_per_second = None
                case "refuse":
                    self.refuse(True)
                    await asyncio.sleep(lasts)
                    self.refuse(False)
                case _:
                    raise AssertionError

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self.refusing:
                reset(writer)
                return
            try:
                upstream, server = await self._open()
            except OSError:
                reset(writer)
                return
            link = Link(writer, server)
            self.links.add(link)
            try:
                await asyncio.gather(self._pump(link, UP, reader), self._pump(link, DOWN, upstream))
            finally:
                self.links.discard(link)
                for end in (writer, server):
                    end.close()
        except asyncio.CancelledError:
            reset(writer)  # the proxy ends
        finally:
            self._tasks.discard(task)

    async def _open(self) -> tuple[StreamReader, StreamWriter]:
        target = next(self._targets)
        if isinstance(target, str):
            return await asyncio.open_unix_connection(target)
        return await asyncio.open_connection("127.0.0.1", target)

    async def _pump(self, link: Link, direction: Direction, reader: StreamReader) -> None:
        end = link.ends[direction]
        try:
            while data := await reader.read(CHUNK):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if self.bytes_per_second:
                    await asyncio.sleep(len(data) / self.bytes_per_second)
                await self._flows[direction].wait()
                if direction not in link.half_closed:
                    end.write(data)
                    await end.drain()
            await self._flows[direction].wait()
            if direction not in link.half_closed:
                end.write_eof()
        except (OSError, RuntimeError):
            link.cut()  # one end is gone: so is the other


def reset(writer: StreamWriter) -> None:
    """Close with RST, and without sending what waits."""
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


def target_of(url: str) -> int | str:
    """Where the database of a URL listens: its port, or its Unix socket."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    port = int(query["port"][0]) if "port" in query else parts.port or 5432
    folder = query.get("host", [""])[0]
    return f"{folder}/.s.PGSQL.{port}" if folder.startswith("/") else port
