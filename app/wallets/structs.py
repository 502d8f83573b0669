"""What the routes of wallets take and give. Amounts are whole numbers of the asset's minor unit."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
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


class HoldRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which wallet, how much, for how long (up to 366 days)."""

    wallet_id: UUID
    amount: Amount
    expires_in_seconds: Annotated[int, Meta(ge=1, le=31_622_400)]
    kind: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.]{0,62}$", examples=["ticket"])] = "hold"
    reference: Reference | None = None
    metadata: Metadata | None = None


class CaptureRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``amount`` left out: all that is left. ``close`` gives back what is left after it."""

    to_wallet_id: UUID
    amount: Amount | None = None
    close: bool = False
    reference: Reference | None = None
    metadata: Metadata | None = None


class HoldReceipt(msgspec.Struct, kw_only=True):
    """A hold right after it was placed, captured or released; ``transfer_id`` of a capture."""

    hold_id: UUID
    wallet_id: UUID
    status: str
    amount: int
    captured: int
    remaining: int
    balance: int
    spendable: int
    transfer_id: UUID | None
    expires_at: datetime
    created_at: datetime


class RefundRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``amount`` left out: all that is left to refund. ``policy``: what if the payee has spent it."""

    reason: Annotated[
        str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00]*$", examples=["The stream broke off."])
    ]
    amount: Amount | None = None
    policy: Literal["refuse", "within_balance", "create_debt"] = "refuse"


class RefundReceipt(msgspec.Struct, kw_only=True):
    """A refund: ``owed`` of it became the payee's debt; ``refundable`` is what is left of the original."""

    transfer_id: UUID
    original_id: UUID
    amount: int
    owed: int
    refundable: int
    from_balance: int
    to_balance: int
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
    """The caller's tokens. ``available`` can be spent now, ``payable`` of them be asked for as money, ``pending`` came
    in too lately for that; ``token_value_usd`` is what one is paid out at."""

    balance: int
    held: int
    available: int
    pending: int
    payable: int
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
    """``balanced`` means that no rule is broken. ``violations`` are a hundred at most.

    ``audited_at`` is now, or when the scheduler last did it, where that takes longer than a request may.
    """

    balanced: bool
    violations: list[Violation]
    audited_at: datetime
