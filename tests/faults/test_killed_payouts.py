"""Three schedulers, each killed again and again while it hands payouts to providers that lose answers: paid once each.

20 payouts and 2 kills of each scheduler; with TESSERA_TEST_EFFORT above 1 fifteen times as many payouts, and 12 kills.
"""

from __future__ import annotations

import asyncio
import os
import random
from uuid import UUID

from app.settings import Settings
from tests.conftest import Connect
from tests.support.money import Person, balance, person
from tests.support.payers import payers_at_work
from tests.support.payouts import ask, clearing, no_reviews, rate, real_account
from tests.support.postgres import Clone, Connection
from tests.support.processes import Scheduler, kill, schedulers

FULL = int(os.environ.get("TESSERA_TEST_EFFORT", "1")) > 1
PAYOUTS, KILLS = (300, 12) if FULL else (20, 2)
SCHEDULERS = 3
AMOUNT = 1000
LOSE = 0.15
"""Share of requests that are dropped, or whose answer is."""
SLOW_SECONDS = 0.3
"""How long providers take to answer."""
AIM_SECONDS = 5.0
"""A kill waits so long at most for a moment at which a provider is at work."""
WAIT_SECONDS = 180
OPEN = "SELECT count(*) FROM core.payouts WHERE status IN ('requested', 'processing')"


async def test_each_is_paid_once(database: Clone, connect: Connect, db: Connection) -> None:
    await no_reviews(db)
    await rate(db, "minimum_payout", 1)
    people: list[Person] = [await person(db, f"star{n}", tokens=AMOUNT * PAYOUTS, roles=["creator"]) for n in range(3)]
    chance = random.Random(66)  # noqa: S311 (no secret)
    at_work = 0
    async with payers_at_work() as payers:
        payers.lose, payers.slow_seconds = LOSE, SLOW_SECONDS
        settings = payers.settings(Settings())
        made = []
        for number in range(PAYOUTS):
            who = people[number % len(people)]
            provider = ("stripe", "paystack")[number // 3 % 2]
            made.append(await ask(db, who, AMOUNT + number, await _account(db, who, settings, provider)))
        watcher = await connect()

        async def torment(scheduler: Scheduler, eye: Connection) -> None:
            nonlocal at_work
            for _ in range(KILLS):
                await scheduler.connected(eye)
                for _ in range(int(AIM_SECONDS / 0.02)):
                    await asyncio.sleep(0.02)
                    if payers.in_flight:
                        break
                await asyncio.sleep(chance.uniform(0, 2 * SLOW_SECONDS))
                at_work += payers.in_flight > 0
                await kill(scheduler.process)
                await scheduler.start(eye)

        environment = payers.environment()
        async with schedulers(database, db, [environment] * SCHEDULERS, ["send-payouts"]) as running:
            await asyncio.gather(*[torment(scheduler, await connect()) for scheduler in running])
            payers.lose = 0  # each loss doubles the time until the next try
            async with asyncio.timeout(WAIT_SECONDS):
                while await watcher.fetchval(OPEN):  # noqa: ASYNC110 (other processes settle them)
                    await asyncio.sleep(0.2)
        assert at_work > 0, "none was killed while a payout was on its way"
        assert [payers.paid(payout) for payout in made] == [1] * PAYOUTS
        assert len(payers.transfers) + len(payers.paystack) == PAYOUTS
    assert await db.fetchval("SELECT count(*) FROM core.payouts WHERE status = 'paid'") == PAYOUTS
    assert await clearing(db) == 0
    left = [await balance(db, who.wallet) for who in people]
    assert sum(left) == 3 * AMOUNT * PAYOUTS - sum(AMOUNT + number for number in range(PAYOUTS))


async def _account(db: Connection, who: Person, settings: Settings, provider: str) -> UUID:
    found = await db.fetchval(
        "SELECT id FROM core.payout_accounts WHERE user_id = $1 AND provider = $2", who.id, provider
    )
    known: UUID | None = found
    return known or await real_account(db, who.id, settings, provider)
