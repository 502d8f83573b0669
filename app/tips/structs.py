"""What the routes of tips take and give. Amounts are tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from app.wallets.structs import Amount

Message = Annotated[str, Meta(max_length=500, pattern=r"^[^\x00]*$", examples=["Encore!"])]


class TipContext(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where the tip was sent: during a stream or a call, not both."""

    stream_id: UUID | None = None
    call_id: UUID | None = None


class TipRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A tip from the caller to a creator."""

    creator_id: UUID
    amount: Annotated[Amount, Meta(description="Tokens.", examples=[50])]
    message: Message | None = None
    context: TipContext | None = None


class TipReceipt(msgspec.Struct, kw_only=True):
    """A tip that was sent: who got what, and the caller's balance right after it."""

    tip_id: UUID
    amount: int
    creator_cut: int
    platform_fee: int
    new_balance: int


class Tip(msgspec.Struct, kw_only=True):
    """A tip as it is listed."""

    tip_id: UUID
    sender_id: UUID
    creator_id: UUID
    amount: int
    platform_fee: int
    creator_cut: int
    message: str | None
    stream_id: UUID | None
    call_id: UUID | None
    created_at: datetime


class Tipper(msgspec.Struct, kw_only=True):
    """One of those who gave most."""

    user_id: UUID
    username: str
    total: int
    count: int


class TipStats(msgspec.Struct, kw_only=True):
    """Tips of a creator in a period; ``average`` is a decimal with two places."""

    creator_id: UUID
    period: str
    count: int
    sum: int
    average: str
    max: int
    unique_tippers: int
    top: list[Tipper]
