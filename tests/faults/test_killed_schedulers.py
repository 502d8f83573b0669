"""Four schedulers, each killed again and again while calls go on: every block that is due, once, and no other.

200 calls and 3 kills of each scheduler; with TESSERA_TEST_EFFORT above 1 (`./run chaos`) 2,000 calls and 25 kills.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import Literal, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from tests.conftest import Connect
from tests.support.calls import ACCEPT, BEAT, BLOCKS, END, METER_DUE, OPEN, PAUSE, RESUME, check_blocks, one
from tests.support.money import set_fee
from tests.support.postgres import Clone, Connection
from tests.support.processes import Scheduler, kill, schedulers

FULL = int(os.environ.get("TESSERA_TEST_EFFORT", "1")) > 1
CALLS, KILLS, BLOCK_SECONDS = (2_000, 25, 2) if FULL else (200, 3, 1)
SCHEDULERS = 4
GRACE_SECONDS = 12
PRICE = 10 * BLOCK_SECONDS
"""Of a block, at 600 tokens a minute."""
SHORT_BLOCKS, POOR_BLOCKS = 6, 4
LONG_SECONDS = 3600
TOKENS = 1_000_000
FEE_BPS = 2000
LIFE_SECONDS = (0.2, 5.0)
"""How long a scheduler lives: every third time from its start (it may not get far), else from its first connection."""
AIM_SECONDS = 5.0
"""Every second kill waits so much longer at most for a moment at which the scheduler has a transaction open."""
AT_ONCE = 4
WAIT_SECONDS = 120

Kind = Literal["short", "poor", "unseen", "paused", "stopped", "rich"]
KINDS: tuple[Kind, ...] = ("short", "poor", "unseen", "paused", "stopped", "rich", "rich", "rich")
"""At their limit soon; out of tokens soon; never seen again; paused and resumed; ended meanwhile; none of that."""
ENDED_BY_SCHEDULERS = {"short": "time_limit", "poor": "insufficient_tokens", "unseen": "not_seen"}

MAKE_PEOPLE = """
WITH made AS (
    INSERT INTO core.users (email, username, display_name, roles)
    SELECT $1 || g || '@example.org', $1 || g, $1 || g, $3 FROM generate_series(0, $2::integer - 1) AS g
    RETURNING id, username
)
SELECT id FROM made ORDER BY substr(username, length($1) + 1)::integer
"""

WORKING = """
FROM pg_stat_activity AS a
WHERE
    a.usename = $1 AND a.backend_start >= $2 AND a.state = 'active'
    AND a.query LIKE '%meter_due_calls%' AND a.backend_xid IS NOT NULL
"""
"""A scheduler's connection in the middle of a transaction that has written something."""

LIVE = "SELECT id FROM core.calls WHERE ended_at IS NULL AND id = ANY ($1)"


class Opened(NamedTuple):
    """A call of the test's."""

    id: UUID
    fan: UUID
    creator: UUID
    kind: Kind


class Seen(msgspec.Struct):
    """What became of the schedulers, and how far behind they were."""

    kills: int = 0
    at_work: int = 0
    rolled_back: int = 0
    committed: int = 0
    behind: int = 0
    lag: float = 0.0
    pauses: int = 0


class Chaos:
    """Calls, four schedulers that meter them, and all that happens to both."""

    def __init__(self, database: Clone, connect: Connect, db: Connection) -> None:
        self.database = database
        self.connect = connect
        self.db = db
        self.calls: list[Opened] = []
        self.seen = Seen()
        self.random = random.Random(20240229)  # noqa: S311 (no secret)

    async def run(self) -> None:
        """From the first call to the last, with everything at rest afterwards."""
        await self._rates()
        async with schedulers(self.database, self.db, [{}] * SCHEDULERS) as four, asyncio.TaskGroup() as life:
            beats = life.create_task(self._beat())
            life.create_task(self._open_calls())
            helpers = [life.create_task(work) for work in (self._pause(), self._watch(), self._tidy())]
            async with asyncio.TaskGroup() as tormentors:
                for scheduler in four:
                    tormentors.create_task(self._torment(scheduler))
                tormentors.create_task(self._stop_some())
            await self._until_schedulers_have_ended_what_they_must()
            for helper in helpers:
                helper.cancel()
            for scheduler in four:
                await scheduler.stop()
            while await self.db.fetch(METER_DUE, 2000):
                pass
            for call in await self.db.fetch(LIVE, [call.id for call in self.calls]):
                await one(self.db, END, call["id"], None)
            beats.cancel()

    def of(self, *kinds: Kind) -> list[Opened]:
        """The calls of some kinds that were opened until now."""
        return [call for call in self.calls if call.kind in kinds]

    async def _rates(self) -> None:
        await set_fee(self.db, FEE_BPS)
        await self._rate("call_block", BLOCK_SECONDS)
        await self._rate("call_grace", GRACE_SECONDS)
        await self._rate("call_ringing", LONG_SECONDS)

    async def _rate(self, name: str, seconds: int) -> None:
        await self.db.execute(
            "INSERT INTO core.rates (name, value, unit, valid_from) VALUES ($1, $2, 'seconds', clock_timestamp())",
            name,
            seconds,
        )

    async def _open_calls(self) -> None:
        """Open and accept them all, a few at a time, while the schedulers run."""
        db = await self.connect()
        fans = [row["id"] for row in await db.fetch(MAKE_PEOPLE, "fan", CALLS, [])]
        creators = [row["id"] for row in await db.fetch(MAKE_PEOPLE, "star", CALLS, ["creator"])]
        await db.execute(
            "INSERT INTO core.creator_settings (user_id, rate_per_minute) SELECT unnest($1::uuid[]), 600", creators
        )
        people = [(kind, *pair) for kind, *pair in zip(KINDS * (CALLS // len(KINDS)), fans, creators, strict=True)]
        for rich in (False, True):
            await db.execute(
                "SELECT api.grant_tokens(f.id, $2, 'chaos') FROM unnest($1::uuid[]) AS f (id)",
                [fan for kind, fan, _ in people if (kind != "poor") is rich],
                _tokens("rich" if rich else "poor"),
            )

        async def lane(conn: Connection, waiting: list[tuple[Kind, UUID, UUID]]) -> None:
            while waiting:
                kind, fan, creator = waiting.pop()
                call = (await one(conn, OPEN, fan, creator, None))["call_id"]
                assert (await one(conn, ACCEPT, call, creator))["status"] == "active"
                self.calls.append(Opened(call, fan, creator, kind))

        lanes = [await self.connect("app") for _ in range(AT_ONCE)]
        for short in (True, False):
            await self._rate("call_longest", SHORT_BLOCKS * BLOCK_SECONDS if short else LONG_SECONDS)
            waiting = [call for call in people if (call[0] == "short") is short]
            self.random.shuffle(waiting)
            await asyncio.gather(*(lane(conn, waiting) for conn in lanes))

    async def _beat(self) -> None:
        """Signs of life of all but those who are never seen again."""
        conn = await self.connect("app")
        while True:
            there = [(call.id, call.fan) for call in self.calls if call.kind != "unseen"]
            for first in range(0, len(there), 500):
                await conn.fetch(BEAT, there[first : first + 500])
            await asyncio.sleep(1)

    async def _pause(self) -> None:
        """Clocks that stop and go on, at random."""
        conn = await self.connect("app")
        stopped: set[UUID] = set()
        while True:
            await asyncio.sleep(0.02)
            if calls := self.of("paused"):
                call = self.random.choice(calls)
                query = RESUME if call.id in stopped else PAUSE
                status = (await one(conn, query, call.id, call.fan))["status"]
                assert status == ("active" if query == RESUME else "paused")
                stopped ^= {call.id}
                self.seen.pauses += query == PAUSE

    async def _stop_some(self) -> None:
        """People who hang up, one after the other."""
        conn = await self.connect("app")
        over: set[UUID] = set()
        while len(over) < CALLS // len(KINDS) // 2:
            await asyncio.sleep(0.05)
            if calls := [call for call in self.of("stopped") if call.id not in over]:
                call = self.random.choice(calls)
                over.add(call.id)
                assert (await one(conn, END, call.id, call.creator))["end_reason"] == "stopped"

    async def _watch(self) -> None:
        conn = await self.connect("scheduler")
        while True:
            lag = (await conn.fetchval("SELECT greatest(api.meter_lag(), '0')")).total_seconds()
            self.seen.lag = max(self.seen.lag, lag)
            await asyncio.sleep(0.25)

    async def _tidy(self) -> None:
        """What autovacuum does on a server that is not thrown away."""
        conn = await self.connect()
        while True:
            await asyncio.sleep(5)
            await conn.execute("VACUUM core.call_clocks, core.wallets")

    async def _torment(self, scheduler: Scheduler) -> None:
        """Kill a scheduler at random moments, and start it again each time."""
        observer = await self.connect()
        for number in range(KILLS):
            if number % 3:
                await scheduler.connected(observer)
            await asyncio.sleep(self.random.uniform(*LIFE_SECONDS))
            aimed = number % 2 == 0
            deadline = time.monotonic() + AIM_SECONDS
            while aimed and time.monotonic() < deadline:
                if await observer.fetchval(f"SELECT count(*) {WORKING}", scheduler.login, scheduler.since):
                    break
                await asyncio.sleep(0.002)
            await self._kill(observer, scheduler)
            await scheduler.start(observer)

    async def _kill(self, observer: Connection, scheduler: Scheduler) -> None:
        """SIGKILL. Where a transaction is open its connection is cut as well every second time, which undoes it.

        Else the database may finish the statement for nobody: blocks are paid of which no scheduler ever hears.
        """
        assert scheduler.process.returncode is None, f"a scheduler ended with {scheduler.process.returncode}"
        await kill(scheduler.process)
        self.seen.kills += 1
        work = await observer.fetch(
            f"SELECT a.pid, a.backend_xid::text AS xid {WORKING}", scheduler.login, scheduler.since
        )
        self.seen.at_work += bool(work)
        self.seen.behind += await observer.fetchval("SELECT api.meter_lag() > '0'")
        if self.seen.at_work % 2 == 1:
            for row in work:
                await observer.execute("SELECT pg_terminate_backend($1, 10000)", row["pid"])
        for row in work:
            # Transaction numbers of a test's server have not wrapped round.
            status = "in progress"
            while status == "in progress":
                status = await observer.fetchval("SELECT pg_xact_status($1::text::xid8)", row["xid"])
            self.seen.rolled_back += status == "aborted"
            self.seen.committed += status == "committed"

    async def _until_schedulers_have_ended_what_they_must(self) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while len(self.calls) < CALLS or await self.db.fetch(
            LIVE, [call.id for call in self.calls if call.kind in ENDED_BY_SCHEDULERS]
        ):
            assert time.monotonic() < deadline, "calls that should be over are not"
            await asyncio.sleep(0.2)


def _tokens(kind: Kind) -> int:
    return POOR_BLOCKS * PRICE + PRICE // 2 if kind == "poor" else TOKENS


def _check(call: asyncpg.Record, kind: Kind) -> None:
    """One call, all of it over: paid is what its active time says, once."""
    blocks, active_us = call["blocks"], call["active_us"]
    check_blocks(call)
    fee = PRICE * FEE_BPS // 10_000
    assert (call["block_price"], call["billed"], call["platform_fees"]) == (PRICE, blocks * PRICE, blocks * fee)
    assert call["fan_balance"] == _tokens(kind) - call["billed"]
    assert call["creator_balance"] == call["billed"] - call["platform_fees"]
    assert kind == "paused" or active_us == call["lasted_us"]
    assert call["end_reason"] == ENDED_BY_SCHEDULERS.get(kind, "stopped")
    match kind:
        case "short":
            assert blocks == SHORT_BLOCKS
        case "poor":
            assert blocks == POOR_BLOCKS
        case "unseen":
            # Nobody was there after it was accepted: the first block is kept, the others were given back.
            assert (active_us, blocks) == (0, 1)
        case _:
            pass


async def test_schedulers_are_killed_while_calls_go_on(database: Clone, db: Connection, connect: Connect) -> None:
    chaos = Chaos(database, connect, db)
    started = time.monotonic()
    await chaos.run()
    seconds, seen = time.monotonic() - started, chaos.seen

    kinds = {call.id: call.kind for call in chaos.calls}
    rows = await db.fetch(BLOCKS)
    written = sum(row["written"] for row in rows)
    given_back = written - sum(row["kept"] for row in rows)
    print(  # the figures of ./run chaos
        f"\n{CALLS:,} calls, {written:,} blocks of {BLOCK_SECONDS} s paid, {given_back:,} given back, {seconds:.0f} s;"
        f" {seen.pauses:,} pauses; {seen.kills} kills, {seen.behind} while blocks were due, {seen.at_work} in the"
        f" middle of a transaction ({seen.rolled_back} rolled back, {seen.committed} finished for nobody);"
        f" longest lag {seen.lag:.1f} s"
    )
    assert len(rows) == CALLS == len(kinds)
    for row in rows:
        try:
            _check(row, kinds[row["id"]])
        except AssertionError as error:
            error.add_note(f"{kinds[row['id']]}: {dict(row)}")
            raise
    moved = await db.fetch("SELECT kind, count(*) AS number FROM core.transfers WHERE kind <> 'grant' GROUP BY kind")
    expected = {"call_block": written, "fee": written, "refund": 2 * given_back}
    assert {row["kind"]: row["number"] for row in moved} == {
        kind: number for kind, number in expected.items() if number
    }
    assert await db.fetch("SELECT * FROM api.audit_ledger()") == []
    assert seen.kills == SCHEDULERS * KILLS
    if FULL:  # a few kills may miss: a transaction takes milliseconds
        assert seen.at_work > 0, "no scheduler died at work: the kills show nothing"
