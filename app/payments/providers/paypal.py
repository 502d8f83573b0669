"""PayPal over HTTP: Orders v2, Payments v2, webhooks that PayPal itself is asked to verify.

A buyer who approves an order has not paid: it is captured by us, when the webhook or the clock says to look. Requests
carry a PayPal-Request-Id, so that asking twice does a thing once. A charge is told by its capture.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

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
)
from app.payments.providers.wire import call

WHOLE_CURRENCIES = ("HUF", "TWD")
"""PayPal takes no decimals of these, whose minor units are hundredths everywhere else."""
TRANSMISSION = ("auth-algo", "cert-url", "transmission-id", "transmission-sig", "transmission-time")
TOKEN_SLACK_SECONDS = 60
MAX_DECIMALS = 40


def decimal(amount: int, currency: str) -> str:
    """Minor units as PayPal writes an amount: ``1900`` USD is ``19.00``, JPY ``1900``. Raises ProviderRefused where
    PayPal cannot take so much of it."""
    if currency == "JPY":
        return str(amount)
    if currency in WHOLE_CURRENCIES:
        if amount % 100:
            raise ProviderRefused(f"PayPal takes whole {currency} only")
        return str(amount // 100)
    return f"{amount // 100}.{amount % 100:02}"


def minor(value: Any, currency: str | None) -> int | None:
    """The other way; None where it is no amount in whole minor units."""
    if not isinstance(value, str) or len(value) > MAX_DECIMALS:
        return None
    try:
        found = Decimal(value) * (1 if currency == "JPY" else 100)
    except InvalidOperation:
        return None
    whole = found.is_finite() and found == found.to_integral_value() and abs(found) < 2**63
    return int(found) if whole else None


class PayPal:
    """PayPal's API and webhooks."""

    def __init__(self, client_id: str, client_secret: str, webhook_id: str, url: str) -> None:
        self._credentials = (client_id, client_secret)
        self._webhook_id = webhook_id
        self._http = client(url, TIMEOUT_SECONDS)
        self._token = ""
        self._token_until = 0.0

    async def create_checkout(self, order: Order) -> Checkout:
        made = await self._call(
            "POST",
            "/v2/checkout/orders",
            request_id=str(order.payment_id),
            json={
                "intent": "CAPTURE",
                "purchase_units": [
                    {
                        "reference_id": "tokens",
                        "custom_id": str(order.payment_id),
                        "description": order.name,
                        "amount": {"currency_code": order.currency, "value": decimal(order.amount, order.currency)},
                    }
                ],
                "payment_source": {
                    "paypal": {
                        "experience_context": {
                            "return_url": order.success_url,
                            "cancel_url": order.cancel_url,
                            "user_action": "PAY_NOW",
                            "shipping_preference": "NO_SHIPPING",
                        }
                    }
                },
            },
        )
        links = {at(link, "rel"): text(at(link, "href")) for link in at(made, "links") or ()}
        url, name = links.get("payer-action") or links.get("approve"), text(at(made, "id"))
        if url is None or name is None:
            raise ProviderUnavailable("a checkout without an address")
        return Checkout(name, url)

    async def verify_webhook(self, headers: Mapping[str, str], body: bytes) -> Fact:
        told = json_of(body)  # one JSON value and nothing after it: so it can stand inside of another
        fields = {name: headers.get(f"paypal-{name}", "") for name in TRANSMISSION}
        if not all(fields.values()):
            raise SignatureInvalid("PayPal-Transmission-Sig")
        asked_for = {name.replace("-", "_"): value for name, value in fields.items()} | {"webhook_id": self._webhook_id}
        # the event byte for byte: PayPal signs what it sent, not what we would make of it
        question = msgspec.json.encode(asked_for)[:-1] + b',"webhook_event":' + body + b"}"
        try:
            answer = await self._call("POST", "/v1/notifications/verify-webhook-signature", content=question)
        except ProviderRefused as exc:
            raise SignatureInvalid(str(exc)) from exc
        if at(answer, "verification_status") != "SUCCESS":
            raise SignatureInvalid("PayPal-Transmission-Sig")
        event_id, name, about = text(told.get("id")), text(told.get("event_type")), told.get("resource")
        if event_id is None or name is None or len(event_id.encode()) > 255 or not isinstance(about, dict):
            raise Malformed("an event without id, event_type or resource")
        return _fact(event_id, name, about, body)

    async def refund(self, order: RefundOrder) -> RefundAnswer:
        made = await self._call(
            "POST",
            f"/v2/payments/captures/{order.charge}/refund",
            request_id=str(order.refund_id),
            json={
                "amount": {"currency_code": order.currency, "value": decimal(order.amount, order.currency)},
                "custom_id": str(order.refund_id),
                "note_to_payer": order.reason,
            },
        )
        status, name = text(at(made, "status")), text(at(made, "id"))
        if status == "COMPLETED":
            return RefundAnswer("done", name)
        if status in ("FAILED", "CANCELLED"):
            return RefundAnswer("failed", name, text(at(made, "status_details", "reason")) or status.lower())
        return RefundAnswer("pending", name)

    async def fetch(self, order: Order) -> list[Fact]:
        if order.reference is None:
            return []
        try:
            found = await self._call("GET", f"/v2/checkout/orders/{order.reference}")
            if at(found, "status") == "APPROVED":
                found = await self._call(
                    "POST",
                    f"/v2/checkout/orders/{order.reference}/capture",
                    request_id=f"capture-{order.payment_id}",
                    json={},
                )
        except ProviderRefused:
            return []  # gone, or the buyer's bank said no: they may try again until it is over
        facts = []
        for capture in at(found, "purchase_units", 0, "payments", "captures") or ():
            currency = upper(at(capture, "amount", "currency_code"))
            status = text(at(capture, "status"))
            if status in ("COMPLETED", "REFUNDED", "PARTIALLY_REFUNDED"):
                facts.append(
                    asked(
                        order,
                        "paid",
                        found,
                        amount=minor(at(capture, "amount", "value"), currency),
                        currency=currency,
                        charge=text(at(capture, "id")),
                        reference=order.reference,
                    )
                )
            elif status in ("DECLINED", "FAILED"):
                facts.append(asked(order, "failed", found, reason=status.lower()))
            elif status == "PENDING":  # money from a bank takes days
                facts.append(asked(order, "other", found, reason="processing"))
        if at(found, "status") == "VOIDED":
            facts.append(asked(order, "failed", found, reason="voided"))
        return facts

    async def list_day(self, day: date) -> list[Record]:
        records: list[Record] = []
        span = {"start_date": f"{day}T00:00:00Z", "end_date": f"{day + timedelta(days=1)}T00:00:00Z"}
        for page in range(1, MAX_PAGES + 1):
            answer = await self._call(
                "GET",
                "/v1/reporting/transactions",
                params=span | {"fields": "transaction_info", "page_size": PAGE, "page": page},
            )
            for found in at(answer, "transaction_details") or ():
                record = _record(at(found, "transaction_info"))
                if record is not None:
                    records.append(record)
            if page >= (at(answer, "total_pages") or 1):
                return records
        raise ProviderUnavailable("a day without an end")

    async def methods(self, customer: str) -> list[Method]:
        return []

    async def remove_method(self, customer: str, method: str) -> bool:
        return False

    async def close(self) -> None:
        await self._http.aclose()

    async def _call(self, method: str, path: str, *, request_id: str | None = None, **options: Any) -> Any:
        if time.monotonic() >= self._token_until:
            try:
                made = await call(
                    self._http,
                    "POST",
                    "/v1/oauth2/token",
                    auth=self._credentials,
                    data={"grant_type": "client_credentials"},
                )
            except ProviderRefused as exc:
                raise ProviderUnavailable(f"no token: {exc}") from exc
            self._token = str(at(made, "access_token"))
            self._token_until = time.monotonic() + int(at(made, "expires_in") or 0) - TOKEN_SLACK_SECONDS
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        if request_id is not None:
            headers["PayPal-Request-Id"] = request_id
            headers["Prefer"] = "return=representation"
        try:
            return await call(self._http, method, path, headers=headers, **options)
        except ProviderUnavailable:
            self._token_until = 0.0  # it may be the token that is over
            raise


def _record(info: Any) -> Record | None:
    """T00xx is a payment taken, T1107 a refund given; the rest is between PayPal and the merchant."""
    code, currency = (
        text(at(info, "transaction_event_code")) or "",
        upper(at(info, "transaction_amount", "currency_code")),
    )
    amount, name = minor(at(info, "transaction_amount", "value"), currency), text(at(info, "transaction_id"))
    if amount is None or name is None or currency is None or at(info, "transaction_status") not in ("S", None):
        return None
    if code.startswith("T00") and amount > 0:
        return Record(
            kind="payment",
            record_id=name,
            amount=amount,
            currency=currency,
            payment_id=uuid_of(at(info, "custom_field")),
        )
    if code == "T1107":
        return Record(kind="refund", record_id=name, amount=abs(amount), currency=currency)
    return None


def _kind(name: str, about: dict[str, Any]) -> Kind:
    kinds: dict[str, Kind] = {
        "CHECKOUT.ORDER.APPROVED": "look",
        "CHECKOUT.ORDER.COMPLETED": "look",
        "PAYMENT.CAPTURE.COMPLETED": "paid",
        "PAYMENT.CAPTURE.DENIED": "failed",
        "PAYMENT.CAPTURE.DECLINED": "failed",
        "PAYMENT.CAPTURE.REFUNDED": "refunded",
        "PAYMENT.CAPTURE.REVERSED": "refunded",
        "PAYMENT.REFUND.FAILED": "refund_failed",
        "CUSTOMER.DISPUTE.CREATED": "disputed",
    }
    if name == "CUSTOMER.DISPUTE.RESOLVED":
        lost = at(about, "dispute_outcome", "outcome_code") in ("RESOLVED_BUYER_FAVOUR", "ACCEPTED")
        return "dispute_lost" if lost else "dispute_won"
    return kinds.get(name, "other")


def _fact(event_id: str, name: str, about: dict[str, Any], body: bytes) -> Fact:
    kind = _kind(name, about)
    amount, custom = about.get("amount"), uuid_of(about.get("custom_id"))
    charge: str | None = None
    reference: str | None = None
    item: str | None = None
    if name.startswith("CUSTOMER.DISPUTE."):
        item = text(about.get("dispute_id"))
        amount = about.get("dispute_amount")
        charge = text(at(about, "disputed_transactions", 0, "seller_transaction_id"))
        custom = uuid_of(at(about, "disputed_transactions", 0, "custom"))
    elif name.startswith("CHECKOUT.ORDER."):
        reference = text(about.get("id"))
        custom = uuid_of(at(about, "purchase_units", 0, "custom_id"))
    elif kind in ("refunded", "refund_failed"):
        item = text(about.get("id"))
        above = [at(link, "href") for link in about.get("links") or () if at(link, "rel") == "up"]
        charge = text(str(above[0]).rstrip("/").rpartition("/")[2]) if above else None
    else:
        charge = text(about.get("id"))
        reference = text(at(about, "supplementary_data", "related_ids", "order_id"))
    is_refund = kind in ("refunded", "refund_failed")
    currency = upper(at(amount, "currency_code"))
    return Fact(
        provider="paypal",
        event_id=event_id,
        type=name,
        kind=kind,
        body=body,
        payment_id=None if is_refund else custom,
        refund_id=custom if is_refund else None,
        amount=minor(at(amount, "value"), currency),
        currency=currency,
        reference=reference,
        charge=charge,
        item=item,
        # for a dispute, and back when that is won
        reason="reversal" if name == "PAYMENT.CAPTURE.REVERSED" else text(at(about, "status_details", "reason")),
    )
