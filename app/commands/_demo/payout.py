"""The part of the demo in which the creator is paid."""

from __future__ import annotations

import time
from uuid import UUID

import click
from rich.console import Console
from rich.table import Table

from app.commands import _queries as queries
from app.commands._common import Connection, with_connection
from app.commands._demo.people import Json, Person, expect

SECONDS = 30
"""A scheduler takes a payout within so many seconds."""
POLL_SECONDS = 0.2
REFERENCE = "tessera demo"
BANK = {"currency": "USD", "bank": {"holder": "The Creator", "number": "DE89370400440532013000"}}


def cash_out(console: Console, creator: Person, fans: list[Person]) -> None:
    """What the creator has earned becomes money, at a bank account that an operator pays by hand."""
    payable = _enough(console, creator, fans)
    if payable is None:
        return
    proof = {"password": creator.password}
    added = creator.ask("POST", "/payouts/accounts", json=BANK | proof)
    if added.status_code == 503:  # a service of its own, without a key
        console.print(f"No payout: 503 {added.json()['error']}.\n")
        return
    account = expect(added, 201)
    body = {"amount": payable, "provider": "manual", "account_id": account["account_id"], **proof}
    once, again = (creator.ask("POST", "/monetization/payout", key="cash-out", json=body) for _ in range(2))
    asked = expect(once, 201)
    if once.content != again.content:
        raise click.ClickException("the repeated request got another answer")
    console.print(
        f"The {creator.name} shows the password again, adds the account {account['masked']}, and asks for {payable} "
        f"tokens as {_money(asked)}, twice with the same Idempotency-Key: one payout."
    )
    table = Table("step", "status", "tokens left", "of them held", title="The payout")

    def step(words: str) -> Json:
        found, wallet = creator.get(f"/payouts/{asked['payout_id']}"), creator.wallet
        table.add_row(words, found["status"], str(wallet["balance"]), str(wallet["held"]))
        return found

    if step("asked for")["status"] == "held":
        _operator_approves(asked)
        step(f"an operator lets it pass ({asked['reason']})")
    _until_sent(creator, asked)
    step("a scheduler takes it: the tokens leave the wallet")
    _operator_has_paid(asked)
    paid = step("an operator has paid it: the tokens are no more")
    console.print(table)
    if paid["status"] != "paid":
        raise click.ClickException(f"the payout was paid, and it is {paid['status']}")
    console.print(f"{_money(paid)} for {paid['amount']} tokens, by bank.\n")


def _enough(console: Console, creator: Person, fans: list[Person]) -> int | None:
    """What can be paid out, once the fans have tipped what the smallest payout lacks; None where it cannot be yet."""
    balance = creator.get("/payouts/balance")
    missing = balance["minimum"] - balance["payable"]
    if balance["pending"]:
        console.print(f"No payout: what came in is paid out after {balance['maturity_days']} days.\n")
        return None
    if missing > 0:
        part = -(-missing // len(fans))
        for fan in fans:
            tip = {"creator_id": creator.id, "amount": part, "message": "for the rent"}
            if fan.ask("POST", "/tips/send", key="rent", json=tip).status_code != 201:
                break
        console.print(f"The smallest payout is {balance['minimum']} tokens; each fan tips {part} more.")
    payable: int = creator.get("/payouts/balance")["payable"]
    if payable < balance["minimum"]:
        console.print(f"No payout: {payable} tokens are less than that.\n")
        return None
    return payable


def _operator_approves(payout: Json) -> None:
    async def approve(connection: Connection) -> None:
        await queries.approve_payout(connection, UUID(payout["payout_id"]))

    with_connection("dba", approve)


def _operator_has_paid(payout: Json) -> None:
    async def settle(connection: Connection) -> None:
        await queries.settle_payout(connection, UUID(payout["payout_id"]), REFERENCE)

    with_connection("dba", settle)


def _until_sent(creator: Person, payout: Json) -> None:
    for _ in range(int(SECONDS / POLL_SECONDS)):
        if creator.get(f"/payouts/{payout['payout_id']}")["status"] == "processing":
            return
        time.sleep(POLL_SECONDS)
    raise click.ClickException("no scheduler has taken the payout: does it run the job send-payouts?")


def _money(payout: Json) -> str:
    return f"{payout['payout_amount'] // 10_000}.{payout['payout_amount'] // 100 % 100:02} {payout['currency']}"
