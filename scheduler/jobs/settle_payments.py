"""Payments that wait: for an event to be applied, for their provider to be asked, for a refund to be sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from app.payments.providers.protocol import ProviderUnavailable
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
    for provider, event, seconds in await queries.due_events(EVENTS):
        settled = await queries.settle(provider, event)
        done += settled.outcome == "applied"
        lag = max(lag, seconds)
    payments, refunds = await queries.claim_payments(PAYMENTS), await queries.claim_refunds(PAYMENTS)
    if not payments and not refunds:
        return Outcome(done, lag)
    providers = providers_of(context.settings)
    settling = Settling(queries, providers)
    silent: dict[str, int] = {}
    try:
        for order in payments:
            if order.provider not in providers or silent.get(order.provider, 0) >= FAILURES:
                continue
            try:
                done += await settling.ask(order, over=datetime.now(UTC) > order.expires_at + GRACE)
            except ProviderUnavailable as exc:
                silent[order.provider] = silent.get(order.provider, 0) + 1
                log.warning("payment_not_answered", payment_id=str(order.payment_id), reason=str(exc))
        for refund in refunds:
            if refund.provider not in providers or silent.get(refund.provider, 0) >= FAILURES:
                continue
            try:
                await settling.send_refund(refund)
                done += 1
            except ProviderUnavailable as exc:
                silent[refund.provider] = silent.get(refund.provider, 0) + 1
                log.warning("refund_not_answered", refund_id=str(refund.refund_id), reason=str(exc))
    finally:
        for provider_ in providers.values():
            await provider_.close()
    return Outcome(done, lag)
