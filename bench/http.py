"""`./run bench http`: tips over HTTP against a route that does nothing, a bare SELECT 1, and tips without batching."""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import click
import httpx
import msgspec

from app.realtime.protocol import MAX_FRAME
from app.settings import PROJECT_ROOT
from bench.loadgen import Lane, Measured, Plan
from bench.server import Bench, Connection, bench_server, database, machine, season, spread

FANS = 64
CREATORS = 32


class Target(msgspec.Struct, frozen=True):
    """A running server: one worker."""

    port: int
    pid: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1"


class Person(msgspec.Struct, frozen=True):
    """Somebody with a token."""

    id: str
    token: str


@contextmanager
def api_server(
    bench: Bench, name: str, secret: str, *, batching: bool = True, factory: str = "create"
) -> Iterator[Target]:
    """The API in a process of its own, as `tessera api` serves it, limits out of the way; ``factory`` of bench.app."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {
        **os.environ,
        "DATABASE_URL": bench.url_of(name),
        "TESSERA_TOKEN_SECRET": secret,
        "TESSERA_BATCH_ENABLED": str(batching).lower(),
        "TESSERA_RATE_LIMIT_PER_MINUTE": "100000000",
        "TESSERA_RATE_LIMIT_AUTH_PER_MINUTE": "1000000",
        "TESSERA_REALTIME_PER_USER": "100000",
        "TESSERA_REALTIME_PER_ADDRESS": "100000",
        "TESSERA_LOG_LEVEL": "error",
    }
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        f"bench.app:{factory}",
        "--factory",
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--ws",
        "app.core.wire:WireProtocol",
        "--ws-max-size",
        str(MAX_FRAME),
        "--ws-per-message-deflate",
        "false",
    ]
    command += [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-access-log",
        "--log-level",
        "error",
        "--no-server-header",
    ]
    process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment)
    try:
        target = Target(port, process.pid)
        for _ in range(200):
            try:
                if httpx.get(f"{target.url}/public/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            raise click.ClickException("the API did not start")
        yield target
    finally:
        process.terminate()
        process.wait(30)


def people(target: Target, bench: Bench, name: str) -> tuple[list[Person], list[Person]]:
    """Fans with plenty of tokens, and creators; registered over HTTP."""
    made = []
    with httpx.Client(base_url=target.url, timeout=30) as http:
        for number in range(FANS + CREATORS):
            handle = f"b{number}{secrets.token_hex(4)}"
            body = {"email": f"{handle}@bench.example", "username": handle, "password": secrets.token_urlsafe(16)}
            answer = http.post("/auth/register", json=body).raise_for_status().json()
            person = Person(str(answer["user"]["id"]), str(answer["access_token"]))
            if number >= FANS:
                headers = {"Authorization": f"Bearer {person.token}"}
                http.post(
                    "/dashboard/profile/creator", json={"rate_per_minute": 60}, headers=headers
                ).raise_for_status()
            made.append(person)
    fans, creators = made[:FANS], made[FANS:]

    async def grant(connection: Connection) -> None:
        for fan in fans:
            await connection.execute("SELECT api.grant_tokens($1, 1000000000000, 'bench')", fan.id)
        await connection.execute("VACUUM ANALYZE")
        await season(connection)

    bench.on(name, grant)
    return fans, creators


def run_load(target: Target, lanes: list[Lane], seconds: float, rate: float = 0.0) -> Measured:
    """One measurement by the load generator, at ``rate`` requests a second at most (0: as many as go)."""
    plan = Plan(target.port, seconds, secrets.token_hex(4), lanes, rate)
    done = subprocess.run(
        [sys.executable, "-m", "bench.loadgen"],
        cwd=PROJECT_ROOT,
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Measured)


def lanes(path: str, fans: list[Person], creators: list[Person], connections: int) -> list[Lane]:
    """One connection a fan (or more), each with a creator of its own, as far as there are."""
    made = []
    for number in range(connections):
        fan, creator = fans[number % len(fans)], creators[number % len(creators)]
        head = (
            f"POST /api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {fan.token}\r\n"
            "Content-Type: application/json"
        )
        made.append(Lane(head, f'{{"creator_id":"{creator.id}","amount":1,"message":"bravo"}}', True))
    return made


def select_lanes(connections: int) -> list[Lane]:
    """GETs of the bare SELECT 1."""
    return [Lane("GET /api/v1/bench/select HTTP/1.1\r\nHost: 127.0.0.1", "", False)] * connections


@click.command()
@click.option("--connections", default=64, show_default=True, help="Keep-alive connections.")
@click.option("--seconds", default=5.0, show_default=True, help="Length of one measurement.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; the measurements of one round follow each other.")
@click.option("--quick", is_flag=True, help="One short round: shows that it works, measures nothing.")
@click.option("--assert", "assert_", is_flag=True, help="Exit with 1 if a target is missed.")
def command(connections: int, seconds: float, rounds: int, quick: bool, assert_: bool) -> None:
    """Tips a second over HTTP: one worker, real tokens, a new key each, the load from a process of its own."""
    if quick:
        seconds, rounds = 1.0, 1
    click.echo(f"{machine()}; {connections} connections, {rounds} rounds of {seconds:g} s each")
    results: dict[str, list[Measured]] = {}
    with ExitStack() as stack:
        bench = stack.enter_context(bench_server())
        name = stack.enter_context(database(bench))
        secret = secrets.token_urlsafe(48)
        on = stack.enter_context(api_server(bench, name, secret, batching=True))
        off = stack.enter_context(api_server(bench, name, secret, batching=False))
        fans, creators = people(on, bench, name)
        plans: Mapping[str, tuple[Target, list[Lane]]] = {
            "empty": (on, lanes("/bench/empty", fans, creators, connections)),
            "tips": (on, lanes("/tips/send", fans, creators, connections)),
            "hot": (on, lanes("/tips/send", fans, creators[:1], connections)),
            "off": (off, lanes("/tips/send", fans, creators, connections)),
            "select": (on, select_lanes(connections)),
        }
        for target, plan in plans.values():  # caches, connections, plans
            run_load(target, plan, min(1.0, seconds))
        for _ in range(rounds):
            for label, (target, plan) in plans.items():
                results.setdefault(label, []).append(run_load(target, plan, seconds))

        async def audit(connection: Connection) -> int:
            return len(await connection.fetch("SELECT * FROM api.audit_ledger()"))

        violations = bench.on(name, audit)
    missed = report(results, violations)
    if assert_ and missed:
        raise SystemExit(1)


TITLES = {
    "empty": "authenticated route, does nothing",
    "tips": "tips, 32 creators",
    "hot": "tips, one creator",
    "off": "tips, batching off",
    "select": "bare SELECT 1",
}


def report(results: Mapping[str, list[Measured]], violations: int) -> bool:
    """Print the table and the targets; True if one is missed."""
    for label, title in TITLES.items():
        rounds = results[label]
        p50, p95, p99 = (statistics.median(getattr(one, name) for one in rounds) for name in ("p50", "p95", "p99"))
        times = f"p50 {p50:6.1f}  p95 {p95:6.1f}  p99 {p99:6.1f} ms"
        click.echo(f"{title:<36} {spread([one.rate for one in rounds]):>24}/s   {times}")

    def ratio(label: str, base: str, what: str = "rate") -> float:
        """Median of the ratios of the rounds: what a round's noise does to both, it does to neither."""
        pairs = zip(results[label], results[base], strict=True)
        return float(statistics.median(getattr(a, what) / getattr(b, what) for a, b in pairs))

    failed = sum(
        n
        for one in itertools.chain.from_iterable(results.values())
        for status, n in one.statuses.items()
        if not 200 <= status < 300
    )
    targets = [
        ("tips / empty route", ratio("tips", "empty"), 0.7, True),
        ("tips / batching off", ratio("tips", "off"), 2.5, True),
        ("one creator / spread", ratio("hot", "tips"), 0.9, True),
        ("p99 of tips / p99 of empty route", ratio("tips", "empty", "p99"), 3.0, False),
        ("answers that were errors", float(failed), 0.0, False),
        ("broken invariants", float(violations), 0.0, False),
    ]
    click.echo(f"{'tips / SELECT 1':<36} {ratio('tips', 'select'):6.2f}")
    missed = False
    for title, value, bound, at_least in targets:
        met = value >= bound if at_least else value <= bound
        missed = missed or not met
        sign = "≥" if at_least else "≤"
        click.echo(f"{title:<36} {value:6.2f}   target {sign} {bound:g}   {'met' if met else 'MISSED'}")
    return missed
