"""`./run bench costs`: what limits, holds and sealing take from transfers, and whether sealing keeps up with them."""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import asyncpg
import click

from bench.ledger import BALANCE, PAIRS, SINGLE, WALLETS, Work, batches, note, pgbench
from bench.server import Bench, Connection, bench_server, database, fund, machine, spread

BATCHES = Work(500, "uniform", 8)
PLAIN, LIMIT, LIMITS, HOLDS, SEALED = (
    "nothing set",
    "one velocity limit",
    "all six velocity limits",
    "an open hold each",
    "sealed meanwhile",
)
SEAL = "SELECT count(*), sum(s.transfers)::bigint FROM api.seal_entries(p_margin => $1) AS s"
NO_MARGIN = timedelta(0)
EVERY_SECONDS = 1.0
KEEPS_UP = 1.0


async def set_limit(connection: Connection) -> None:
    """The amount of a day, too high to refuse anything."""
    await connection.execute("SELECT api.set_rate('velocity_amount_day', 100000000000)")


async def set_limits(connection: Connection) -> None:
    """All six limits, too high to refuse anything."""
    for what in ("amount", "count"):
        for window in ("minute", "hour", "day"):
            await connection.execute("SELECT api.set_rate($1, 100000000000)", f"velocity_{what}_{window}")


async def place_holds(connection: Connection) -> None:
    """One open hold in each user's wallet."""
    await connection.execute(
        "SELECT api.place_hold(w.id, 1, interval '300 days') FROM core.wallets AS w WHERE w.purpose = 'user'"
    )


async def seal_all(connection: Connection) -> tuple[int, float]:
    """Transfers sealed until nothing is left, and the seconds it took."""
    started, sealed = time.perf_counter(), 0
    await connection.fetchrow(SEAL, NO_MARGIN)
    while blocks := await connection.fetchrow(SEAL, NO_MARGIN):
        if blocks[0] == 0:
            break
        sealed += blocks[1]
    return sealed, time.perf_counter() - started


async def _seal(url: str, stop: Any) -> tuple[int, float]:
    connection = await asyncpg.connect(url)
    sealed, busy = 0, 0.0
    try:
        while not stop.is_set():
            done, seconds = await seal_all(connection)
            sealed, busy = sealed + done, busy + seconds
            await asyncio.sleep(max(0.0, EVERY_SECONDS - seconds))
    finally:
        await connection.close()
    return sealed, busy


def _sealer(url: str, stop: Any, out: Any) -> None:
    out.put(asyncio.run(_seal(url, stop)))


class Sealing:
    """A process that seals as the scheduler does, more often, while something else is measured."""

    def __init__(self, bench: Bench, name: str) -> None:
        context = multiprocessing.get_context("fork")
        self._stop, self._out = context.Event(), context.Queue()
        self._process = context.Process(target=_sealer, args=(bench.url_of(name), self._stop, self._out))

    def __enter__(self) -> Sealing:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.sealed, self.busy = self._out.get(timeout=300)
        self._process.join()


def both(bench: Bench, name: str, seconds: float) -> tuple[float, float]:
    """Transfers a second in batches, and one by one."""
    pair = PAIRS["uniform"].format(wallets=WALLETS, last=WALLETS - 1)
    return (
        batches(bench, name, BATCHES, seconds),
        pgbench(bench, name, 8, seconds, "prepared", pair + SINGLE["prepared"]),
    )


@click.command()
@click.option("--seconds", default=5.0, show_default=True, help="Length of one measurement.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; a round's measurements follow each other.")
@click.option("--quick", is_flag=True, help="One short round: shows that it works, measures nothing.")
@click.option("--assert", "assert_", is_flag=True, help="Exit with 1 if sealing does not keep up.")
def command(seconds: float, rounds: int, quick: bool, assert_: bool) -> None:
    """Transfers a second with velocity limits, with holds and while they are sealed, against none of that."""
    if quick:
        seconds, rounds = 1.0, 1
    click.echo(f"{machine()}; {rounds} rounds of {seconds:g} s each; 20,000 wallets, 8 connections")
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        bench = stack.enter_context(bench_server())
        names = {title: stack.enter_context(database(bench)) for title in (PLAIN, LIMIT, LIMITS, HOLDS, SEALED)}

        async def load(connection: Connection) -> None:
            await fund(connection, WALLETS, WALLETS, BALANCE)

        for name in names.values():
            bench.on(name, load)
        bench.on(names[LIMIT], set_limit)
        bench.on(names[LIMITS], set_limits)
        bench.on(names[HOLDS], place_holds)
        bench.on(names[SEALED], seal_all)
        shares = []
        for _ in range(rounds):
            for title in (PLAIN, LIMIT, LIMITS, HOLDS):
                _note(rates, title, both(bench, names[title], seconds))
            with Sealing(bench, names[SEALED]) as sealing:
                _note(rates, SEALED, both(bench, names[SEALED], seconds))
            shares.append(sealing.busy / (2 * seconds))
            bench.on(names[SEALED], seal_all)
            # what the batches left unsealed in the plain database, sealed by itself
            sealed, took = bench.on(names[PLAIN], seal_all)
            note(rates, "sealing alone", sealed / took)

        async def check(connection: Connection) -> int:
            return len(
                await connection.fetch("SELECT FROM api.verify_seals() UNION ALL SELECT FROM api.audit_ledger()")
            )

        violations = sum(bench.on(name, check) for name in names.values())
    report(rates, shares)
    alone = statistics.median(a / b for a, b in zip(rates["sealing alone"], rates[f"{PLAIN}, batches"], strict=True))
    verdict = "met" if alone >= KEEPS_UP and not violations else "MISSED"
    click.echo(f"sealing alone, × rate of batches   {alone:5.2f}   target ≥ {KEEPS_UP:g}   {verdict}")
    click.echo(f"broken invariants and seals: {violations}")
    if assert_ and verdict == "MISSED":
        raise SystemExit(1)


def _note(rates: dict[str, list[float]], title: str, found: tuple[float, float]) -> None:
    note(rates, f"{title}, batches", found[0])
    note(rates, f"{title}, singles", found[1])


def report(rates: dict[str, list[float]], shares: list[float]) -> None:
    """The table: each against the plain measurement of its round."""
    for title, values in rates.items():
        base = rates[f"{PLAIN}, singles" if title.endswith("singles") else f"{PLAIN}, batches"]
        ratio = statistics.median(a / b for a, b in zip(values, base, strict=True))
        click.echo(f"{title:<28} {spread(values):>26}/s   {ratio:5.2f}")
    click.echo(f"share of the time that the sealer was at work: {statistics.median(shares):.2f}")
