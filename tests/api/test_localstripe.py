"""Stripe's adapters against localstripe, a Stripe that is not ours: its signatures, refunds, payment methods, payouts.

localstripe has no Checkout Sessions, no disputes and no connected accounts: those are told by tests/support.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
import pytest_asyncio

from app.payments.providers.protocol import ProviderRefused, RefundOrder
from app.payments.providers.stripe import Stripe
from app.payouts.details import StripeDetails
from app.payouts.providers import Order
from app.payouts.providers.stripe import Stripe as Payer
from tests.concurrency.test_payment_storm import api_process, free_port
from tests.support.money import balance, person
from tests.support.payments import open_payment, state
from tests.support.postgres import Clone, Connection
from tests.support.providers import STRIPE_KEY, STRIPE_SECRET, Answer, Fake, Request, running

SECONDS = 30


@pytest_asyncio.fixture
async def localstripe() -> AsyncIterator[httpx.AsyncClient]:
    """A localstripe; a client with its key."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "localstripe",
        "--from-scratch",
        "--port",
        str(port),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", auth=(STRIPE_KEY, "")) as client:
            for _ in range(SECONDS * 10):
                try:
                    await client.get("/v1/customers")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
            yield client
    finally:
        process.kill()
        await process.wait()


async def make(client: httpx.AsyncClient, path: str, **form: str) -> str:
    """A POST; the id of what was made."""
    answer = await client.post(f"/v1/{path}", data=form)
    assert answer.status_code == 200, answer.text
    name: str = answer.json()["id"]
    return name


async def test_a_payment_that_localstripe_tells_of_and_gives_back(
    localstripe: httpx.AsyncClient, database: Clone, db: Connection
) -> None:
    buyer = await person(db, "buyer")
    payment = await open_payment(db, buyer.id)
    async with api_process(database, TESSERA_STRIPE_URL=str(localstripe.base_url)) as service:
        hook = {"url": f"{service.base_url}/api/v1/webhooks/payment/stripe", "secret": STRIPE_SECRET}
        assert (await localstripe.post("/_config/webhooks/tessera", data=hook)).status_code == 200
        customer = await make(localstripe, "customers", email="buyer@example.org")
        card = {"type": "card", "card[number]": "4242424242424242", "card[exp_month]": "4", "card[exp_year]": "2030"}
        method = await make(localstripe, "payment_methods", **card, **{"card[cvc]": "123"})
        await make(localstripe, f"payment_methods/{method}/attach", customer=customer)
        intent = await make(
            localstripe,
            "payment_intents",
            amount="500",
            currency="usd",
            customer=customer,
            payment_method=method,
            confirm="true",
            **{"metadata[payment_id]": str(payment)},
        )
        for _ in range(SECONDS * 10):
            if (await state(db, payment))["status"] == "paid":
                break
            await asyncio.sleep(0.1)
    kept = await state(db, payment)
    assert (kept["status"], kept["charge"]) == ("paid", intent)
    assert await balance(db, buyer.wallet) == 50

    stripe = Stripe(STRIPE_KEY, (STRIPE_SECRET,), str(localstripe.base_url))
    listed = await stripe.methods(customer)
    assert [(it.method_id, it.brand, it.last4, it.expires) for it in listed] == [(method, "visa", "4242", "2030-04")]
    other = await make(localstripe, "customers", email="other@example.org")
    assert await stripe.remove_method(other, method) is False
    assert await stripe.remove_method(customer, method) is True
    assert await stripe.methods(customer) == []
    order = RefundOrder(
        refund_id=uuid4(),
        payment_id=payment,
        amount=200,
        tries=0,
        currency="USD",
        provider="stripe",
        reference=None,
        charge=intent,
        provider_refund=None,
        reason="late",
        replayed=False,
    )
    answer = await stripe.refund(order)
    assert (answer.status, answer.failure) == ("done", None)
    told = (await localstripe.get(f"/v1/refunds/{answer.provider_refund}")).json()
    assert (told["amount"], told["metadata"]["refund_id"]) == (200, str(order.refund_id))
    again = await stripe.refund(msgspec.structs.replace(order, tries=1))
    assert again == answer
    assert len((await localstripe.get("/v1/refunds", params={"payment_intent": intent})).json()["data"]) == 1
    with pytest.raises(ProviderRefused):
        await stripe.refund(msgspec.structs.replace(order, charge="pi_none"))
    await stripe.close()


class Connect(Fake):
    """What localstripe lacks: transfers to connected accounts, and payouts since a time. All else is localstripe's."""

    def __init__(self, behind: str) -> None:
        super().__init__()
        self.behind = behind
        self.transfers: list[dict[str, Any]] = []

    def answer(self, request: Request) -> Answer:
        if request.path.endswith("/reversals"):
            self.transfers[0]["reversed"] = True
            return 200, {"id": "trr_1"}
        if request.path == "/v1/transfers" and request.method == "POST":
            self.transfers.append({"id": "tr_1", "reversed": False} | request.form)
        if request.path == "/v1/transfers":
            return 200, self.transfers[0] if request.method == "POST" else {"data": self.transfers, "has_more": False}
        answer = httpx.request(
            request.method,
            f"{self.behind}{request.path}",
            params={name: value for name, value in request.query.items() if name != "created[gte]"},
            content=request.body,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            auth=(STRIPE_KEY, ""),
        )
        return answer.status_code, answer.json()


async def test_payouts_of_localstripe(localstripe: httpx.AsyncClient) -> None:
    async with running(lambda: Connect(str(localstripe.base_url).rstrip("/"))) as connect:
        payer = Payer(connect.url, STRIPE_KEY, SECONDS)
        details = StripeDetails(account="acct_1MTfjCQ9PRzxEwkZ")
        order = Order(uuid4(), 1_005_000, "EUR", details, None, datetime.now(UTC))
        assert (await payer.fetch(order)).state == "not_found"
        sent = await payer.send(order)
        assert (sent.state, sent.amount, sent.currency) == ("pending", 1_005_000, "EUR")
        assert await payer.fetch(order) == sent  # found by what is written on it
        order = order._replace(reference=sent.reference)
        assert await payer.fetch(order) == sent
        await make(localstripe, f"payouts/{sent.reference}", status="paid")
        assert (await payer.fetch(order)).state == "paid"
        await make(localstripe, f"payouts/{sent.reference}", status="failed", failure_code="account_closed")
        failed = await payer.fetch(order)
        assert (failed.state, failed.reason) == ("failed", "account_closed")
        assert [transfer["reversed"] for transfer in connect.transfers] == [True]
        assert len((await localstripe.get("/v1/payouts")).json()["data"]) == 1
