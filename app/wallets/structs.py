"""What the routes of wallets take and give. Amounts are whole numbers of the asset's minor unit."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

Amount = Annotated[int, Meta(ge=1, le=1_000_000_000_000_000, description="Minor units of the asset; tokens for TOKEN.")]
Asset = Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]{1,15}$", examples=["TOKEN"])]
Reference = Annotated[
    str,
    Meta(
        max_length=255, pattern=r"^[^\x00]*$", description="Your own reference, 255 bytes.", examples=["invoice 4711"]
    ),
]
MetadataKey = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
MetadataText = Annotated[str, Meta(max_length=1000, pattern=r"^[^\x00]*$")]
MetadataNumber = Annotated[int, Meta(ge=-(2**53) + 1, le=2**53 - 1)]
Metadata = Annotated[dict[MetadataKey, MetadataText | MetadataNumber | bool | None], Meta(max_length=32)]


class TransferRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Exactly one of ``to_user_id`` and ``to_wallet_id``. The payer is the caller."""

    amount: Amount
    asset: Asset = "TOKEN"
    to_user_id: UUID | None = None
    to_wallet_id: UUID | None = None
    reference: Reference | None = None
    metadata: Metadata | None = None


class TransferReceipt(msgspec.Struct, kw_only=True):
    """A transfer that was made, and the caller's balance right after it."""

    transfer_id: UUID
    from_wallet_id: UUID
    to_wallet_id: UUID
    amount: int
    asset: str
    new_balance: int
    created_at: datetime


class WalletBalance(msgspec.Struct, kw_only=True):
    """One wallet. ``spendable`` is balance less held less minimum; an amount of ``n`` is n × 10^-scale of the asset."""

    wallet_id: UUID
    asset: str
    scale: int
    balance: int
    held: int
    spendable: int
    lifetime_earned: int
    lifetime_spent: int
    status: str


class Wallets(msgspec.Struct):
    """All wallets of a user, one an asset."""

    wallets: list[WalletBalance]


class TokenBalance(msgspec.Struct, kw_only=True):
    """The caller's tokens. ``available`` can be spent now; ``token_value_usd`` is what one is paid out at."""

    balance: int
    held: int
    available: int
    lifetime_earned: int
    lifetime_spent: int
    token_value_usd: str


class Transaction(msgspec.Struct, kw_only=True):
    """An entry of a wallet: ``amount`` is negative for money out, ``balance`` is right after it."""

    seq: int
    created_at: datetime
    amount: int
    balance: int
    transfer_id: UUID
    kind: str
    counterparty_wallet_id: UUID
    counterparty_user_id: UUID | None
    reference: str | None
    metadata: dict[str, Any] | None


class Statement(msgspec.Struct, kw_only=True):
    """``opening_balance`` plus all amounts between ``from`` and ``to`` is ``closing_balance``. Newest first."""

    wallet_id: UUID
    asset: str
    from_: datetime = msgspec.field(name="from")
    to: datetime
    opening_balance: int
    closing_balance: int
    entries: list[Transaction]
    next_cursor: str | None = None


class Violation(msgspec.Struct, kw_only=True):
    """A broken invariant: which rule, by what, and the numbers."""

    rule: str
    subject: str
    detail: dict[str, Any]


class Audit(msgspec.Struct):
    """``balanced`` means that no rule is broken."""

    balanced: bool
    violations: list[Violation]
