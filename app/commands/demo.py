"""`tessera demo`."""

from __future__ import annotations

import time

import asyncpg
import click
import httpx
from rich.console import Console
from rich.progress import track
from rich.table import Table

from app.commands import _queries as queries
from app.commands._common import command_settings, database_failure, local_url, with_connection
from app.commands._demo.call import START_SCHEDULER, call
from app.commands._demo.payout import cash_out
from app.commands._demo.people import RATE_PER_MINUTE, TICKET_PRICE, Person, buy, expect, grant, has_sandbox
from app.commands._demo.stream import sell_tickets
from app.payments.pages import money

FANS = ("ada", "ben", "cleo")
CALLER = "dora"
PACKAGE = 1488
TOKENS = 1000
PAUSE_SECONDS = 0.02


@click.command()
@click.option("--url", help="Where the service runs.  [default: as the settings say, http://127.0.0.1:8000]")
@click.option("--tips", default=60, show_default=True, type=click.IntRange(3, 10_000), help="How many tips to send.")
@click.option(
    "--block-seconds",
    default=2,
    show_default=True,
    type=click.IntRange(1, 30),
    help="Length of a billed block of the call.",
)
def command(url: str | None, tips: int, block_seconds: int) -> None:
    """Watch money move: tokens bought, tips, tickets, a metered call, a payout, balances, and the auditor.

    All over HTTP against the running service, but for what is an operator's act: grants of tokens, where there is no
    sandbox to buy them in, the short blocks of the call, and that the payout is approved and was paid. For the call the
    rate call_block is set while it is opened and ended right after; it ends by itself within seconds if the demo is
    killed. In production (TESSERA_ENV) no rate is touched, the call is short and nobody is paid out. Makes new people
    each time, so it can be run as often as you like.

    \b
      ./run up          in one terminal
      ./run demo        in another
    """
    console = Console()
    settings = command_settings()
    url = url or local_url(settings)
    with httpx.Client(base_url=f"{url.rstrip('/')}/api/v1", timeout=30) as http:
        try:
            expect(http.get("/public/health/ready"), 200)
        except httpx.TransportError as exc:
            raise click.ClickException(f"nothing answers at {url} ({exc}). Start the service first: ./run up") from exc
        try:
            metered = _story(console, http, tips, None if settings.production else block_seconds)
        except asyncpg.PostgresError as exc:
            raise database_failure(exc) from exc
    violations = with_connection("dba", queries.audit_ledger)
    if violations:
        console.print(f"[bold red]The auditor found {len(violations)} broken invariants:[/] see tessera audit")
        raise SystemExit(1)
    console.print("[bold green]✓[/] The auditor went over the whole ledger: every token is accounted for.")
    if not metered:
        raise click.ClickException(f"nothing metered the call. Start the scheduler: {START_SCHEDULER}.")


def _story(console: Console, http: httpx.Client, tips: int, block_seconds: int | None) -> bool:
    """The chapters, one after another; False when no scheduler metered the call."""
    creator, fans = _people(console, http)
    _tokens(console, fans)
    _tip(console, creator, fans, tips)
    _retry_and_refusal(console, creator, fans[0])
    console.rule("[bold]5. A private stream")
    sell_tickets(console, creator, fans)
    console.rule("[bold]6. A metered call")
    caller = Person(http, CALLER)
    metered = call(console, caller, creator, block_seconds)
    console.rule("[bold]7. The creator is paid")
    if block_seconds is None:
        console.print("In production nobody is paid by a demo.\n")
    elif not metered:
        console.print("Without a scheduler nobody is paid.\n")
    else:
        cash_out(console, creator, fans)
    _show(console, creator, [*fans, caller])
    return metered


def _people(console: Console, http: httpx.Client) -> tuple[Person, list[Person]]:
    console.rule("[bold]1. People")
    creator = Person(http, "creator")
    prices = {"rate_per_minute": RATE_PER_MINUTE, "ticket_price": TICKET_PRICE}
    expect(creator.ask("POST", "/dashboard/profile/creator", json=prices), 200)
    fans = [Person(http, name) for name in track(FANS, description="Fans register", console=console)]
    console.print(f"{creator.email} is a creator; {', '.join(fan.name for fan in fans)} are fans.\n")
    return creator, fans


def _tokens(console: Console, fans: list[Person]) -> None:
    console.rule("[bold]2. Tokens")
    if has_sandbox(fans[0].http):
        for fan in fans:
            payment = buy(fan, PACKAGE)
            if payment["status"] != "paid":
                raise click.ClickException(f"the sandbox was paid, and the payment is {payment['status']}")
        console.print(
            f"Each fan buys {PACKAGE} tokens for {money(payment['amount'], payment['currency'])} in the sandbox: "
            "checkout, a page with a button, a signed webhook, and the tokens come with the payment, from the system "
            "wallet [italic]issuance[/].\n"
        )
        return
    grant(fans, TOKENS)
    console.print(f"Each fan is granted {TOKENS} tokens, minted from the system wallet [italic]issuance[/].\n")


def _tip(console: Console, creator: Person, fans: list[Person], tips: int) -> None:
    console.rule("[bold]3. Tips")
    started = time.perf_counter()
    for number in track(range(tips), description="Fans tip", console=console):
        fan = fans[number % len(fans)]
        body = {"creator_id": creator.id, "amount": 1 + number % 9, "message": f"tip {number + 1}, with love"}
        expect(fan.ask("POST", "/tips/send", key=f"tip-{number}", json=body), 201)
        time.sleep(PAUSE_SECONDS if tips <= 100 else 0)
    console.print(f"{tips} tips in {time.perf_counter() - started:.1f} s, one after another.\n")


def _retry_and_refusal(console: Console, creator: Person, fan: Person) -> None:
    console.rule("[bold]4. What goes wrong, goes wrong safely")
    body = {"creator_id": creator.id, "amount": 7, "message": "did that go through?"}
    first = fan.ask("POST", "/tips/send", key="retry", json=body)
    again = fan.ask("POST", "/tips/send", key="retry", json=body)
    expect(first, 201)
    expect(again, 201)
    if first.content != again.content:
        raise click.ClickException("the repeated request got another answer")
    console.print(f"{fan.name} repeats a request with the same Idempotency-Key: one tip, the same answer twice.")
    refused = fan.ask("POST", "/tips/send", key="too-much", json={"creator_id": creator.id, "amount": 1_000_000})
    facts = expect(refused, 402)
    console.print(
        f"{fan.name} tips a million: 402 {facts['error']}, required {facts['required']}, "
        f"current {facts['current']}, shortfall {facts['shortfall']}.\n"
    )


def _show(console: Console, creator: Person, fans: list[Person]) -> None:
    console.rule("[bold]8. Balances")
    table = Table("who", "balance", "earned", "spent", title="Wallets (TOKEN)")
    for person in (creator, *fans):
        wallet = person.wallet
        table.add_row(person.name, *(str(wallet[name]) for name in ("balance", "lifetime_earned", "lifetime_spent")))
    console.print(table)
    stats = creator.get(f"/tips/stats/{creator.id}", period="24h")
    top = Table("tipper", "tokens", "tips", title="Top tippers of the creator, last 24 hours")
    for tipper in stats["top"]:
        top.add_row(tipper["username"], str(tipper["total"]), str(tipper["count"]))
    console.print(top)
    console.print(f"{stats['count']} tips, {stats['sum']} tokens, {stats['average']} on average.\n")
