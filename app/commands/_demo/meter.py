"""A call before one's eyes: a line for whatever happens, and on a terminal a panel that is always up to date."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

import msgspec
from rich import box
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from app.commands._demo.people import Json, Person, expect

LOOK_SECONDS = 0.2
BEAT_SECONDS = 5.0
PATIENCE_MS = 8_000
"""A block that is unpaid for longer: nobody meters."""
MARKS = {"active": "[green]● active[/]", "paused": "[yellow]‖ paused[/]", "ended": "[red]■ ended[/]"}


class NotMeteredError(Exception):
    """Blocks have begun, and nobody has them paid."""


class Look(msgspec.Struct, frozen=True):
    """The call at one moment, and both balances."""

    call: Json
    blocks_left: int | None
    fan_balance: int
    creator_balance: int

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.call["ended_at"] is not None

    @property
    def active_ms(self) -> int:
        """Milliseconds without pauses."""
        found: int = self.call["active_ms"]
        return found

    @property
    def unpaid_ms(self) -> int:
        """Active time that no paid block covers: next to nothing where a scheduler runs."""
        unpaid: int = self.active_ms - self.call["blocks"] * self.call["block_ms"]
        return unpaid if self.call["status"] == "active" else 0


class Meter:
    """Watches one call, as its two people do: asks how it stands, and says that they are there."""

    def __init__(self, console: Console, fan: Person, creator: Person, offer: Json) -> None:
        self.console = console
        self.fan = fan
        self.creator = creator
        self.call_id = offer["call_id"]
        self.noted_blocks = 0
        self.beat_at = 0.0
        drawn = console.is_terminal and not console.is_dumb_terminal
        self.live = Live(console=console, auto_refresh=False, transient=True) if drawn else None

    def __enter__(self) -> Meter:
        head = f"{'active':>8}  {'blocks':>6}  {'billed':>6}  {self.fan.name:>5}  {self.creator.name:>7}"
        self.console.print(f"[bold]{head}[/]", highlight=False)
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def look(self) -> Look:
        """How the call stands. Both balances are of the same moment: no block was paid while they were read."""
        status = self._status()
        while True:
            fan, creator = self.fan.wallet["balance"], self.creator.wallet["balance"]
            again = self._status()
            if again["call"]["blocks"] == status["call"]["blocks"]:
                break
            status = again
        look = Look(again["call"], again["blocks_left"], fan, creator)
        if self.live is not None:
            self.live.update(self._panel(look), refresh=True)
        return look

    def until(self, done: Callable[[Look], bool], seconds: float | None = None) -> Look:
        """Watch until that is so, the call is over, or so much time has passed. Raises NotMeteredError."""
        started = time.monotonic()
        while True:
            if time.monotonic() >= self.beat_at:
                for person in (self.fan, self.creator):
                    expect(person.ask("POST", f"/calls/{self.call_id}/heartbeat"), 200)
                self.beat_at = time.monotonic() + BEAT_SECONDS
            look = self.look()
            if look.call["blocks"] > self.noted_blocks:
                self.line(look, f"the scheduler pays block {look.call['blocks']}")
            if look.over or done(look) or (seconds is not None and time.monotonic() - started >= seconds):
                return look
            if look.unpaid_ms > PATIENCE_MS:
                raise NotMeteredError(f"Nobody has metered this call for {look.unpaid_ms / 1000:.0f} s.")
            time.sleep(LOOK_SECONDS)

    def change(self, what: str) -> None:
        """The fan asks for `pause`, `resume` or `stop`."""
        expect(self.fan.ask("POST", f"/billing/{self.call_id}/{what}"), 200)

    def note(self, text: str) -> Look:
        """A line with how things stand now."""
        look = self.look()
        self.line(look, text)
        return look

    def line(self, look: Look, text: str) -> None:
        """A line that stays, with how things stood then."""
        self.noted_blocks = look.call["blocks"]
        self.console.print(
            f"{look.active_ms / 1000:>6.1f} s  {look.call['blocks']:>6}  {look.call['billed']:>6}"
            f"  {look.fan_balance:>5}  {look.creator_balance:>7}  {text}",
            highlight=False,
        )

    def _status(self) -> Json:
        return self.fan.get(f"/billing/{self.call_id}/status")

    def _panel(self, look: Look) -> Table:
        call = look.call
        used_ms = min(call["block_ms"], look.active_ms - (call["blocks"] - 1) * call["block_ms"])
        panel = Table(box=box.ROUNDED)
        for name in ("", "active", "block", "", "billed", self.fan.name, self.creator.name, "can pay"):
            panel.add_column(name, justify="right")
        panel.add_row(
            MARKS.get(call["status"], call["status"]),
            f"{look.active_ms / 1000:.1f} s",
            str(call["blocks"]),
            ProgressBar(total=call["block_ms"], completed=max(0, used_ms), width=12),
            str(call["billed"]),
            str(look.fan_balance),
            str(look.creator_balance),
            "" if look.blocks_left is None else f"{look.blocks_left} more",
        )
        return panel
