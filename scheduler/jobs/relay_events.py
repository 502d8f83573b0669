"""Events on their way to those who follow a channel (docs/relay.md)."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

import structlog

from scheduler.metrics import RELAY_BACKLOG, RELAY_EVENTS, RELAY_LAG
from scheduler.registry import JobContext, Outcome, job

HINTS = "tessera_outbox"
"""Whoever has committed events may NOTIFY this, outside of the transaction that wrote them."""
TURN_SECONDS = 0.9
"""A turn lasts until just before the next one."""
POLL_SECONDS = 0.1
"""How often it looks without any hint…"""
AGE = timedelta(seconds=0.15)
"""… and then for events that are older than this: younger ones are relayed by the process that wrote them."""
PAUSE_SECONDS = 0.05
"""Between two turns, at least, whoever hints."""
NOW = timedelta()
CHUNK = 5000
CHUNKS = 200
"""At most this many transactions before the lag is looked at again."""

log = structlog.get_logger("tessera.scheduler")


@job("relay-events", every_seconds=1, first_after_seconds=0, timeout_seconds=600)
async def relay_events(context: JobContext) -> Outcome:
    """Give committed events their numbers in their channels: at a hint, or when it is time to look."""

    def hinted(*_: object) -> None:
        context.wake.set()

    relayed = 0
    until = time.monotonic() + TURN_SECONDS
    async with context.pool.acquire() as connection:
        # cutting a very large backlog takes long; only the job's own timeout ends it. The pool undoes both.
        await connection.execute("SET statement_timeout = 0")
        await connection.add_listener(HINTS, hinted)

        async def turn(age: timedelta) -> int:
            """What is there, and a backlog to its end. What comes meanwhile waits: together it costs less."""
            events = 0
            for _ in range(CHUNKS):
                row = await connection.fetchrow("SELECT * FROM api.relay_events($1, true, $2)", CHUNK, age)
                assert row is not None
                RELAY_EVENTS.inc(row["events"])
                events += row["events"]
                if not row["more"]:
                    break
            return events

        try:
            while True:
                woken = context.wake.is_set()
                context.wake.clear()
                relayed += await turn(NOW if woken else AGE)
                await asyncio.sleep(PAUSE_SECONDS)
                left = until - time.monotonic()
                if left <= 0:
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, POLL_SECONDS)):
                        await context.wake.wait()
            lag: Any = await connection.fetchrow("SELECT * FROM api.relay_lag()")
        finally:
            if not connection.is_closed():
                await connection.remove_listener(HINTS, hinted)
    seconds = max(lag["lag"].total_seconds(), 0.0) if lag["lag"] is not None else 0.0
    RELAY_LAG.set(seconds)
    RELAY_BACKLOG.set(lag["backlog"])
    return Outcome(relayed, seconds)


@job("keep-channel-events", every_seconds=3600, first_after_seconds=20, timeout_seconds=60)
async def keep_channel_events(context: JobContext) -> int:
    """Make the partitions of the coming days, and drop those whose events are kept no longer."""
    dropped = await context.pool.fetchval("SELECT api.keep_channel_events()")
    if dropped:
        log.info("channel_events_dropped", partitions=list(dropped))
    return len(dropped)
