"""What a payment provider does for us, and the words it is told in.

ProviderUnavailable     nobody knows what became of the request: ask again, with the same id
ProviderRefused         the provider said no, for good
SignatureInvalid        a webhook that is not the provider's
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Literal, Protocol
from uuid import UUID

import msgspec

ProviderName = Literal["stripe", "paystack", "paypal", "sandbox"]
Kind = Literal[
    "paid", "failed", "refunded", "refund_failed", "disputed", "dispute_won", "dispute_lost", "look", "other"
]
TIMEOUT_SECONDS = 10.0
"""Longest a provider may take to answer."""
PAGE = 100
MAX_PAGES = 1000
"""A day has at most so many pages of records: more are an error, not an endless loop."""


class ProviderUnavailable(Exception):
    """No answer, or none that can be understood; says why. The request may have been done."""


class ProviderRefused(Exception):
    """The provider said no, for good; says why."""


class SignatureInvalid(Exception):
    """A webhook that is not the provider's; says why."""


class Malformed(Exception):
    """A webhook that is the provider's, or might be, and is not JSON of the form it should have."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """api.payment_order: a payment as its provider is told of it. Its id is the idempotency key."""

    payment_id: UUID
    buyer_id: UUID
    package_id: UUID
    tokens: int
    amount: int
    created_at: datetime
    expires_at: datetime
    currency: str
    provider: ProviderName
    name: str
    email: str
    customer: str | None
    reference: str | None
    charge: str | None
    checkout_url: str | None
    success_url: str
    cancel_url: str
    replayed: bool


class RefundOrder(msgspec.Struct, frozen=True, kw_only=True):
    """api.refund_order: a refund as its provider is asked for it. Its id is the idempotency key."""

    refund_id: UUID
    payment_id: UUID
    amount: int
    tries: int
    currency: str
    provider: ProviderName
    reference: str | None
    charge: str | None
    provider_refund: str | None
    reason: str
    replayed: bool


class Checkout(msgspec.Struct, frozen=True):
    """Where the buyer pays, the provider's name of it, and of the buyer."""

    reference: str
    url: str
    customer: str | None = None


class RefundAnswer(msgspec.Struct, frozen=True):
    """What a provider made of a refund."""

    status: Literal["pending", "done", "failed"]
    provider_refund: str | None
    failure: str | None = None


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """api.payment_fact: something a provider tells. ``event_id`` is the same in every repetition."""

    provider: ProviderName
    event_id: str
    type: str
    kind: Kind
    body: bytes
    payment_id: UUID | None = None
    refund_id: UUID | None = None
    amount: int | None = None
    currency: str | None = None
    reference: str | None = None
    charge: str | None = None
    item: str | None = None
    reason: str | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider took or gave back, for api.note_provider_day. Amounts in minor units."""

    kind: Literal["payment", "refund"]
    record_id: str
    amount: int
    currency: str
    payment_id: UUID | None = None


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """A payment method that the provider keeps for a buyer."""

    method_id: str
    kind: str
    brand: str | None = None
    last4: str | None = None
    expires: str | None = None


class Provider(Protocol):
    """A payment provider. Every method may raise ProviderUnavailable."""

    async def create_checkout(self, order: Order) -> Checkout:
        """Make a checkout of a payment; the same again for the same payment. Raises ProviderRefused."""

    async def verify_webhook(self, headers: Mapping[str, str], body: bytes) -> Fact:
        """What a webhook tells, once it is found to be the provider's. Raises SignatureInvalid, Malformed."""

    async def refund(self, order: RefundOrder) -> RefundAnswer:
        """Give money back, once for each refund, however often it is asked. Raises ProviderRefused."""

    async def fetch(self, order: Order) -> list[Fact]:
        """What the provider says of a payment now; nothing where nobody has paid (yet). ``other``: it is under way."""

    async def list_day(self, day: date) -> list[Record]:
        """All that was taken and given back on a day (UTC)."""

    async def methods(self, customer: str) -> list[Method]:
        """The payment methods it keeps for a buyer."""

    async def remove_method(self, customer: str, method: str) -> bool:
        """Forget a method; False where the buyer has none of this name."""

    async def close(self) -> None:
        """Let go of connections."""


def json_of(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises Malformed."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Malformed(str(exc)) from exc
    if not isinstance(found, dict):
        raise Malformed("not an object")
    return found


def at(value: Any, *path: str | int) -> Any:
    """What is at a path of a JSON value; None where there is nothing."""
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and len(value) > step else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def text(value: Any) -> str | None:
    """A text or a whole number as text; None for anything else."""
    if isinstance(value, bool):
        return None
    # U+0000 cannot be stored: better without it than not kept at all
    return str(value).replace("\0", "") or None if isinstance(value, (str, int)) else None


def whole(value: Any) -> int | None:
    """A whole number in the range of the database; None for anything else: never a float, never a text."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def upper(value: Any) -> str | None:
    """A currency's code."""
    return value.upper() if isinstance(value, str) else None


def uuid_of(value: Any) -> UUID | None:
    """One of our ids."""
    try:
        return UUID(value) if isinstance(value, str) and len(value) == 36 else None
    except ValueError:
        return None


def asked(order: Order, kind: Kind, answer: Any, **fields: Any) -> Fact:
    """A fact that was fetched: its id says what it tells, so that the same answer is the same event."""
    key = ":".join(str(fields.get(name) or "-") for name in ("charge", "item", "amount", "reason"))
    return Fact(
        provider=order.provider,
        event_id=f"fetch:{order.payment_id}:{kind}:{key}"[:255],
        type="fetch",
        kind=kind,
        body=msgspec.json.encode(answer),
        payment_id=order.payment_id,
        **fields,
    )
