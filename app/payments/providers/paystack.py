"""Paystack over HTTP: amounts in kobo, one API key for requests and for the signatures of webhooks.

It has no idempotency keys. A checkout is named by us (its reference), so that asking twice makes one; a refund carries
our id in its note, and is looked for before it is asked for.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from app.core.outside import client
from app.payments.providers.protocol import (
    MAX_PAGES,
    PAGE,
    TIMEOUT_SECONDS,
    Checkout,
    Fact,
    Kind,
    Malformed,
    Method,
    Order,
    ProviderRefused,
    ProviderUnavailable,
    Record,
    RefundAnswer,
    RefundOrder,
    SignatureInvalid,
    asked,
    at,
    json_of,
    text,
    upper,
    uuid_of,
    whole,
)
from app.payments.providers.wire import call

ATTEMPTS = 3
"""A checkout whose address was lost on the way gets another reference, so often at most."""
ID_LENGTH = 36
PENDING_REFUND = ("pending", "processing", "needs-attention")


class Paystack:
    """Paystack's API and webhooks."""

    def __init__(self, secret_key: str, url: str) -> None:
        self._secret = secret_key.encode()
        self._http = client(url, TIMEOUT_SECONDS, secret_key)

    async def create_checkout(self, order: Order) -> Checkout:
        for attempt in range(1, ATTEMPTS + 1):
            reference = str(order.payment_id) if attempt == 1 else f"{order.payment_id}-{attempt}"
            try:
                made = await call(
                    self._http,
                    "POST",
                    "/transaction/initialize",
                    json={
                        "email": order.email,
                        "amount": order.amount,
                        "currency": order.currency,
                        "reference": reference,
                        "callback_url": order.success_url,
                        "metadata": {"payment_id": str(order.payment_id), "cancel_action": order.cancel_url},
                    },
                )
            except ProviderRefused as exc:
                # it was made, and its address never reached us: nobody can pay there
                if "duplicate" in str(exc).lower() and attempt < ATTEMPTS:
                    continue
                raise
            url = text(at(made, "data", "authorization_url"))
            if url is None:
                raise ProviderUnavailable("a checkout without an address")
            return Checkout(reference, url)
        raise AssertionError("the last attempt returns or raises")

    async def verify_webhook(self, headers: Mapping[str, str], body: bytes) -> Fact:
        given = headers.get("x-paystack-signature", "")
        right = hmac.new(self._secret, body, hashlib.sha512).hexdigest()
        if not hmac.compare_digest(given.encode(), right.encode()):
            raise SignatureInvalid("x-paystack-signature")
        told = json_of(body)
        name, about = text(told.get("event")), told.get("data")
        if name is None or not isinstance(about, dict):
            raise Malformed("an event without name or data")
        return _fact(name, about, body)

    async def refund(self, order: RefundOrder) -> RefundAnswer:
        found = await call(self._http, "GET", f"/transaction/verify/{order.charge}")
        known = await call(
            self._http, "GET", "/refund", params={"transaction": text(at(found, "data", "id")), "perPage": PAGE}
        )
        for made in at(known, "data") or ():
            if text(at(made, "merchant_note")) == str(order.refund_id):
                return _refund_answer(made)
        made = await call(
            self._http,
            "POST",
            "/refund",
            json={
                "transaction": order.charge,
                "amount": order.amount,
                "currency": order.currency,
                "merchant_note": str(order.refund_id),
                "customer_note": order.reason,
            },
        )
        return _refund_answer(at(made, "data"))

    async def fetch(self, order: Order) -> list[Fact]:
        if order.reference is None:
            return []
        try:
            answer = await call(self._http, "GET", f"/transaction/verify/{order.reference}")
        except ProviderRefused:
            return []  # it does not know it (yet)
        found = at(answer, "data")
        status = text(at(found, "status"))
        if status == "success":
            return [
                asked(
                    order,
                    "paid",
                    found,
                    amount=whole(at(found, "amount")),
                    currency=upper(at(found, "currency")),
                    charge=text(at(found, "reference")),
                    reference=text(at(found, "reference")),
                )
            ]
        # "abandoned" is what an open one is called, and after "failed" the buyer may try again: only its end ends it
        return []

    async def list_day(self, day: date) -> list[Record]:
        span = {"from": f"{day}T00:00:00.000Z", "to": f"{day + timedelta(days=1)}T00:00:00.000Z"}
        records = [
            Record(
                kind="payment",
                record_id=str(at(found, "reference")),
                amount=whole(at(found, "amount")) or 0,
                currency=upper(at(found, "currency")) or "",
                payment_id=uuid_of((text(at(found, "reference")) or "")[:ID_LENGTH]),
            )
            for found in await self._all("/transaction", span | {"status": "success"})
        ]
        records += [
            Record(
                kind="refund",
                # ours by our id; those made at Paystack by what its webhooks call them, where it is told
                record_id=str(uuid_of(at(found, "merchant_note")) or _refund_name(found) or text(at(found, "id"))),
                amount=_kobo(at(found, "amount")) or 0,
                currency=upper(at(found, "currency")) or "",
                payment_id=uuid_of((text(at(found, "transaction_reference")) or "")[:ID_LENGTH]),
            )
            for found in await self._all("/refund", span)
            if at(found, "status") != "failed"
        ]
        return records

    async def methods(self, customer: str) -> list[Method]:
        return []

    async def remove_method(self, customer: str, method: str) -> bool:
        return False

    async def close(self) -> None:
        await self._http.aclose()

    async def _all(self, path: str, params: dict[str, Any]) -> list[Any]:
        found: list[Any] = []
        for page in range(1, MAX_PAGES + 1):
            answer = await call(self._http, "GET", path, params=params | {"perPage": PAGE, "page": page})
            items = at(answer, "data") or []
            found += items
            if len(items) < PAGE:
                return found
        raise ProviderUnavailable("a day without an end")


def _refund_name(found: Any) -> str | None:
    """A refund has its name once it is processed; its number is not told by webhooks."""
    return text(at(found, "refund_reference"))


def _kobo(value: Any) -> int | None:
    """Of refunds it tells amounts as texts, sometimes."""
    return (
        int(value)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16
        else whole(value)
    )


def _refund_answer(found: Any) -> RefundAnswer:
    status, name = text(at(found, "status")), _refund_name(found)
    if status == "processed":
        return RefundAnswer("done", name)
    if status in PENDING_REFUND:
        return RefundAnswer("pending", name)
    if status == "failed":
        return RefundAnswer("failed", name, "failed")
    raise ProviderUnavailable(f"a refund that is {status}")


def _nameless(kind: Kind, body: bytes) -> str:
    """Two refunds of a payment may have no name yet; a repetition is the same byte for byte."""
    return f":{hashlib.sha256(body).hexdigest()[:32]}" if kind in ("refunded", "refund_failed") else ""


def _fact(name: str, about: dict[str, Any], body: bytes) -> Fact:
    """There is no event id: what an event is about, and its name, tell it from others."""
    kind: Kind = "other"
    transaction = about
    item = None
    if name == "charge.success":
        kind = "paid"
    elif name in ("refund.processed", "refund.failed"):
        kind = "refund_failed" if name == "refund.failed" else "refunded"
        item = _refund_name(about)
    elif name in ("charge.dispute.create", "charge.dispute.resolve"):
        transaction = at(about, "transaction") or {}
        item = text(about.get("id"))
        if name == "charge.dispute.create":
            kind = "disputed"
        else:
            kind = (
                "dispute_lost" if at(about, "resolution") in ("merchant-accepted", "auto-accepted") else "dispute_won"
            )
    charge = text(at(about, "transaction_reference")) or text(at(transaction, "reference"))
    amount = _kobo(about.get("amount")) if not name.startswith("charge.dispute") else whole(about.get("refund_amount"))
    return Fact(
        provider="paystack",
        event_id=f"{name}:{charge or text(about.get('reference')) or text(about.get('id')) or '-'}"[:190]
        + (f":{item}"[:64] if item else _nameless(kind, body)),
        type=name,
        kind=kind,
        body=body,
        payment_id=uuid_of((charge or "")[:ID_LENGTH]),
        refund_id=uuid_of(about.get("merchant_note")),
        amount=amount,
        currency=upper(about.get("currency")) or upper(at(transaction, "currency")),
        reference=charge,
        charge=charge,
        item=item,
    )
