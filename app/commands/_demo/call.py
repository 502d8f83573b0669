"""The part of the demo with a metered call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import click
import httpx
from rich.console import Console
from rich.table import Table

from app.commands import _queries as queries
from app.commands._common import with_connection
from app.commands._demo.meter import Meter, NotMeteredError
from app.commands._demo.people import RATE_PER_MINUTE, Json, Person, expect, grant

BLOCKS = 7
"""So many blocks the fan can pay."""
BLOCKS_BEFORE_PAUSE = 3
"""The pause comes in the middle of the last of them."""
PAUSE_SECONDS = 3
RATE_SECONDS = 15
"""The demo's rate ends by itself after this, should nobody be left to end it."""
PRODUCTION_TOKENS = 1000
PRODUCTION_SECONDS = 6
START_SCHEDULER = "./run scheduler, or ./run up without --no-scheduler"


def call(console: Console, fan: Person, creator: Person, block_seconds: int | None) -> bool:
    """A call from its ringing to its receipt; False when no scheduler metered it.

    block_seconds: the rate call_block at the moment of opening. None: the rate as it is, and a call that is hung up.
    """
    offer = _open(console, fan, creator, block_seconds)
    path = f"/calls/{offer['call_id']}"
    metered = True
    try:
        if block_seconds and offer["block_ms"] != block_seconds * 1000:
            raise click.ClickException("opening the call took so long that the demo's rate had ended. Try again.")
        console.print(
            f"The {creator.name}'s phone rings: {offer['block_price']} tokens for every {offer['block_ms'] / 1000:g} s "
            f"begun, paid before they begin. The {creator.name} accepts.\n"
        )
        time.sleep(1)
        expect(creator.ask("POST", f"{path}/accept"), 200)
        try:
            with Meter(console, fan, creator, offer) as meter:
                if block_seconds:
                    _talk(meter, offer)
                else:
                    _talk_briefly(meter)
        except NotMeteredError as error:
            metered = False
            console.print(f"\n[bold yellow]{error}[/] Start the scheduler: {START_SCHEDULER}.")
            console.print(f"{fan.name} hangs up; the blocks that had begun are paid in that moment.")
            expect(fan.ask("POST", f"{path}/end"), 200)
            console.print()
    finally:
        _hang_up(fan, path)
    _receipt(console, fan, offer["call_id"])
    return metered


@contextmanager
def short_blocks(console: Console, seconds: int) -> Iterator[None]:
    """Calls opened inside have blocks of so many seconds. The rate ends with it, or by itself."""
    rate = with_connection("dba", partial(queries.set_call_block, seconds=seconds, for_seconds=RATE_SECONDS))
    try:
        yield
    finally:
        in_force = with_connection("dba", partial(queries.end_rate, rate=rate))
        console.print(
            f"[italic]So that you need not wait, the rate call_block was {seconds} s while the call was opened, and is "
            f"{in_force:g} s again: a call keeps the blocks it was opened with.[/]"
        )


def _open(console: Console, fan: Person, creator: Person, block_seconds: int | None) -> Json:
    body = {"creator_id": creator.id}
    if block_seconds is None:
        grant([fan], PRODUCTION_TOKENS)
        console.print("In production the demo leaves the rates alone, so blocks are as long as ever: a short call.")
        return expect(fan.ask("POST", "/calls/init", key="call", json=body), 201)
    price = -(-RATE_PER_MINUTE * block_seconds // 60)
    tokens = price * BLOCKS + price // 2
    grant([fan], tokens)
    console.print(f"{fan.name} has {tokens} tokens and calls the {creator.name}, who takes {RATE_PER_MINUTE} a minute.")
    with short_blocks(console, block_seconds):
        return expect(fan.ask("POST", "/calls/init", key="call", json=body), 201)


def _talk(meter: Meter, offer: Json) -> None:
    """A pause, and then until the tokens run out."""
    meter.note("accepted, and block 1 is paid")
    pause_ms = (BLOCKS_BEFORE_PAUSE - 0.5) * offer["block_ms"]
    meter.until(lambda look: look.call["blocks"] >= BLOCKS_BEFORE_PAUSE and look.active_ms >= pause_ms)
    meter.change("pause")
    paused = meter.note("paused: the clock stands")
    still = meter.until(lambda look: False, PAUSE_SECONDS)
    if still.active_ms != paused.active_ms:
        raise click.ClickException("the clock of a paused call went on")
    meter.line(still, f"{PAUSE_SECONDS} s later: the same; resumed")
    meter.change("resume")
    ended = meter.until(lambda look: False)
    meter.line(ended, f"ended by itself: {ended.call['end_reason']}")
    meter.console.print()


def _talk_briefly(meter: Meter) -> None:
    meter.note("accepted, and block 1 is paid")
    meter.until(lambda look: False, PRODUCTION_SECONDS)
    meter.change("stop")
    meter.note("hung up")
    meter.console.print()


def _hang_up(fan: Person, path: str) -> None:
    """However the demo ends, nobody is left in a call. One that is over stays as it is."""
    try:
        fan.ask("POST", f"{path}/end")
    except httpx.HTTPError:
        return  # whoever is not seen any more is not billed for long


def _receipt(console: Console, fan: Person, call_id: str) -> None:
    receipt = fan.get(f"/billing/calls/{call_id}/receipt")
    table = Table(title="Receipt", show_header=False)
    for name, text in (
        ("ended because", receipt["end_reason"]),
        ("active time", f"{receipt['active_ms'] / 1000:.1f} s, pauses not counted"),
        ("price", f"{receipt['block_price']} tokens for {receipt['block_ms'] / 1000:g} s"),
        ("blocks", str(receipt["blocks"])),
        ("paid", f"{receipt['total']} tokens"),
        ("to the platform", f"{receipt['platform_fees']} tokens"),
        ("to the creator", f"{receipt['creator_earned']} tokens"),
    ):
        table.add_row(name, text)
    console.print(table)
    console.print()
