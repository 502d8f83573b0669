"""The part of the demo with a private stream and its tickets."""

from __future__ import annotations

import secrets

import click
from rich.console import Console
from rich.table import Table

from app.commands._demo.people import TICKET_PRICE, Person, expect

SEATS = 2


def sell_tickets(console: Console, creator: Person, fans: list[Person]) -> None:
    """The creator goes live for who has a ticket; there is one fan more than there are seats."""
    body = {
        "title": "Late show",
        "channel": f"late-show-{secrets.token_hex(4)}",
        "visibility": "private",
        "ticket_price": TICKET_PRICE,
        "seats": SEATS,
    }
    stream = expect(creator.ask("POST", "/streams", json=body), 201)
    path = f"/streams/{stream['stream_id']}"
    everybody = [creator, *fans]
    before = {person.name: _access(person, path) for person in everybody}
    console.print(
        f"The {creator.name} announces a private stream: {SEATS} seats, {TICKET_PRICE} tokens each, and goes live."
    )
    expect(creator.ask("POST", f"{path}/start"), 200)

    first, second, third = fans
    checkout = f"{path}/tickets/checkout"
    once, again = (first.ask("POST", checkout, key="ticket") for _ in range(2))
    left = expect(once, 201)["new_balance"]
    if once.content != again.content or again.status_code != once.status_code:
        raise click.ClickException("the repeated request got another answer")
    console.print(
        f"{first.name} buys a ticket, twice with the same Idempotency-Key: one ticket, {left} tokens left, "
        f"the same {len(once.content)} bytes."
    )
    expect(second.ask("POST", checkout, key="ticket"), 201)
    refused = expect(third.ask("POST", checkout, key="ticket"), 409)
    console.print(f"{second.name} takes the last seat. {third.name} is too late: 409 {refused['error']}.")

    table = Table("who", "before", "after", "may watch", title="Who may watch")
    for person in everybody:
        may, why = _access(person, path)
        table.add_row(person.name, before[person.name][1], why, "[green]yes[/]" if may else "[red]no[/]")
    console.print(table)
    expect(creator.ask("POST", f"{path}/end"), 200)
    console.print(f"The {creator.name} ends the stream.\n")


def _access(person: Person, path: str) -> tuple[bool, str]:
    answer = person.get(f"{path}/access")
    return answer["has_access"], answer["reason"]
