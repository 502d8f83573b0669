"""Payment providers of our own: they speak the parts of Stripe's, Paystack's and PayPal's HTTP interfaces that we use,
over real sockets, remember what they did by the ids it was asked for with, and sign webhooks. From their documentation.

`cut` makes the next answers be lost after the work was done; `down` has them answer 500 before any work.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import msgspec

from app.settings import Settings

STRIPE_KEY = "sk_test_of_these_tests"
STRIPE_SECRET = "whsec_of_these_tests"
PAYSTACK_KEY = "sk_test_paystack_of_these_tests"
PAYPAL_ID, PAYPAL_SECRET, PAYPAL_WEBHOOK = "paypal-client", "paypal-password", "WH-1"
Answer = tuple[int, Any]


class Refusal(Exception):
    """An answer that is no 200."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.answer: Answer = (status, body)


class Request(msgspec.Struct, frozen=True):
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """As Stripe is written to."""
        return dict(parse_qsl(self.body.decode()))

    @property
    def json(self) -> Any:
        """As the others are written to."""
        return json.loads(self.body or b"{}")


class Fake:
    """What all of them are."""

    def __init__(self) -> None:
        self.url = ""
        self.cut = 0
        self.down = 0
        self.requests: list[Request] = []

    def answer(self, request: Request) -> Answer:
        """Do what is asked for."""
        raise NotImplementedError

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                method, target, _ = head[0].split(" ")
                parts = urlsplit(target)
                request = Request(method, parts.path, dict(parse_qsl(parts.query)), headers, body)
                self.requests.append(request)
                if self.down:
                    self.down -= 1
                    status, told = 500, {"error": {"message": "down"}}
                else:
                    try:
                        status, told = self.answer(request)
                    except Refusal as refusal:
                        status, told = refusal.answer
                    if self.cut:
                        self.cut -= 1
                        return
                content = json.dumps(told).encode()
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(content)}\r\n\r\n".encode()
                    + content
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


F = TypeVar("F", bound=Fake)


@asynccontextmanager
async def running(make: Callable[[], F]) -> AsyncIterator[F]:
    """One that serves on loopback until it is left."""
    fake = make()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield fake


class FakeStripe(Fake):
    """Customers, Checkout Sessions, Refunds; an idempotency key gives the first answer again."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, tuple[bytes, Answer]] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.refunds: dict[str, dict[str, Any]] = {}
        self.methods: dict[str, list[dict[str, Any]]] = {}
        self.refund_status = "succeeded"

    def settings(self, base: Settings) -> Settings:
        """These settings, with this Stripe in them."""
        return msgspec.structs.replace(
            base, stripe_secret_key=STRIPE_KEY, stripe_webhook_secrets=(STRIPE_SECRET,), stripe_url=self.url
        )

    def answer(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {STRIPE_KEY}":
            return 401, {"error": {"type": "invalid_request_error", "message": "no such key"}}
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        if key is not None and key in self.keys:
            body, answer = self.keys[key]
            if body != request.body:
                return 400, {"error": {"type": "idempotency_error", "message": "other parameters"}}
            return answer
        answer = self._do(request)
        if key is not None:
            self.keys[key] = (request.body, answer)
        return answer

    def _do(self, request: Request) -> Answer:
        path, form = request.path, request.form
        if (request.method, path) == ("POST", "/v1/customers"):
            return 200, {"id": f"cus_{uuid4().hex[:8]}", "object": "customer", "email": form["email"]}
        if (request.method, path) == ("POST", "/v1/checkout/sessions"):
            return 200, self._session(form)
        if path.startswith("/v1/checkout/sessions/"):
            found = self.sessions.get(path.rpartition("/")[2])
            return (200, found) if found else _missing()
        if (request.method, path) == ("POST", "/v1/refunds"):
            return 200, self._refund(form)
        if path == "/v1/refunds":
            return 200, _list(list(self.refunds.values()))
        if path == "/v1/payment_intents":
            paid = [it for it in self.sessions.values() if it["payment_status"] == "paid"]
            return 200, _list(
                [
                    {
                        "id": it["payment_intent"],
                        "object": "payment_intent",
                        "amount_received": it["amount_total"],
                        "currency": it["currency"],
                        "metadata": it["metadata"],
                    }
                    for it in paid
                ]
            )
        if path == "/v1/payment_methods":
            return 200, _list(self.methods.get(request.query["customer"], []))
        if path.endswith("/detach"):
            for methods in self.methods.values():
                methods[:] = [it for it in methods if it["id"] != path.split("/")[3]]
            return 200, {"id": path.split("/")[3], "object": "payment_method"}
        return _missing()

    def _session(self, form: dict[str, str]) -> dict[str, Any]:
        name = f"cs_test_{uuid4().hex[:12]}"
        assert int(form["expires_at"]) > time.time()
        self.sessions[name] = {
            "id": name,
            "object": "checkout.session",
            "url": f"{self.url}/pay/{name}",
            "amount_total": int(form["line_items[0][price_data][unit_amount]"]),
            "currency": form["line_items[0][price_data][currency]"],
            "client_reference_id": form["client_reference_id"],
            "metadata": {"payment_id": form["metadata[payment_id]"]},
            "customer": form["customer"],
            "success_url": form["success_url"],
            "payment_status": "unpaid",
            "status": "open",
            "payment_intent": None,
        }
        return self.sessions[name]

    def _refund(self, form: dict[str, str]) -> dict[str, Any]:
        taken = next(
            (it["amount_total"] for it in self.sessions.values() if it["payment_intent"] == form["payment_intent"]), 0
        )
        given = sum(it["amount"] for it in self.refunds.values() if it["payment_intent"] == form["payment_intent"])
        if int(form["amount"]) > taken - given:
            raise Refusal(
                400, {"error": {"type": "invalid_request_error", "message": "greater than unrefunded amount"}}
            )
        name = f"re_{uuid4().hex[:12]}"
        self.refunds[name] = {
            "id": name,
            "object": "refund",
            "amount": int(form["amount"]),
            "currency": "usd",
            "payment_intent": form["payment_intent"],
            "status": self.refund_status,
            "metadata": {"refund_id": form["metadata[refund_id]"], "payment_id": form["metadata[payment_id]"]},
        }
        return self.refunds[name]

    def pay(self, payment: str) -> dict[str, Any]:
        """The buyer pays; the session."""
        session = next(it for it in self.sessions.values() if it["client_reference_id"] == payment)
        session |= {"payment_status": "paid", "status": "complete", "payment_intent": f"pi_{payment}"}
        return session


def _missing() -> Answer:
    return 404, {"error": {"type": "invalid_request_error", "message": "No such thing"}}


def _list(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": items, "has_more": False, "url": "/"}


def stripe_event(name: str, about: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A webhook's body."""
    told = {"id": f"evt_{uuid4().hex}", "object": "event", "type": name, "data": {"object": about}}
    return told | changes


def stripe_headers(body: bytes, *, secret: str = STRIPE_SECRET, at: float | None = None) -> dict[str, str]:
    """`Stripe-Signature` of a body."""
    moment = int(time.time() if at is None else at)
    right = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={moment},v1={right}", "Content-Type": "application/json"}


class FakePaystack(Fake):
    """Transactions by our reference, and refunds; it knows no idempotency keys."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions: dict[str, dict[str, Any]] = {}
        self.refunds: list[dict[str, Any]] = []
        self.refund_status = "processed"

    def settings(self, base: Settings) -> Settings:
        """These settings, with this Paystack in them."""
        return msgspec.structs.replace(base, paystack_secret_key=PAYSTACK_KEY, paystack_url=self.url)

    def answer(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {PAYSTACK_KEY}":
            return 401, {"status": False, "message": "Invalid key"}
        if (request.method, request.path) == ("POST", "/transaction/initialize"):
            return self._initialize(request.json)
        if request.path.startswith("/transaction/verify/"):
            found = self.transactions.get(request.path.rpartition("/")[2])
            if found is None:
                return 400, {"status": False, "message": "Transaction reference not found"}
            return 200, {"status": True, "data": found}
        if request.path == "/transaction":
            paid = [it for it in self.transactions.values() if it["status"] == "success"]
            return 200, {"status": True, "data": paid}
        if (request.method, request.path) == ("POST", "/refund"):
            return self._refund(request.json)
        if request.path == "/refund":
            wanted = request.query.get("transaction")
            found_ = [it for it in self.refunds if wanted in (None, str(it["transaction"]))]
            return 200, {"status": True, "data": found_}
        return 404, {"status": False, "message": "no such route"}

    def _initialize(self, asked: dict[str, Any]) -> Answer:
        if asked["reference"] in self.transactions:
            return 400, {"status": False, "message": "Duplicate Transaction Reference"}
        self.transactions[asked["reference"]] = {
            "id": len(self.transactions) + 1,
            "reference": asked["reference"],
            "amount": asked["amount"],
            "currency": asked["currency"],
            "status": "abandoned",
        }
        url = f"{self.url}/pay/{asked['reference']}"
        return 200, {"status": True, "data": {"authorization_url": url, "reference": asked["reference"]}}

    def _refund(self, asked: dict[str, Any]) -> Answer:
        transaction = self.transactions[asked["transaction"]]
        given = sum(it["amount"] for it in self.refunds if it["transaction_reference"] == asked["transaction"])
        if asked["amount"] > transaction["amount"] - given:
            return 400, {"status": False, "message": "Refund amount cannot be more than transaction amount"}
        self.refunds.append(
            {
                "id": 1000 + len(self.refunds),
                "transaction": transaction["id"],
                "transaction_reference": asked["transaction"],
                "amount": asked["amount"],
                "currency": asked["currency"],
                "status": self.refund_status,
                "merchant_note": asked["merchant_note"],
            }
        )
        return 200, {"status": True, "data": self.refunds[-1]}

    def refund_event(self, number: int, name: str = "refund.processed") -> bytes:
        """The webhook about a refund: it has another name than the answer had, no number, and its amount is a text."""
        refund = self.refunds[number]
        about = {
            "status": "processed",
            "transaction_reference": refund["transaction_reference"],
            "refund_reference": f"1320{number}",
            "amount": str(refund["amount"]),
            "currency": refund["currency"],
        }
        return json.dumps({"event": name, "data": about}).encode()

    def pay(self, payment: str) -> dict[str, Any]:
        """The buyer pays by the newest checkout; the transaction."""
        found = [it for name, it in self.transactions.items() if name.startswith(payment)][-1]
        found["status"] = "success"
        return found


def paystack_headers(body: bytes, *, key: str = PAYSTACK_KEY) -> dict[str, str]:
    """`x-paystack-signature` of a body."""
    return {"x-paystack-signature": hmac.new(key.encode(), body, hashlib.sha512).hexdigest()}


class FakePayPal(Fake):
    """Orders, captures, refunds by PayPal-Request-Id; it verifies what it has signed."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[str, dict[str, Any]] = {}
        self.done: dict[str, Answer] = {}
        self.refunds: list[dict[str, Any]] = []
        self.refund_status = "COMPLETED"
        self.token = "A21"
        self._key = uuid4().hex.encode()

    def settings(self, base: Settings) -> Settings:
        """These settings, with this PayPal in them."""
        return msgspec.structs.replace(
            base,
            paypal_client_id=PAYPAL_ID,
            paypal_client_secret=PAYPAL_SECRET,
            paypal_webhook_id=PAYPAL_WEBHOOK,
            paypal_url=self.url,
        )

    def answer(self, request: Request) -> Answer:
        if request.path == "/v1/oauth2/token":
            given = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
            if given != f"{PAYPAL_ID}:{PAYPAL_SECRET}":
                return 401, {"error": "invalid_client"}
            return 200, {"access_token": self.token, "expires_in": 32400}
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return 401, {"name": "AUTHENTICATION_FAILURE"}
        if request.path == "/v1/notifications/verify-webhook-signature":
            return 200, {"verification_status": "SUCCESS" if self._is_mine(request.body) else "FAILURE"}
        if request.path == "/v1/reporting/transactions":
            return 200, self._report()
        key = request.headers.get("paypal-request-id")
        if key is not None and key in self.done:
            return self.done[key]
        answer = self._do(request)
        if key is not None:
            self.done[key] = answer
        return answer

    def _do(self, request: Request) -> Answer:
        parts = request.path.strip("/").split("/")
        if (request.method, request.path) == ("POST", "/v2/checkout/orders"):
            name = uuid4().hex[:17].upper()
            self.orders[name] = {
                "id": name,
                "status": "PAYER_ACTION_REQUIRED",
                "purchase_units": request.json["purchase_units"],
                "links": [{"rel": "payer-action", "href": f"{self.url}/pay/{name}"}],
            }
            return 200, self.orders[name]
        if parts[:3] == ["v2", "checkout", "orders"]:
            order = self.orders.get(parts[3])
            if order is None:
                return 404, {"name": "RESOURCE_NOT_FOUND"}
            if parts[-1] == "capture":
                if order["status"] != "APPROVED":
                    return 422, {"name": "ORDER_NOT_APPROVED"}
                unit = order["purchase_units"][0]
                capture = {
                    "id": f"CAP{order['id'][:12]}",
                    "status": "COMPLETED",
                    "amount": unit["amount"],
                    "custom_id": unit["custom_id"],
                    "supplementary_data": {"related_ids": {"order_id": order["id"]}},
                }
                order["status"] = "COMPLETED"
                unit["payments"] = {"captures": [capture]}
            return 200, order
        if parts[:3] == ["v2", "payments", "captures"] and parts[-1] == "refund":
            refund = {
                "id": f"REF{len(self.refunds)}",
                "status": self.refund_status,
                "amount": request.json["amount"],
                "custom_id": request.json["custom_id"],
                "links": [{"rel": "up", "href": f"{self.url}/v2/payments/captures/{parts[3]}"}],
            }
            self.refunds.append(refund)
            return 201, refund
        return 404, {"name": "RESOURCE_NOT_FOUND"}

    def approve(self, payment: str) -> dict[str, Any]:
        """The buyer says yes; the order."""
        order = next(it for it in self.orders.values() if it["purchase_units"][0]["custom_id"] == payment)
        order["status"] = "APPROVED"
        return order

    def _signature(self, body: str, fields: dict[str, str]) -> str:
        said = "|".join([fields["transmission_id"], fields["transmission_time"], PAYPAL_WEBHOOK, body])
        return hmac.new(self._key, said.encode(), hashlib.sha256).hexdigest()

    def headers(self, body: bytes) -> dict[str, str]:
        """Of a webhook that it sends."""
        fields = {"transmission_id": uuid4().hex, "transmission_time": "2026-01-01T00:00:00Z"}
        return {
            "PayPal-Transmission-Id": fields["transmission_id"],
            "PayPal-Transmission-Time": fields["transmission_time"],
            "PayPal-Transmission-Sig": self._signature(body.decode(), fields),
            "PayPal-Cert-Url": "https://api.paypal.com/v1/notifications/certs/CERT-1",
            "PayPal-Auth-Algo": "SHA256withRSA",
        }

    def _is_mine(self, body: bytes) -> bool:
        asked = json.loads(body)
        # byte for byte, as it was sent
        event = body.decode().partition('"webhook_event":')[2].removesuffix("}")
        return asked["webhook_id"] == PAYPAL_WEBHOOK and hmac.compare_digest(
            asked["transmission_sig"].encode(), self._signature(event, asked).encode()
        )

    def _report(self) -> dict[str, Any]:
        captures = [
            capture
            for order in self.orders.values()
            for capture in order["purchase_units"][0].get("payments", {}).get("captures", ())
        ]
        rows = [
            {
                "transaction_id": it["id"],
                "transaction_event_code": "T0006",
                "transaction_status": "S",
                "custom_field": it["custom_id"],
                "transaction_amount": it["amount"],
            }
            for it in captures
        ] + [
            {
                "transaction_id": it["id"],
                "transaction_event_code": "T1107",
                "transaction_status": "S",
                "transaction_amount": it["amount"] | {"value": f"-{it['amount']['value']}"},
            }
            for it in self.refunds
        ]
        return {"transaction_details": [{"transaction_info": row} for row in rows], "total_pages": 1}


def paypal_event(name: str, about: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A webhook's body."""
    return {"id": f"WH-{uuid4().hex}", "event_type": name, "resource": about} | changes
