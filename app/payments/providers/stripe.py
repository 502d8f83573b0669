"""Stripe, by its own library: Checkout Sessions, PaymentIntents, Refunds, Disputes.

The library is loaded only where Stripe is configured. A charge is told by its PaymentIntent everywhere.

Connected accounts (to which payouts go) make payments of their own, with whatever metadata their owners like, and
Stripe tells us of them too: none of that is money of ours. Nor is what was paid in test mode, where the key is a live
one.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from app.core.keys import digest
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

TOLERANCE_SECONDS = 300
"""How old, or how far ahead of our clock, a webhook may be."""
METHODS = 100
LIVE_KEYS = ("sk_live_", "rk_live_")


class Stripe:
    """Stripe's API and webhooks."""

    def __init__(self, secret_key: str, webhook_secrets: tuple[str, ...], url: str) -> None:
        import stripe

        self._stripe: Any = stripe
        self._secrets = webhook_secrets
        self._live = secret_key.startswith(LIVE_KEYS)
        self._http: Any = stripe.HTTPXClient(timeout=TIMEOUT_SECONDS)
        self._api: Any = stripe.StripeClient(
            secret_key,
            http_client=self._http,
            base_addresses={"api": url.rstrip("/")},
            max_network_retries=0,
        ).v1

    async def create_checkout(self, order: Order) -> Checkout:
        metadata = {"payment_id": str(order.payment_id)}
        async with self._errors():
            # both keys are ours and never change, so whatever was lost on the way is told again
            customer = (
                await self._api.customers.create_async(
                    {"email": order.email, "metadata": {"user_id": str(order.buyer_id)}},
                    # with another address it is another request
                    {"idempotency_key": f"customer-{order.buyer_id}-{digest(order.email).hex()[:16]}"},
                )
                if order.customer is None
                else None
            )
            found = order.customer if customer is None else customer.id
            session = await self._api.checkout.sessions.create_async(
                {
                    "mode": "payment",
                    "client_reference_id": str(order.payment_id),
                    "customer": found,
                    "success_url": order.success_url,
                    "cancel_url": order.cancel_url,
                    "expires_at": int(order.expires_at.timestamp()),
                    "adaptive_pricing": {"enabled": False},  # another currency would be a mismatch
                    "metadata": metadata,
                    "payment_intent_data": {"metadata": metadata, "setup_future_usage": "on_session"},
                    "line_items": [
                        {
                            "quantity": 1,
                            "price_data": {
                                "currency": order.currency.lower(),
                                "unit_amount": order.amount,
                                "product_data": {"name": order.name},
                            },
                        }
                    ],
                },
                {"idempotency_key": str(order.payment_id)},
            )
        if not session.url:
            raise ProviderUnavailable("a checkout without an address")
        return Checkout(session.id, session.url, found)

    async def verify_webhook(self, headers: Mapping[str, str], body: bytes) -> Fact:
        self._check_signature(headers.get("stripe-signature"), body)
        told = json_of(body)
        event_id, kind = text(told.get("id")), text(told.get("type"))
        if event_id is None or kind is None or len(event_id.encode()) > 255:
            raise Malformed("an event without id or type")
        if told.get("account") is not None or (self._live and told.get("livemode") is False):
            return Fact(provider="stripe", event_id=event_id, type=kind, kind="other", body=body)
        return _fact(event_id, kind, at(told, "data", "object"), body)

    async def refund(self, order: RefundOrder) -> RefundAnswer:
        async with self._errors():
            # Stripe forgets keys after a day: one that may have been made is looked for before it is asked for
            made = await self._refund_of(order) if order.tries else None
            if made is None:
                made = _plain(
                    await self._api.refunds.create_async(
                        {
                            "payment_intent": order.charge,
                            "amount": order.amount,
                            "metadata": {"refund_id": str(order.refund_id), "payment_id": str(order.payment_id)},
                        },
                        {"idempotency_key": str(order.refund_id)},
                    )
                )
        status, name = text(made.get("status")), text(made.get("id"))
        if status == "succeeded":
            return RefundAnswer("done", name)
        if status in ("failed", "canceled"):
            return RefundAnswer("failed", name, text(made.get("failure_reason")) or status)
        return RefundAnswer("pending", name)

    async def fetch(self, order: Order) -> list[Fact]:
        if order.reference is None:
            return []
        try:
            async with self._errors():
                session = await self._api.checkout.sessions.retrieve_async(order.reference)
        except ProviderRefused:
            return []  # it does not know it: another account's
        told = _plain(session)
        if told.get("payment_status") == "paid":
            return [_paid(order, told)]
        if told.get("status") == "expired":
            return [asked(order, "failed", told, reason="expired")]
        if told.get("status") == "complete":  # a debit of a bank account takes days
            return [asked(order, "other", told, reason="processing")]
        return []

    async def list_day(self, day: date) -> list[Record]:
        records: list[Record] = []
        async for intent in self._of_day(self._api.payment_intents, day):
            taken = whole(intent.get("amount_received")) or 0
            if taken > 0:
                records.append(
                    Record(
                        kind="payment",
                        record_id=str(intent.get("id")),
                        amount=taken,
                        currency=upper(intent.get("currency")) or "",
                        payment_id=uuid_of(at(intent, "metadata", "payment_id")),
                    )
                )
        records += [
            Record(
                kind="refund",
                record_id=str(refund.get("id")),
                amount=whole(refund.get("amount")) or 0,
                currency=upper(refund.get("currency")) or "",
                payment_id=uuid_of(at(refund, "metadata", "payment_id")),
            )
            async for refund in self._of_day(self._api.refunds, day)
            if refund.get("status") in ("succeeded", "pending")
        ]
        return records

    async def methods(self, customer: str) -> list[Method]:
        async with self._errors():
            # of all kinds; localstripe, and Stripe before 2024, need one
            found = await self._api.payment_methods.list_async({"customer": customer, "type": "card", "limit": METHODS})
        return [_method(_plain(method)) for method in found.data]

    async def remove_method(self, customer: str, method: str) -> bool:
        if method not in {found.method_id for found in await self.methods(customer)}:
            return False
        async with self._errors():
            await self._api.payment_methods.detach_async(method)
        return True

    async def close(self) -> None:
        await self._http.close_async()

    async def _refund_of(self, order: RefundOrder) -> dict[str, Any] | None:
        found = await self._api.refunds.list_async({"payment_intent": order.charge, "limit": PAGE})
        refunds = map(_plain, found.data)
        return next((it for it in refunds if at(it, "metadata", "refund_id") == str(order.refund_id)), None)

    async def _of_day(self, service: Any, day: date) -> AsyncIterator[dict[str, Any]]:
        start = datetime.combine(day, datetime.min.time(), UTC)
        params: dict[str, Any] = {
            "limit": PAGE,
            "created": {"gte": int(start.timestamp()), "lt": int((start + timedelta(days=1)).timestamp())},
        }
        for _ in range(MAX_PAGES):
            async with self._errors():
                page = await service.list_async(params)
            for item in page.data:
                yield _plain(item)
            if not page.has_more or not page.data:
                return
            params["starting_after"] = page.data[-1].id
        raise ProviderUnavailable("a day without an end")

    def _check_signature(self, header: str | None, body: bytes) -> None:
        """Any of several secrets, any of several v1; not old, and not of the future either."""
        verify = self._stripe.WebhookSignature.verify_header
        for secret in self._secrets:
            try:
                verify(body, header, secret, TOLERANCE_SECONDS)
            except Exception:  # noqa: S112 (a header that is no ASCII is a bare TypeError in the library)
                continue
            moment = next(int(part[2:]) for part in (header or "").split(",") if part.startswith("t="))
            if moment <= time.time() + TOLERANCE_SECONDS:
                return
        raise SignatureInvalid("Stripe-Signature")

    @asynccontextmanager
    async def _errors(self) -> AsyncIterator[None]:
        """The library's errors in our words: only what is wrong with the request itself is for good."""
        try:
            yield
        except self._stripe.IdempotencyError as exc:
            raise ProviderUnavailable(str(exc)) from exc
        except (self._stripe.InvalidRequestError, self._stripe.CardError) as exc:
            raise ProviderRefused(str(exc)) from exc
        except self._stripe.StripeError as exc:
            raise ProviderUnavailable(repr(exc)) from exc


def _plain(made: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(str(made))
    return found


def _paid(order: Order, session: dict[str, Any]) -> Fact:
    return asked(
        order,
        "paid",
        session,
        amount=whole(session.get("amount_total")),
        currency=upper(session.get("currency")),
        charge=text(session.get("payment_intent")),
        reference=text(session.get("id")),
    )


def _method(method: dict[str, Any]) -> Method:
    month, year = at(method, "card", "exp_month"), at(method, "card", "exp_year")
    return Method(
        method_id=str(method.get("id")),
        kind=str(method.get("type")),
        brand=text(at(method, "card", "brand")),
        last4=text(at(method, "card", "last4")),
        expires=f"{int(year):04}-{int(month):02}" if month and year else None,
    )


def _fact(event_id: str, name: str, about: Any, body: bytes) -> Fact:
    """What an event means to us; all that is not named here means nothing."""
    kind, reason = _kind(name, about)
    is_session, is_intent = name.startswith("checkout.session."), name.startswith("payment_intent.")
    is_refund = "refund" in name and kind != "other"
    amount = {True: "amount_total", False: "amount_received" if is_intent else "amount"}[is_session]
    return Fact(
        provider="stripe",
        event_id=event_id,
        type=name,
        kind=kind,
        body=body,
        payment_id=uuid_of(at(about, "metadata", "payment_id"))
        or (uuid_of(at(about, "client_reference_id")) if is_session else None),
        refund_id=uuid_of(at(about, "metadata", "refund_id")) if is_refund else None,
        amount=whole(at(about, amount if at(about, amount) is not None else "amount")),
        currency=upper(at(about, "currency")),
        reference=text(at(about, "id")) if is_session else None,
        charge=text(at(about, "id")) if is_intent else text(at(about, "payment_intent")) or text(at(about, "charge")),
        item=text(at(about, "id")) if not (is_session or is_intent) else None,
        reason=reason,
    )


def _kind(name: str, about: Any) -> tuple[Kind, str | None]:
    status = at(about, "status")
    if name in ("checkout.session.completed", "checkout.session.async_payment_succeeded"):
        return ("paid" if at(about, "payment_status") == "paid" else "other"), None
    if name == "checkout.session.async_payment_failed":
        return "failed", "declined"
    if name == "checkout.session.expired":
        return "failed", "expired"
    if name == "payment_intent.succeeded":
        return "paid", None
    if name in ("refund.created", "refund.updated", "refund.failed", "charge.refund.updated"):
        gone = status in ("failed", "canceled")
        return ("refund_failed" if gone else "refunded"), text(at(about, "failure_reason")) if gone else None
    if name in ("charge.dispute.created", "charge.dispute.funds_withdrawn"):
        # a warning takes no money
        return ("other" if str(status).startswith("warning_") else "disputed"), text(at(about, "reason"))
    if name == "charge.dispute.closed":
        return ("dispute_lost" if status == "lost" else "dispute_won"), text(at(about, "reason"))
    return "other", None
