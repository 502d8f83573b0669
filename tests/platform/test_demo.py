"""`tessera demo` against a service of processes: what it shows, and that it leaves the rates as they were."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import pytest_asyncio
from rich.console import Console

from app.commands._demo.call import RATE_SECONDS, short_blocks
from app.settings import PROJECT_ROOT, setting_names
from tests.support.commands import Ran, run_command
from tests.support.postgres import Clone, Connection

SECRET = "zq8Xv1Lm3Pk7Rw9Ty5Bn2Hs6Jd4Fg0Cx"
POLL_SECONDS = 0.1
POLLS = 600


@asynccontextmanager
async def running(*arguments: str, **settings: str) -> AsyncIterator[None]:
    """A `tessera` process, as long as it is needed."""
    kept = {name: value for name, value in os.environ.items() if name not in setting_names()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "app.cli", *arguments),
        cwd=PROJECT_ROOT,
        env=kept | settings,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


@pytest_asyncio.fixture
async def port(database: Clone) -> AsyncIterator[str]:
    """Where an API listens. No scheduler runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = str(probe.getsockname()[1])
    told = {"DATABASE_URL": database.url("app"), "TESSERA_TOKEN_SECRET": SECRET, "TESSERA_PORT": free}
    async with running("api", **told), httpx.AsyncClient() as client:
        for _ in range(POLLS):
            try:
                if (await client.get(f"http://127.0.0.1:{free}/api/v1/public/health/ready")).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            await asyncio.sleep(POLL_SECONDS)
        yield free


async def demo(database: Clone, port: str, **settings: str) -> Ran:
    """The demo, with short blocks and few tips."""
    told = {"DATABASE_URL": database.url("dba"), "TESSERA_PORT": port, **settings}
    return await run_command("demo", "--tips", "3", "--block-seconds", "1", **told)


async def rates(db: Connection) -> list[tuple[int, bool]]:
    """Every row of the rate call_block: its value, and whether it is in force."""
    rows = await db.fetch(
        "SELECT r.value, r.valid_to IS NULL OR r.valid_to > clock_timestamp() AS open FROM api.rates AS r"
        " WHERE r.name = 'call_block' ORDER BY r.valid_from"
    )
    return [(int(row["value"]), row["open"]) for row in rows]


async def test_two_demos_at_once_show_everything(database: Clone, db: Connection, port: str) -> None:
    async with running("scheduler", DATABASE_URL=database.url("scheduler")):
        for _ in range(POLLS):
            if await db.fetchval("SELECT EXISTS (SELECT FROM api.job_runs AS j WHERE j.job = 'meter-calls')"):
                break
            await asyncio.sleep(POLL_SECONDS)
        both = await asyncio.gather(demo(database, port), demo(database, port))
    for ran in both:
        assert ran.code == 0, ran.output
        assert "\x1b" not in ran.output, "nothing is drawn twice where there is no terminal"
        assert "409 SOLD_OUT" in ran.output
        watch = re.findall(r"│ (\w+) +│ (\w+) +│ (\w+) +│ (yes|no) +│", ran.output)
        assert watch == [
            ("creator", "owner", "owner", "yes"),
            ("ada", "no_ticket", "ticket_purchased", "yes"),
            ("ben", "no_ticket", "ticket_purchased", "yes"),
            ("cleo", "no_ticket", "no_ticket", "no"),
        ]
        metered = re.findall(r"^ +([\d.]+) s +(\d) +(\d+) +(\d+) +\d+  (.+)$", ran.output, re.MULTILINE)
        assert metered[0][-1] == "accepted, and block 1 is paid"
        assert metered[-1] == ("7.0", "7", "35", "2", "ended by itself: insufficient_tokens")
        paused, later = (row[:-1] for row in metered if row[-1].startswith(("paused", "3 s later")))
        assert paused == later
        steps = re.findall(r"│ [^│]+ │ (requested|held|processing|paid) +│ +(\d+) +│ +(\d+) +│", ran.output)
        assert [status for status, *_ in steps] == ["held", "requested", "processing", "paid"], ran.output
        assert [held for *_, held in steps] == [steps[0][1], steps[0][1], "0", "0"]
        assert [left for _, left, _ in steps][2:] == ["0", "0"]
        assert "every token is accounted for" in ran.output.splitlines()[-1]
    assert await rates(db) == [(30, True), (1, False), (1, False)]
    calls = await db.fetch("SELECT c.status, c.end_reason, c.blocks, c.block_ms, c.active_ms FROM api.calls AS c")
    assert [tuple(call) for call in calls] == [("ended", "insufficient_tokens", 7, 1000, 7000)] * 2
    assert await db.fetchval("SELECT count(*) FROM api.tickets") == 4
    assert await db.fetchval("SELECT count(*) FROM api.payouts AS p WHERE p.status = 'paid'") == 2
    assert await db.fetchval("SELECT count(*) FROM api.streams AS s WHERE s.status <> 'ended'") == 0


@pytest.mark.long
async def test_without_a_scheduler_it_says_what_to_start(database: Clone, db: Connection, port: str) -> None:
    ran = await demo(database, port)
    assert ran.code == 1
    assert ran.output.splitlines()[-1] == (
        "Error: nothing metered the call. Start the scheduler: ./run scheduler, or ./run up without --no-scheduler."
    )
    assert "every token is accounted for" in ran.output
    row = await db.fetchrow(
        "SELECT c.status, c.end_reason, c.blocks = ceil(c.active_ms / 1000.0) AS paid FROM api.calls AS c"
    )
    assert row is not None
    assert tuple(row) == ("ended", "insufficient_tokens", True), "hanging up paid what could be paid"
    assert await rates(db) == [(30, True), (1, False)]


@pytest.mark.long
async def test_in_production_it_leaves_the_rates_alone(database: Clone, db: Connection, port: str) -> None:
    ran = await demo(database, port, TESSERA_ENV="production", TESSERA_TOKEN_SECRET=SECRET)
    assert ran.code == 0, ran.output
    assert "In production the demo leaves the rates alone" in ran.output
    assert await rates(db) == [(30, True)]
    rows = await db.fetch("SELECT c.end_reason, c.blocks, c.block_ms FROM api.calls AS c")
    assert [tuple(row) for row in rows] == [("stopped", 1, 30_000)]


async def test_the_rate_is_put_back_whatever_happens(
    database: Clone, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database.url("dba"))

    class Stopped(BaseException):
        pass

    def interrupted() -> None:
        with pytest.raises(Stopped), short_blocks(Console(quiet=True), 2):
            raise Stopped

    await asyncio.to_thread(interrupted)
    assert await rates(db) == [(30, True), (2, False)]

    manager = short_blocks(Console(quiet=True), 3)
    await asyncio.to_thread(manager.__enter__)  # and then it is killed
    soon = "SELECT count(*) FROM api.rates AS r WHERE r.value = 3 AND r.valid_to <= now() + make_interval(secs => $1)"
    assert await db.fetchval(soon, RATE_SECONDS) == 1
    await db.execute("SELECT api.end_rate(r.rate_id) FROM api.rates AS r WHERE r.name = 'call_block' AND r.value = 3")
    await asyncio.to_thread(manager.__exit__, None, None, None)  # one that has ended by itself is left as it is
    assert await rates(db) == [(30, True), (2, False), (3, False)]
