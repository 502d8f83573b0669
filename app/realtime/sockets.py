"""One socket: who it is, what it follows, and what it asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import structlog

from app.core.answers import to_error
from app.core.auth import Actor
from app.core.errors import TesseraError, error
from app.core.metrics import FRAMES_SENT, RECOVERIES, SOCKET_CLOSES
from app.core.ratelimit import Allowance
from app.core.wire import LOW_WATER, Wire, text_frame
from app.core.wiring import validation_error
from app.realtime.channel import Channel
from app.realtime.hub import Lost
from app.realtime.protocol import (
    Auth,
    Authenticated,
    Ping,
    Pong,
    Presence,
    Present,
    Reply,
    Revoked,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    decode,
    encode,
    events,
    id_of,
    now,
    refusal,
)

if TYPE_CHECKING:
    from app.realtime.service import Realtime

AUTH_SECONDS = 5.0
"""How long a socket may stay nameless."""
CHANNELS = 256
"""How many channels a socket may follow."""
FRAMES_PER_SECOND = 10.0
FRAMES_AT_ONCE = 300.0
REFUSALS = 200
"""So many frames beyond the limit in a row, and the socket is closed."""
STALL_SECONDS = 10.0
"""Who is behind and reads less than 64 KiB in this time is closed."""
QUEUES = 4
"""At most so many times the queue may wait, whatever it is."""

PRESENCE = {"stream": "streams:read", "call": "calls:write"}
"""The scope that presence needs: that of the request which does the same."""

NOT_AUTHENTICATED = 4001
FORBIDDEN = 4003
TRY_AGAIN = 1013
TOO_SLOW = 4008
EPOCH_CHANGED = 4009
LIMITED = 4029

log = structlog.get_logger("tessera.realtime")


class Follow:
    """A channel that the socket follows. ``at``: what it has been sent, while it is not live there."""

    __slots__ = ("channel", "at")

    def __init__(self, channel: Channel, at: int) -> None:
        self.channel = channel
        self.at = at


class Socket:
    """See the module. Made when the upgrade was accepted; ``run`` lasts as long as it is open."""

    def __init__(self, realtime: Realtime, wire: Wire, address: str) -> None:
        self.actor: Actor | None = None
        self.address = address
        self.follows: dict[str, Follow] = {}
        self.watching: set[UUID] = set()
        """Streams whose comings and goings it wants to know."""
        self.doubted = False
        """Something about its user may have changed: to be looked at again (app/realtime/guard.py)."""
        self.closed: tuple[int, str] | None = None
        self._behind: dict[Follow, None] = {}
        self._catching: asyncio.Task[None] | None = None
        self._realtime = realtime
        self._wire = wire
        self._limit = realtime.queue_bytes
        self._frames = Allowance(FRAMES_PER_SECOND, FRAMES_AT_ONCE)
        self._refused = 0

    # sending

    def write(self, frame: bytes) -> None:
        """Send a frame of `text_frame`."""
        if self.closed is None and self._wire.write(frame) > QUEUES * self._limit:
            self.close(TOO_SLOW, "TOO_SLOW")

    def write_live(self, frames: bytes) -> None:
        """Send the newest events of a channel. When more waits than the queue holds, nothing is live any more for this
        socket: it gets what follows from history, as fast as it reads."""
        if self.closed is not None or self._wire.write(frames) <= self._limit:
            return
        for follow in self.follows.values():
            if follow.channel.live.pop(self, self) is None:
                follow.at = follow.channel.seq
                self._behind[follow] = None
        self._catch_up_soon()

    def send(self, payload: bytes) -> None:
        """Send a text."""
        self.write(text_frame(payload))

    def close(self, code: int, reason: str) -> None:
        """Send no more, and a close frame."""
        if self.closed is None:
            self.closed = (code, reason)
            SOCKET_CLOSES.labels(reason).inc()
            self._leave_all()
            if self._catching is not None and self._catching is not asyncio.current_task():
                self._catching.cancel()
            self._wire.close(code, reason)

    def revoke(self, name: str, slug: str) -> None:
        """Take a channel away."""
        if self._leave(name):
            self.send(encode(Revoked(channel=name, error=slug)))

    # receiving

    async def run(self, receive: Callable[[], Any]) -> None:
        """Answer requests until it closes."""
        loop = asyncio.get_running_loop()
        nameless = None if self.actor else loop.call_later(AUTH_SECONDS, self._nameless)
        try:
            while self.closed is None:
                message = await receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._answer(message.get("text"))
        finally:
            if nameless is not None:
                nameless.cancel()
            self._leave_all()
            if self._catching is not None:
                self._catching.cancel()

    def _nameless(self) -> None:
        if self.actor is None:
            self.close(NOT_AUTHENTICATED, "NOT_AUTHENTICATED")

    async def _answer(self, text: str | None) -> None:
        number = None if text is None else id_of(text)
        try:
            self._spend()
            if text is None:
                raise error("MALFORMED_JSON", "Frames are texts.")
            try:
                request = decode(text)
            except msgspec.ValidationError as exc:
                raise validation_error(exc) from exc
            except (msgspec.DecodeError, RecursionError):
                raise error("MALFORMED_JSON") from None
            await self._serve(request)
        except Exception as exc:
            failure = to_error(exc)
            if failure.slug == "INTERNAL_ERROR":
                log.error("realtime_request_failed", exc_info=exc)
            self.send(refusal(failure, number))

    def _spend(self) -> None:
        """Count one frame. Errors: RATE_LIMITED."""
        if self._frames.take():
            self._refused = 0
            return
        self._refused += 1
        if self._refused > REFUSALS:
            self.close(LIMITED, "RATE_LIMITED")
        raise error("RATE_LIMITED", retry_after=1, limited_by="socket")

    async def _serve(self, request: Any) -> None:
        match request:
            case Ping():
                self._reply(Pong(id=request.id, at=now()))
            case Auth():
                await self._auth(request)
            case _ if self.actor is None:
                raise error("NOT_AUTHENTICATED")
            case Subscribe():
                await self._subscribe(request, self.actor.user_id)
            case Unsubscribe():
                self._leave(request.channel)
                self._reply(Unsubscribed(id=request.id, channel=request.channel))
            case Presence():
                await self._presence(request, self.actor)

    def _reply(self, reply: Reply) -> None:
        self.send(encode(reply))

    async def _auth(self, request: Auth) -> None:
        if (request.ticket is None) == (request.token is None):
            raise error("VALIDATION_ERROR", errors=[{"field": "ticket", "message": "Send a ticket or a token."}])
        try:
            if request.ticket is not None:
                actor = await self._realtime.redeem(request.ticket, self.address)
            else:
                actor = await self._realtime.verify((request.token or "").encode(), self.address)
            if self.actor is not None and actor.user_id != self.actor.user_id:
                raise error("INVALID_TOKEN", "This socket is somebody else's.")
            if self.actor is None:
                self._realtime.admit(self, actor)
        except TesseraError as exc:
            # who was somebody stays so until their time is up
            if self.actor is None and exc.status in (401, 403, 429):
                self.send(refusal(exc, request.id))
                codes = {401: NOT_AUTHENTICATED, 403: FORBIDDEN, 429: LIMITED}
                self.close(codes[exc.status], exc.slug)
                return
            raise
        self.actor = actor
        self.doubted = True  # what was notified meanwhile was of the one before
        until = actor.expires_at
        self._reply(
            Authenticated(
                id=request.id,
                user_id=actor.user_id,
                expires_at=None if until is None else datetime.fromtimestamp(until, UTC),
            )
        )

    async def _subscribe(self, request: Subscribe, user: UUID) -> None:
        name = request.channel
        if (request.epoch is None) != (request.seq is None):
            raise error("VALIDATION_ERROR", errors=[{"field": "seq", "message": "epoch and seq go together."}])
        if name not in self.follows and len(self.follows) >= CHANNELS:
            raise error("TOO_MANY_SUBSCRIPTIONS", maximum=CHANNELS)
        try:
            channel, standing = await self._realtime.hub.join(user, name)
        except Lost:
            raise error("SERVER_BUSY") from None
        # nothing waits from here on: what is read next is sent after the reply
        self._leave(name)
        if self.closed is not None:
            self._realtime.hub.leave(channel, self)
            return
        recovered = (
            request.seq is not None
            and request.epoch == standing.epoch
            and standing.first_seq - 1 <= request.seq <= channel.seq
        )
        at = request.seq if recovered and request.seq is not None else channel.seq
        RECOVERIES.labels("recovered" if recovered else "lost" if request.seq is not None else "new").inc()
        follow = self.follows[name] = Follow(channel, at)
        self._reply(
            Subscribed(id=request.id, channel=name, epoch=standing.epoch, seq=at, head=channel.seq, recovered=recovered)
        )
        if self.follows.get(name) is not follow:
            return  # the reply was too much for its queue
        if at == channel.seq:
            channel.live[self] = None
        else:
            self._behind[follow] = None
            self._catch_up_soon()

    def _catch_up_soon(self) -> None:
        if self.closed is None and (self._catching is None or self._catching.done()):
            self._catching = asyncio.create_task(self._catch_up(), name="realtime-catch-up")

    async def _catch_up(self) -> None:
        """Send what it missed, channel by channel, no faster than it reads; a channel that misses nothing is live."""
        try:
            while self._behind:
                for follow in tuple(self._behind):
                    await self._send_page(follow)
        except Lost:
            self.close(EPOCH_CHANGED, "EPOCH_CHANGED")
        except TimeoutError:
            self.close(TOO_SLOW, "TOO_SLOW")
        except TesseraError as exc:
            # the database is away: it comes back, and goes on from where it is
            self.close(TRY_AGAIN, exc.slug)
        except Exception as exc:
            # better no socket than one that stays behind in silence
            log.error("realtime_catch_up_failed", exc_info=exc)
            self.close(TRY_AGAIN, "INTERNAL_ERROR")

    async def _send_page(self, follow: Follow) -> None:
        channel = follow.channel
        await self._drained()
        if follow in self._behind and follow.at < channel.seq:
            missed = await self._realtime.hub.history(channel, follow.at)
            for count, payload in events(channel.name, missed):
                await self._drained()
                if follow not in self._behind:
                    return
                follow.at += count
                self.send(payload)
                FRAMES_SENT.inc()
        # nothing waits between the look and the act: what is read next goes to all that are live
        if follow in self._behind and follow.at == channel.seq:
            del self._behind[follow]
            channel.live[self] = None

    async def _drained(self) -> None:
        """Until it has read nearly everything. Raises TimeoutError when it reads next to nothing."""
        waiting = self._wire.waiting()
        while True:
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    return await self._wire.drained()
            except TimeoutError:
                before, waiting = waiting, self._wire.waiting()
                if before - waiting < LOW_WATER:
                    raise

    async def _presence(self, request: Presence, actor: Actor) -> None:
        follow = self.follows.get(request.channel)
        if follow is None:
            raise error("NOT_SUBSCRIBED", channel=request.channel)
        user = actor.user_id
        kind, _, identity = request.channel.partition(":")
        needed = PRESENCE.get(kind)
        if needed is not None and not actor.may(needed):
            raise error("INSUFFICIENT_SCOPE", required=needed)
        if kind == "stream":
            stream = UUID(identity)
            if request.leave:
                self.watching.discard(stream)
                await self._realtime.viewers.leave(user, stream)
                self._reply(Present(id=request.id, channel=request.channel))
            else:
                seen = await self._realtime.viewers.watch(user, stream)
                if self.follows.get(request.channel) is follow:
                    self.watching.add(stream)
                self._reply(
                    Present(id=request.id, channel=request.channel, viewers=seen.viewers, until=seen.seen_until)
                )
        elif kind == "call":
            pulse = await self._realtime.calls.beat(UUID(identity), user)
            self._reply(Present(id=request.id, channel=request.channel, until=pulse.next_block_at))
        else:
            raise error("INVALID_CHANNEL", "Presence is of streams and calls.", channel=request.channel)

    def _leave(self, name: str) -> bool:
        follow = self.follows.pop(name, None)
        if follow is None:
            return False
        self._behind.pop(follow, None)
        self._realtime.hub.leave(follow.channel, self)
        if name.startswith("stream:"):
            self.watching.discard(UUID(name.removeprefix("stream:")))
        return True

    def _leave_all(self) -> None:
        for name in tuple(self.follows):
            self._leave(name)
