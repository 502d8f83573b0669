"""Processes whose clock is wrong: what is paid, and when, is the database's to say.

The API and a scheduler run with libfaketime; a second scheduler beside them has the right time.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.api.people import Person, api, register
from tests.api.test_streams import get, post
from tests.api.test_tips import fund
from tests.support.calls import BLOCKS, check_blocks
from tests.support.money import set_rate
from tests.support.postgres import Clone, Connection
from tests.support.processes import kill, schedulers, start

LIBRARY = "faketime/libfaketimeMT.so.1"
PACKAGE = "libfaketime"

CLOCKS = {
    "an hour ahead": {"FAKETIME": "+1h"},
    # The monotonic clock stays as it is: of a machine that has run for less than an hour it would be negative.
    "an hour behind": {"FAKETIME": "-1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"},
    "too fast by half": {"FAKETIME": "+0 x1.5"},
}
HOUR_SECONDS = 3600
ROUGHLY_SECONDS = 600

BLOCK_SECONDS = 1
GRACE_SECONDS = 8
LIMIT_BLOCKS, POOR_BLOCKS = 4, 3
PRICE = 10
"""Of a block, at 600 tokens a minute."""
WAIT_SECONDS = 60
READY_ATTEMPTS = 300

ENDS = {
    "capped": "time_limit",
    "poor": "insufficient_tokens",
    "unseen": "not_seen",
    "paused": "stopped",
    "rich": "stopped",
}
"""Kinds of calls, and how each ends."""


class Call(msgspec.Struct):
    """A call that was opened over HTTP."""

    id: str
    fan: Person
    creator: Person


@pytest.fixture
def library() -> str:
    """Where libfaketime is. CI must have it."""
    found = sorted(Path("/usr/lib").glob(f"*/{LIBRARY}"))
    if not found:
        if os.environ.get("CI"):
            pytest.fail(f"install the package {PACKAGE}")
        pytest.skip(f"there is no libfaketime (Debian's package {PACKAGE})")
    return str(found[0])


@asynccontextmanager
async def _serve(database: Clone, clock: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API process with a clock of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = await start(
        "api",
        "--port",
        str(port),
        DATABASE_URL=database.url("app"),
        TESSERA_TOKEN_SECRET="zq8Xv1Lm3Pk7Rw9Ty5Bn2Hs6Jd4Fg0Cx",
        TESSERA_RATE_LIMIT_AUTH_PER_MINUTE="1000",
        **clock,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            for _ in range(READY_ATTEMPTS):
                assert process.returncode is None, f"the service ended with {process.returncode}"
                try:
                    if (await client.get(api("/public/health/ready"))).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)
            yield client
        process.terminate()
        assert await asyncio.wait_for(process.wait(), WAIT_SECONDS) in (0, -signal.SIGTERM)
    finally:
        await kill(process)


class Stage:
    """Calls over HTTP, whose times are held against the database's clock."""

    def __init__(self, client: httpx.AsyncClient, db: Connection) -> None:
        self.client = client
        self.db = db
        self.calls: dict[str, Call] = {}

    async def now(self) -> datetime:
        """The database's time."""
        value: datetime = await self.db.fetchval("SELECT clock_timestamp()")
        return value

    async def told(self) -> float:
        """Seconds since 1970 by the clock of the API's process."""
        return parsedate_to_datetime((await self.client.get(api("/public/health"))).headers["date"]).timestamp()

    async def ask(self, who: Person, path: str, field: str, body: dict[str, Any] | None = None) -> Any:
        """POST; what `field` of the answer tells is a time of the database's, and of just now."""
        before = await self.now()
        answer = await post(self.client, who, path, body)
        assert answer.is_success, answer.text
        assert before <= datetime.fromisoformat(answer.json()[field]) <= await self.now()
        return answer.json()

    async def pair(self, tokens: int) -> tuple[Person, Person]:
        """A fan with tokens, and a creator."""
        fan, creator = await register(self.client), await register(self.client)
        made = await post(self.client, creator, "/dashboard/profile/creator", {"rate_per_minute": 600})
        assert made.status_code == 200, made.text
        await fund(self.db, fan, tokens)
        return fan, creator

    async def open(self, kind: str, fan: Person, creator: Person) -> None:
        """A call that is answered at once."""
        offer = await self.ask(fan, "/calls/init", "opened_at", {"creator_id": str(creator.id)})
        call = Call(offer["call_id"], fan, creator)
        accepted = await self.ask(creator, f"/calls/{call.id}/accept", "accepted_at")
        assert (accepted["status"], accepted["blocks"]) == ("active", 1)
        self.calls[kind] = call

    async def beat(self) -> None:
        """Signs of life of all but those who are never seen again."""
        while True:
            for call in [call for kind, call in self.calls.items() if kind != "unseen"]:
                answer = await post(self.client, call.fan, f"/calls/{call.id}/heartbeat")
                assert answer.status_code == 200, answer.text
            await asyncio.sleep(0.5)

    async def go_on(self) -> None:
        """A clock that stops and runs, until all calls are over that nobody has to end; then the others are ended."""
        deadline = time.monotonic() + WAIT_SECONDS
        paused = False
        waiting = {kind for kind, reason in ENDS.items() if reason != "stopped"}
        while waiting:
            assert time.monotonic() < deadline, f"not over: {waiting}"
            call = self.calls["paused"]
            act, status = ("resume", "active") if paused else ("pause", "paused")
            assert (await self.ask(call.fan, f"/billing/{call.id}/{act}", "last_seen_at"))["status"] == status
            paused = not paused
            for kind in tuple(waiting):
                call = self.calls[kind]
                if (await get(self.client, call.fan, f"/calls/{call.id}")).json()["ended_at"] is not None:
                    waiting.remove(kind)
            await asyncio.sleep(0.5)
        for kind in ("paused", "rich"):
            call = self.calls[kind]
            assert (await self.ask(call.fan, f"/calls/{call.id}/end", "ended_at"))["end_reason"] == "stopped"


@pytest.mark.parametrize(
    "clock", [clock if clock == "an hour behind" else pytest.param(clock, marks=pytest.mark.long) for clock in CLOCKS]
)
async def test_time_is_the_databases(database: Clone, db: Connection, library: str, clock: str) -> None:
    await set_rate(db, "call_block", BLOCK_SECONDS, "seconds")
    await set_rate(db, "call_grace", GRACE_SECONDS, "seconds")
    wrong = {"LD_PRELOAD": library, **CLOCKS[clock]}
    async with _serve(database, wrong) as client, schedulers(database, db, [wrong, {}]) as both:
        stage = Stage(client, db)
        began = (await stage.told(), (await stage.now()).timestamp())
        pairs = {kind: await stage.pair(POOR_BLOCKS * PRICE + 5 if kind == "poor" else 10_000) for kind in ENDS}
        beats = asyncio.create_task(stage.beat())
        for kind, pair in pairs.items():
            limit = LIMIT_BLOCKS * BLOCK_SECONDS if kind == "capped" else HOUR_SECONDS
            await set_rate(db, "call_longest", limit, "seconds")
            await stage.open(kind, *pair)
        await stage.go_on()
        beats.cancel()
        with suppress(asyncio.CancelledError):
            await beats
        ended = (await stage.told(), (await stage.now()).timestamp())
        for scheduler in both:
            await scheduler.stop()

    rows = {str(row["id"]): row for row in await db.fetch(BLOCKS)}
    blocks = {kind: rows[call.id]["blocks"] for kind, call in stage.calls.items()}
    for kind, reason in ENDS.items():
        row = rows[stage.calls[kind].id]
        check_blocks(row)
        assert row["end_reason"] == reason, kind
        assert kind == "paused" or row["active_us"] == row["lasted_us"]
        assert row["creator_balance"] == row["blocks"] * PRICE - row["platform_fees"]
    assert (blocks["capped"], blocks["poor"], blocks["unseen"]) == (LIMIT_BLOCKS, POOR_BLOCKS, 1)

    # The processes did have another time, or all of this shows nothing.
    off = began[0] - began[1]
    match clock:
        case "an hour ahead":
            assert abs(off - HOUR_SECONDS) < ROUGHLY_SECONDS
        case "an hour behind":
            assert abs(off + HOUR_SECONDS) < ROUGHLY_SECONDS
        case _:
            assert ended[0] - began[0] > (ended[1] - began[1]) * 1.2
