"""What is said over a realtime socket: the requests as structs, and the frames of the service (docs/realtime.md)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta

from app.core.errors import TesseraError, problem

MAX_FRAME = 64 * 1024
"""Largest frame in bytes, both ways."""
FRAME_EVENTS = MAX_FRAME - 512
"""How many bytes of events go into one frame at most, the rest being for what is around them."""

RequestId: TypeAlias = Annotated[int, Meta(ge=-(2**53), le=2**53)] | Annotated[str, Meta(max_length=64)] | None
Channel: TypeAlias = Annotated[str, Meta(min_length=1, max_length=100, description="Such as `stream:<id>`.")]
Secret: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2048)]


class Auth(msgspec.Struct, tag_field="op", tag="auth", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Say who you are, or prolong it: by a ticket of `POST /realtime/ticket`, or by an access token or API key."""

    id: RequestId = None
    ticket: Secret | None = None
    token: Secret | None = None


class Subscribe(msgspec.Struct, tag_field="op", tag="subscribe", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Follow a channel, from the position given or from now on."""

    id: RequestId = None
    channel: Channel
    epoch: UUID | None = None
    seq: Annotated[int, Meta(ge=0, le=2**63 - 1, description="Number of the last event that you have.")] | None = None


class Unsubscribe(
    msgspec.Struct, tag_field="op", tag="unsubscribe", forbid_unknown_fields=True, frozen=True, kw_only=True
):
    """Follow a channel no longer. No event of it comes after the reply."""

    id: RequestId = None
    channel: Channel


class Presence(msgspec.Struct, tag_field="op", tag="presence", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """I am here: counted as a viewer of a live stream, or alive in a call."""

    id: RequestId = None
    channel: Channel
    leave: bool = False


class Ping(msgspec.Struct, tag_field="op", tag="ping", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Are you there?"""

    id: RequestId = None


Request: TypeAlias = Auth | Subscribe | Unsubscribe | Presence | Ping


class Authenticated(msgspec.Struct, tag_field="op", tag="auth", kw_only=True):
    """Who you are, and until when."""

    id: RequestId = None
    user_id: UUID
    expires_at: datetime | None


class Subscribed(msgspec.Struct, tag_field="op", tag="subscribe", kw_only=True):
    """Where you are in the channel: the next event is ``seq + 1``.

    ``recovered``: that is your position, and everything after it follows. Otherwise it is the channel's present one,
    and nothing of what was before will come.
    """

    id: RequestId = None
    channel: str
    epoch: UUID
    seq: int
    head: Annotated[int, Meta(description="Number of the channel's last event now.")]
    recovered: bool


class Unsubscribed(msgspec.Struct, tag_field="op", tag="unsubscribe", kw_only=True):
    """You follow the channel no longer."""

    id: RequestId = None
    channel: str


class Present(msgspec.Struct, tag_field="op", tag="presence", kw_only=True, omit_defaults=True):
    """You are counted until then; or, with the joined and left and without an id, who has come and gone."""

    channel: str
    id: RequestId = None
    viewers: int | None = None
    until: datetime | None = None
    joined: list[UUID] | None = None
    left: list[UUID] | None = None


class Pong(msgspec.Struct, tag_field="op", tag="ping", kw_only=True):
    """I am here."""

    id: RequestId = None
    at: datetime


class Event(msgspec.Struct, kw_only=True):
    """One event of a channel. Which types there are, and what is in ``data``: docs/events.md."""

    seq: Annotated[int, Meta(description="Its number in the channel: one more than that of the event before.")]
    type: str
    at: Annotated[datetime, Meta(description="When it was written.")]
    data: dict[str, Any]


class Events(msgspec.Struct, tag_field="op", tag="events", kw_only=True):
    """Events of one channel, in order."""

    channel: str
    events: list[Event]


class Revoked(msgspec.Struct, tag_field="op", tag="revoked", kw_only=True):
    """You may not follow the channel any more, and nothing more of it comes."""

    channel: str
    error: str


class Refused(msgspec.Struct, tag_field="op", tag="error", kw_only=True):
    """The request with this id was refused; further members are its facts (docs/errors.md)."""

    id: RequestId = None
    error: str
    title: str


Reply: TypeAlias = Authenticated | Subscribed | Unsubscribed | Present | Pong
Frame: TypeAlias = Reply | Events | Revoked | Refused

decode: Any = msgspec.json.Decoder(Request).decode
_encode = msgspec.json.Encoder().encode


class _Numbered(msgspec.Struct):
    """The id of a request that is otherwise wrong."""

    id: RequestId = None


def id_of(text: str) -> RequestId:
    """The id of a request, as far as it can be read."""
    try:
        return msgspec.json.decode(text, type=_Numbered).id
    except (msgspec.DecodeError, RecursionError):
        return None


def encode(frame: Frame) -> bytes:
    """A frame's payload."""
    return _encode(frame)


def encode_problem(body: Mapping[str, Any]) -> bytes:
    """The body of an upgrade that is refused."""
    return _encode(body)


def refusal(exc: TesseraError, request: RequestId) -> bytes:
    """The reply to a request that was refused: the members of the problem that HTTP would answer with."""
    body = problem(exc, None)
    for name in ("type", "status"):
        body.pop(name, None)
    if exc.retry_after is not None:
        body.setdefault("retry_after", exc.retry_after)
    return _encode({"op": "error", "id": request} | {k: v for k, v in body.items() if k not in ("op", "id")})


def lines(text: str) -> list[bytes]:
    """Events as they stand in a frame, of api.read_channels; JSON of the database has no line breaks in it."""
    return text.encode().split(b"\n")


def seq_of(encoded: bytes) -> int:
    """The number of an event as it stands in a frame."""
    return int(encoded[len(b'{"seq":') : encoded.index(b",")])


def events(channel: str, encoded: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Frames with these events, as few as the largest frame allows, and how many are in each."""
    head = b'{"op":"events","channel":"%s","events":[' % channel.encode()
    frames: list[tuple[int, bytes]] = []
    some: list[bytes] = []
    size = 0
    for one in encoded:
        if some and size + len(one) > FRAME_EVENTS:
            frames.append((len(some), head + b",".join(some) + b"]}"))
            some, size = [], 0
        some.append(one)
        size += len(one) + 1
    if some:
        frames.append((len(some), head + b",".join(some) + b"]}"))
    return frames


def now() -> datetime:
    """This process's clock."""
    return datetime.fromtimestamp(time.time(), UTC)
