"""What the socket's protocol does with those who never read, never answer, or send what nobody counts."""

from __future__ import annotations

import asyncio
import socket as sockets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from app.core.wire import LOOSE_AT_ONCE, WireProtocol
from app.realtime.service import Realtime
from tests.api.people import register
from tests.support.nodes import Node, running_node
from tests.support.postgres import Clone

PING = b"\x89\x80\0\0\0\0"
CLOSE = b"\x88\x80\0\0\0\0"
TEXT_BEGINS = b"\x01\x80\0\0\0\0"
PART = b"\x00\x80\0\0\0\0"


@pytest_asyncio.fixture
async def small(database: Clone, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    """A node that cuts off at once who does not read."""
    monkeypatch.setattr("app.core.wire.CLOSE_SECONDS", 0.2)
    async with running_node(database.settings()) as made:
        yield made


async def _open(node: Node) -> tuple[sockets.socket, WireProtocol, Realtime]:
    """A socket that reads nothing any more, the server's end of it, and the realtime there."""
    fan = await register(node.http)
    raw = await node.raw(fan.access_token)
    realtime: Realtime = node.app.state["context"].get(Realtime)
    for _ in range(100):
        if realtime._sockets:
            break
        await asyncio.sleep(0.02)
    (one,) = realtime._sockets
    wire = one._wire
    assert isinstance(wire, WireProtocol)
    return raw, wire, realtime


async def _gone(wire: WireProtocol, realtime: Realtime) -> bool:
    for _ in range(100):
        if wire.disconnected and not realtime._sockets:
            return True
        await asyncio.sleep(0.02)
    return False


def _fill(wire: WireProtocol) -> None:
    """More than any kernel takes for who does not read."""
    assert wire.write(b"\x89\x00" * 8_000_000) > 0


@pytest.mark.parametrize("last", [CLOSE, b"\xff" * 8, None], ids=["close", "nonsense", "end"])
async def test_who_leaves_without_reading_keeps_nothing(small: Node, last: bytes | None) -> None:
    raw, wire, realtime = await _open(small)
    _fill(wire)
    if last is None:
        raw.shutdown(sockets.SHUT_WR)
    else:
        await asyncio.get_running_loop().sock_sendall(raw, last)
    assert await _gone(wire, realtime)
    raw.close()


async def test_who_answers_no_ping_and_reads_nothing_is_cut_off(small: Node) -> None:
    raw, wire, realtime = await _open(small)
    _fill(wire)
    wire.keepalive_timeout()
    assert await _gone(wire, realtime)
    raw.close()


async def test_the_node_stops_while_somebody_leaves_without_reading(database: Clone) -> None:
    async with running_node(database.settings()) as node:
        raw, wire, realtime = await _open(node)
        _fill(wire)
        await asyncio.get_running_loop().sock_sendall(raw, CLOSE)
        for _ in range(100):
            if not realtime._sockets:
                break
            await asyncio.sleep(0.02)
        assert not wire.disconnected
        asyncio.get_running_loop().call_later(1.0, raw.close)
    # and no exception came out of its end


@pytest.mark.parametrize(("first", "then"), [(b"", PING), (TEXT_BEGINS, PART)], ids=["pings", "parts"])
async def test_frames_that_no_request_is_counted_for(small: Node, first: bytes, then: bytes) -> None:
    raw, wire, realtime = await _open(small)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(raw, first + then * int(LOOSE_AT_ONCE / 2))
    await asyncio.sleep(0.2)
    assert not wire.close_sent
    await loop.sock_sendall(raw, then * int(LOOSE_AT_ONCE))
    assert await _gone(wire, realtime)
    assert not wire.frames
    read = b""
    while some := await loop.sock_recv(raw, 1 << 20):
        read += some
    assert read.endswith(b"\x88\x0e\x03\xf0RATE_LIMITED")
    raw.close()


async def test_a_message_in_parts_is_one(small: Node) -> None:
    fan = await register(small.http)
    async with small.socket(fan.access_token) as talk:
        await talk.raw.send(['{"op": "pi', "", 'ng", "id"', ": 7}"])
        assert (await talk.next())["id"] == 7
        await (await talk.raw.ping())
