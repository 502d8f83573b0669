"""`./run bench tickets`: a stream opens and more people than it has seats ask at once, over HTTP, against tips."""

from __future__ import annotations

import secrets
import statistics
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import click
import msgspec

from app.core.auth import TokenSigner
from app.settings import load_settings
from bench.http import Person, Target, api_server, lanes, run_load
from bench.ledger import user
from bench.loadgen import Lane, Measured
from bench.server import Bench, Connection, bench_server, database, fund, machine, spread

CREATORS = 1
FANS = 64
TITLES = {
    "tips": "tips, one creator, 64 fans",
    "crowd": "tips, one creator, the buyers",
    "known": "tickets, buyers seen before",
    "new": "tickets, buyers not seen before",
}


class Sale(msgspec.Struct, frozen=True):
    """What a sale left behind: seats counted, tickets, viewers who have one, tokens earned less tickets' prices."""

    seats_sold: int
    tickets: int
    viewers: int
    unpaid: int


def tokens(bench: Bench, name: str, secret: str, buyers: int) -> list[Person]:
    """Everybody signed in, without the passwords' cost."""
    signer = TokenSigner(load_settings({"TESSERA_TOKEN_SECRET": secret}, dotenv=None))

    async def sign_in(connection: Connection) -> list[Person]:
        rows = await connection.fetch(
            "INSERT INTO core.sessions (user_id, expires_at) SELECT u.id, now() + interval '1 day'"
            " FROM core.users AS u ORDER BY u.id LIMIT $1 RETURNING id, user_id",
            CREATORS + buyers,
        )
        people = [Person(str(row["user_id"]), signer.issue(row["user_id"], row["id"], 0)) for row in rows]
        return sorted(people, key=lambda person: person.id)

    return bench.on(name, sign_in)[CREATORS:]


def open_stream(bench: Bench, name: str, seats: int) -> UUID:
    """A private stream of the first creator at one token."""

    async def create(connection: Connection) -> UUID:
        stream: UUID = await connection.fetchval(
            "SELECT stream_id FROM api.create_stream($1, 'Opening night', $2, 'private', 1, $3, NULL, NULL, NULL)",
            user(1),
            f"opening-{secrets.token_hex(6)}",
            seats,
        )
        return stream

    return bench.on(name, create)


def sale(bench: Bench, name: str, stream: UUID) -> Sale:
    """What the database says of it."""

    async def look(connection: Connection) -> Sale:
        row = await connection.fetchrow(
            """
            SELECT s.seats_sold, count(t.id) AS tickets, count(DISTINCT t.viewer_id) AS viewers,
                (coalesce(sum(t.price), 0) - coalesce(sum(m.amount), 0))::bigint AS unpaid
            FROM core.streams AS s
            LEFT JOIN core.tickets AS t ON t.stream_id = s.id
            LEFT JOIN core.transfers AS m ON m.id = t.transfer_id
            WHERE s.id = $1 GROUP BY s.id
            """,
            stream,
        )
        assert row is not None
        return Sale(**row)

    return bench.on(name, look)


def crowd(path: str, method: str, buyers: list[Person], connections: int, body: str = "") -> list[Lane]:
    """Each buyer asks once, over so many connections."""
    head = "{method} /api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}"
    head += "\r\nContent-Type: application/json" if body else ""
    heads = [head.format(method=method, path=path, token=buyer.token) for buyer in buyers]
    return [Lane("", body, method == "POST", heads[n::connections]) for n in range(min(connections, len(heads)))]


class Round:
    """One round: tips, and a stream that opens to buyers that the API has seen before, and to others."""

    def __init__(self, bench: Bench, name: str, seats: int, connections: int) -> None:
        self._bench, self._name, self._seats, self._connections = bench, name, seats, connections
        self.results: dict[str, list[Measured]] = {}
        self.wrong: list[str] = []

    def tips(self, target: Target, buyers: list[Person], seconds: float) -> None:
        """Tips to the creator whose streams these are."""
        creator = Person(str(user(1)), "")
        hot = lanes("/tips/send", buyers[:FANS], [creator], self._connections)
        self._keep("tips", run_load(target, hot, seconds))

    def crowd_of_tips(self, target: Target, buyers: list[Person]) -> None:
        """A tip from each buyer."""
        body = f'{{"creator_id":"{user(1)}","amount":1,"message":"bravo"}}'
        self._keep("crowd", run_load(target, crowd("/tips/send", "POST", buyers, self._connections, body), 1))

    def tickets(self, label: str, target: Target, buyers: list[Person]) -> None:
        """The seats of a new stream, to more buyers than seats."""
        stream = open_stream(self._bench, self._name, self._seats)
        if label == "known":  # their pages have asked, as they do
            run_load(target, crowd(f"/streams/{stream}/access", "GET", buyers, self._connections), 1)
        measured = run_load(target, crowd(f"/streams/{stream}/tickets/checkout", "POST", buyers, self._connections), 1)
        self._keep(label, measured)
        found, losers = sale(self._bench, self._name, stream), len(buyers) - self._seats
        if found != Sale(self._seats, self._seats, self._seats, 0):
            self.wrong.append(f"{label}: {self._seats} seats, but {found}")
        if measured.statuses != {201: self._seats, 409: losers} or measured.refusals != {"SOLD_OUT": losers}:
            self.wrong.append(f"{label}: answered {measured.statuses}, {measured.refusals}")

    def _keep(self, label: str, measured: Measured) -> None:
        self.results.setdefault(label, []).append(measured)
        if label in ("tips", "crowd") and set(measured.statuses) != {201}:
            self.wrong.append(f"{label}: answered {measured.statuses}")


@click.command()
@click.option("--connections", default=200, show_default=True, help="Keep-alive connections.")
@click.option("--seats", default=5000, show_default=True, help="Of each stream.")
@click.option("--buyers", default=6000, show_default=True, help="Who all ask at once; more than seats.")
@click.option("--seconds", default=2.0, show_default=True, help="Length of a measurement of tips.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; the measurements of one round follow each other.")
@click.option("--quick", is_flag=True, help="One small round: shows that it works, measures nothing.")
@click.option("--json", "json_", type=click.Path(path_type=Path), help="Also write every round's figures to this file.")
@click.option("--assert", "assert_", is_flag=True, help="Exit with 1 if a target is missed.")
def command(
    connections: int,
    seats: int,
    buyers: int,
    seconds: float,
    rounds: int,
    quick: bool,
    json_: Path | None,
    assert_: bool,
) -> None:
    """Tickets a second while a stream opens, until its last seat is sold, as a ratio to tips to one creator.

    One worker, a new stream each time; the database is asked whether each seat was sold once, and every loser must be
    told SOLD_OUT.
    """
    if quick:
        connections, seats, buyers, seconds, rounds = 32, 200, 240, 0.5, 1
    if buyers <= seats:
        raise click.UsageError("there must be more buyers than seats")
    click.echo(f"{machine()}; {connections} connections, {buyers} buyers for {seats} seats, {rounds} rounds")
    with ExitStack() as stack:
        bench = stack.enter_context(bench_server())
        name = stack.enter_context(database(bench))

        async def load(connection: Connection) -> None:
            await fund(connection, CREATORS + buyers, CREATORS, 1_000_000_000)

        bench.on(name, load)
        secret = secrets.token_urlsafe(48)
        people = tokens(bench, name, secret, buyers)
        run = Round(bench, name, seats, connections)
        for number in range(rounds if quick else rounds + 1):
            # a new server each round: it has seen nobody
            with api_server(bench, name, secret, batching=True) as target:
                run_load(target, lanes("/tips/send", people[:FANS], [Person(str(user(1)), "")], connections), 1)
                run.tickets("new", target, people)
                run.tips(target, people, seconds)
                run.tickets("known", target, people)
                run.crowd_of_tips(target, people)
            if number == 0 and not quick:  # caches, plans, files
                run.results.clear()

        async def audit(connection: Connection) -> int:
            return len(await connection.fetch("SELECT * FROM api.audit_ledger()"))

        violations = bench.on(name, audit)
    missed = report(run.results, run.wrong, violations)
    if json_ is not None:
        json_.write_bytes(msgspec.json.encode({"machine": machine(), "rounds": run.results, "wrong": run.wrong}))
    if assert_ and missed:
        raise SystemExit(1)


def report(results: dict[str, list[Measured]], wrong: list[str], violations: int) -> bool:
    """Print the table and the targets; True if one is missed."""
    for label, title in TITLES.items():
        rounds = results[label]
        p50, p99 = (statistics.median(getattr(one, name) for one in rounds) for name in ("p50", "p99"))
        rates = spread([one.done_rate for one in rounds])
        click.echo(f"{title:<36} {rates:>24}/s   p50 {p50:6.1f}  p99 {p99:6.1f} ms")

    def ratios(label: str, base: str) -> list[float]:
        return [a.done_rate / b.done_rate for a, b in zip(results[label], results[base], strict=True)]

    for label, base in (("known", "tips"), ("known", "crowd"), ("new", "tips")):
        values = ratios(label, base)
        each = ", ".join(f"{value:.2f}" for value in values)
        click.echo(f"{TITLES[label]} / {TITLES[base]}: {statistics.median(values):.2f} ({each})")
    rate = statistics.median(ratios("known", "tips"))
    missed = rate < 0.8 or bool(wrong) or violations > 0
    click.echo(f"tickets / tips   {rate:.2f}   target ≥ 0.8   {'met' if rate >= 0.8 else 'MISSED'}")
    for line in wrong:
        click.echo(f"WRONG: {line}")
    click.echo(f"seats not sold just once, or other answers: {len(wrong)}; broken invariants: {violations}")
    return missed
