"""Payments that wait: for an event to be applied, for their provider to be asked, for a refund to be sent."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from app.payments.providers.protocol import Order, ProviderUnavailable, RefundOrder
from app.payments.queries import SettlingQueries
from app.payments.service import Settling, providers_of
from scheduler.registry import JobContext, Outcome, job

EVENTS = 200
PAYMENTS = 20
"""At most so many of each a run; the rest is due again in a moment."""
FAILURES = 3
"""So many requests without an answer mean that a provider is away: the rest waits."""
GRACE = timedelta(minutes=10)
"""After its end a checkout may still be told of: nobody can pay it any more only then."""

log = structlog.get_logger("tessera.scheduler")


@job("settle-payments", every_seconds=5, timeout_seconds=300)
async def settle_payments(context: JobContext) -> Outcome:
    """Apply kept events, ask about payments that stay pending, send refunds that were not confirmed.

    One that fails stops no other, and has its next turn by itself: each is claimed with the time of its next.
    """
    queries = SettlingQueries(context.pool)
    done, lag = 0, 0
    failed: Exception | None = None
    for provider, event, seconds in await queries.due_events(EVENTS):
        try:
            settled = await queries.settle(provider, event)
        except asyncpg.PostgresError as exc:
            failed = exc
            log.error("payment_event_not_applied", provider=provider, event_id=event, reason=repr(exc))
            continue
        done += settled.outcome == "applied"
        lag = max(lag, seconds)
    done += await _ask(context, queries)
    if failed is not None:
        raise failed
    return Outcome(done, lag)


async def _ask(context: JobContext, queries: SettlingQueries) -> int:
    """Ask providers what is due to be asked; how much came of it. A provider that is away is left alone for now."""
    payments, refunds = await queries.claim_payments(PAYMENTS), await queries.claim_refunds(1)
    # loading Stripe's library takes a second, and metering does not wait
    providers = await asyncio.to_thread(providers_of, context.settings) if payments or refunds else {}
    settling = Settling(queries, providers)
    silent: Counter[str] = Counter()
    refused: list[asyncpg.PostgresError] = []
    done = 0

    async def bring(order: Order | RefundOrder) -> int:
        if order.provider not in providers or silent[order.provider] >= FAILURES:
            return 0
        try:
            if isinstance(order, RefundOrder):
                await settling.send_refund(order)
                return 1
            return await settling.ask(order, over=datetime.now(UTC) > order.expires_at + GRACE)
        except ProviderUnavailable as exc:
            silent[order.provider] += 1
            log.warning("payment_not_answered", payment_id=str(order.payment_id), reason=str(exc))
        except asyncpg.PostgresError as exc:
            refused.append(exc)
            log.error("payment_not_noted", payment_id=str(order.payment_id), reason=repr(exc))
        return 0

    try:
        for order in payments:
            done += await bring(order)
        # one after the other: nobody else gets it while it is asked for, which is for less than it was claimed for
        for _ in range(PAYMENTS):
            done += sum([await bring(order) for order in refunds])
            refunds = await queries.claim_refunds(1) if refunds else []
    finally:
        for provider in providers.values():
            await provider.close()
    if refused:
        raise refused[0]
    return done
