"""Stripe's adapter against localstripe, a Stripe that is not ours: its signatures, refunds and payment methods.

localstripe has no Checkout Sessions and no disputes: those are told by tests/support/providers.py.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import msgspec
import pytest
import pytest_asyncio

from app.payments.providers.protocol import ProviderRefused, RefundOrder
from app.payments.providers.stripe import Stripe
from tests.concurrency.test_payment_storm import api_process, free_port
from tests.support.money import balance, person
from tests.support.payments import open_payment, state
from tests.support.postgres import Clone, Connection
from tests.support.providers import STRIPE_KEY, STRIPE_SECRET

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
    with pytest.raises(ProviderRefused):
        await stripe.refund(msgspec.structs.replace(order, charge="pi_none"))
    await stripe.close()
