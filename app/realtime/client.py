"""A client of the realtime WebSocket that outlives its connections (docs/realtime.md).

    async with RealtimeClient("http://127.0.0.1:8000", token) as client:
        await client.subscribe("stream:0199…", Position(epoch, 41))
        async for message in client:
            match message:
                case Event(): ...     # each once, in the order of its channel, none left out
                case Reset(): ...     # what was before this position will not come: fetch the present state
                case Revoked(): ...   # no more of this channel
                case Presence(): ...  # who comes and goes, where `presence` was called

It reconnects with a growing, random pause, subscribes again from the last event of each channel, drops what comes
twice, and asks again where a number is missing. Nothing runs but while a message is awaited (pings are answered by
websockets): who does not read is sent no more, and in the end closed with 4008, which costs nothing but a reconnect.

    RealtimeError               the service says for good that this will not do; `slug` says why
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

PATH = "/api/v1/realtime"
MAX_FRAME_BYTES = 1024 * 1024
"""The service sends at most 64 KiB."""
WAIT_STEPS = 3
"""After 4029 and HTTP 429 the pause begins at 2^3 seconds."""
RENEWAL_MARGIN_SECONDS = 60
AGAIN_SECONDS = 10
"""Until a renewal is tried again that did not work."""
PASSING = frozenset(
    ("RATE_LIMITED", "INTERNAL_ERROR", "SERVER_BUSY", "DATABASE_BUSY", "DATABASE_UNAVAILABLE", "TRANSACTION_CONFLICT")
)
"""Errors that say nothing of the request: it is repeated."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")

State = Literal["connecting", "open", "waiting", "closed"]
Token: TypeAlias = "str | Callable[[], Awaitable[str]]"


class RealtimeError(Exception):
    """The service refuses for good. `slug` is one of docs/errors.md, or the HTTP status if there was none."""

    def __init__(self, slug: str, title: str = "") -> None:
        self.slug = slug
        super().__init__(f"{slug}: {title}" if title else slug)


class Position(msgspec.Struct, frozen=True):
    """The last event that somebody has of a channel. Without an epoch, of the present one: seq 0 is its start."""

    epoch: str | None
    seq: int


class Event(msgspec.Struct, frozen=True):
    """An event of a channel; `seq` is its number there, `at` when it was committed."""

    channel: str
    epoch: str
    seq: int
    type: str
    at: datetime
    data: Any


class Reset(msgspec.Struct, frozen=True):
    """The channel goes on after this position, and what was before will not come. Also the answer to a first
    subscription without a position."""

    channel: str
    epoch: str
    seq: int


class Revoked(msgspec.Struct, frozen=True):
    """No more of this channel: `error` says why."""

    channel: str
    error: str


class Presence(msgspec.Struct, frozen=True):
    """Who watches a stream. Nobody is named where there are many."""

    channel: str
    viewers: int
    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


Message: TypeAlias = Event | Reset | Revoked | Presence


class _Item(msgspec.Struct):
    """An event as it stands in a frame."""

    seq: int
    type: str
    at: datetime
    data: Any


class _Frame(msgspec.Struct):
    """Any frame of the service; what a client does not know it passes over."""

    op: str
    id: int | str | None = None
    channel: str = ""
    epoch: str = ""
    seq: int = 0
    recovered: bool = False
    events: list[_Item] = []
    error: str = ""
    title: str = ""
    retry_after: float = 0
    expires_at: datetime | None = None
    until: datetime | None = None
    viewers: int | None = None
    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


_decode = msgspec.json.Decoder(_Frame).decode
_encode = msgspec.json.Encoder().encode


class _Channel:
    """What is known of a channel that is followed."""

    __slots__ = ("asked", "due", "gap", "name", "position", "presence_due")

    def __init__(self, name: str, position: Position | None) -> None:
        self.name = name
        self.position = position
        self.asked: int | None = None
        """The id of the subscription that is not answered yet. Until it is, events are of an older one."""
        self.due: float | None = 0.0
        """When to subscribe (again), or when an answer is overdue; None while all is well."""
        self.gap: int | None = None
        """The number after which one was missing before."""
        self.presence_due: float | None = None


class RealtimeClient:
    """See the module. `url` is the service's; `token` an access token or API key, or what gets one when it is needed.

    Only with a function can the token be renewed; with a text, its end is a RealtimeError. `pause_seconds` are the
    first and the longest pause between two connections, `silence_seconds` the time without a sign of life after which
    a connection is given up, `open_seconds` what it may take to open. `on_state(state, why)` tells how things stand.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        pause_seconds: tuple[float, float] = (1.0, 30.0),
        open_seconds: float = 10.0,
        silence_seconds: float = 45.0,
        on_state: Callable[[State, str], None] | None = None,
    ) -> None:
        self.url = socket_url(url)
        self.connections = 0
        """How often the service has answered on a new connection."""
        self.repeats = 0
        """Events that came twice and were dropped."""
        self.gaps = 0
        """How often a number was missing."""
        self._token = token
        self._first_pause, self._longest_pause = pause_seconds
        self._open_seconds = open_seconds
        self._silence_seconds = silence_seconds
        self._on_state = on_state
        self._state: State | None = None
        self._socket: ClientConnection | None = None
        self._channels: dict[str, _Channel] = {}
        self._ready: deque[Message] = deque()
        self._attempts = 0
        self._resume_at = 0.0
        self._last_id = 0
        self._asked: dict[int, tuple[str, str]] = {}
        self._welcomed = False
        self._renewal_due: float | None = None
        self._ended = asyncio.Event()

    async def __aenter__(self) -> RealtimeClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def pending(self) -> int:
        """Messages that are here and not yet handed out."""
        return len(self._ready)

    def _is_closed(self) -> bool:
        return self._ended.is_set()

    def position(self, channel: str) -> Position | None:
        """The last event of a channel that has come here, handed out or not."""
        found = self._channels.get(channel)
        return None if found is None else found.position

    async def subscribe(self, channel: str, position: Position | None = None) -> None:
        """Follow a channel, from the position given or from now on. Refusals come as Revoked."""
        self._channels[channel] = _Channel(channel, position)
        await self._catch_up()

    async def unsubscribe(self, channel: str) -> None:
        """Follow it no more."""
        if self._channels.pop(channel, None) is not None and self._socket is not None:
            await self._send({"op": "unsubscribe", "channel": channel})

    async def presence(self, channel: str, *, leave: bool = False) -> None:
        """Be counted as a viewer of a stream that is followed (or be there, in a call) until told to leave."""
        found = self._channels[channel]
        found.presence_due = None if leave else 0.0
        if leave and self._socket is not None:
            await self._send({"op": "presence", "channel": channel, "leave": True})
        await self._catch_up()

    async def close(self) -> None:
        """Say goodbye. Whoever awaits a message gets no more."""
        self._ended.set()
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()
        self._tell("closed", "")

    def __aiter__(self) -> RealtimeClient:
        return self

    async def __anext__(self) -> Message:
        """The next message, whatever it takes. Raises RealtimeError. Waiting for it may be cancelled."""
        while not self._ready:
            if self._is_closed():
                raise StopAsyncIteration
            try:
                await self._step()
            except RealtimeError as error:
                self._drop()
                self._ended.set()
                self._tell("closed", error.slug)
                raise
        return self._ready.popleft()

    # a step: connect, or send what is due, or read a frame

    async def _step(self) -> None:
        if self._socket is None:
            await self._connect()
            return
        await self._catch_up()
        await self._receive(self._socket)

    async def _receive(self, socket: ClientConnection | None) -> None:
        if socket is None:
            return
        due = self._next_due()
        try:
            async with asyncio.timeout(None if due is None else max(due - time.monotonic(), 0)):
                text = await socket.recv()
        except TimeoutError:
            if self._is_overdue():
                self._retry("no answer")
            return
        except ConnectionClosed as closed:
            if socket is self._socket and not self._is_closed():
                self._lost(closed)
            return
        if socket is self._socket:
            try:
                self._read(_decode(text))
            except msgspec.DecodeError as error:
                self._retry(f"a frame that is none of ours: {error}")

    async def _connect(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(self._resume_at - time.monotonic(), 0)):
                await self._ended.wait()
        if self._is_closed():
            return
        self._tell("connecting", "")
        try:
            token = self._token if isinstance(self._token, str) else await self._token()
        except RealtimeError:
            raise
        except Exception as error:
            self._retry(f"no token: {error!r}")
            return
        try:
            socket = await connect(
                self.url,
                additional_headers={"Authorization": f"Bearer {token}"},
                compression=None,
                max_size=MAX_FRAME_BYTES,
                open_timeout=self._open_seconds,
                ping_interval=self._silence_seconds * 4 / 9,
                ping_timeout=self._silence_seconds * 5 / 9,
                close_timeout=1,
                proxy=None if urlsplit(self.url).hostname in LOOPBACK else True,
            )
        except InvalidStatus as refusal:
            self._refused(refusal)
            return
        except InvalidURI as error:
            raise RealtimeError("INVALID_URL", str(error)) from None
        except (OSError, InvalidHandshake, EOFError) as error:
            self._retry(str(error) or type(error).__name__)
            return
        if self._is_closed():
            await socket.close()
            return
        self._socket = socket
        self._welcomed = False
        self._asked.clear()
        self._renewal_due = None
        for channel in self._channels.values():
            channel.asked, channel.due = None, 0.0
            channel.presence_due = None if channel.presence_due is None else 0.0
        if callable(self._token):
            await self._send({"op": "auth", "token": token})  # its reply says until when it is good
        else:
            await self._send({"op": "ping"})

    def _refused(self, refusal: InvalidStatus) -> None:
        """HTTP said no: wait, get another token, or give up."""
        status = refusal.response.status_code
        slug, title = str(status), ""
        with suppress(msgspec.DecodeError):
            problem = msgspec.json.decode(refusal.response.body or b"", type=dict[str, Any])
            slug, title = str(problem.get("error", slug)), str(problem.get("title", ""))
        if status == 429:
            self._attempts = max(self._attempts, WAIT_STEPS)
        elif status < 500 and not (status == 401 and callable(self._token)):
            raise RealtimeError(slug, title) from None
        self._retry(slug)

    def _lost(self, closed: ConnectionClosed) -> None:
        code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "the connection was lost")
        if code == 4003 or (code == 4001 and not callable(self._token)):
            raise RealtimeError(reason or str(code)) from None
        if code == 4029:
            self._attempts = max(self._attempts, WAIT_STEPS)
        self._retry(f"{code} {reason}".strip())

    def _retry(self, why: str) -> None:
        """Give the connection up and set the time of the next."""
        self._drop()
        pause = min(self._first_pause * 2**self._attempts, self._longest_pause) * random.uniform(0.5, 1)  # noqa: S311
        self._attempts = min(self._attempts + 1, 30)
        self._resume_at = time.monotonic() + pause
        self._tell("waiting", why)

    def _drop(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.transport.abort()

    # what is sent

    async def _send(self, frame: dict[str, Any]) -> int:
        """Send it with an id of its own; that a connection is lost shows when it is read."""
        self._last_id += 1
        self._asked[self._last_id] = (frame["op"], frame.get("channel", ""))
        if self._socket is not None:
            with suppress(ConnectionClosed):
                await self._socket.send(_encode({**frame, "id": self._last_id}).decode())
        return self._last_id

    async def _catch_up(self) -> None:
        """Send what is due."""
        now = time.monotonic()
        for channel in list(self._channels.values()):
            if self._socket is None:
                return
            if channel.asked is None and channel.due is not None and channel.due <= now:
                await self._ask(channel)
            if channel.asked is None and channel.presence_due is not None and channel.presence_due <= now:
                channel.presence_due = now + AGAIN_SECONDS
                await self._send({"op": "presence", "channel": channel.name})
        if self._renewal_due is not None and self._renewal_due <= now and callable(self._token):
            self._renewal_due = now + AGAIN_SECONDS
            try:
                token = await self._token()
            except RealtimeError:
                raise
            except Exception:
                return  # the present one is good for a while
            await self._send({"op": "auth", "token": token})

    async def _ask(self, channel: _Channel) -> None:
        frame: dict[str, Any] = {"op": "subscribe", "channel": channel.name}
        if channel.position is not None and channel.position.epoch is not None:
            frame |= {"epoch": channel.position.epoch, "seq": channel.position.seq}
        channel.asked, channel.due = self._last_id + 1, time.monotonic() + self._open_seconds
        try:
            await self._send(frame)
        except asyncio.CancelledError:
            channel.asked, channel.due = None, 0.0  # it may not have gone; twice does no harm
            raise

    def _next_due(self) -> float | None:
        """When something is to be sent."""
        times = [self._renewal_due]
        for channel in self._channels.values():
            times += (channel.due, None if channel.asked else channel.presence_due)
        return min((due for due in times if due is not None), default=None)

    def _is_overdue(self) -> bool:
        """Whether a subscription should have been answered by now."""
        now = time.monotonic()
        return any(c.asked is not None and c.due is not None and c.due <= now for c in self._channels.values())

    # what is read

    def _read(self, frame: _Frame) -> None:
        channel = self._channels.get(frame.channel)
        match frame.op:
            case "events" if channel is not None and channel.asked is None:
                self._events(channel, frame.events)
            case "revoked" if channel is not None:
                self._revoke(channel, frame.error)
            case "presence" if frame.id is None and frame.viewers is not None:
                self._ready.append(Presence(frame.channel, frame.viewers, frame.joined, frame.left))
            case _ if isinstance(frame.id, int) and frame.id in self._asked:
                self._reply(frame, *self._asked.pop(frame.id))

    def _reply(self, frame: _Frame, op: str, name: str) -> None:
        if not self._welcomed:
            self._welcomed = True
            self._attempts = 0
            self.connections += 1
            self._tell("open", "")
        channel = self._channels.get(name)
        if op == "subscribe" and channel is not None and channel.asked == frame.id:
            channel.asked = channel.due = None
            if frame.op != "error":
                self._subscribed(channel, frame)
            elif frame.error in PASSING:
                channel.due = time.monotonic() + max(frame.retry_after, self._first_pause)
            else:
                self._revoke(channel, frame.error)
        elif op == "presence" and channel is not None and frame.op != "error" and channel.presence_due is not None:
            left = 3 * AGAIN_SECONDS if frame.until is None else (frame.until - datetime.now(UTC)).total_seconds()
            channel.presence_due = time.monotonic() + min(max(left / 3, 1), 2 * AGAIN_SECONDS)
        elif op == "auth" and frame.op != "error" and frame.expires_at is not None:
            left = (frame.expires_at - datetime.now(UTC)).total_seconds()
            self._renewal_due = time.monotonic() + max(left - min(RENEWAL_MARGIN_SECONDS, left / 4), 1)

    def _subscribed(self, channel: _Channel, frame: _Frame) -> None:
        before = channel.position
        if before is not None and before.epoch is None:
            channel.position = Position(frame.epoch, before.seq)  # the epoch is known now: from there
            channel.due = 0.0
            return
        channel.position = Position(frame.epoch, frame.seq)
        if not frame.recovered or channel.position != before:
            self._ready.append(Reset(channel.name, frame.epoch, frame.seq))

    def _events(self, channel: _Channel, items: list[_Item]) -> None:
        position = channel.position
        if position is None or position.epoch is None:
            return
        epoch, seq = position.epoch, position.seq
        for item in items:
            if item.seq <= seq:
                self.repeats += 1
            elif item.seq > seq + 1:
                self._gap(channel, seq)
                break
            else:
                seq = item.seq
                self._ready.append(Event(channel.name, epoch, seq, item.type, item.at, item.data))
        channel.position = Position(epoch, seq)

    def _gap(self, channel: _Channel, seq: int) -> None:
        """A number is missing: ask again from the last; from a new connection if that does not help."""
        self.gaps += 1
        if channel.gap == seq:
            self._retry(f"{channel.name} has a gap after {seq}")
        channel.gap = seq
        channel.due = 0.0

    def _revoke(self, channel: _Channel, error: str) -> None:
        del self._channels[channel.name]
        self._ready.append(Revoked(channel.name, error))

    def _tell(self, state: State, why: str) -> None:
        if state != self._state:
            self._state = state
            if self._on_state is not None:
                self._on_state(state, why)


def socket_url(url: str) -> str:
    """The WebSocket of a service: of `https://host/`, `wss://host/api/v1/realtime`."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    path = parts.path.rstrip("/")
    return urlunsplit((scheme, parts.netloc, path if path.endswith(PATH) else path + PATH, "", ""))
