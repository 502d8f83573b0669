"""Payouts on their way: told to their providers once, asked about until they are settled (docs/payouts.md).

No transaction is open while a provider is spoken to. What a run leaves behind when it dies anywhere is due again when
its lease is over, and then the provider is asked, not told.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import structlog

from app.core.vault import Sealed, Vault, VaultError
from app.payouts.details import open_details
from app.payouts.providers import Order, Report, provider_of
from scheduler.metrics import PAYOUT_LAG, PAYOUT_REPORTS, PAYOUT_TOKENS, PAYOUTS
from scheduler.registry import JobContext, Outcome, Record, drain, job

RUN = 100
"""At most this many payouts a run; the rest is due again in a moment."""
MARGIN_SECONDS = 10
LONGEST_SECONDS = 3600
DOUBLINGS = 8

CLAIM = "SELECT * FROM api.claim_payout($1)"
SETTLE = "SELECT api.settle_payout($1, $2)"
FAIL = "SELECT api.fail_payout($1, $2, $3)"
NOTE = "SELECT api.note_payout($1, $2, $3, $4, $5, $6, $7, $8)"
LAG = "SELECT * FROM api.payout_lag()"

log = structlog.get_logger("tessera.scheduler")


@job("send-payouts", every_seconds=3, timeout_seconds=600)
async def send_payouts(context: JobContext) -> Outcome:
    """Hand payouts to their providers, and ask about those that are not settled."""
    vault = Vault(context.settings)
    speak_seconds = 2 * context.settings.payout_timeout_seconds
    lease = timedelta(seconds=speak_seconds + MARGIN_SECONDS)

    async def one() -> int:
        claimed = time.monotonic()
        task = await context.pool.fetchrow(CLAIM, lease)
        assert task is not None
        if task["payout_id"] is None:
            return 0
        if task["action"] in ("send", "ask"):
            report = await _report(context, vault, task, claimed, speak_seconds)
            PAYOUT_REPORTS.labels(task["provider"], report.state).inc()
            await _note(context, task, report)
        context.wake.set()
        return 1

    done = await drain(one, batches=RUN)
    lag = await context.pool.fetchrow(LAG)
    assert lag is not None
    for status in ("requested", "held", "processing", "unknown"):
        PAYOUTS.labels(status).set(lag[status])
    PAYOUT_TOKENS.set(lag["tokens"])
    seconds = lag["lag"].total_seconds() if lag["lag"] is not None else 0.0
    PAYOUT_LAG.set(seconds)
    return Outcome(done, seconds)


async def _report(context: JobContext, vault: Vault, task: Record, claimed: float, seconds: float) -> Report:
    """What the provider says, or why it was not asked."""
    provider = provider_of(task["provider"], context.settings)
    if provider is None:
        return Report("not_sent" if task["action"] == "send" else "unknown", reason="not_configured")
    try:
        details = open_details(
            vault, Sealed(task["key_id"], task["details"]), task["account_id"], task["user_id"], task["provider"]
        )
    except VaultError as exc:
        log.error("payout_account_does_not_open", account_id=str(task["account_id"]), reason=str(exc))
        return Report("not_sent" if task["action"] == "send" else "unknown", reason="does_not_open")
    order = Order(
        task["payout_id"],
        task["payout_amount"],
        task["currency"],
        details,
        task["provider_reference"],
        task["sending_at"],
    )
    if time.monotonic() - claimed > MARGIN_SECONDS / 2:
        return Report("not_sent" if task["action"] == "send" else "unknown", reason="too_slow")
    try:
        async with asyncio.timeout(seconds):
            return await (provider.send(order) if task["action"] == "send" else provider.fetch(order))
    except TimeoutError:
        return Report("unknown", reason="timeout")


async def _note(context: JobContext, task: Record, report: Report) -> None:
    """Settle what is certain; the rest is due again, later each time."""
    payout, odd = task["payout_id"], False
    if report.state in ("pending", "paid") and report.amount is not None:
        odd = (report.amount, report.currency) != (task["payout_amount"], task["currency"])
    wait = min(context.settings.payout_retry_seconds * 2 ** min(task["attempts"] - 1, DOUBLINGS), LONGEST_SECONDS)
    noted = await context.pool.fetchval(
        NOTE,
        payout,
        task["lease"],
        report.state,
        timedelta(seconds=wait),
        report.reference,
        report.amount,
        report.currency,
        report.reason,
    )
    if odd:
        log.error("payout_amount_differs", payout_id=str(payout), provider=task["provider"], reference=report.reference)
    elif report.state == "paid" and task["status"] == "processing":
        await context.pool.execute(SETTLE, payout, report.reference)
    elif report.state == "failed" and noted:
        reason = "reversed" if task["status"] == "paid" else report.reason or "refused"
        await context.pool.execute(FAIL, payout, reason, report.reference)
