"""Many sockets in one lean process: it reads frames, counts them, and looks into them only when it is asked.

Reads a plan (one line of JSON) from standard input, opens the sockets, has them follow their channels and answers with
a line; then each line it reads is a question (``look``, ``check``, ``frames``) that it answers with a line. What it
costs is told with every look, for it takes its processor time from the same machine.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from base64 import b64encode
from typing import cast

import msgspec
import uvloop

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
LAST_FRAMES = 200
AT_ONCE = 50
"""Sockets that are opened at the same time."""


class Seat(msgspec.Struct):
    """One socket: whose it is, what it follows, and whether it keeps what it reads, to be looked at afterwards."""

    token: str
    channels: list[str] = []
    keep: bool = False


class Plan(msgspec.Struct):
    """The sockets to open."""

    port: int
    path: str
    seats: list[Seat]


class Look(msgspec.Struct):
    """Frames and bytes of text so far, the fewest and the most bytes of one socket, seconds of CPU, and the time."""

    open: int
    frames: int
    size: int
    least: int
    most: int
    cpu: float
    at: float

    def since(self, before: Look) -> Look:
        """What came between two looks; ``at`` is the seconds between them."""
        return Look(
            self.open,
            self.frames - before.frames,
            self.size - before.size,
            self.least - before.least,
            self.most - before.most,
            self.cpu - before.cpu,
            self.at - before.at,
        )


class Checked(msgspec.Struct):
    """What the sockets that keep have read: frames, events, and how often an event was not the next of its channel."""

    frames: int
    events: int
    faults: int
    last: dict[str, int]
    """The number of each channel's last event, by channel: the lowest of all sockets that follow it."""


class _Event(msgspec.Struct):
    seq: int


class _Frame(msgspec.Struct):
    op: str
    channel: str = ""
    seq: int = 0
    events: list[_Event] = []


_decode = msgspec.json.Decoder(_Frame).decode


def client_frame(text: bytes, kind: int = TEXT) -> bytes:
    """A frame as a client sends it: masked, with zeros."""
    size = len(text)
    head = bytes((kind, 0x80 | size)) if size < 126 else bytes((kind, 0xFE)) + size.to_bytes(2)
    return head + bytes(4) + text


def upgrade(port: int, path: str, token: str) -> bytes:
    """The request for a WebSocket."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {b64encode(secrets.token_bytes(16)).decode()}\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    ).encode()


def texts(stream: bytes) -> list[bytes]:
    """The text frames of what a socket has read."""
    found = []
    at = 0
    while at + 2 <= len(stream):
        size, start = stream[at + 1], at + 2
        if size == 126:
            size, start = int.from_bytes(stream[at + 2 : at + 4]), at + 4
        elif size == 127:
            size, start = int.from_bytes(stream[at + 2 : at + 10]), at + 10
        if start + size > len(stream):
            break
        if stream[at] == TEXT:
            found.append(stream[start : start + size])
        at = start + size
    return found


class _Socket(asyncio.Protocol):
    """Jumps from frame to frame; ``size`` is that of all text."""

    def __init__(self, plan: Plan, seat: Seat) -> None:
        self.seat = seat
        self.head: bytes | None = b""
        self.frames = self.size = self.left = 0
        self.part = b""
        self.kept: list[bytes] | None = []
        self.at: dict[str, int] = {}
        self.open = False
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = upgrade(plan.port, plan.path, seat.token)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if not self.joined.done():
            self.joined.set_exception(exc or ConnectionError(f"closed after {self.head!r}"))

    def data_received(self, data: bytes) -> None:
        if self.head is not None:
            data = self._answered(self.head + data)
        if self.kept is not None:
            self.kept.append(data)
        if self.left >= len(data):
            self.left -= len(data)
            return
        at = self.left
        if self.part:
            data, self.part = self.part + data, b""
        at = self._jump(data, at)
        if at < len(data):
            self.part, self.left = data[at:], 0
        else:
            self.left = at - len(data)
            if not self.joined.done() and self.frames >= len(self.seat.channels):
                self._joined()

    def _jump(self, data: bytes, at: int) -> int:
        """From frame to frame; where the next one begins, or the first of which more must be read."""
        size = len(data)
        while at < size:
            try:
                long, start = data[at + 1], at + 2
                if long == 126:
                    long, start = data[at + 2] << 8 | data[at + 3], at + 4
                elif long == 127:
                    long, start = int.from_bytes(data[at + 2 : at + 10]), at + 10
            except IndexError:
                break
            if data[at] == TEXT:
                if start > size:
                    break
                self.frames += 1
                self.size += long
            elif start + long > size:
                break
            else:
                self._control(data[at], data[start : start + long])
            at = start + long
        return at

    def _control(self, kind: int, text: bytes) -> None:
        if kind == PING:
            self.transport.write(client_frame(text, PONG))
        elif kind == CLOSE:
            sys.stderr.write(f"closed: {text!r}\n")
            self.open = False

    def _answered(self, read: bytes) -> bytes:
        """Follow the channels, once the upgrade is answered; what came after the answer."""
        head, blank, rest = read.partition(b"\r\n\r\n")
        self.head = read
        if not blank:
            return b""
        if not head.startswith(b"HTTP/1.1 101"):
            self.joined.set_exception(ConnectionError(read.decode()))
            return b""
        self.head, self.open = None, True
        names = self.seat.channels
        self.transport.write(
            b"".join(client_frame(b'{"op":"subscribe","channel":"%s"}' % name.encode()) for name in names)
        )
        if not names:
            self._joined()
        return rest

    def _joined(self) -> None:
        for text in texts(b"".join(self.kept or [])):
            frame = _decode(text)
            if frame.op != "subscribe":
                self.joined.set_exception(ConnectionError(text.decode()))
                return
            self.at[frame.channel] = frame.seq
        self.frames = self.size = 0
        self.kept = [] if self.seat.keep else None
        self.joined.set_result(None)


def _look(sockets: list[_Socket]) -> Look:
    sizes = [socket.size for socket in sockets]
    return Look(
        sum(socket.open for socket in sockets),
        sum(socket.frames for socket in sockets),
        sum(sizes),
        min(sizes),
        max(sizes),
        time.process_time(),
        time.perf_counter(),
    )


def _check(sockets: list[_Socket]) -> Checked:
    checked = Checked(0, 0, 0, {})
    for socket in sockets:
        if socket.kept is None:
            continue
        for text in texts(b"".join(socket.kept)):
            frame = _decode(text)
            if frame.op != "events":
                continue
            checked.frames += 1
            for event in frame.events:
                checked.events += 1
                checked.faults += event.seq != socket.at[frame.channel] + 1
                socket.at[frame.channel] = event.seq
        socket.kept = []
        for name, seq in socket.at.items():
            checked.last[name] = min(seq, checked.last.get(name, seq))
    return checked


async def _main() -> None:
    loop = asyncio.get_running_loop()
    plan = msgspec.json.decode(sys.stdin.buffer.readline(), type=Plan)
    sockets: list[_Socket] = []

    def answer(what: object) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
        sys.stdout.buffer.flush()

    async def open_one(seat: Seat) -> None:
        _, socket = await loop.create_connection(lambda: _Socket(plan, seat), "127.0.0.1", plan.port)
        sockets.append(socket)
        await socket.joined

    for first in range(0, len(plan.seats), AT_ONCE):
        await asyncio.gather(*map(open_one, plan.seats[first : first + AT_ONCE]))
    answer(len(sockets))
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        match line.strip():
            case b"look":
                answer(_look(sockets))
            case b"check":
                answer(_check(sockets))
            case b"frames":
                found = next(texts(b"".join(socket.kept)) for socket in sockets if socket.kept is not None)
                answer([text.decode() for text in found[-LAST_FRAMES:]])


if __name__ == "__main__":
    uvloop.run(_main())
