"""WebSockets as uvicorn speaks them, with a way to write a frame that was made once to many of them.

ASGI can only say "send this text": the server then encodes and frames it anew for each socket, and whoever sends waits
for the slowest. ``tessera api`` serves with this protocol, which leaves itself in ``scope["extensions"]``; a frame for
a thousand sockets is made once (`text_frame`) and written a thousand times, without waiting (`Wire.write`).
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any, Protocol, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from app.core.ratelimit import Allowance

EXTENSION = "tessera.wire"
LOW_WATER = 64 * 1024
"""In bytes."""
LOOK_SECONDS = 0.005
CLOSE_SECONDS = 10.0
"""How long the other side has to read what was sent before the close, and to answer it."""
LOOSE_PER_SECOND = 100.0
LOOSE_AT_ONCE = 1000.0
"""Frames that no request is counted for: pings, pongs, and parts of messages."""
PARTS = 1000
"""Of one message."""
POLICY_VIOLATION = 1008


class Wire(Protocol):
    """One open socket."""

    def write(self, frame: bytes) -> int:
        """Send a frame of `text_frame`; how many bytes wait to be sent now. Nothing happens to one that is closing."""

    def waiting(self) -> int:
        """How many bytes wait to be sent."""

    async def drained(self) -> None:
        """Until at most `LOW_WATER` waits to be sent, or the socket is closed."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame after all that was written. Who does not read it is cut off `CLOSE_SECONDS` later."""


def text_frame(payload: bytes) -> bytes:
    """An unmasked text frame (RFC 6455, 5.2) of this UTF-8 payload: as a server sends it."""
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes((size,)) + payload
    if size < 65536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


def wire_of(scope: Any) -> Wire | None:
    """The socket of this connection; None when another server than ours serves it."""
    return cast("Wire | None", scope.get("extensions", {}).get(EXTENSION))


class WireProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol that leaves itself in the scope, and ends for good whatever the other side does.

    uvicorn closes a transport and leaves the rest to who reads it: one who never does would keep what waits to be
    sent, for ever. And it answers pings, and keeps the parts of a message, without counting them.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._loose = Allowance(LOOSE_PER_SECOND, LOOSE_AT_ONCE)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        scope = getattr(self, "scope", None)
        if scope is not None:
            cast("dict[str, Any]", scope["extensions"])[EXTENSION] = self

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # it was refused: uvicorn would complain that nobody answered

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._cut_soon()

    def eof_received(self) -> None:
        super().eof_received()
        self.loop.call_soon(self._cut_soon)  # the transport closes itself after this

    def shutdown(self) -> None:
        super().shutdown()
        self._cut_soon()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._cut_soon()

    def handle_close(self, event: Any) -> None:
        super().handle_close(event)
        self.close_sent = True  # it was answered: uvicorn would close it again at its end, and fail over it
        self._cut_soon()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._cut_soon()

    def handle_ping(self) -> None:
        if self._spend():
            super().handle_ping()

    def handle_pong(self, event: Any) -> None:
        if self._spend():
            super().handle_pong(event)

    def handle_cont(self, event: Any) -> None:
        if self._spend() and (len(self.frames) < PARTS or self._refuse()):
            super().handle_cont(event)

    def _spend(self) -> bool:
        """Count a frame that no request is counted for; False: it is one too many, or comes after the end."""
        if self.close_sent:
            self.conn.data_to_send()
            return False
        return self._loose.take() or self._refuse()

    def _refuse(self) -> bool:
        """Close it without waiting for an answer."""
        self.frames = []
        self.stop_keepalive()
        self.conn.fail(POLICY_VIOLATION, "RATE_LIMITED")
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": POLICY_VIOLATION, "reason": "RATE_LIMITED"})
        self.transport.close()
        self._cut_soon()
        return False

    def _cut_soon(self) -> None:
        """Who does not read the last of it is cut off."""
        if not self.disconnected and self.transport.is_closing() and self.close_timer is None:
            self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def _over(self) -> bool:
        """Nothing more can be sent."""
        return self.close_sent or self.disconnected or self.transport.is_closing()

    def write(self, frame: bytes) -> int:
        """See Wire."""
        if self._over():
            return 0
        self.transport.write(frame)
        return self.waiting()

    def waiting(self) -> int:
        """See Wire."""
        return self.transport.get_write_buffer_size()

    async def drained(self) -> None:
        """See Wire."""
        while not self.disconnected and self.waiting() > LOW_WATER:
            await self.writable.wait()
            # the transport pauses the writer later than it takes a frame, and at a mark of its own
            await asyncio.sleep(LOOK_SECONDS)

    def close(self, code: int, reason: str) -> None:
        """See Wire."""
        if self._over():
            return
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.stop_keepalive()
        self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)
