"""The proxy of the fault tests does what it says."""

from __future__ import annotations

import asyncio
import random
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.proxy import DOWN, UP, Proxy

SECONDS = 10


async def _echo(reader: StreamReader, writer: StreamWriter) -> None:
    try:
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
        writer.write(b"bye")
        await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """Before a server that says again what it hears, and goodbye at the end."""
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with Proxy(server.sockets[0].getsockname()[1]) as made:
        yield made
    server.close()


async def _come(proxy: Proxy) -> tuple[StreamReader, StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello")
    assert await asyncio.wait_for(reader.readexactly(5), SECONDS) == b"hello"
    return reader, writer


async def test_it_passes_on_what_is_said_and_ends(proxy: Proxy) -> None:
    reader, writer = await _come(proxy)
    sent = random.Random(1).randbytes(300_000)  # noqa: S311
    writer.write(sent)
    assert await asyncio.wait_for(reader.readexactly(len(sent)), SECONDS) == sent
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), SECONDS) == b"bye"
    writer.close()


async def test_it_cuts(proxy: Proxy) -> None:
    reader, writer = await _come(proxy)
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), SECONDS)
    writer.close()
    await _come(proxy)


async def test_it_refuses(proxy: Proxy) -> None:
    proxy.refuse(True)
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await _come(proxy)
    proxy.refuse(False)
    await _come(proxy)


async def test_it_half_closes(proxy: Proxy) -> None:
    reader, _ = await _come(proxy)
    proxy.half_close(UP)
    assert await asyncio.wait_for(reader.read(), SECONDS) == b"bye"  # the server heard the end, the client did not
    reader, writer = await _come(proxy)
    proxy.half_close(DOWN)
    assert await asyncio.wait_for(reader.read(), SECONDS) == b""
    writer.write(b"is anybody there?")  # swallowed on its way back
    await writer.drain()


@pytest.mark.parametrize("direction", [UP, DOWN])
async def test_it_stalls_one_direction(proxy: Proxy, direction: str) -> None:
    reader, writer = await _come(proxy)
    proxy.stall(UP if direction == UP else DOWN)
    writer.write(b"later")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.2)
    proxy.flow()
    assert await asyncio.wait_for(reader.readexactly(5), SECONDS) == b"later"


async def test_it_delays_and_throttles(proxy: Proxy) -> None:
    reader, writer = await _come(proxy)
    started = time.monotonic()
    proxy.delay_seconds = 0.1
    writer.write(b"slow")
    await asyncio.wait_for(reader.readexactly(4), SECONDS)
    proxy.delay_seconds, proxy.bytes_per_second = 0, 1000
    writer.write(b"x" * 100)
    await asyncio.wait_for(reader.readexactly(100), SECONDS)
    assert time.monotonic() - started >= 0.4  # never less: it waits before it passes on


async def test_weather_is_over_afterwards(proxy: Proxy) -> None:
    async with proxy.weather(random.Random(3), (0.0, 0.02), 0.02):  # noqa: S311
        while len(proxy.done) < 6:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            try:
                writer.write(b"hello")
                await asyncio.wait_for(reader.read(5), 0.2)
            except (OSError, TimeoutError):
                pass
            finally:
                writer.close()
    await _come(proxy)
