"""`./run bench ledger`: transfers inside the database against pgbench's TPC-B-like on the same server."""

from __future__ import annotations

import bisect
import itertools
import multiprocessing
import random
import re
import secrets
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal
from uuid import UUID

import asyncpg
import click
import msgspec
import uvloop

from bench.server import ID_BASE, Bench, Connection, bench_server, database, fund, machine, spread

WALLETS = 20_000
BALANCE = 1_000_000_000
SCALE = 20
PAIRS = {
    "uniform": "\\set a random(1, {wallets})\n\\set d random(1, {last})\n\\set b (:a - 1 + :d) % {wallets} + 1\n",
    "hot": "\\set b 1\n\\set a random(2, {wallets})\n",
}
"""Payer :a and payee :b of a pgbench script."""
SINGLE = {
    "simple": """\\set a :a + 100000000000
\\set b :b + 100000000000
\\set k random(1, 9000000000000000000)
SELECT * FROM api.transfer('00000000-0000-7000-8000-:a', '00000000-0000-7000-8000-:b', 1, 'TOKEN', ':k');
""",
    "prepared": """\\set a :a + 100000000000
\\set b :b + 100000000000
\\set k random(1, 9000000000000000000)
SELECT * FROM api.transfer(
    ('00000000-0000-7000-8000-' || :a)::uuid, ('00000000-0000-7000-8000-' || :b)::uuid, 1, 'TOKEN', :k::text);
""",
}
"""One transfer, by pgbench's mode: with literals, as a client without parameters sends it; prepared, where pgbench has
only numbers for parameters, with ids that the server puts together."""
PEER = "SELECT bench_transfer(:a, :b, 1);\n"
BATCH_SQL = "SELECT count(*) FILTER (WHERE error_code IS NOT NULL) FROM api.transfer_batch($1::api.transfer_request[])"
TIPS_SQL = "SELECT count(*) FILTER (WHERE error_code IS NOT NULL) FROM api.send_tips($1::api.tip_request[])"
Shape = Literal["uniform", "zipf", "hot"]


class Work(msgspec.Struct, frozen=True):
    """One measurement with batches."""

    size: int
    shape: Shape
    connections: int
    tips: bool = False

    @property
    def title(self) -> str:
        function = "send_tips" if self.tips else "transfer_batch"
        return f"{function} {self.size:>4} {self.shape:<7} {self.connections:>2} conn."


def wallet(number: int) -> UUID:
    """Id of a wallet, as bench.server.fund numbers them."""
    return UUID(f"00000000-0000-7000-8000-{ID_BASE + number}")


def user(number: int) -> UUID:
    """Id of a user, likewise."""
    return UUID(f"00000000-0000-7000-9000-{ID_BASE + number}")


def pgbench(bench: Bench, name: str, clients: int, seconds: float, mode: str, script: str | None = None) -> float:
    """Transactions a second by pgbench; without a script, its TPC-B-like."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        command = [bench.program("pgbench"), "-n", "-c", str(clients), "-j", str(min(clients, 2)), "-M", mode]
        if script is not None:
            file.write(script)
            file.flush()
            command += ["-f", file.name]
        command += ["-T", str(max(1, round(seconds))), bench.url_of(name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
    if done.returncode != 0 or found is None:
        raise click.ClickException(f"pgbench failed: {done.stderr[-2000:]}")
    return float(found[1])


def _payees(shape: Shape, rng: random.Random, count: int, creators: int) -> list[int]:
    if shape == "hot":
        return [1] * count
    if shape == "zipf":  # exponent 1: the first gets a tenth of all
        weights = list(itertools.accumulate(1 / rank for rank in range(1, creators + 1)))
        return [1 + bisect.bisect(weights, rng.random() * weights[-1]) for _ in range(count)]
    return [rng.randrange(1, creators + 1) for _ in range(count)]


def _batch(work: Work, rng: random.Random) -> list[tuple[object, ...]]:
    payees = _payees(work.shape, rng, work.size, WALLETS)
    made: list[tuple[object, ...]] = []
    for payee in payees:
        payer = rng.randrange(1, WALLETS)
        payer += payer >= payee
        key = f"{rng.getrandbits(96):x}"
        if work.tips:
            made.append((user(payer), user(payee), 1, key, None, None, None))
        else:
            made.append(
                (wallet(payer), wallet(payee), None, 1, "TOKEN", "transfer", key, None, user(payer), None, None)
            )
    return made


async def _send(url: str, work: Work, seconds: float, seed: int, gate: object) -> tuple[int, float, int]:
    rng = random.Random(seed)  # noqa: S311 - a load, no secret
    connection = await asyncpg.connect(url)
    statement = await connection.prepare(TIPS_SQL if work.tips else BATCH_SQL)
    await statement.fetchval(_batch(work, rng))
    ready = [_batch(work, rng) for _ in range(max(4, 60_000 // work.size // work.connections))]
    gate.wait()  # type: ignore[attr-defined]
    started, done, refused = time.perf_counter(), 0, 0
    for number in itertools.count():
        # when those built ahead are used up: keys must be new
        batch = ready[number] if number < len(ready) else _batch(work, rng)
        refused += await statement.fetchval(batch)
        done += work.size
        if time.perf_counter() - started >= seconds:
            break
    elapsed = time.perf_counter() - started
    await connection.close()
    return done, elapsed, refused


def _worker(url: str, work: Work, seconds: float, seed: int, gate: object, out: object) -> None:
    out.put(uvloop.run(_send(url, work, seconds, seed, gate)))  # type: ignore[attr-defined]


def batches(bench: Bench, name: str, work: Work, seconds: float) -> float:
    """Transfers a second in batches, from one process a connection. Every outcome is looked at."""
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(work.connections)
    out = context.Queue()
    seeds = [secrets.randbits(60) for _ in range(work.connections)]
    processes = [
        context.Process(target=_worker, args=(bench.url_of(name), work, seconds, seed, gate, out)) for seed in seeds
    ]
    for process in processes:
        process.start()
    results = [out.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    if any(refused for _, _, refused in results):
        raise click.ClickException(f"{work.title}: transfers were refused")
    return float(sum(done / elapsed for done, elapsed, _ in results))


@click.command()
@click.option("--seconds", default=5.0, show_default=True, help="Length of one measurement.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; a round's measurements follow each other.")
@click.option(
    "--full", is_flag=True, help="All sizes (1, 10, 100, 1000), shapes (uniform, zipf, hot), connections (1, 8, 32)."
)
@click.option("--quick", is_flag=True, help="One short round: shows that it works, measures nothing.")
@click.option("--json", "json_", type=click.Path(path_type=Path), help="Also write every round's rates to this file.")
@click.option("--assert", "assert_", is_flag=True, help="Exit with 1 if a target is missed.")
@click.option(
    "--peer-sql",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="Another ledger to run the same way. May be repeated: files of one ledger, in order.",
)
def command(
    seconds: float, rounds: int, full: bool, quick: bool, json_: Path | None, assert_: bool, peer_sql: tuple[Path, ...]
) -> None:
    """Transfers a second over 20,000 wallets, as a ratio to pgbench's TPC-B-like in the same round.

    The files of --peer-sql are loaded with psql into a database of its own. They must define bench_setup(n integer),
    which makes n accounts numbered from 1 with plenty of money, and bench_transfer(a integer, b integer, amount
    bigint). bench/peers has that for other ledgers, to be given after their own files.
    """
    if quick:
        seconds, rounds = 1.0, 1
    works = [Work(500, "uniform", 8), Work(500, "hot", 8), Work(500, "uniform", 8, True), Work(500, "hot", 8, True)]
    if full:
        shapes: tuple[Shape, ...] = ("uniform", "zipf", "hot")
        works += [Work(*one) for one in itertools.product((1, 10, 100, 1000), shapes, (1, 8, 32))]
    click.echo(f"{machine()}; {rounds} rounds of {seconds:g} s each; TPC-B-like at scale {SCALE}")
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        bench = stack.enter_context(bench_server())
        ours, tpcb = stack.enter_context(database(bench)), stack.enter_context(database(bench, migrated=False))

        async def load(connection: Connection) -> None:
            await fund(connection, WALLETS, WALLETS, BALANCE)

        bench.on(ours, load)
        subprocess.run(
            [bench.program("pgbench"), "-i", "-q", "-s", str(SCALE), bench.url_of(tpcb)],
            check=True,
            capture_output=True,
        )
        peer = stack.enter_context(database(bench, migrated=False)) if peer_sql else None
        if peer is not None:
            load_peer(bench, peer, peer_sql)
        for _ in range(rounds):
            one_round(bench, ours, tpcb, peer, works, seconds, rates)

        async def audit(connection: Connection) -> int:
            return len(await connection.fetch("SELECT * FROM api.audit_ledger()"))

        violations = bench.on(ours, audit)
    missed = report(rates, violations)
    if json_ is not None:
        json_.write_bytes(msgspec.json.encode({"machine": machine(), "seconds": seconds, "rates": rates}))
    if assert_ and missed:
        raise SystemExit(1)


def one_round(
    bench: Bench,
    ours: str,
    tpcb: str,
    peer: str | None,
    works: list[Work],
    seconds: float,
    rates: dict[str, list[float]],
) -> None:
    """Every measurement once."""
    pairs = {shape: text.format(wallets=WALLETS, last=WALLETS - 1) for shape, text in PAIRS.items()}
    counts = sorted({work.connections for work in works})
    for clients, mode in itertools.product(counts, ("simple", "prepared")):
        note(rates, baseline(clients, mode), pgbench(bench, tpcb, clients, seconds, mode))
        note(
            rates, single(clients, mode), pgbench(bench, ours, clients, seconds, mode, pairs["uniform"] + SINGLE[mode])
        )
    for work in works:
        note(rates, work.title, batches(bench, ours, work, seconds))
    if peer is not None:
        for shape, pair in pairs.items():
            for name, base, script in (("peer", peer, PEER), ("api.transfer", ours, SINGLE["prepared"])):
                rate = pgbench(bench, base, 8, seconds, "prepared", pair + script)
                note(rates, f"{name} beside a peer, {shape}, 8 conn.", rate)


def baseline(clients: int, mode: str) -> str:
    """Title of pgbench's own measurement."""
    return f"TPC-B-like {clients:>2} conn., {mode}"


def single(clients: int, mode: str) -> str:
    """Title of a measurement of single transfers."""
    return f"api.transfer {clients:>2} conn., {mode}"


def base_of(title: str) -> str:
    """The baseline with the same connections and, of pgbench's modes, the same; batches are prepared."""
    found = re.search(r"(\d+) conn\.", title)
    return baseline(int(found[1]) if found else 8, "simple" if title.endswith("simple") else "prepared")


def load_peer(bench: Bench, name: str, files: Sequence[Path]) -> None:
    """Another ledger's SQL and its accounts."""
    psql = [bench.program("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-d", bench.url_of(name)]
    for file in files:
        subprocess.run([*psql, "-f", str(file)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        [*psql, "-c", f"SELECT bench_setup({WALLETS})", "-c", "VACUUM ANALYZE"], check=True, capture_output=True
    )


def note(rates: dict[str, list[float]], title: str, rate: float) -> None:
    """Keep one measurement."""
    rates.setdefault(title, []).append(rate)


def report(rates: dict[str, list[float]], violations: int) -> bool:
    """Print the table and the targets; True if one is missed."""

    def ratio(title: str, base: str) -> float:
        return float(statistics.median(a / b for a, b in zip(rates[title], rates[base], strict=True)))

    for title, values in rates.items():
        base = base_of(title)
        click.echo(f"{title:<38} {spread(values):>26}/s   {ratio(title, base):5.2f} × {base}")
    goals = [
        ("batches of 500, uniform, 8 connections", Work(500, "uniform", 8).title, 3.0),
        ("batches of 500, one hot creator", Work(500, "hot", 8).title, 4.0),
        ("single transfers, pgbench's default mode", single(8, "simple"), 1.1),
    ]
    missed = violations > 0
    for text, title, bound in goals:
        # pgbench's default mode, as whoever says "pgbench's TPC-B-like" runs it; the stronger baseline beside it
        value = ratio(title, baseline(8, "simple"))
        same = ratio(single(8, "prepared") if title == single(8, "simple") else title, baseline(8, "prepared"))
        missed = missed or value < bound
        verdict = "met" if value >= bound else "MISSED"
        click.echo(f"{text:<42} {value:5.2f} × ({same:.2f} × prepared)  target ≥ {bound:g}   {verdict}")
    click.echo(f"broken invariants: {violations}")
    return missed
