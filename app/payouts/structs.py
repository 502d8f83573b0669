"""What the routes of payouts take and give. ``amount`` is tokens; ``value`` is ten-thousandths of a US dollar and
``payout_amount`` of ``currency``."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from app.accounts.structs import Proof
from app.payouts.details import BankDetails, Currency, PaystackDetails, Provider, StripeDetails
from app.wallets.structs import Amount

PayoutStatus = Literal["requested", "held", "processing", "paid", "failed", "cancelled"]
ReasonCode = Annotated[
    str,
    Meta(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="A code that the user is shown.", examples=["identity_check"]),
]
Reference = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["batch 7/3"])]


class AccountRequest(Proof, kw_only=True):
    """An account to be paid to: exactly one of ``stripe``, ``paystack`` and ``bank``; and that it is you."""

    currency: Currency
    stripe: StripeDetails | None = None
    paystack: PaystackDetails | None = None
    bank: BankDetails | None = None


class PayoutRequest(Proof, kw_only=True):
    """Tokens that are wanted as money; and that it is you."""

    amount: Annotated[Amount, Meta(description="Tokens.", examples=[2000])]
    provider: Provider
    account_id: UUID


class PayoutAccount(msgspec.Struct, kw_only=True):
    """An account to be paid to. Of what is in it nothing but ``masked`` is ever shown."""

    account_id: UUID
    provider: Provider
    currency: str
    masked: str
    created_at: datetime


class PayoutAccounts(msgspec.Struct):
    """All accounts of a user."""

    accounts: list[PayoutAccount]


class PayoutReceipt(msgspec.Struct, kw_only=True):
    """A payout that was asked for. ``reason`` says why it is held; ``available`` of ``new_balance`` can be spent."""

    payout_id: UUID
    status: PayoutStatus
    reason: str | None
    amount: int
    value: int
    currency: str
    payout_amount: int
    new_balance: int
    available: int
    expected_at: datetime
    created_at: datetime


class Payout(msgspec.Struct, kw_only=True):
    """A payout. ``reason`` says why it is held, failed or was cancelled; ``expected_at`` when to expect the money."""

    payout_id: UUID
    account_id: UUID
    account: str
    provider: Provider
    amount: int
    value: int
    currency: str
    payout_amount: int
    status: PayoutStatus
    reason: str | None
    created_at: datetime
    expected_at: datetime
    processing_at: datetime | None
    paid_at: datetime | None
    closed_at: datetime | None
    provider_reference: str | None


class AdminPayout(Payout, kw_only=True):
    """A payout as operators see it: whose it is, and what its provider said last."""

    user_id: UUID
    attempts: int
    provider_state: str | None
    provider_asked_at: datetime | None
    decided_by: UUID | None


class HoldRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Why it is held."""

    reason: ReasonCode


class FailRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Why it failed, and the bank's or the provider's reference."""

    reason: ReasonCode
    reference: Reference | None = None


class PaidRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The bank's or the provider's reference."""

    reference: Reference


class BatchLine(msgspec.Struct, kw_only=True):
    """A payout to be paid by hand: to whom, and how much (decimals of ``currency``, as text)."""

    payout_id: UUID
    holder: str
    number: str
    bank: str | None
    currency: str
    payout_amount: str


class Batch(msgspec.Struct):
    """Payouts to be paid by hand, oldest first."""

    lines: list[BatchLine]


class Mismatch(msgspec.Struct, kw_only=True):
    """A payout that is not here what it is there."""

    payout_id: UUID | None
    mismatch: str
    detail: dict[str, Any]


class Reconciliation(msgspec.Struct):
    """All of a provider's day that does not match."""

    mismatches: list[Mismatch]


class PayoutDay(msgspec.Struct, kw_only=True):
    """What was paid out in a day (UTC) by a provider in a currency."""

    day: date
    provider: Provider
    currency: str
    payouts: int
    amount: int
    value: int
    payout_amount: int


class Days(msgspec.Struct):
    """What was paid out, newest first."""

    days: list[PayoutDay]


class StatementLine(msgspec.Struct, kw_only=True):
    """What moved in a month by one kind of transfer: positive came in, negative went out."""

    month: date
    kind: str
    count: int
    amount: int


class YearStatement(msgspec.Struct, kw_only=True):
    """A year of the caller's tokens, and the payouts that were paid in it."""

    year: int
    lines: list[StatementLine]
    payouts: list[Payout]


class PayoutBalance(msgspec.Struct, kw_only=True):
    """Of the caller's tokens: ``pending`` came in less than ``maturity_days`` ago, ``payable`` can be asked for now (if
    it is ``minimum`` at least), ``in_payouts`` are on their way."""

    pending: int
    payable: int
    in_payouts: int
    minimum: int
    maturity_days: int
