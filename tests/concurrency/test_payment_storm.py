"""Webhooks repeated, reordered, all at once, over two API processes: each payment is settled exactly once."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.api.people import api
from tests.support import processes
from tests.support.money import balance, make_world
from tests.support.payments import open_payment, state
from tests.support.postgres import Clone, Connection
from tests.support.providers import STRIPE_KEY, STRIPE_SECRET, stripe_event, stripe_headers

AT_ONCE = 40
EVENTS = 5
COPIES = 4
READY_SECONDS = 60


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def api_process(database: Clone, **variables: str) -> AsyncIterator[httpx.AsyncClient]:
    """`tessera api` in a process of its own, ready; a client of it."""
    port = free_port()
    process = await processes.start(
        "api",
        "--port",
        str(port),
        DATABASE_URL=database.url("app"),
        TESSERA_TOKEN_SECRET="zq8Xv1Lm3Pk7Rw9Ty5Bn2Hs6Jd4Fg0Cx",
        TESSERA_RATE_LIMIT_PER_MINUTE="1000000",
        TESSERA_STRIPE_SECRET_KEY=STRIPE_KEY,
        TESSERA_STRIPE_WEBHOOK_SECRETS=STRIPE_SECRET,
        **variables,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for _ in range(READY_SECONDS * 10):
                try:
                    if (await client.get(api("/public/health/ready"))).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)
            yield client
    finally:
        await processes.kill(process)


def story(payment: UUID) -> list[dict[str, Any]]:
    """All that Stripe has to tell of a payment: paid twice over, a fifth given back, disputed, won."""
    metadata, intent = {"payment_id": str(payment)}, f"pi_{payment}"
    session = {"id": f"cs_{payment}", "payment_status": "paid", "amount_total": 500, "currency": "usd"}
    dispute = {"id": f"dp_{payment}", "amount": 500, "currency": "usd", "payment_intent": intent, "metadata": metadata}
    return [
        stripe_event("checkout.session.completed", session | {"payment_intent": intent, "metadata": metadata}),
        stripe_event(
            "payment_intent.succeeded", {"id": intent, "amount_received": 500, "currency": "usd", "metadata": metadata}
        ),
        stripe_event(
            "refund.created",
            {"id": f"re_{payment}", "amount": 100, "currency": "usd", "payment_intent": intent, "status": "succeeded"}
            | {"metadata": metadata},
        ),
        stripe_event("charge.dispute.created", dispute | {"status": "needs_response"}),
        stripe_event("charge.dispute.closed", dispute | {"status": "won"}),
    ]


@pytest.mark.parametrize("webhooks", [100, pytest.param(1000, marks=pytest.mark.long)])
async def test_each_payment_is_settled_once(database: Clone, db: Connection, webhooks: int) -> None:
    world = await make_world(db)
    buyers = [world.alice, world.bob]
    count = webhooks // (EVENTS * COPIES)
    payments = [(await open_payment(db, buyers[n % 2].id), buyers[n % 2]) for n in range(count)]
    bodies = [json.dumps(told).encode() for payment, _ in payments for told in story(payment)] * COPIES
    assert len(bodies) == webhooks
    random.Random(webhooks).shuffle(bodies)  # noqa: S311 (an order, no secret)
    room = asyncio.Semaphore(AT_ONCE)

    async def send(client: httpx.AsyncClient, body: bytes) -> str:
        async with room:
            answer = await client.post(api("/webhooks/payment/stripe"), content=body, headers=stripe_headers(body))
        assert answer.status_code == 200, answer.text
        outcome: str = answer.json()["outcome"]
        return outcome

    async with api_process(database) as one, api_process(database) as two:
        sent = (send(client, body) for client, body in zip([one, two] * (webhooks // 2), bodies, strict=True))
        outcomes = await asyncio.gather(*sent)
    assert set(outcomes) <= {"applied", "repeated", "received"}
    for row in await db.fetch("SELECT * FROM api.due_payment_events()"):
        await db.execute("SELECT * FROM api.settle_payment($1, $2)", row["provider"], row["event_id"])
    for payment, _ in payments:
        kept = await state(db, payment)
        assert (kept["status"], kept["refunded"], kept["disputed"], kept["reversed"]) == ("paid", 100, 0, 10)
    for buyer in buyers:
        own = sum(1 for _, who in payments if who == buyer)
        assert await balance(db, buyer.wallet) == 100 + 40 * own
    purchases = "SELECT count(*) FROM core.transfers WHERE kind = 'purchase'"
    assert await db.fetchval(purchases) == count
    assert await db.fetchval("SELECT count(*) FROM core.outbox WHERE type = 'payment.paid'") == count
    assert await db.fetchval("SELECT count(*) FROM core.payment_events") == count * EVENTS
