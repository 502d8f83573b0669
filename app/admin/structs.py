"""What the routes of administrators take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from app.wallets.structs import Amount, Asset

Reason = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        pattern=r"^[^\x00]*$",
        description="Kept; 255 bytes.",
        examples=["The fan paid twice."],
    ),
]
RateName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{1,62}$", examples=["platform_fee"])]
Scope = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.]{0,62}$", examples=["ambassador"])]
Decimal = Annotated[
    str,
    Meta(pattern=r"^[0-9]{1,15}(\.[0-9]{1,12})?$", description="A decimal number as text.", examples=["250", "0.05"]),
]


class RateRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A rate from ``valid_from`` (now when left out) on, for one asset or scope when they are given."""

    name: RateName
    value: Decimal
    asset: Asset | None = None
    scope: Scope | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    note: Annotated[str, Meta(max_length=500, pattern=r"^[^\x00]*$", examples=["From the new year."])] | None = None


class Rate(msgspec.Struct, kw_only=True):
    """A rate and its period. Of several in force the one with the latest ``valid_from`` counts."""

    rate_id: UUID
    name: str
    value: str
    unit: str
    asset: str | None
    scope: str | None
    valid_from: datetime | None
    valid_to: datetime | None
    note: str | None
    created_by: str
    created_at: datetime


class AdjustmentRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What should move, and why."""

    from_wallet_id: UUID
    to_wallet_id: UUID
    amount: Amount
    reason: Reason


class ReasonRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Why."""

    reason: Reason


class Adjustment(msgspec.Struct, kw_only=True):
    """A movement by hand: asked for by one person, decided by another."""

    adjustment_id: UUID
    from_wallet_id: UUID
    to_wallet_id: UUID
    amount: int
    asset: str
    reason: str
    status: Literal["pending", "approved", "rejected", "expired"]
    requested_by: UUID | None
    requested_db_user: str
    created_at: datetime
    expires_at: datetime
    decided_by: UUID | None
    decided_db_user: str | None
    decided_at: datetime | None
    decision_reason: str | None
    transfer_id: UUID | None


class FreezeRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``debits``: the wallet still takes money; ``all``: neither."""

    reason: Reason
    mode: Literal["debits", "all"] = "debits"


class MinimumRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How low the balance may go, in minor units: below zero an overdraft, above a reserve."""

    reason: Reason
    minimum: Annotated[int, Meta(ge=-9_000_000_000_000_000_000, le=1_000_000_000_000_000)]


class Wallet(msgspec.Struct, kw_only=True):
    """A wallet as an administrator sees it; amounts in minor units of the asset."""

    wallet_id: UUID
    owner_id: UUID | None
    purpose: str
    shard: int
    asset: str
    scale: int
    balance: int
    held: int
    minimum: int
    spendable: int
    debt: int
    lifetime_earned: int
    lifetime_spent: int
    version: int
    status: str
    created_at: datetime


Digest = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256, hexadecimal.",
        examples=["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    ),
]


class Seal(msgspec.Struct, kw_only=True):
    """A sealed block of history: what has an id from ``from_id`` up to ``to_id``, that one not included.

    ``digest`` covers all of it and, by ``previous``, every block before: keep the newest one elsewhere.
    """

    block: int
    from_id: UUID
    to_id: UUID
    up_to: datetime
    transfers: int
    wallets: int
    acts: int
    transfers_digest: Digest
    wallets_digest: Digest
    acts_digest: Digest
    sealed_at: datetime
    previous: Digest
    digest: Digest


class Act(msgspec.Struct, kw_only=True):
    """Who did what to what, when, from where. Without ``actor_id`` it was the database login ``db_user``."""

    audit_id: UUID
    created_at: datetime
    actor_id: UUID | None
    db_user: str
    action: str
    subject_id: UUID | None
    details: dict[str, Any]
    request_id: str | None
    address: str | None
