"""`./run bench metering`: blocks of calls paid a second against transfers, and a hundred thousand live calls."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import statistics
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import click
import msgspec
import uvloop

from bench.ledger import Work, batches
from bench.server import ID_BASE, Bench, Connection, bench_server, database, fund, machine, spread

CALLS = 20_000
BALANCE = 1_000_000
CONNECTIONS = 8
BATCH = 500
BLOCK_SECONDS = 30
METER = "SELECT blocks_paid, end_reason FROM api.meter_due_calls($1)"
LEDGER = Work(BATCH, "uniform", CONNECTIONS)

CONNECT_CALLS = """
WITH made AS (
    SELECT
        core.uuid7() AS id, g AS number,
        ('00000000-0000-7000-9000-' || ($2::bigint + g)::text)::uuid AS fan_id,
        ('00000000-0000-7000-9000-' || ($2::bigint + $1 + g)::text)::uuid AS creator_id,
        ('00000000-0000-7000-8000-' || ($2::bigint + g)::text)::uuid AS fan_wallet_id,
        ('00000000-0000-7000-8000-' || ($2::bigint + $1 + g)::text)::uuid AS creator_wallet_id,
        clock_timestamp() + $4::interval + random() * $3::numeric * interval '1 second' AS starts
    FROM generate_series(1, $1::integer) AS g
), calls AS (
    INSERT INTO core.calls (
        id, fan_id, creator_id, fan_wallet_id, creator_wallet_id, rate_per_minute, block_us, block_price, block_limit,
        opened_at, accepted_at, status
    )
    SELECT
        id, fan_id, creator_id, fan_wallet_id, creator_wallet_id, 2, ($3 * 1000000)::bigint, 1, 100000, starts, starts,
        'active'
    FROM made
), people AS (
    INSERT INTO core.call_parties (user_id, call_id)
    SELECT p.id, made.id FROM made CROSS JOIN LATERAL (VALUES (made.fan_id), (made.creator_id)) AS p (id)
)
INSERT INTO core.call_clocks (call_id, due_at, running_since, fan_seen_at, creator_seen_at)
SELECT id, starts, starts, starts, starts FROM made
"""
"""So many calls, which begin within a block's length after $4: as if they had been opened and answered one by one."""

NEXT_BLOCK = """
UPDATE core.call_clocks SET
    running_since = clock_timestamp() - blocks * $1::numeric * interval '1 second', due_at = clock_timestamp(),
    fan_seen_at = clock_timestamp()
"""
"""For all calls the next block begins now, and everybody was seen."""


async def connect_calls(connection: Connection, calls: int, block_seconds: float, after: timedelta) -> None:
    """Live calls between users 1…calls and calls + 1…2 × calls (by a superuser)."""
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(CONNECT_CALLS, calls, ID_BASE, block_seconds, after)
    await connection.execute("VACUUM (ANALYZE) core.calls, core.call_clocks, core.call_parties")


async def _meter(url: str, gate: Any, left: Any) -> tuple[int, float, int]:
    connection = await asyncpg.connect(url)
    statement = await connection.prepare(METER)
    gate.wait()
    started, paid, ended = time.perf_counter(), 0, 0
    while left.value > 0:
        rows = await statement.fetch(BATCH)
        paid += sum(row["blocks_paid"] for row in rows)
        ended += sum(row["end_reason"] is not None for row in rows)
        with left.get_lock():
            left.value -= len(rows)
    elapsed = time.perf_counter() - started
    await connection.close()
    return paid, elapsed, ended


def _worker(url: str, gate: Any, left: Any, out: Any) -> None:
    out.put(uvloop.run(_meter(url, gate, left)))


def sweep(bench: Bench, name: str) -> float:
    """Blocks a second when all calls are due at once: from the first to the last that is paid."""

    async def due(connection: Connection) -> None:
        await connection.execute(NEXT_BLOCK, BLOCK_SECONDS)
        # the bench has moved all clocks at once, which no service does: what that leaves is not metering's to clear
        await connection.execute("VACUUM core.call_clocks")

    bench.on(name, due)
    context = multiprocessing.get_context("fork")
    gate, out, left = context.Barrier(CONNECTIONS), context.Queue(), context.Value("i", CALLS)
    processes = [
        context.Process(target=_worker, args=(bench.url_of(name), gate, left, out)) for _ in range(CONNECTIONS)
    ]
    for process in processes:
        process.start()
    results = [out.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    paid = sum(paid for paid, _, _ in results)
    if paid != CALLS or any(ended for _, _, ended in results):
        raise click.ClickException(f"{paid} of {CALLS} blocks were paid")
    return float(paid / max(elapsed for _, elapsed, _ in results))


class Live(msgspec.Struct):
    """What was seen while calls were live."""

    lags: list[float] = []
    paid: list[int] = []
    beats: int = 0
    ended: int = 0


async def keep_up(url: str, calls: int, seconds: float, connections: int) -> Live:
    """Meter as the scheduler does, with signs of life of all calls every half minute; look at the lag each second."""
    seen = Live()
    pool = await asyncpg.create_pool(url, min_size=connections + 2, max_size=connections + 2)
    stop = time.perf_counter() + seconds

    async def meter() -> None:
        while time.perf_counter() < stop:
            rows = await pool.fetch(METER, BATCH)
            seen.paid.append(sum(row["blocks_paid"] for row in rows))
            seen.ended += sum(row["end_reason"] is not None for row in rows)
            if len(rows) < BATCH / 2:
                await asyncio.sleep(0.1)

    async def beat() -> None:
        people = [tuple(row) for row in await pool.fetch("SELECT id, fan_id FROM core.calls")]
        share = [people[n : n + BATCH] for n in range(0, len(people), BATCH)]
        for number in itertools.count():
            if time.perf_counter() >= stop:
                return
            await pool.fetch("SELECT count(*) FROM api.beat_calls($1::api.call_beat[])", share[number % len(share)])
            seen.beats += BATCH
            await asyncio.sleep(max(0.0, 30 / len(share) - 0.01))

    async def look() -> None:
        while time.perf_counter() < stop:
            seen.lags.append(max(0.0, (await pool.fetchval("SELECT api.meter_lag()")).total_seconds()))
            await asyncio.sleep(1)

    await asyncio.gather(*(meter() for _ in range(connections)), beat(), look())
    await pool.close()
    return seen


async def audit(connection: Connection) -> int:
    """How many invariants are broken."""
    return len(await connection.fetch("SELECT * FROM api.audit_ledger()"))


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Rounds of a sweep beside batches of transfers.")
@click.option("--seconds", default=4.0, show_default=True, help="Length of a measurement of transfers.")
@click.option("--live", default=100_000, show_default=True, help="Live calls to keep up with; 0: leave that out.")
@click.option("--minutes", default=4.0, show_default=True, help="For how long.")
@click.option("--block-seconds", default=20.0, show_default=True, help="Length of their blocks (in service: 30).")
@click.option("--quick", is_flag=True, help="One short round: shows that it works, measures nothing.")
@click.option("--json", "json_", type=click.Path(path_type=Path), help="Also write every round's rates to this file.")
@click.option("--assert", "assert_", is_flag=True, help="Exit with 1 if a target is missed.")
def command(
    rounds: int,
    seconds: float,
    live: int,
    minutes: float,
    block_seconds: float,
    quick: bool,
    json_: Path | None,
    assert_: bool,
) -> None:
    """Metering against batches of transfers (20,000 calls, all due), then live calls for minutes."""
    if quick:
        rounds, seconds, live, minutes, block_seconds = 1, 1.0, min(live, 2000), 0.25, 3.0
    click.echo(f"{machine()}; {rounds} rounds")
    rates: dict[str, list[float]] = {"transfers": [], "blocks": []}
    with bench_server() as bench:
        with database(bench) as name:

            async def load(connection: Connection) -> None:
                await fund(connection, 2 * CALLS, 2 * CALLS, BALANCE)
                await connect_calls(connection, CALLS, BLOCK_SECONDS, timedelta(0))

            bench.on(name, load)
            sweep(bench, name)
            for _ in range(rounds):
                rates["transfers"].append(batches(bench, name, LEDGER, seconds))
                rates["blocks"].append(sweep(bench, name))
            broken = bench.on(name, audit)
        seen = _live(bench, live, minutes * 60, block_seconds) if live else None
    missed = report(rates, broken, seen, live, minutes, block_seconds)
    if json_ is not None:
        json_.write_bytes(msgspec.json.encode({"machine": machine(), "rates": rates, "live": seen}))
    if assert_ and missed:
        raise SystemExit(1)


def _live(bench: Bench, calls: int, seconds: float, block_seconds: float) -> tuple[Live, int]:
    with database(bench) as name:

        async def load(connection: Connection) -> None:
            await fund(connection, 2 * calls, 2 * calls, BALANCE)
            await connect_calls(connection, calls, block_seconds, timedelta(seconds=5))

        bench.on(name, load)
        seen = uvloop.run(keep_up(bench.url_of(name), calls, seconds, 2))
        return seen, bench.on(name, audit)


def report(
    rates: dict[str, list[float]],
    broken: int,
    live: tuple[Live, int] | None,
    calls: int,
    minutes: float,
    block_seconds: float,
) -> bool:
    """Print what was found and the targets; True if one is missed."""
    click.echo(f"{LEDGER.title:<44} {spread(rates['transfers']):>26}/s")
    click.echo(f"{'meter_due_calls  500, all calls due, 8 conn.':<44} {spread(rates['blocks']):>26}/s")
    ratio = float(statistics.median(a / b for a, b in zip(rates["blocks"], rates["transfers"], strict=True)))
    goals = [("blocks / transfers", ratio, 0.7, True), ("broken invariants", float(broken), 0.0, False)]
    if live is not None:
        seen, faults = live
        lags = sorted(seen.lags)
        due = calls / block_seconds
        click.echo(
            f"{calls:,} live calls for {minutes:g} min, blocks of {block_seconds:g} s: {due:,.0f} blocks/s due, "
            f"{sum(seen.paid) / (minutes * 60):,.0f}/s paid, {seen.beats / (minutes * 60):,.0f} signs of life/s; "
            f"lag p50 {statistics.median(lags):.2f} s, p99 {lags[int(len(lags) * 0.99)]:.2f} s"
        )
        goals += [
            ("longest lag / block", max(lags) / block_seconds, 1.0, False),
            ("lag at the end, seconds", seen.lags[-1], 5.0, False),
            ("live calls that ended", float(seen.ended), 0.0, False),
            ("broken invariants, live", float(faults), 0.0, False),
        ]
    missed = False
    for title, value, bound, at_least in goals:
        met = value >= bound if at_least else value <= bound
        missed = missed or not met
        click.echo(
            f"{title:<28} {value:7.2f}   target {'≥' if at_least else '≤'} {bound:g}   {'met' if met else 'MISSED'}"
        )
    return missed
