"""What the routes of streams take and give. Prices are tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

Title = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00]*$",
        description="Not blank, and at most 200 bytes of UTF-8.",
        examples=["Late show"],
    ),
]
Channel = Annotated[
    str,
    Meta(pattern=r"^[a-z0-9][a-z0-9_-]{2,62}$", description="Its name; nobody else has it.", examples=["late-show"]),
]
Visibility = Literal["public", "private"]
StreamStatus = Literal["scheduled", "live", "ended"]
AccessReason = Literal["public_stream", "ticket_purchased", "owner", "no_ticket"]


Price = Annotated[int, Meta(ge=0, le=1_000_000_000, description="Tokens; 0 is free.", examples=[50])]
Seats = Annotated[int, Meta(ge=1, le=10_000_000, description="None: any number.")]


class StreamRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A stream to announce. Tickets are for private ones: ``seats`` of them at most, sold in a window of time."""

    title: Title
    channel: Channel
    visibility: Visibility = "public"
    ticket_price: Annotated[Price | None, Meta(description="None: the creator's usual price, else free.")] = None
    seats: Seats | None = None
    starts_at: datetime | None = None
    sales_from: datetime | None = None
    sales_to: datetime | None = None


class StreamPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Only the fields that are sent change; null takes away ``seats`` and times."""

    title: Title | UnsetType = UNSET
    visibility: Visibility | UnsetType = UNSET
    ticket_price: Price | UnsetType = UNSET
    seats: Seats | UnsetType | None = UNSET
    starts_at: datetime | UnsetType | None = UNSET
    sales_from: datetime | UnsetType | None = UNSET
    sales_to: datetime | UnsetType | None = UNSET


class CancelRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Why there will be no stream."""

    reason: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=255,
            pattern=r"^[^\x00]*$",
            description="Not blank, and at most 255 bytes of UTF-8.",
            examples=["I have lost my voice."],
        ),
    ]


class Stream(msgspec.Struct, kw_only=True):
    """A stream. ``seats_left`` is None where any number may come; ``total_tips`` are tokens, refunds not taken off."""

    stream_id: UUID
    creator_id: UUID
    title: str
    channel: Annotated[str, Meta(description="Its name; nobody else has it.")]
    visibility: Visibility
    status: StreamStatus
    ticket_price: Annotated[int, Meta(description="Tokens; 0 is free.")]
    seats: Annotated[int | None, Meta(description="Null: any number may come.")]
    seats_left: int | None
    sales_from: datetime | None
    sales_to: datetime | None
    starts_at: Annotated[datetime | None, Meta(description="When it is announced for.")]
    started_at: datetime | None
    ended_at: datetime | None
    cancelled_at: Annotated[datetime | None, Meta(description="Set: it was cancelled, and tickets were given back.")]
    created_at: datetime
    total_tips: Annotated[int, Meta(description="Tokens tipped during it; refunds are not taken off.")]
    viewers: Annotated[int, Meta(description="How many watched at the last count.")]
    peak_viewers: Annotated[int, Meta(description="The most there were at any count.")]


class Access(msgspec.Struct, kw_only=True):
    """Whether the caller may watch, and why."""

    has_access: bool
    reason: AccessReason


class Watching(msgspec.Struct, kw_only=True):
    """How many watch, as of the last count, and until when the caller is counted."""

    viewers: int
    seen_until: datetime


class TicketReceipt(msgspec.Struct, kw_only=True):
    """A ticket that was bought, and the caller's balance right after it (None where it was free)."""

    ticket_id: UUID
    price: int
    new_balance: int | None
