"""Outgoing webhooks (docs/webhooks.md): events become deliveries, deliveries are sent, old ones go."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import cache
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from app.webhooks.sender import Message, Result, Sender
from scheduler.metrics import (
    WEBHOOK_ATTEMPTS,
    WEBHOOK_DELIVERIES,
    WEBHOOK_LAG,
    WEBHOOK_POSITIONS_LOST,
    WEBHOOK_SECONDS,
    WEBHOOK_WAITING,
)
from scheduler.registry import JobContext, Outcome, drain, job

TURN_SECONDS = 0.9
"""A turn lasts until just before the next one."""
POLL_SECONDS = 0.2
CURSORS = 200
EVENTS = 100
"""At most so many channels, with so many events of each, in one transaction."""
PASSES = 50
"""At most so many times over all endpoints a look: what is left is due again in a moment."""
AT_ONCE = 256
"""Deliveries that one process has on their way."""
LEASE = 64
"""Deliveries that are taken in one transaction."""
LEASE_SECONDS = 60
"""Far longer than an attempt can take."""
TELL_TIMES = 5
"""How often the database is told of an attempt, a second apart; else the lease ends, and it is sent again."""
PRUNE = 1000
PRUNES = 100

LEASED = "SELECT * FROM api.lease_webhooks($1, make_interval(secs => $2))"
FINISHED = "SELECT api.finish_webhook($1, $2, $3, $4, $5, $6, $7)"
POSITION = "SELECT r.epoch, r.entries FROM api.relay_state AS r"

log = structlog.get_logger("tessera.scheduler")


@job("fan-webhooks", every_seconds=1, first_after_seconds=2, timeout_seconds=300)
async def fan_webhooks(context: JobContext) -> int:
    """Make deliveries of events that the relay has put into channels, for the endpoints that want them."""
    until = time.monotonic() + TURN_SECONDS
    seen: Any = None
    made = 0
    while True:
        position = await context.pool.fetchrow(POSITION)
        if position != seen:
            made += await _fan(context)
            seen = position
        left = until - time.monotonic()
        if left <= 0:
            return made
        await asyncio.sleep(min(left, POLL_SECONDS))


async def _fan(context: JobContext) -> int:
    """Go over all endpoints until none is behind; how many deliveries that made."""
    made = 0
    for _ in range(PASSES):
        after: UUID | None = None
        moved = 0
        while True:
            row = await context.pool.fetchrow("SELECT * FROM api.fan_webhooks($1, $2, $3)", after, CURSORS, EVENTS)
            assert row is not None
            after = row["last_endpoint"]
            if after is None:
                break
            moved += row["events"] + row["lost"]
            made += row["deliveries"]
            WEBHOOK_DELIVERIES.inc(row["deliveries"])
            if row["lost"]:
                WEBHOOK_POSITIONS_LOST.inc(row["lost"])
                log.warning("webhook_positions_lost", positions=row["lost"])
        if not moved:
            break
    return made


@cache
def _sender(development: bool) -> Sender:
    """One for the process."""
    return Sender(development=development)


@job("send-webhooks", every_seconds=1, first_after_seconds=2, timeout_seconds=60)
async def send_webhooks(context: JobContext) -> Outcome:
    """Send the deliveries that are due. Those on their way go on beside the next turns: a slow one delays nobody."""
    until = time.monotonic() + TURN_SECONDS
    sent = 0
    while True:
        room = min(LEASE, AT_ONCE - len(context.going))
        rows = await context.pool.fetch(LEASED, room, LEASE_SECONDS) if room > 0 else []
        if rows:
            # at the first time it loads certificates, and metering does not wait
            sender = await asyncio.to_thread(_sender, not context.settings.production)
            for row in rows:
                context.start(_deliver(context, sender, row))
        sent += len(rows)
        left = until - time.monotonic()
        if left <= 0:
            break
        if not rows:
            await asyncio.sleep(min(left, POLL_SECONDS))
    lag = await context.pool.fetchrow("SELECT * FROM api.webhook_lag()")
    assert lag is not None
    seconds = lag["lag"].total_seconds() if lag["lag"] is not None else 0.0
    WEBHOOK_LAG.set(seconds)
    WEBHOOK_WAITING.set(lag["waiting"])
    return Outcome(sent, seconds)


async def _deliver(context: JobContext, sender: Sender, row: asyncpg.Record) -> None:
    message = Message(row["delivery_id"], row["url"], row["secrets"], row["type"], row["event_at"], row["payload"])
    result = await sender.send(message)
    WEBHOOK_SECONDS.observe(result.duration_ms / 1000)
    outcome = await _tell(context, row, result)
    WEBHOOK_ATTEMPTS.labels(outcome).inc()
    log.info(
        "webhook_attempt",
        delivery=str(row["delivery_id"]),
        endpoint=str(row["endpoint_id"]),
        attempt=row["attempt"],
        outcome=outcome,
        status=result.status,
        error=result.error,
        duration_ms=result.duration_ms,
    )


async def _tell(context: JobContext, row: asyncpg.Record, result: Result) -> str:
    """Note what came of an attempt; unknown when the database is not to be had."""
    for number in range(TELL_TIMES):
        if number:
            await asyncio.sleep(1)
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            outcome: str = await context.pool.fetchval(
                FINISHED,
                row["delivery_id"],
                row["attempt"],
                result.status,
                result.error,
                result.duration_ms,
                result.answer,
                result.retry_after,
            )
            return outcome
    return "unknown"


@job("prune-webhooks", every_seconds=3600, first_after_seconds=120, timeout_seconds=300)
async def prune_webhooks(context: JobContext) -> int:
    """Delete deliveries that ended long ago, and what belongs to endpoints that were deleted."""

    async def some() -> int:
        gone: int = await context.pool.fetchval("SELECT api.prune_webhooks($1)", PRUNE)
        return gone

    return await drain(some, batches=PRUNES, full=PRUNE)
