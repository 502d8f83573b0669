"""What the routes of payments take and give."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from app.payments.providers.protocol import Method, ProviderName

PaymentStatus = Literal["pending", "paid", "failed", "refunded", "disputed"]
RefundStatus = Literal["pending", "done", "failed"]
Outcome = Literal[
    "received",
    "applied",
    "repeated",
    "ignored",
    "unknown",
    "mismatch",
    "duplicate",
    "contradiction",
    "refused",
    "resolved",
]
Money = Annotated[int, Meta(description="In the minor unit of `currency`: cents, kobo.", examples=[1900])]
PositiveMoney = Annotated[int, Meta(ge=1, le=1_000_000_000_000, examples=[1900])]
Tokens = Annotated[int, Meta(examples=[200])]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$", examples=["USD"])]
Address = Annotated[str, Meta(min_length=1, max_length=2000, examples=["https://shop.example.com/thanks"])]
Reason = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S", examples=["bought by mistake"])]
PaymentId = Annotated[UUID, Meta(examples=["0190c0de-0000-7000-8000-000000000001"])]


class Package(msgspec.Struct, kw_only=True):
    """What tokens are sold in. The buyer gets ``tokens`` and ``bonus``."""

    package_id: UUID
    name: str
    tokens: Tokens
    bonus: Annotated[int, Meta(examples=[0])]
    price: Money
    currency: Currency


class Packages(msgspec.Struct, kw_only=True):
    """All packages on sale, the cheapest first, and by whom they can be paid."""

    items: list[Package]
    providers: list[ProviderName]


class CheckoutRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A package to buy. The addresses must be among those that the operator allows; without them pages of ours."""

    package_id: PaymentId
    provider: ProviderName
    success_url: Address | None = None
    cancel_url: Address | None = None


class CheckoutReceipt(msgspec.Struct, kw_only=True):
    """A payment that is open until ``expires_at``: send the buyer to ``checkout_url``."""

    payment_id: PaymentId
    provider: ProviderName
    tokens: Tokens
    amount: Money
    currency: Currency
    checkout_url: str
    created_at: datetime
    expires_at: datetime


class Payment(msgspec.Struct, kw_only=True):
    """A payment. ``refunded`` and ``disputed`` are money, ``reversed`` are the tokens that were taken back for them."""

    payment_id: PaymentId
    package_id: UUID
    provider: ProviderName
    status: PaymentStatus
    tokens: Tokens
    amount: Money
    currency: Currency
    refunded: int
    disputed: int
    reversed: int
    failure: str | None
    created_at: datetime
    expires_at: datetime
    paid_at: datetime | None
    failed_at: datetime | None


class AdminPayment(Payment, kw_only=True):
    """A payment, whose it is, and the provider's names of it."""

    buyer_id: UUID
    transfer_id: UUID | None
    reference: str | None
    charge: str | None


class Methods(msgspec.Struct, kw_only=True):
    """The payment methods that providers keep for the caller."""

    items: list[Method]


class EventAnswer(msgspec.Struct, kw_only=True):
    """What became of an event; ``received``: it is kept, and applied soon."""

    outcome: Outcome


class RefundRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How much to give back (without ``amount``: all that is left), and why."""

    reason: Reason
    amount: PositiveMoney | None = None


class Refund(msgspec.Struct, kw_only=True):
    """A refund. The tokens are gone when it is written; where it fails they are restored."""

    refund_id: UUID
    payment_id: PaymentId
    amount: Money
    currency: Currency
    reason: str


class ResolveRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An event that somebody has dealt with."""

    provider: ProviderName
    event_id: Annotated[str, Meta(min_length=1, max_length=255)]
    reason: Reason


class PaymentEvent(msgspec.Struct, kw_only=True):
    """What a provider has told, and what became of it."""

    provider: ProviderName
    event_id: str
    type: str
    kind: str
    payment_id: UUID | None
    amount: int | None
    currency: str | None
    reference: str | None
    charge: str | None
    item: str | None
    reason: str | None
    outcome: Outcome
    error: str | None
    tries: int
    received_at: datetime
    applied_at: datetime | None
    open: bool


class PackageRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A package to sell from ``active_from`` (now) up to ``active_to`` (until it is ended)."""

    name: Annotated[str, Meta(min_length=1, max_length=80, pattern=r"\S", examples=["200 tokens"])]
    tokens: Annotated[int, Meta(ge=1, le=1_000_000_000_000)]
    price: PositiveMoney
    currency: Currency
    bonus: Annotated[int, Meta(ge=0, le=1_000_000_000_000)] = 0
    active_from: datetime | None = None
    active_to: datetime | None = None


class SoldPackage(Package, kw_only=True):
    """A package, on sale or not."""

    active_from: datetime | None
    active_to: datetime | None
    active: bool


class Finding(msgspec.Struct, kw_only=True):
    """Something that the provider and the ledger do not agree about."""

    finding: str
    payment_id: UUID | None
    record_id: str | None
    detail: dict[str, Any]


class Reconciliation(msgspec.Struct, kw_only=True):
    """A provider's day against the ledger. No findings: all is well."""

    provider: ProviderName
    day: date
    findings: list[Finding]


class Sales(msgspec.Struct, kw_only=True):
    """What tokens were sold for in one currency. ``token_value_usd``: what they would be paid out at, a decimal."""

    currency: Currency
    payments: int
    gross: int
    given_back: int
    net: int
    tokens_sold: int
    tokens_taken_back: int
    token_value_usd: str


class SalesReport(msgspec.Struct, kw_only=True):
    """Sales, a row a currency."""

    items: list[Sales]


class Settlement(msgspec.Struct, frozen=True):
    """What api.settle_payment made of an event."""

    payment_id: UUID | None
    outcome: Outcome
    status: PaymentStatus | None
    error: str | None
