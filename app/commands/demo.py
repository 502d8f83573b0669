"""`tessera demo`."""

from __future__ import annotations

import secrets
import time
from uuid import UUID

import click
import httpx
from rich.console import Console
from rich.progress import track
from rich.table import Table

from app.commands import _queries as queries
from app.commands._common import Connection, command_settings, local_url, with_connection

FANS = ("ada", "ben", "cleo")
PAUSE_SECONDS = 0.02


class Person:
    """Somebody with an account, over HTTP."""

    def __init__(self, http: httpx.Client, name: str) -> None:
        self.http = http
        self.name = name
        handle = f"{name}-{secrets.token_hex(4)}"
        body = {"email": f"{handle}@demo.example", "username": handle, "password": secrets.token_urlsafe(18)}
        answer = http.post("/auth/register", json=body)
        _expect(answer, 201)
        self.email = body["email"]
        self.id = str(answer.json()["user"]["id"])
        self.headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def call(self, method: str, path: str, key: str | None = None, **options: object) -> httpx.Response:
        """A request in this person's name."""
        headers = self.headers if key is None else {**self.headers, "Idempotency-Key": key}
        return self.http.request(method, path, headers=headers, **options)  # type: ignore[arg-type]


def _expect(answer: httpx.Response, status: int) -> None:
    if answer.status_code != status:
        raise click.ClickException(
            f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}: {answer.text[:500]}"
        )


@click.command()
@click.option("--url", help="Where the service runs.  [default: as the settings say, http://127.0.0.1:8000]")
@click.option("--tips", default=60, show_default=True, type=click.IntRange(3, 10_000), help="How many tips to send.")
def command(url: str | None, tips: int) -> None:
    """Watch money move: a creator, three fans, granted tokens, tips, balances, and the auditor.

    All over HTTP against the running service, but for the grant, which is an operator's act (`tessera grant`).
    Makes new people each time, so it can be run as often as you like.

    \b
      ./run up          in one terminal
      ./run demo        in another
    """
    console = Console()
    url = url or local_url(command_settings())
    with httpx.Client(base_url=f"{url.rstrip('/')}/api/v1", timeout=30) as http:
        try:
            _expect(http.get("/public/health/ready"), 200)
        except httpx.TransportError as exc:
            raise click.ClickException(f"nothing answers at {url} ({exc}). Start the service first: ./run up") from exc
        creator, fans = _people(console, http)
        _grant(console, fans)
        _tip(console, creator, fans, tips)
        _retry_and_refusal(console, creator, fans[0])
        _show(console, creator, fans)
    violations = with_connection("dba", queries.audit_ledger)
    if violations:
        console.print(f"[bold red]The auditor found {len(violations)} broken invariants:[/] see tessera audit")
        raise SystemExit(1)
    console.print("[bold green]✓[/] The auditor went over the whole ledger: every token is accounted for.")


def _people(console: Console, http: httpx.Client) -> tuple[Person, list[Person]]:
    console.rule("[bold]1. People")
    creator = Person(http, "creator")
    _expect(creator.call("POST", "/dashboard/profile/creator", json={"rate_per_minute": 60, "ticket_price": 25}), 200)
    fans = [Person(http, name) for name in track(FANS, description="Fans register", console=console)]
    console.print(f"{creator.email} is a creator; {', '.join(fan.name for fan in fans)} are fans.\n")
    return creator, fans


def _grant(console: Console, fans: list[Person]) -> None:
    console.rule("[bold]2. Tokens")

    async def grant(connection: Connection) -> None:
        for fan in fans:
            await queries.grant_tokens(connection, UUID(fan.id), 1000, "tessera demo", f"demo-{fan.id}")

    with_connection("dba", grant)
    console.print("Each fan is granted 1000 tokens, minted from the system wallet [italic]issuance[/].\n")


def _tip(console: Console, creator: Person, fans: list[Person], tips: int) -> None:
    console.rule("[bold]3. Tips")
    started = time.perf_counter()
    for number in track(range(tips), description="Fans tip", console=console):
        fan = fans[number % len(fans)]
        body = {"creator_id": creator.id, "amount": 1 + number % 9, "message": f"tip {number + 1}, with love"}
        _expect(fan.call("POST", "/tips/send", key=f"tip-{number}", json=body), 201)
        time.sleep(PAUSE_SECONDS if tips <= 100 else 0)
    console.print(f"{tips} tips in {time.perf_counter() - started:.1f} s, one after another.\n")


def _retry_and_refusal(console: Console, creator: Person, fan: Person) -> None:
    console.rule("[bold]4. What goes wrong, goes wrong safely")
    body = {"creator_id": creator.id, "amount": 7, "message": "did that go through?"}
    first = fan.call("POST", "/tips/send", key="retry", json=body)
    again = fan.call("POST", "/tips/send", key="retry", json=body)
    _expect(first, 201)
    _expect(again, 201)
    if first.content != again.content:
        raise click.ClickException("the repeated request got another answer")
    console.print(f"{fan.name} repeats a request with the same Idempotency-Key: one tip, the same answer twice.")
    refused = fan.call("POST", "/tips/send", key="too-much", json={"creator_id": creator.id, "amount": 1_000_000})
    _expect(refused, 402)
    facts = refused.json()
    console.print(
        f"{fan.name} tips a million: 402 {facts['error']}, required {facts['required']}, "
        f"current {facts['current']}, shortfall {facts['shortfall']}.\n"
    )


def _show(console: Console, creator: Person, fans: list[Person]) -> None:
    console.rule("[bold]5. Balances")
    table = Table("who", "balance", "earned", "spent", title="Wallets (TOKEN)")
    for person in (creator, *fans):
        answer = person.call("GET", "/monetization/balance")
        _expect(answer, 200)
        wallet = answer.json()
        table.add_row(person.name, *(str(wallet[name]) for name in ("balance", "lifetime_earned", "lifetime_spent")))
    console.print(table)
    answer = creator.call("GET", f"/tips/stats/{creator.id}", params={"period": "24h"})
    _expect(answer, 200)
    stats = answer.json()
    top = Table("tipper", "tokens", "tips", title="Top tippers of the creator, last 24 hours")
    for tipper in stats["top"]:
        top.add_row(tipper["username"], str(tipper["total"]), str(tipper["count"]))
    console.print(top)
    console.print(f"{stats['count']} tips, {stats['sum']} tokens, {stats['average']} on average.\n")
