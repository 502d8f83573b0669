"""Payments over HTTP: checkouts, webhooks and their forgeries, refunds; against fake providers on real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
import pytest_asyncio

from app.payments.pages import money
from app.payments.providers.paypal import decimal, minor
from app.payments.providers.protocol import ProviderRefused
from app.payments.providers.stripe import Stripe
from app.settings import Settings
from scheduler.process import Runner
from scheduler.registry import JobContext, all_jobs
from tests.api.people import Person, api, register, register_admin, slug
from tests.api.test_streams import NOBODY, get, post
from tests.support.application import running_client
from tests.support.money import set_status
from tests.support.postgres import Clone, Connection
from tests.support.providers import (
    PAYSTACK_KEY,
    STRIPE_KEY,
    STRIPE_SECRET,
    Fake,
    FakePayPal,
    FakePaystack,
    FakeStripe,
    paypal_event,
    paystack_headers,
    running,
    stripe_event,
    stripe_headers,
)

JOBS = {job.name: job for job in all_jobs()}
SHOP = "https://shop.example.com"


class Shop(msgspec.Struct):
    """A buyer, an administrator, the providers, and a scheduler with the same settings."""

    client: httpx.AsyncClient
    db: Connection
    buyer: Person
    admin: Person
    stripe: FakeStripe
    paystack: FakePaystack
    paypal: FakePayPal
    runner: Runner
    package: str

    def fake(self, provider: str) -> Fake:
        """By name."""
        found: Fake = getattr(self, provider)
        return found

    async def checkout(self, provider: str, key: str | None = None, **more: Any) -> httpx.Response:
        """POST /payments/checkout"""
        body = {"package_id": self.package, "provider": provider, **more}
        return await post(self.client, self.buyer, "/payments/checkout", body, key)

    async def opened(self, provider: str) -> str:
        """A checkout that was made; the payment."""
        answer = await self.checkout(provider)
        assert answer.status_code == 201, answer.text
        payment: str = answer.json()["payment_id"]
        return payment

    async def hook(self, provider: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        """A webhook."""
        return await self.client.post(api(f"/webhooks/payment/{provider}"), content=body, headers=headers)

    def paid_hook(self, provider: str, payment: str) -> tuple[bytes, dict[str, str]]:
        """The buyer has paid; what the provider tells."""
        if provider == "stripe":
            body = json.dumps(stripe_event("checkout.session.completed", self.stripe.pay(payment))).encode()
            return body, stripe_headers(body)
        if provider == "paystack":
            body = json.dumps({"event": "charge.success", "data": self.paystack.pay(payment)}).encode()
            return body, paystack_headers(body)
        order = self.paypal.approve(payment)
        body = json.dumps(paypal_event("CHECKOUT.ORDER.APPROVED", order)).encode()
        return body, self.paypal.headers(body)

    async def paid(self, provider: str) -> str:
        """A payment that is paid."""
        payment = await self.opened(provider)
        assert (await self.hook(provider, *self.paid_hook(provider, payment))).status_code == 200
        if provider == "paypal":
            await self.work()
        assert (await self.payment(payment))["status"] == "paid"
        return payment

    async def payment(self, payment: str) -> dict[str, Any]:
        """GET /payments/{id}"""
        answer = await get(self.client, self.buyer, f"/payments/{payment}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def balance(self) -> int:
        """The buyer's tokens."""
        answer = await get(self.client, self.buyer, "/monetization/balance")
        found: int = answer.json()["balance"]
        return found

    async def due(self) -> None:
        """Whatever waits is due now, as if time had passed."""
        async with self.db.transaction():
            await self.db.execute("SET LOCAL ROLE tessera_ledger")
            await self.db.execute("UPDATE core.payments SET check_at = clock_timestamp() WHERE check_at IS NOT NULL")
            await self.db.execute("UPDATE core.payment_refunds SET due_at = clock_timestamp() WHERE due_at IS NOT NULL")
            await self.db.execute("UPDATE core.payment_events SET due_at = clock_timestamp() WHERE due_at IS NOT NULL")

    async def work(self, name: str = "settle-payments") -> bool:
        """Run the job, all that waits being due."""
        await self.due()
        return await self.runner.run(JOBS[name])


@pytest_asyncio.fixture
async def shop(database: Clone, db: Connection) -> AsyncIterator[Shop]:
    """Everything, each on a port of its own."""
    async with AsyncExitStack() as stack:
        stripe = await stack.enter_async_context(running(FakeStripe))
        paystack = await stack.enter_async_context(running(FakePaystack))
        paypal = await stack.enter_async_context(running(FakePayPal))
        settings: Settings = database.settings(checkout_urls=(f"{SHOP}/buy", "http://localhost:3000/"))
        for fake in (stripe, paystack, paypal):
            settings = fake.settings(settings)
        client = await stack.enter_async_context(running_client(settings))
        pool = await asyncpg.create_pool(database.url("scheduler"), min_size=1, max_size=2)
        stack.push_async_callback(pool.close)
        packages = (await client.get(api("/public/token-packages"))).json()
        assert packages["providers"] == ["stripe", "paystack", "paypal", "sandbox"]
        package = next(it["package_id"] for it in packages["items"] if it["tokens"] == 200)
        yield Shop(
            client,
            db,
            await register(client),
            await register_admin(client, db),
            stripe,
            paystack,
            paypal,
            Runner(JobContext(pool, settings)),
            package,
        )


PROVIDERS = ("stripe", "paystack", "paypal")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_purchase(shop: Shop, provider: str) -> None:
    answer = await shop.checkout(provider, "k")
    assert answer.status_code == 201, answer.text
    receipt = answer.json()
    assert receipt["checkout_url"].startswith(shop.fake(provider).url)
    assert (receipt["tokens"], receipt["amount"], receipt["currency"]) == (200, 1900, "USD")
    again = await shop.checkout(provider, "k")
    assert (again.content, again.headers["idempotent-replayed"]) == (answer.content, "true")
    assert slug(await shop.checkout("sandbox", "k")) == "IDEMPOTENCY_KEY_REUSED"
    payment = receipt["payment_id"]
    assert (await shop.payment(payment))["status"] == "pending"
    body, headers = shop.paid_hook(provider, payment)
    told = await shop.hook(provider, body, headers)
    assert (told.status_code, told.json()) == (200, {"outcome": "applied"}), told.text
    if provider == "paypal":
        assert await shop.work()
    kept = await shop.payment(payment)
    assert (kept["status"], kept["tokens"], await shop.balance()) == ("paid", 200, 200)
    assert (await shop.hook(provider, body, headers)).json() == {"outcome": "repeated"}
    assert await shop.work()
    assert await shop.balance() == 200
    listed = (await get(shop.client, shop.buyer, "/payments?status=paid")).json()
    assert listed == {"items": [kept], "next_cursor": None}
    line = (await get(shop.client, shop.buyer, "/dashboard/wallet/transactions?kind=purchase")).json()["items"]
    assert [(it["amount"], it["reference"]) for it in line] == [(200, payment)]
    page = await get(shop.client, shop.buyer, f"/payments/{payment}/receipt")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "19.00 USD" in page.text
    assert not re.search(r"<script|src=|href=|url\(", page.text)
    assert (await shop.checkout(provider, "k")).content == answer.content


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_checkout_whose_reply_was_lost_is_made_once(shop: Shop, provider: str) -> None:
    """The provider did its work, we never heard of it: the same key mends it, and so does the job."""
    shop.fake(provider).cut = 1 if provider == "paystack" else 2
    for _ in range(2 if provider != "paystack" else 1):
        lost = await shop.checkout(provider, "k")
        assert (lost.status_code, slug(lost)) == (503, "PROVIDER_UNAVAILABLE")
    answer = await shop.checkout(provider, "k")
    assert answer.status_code == 201, answer.text
    assert answer.json()["payment_id"] == lost.json()["payment_id"]
    if provider == "stripe":
        assert len(shop.stripe.sessions) == 1
    elif provider == "paypal":
        assert len(shop.paypal.orders) == 1
    assert await shop.db.fetchval("SELECT count(*) FROM core.payments") == 1
    # and one that nobody asks for again is mended by the job
    shop.fake(provider).cut = 1
    other = await shop.checkout(provider, "l")
    assert slug(other) == "PROVIDER_UNAVAILABLE"
    payment = other.json()["payment_id"]
    await shop.work()
    await shop.work()
    if provider == "paypal":
        shop.paypal.approve(payment)
    elif provider == "paystack":
        shop.paystack.pay(payment)
    else:
        shop.stripe.pay(payment)
    assert await shop.work()
    assert ((await shop.payment(payment))["status"], await shop.balance()) == ("paid", 200)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_webhook_that_never_came(shop: Shop, provider: str) -> None:
    payment = await shop.opened(provider)
    shop.paid_hook(provider, payment)
    shop.fake(provider).down = 1
    assert await shop.work()
    assert (await shop.payment(payment))["status"] == "pending"
    for _ in range(2):
        assert await shop.work()
        assert ((await shop.payment(payment))["status"], await shop.balance()) == ("paid", 200)


@pytest.mark.parametrize("provider", [*PROVIDERS, "sandbox"])
async def test_what_nobody_pays_fails_when_it_is_over(shop: Shop, provider: str) -> None:
    payment = await shop.opened(provider)
    assert await shop.work()
    assert (await shop.payment(payment))["status"] == "pending"
    await over(shop)
    assert await shop.work()
    kept = await shop.payment(payment)
    assert (kept["status"], kept["failure"]) == ("failed", "expired")
    # told late: the money is there all the same
    if provider in PROVIDERS:
        await shop.hook(provider, *shop.paid_hook(provider, payment))
    assert await shop.db.fetchval("SELECT count(*) FROM core.outbox WHERE type = 'payment.failed'") == 1


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_refund_whose_reply_was_lost_is_made_once(shop: Shop, provider: str) -> None:
    payment = await shop.paid(provider)
    shop.fake(provider).cut = 2 if provider == "paystack" else 1
    if provider == "paystack":
        shop.fake(provider).cut = 1  # of the question whether it is there already
    body = {"amount": 475, "reason": "bought by mistake"}
    path = f"/admin/payments/{payment}/refund"
    first = await post(shop.client, shop.admin, path, body, "r")
    assert first.status_code == 201, first.text
    assert first.json() | {"refund_id": ""} == {
        "refund_id": "",
        "payment_id": payment,
        "amount": 475,
        "currency": "USD",
        "reason": "bought by mistake",
    }
    again = await post(shop.client, shop.admin, path, body, "r")
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert await shop.balance() == 150
    assert await shop.db.fetchval("SELECT status FROM api.payment_refunds") == "pending"
    for _ in range(2):
        assert await shop.work()
        assert await shop.db.fetchval("SELECT status FROM api.payment_refunds") == "done"
    refunds: Any = getattr(shop, provider).refunds
    assert len(refunds) == 1
    assert await shop.balance() == 150
    assert slug(await post(shop.client, shop.admin, path, {"amount": 1426, "reason": "x"})) == "PAYMENT_REFUND_EXCEEDED"
    rest = await post(shop.client, shop.admin, path, {"reason": "the rest"})
    assert (rest.status_code, rest.json()["amount"]) == (201, 1425)
    assert ((await shop.payment(payment))["status"], await shop.balance()) == ("refunded", 0)
    page = await get(shop.client, shop.buyer, f"/payments/{payment}/receipt")
    assert "-19.00 USD" in page.text


async def test_a_paystack_refund_lost_after_it_was_made_is_found(shop: Shop) -> None:
    payment = await shop.paid("paystack")
    asked = len(shop.paystack.requests)

    original = shop.paystack.answer

    def answer(request: Any) -> Any:
        told = original(request)
        if (request.method, request.path) == ("POST", "/refund"):
            shop.paystack.cut = 1
        return told

    shop.paystack.answer = answer  # type: ignore[method-assign]
    await post(shop.client, shop.admin, f"/admin/payments/{payment}/refund", {"reason": "x"})
    assert len(shop.paystack.requests) == asked + 3
    assert await shop.db.fetchval("SELECT status FROM api.payment_refunds") == "pending"
    assert await shop.work()
    assert await shop.db.fetchval("SELECT status FROM api.payment_refunds") == "done"
    assert len(shop.paystack.refunds) == 1


@pytest.mark.parametrize("status", ["processed", "pending"])
async def test_paystacks_webhook_names_a_refund_by_another_name(shop: Shop, status: str) -> None:
    payment = await shop.paid("paystack")
    shop.paystack.refund_status = status
    path = f"/admin/payments/{payment}/refund"
    for number in range(2):  # two of the same amount
        answer = await post(shop.client, shop.admin, path, {"reason": "x", "amount": 190})
        assert answer.status_code == 201
        assert await shop.balance() == 180 - 20 * number
    for number in (1, 0, 1):
        body = shop.paystack.refund_event(number)
        told = await shop.hook("paystack", body, paystack_headers(body))
        assert told.json()["outcome"] in ("applied", "repeated")
    rows = await shop.db.fetch("SELECT status, provider_refund FROM api.payment_refunds ORDER BY 2")
    assert [tuple(row) for row in rows] == [("done", "13200"), ("done", "13201")]
    assert await shop.balance() == 160
    # a third, made at Paystack's own site
    shop.paystack.refunds.append(dict(shop.paystack.refunds[0], merchant_note=None))
    for _ in range(2):
        body = shop.paystack.refund_event(2)
        await shop.hook("paystack", body, paystack_headers(body))
    assert await shop.balance() == 140


async def test_a_refund_that_the_provider_declines_restores_the_tokens(shop: Shop) -> None:
    payment = await shop.paid("stripe")
    # somebody gave half of it back at the provider, and its webhook is late
    shop.stripe.refunds["re_x"] = {
        "id": "re_x",
        "object": "refund",
        "amount": 950,
        "currency": "usd",
        "payment_intent": f"pi_{payment}",
        "status": "succeeded",
        "metadata": {},
    }
    answer = await post(shop.client, shop.admin, f"/admin/payments/{payment}/refund", {"reason": "x"})
    assert answer.status_code == 201
    assert await shop.db.fetchval("SELECT status FROM api.payment_refunds") == "failed"
    assert ((await shop.payment(payment))["status"], await shop.balance()) == ("paid", 200)
    body = json.dumps(stripe_event("refund.created", shop.stripe.refunds["re_x"])).encode()
    for _ in range(2):
        await shop.hook("stripe", body, stripe_headers(body))
    kept = await shop.payment(payment)
    assert (kept["status"], kept["refunded"], kept["reversed"], await shop.balance()) == ("paid", 950, 100, 100)


def _dispute(provider: str, payment: str, what: str, charge: str | None = None) -> dict[str, Any]:
    if provider == "stripe":
        about = {
            "id": "dp_1",
            "object": "dispute",
            "amount": 1900,
            "currency": "usd",
            "payment_intent": f"pi_{payment}",
        }
        if what == "open":
            return stripe_event("charge.dispute.created", about | {"status": "needs_response"})
        return stripe_event("charge.dispute.closed", about | {"status": what})
    if provider == "paystack":
        about = {
            "id": 7,
            "refund_amount": 1900,
            "currency": "USD",
            "transaction": {"reference": payment, "amount": 1900, "currency": "USD"},
        }
        if what == "open":
            return {"event": "charge.dispute.create", "data": about | {"status": "awaiting-merchant-feedback"}}
        resolution = {"won": "declined", "lost": "merchant-accepted"}[what]
        return {"event": "charge.dispute.resolve", "data": about | {"status": "resolved", "resolution": resolution}}
    about = {
        "dispute_id": "PP-D-1",
        "dispute_amount": {"currency_code": "USD", "value": "19.00"},
        "disputed_transactions": [{"seller_transaction_id": charge}],
    }
    if what == "open":
        return paypal_event("CUSTOMER.DISPUTE.CREATED", about)
    outcome = {"won": "RESOLVED_SELLER_FAVOUR", "lost": "RESOLVED_BUYER_FAVOUR"}[what]
    return paypal_event("CUSTOMER.DISPUTE.RESOLVED", about | {"dispute_outcome": {"outcome_code": outcome}})


@pytest.mark.parametrize("end", ["won", "lost"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_dispute(shop: Shop, provider: str, end: str) -> None:
    payment = await shop.paid(provider)
    charge = await shop.db.fetchval("SELECT charge FROM api.payments")

    async def tell(what: str) -> httpx.Response:
        body = json.dumps(_dispute(provider, payment, what, charge)).encode()
        headers = {
            "stripe": lambda: stripe_headers(body),
            "paystack": lambda: paystack_headers(body),
            "paypal": lambda: shop.paypal.headers(body),
        }[provider]()
        return await shop.hook(provider, body, headers)

    assert (await tell("open")).json() == {"outcome": "applied"}
    assert ((await shop.payment(payment))["status"], await shop.balance()) == ("disputed", 0)
    assert (await tell(end)).json() == {"outcome": "applied"}
    left = ("paid", 200) if end == "won" else ("disputed", 0)
    assert ((await shop.payment(payment))["status"], await shop.balance()) == left
    assert (await tell("open")).json() == {"outcome": "repeated"}
    assert ((await shop.payment(payment))["status"], await shop.balance()) == left


def test_stripes_signature_is_the_documented_one() -> None:
    """hex HMAC-SHA256 of `timestamp.body`."""
    from stripe import WebhookSignature

    body, secret, at = '{"id":"evt_1"}', "whsec_test", 1614265330
    right = hmac.new(secret.encode(), f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
    assert right == "347e9afe3d74ec4c5cbefd270edc9246513ae3da7b375223e302560fbd4146eb"
    assert WebhookSignature.generate_signature_header(body, secret, at) == f"t={at},v1={right}"


FORGERIES = range(12)


def _forged_stripe(number: int, body: bytes) -> tuple[bytes, dict[str, str]]:
    now = int(time.time())
    good = stripe_headers(body)["Stripe-Signature"]
    right = good.partition("v1=")[2]
    return [
        (body, {}),
        (body, {"Stripe-Signature": ""}),
        (body, stripe_headers(body, secret="whsec_other")),
        (body.replace(b"1900", b"9900"), {"Stripe-Signature": good}),
        (body + b" ", {"Stripe-Signature": good}),
        (body, stripe_headers(body, at=now - 301)),
        (body, stripe_headers(body, at=now + 330)),
        (body, {"Stripe-Signature": f"t={now + 1},v1={right}"}),
        (body, {"Stripe-Signature": f"t={now},v0={right}"}),
        (body, {"Stripe-Signature": f"t={now},v1={right[:-1]}"}),
        (body, {"Stripe-Signature": f"t=x,v1={right}"}),
        (body, {"Stripe-Signature": f"v1={right}"}),
    ][number]


def _forged_paystack(number: int, body: bytes) -> tuple[bytes, dict[str, str]]:
    right = paystack_headers(body)["x-paystack-signature"]
    name = "x-paystack-signature"
    return [
        (body, {}),
        (body, {name: ""}),
        (body, paystack_headers(body, key="sk_test_other")),
        (body.replace(b"1900", b"9900"), {name: right}),
        (body + b"\n", {name: right}),
        (body, {name: right[:-1]}),
        (body, {name: right + "0"}),
        (body, {name: right.upper()}),
        (body, {name: f"sha512={right}"}),
        (body, {name: hmac.new(PAYSTACK_KEY.encode(), body, hashlib.sha256).hexdigest()}),
        (body, {name: hashlib.sha512(body).hexdigest()}),
        (body, {name: "é" * 8}),
    ][number]


def _forged_paypal(number: int, body: bytes, right: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    sig = "PayPal-Transmission-Sig"
    return [
        (body, {}),
        (body, {name: value for name, value in right.items() if name != sig}),
        (body, right | {sig: "0" * 64}),
        (body, right | {sig: right[sig][:-1]}),
        (body, right | {"PayPal-Transmission-Id": "another"}),
        (body, right | {"PayPal-Transmission-Time": "2026-01-02T00:00:00Z"}),
        (body.replace(b"19.00", b"99.00"), right),
        (body.replace(b"USD", b"EUR"), right),
        (body + b" ", right),
        (b'{"x":1}', right),
        (body, right | {sig: ""}),
        (body, {name: value for name, value in right.items() if name != "PayPal-Cert-Url"}),
    ][number]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_twelve_forgeries_each_refused(shop: Shop, provider: str) -> None:
    payment = await shop.opened(provider)
    body, headers = shop.paid_hook(provider, payment)
    for number in FORGERIES:
        if provider == "stripe":
            forged = _forged_stripe(number, body)
        elif provider == "paystack":
            forged = _forged_paystack(number, body)
        else:
            forged = _forged_paypal(number, body, headers)
        content, given = forged
        answer = await shop.client.post(
            api(f"/webhooks/payment/{provider}"),
            content=content,
            headers=[(name.encode(), value.encode()) for name, value in given.items()],
        )
        assert (answer.status_code, slug(answer)) == (401, "PAYMENT_SIGNATURE_INVALID"), number
    assert await shop.db.fetchval("SELECT count(*) FROM core.payment_events") == 0
    assert await shop.balance() == 0
    assert (await shop.hook(provider, body, headers)).status_code == 200


async def test_signed_nonsense_is_no_500(shop: Shop) -> None:
    for content in (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"id": 1}'):
        # what is no UTF-8 has no signature of Stripe's
        stripes = stripe_headers(content if content != b"\xff\xfe" else b"")
        for provider, headers in (("stripe", stripes), ("paystack", paystack_headers(content))):
            answer = await shop.hook(provider, content, headers)
            assert answer.status_code in (400, 401, 422), (provider, content, answer.text)
        answer = await shop.hook("paypal", content, shop.paypal.headers(b"{}"))
        assert answer.status_code in (400, 401, 422), (content, answer.text)
    # what cannot be stored is left out of what is made of it
    content = b'{"id": "a\\u0000", "type": "x\\u0000y", "data": {"object": {"reason": "\\u0000"}}}'
    assert (await shop.hook("stripe", content, stripe_headers(content))).json() == {"outcome": "ignored"}
    odd: tuple[Any, ...] = (
        None,
        [],
        {},
        {"metadata": []},
        {"metadata": {"payment_id": "x"}},
        {"amount_total": "1900"},
        {"amount_total": 2**70},
    )
    for about in odd:
        body = json.dumps(stripe_event("checkout.session.completed", about)).encode()
        answer = await shop.hook("stripe", body, stripe_headers(body))
        assert answer.status_code == 200, (about, answer.text)
    deep = b'{"id":"a","type":"b","data":' + b"[" * 50000 + b"]" * 50000 + b"}"
    assert (await shop.hook("stripe", deep, stripe_headers(deep))).status_code == 400
    assert slug(await shop.hook("stripe", b" " * 300_000, {})) == "PAYLOAD_TOO_LARGE"


async def test_another_amount_or_currency_is_for_a_person(shop: Shop) -> None:
    payment = await shop.opened("stripe")
    session = shop.stripe.pay(payment)
    for change in ({"amount_total": 1899}, {"currency": "eur"}):
        body = json.dumps(stripe_event("checkout.session.completed", session | change)).encode()
        answer = await shop.hook("stripe", body, stripe_headers(body))
        assert answer.json() == {"outcome": "mismatch"}
    stranger = session | {"metadata": {}, "client_reference_id": None, "payment_intent": "pi_else", "id": "cs_else"}
    body = json.dumps(stripe_event("checkout.session.completed", stranger)).encode()
    assert (await shop.hook("stripe", body, stripe_headers(body))).json() == {"outcome": "unknown"}
    listed = await get(shop.client, shop.admin, "/admin/payments/events?open=true&limit=2")
    assert [it["outcome"] for it in listed.json()["items"]] == ["unknown", "mismatch"]
    rest = await get(shop.client, shop.admin, f"/admin/payments/events?open=true&cursor={listed.json()['next_cursor']}")
    assert [it["outcome"] for it in rest.json()["items"]] == ["mismatch"]
    event = {"provider": "stripe", "event_id": listed.json()["items"][0]["event_id"], "reason": "the other shop's"}
    for _ in range(2):
        done = await post(shop.client, shop.admin, "/admin/payments/events/resolve", event)
        assert (done.status_code, done.json()["outcome"]) == (200, "resolved")
    assert (
        slug(await post(shop.client, shop.admin, "/admin/payments/events/resolve", event | {"event_id": "no"}))
        == "PAYMENT_EVENT_NOT_FOUND"
    )
    assert await shop.balance() == 0


async def test_the_sandbox(shop: Shop) -> None:
    for button, status, tokens in (("fail", "failed", 0), ("pay", "paid", 200)):
        opened = await shop.checkout("sandbox", success_url=f"{SHOP}/buy/thanks?a=1&b=2")
        url = httpx.URL(opened.json()["checkout_url"])
        page = await shop.client.get(url.path, params=dict(url.params))
        assert page.status_code == 200
        csp = page.headers["content-security-policy"]
        assert "default-src 'none'" in csp
        assert "form-action 'self'" in csp
        assert not re.search(r"<script|src=|https?://", page.text)
        actions = re.findall(r'action="([^"]+)"', page.text)
        assert len(actions) == 2
        action = next(it for it in actions if f"/{button}?" in it)
        for _ in range(2):
            pressed = await shop.client.post(action)
            assert (pressed.status_code, f"This payment is {status}" in pressed.text) == (200, True)
        payment = opened.json()["payment_id"]
        assert ((await shop.payment(payment))["status"], await shop.balance()) == (status, tokens)
        if button == "pay":
            assert f'href="{SHOP}/buy/thanks?a=1&amp;b=2"' in pressed.text
            refunded = await post(shop.client, shop.admin, f"/admin/payments/{payment}/refund", {"reason": "x"})
            assert refunded.status_code == 201
            assert ((await shop.payment(payment))["status"], await shop.balance()) == ("refunded", 0)
        for wrong in (url.path, f"{url.path}/pay"):
            verb = shop.client.get if wrong == url.path else shop.client.post
            assert slug(await verb(wrong, params={"seal": "0" * 32})) == "PAYMENT_NOT_FOUND"
            assert slug(await verb(wrong)) == "VALIDATION_ERROR"
        assert slug(await shop.client.post(f"{url.path}/steal", params=dict(url.params))) == "NOT_FOUND"
    forged = await shop.hook("sandbox", b"{}", {"x-sandbox-signature": "0" * 64})
    assert slug(forged) == "PAYMENT_SIGNATURE_INVALID"
    stripes = await shop.opened("stripe")
    assert (await shop.client.get(api(f"/public/sandbox/{stripes}"), params={"seal": "x"})).status_code == 404


async def test_production_has_no_sandbox(database: Clone) -> None:
    settings = database.settings(env="production")
    async with running_client(settings) as client:
        assert (await client.get(api("/public/token-packages"))).json()["providers"] == []
        for provider in ("stripe", "paystack", "paypal", "sandbox"):
            assert (
                slug(await client.post(api(f"/webhooks/payment/{provider}"), content=b"{}"))
                == "PROVIDER_NOT_CONFIGURED"
            )
        answer = await client.get(api(f"/public/sandbox/{NOBODY}"), params={"seal": "x"})
        assert slug(answer) == "PROVIDER_NOT_CONFIGURED"


ALLOWED = [f"{SHOP}/buy", f"{SHOP}/buy/thanks?x=1#y", "http://localhost:3000/", "http://localhost:3000/a/b"]
REFUSED = [
    SHOP,
    f"{SHOP}/buyer",
    f"{SHOP}/buy/../admin",
    "https://shop.example.com.evil.com/buy",
    "https://evil.com/buy",
    "https://shop.example.com@evil.com/buy",
    "https://user:pass@shop.example.com/buy",
    "http://shop.example.com/buy",
    "https://shop.example.com:444/buy",
    "http://localhost:3001/",
    "//shop.example.com/buy",
    "javascript:alert(1)",
    "https://shop.example.com\\@evil.com/buy",
    "https://shop.example.com/buy\n",
    "https://[x/buy",
    "https://shop.example.com:x/buy",
    "/buy",
]


async def test_where_buyers_are_sent(shop: Shop) -> None:
    for url in ALLOWED:
        assert (await shop.checkout("sandbox", success_url=url, cancel_url=url)).status_code == 201, url
    for url in REFUSED:
        for field in ("success_url", "cancel_url"):
            answer = await shop.checkout("sandbox", **{field: url})
            assert (answer.status_code, slug(answer), answer.json()["field"]) == (422, "URL_NOT_ALLOWED", field), url
    for name in ("done", "cancelled"):
        page = await shop.client.get(api(f"/public/checkout/{name}"))
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


async def test_requests_that_do_not_fit(shop: Shop) -> None:
    good = {"package_id": shop.package, "provider": "sandbox"}
    for change in (
        {"amount": 1},
        {"price": 1},
        {"tokens": 1},
        {"provider": "bank"},
        {"package_id": "50"},
        {"success_url": ""},
        {"success_url": 1},
        {"success_url": "x" * 2001},
    ):
        assert slug(await post(shop.client, shop.buyer, "/payments/checkout", good | change)) == "VALIDATION_ERROR"
    assert slug(await shop.checkout("sandbox", success_url=f"{SHOP}/buy/\u0000")) == "URL_NOT_ALLOWED"
    assert slug(await shop.checkout("sandbox", package_id=NOBODY)) == "PACKAGE_NOT_FOUND"
    keyless = await shop.client.post(api("/payments/checkout"), json=good, headers=shop.buyer.headers)
    assert slug(keyless) == "IDEMPOTENCY_KEY_REQUIRED"
    payment = await shop.opened("sandbox")
    path = f"/admin/payments/{payment}/refund"
    for body in (
        {},
        {"reason": " "},
        {"reason": "x", "amount": 0},
        {"reason": "x", "amount": -1},
        {"reason": "x", "amount": 2**63},
        {"reason": "x", "amount": 1.5},
        {"reason": "x", "policy": "refuse"},
    ):
        assert slug(await post(shop.client, shop.admin, path, body)) == "VALIDATION_ERROR"
    assert slug(await post(shop.client, shop.admin, path, {"reason": "x\u0000"})) == "VALIDATION_ERROR"
    assert slug(await post(shop.client, shop.admin, path, {"reason": "x"})) == "PAYMENT_NOT_PAID"
    assert (
        slug(await post(shop.client, shop.admin, f"/admin/payments/{NOBODY}/refund", {"reason": "x"}))
        == "PAYMENT_NOT_FOUND"
    )
    assert slug(await get(shop.client, shop.buyer, f"/payments/{payment}/receipt")) == "PAYMENT_NOT_PAID"
    for query in (
        "provider=stripe&day=2026-02-30",
        "provider=stripe&day=x",
        "provider=bank&day=2026-01-01",
        "provider=stripe",
    ):
        assert slug(await get(shop.client, shop.admin, f"/admin/payments/reconciliation?{query}")) == "VALIDATION_ERROR"
    assert slug(await get(shop.client, shop.admin, "/admin/payments/events?cursor=x")) == "VALIDATION_ERROR"


async def test_payments_are_ones_own(shop: Shop) -> None:
    payment, other = await shop.paid("stripe"), await register(shop.client)
    for path in ("", "/receipt"):
        assert slug(await get(shop.client, other, f"/payments/{payment}{path}")) == "PAYMENT_NOT_FOUND"
        assert (await shop.client.get(api(f"/payments/{payment}{path}"))).status_code == 401
    assert (await get(shop.client, other, "/payments")).json()["items"] == []
    for path in (
        "/admin/payments",
        "/admin/payments/events",
        "/admin/payments/reconciliation?provider=stripe&day=2026-01-01",
        "/admin/payments/sales?from=2026-01-01T00:00:00Z&to=2027-01-01T00:00:00Z",
    ):
        assert slug(await get(shop.client, other, path)) == "FORBIDDEN"
        assert (await get(shop.client, shop.admin, path)).status_code == 200
    for path, body in (
        (f"/admin/payments/{payment}/refund", {"reason": "x"}),
        (f"/admin/token-packages/{shop.package}/end", None),
    ):
        assert slug(await post(shop.client, other, path, body)) == "FORBIDDEN"
    listed = (await get(shop.client, shop.admin, f"/admin/payments?buyer_id={shop.buyer.id}")).json()["items"]
    assert [(it["payment_id"], it["charge"]) for it in listed] == [(payment, f"pi_{payment}")]


async def test_packages_of_administrators(shop: Shop) -> None:
    body = {"name": "Spring", "tokens": 10, "bonus": 5, "price": 100, "currency": "USD"}
    made = await post(shop.client, shop.admin, "/admin/token-packages", body)
    assert made.status_code == 201, made.text
    listed = (await shop.client.get(api("/public/token-packages"))).json()["items"]
    assert (listed[0]["name"], listed[0]["bonus"]) == ("Spring", 5)
    opened = await shop.checkout("sandbox", package_id=made.json()["package_id"])
    assert (opened.json()["tokens"], opened.json()["amount"]) == (15, 100)
    for package in (made.json()["package_id"], shop.package):
        ended = await post(shop.client, shop.admin, f"/admin/token-packages/{package}/end")
        assert (ended.status_code, ended.json()["active"]) == (200, False)
    assert slug(await shop.checkout("sandbox")) == "PACKAGE_NOT_FOUND"
    assert slug(await post(shop.client, shop.admin, f"/admin/token-packages/{NOBODY}/end")) == "PACKAGE_NOT_FOUND"
    for change in ({"price": 0}, {"tokens": 2**63}, {"currency": "usd"}, {"name": ""}, {"window": 1}):
        assert slug(await post(shop.client, shop.admin, "/admin/token-packages", body | change)) == "VALIDATION_ERROR"
    past = {"active_from": "2026-02-01T00:00:00Z", "active_to": "2026-01-01T00:00:00Z"}
    assert slug(await post(shop.client, shop.admin, "/admin/token-packages", body | past)) == "INVALID_REQUEST"


async def test_payment_methods(shop: Shop) -> None:
    assert (await get(shop.client, shop.buyer, "/payments/methods")).json() == {"items": []}
    await shop.opened("stripe")
    customer = next(iter(shop.stripe.sessions.values()))["customer"]
    card = {"brand": "visa", "last4": "4242", "exp_month": 4, "exp_year": 2030}
    shop.stripe.methods[customer] = [{"id": "pm_1", "object": "payment_method", "type": "card", "card": card}]
    shop.stripe.methods["cus_other"] = [{"id": "pm_2", "object": "payment_method", "type": "card", "card": card}]
    listed = (await get(shop.client, shop.buyer, "/payments/methods")).json()["items"]
    assert listed == [{"method_id": "pm_1", "kind": "card", "brand": "visa", "last4": "4242", "expires": "2030-04"}]

    async def remove(name: str) -> httpx.Response:
        return await shop.client.delete(api(f"/payments/methods/{name}"), headers=shop.buyer.headers)

    assert slug(await remove("pm_2")) == "PAYMENT_METHOD_NOT_FOUND"
    assert (await remove("pm_1")).status_code == 204
    assert slug(await remove("pm_1")) == "PAYMENT_METHOD_NOT_FOUND"
    shop.stripe.down = 1
    assert slug(await get(shop.client, shop.buyer, "/payments/methods")) == "PROVIDER_UNAVAILABLE"


async def test_a_day_is_fetched_and_compared(shop: Shop) -> None:
    for provider in PROVIDERS:
        payment = await shop.paid(provider)
        refund = await post(
            shop.client, shop.admin, f"/admin/payments/{payment}/refund", {"reason": "x", "amount": 100}
        )
        assert refund.status_code == 201
    from app.payments.queries import SettlingQueries
    from app.payments.service import providers_of

    context = shop.runner._context
    found, queries = providers_of(context.settings), SettlingQueries(context.pool)
    today = datetime.now(UTC).date()
    for provider in PROVIDERS:
        records = await found[provider].list_day(today)  # type: ignore[index]
        assert sorted(record.kind for record in records) == ["payment", "refund"]
        await queries.note_day(provider, today, records)
        path = f"/admin/payments/reconciliation?provider={provider}&day={today}"
        assert (await get(shop.client, shop.admin, path)).json()["findings"] == []
        await queries.note_day(provider, today, records[1:])
        findings = (await get(shop.client, shop.admin, path)).json()["findings"]
        assert [it["finding"] for it in findings] == ["payment_unknown_there"]
    for it in found.values():
        await it.close()
    # the days before were not fetched yet: the job does it, and finds what is not here
    assert await shop.work("reconcile-payments")
    assert await shop.db.fetchval("SELECT count(*) FROM api.provider_days WHERE day < $1", today) == 9
    sales = await get(
        shop.client, shop.admin, "/admin/payments/sales?from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"
    )
    assert sales.json()["items"][0] | {"token_value_usd": ""} == {
        "currency": "USD",
        "payments": 3,
        "gross": 5700,
        "given_back": 300,
        "net": 5400,
        "tokens_sold": 600,
        "tokens_taken_back": 30,
        "token_value_usd": "",
    }


async def test_concurrent_webhooks_settle_once(shop: Shop) -> None:
    payment = await shop.opened("stripe")
    session = shop.stripe.pay(payment)
    intent = {
        "id": session["payment_intent"],
        "amount_received": 1900,
        "currency": "usd",
        "metadata": session["metadata"],
    }
    bodies = [
        json.dumps(told).encode()
        for told in (
            stripe_event("checkout.session.completed", session),
            stripe_event("payment_intent.succeeded", intent),
            stripe_event("checkout.session.expired", session),
            stripe_event("customer.created", {}),
        )
    ]
    answers = await asyncio.gather(*(shop.hook("stripe", body, stripe_headers(body)) for body in bodies * 5))
    assert {answer.status_code for answer in answers} == {200}
    assert ((await shop.payment(payment))["status"], await shop.balance()) == ("paid", 200)


async def test_two_secrets_while_one_rotates(shop: Shop, database: Clone) -> None:
    settings = msgspec.structs.replace(
        shop.stripe.settings(database.settings()), stripe_webhook_secrets=("whsec_new", STRIPE_SECRET)
    )
    body = json.dumps(stripe_event("customer.created", {})).encode()
    async with running_client(settings) as client:
        for secret in ("whsec_new", STRIPE_SECRET):
            headers = stripe_headers(body, secret=secret)
            answer = await client.post(api("/webhooks/payment/stripe"), content=body, headers=headers)
            assert answer.status_code == 200
        several = stripe_headers(body)["Stripe-Signature"].replace(",v1=", f",v1={'0' * 64},v1=")
        answer = await client.post(api("/webhooks/payment/stripe"), content=body, headers={"Stripe-Signature": several})
        assert answer.status_code == 200


async def test_payments_of_connected_accounts_are_not_ours(shop: Shop) -> None:
    payment = await shop.opened("stripe")
    # somebody who is paid by Stripe pays themselves, with our metadata
    about = {"id": "pi_own", "amount_received": 1900, "currency": "usd", "metadata": {"payment_id": payment}}
    body = json.dumps(stripe_event("payment_intent.succeeded", about, account="acct_1MTfjCQ9PRzxEwkZ")).encode()
    answer = await shop.hook("stripe", body, stripe_headers(body))
    assert (answer.status_code, answer.json()) == (200, {"outcome": "ignored"})
    assert ((await shop.payment(payment))["status"], await shop.balance()) == ("pending", 0)


@pytest.mark.parametrize(
    ("key", "live", "kind"),
    [
        ("sk_live_1", False, "other"),
        ("rk_live_1", False, "other"),
        ("sk_live_1", True, "paid"),
        (STRIPE_KEY, False, "paid"),
    ],
)
async def test_test_money_is_none_where_the_key_is_live(key: str, live: bool, kind: str) -> None:
    stripe = Stripe(key, (STRIPE_SECRET,), "http://127.0.0.1:9")
    body = json.dumps(stripe_event("payment_intent.succeeded", {"id": "pi_1"}, livemode=live)).encode()
    fact = await stripe.verify_webhook({"stripe-signature": stripe_headers(body)["Stripe-Signature"]}, body)
    assert (fact.kind, fact.body) == (kind, body)
    await stripe.close()


@pytest.mark.parametrize(
    ("amount", "currency", "told"),
    [
        (1900, "USD", "19.00"),
        (1905, "EUR", "19.05"),
        (1900, "JPY", "1900"),
        (190_000, "HUF", "1900"),
        (100, "TWD", "1"),
    ],
)
def test_amounts_as_paypal_writes_them(amount: int, currency: str, told: str) -> None:
    assert decimal(amount, currency) == told
    assert minor(told, currency) == amount


def test_paypal_takes_no_part_of_a_forint() -> None:
    with pytest.raises(ProviderRefused):
        decimal(190_050, "HUF")


async def test_receipts_in_currencies_of_all_kinds() -> None:
    assert [money(1905, currency) for currency in ("USD", "JPY", "KWD")] == ["19.05 USD", "1905 JPY", "1.905 KWD"]


@pytest.mark.parametrize("provider", ["stripe", "paypal"])
async def test_money_that_is_under_way_has_not_failed(shop: Shop, provider: str) -> None:
    payment = await shop.opened(provider)
    if provider == "stripe":
        session = next(iter(shop.stripe.sessions.values()))
        session |= {"status": "complete", "payment_intent": f"pi_{payment}"}
    else:
        shop.paypal.approve(payment)
        assert await shop.work()  # captured
        capture = next(iter(shop.paypal.orders.values()))["purchase_units"][0]["payments"]["captures"][0]
        assert (await shop.payment(payment))["status"] == "paid"
        payment = await shop.opened(provider)
        order = shop.paypal.approve(payment)
        order["status"] = "COMPLETED"
        order["purchase_units"][0]["payments"] = {"captures": [capture | {"id": "CAP2", "status": "PENDING"}]}
    await over(shop)
    for _ in range(2):
        assert await shop.work()
        assert (await shop.payment(payment))["status"] == "pending"
    if provider == "stripe":
        session["payment_status"] = "paid"
    else:
        order["purchase_units"][0]["payments"]["captures"][0]["status"] = "COMPLETED"
    assert await shop.work()
    assert (await shop.payment(payment))["status"] == "paid"


async def over(shop: Shop) -> None:
    """Nobody can pay any more."""
    await shop.db.execute("SET session_replication_role = replica")
    await shop.db.execute("UPDATE core.payments SET expires_at = now() - interval '1 hour'")
    await shop.db.execute("RESET session_replication_role")


async def test_money_that_came_late_and_was_never_told_of(shop: Shop) -> None:
    payment = await shop.opened("paystack")
    await over(shop)
    assert await shop.work()
    assert (await shop.payment(payment))["status"] == "failed"
    shop.paystack.pay(payment)  # its page is open still
    assert await shop.work()
    assert (await shop.payment(payment))["status"] == "failed"
    assert await shop.work("reconcile-payments")
    for _ in range(2):
        assert await shop.work()
        assert ((await shop.payment(payment))["status"], await shop.balance()) == ("paid", 200)


async def test_refunds_of_paystack_without_a_name(shop: Shop) -> None:
    payment = await shop.paid("paystack")
    for amount in (190, 380):
        path = f"/admin/payments/{payment}/refund"
        assert (await post(shop.client, shop.admin, path, {"reason": "x", "amount": amount})).status_code == 201
    assert await shop.balance() == 140
    for amount in (190, 380):
        about = {"transaction_reference": payment, "refund_reference": None, "amount": str(amount), "currency": "USD"}
        body = json.dumps({"event": "refund.failed", "data": about}).encode()
        for outcome in ("applied", "repeated"):
            told = await shop.hook("paystack", body, paystack_headers(body))
            assert told.json()["outcome"] == outcome
    assert await shop.balance() == 200


async def test_two_schedulers_ask_for_each_refund_once(shop: Shop) -> None:
    payment = await shop.paid("paystack")
    for _ in range(3):
        shop.paystack.down = 1
        path = f"/admin/payments/{payment}/refund"
        assert (await post(shop.client, shop.admin, path, {"reason": "x", "amount": 190})).status_code == 201
    assert shop.paystack.refunds == []
    await shop.due()
    await asyncio.gather(*(shop.runner.run(JOBS["settle-payments"]) for _ in range(2)))
    assert len(shop.paystack.refunds) == 3
    assert await shop.balance() == 140


async def test_a_token_of_paypal_that_is_over(shop: Shop) -> None:
    await shop.opened("paypal")
    shop.paypal.token = "A22"
    assert slug(await shop.checkout("paypal")) == "PROVIDER_UNAVAILABLE"
    await shop.opened("paypal")


async def test_a_refund_is_not_made_anew_when_stripe_has_forgotten_its_key(shop: Shop) -> None:
    payment = await shop.paid("stripe")
    path = f"/admin/payments/{payment}/refund"
    shop.stripe.cut = 1
    assert (await post(shop.client, shop.admin, path, {"reason": "x", "amount": 190})).status_code == 201
    shop.stripe.refund_status = "pending"
    assert (await post(shop.client, shop.admin, path, {"reason": "x", "amount": 380})).status_code == 201
    shop.stripe.keys.clear()
    for _ in range(2):
        assert await shop.work()
    rows = await shop.db.fetch("SELECT amount, status FROM api.payment_refunds ORDER BY amount")
    assert [tuple(row) for row in rows] == [(190, "done"), (380, "pending")]
    assert sorted(refund["amount"] for refund in shop.stripe.refunds.values()) == [190, 380]
    next(it for it in shop.stripe.refunds.values() if it["amount"] == 380)["status"] = "succeeded"
    assert await shop.work()
    assert await shop.db.fetchval("SELECT count(*) FROM api.payment_refunds WHERE status = 'done'") == 2
    assert await shop.balance() == 140


async def test_a_refund_that_cannot_be_undone_waits(shop: Shop) -> None:
    payment = await shop.paid("stripe")
    path = f"/admin/payments/{payment}/refund"
    shop.stripe.down = 1
    assert (await post(shop.client, shop.admin, path, {"reason": "x"})).status_code == 201
    shop.stripe.sessions.clear()  # nothing to give back
    wallet = await shop.db.fetchval("SELECT wallet_id FROM api.wallets WHERE owner_id = $1", shop.buyer.id)
    await set_status(shop.db, wallet, "frozen")
    assert not await shop.work()
    assert await shop.db.fetchval("SELECT status FROM api.payment_refunds") == "pending"
    await set_status(shop.db, wallet, "active")
    assert await shop.work()
    assert (await shop.db.fetchval("SELECT status FROM api.payment_refunds"), await shop.balance()) == ("failed", 200)


async def test_paypal_is_not_asked_as_often_as_a_stranger_likes(shop: Shop, database: Clone) -> None:
    settings = msgspec.structs.replace(shop.paypal.settings(database.settings()), rate_limit_per_minute=6)
    body = json.dumps(paypal_event("PAYMENT.CAPTURE.COMPLETED", {})).encode()
    forged = shop.paypal.headers(b"{}")
    async with running_client(settings) as client:
        first, second = [await client.post(api("/webhooks/payment/paypal"), content=body, headers=forged) for _ in "ab"]
    assert [slug(first), slug(second)] == ["PAYMENT_SIGNATURE_INVALID", "RATE_LIMITED"]


async def test_paypal_reverses_for_a_dispute(shop: Shop) -> None:
    payment = await shop.paid("paypal")
    capture = next(iter(shop.paypal.orders.values()))["purchase_units"][0]["payments"]["captures"][0]["id"]
    about = {
        "id": "REV1",
        "amount": {"currency_code": "USD", "value": "19.00"},
        "links": [{"rel": "up", "href": f"https://api.paypal.com/v2/payments/captures/{capture}"}],
    }
    for event in (
        _dispute("paypal", payment, "open", capture),
        paypal_event("PAYMENT.CAPTURE.REVERSED", about),
        _dispute("paypal", payment, "won", capture),
    ):
        body = json.dumps(event).encode()
        assert (await shop.hook("paypal", body, shop.paypal.headers(body))).json() == {"outcome": "applied"}
    assert ((await shop.payment(payment))["status"], await shop.balance()) == ("paid", 200)
