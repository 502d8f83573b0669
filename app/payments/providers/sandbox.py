"""A provider of our own, for development: a page that pays or fails, and webhooks as the others send them.

It keeps nothing: what it says of a payment is what its page was told. Production refuses it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import date
from uuid import UUID

import msgspec

from app.payments.providers.protocol import (
    Checkout,
    Fact,
    Kind,
    Malformed,
    Method,
    Order,
    Record,
    RefundAnswer,
    RefundOrder,
    SignatureInvalid,
    json_of,
)

SIGNATURE = "x-sandbox-signature"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a webhook."""

    id: str
    kind: Kind
    payment_id: UUID
    amount: int | None = None
    currency: str | None = None
    charge: str | None = None
    item: str | None = None
    reason: str | None = None


class Sandbox:
    """Pays with nothing."""

    def __init__(self, secret: str, base_url: str) -> None:
        self._secret = hmac.new(secret.encode(), b"tessera sandbox payments", hashlib.sha256).digest()
        self._base_url = base_url

    def sign(self, body: bytes) -> str:
        """The signature of a webhook."""
        return hmac.new(self._secret, body, hashlib.sha256).hexdigest()

    def seal(self, payment: UUID) -> str:
        """What the page's address ends with: only who has it may pay."""
        return self.sign(f"page {payment}".encode())[:32]

    def opens(self, payment: UUID, seal: str) -> bool:
        """Whether an address was ours."""
        return hmac.compare_digest(self.seal(payment).encode(), seal.encode())

    def event(self, kind: Kind, payment: UUID, amount: int, currency: str) -> bytes:
        """The webhook that the page sends: the same again for the same button."""
        return msgspec.json.encode(
            Event(
                id=f"{kind}_{payment}",
                kind=kind,
                payment_id=payment,
                amount=amount,
                currency=currency,
                charge=f"sandbox_{payment}" if kind == "paid" else None,
                reason="declined" if kind == "failed" else None,
            )
        )

    async def create_checkout(self, order: Order) -> Checkout:
        seal = self.seal(order.payment_id)
        url = f"{self._base_url}/api/v1/public/sandbox/{order.payment_id}?seal={seal}"
        return Checkout(f"sandbox_{order.payment_id}", url)

    async def verify_webhook(self, headers: Mapping[str, str], body: bytes) -> Fact:
        if not hmac.compare_digest(headers.get(SIGNATURE, "").encode(), self.sign(body).encode()):
            raise SignatureInvalid(SIGNATURE)
        json_of(body)
        try:
            told = msgspec.json.decode(body, type=Event)
        except msgspec.ValidationError as exc:
            raise Malformed(str(exc)) from exc
        if not 0 < len(told.id.encode()) <= 255:
            raise Malformed("an event without id")
        return Fact(
            provider="sandbox",
            event_id=told.id,
            type=f"sandbox.{told.kind}",
            kind=told.kind,
            body=body,
            payment_id=told.payment_id,
            amount=told.amount,
            currency=told.currency,
            charge=told.charge,
            item=told.item,
            reason=told.reason,
        )

    async def refund(self, order: RefundOrder) -> RefundAnswer:
        return RefundAnswer("done", f"sandbox_{order.refund_id}")

    async def fetch(self, order: Order) -> list[Fact]:
        return []

    async def list_day(self, day: date) -> list[Record]:
        return []

    async def methods(self, customer: str) -> list[Method]:
        return []

    async def remove_method(self, customer: str, method: str) -> bool:
        return False

    async def close(self) -> None:
        return None
