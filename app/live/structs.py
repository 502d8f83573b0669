"""What the routes of live rooms take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from app.streams.structs import Stream, Visibility

Outcome = Literal["applied", "repeated", "ignored", "over"]
RoomName = Annotated[str, Meta(examples=["stream-0190c0de-0000-7000-8000-000000000001"])]


class TokenRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The stream to watch (or to send), or the call to take part in: one of the two."""

    stream_id: Annotated[UUID, Meta(examples=["0190c0de-0000-7000-8000-000000000001"])] | None = None
    call_id: UUID | None = None

    def __post_init__(self) -> None:
        if (self.stream_id is None) == (self.call_id is None):
            raise ValueError("Exactly one of `stream_id` and `call_id` is required")


class StreamReference(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One's own stream."""

    stream_id: Annotated[UUID, Meta(examples=["0190c0de-0000-7000-8000-000000000001"])]


class LiveToken(msgspec.Struct, kw_only=True):
    """What a LiveKit client connects with. Entering must begin within ``expires_in`` seconds; staying has no limit."""

    url: Annotated[str, Meta(examples=["wss://live.example.com"])]
    room: RoomName
    token: Annotated[str, Meta(description="Pass it on to LiveKit; it is of no use here.")]
    identity: UUID
    can_publish: bool
    expires_in: Annotated[int, Meta(examples=[600])]


class Started(msgspec.Struct, kw_only=True):
    """A stream that is live, and its creator's place in its room."""

    stream: Stream
    url: Annotated[str, Meta(examples=["wss://live.example.com"])]
    room: RoomName
    token: str
    expires_in: Annotated[int, Meta(examples=[600])]


class Ended(msgspec.Struct, kw_only=True):
    """A stream that has ended. ``room_closed`` is false where LiveKit could not be told: the scheduler goes on."""

    stream: Stream
    room_closed: bool


class LiveStream(msgspec.Struct, kw_only=True):
    """A stream that is live now, and whose it is."""

    stream_id: UUID
    title: str
    channel: str
    visibility: Visibility
    ticket_price: int
    seats_left: int | None
    started_at: datetime
    viewers: int
    creator_id: UUID
    creator_username: str
    creator_name: str


class EventAnswer(msgspec.Struct, kw_only=True):
    """What became of an event."""

    outcome: Outcome


class Seat(msgspec.Struct, frozen=True):
    """api.live_seat: a place in a room."""

    room: str
    name: str
    publishes: bool


class Event(msgspec.Struct, frozen=True):
    """What LiveKit tells of somebody in a room. ``at`` is None where it does not say."""

    id: str
    name: str
    room: str
    identity: str | None
    at: datetime | None
