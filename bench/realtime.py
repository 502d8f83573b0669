"""`./run bench realtime`: what the relay and sockets take from tips, delivery, fan-out, and the relay by itself."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import resource
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import click
import httpx
import msgspec

from app.settings import PROJECT_ROOT
from bench.http import Person, Target, api_server, lanes, people, run_load
from bench.ledger import WALLETS, Work, batches
from bench.loadgen import Lane, Measured
from bench.probe import Delays
from bench.probe import Plan as ProbePlan
from bench.server import Bench, Connection, bench_server, database, fund, machine, spread
from bench.sockets import Checked, Look, Plan, Seat

PARTS = ("tips", "delivery", "fanout", "relay")
CONNECTIONS = 64
SOCKETS = 200
FAN = 1000
LIGHT = 20.0
"""Tips a second, and as many echoes, of whoever measures delivery."""
HEAVY = 0.65
"""How much of the tips that it could take the server gets meanwhile."""
COMMITS = 200.0
"""Commits a second to the busy channel, each with so many tips…"""
TIPS_A_COMMIT = 5
RELAY_LIMIT = 5000
LEDGER = Work(500, "uniform", 8, tips=True)
T = TypeVar("T")
Goal = tuple[str, float, float, bool]
"""What it is, what was found, the bound, and whether that is the least (else the most)."""


class Crowd:
    """Sockets in a process of their own (bench/sockets.py)."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def ask(self, question: str, answer: type[T]) -> T:
        """What it knows."""
        assert self._process.stdin is not None
        self._process.stdin.write(question.encode() + b"\n")
        self._process.stdin.flush()
        return self.hear(answer)

    def hear(self, answer: type[T]) -> T:
        """Its next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise click.ClickException("the sockets' process has ended")
        return msgspec.json.decode(line, type=answer)

    def quiet(self, seconds: float = 30.0) -> Look:
        """When nothing has come for half a second."""
        seen = self.ask("look", Look)
        for _ in range(int(seconds * 2)):
            time.sleep(0.5)
            before, seen = seen, self.ask("look", Look)
            if seen.size == before.size:
                return seen
        raise click.ClickException("frames go on and on")


@contextmanager
def crowd(target: Target, path: str, seats: list[Seat]) -> Iterator[Crowd]:
    """Open sockets, until the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.sockets"], cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        made = Crowd(process)
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(Plan(target.port, path, seats)) + b"\n")
        process.stdin.flush()
        if made.hear(int) != len(seats):
            raise click.ClickException("not all sockets could be opened")
        yield made
    finally:
        process.kill()
        process.communicate()


@contextmanager
def scheduler(bench: Bench, name: str) -> Iterator[None]:
    """`tessera scheduler` with nothing but the relay, in a process of its own."""
    environment = {**os.environ, "DATABASE_URL": bench.url_of(name), "TESSERA_LOG_LEVEL": "error"}
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "scheduler", "--only", "relay-events"],
        cwd=PROJECT_ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
    )

    async def listens(connection: Connection) -> bool:
        found: bool = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.datname = current_database()"
            " AND a.application_name = 'tessera-scheduler')"
        )
        return found

    try:
        for _ in range(200):
            if bench.on(name, listens):
                break
            time.sleep(0.1)
        else:
            raise click.ClickException("the scheduler did not start")
        yield
    finally:
        process.terminate()
        process.wait(30)


async def relay_all(connection: Connection) -> int:
    """Relay until nothing is left; how many events that were."""
    total: int = 0
    while True:
        row = await connection.fetchrow("SELECT * FROM api.relay_events($1)", RELAY_LIMIT)
        assert row is not None
        total += row["events"]
        if not (row["busy"] or row["more"] or row["events"]):
            return total


async def audit(connection: Connection) -> int:
    """How many invariants are broken."""
    return len(await connection.fetch("SELECT * FROM api.audit_ledger()"))


def seats(fans: Sequence[Person], creators: Sequence[Person], count: int) -> list[Seat]:
    """Everybody's own channels, one person after the other, so many sockets."""
    everybody = [
        *(Seat(one.token, [f"creator:{one.id}", f"user:{one.id}"], keep=True) for one in creators),
        *(Seat(one.token, [f"user:{one.id}"], keep=True) for one in fans),
    ]
    return list(itertools.islice(itertools.cycle(everybody), count))


def processor(pid: int, *, family: bool = False) -> float:
    """Seconds of processor time that a process has used, or it and its children; NaN where the system does not tell."""

    def used(folder: Path, fields: slice) -> tuple[int, int]:
        values = (folder / "stat").read_text().rpartition(")")[2].split()
        return int(values[1]), sum(map(int, values[fields]))

    try:
        total = used(Path(f"/proc/{pid}"), slice(11, 15) if family else slice(11, 13))[1]
        for folder in Path("/proc").glob("[0-9]*") if family else ():
            with suppress(OSError):  # it has just ended
                parent, more = used(folder, slice(11, 13))
                total += more if parent == pid else 0
    except OSError:
        return math.nan
    return total / os.sysconf("SC_CLK_TCK")


async def postmaster(connection: Connection) -> int:
    """The server's first process; 0 where it is not of this machine."""
    backend: int = await connection.fetchval("SELECT pg_backend_pid()")
    return parent_of(backend)


def parent_of(pid: int) -> int:
    """The process that started it; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def at(values: Sequence[float], share: float) -> float:
    """A quantile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


# tips


def behind(bench: Bench, name: str, checked: Checked) -> int:
    """How many channels are not, for somebody who follows them, where the database says that they are."""

    async def work(connection: Connection) -> int:
        rows = await connection.fetch(
            "SELECT c.channel, p.seq FROM unnest($1::text[]) AS c (channel), api.channel_position(c.channel) AS p",
            list(checked.last),
        )
        return sum(row["seq"] != checked.last[row["channel"]] for row in rows)

    return bench.on(name, work)


def part_tips(bench: Bench, seconds: float, rounds: int) -> list[Goal]:
    """Tips a second with nothing, with the relay, and with the relay and sockets that follow who pays and gets them."""
    rates: dict[str, list[Measured]] = {"bare": [], "relay": [], "sockets": []}
    costs: dict[str, list[tuple[float, float]]] = {"bare": [], "relay": [], "sockets": []}
    shares: list[float] = []
    frames: list[float] = []
    events: list[float] = []
    faults = late = 0
    with ExitStack() as stack:
        name = stack.enter_context(database(bench))
        secret = secrets.token_urlsafe(48)
        on = stack.enter_context(api_server(bench, name, secret))
        off = stack.enter_context(api_server(bench, name, secret, factory="create_without_relay"))
        fans, creators = people(on, bench, name)
        plan = lanes("/tips/send", fans, creators, CONNECTIONS)
        for target in (on, off):
            run_load(target, plan, min(1.0, seconds))

        server = bench.on(name, postmaster)

        def load(kind: str, target: Target) -> None:
            api, data = processor(target.pid), processor(server, family=True)
            one = run_load(target, plan, seconds)
            rates[kind].append(one)
            tips = one.rate * seconds / 1000
            costs[kind].append(((processor(target.pid) - api) / tips, (processor(server, family=True) - data) / tips))

        def bare() -> None:
            load("bare", off)

        def relay() -> None:
            with scheduler(bench, name):
                load("relay", on)

        def sockets() -> None:
            nonlocal faults, late
            with scheduler(bench, name), crowd(on, "/api/v1/realtime", seats(fans, creators, SOCKETS)) as follow:
                before = follow.ask("look", Look)
                load("sockets", on)
                seen = follow.ask("look", Look).since(before)
                shares.append(seen.cpu / seen.at)
                frames.append(seen.frames / seen.at)
                follow.quiet()
                checked = follow.ask("check", Checked)
                events.append(checked.events / seen.at)
                faults += checked.faults
                late += behind(bench, name, checked)

        for number in range(rounds):
            kinds = (bare, relay, sockets) if number % 2 == 0 else (sockets, relay, bare)
            for measure in kinds:
                measure()
                bench.on(name, relay_all)
        broken = bench.on(name, audit)
    titles = {
        "bare": "tips, no relay, no sockets",
        "relay": "tips, relay (API and scheduler)",
        "sockets": f"tips, relay and {SOCKETS} sockets",
    }
    for kind, title in titles.items():
        found = rates[kind]
        p50, p99 = (statistics.median(getattr(one, what) for one in found) for what in ("p50", "p99"))
        api, data = (statistics.median(pair[n] for pair in costs[kind]) for n in (0, 1))
        click.echo(
            f"{title:<36} {spread([one.rate for one in found]):>24}/s   p50 {p50:6.1f}  p99 {p99:6.1f} ms   "
            f"processor, s per 1,000: API {api:.3f}, database {data:.3f}"
        )
    click.echo(f"{'frames to the sockets':<36} {spread(frames):>24}/s   {spread(events)} events/s")
    click.echo(f"the sockets' own process used {statistics.median(shares):.2f} of a core")
    values = {kind: [one.rate for one in found] for kind, found in rates.items()}
    each = " ".join(f"{a / b:.2f}" for a, b in zip(values["sockets"], values["bare"], strict=True))
    click.echo(f"{'with relay / without':<36} {ratio(values['relay'], values['bare']):6.2f}")
    click.echo(f"{'each round with both / without':<36} {each}")
    failed = sum(n for all_ in rates.values() for one in all_ for status, n in one.statuses.items() if status != 201)
    return [
        ("tips with relay and sockets / without", ratio(values["sockets"], values["bare"]), 0.8, True),
        ("gaps, repetitions, disorder", float(faults), 0.0, False),
        ("channels whose last event did not come", float(late), 0.0, False),
        ("answers that were errors", float(failed), 0.0, False),
        ("broken invariants", float(broken), 0.0, False),
    ]


# delivery


def probe(target: Target, url: str, fan: Person, creator: Person, seconds: float) -> Delays:
    """Delays, measured by a process of its own."""
    plan = ProbePlan(target.port, seconds, LIGHT, secrets.token_hex(4), fan.token, creator.token, creator.id, url)
    done = subprocess.run(
        [sys.executable, "-m", "bench.probe"],
        cwd=PROJECT_ROOT,
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Delays)


def part_delivery(bench: Bench, seconds: float, rounds: int) -> list[Goal]:
    """From commit to socket at 20 tips a second, and while the server gets most of the tips that it can take."""
    light: list[Delays] = []
    heavy: list[Delays] = []
    loads: list[Measured] = []
    with ExitStack() as stack:
        name = stack.enter_context(database(bench))
        on = stack.enter_context(api_server(bench, name, secrets.token_urlsafe(48)))
        fans, creators = people(on, bench, name)
        plan = lanes("/tips/send", fans, creators, CONNECTIONS)
        stack.enter_context(scheduler(bench, name))
        follow = stack.enter_context(crowd(on, "/api/v1/realtime", seats(fans, creators, SOCKETS)))
        run_load(on, plan, min(1.0, seconds))
        most = run_load(on, plan, seconds).rate
        rate = HEAVY * most
        follow.quiet()
        for _ in range(rounds):
            light.append(probe(on, bench.url_of(name), fans[0], creators[0], seconds))
            with beside(on, plan, seconds + 3, rate) as load:
                time.sleep(1.0)
                heavy.append(probe(on, bench.url_of(name), fans[0], creators[0], seconds))
            loads.append(load[0])
            follow.quiet()
    click.echo(f"tips that it takes with {SOCKETS} sockets: {most:,.0f}/s; heavy load: {rate:,.0f}/s of them asked for")
    click.echo(f"heavy load, done: {spread([one.rate for one in loads])}/s")
    goals: list[Goal] = []
    for title, rows in ((f"{LIGHT:g} tips/s", light), (f"{rate:,.0f} tips/s", heavy)):
        click.echo(f"{title}, milliseconds{'p50':>31} {'p99':>28}")
        for what, text in {
            "written": "event written to frame",
            "answered": "answer received to frame",
            "echoes": "bare echo, round trip",
            "pings": "op ping, round trip",
            "tips": "tip, request to answer",
            "commits": "the least commit, flushed",
        }.items():
            p50, p99 = ([at(getattr(one, what), share) for one in rows] for share in (0.5, 0.99))
            click.echo(f"  {text:<34} {_milli(p50):>22}       {_milli(p99):>22}")
        for what in ("written", "answered"):
            value = statistics.median(at(getattr(one, what), 0.5) / at(one.echoes, 0.5) for one in rows)
            if rows is light and what == "answered":
                # who is answered knows that it is committed
                goals.append((f"p50 from commit to frame / p50 of echo, {title}", value, 10.0, False))
            else:
                click.echo(f"  {f'p50 from {what} / p50 of echo':<34} {value:22.1f}")
        goals.append((f"lost, {title}", float(sum(one.lost for one in rows)), 0.0, False))
    goals.append(
        ("p99 from written under load, ms", statistics.median(at(one.written, 0.99) for one in heavy), 250.0, False)
    )
    return goals


def _milli(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


@contextmanager
def beside(target: Target, plan: list[Lane], seconds: float, rate: float) -> Iterator[list[Measured]]:
    """A load beside what is done inside; its result afterwards."""
    done: list[Measured] = []
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(run_load, target, plan, seconds, rate)
        yield done
        done.append(future.result())


# fan-out


async def _produce(connection: Connection, stream: str, fans: Sequence[str], creator: str, seconds: float) -> int:
    """Tips to a stream, committed a few at a time at an even pace, each commit relayed at once."""
    started, run = time.perf_counter(), secrets.token_hex(4)
    for number in itertools.count():
        due = number / COMMITS
        if due >= seconds:
            return number * TIPS_A_COMMIT
        wait = started + due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        tips = [
            (fans[(number + n) % len(fans)], creator, 1, f"{run}-{number}-{n}", "bravo", stream, None)
            for n in range(TIPS_A_COMMIT)
        ]
        await connection.fetch("SELECT error FROM api.send_tips($1::api.tip_request[])", tips)
        await connection.execute("SELECT api.relay_events(p_backlog => false)")
    raise AssertionError


def part_fanout(bench: Bench, seconds: float, rounds: int) -> list[Goal]:
    """Frames a second of one busy channel to a thousand sockets, beside the same frames sent in a bare loop."""
    ours: list[float] = []
    bare: list[float] = []
    sizes: list[float] = []
    events: list[float] = []
    cpus: list[tuple[float, float]] = []
    busy: list[tuple[float, float]] = []
    faults = unequal = 0
    with ExitStack() as stack:
        name = stack.enter_context(database(bench))
        on = stack.enter_context(api_server(bench, name, secrets.token_urlsafe(48)))
        fans, creators = people(on, bench, name)
        with httpx.Client(base_url=on.url, headers={"Authorization": f"Bearer {creators[0].token}"}) as http:
            made = http.post("/streams", json={"title": "Busy", "channel": f"busy-{secrets.token_hex(4)}"})
            stream = str(made.raise_for_status().json()["stream_id"])
            http.post(f"/streams/{stream}/start").raise_for_status()
        channel = f"stream:{stream}"
        stack.enter_context(scheduler(bench, name))
        bench.on(name, relay_all)
        tokens = [fan.token for fan in fans]
        followers = [Seat(tokens[n % len(tokens)], [channel], keep=n == 0) for n in range(FAN)]
        others = [Seat(tokens[n % len(tokens)]) for n in range(FAN)]

        async def produce(connection: Connection) -> int:
            return await _produce(connection, stream, [fan.id for fan in fans], creators[0].id, seconds)

        for _ in range(rounds):
            with crowd(on, "/api/v1/realtime", followers) as follow:
                start, used = follow.ask("look", Look), processor(on.pid)
                bench.on(name, produce)
                seen = follow.ask("look", Look).since(start)
                ours_used = processor(on.pid) - used
                end = follow.quiet()
                texts = follow.ask("frames", list[str])
                checked = follow.ask("check", Checked)
            unequal += end.least != end.most or end.open != FAN
            faults += checked.faults
            ours.append(seen.frames / seen.at)
            sizes.append(seen.size / seen.frames)
            events.append(FAN * checked.events * seen.frames / (checked.frames * FAN) / seen.at)
            with crowd(on, "/api/v1/bench/fan", others) as listen:
                start, used = listen.ask("look", Look), processor(on.pid)
                body = {"frames": texts, "seconds": seconds}
                httpx.post(f"{on.url}/bench/broadcast", json=body, timeout=seconds + 60).raise_for_status()
                sent = listen.ask("look", Look).since(start)
                bare_used = processor(on.pid) - used
                listen.quiet()
            bare.append(sent.frames / sent.at)
            cpus.append((seen.cpu / seen.at, sent.cpu / sent.at))
            busy.append((ours_used / seen.at, bare_used / sent.at))
        broken = bench.on(name, audit)
    click.echo(f"{'frames/s, one channel':<36} {spread(ours):>24}/s   {statistics.median(sizes):,.0f} bytes each")
    click.echo(f"{'events/s in them':<36} {spread(events):>24}/s")
    click.echo(f"{'frames/s, the same in a bare loop':<36} {spread(bare):>24}/s")
    for number, text in enumerate(("channel", "bare loop")):
        share, used = (statistics.median(pair[number] for pair in pairs) for pairs in (cpus, busy))
        click.echo(f"{text}: the server used {used:.2f} of a core, the sockets' own process {share:.2f}")
    a = [rate / pair[0] for rate, pair in zip(ours, busy, strict=True)]
    b = [rate / pair[1] for rate, pair in zip(bare, busy, strict=True)]
    click.echo(
        f"{'frames per second of its processor':<36} {spread(a):>24}     {spread(b)} in a bare loop: {ratio(a, b):.2f}"
    )
    return [
        ("fan-out / bare loop", ratio(ours, bare), 0.7, True),
        ("gaps, repetitions, disorder", float(faults), 0.0, False),
        ("rounds in which sockets read different things", float(unequal), 0.0, False),
        ("broken invariants", float(broken), 0.0, False),
    ]


# relay


def part_relay(bench: Bench, seconds: float, rounds: int) -> list[Goal]:
    """Events a second that the relay turns into events of channels, in turns with events a second that tips commit."""
    made: list[float] = []
    relayed: list[float] = []

    async def load(connection: Connection) -> None:
        await fund(connection, WALLETS, WALLETS, 1_000_000_000)

    async def written(connection: Connection) -> tuple[int, int]:
        row = await connection.fetchrow(
            "SELECT (SELECT count(*) FROM core.tips), (SELECT count(*) FROM core.outbox AS o WHERE o.id > $1)", last
        )
        assert row is not None
        return row[0], row[1]

    async def relay(connection: Connection) -> float:
        started = time.perf_counter()
        done = await relay_all(connection)
        return done / (time.perf_counter() - started)

    with database(bench) as name:
        bench.on(name, load)
        bench.on(name, relay_all)
        last = bench.on(name, _last_event)
        batches(bench, name, LEDGER, min(1.0, seconds))
        bench.on(name, relay_all)
        for _ in range(rounds):
            tips, events = bench.on(name, written)
            rate = batches(bench, name, LEDGER, seconds)
            more_tips, more_events = bench.on(name, written)
            made.append(rate * (more_events - events) / (more_tips - tips))
            relayed.append(bench.on(name, relay))
    click.echo(f"{'events/s committed by send_tips, 500':<36} {spread(made):>24}/s")
    click.echo(f"{'events/s relayed':<36} {spread(relayed):>24}/s")
    return [("events relayed / committed", ratio(relayed, made), 1.0, True)]


async def _last_event(connection: Connection) -> int:
    found: int = await connection.fetchval("SELECT coalesce(max(o.id), 0) FROM core.outbox AS o")
    return found


RUN = {"tips": part_tips, "delivery": part_delivery, "fanout": part_fanout, "relay": part_relay}


@click.command()
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Only this part; may be repeated.")
@click.option("--seconds", default=5.0, show_default=True, help="Length of one measurement.")
@click.option("--rounds", default=4, show_default=True, help="Rounds; the measurements of one round follow each other.")
@click.option("--quick", is_flag=True, help="One short round: shows that it works, measures nothing.")
@click.option("--assert", "assert_", is_flag=True, help="Exit with 1 if a target is missed.")
def command(only: tuple[str, ...], seconds: float, rounds: int, quick: bool, assert_: bool) -> None:
    """Tips with the relay and 200 sockets against tips without; delays; a channel of 1,000 sockets; the relay alone."""
    if quick:
        seconds, rounds = 1.0, 1
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most != resource.RLIM_INFINITY else 65536, most))
    missed = False
    with bench_server() as bench:
        for part in only or PARTS:
            click.echo(f"\n{part}: {machine()}; {rounds} rounds of {seconds:g} s each")
            for title, value, bound, at_least in RUN[part](bench, seconds, rounds):
                met = value >= bound if at_least else value <= bound
                missed = missed or not met
                sign = "≥" if at_least else "≤"
                click.echo(f"{title:<52} {value:8.2f}   target {sign} {bound:g}   {'met' if met else 'MISSED'}")
    if assert_ and missed:
        raise SystemExit(1)
