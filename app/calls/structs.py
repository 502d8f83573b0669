"""What the routes of calls take and give. Prices are tokens, durations milliseconds of active time (without pauses)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

CallStatus = Literal["ringing", "active", "paused", "ended", "declined", "missed"]
CallRole = Literal["fan", "creator"]


class CallRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Whom to call. What it costs is the creator's to say."""

    creator_id: UUID


class CallOffer(msgspec.Struct, kw_only=True):
    """A call that rings: each ``block_ms`` begun will cost ``block_price`` tokens, paid before they start."""

    call_id: UUID
    channel: Annotated[str, Meta(description="Where its events are.", examples=["call:019a…"])]
    creator_id: UUID
    status: CallStatus
    rate_per_minute: int
    block_ms: int
    block_price: int
    opened_at: datetime
    rings_until: datetime


class Call(msgspec.Struct, kw_only=True):
    """A call. ``blocks`` and ``billed``: what was paid and not given back. ``next_block_at`` is null unless active."""

    call_id: UUID
    channel: Annotated[str, Meta(description="Where its events are.")]
    fan_id: UUID
    creator_id: UUID
    status: CallStatus
    rate_per_minute: Annotated[int, Meta(description="Tokens, the creator's when it was opened.")]
    block_ms: Annotated[int, Meta(description="How long a block is.")]
    block_price: Annotated[int, Meta(description="Tokens for each block begun.")]
    block_limit: Annotated[int, Meta(description="At most so many blocks.")]
    blocks: Annotated[int, Meta(description="Paid and not given back.")]
    billed: Annotated[int, Meta(description="Tokens paid and not given back.")]
    platform_fees: Annotated[int, Meta(description="Of that, what the platform keeps.")]
    active_ms: Annotated[int, Meta(description="How long the clock ran, without pauses.")]
    next_block_at: Annotated[datetime | None, Meta(description="When the next block begins; null unless active.")]
    last_seen_at: Annotated[datetime | None, Meta(description="Last sign of life of either side.")]
    rings_until: Annotated[datetime | None, Meta(description="Null unless it rings.")]
    opened_at: datetime
    accepted_at: datetime | None
    ended_at: datetime | None
    end_reason: Annotated[str | None, Meta(description="Why it is over: `insufficient_tokens`, `not_seen`…")]
    ended_by: Annotated[UUID | None, Meta(description="Who ended it; null: nobody did.")]


class BillingStatus(msgspec.Struct, kw_only=True):
    """How a call stands. ``blocks_left``: how many more the fan can pay; the creator does not learn it (null)."""

    call: Call
    blocks_left: int | None


class Pulse(msgspec.Struct, kw_only=True):
    """The call after a sign of life."""

    call_id: UUID
    status: CallStatus
    blocks: int
    billed: int
    next_block_at: datetime | None


class CallBlock(msgspec.Struct, kw_only=True):
    """A paid block: number ``block_no`` from 0. ``refunded_at``: given back, since nobody was seen any more."""

    block_no: int
    price: int
    platform_fee: int
    transfer_id: UUID
    fee_transfer_id: UUID | None
    paid_at: datetime
    refunded_at: datetime | None


class CallStats(msgspec.Struct, kw_only=True):
    """Calls that are over in numbers; ``average_ms`` and ``longest_ms`` of those that were answered."""

    calls: int
    answered: int
    declined: int
    missed: int
    blocks: int
    billed: int
    platform_fees: int
    active_ms: int
    average_ms: int
    longest_ms: int


class CallReceipt(msgspec.Struct, kw_only=True):
    """What a call came to, for the books of either side. ``paid`` − ``refunded`` = ``total``."""

    call_id: UUID
    fan_id: UUID
    fan_name: str
    creator_id: UUID
    creator_name: str
    asset: str
    opened_at: datetime
    accepted_at: datetime
    ended_at: datetime
    end_reason: str
    active_ms: int
    rate_per_minute: int
    block_ms: int
    block_price: int
    blocks: int
    paid: int
    refunded: int
    total: int
    platform_fees: int
    creator_earned: int


class MeterRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One call, or (null) all that are due."""

    call_id: UUID | None = None


class Metered(msgspec.Struct, kw_only=True):
    """What was done. ``more``: more is due than one request may do; ask again."""

    calls: int
    blocks_paid: int
    charged: int
    blocks_refunded: int
    ended: int
    more: bool
