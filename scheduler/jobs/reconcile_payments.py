"""Each day of each provider, against the ledger."""

from __future__ import annotations

from datetime import date

import msgspec
import structlog

from app.payments.providers.protocol import Fact, ProviderName, ProviderRefused, ProviderUnavailable
from app.payments.queries import SettlingQueries
from app.payments.service import providers_of
from app.payments.structs import Finding
from scheduler.metrics import PAYMENT_FINDINGS
from scheduler.registry import JobContext, job

DAYS = 3
"""So far back: a provider that was away for a weekend is caught up with."""
MAX_LOGGED = 20

log = structlog.get_logger("tessera.scheduler")


@job("reconcile-payments", every_seconds=3600, first_after_seconds=120, timeout_seconds=3000)
async def reconcile_payments(context: JobContext) -> int:
    """Fetch the days that are over, and tell what does not match: a person looks at that (docs/payments.md).

    Where the provider has taken money and no tokens were given, it is asked about that payment again.
    """
    queries = SettlingQueries(context.pool)
    providers = providers_of(context.settings)
    fetched = 0
    failed: Exception | None = None
    try:
        for name, provider in providers.items():
            if name == "sandbox":
                continue  # it keeps nothing
            for day in await queries.days_to_fetch(name, DAYS):
                try:
                    await queries.note_day(name, day, await provider.list_day(day))
                except (ProviderUnavailable, ProviderRefused) as exc:
                    failed = exc
                    log.warning("day_not_fetched", provider=name, day=str(day), reason=str(exc))
                    break
                fetched += 1
                findings = await queries.reconcile(name, day)
                PAYMENT_FINDINGS.labels(name).inc(len(findings))
                for found in findings:
                    if found.finding == "payment_not_credited":
                        await queries.note_event(_look(name, day, found))
                for found in findings[:MAX_LOGGED]:
                    log.critical(
                        "payment_does_not_match",
                        provider=name,
                        day=str(day),
                        finding=found.finding,
                        payment_id=str(found.payment_id),
                        record_id=found.record_id,
                        remedy="docs/payments.md",
                    )
    finally:
        for provider in providers.values():
            await provider.close()
    if failed is not None:
        raise failed
    return fetched


def _look(provider: ProviderName, day: date, found: Finding) -> Fact:
    """A webhook was lost, or came while nothing could be given: the provider is asked once more, by settle-payments."""
    return Fact(
        provider=provider,
        event_id=f"reconcile:{found.payment_id}:{day}",
        type="reconcile",
        kind="look",
        body=msgspec.json.encode(found.detail),
        payment_id=found.payment_id,
    )
