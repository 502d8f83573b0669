"""`tessera tail`."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import tempfile
from pathlib import Path

import click
import msgspec

from app.commands._common import command_settings, local_url, say
from app.realtime.client import Event, Position, RealtimeClient, RealtimeError, Reset, Revoked, State
from app.settings import API_TOKEN

_POSITION = re.compile(r"([0-9a-f-]{36}):([0-9]{1,18})")


@click.command()
@click.argument("channels", nargs=-1, required=True, metavar="CHANNEL...")
@click.option("--url", help="Where the service runs.  [default: as the settings say, http://127.0.0.1:8000]")
@click.option("--token", envvar=API_TOKEN, help=f"Access token or API key (scope realtime:read).  [{API_TOKEN}]")
@click.option("--from", "start", default="now", metavar="WHERE", help="now, start (what is kept), or EPOCH:SEQ.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--since-file", type=click.Path(dir_okay=False, path_type=Path), help="Keep positions, and go on there.")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
def command(
    channels: tuple[str, ...],
    url: str | None,
    token: str | None,
    start: str,
    as_json: bool,
    since_file: Path | None,
    count: int | None,
) -> None:
    """Print the events of channels as they happen, until Ctrl-C: each once, in order, whatever the network does.

    CHANNEL is `user:ID`, `creator:ID`, `stream:ID`, `call:ID` or `ops`. A line is the time, the channel, the number of
    the event in it, its type and what is in it. Remarks go to standard error. With --since-file each event is printed
    once over any number of runs; only one that was printed right before a crash may come twice.

    \b
      export TESSERA_API_TOKEN=…        an option would be seen in the list of processes
      tessera tail stream:0199…
      tessera tail user:0199… --from start --json | jq .data
      tessera tail ops creator:0199… --since-file positions.json
    """
    if not token:
        raise click.UsageError(f"say who you are: {API_TOKEN} in the environment, or --token")
    positions = _positions(channels, start)
    if since_file is not None:
        positions |= {name: at for name, at in _read_positions(since_file).items() if name in positions}
    tail = _Tail(url or local_url(command_settings()), token, positions, as_json, since_file, count)
    try:
        asyncio.run(tail.run())
    except RealtimeError as error:
        raise click.ClickException(f"{tail.url} says {error}") from error
    except BrokenPipeError:
        # Whoever read has gone; Python would complain about what it cannot flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _Tail:
    """One run of the command."""

    def __init__(
        self,
        url: str,
        token: str,
        positions: dict[str, Position | None],
        as_json: bool,
        since_file: Path | None,
        count: int | None,
    ) -> None:
        self.url = url
        self._token = token
        self._positions = positions
        self._as_json = as_json
        self._since_file = since_file
        self._left = count
        self._refused: list[str] = []

    async def run(self) -> None:
        """Until it is told to end, enough was printed, or nothing is followed any more."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        try:
            async with RealtimeClient(self.url, self._token, on_state=self._remark) as client:
                for channel, position in self._positions.items():
                    await client.subscribe(channel, position)
                await self._print(client)
        except asyncio.CancelledError:
            return  # a signal: the usual end
        finally:
            self._keep()
        if self._refused and len(self._refused) == len(self._positions):
            raise click.ClickException("; ".join(self._refused))

    async def _print(self, client: RealtimeClient) -> None:
        async for message in client:
            match message:
                case Event():
                    click.echo(_line(message, self._as_json))
                    self._positions[message.channel] = Position(message.epoch, message.seq)
                    if self._left is not None:
                        self._left -= 1
                case Reset():
                    if (self._positions[message.channel] or Position(None, 0)).epoch is not None:
                        say(f"{message.channel}: the events up to {message.seq} can no longer be read; on from there")
                    self._positions[message.channel] = Position(message.epoch, message.seq)
                case Revoked():
                    self._refused.append(f"{message.channel}: {message.error}")
                    say(self._refused[-1])
            if not client.pending:
                self._keep()
            if self._left == 0 or len(self._refused) == len(self._positions):
                return

    def _remark(self, state: State, why: str) -> None:
        if state == "waiting":
            say(f"not connected to {self.url}: {why}")

    def _keep(self) -> None:
        """Write where we are; whole or not at all."""
        known = {name: at for name, at in self._positions.items() if at is not None and at.epoch is not None}
        if self._since_file is None or not known:
            return
        if self._since_file.exists():
            known = _read_positions(self._since_file) | known
        with tempfile.NamedTemporaryFile("wb", dir=self._since_file.absolute().parent, delete=False) as file:
            file.write(msgspec.json.format(msgspec.json.encode(known)))
        Path(file.name).replace(self._since_file)


def _positions(channels: tuple[str, ...], start: str) -> dict[str, Position | None]:
    if start == "now":
        return dict.fromkeys(channels)
    if start == "start":
        return dict.fromkeys(channels, Position(None, 0))
    found = _POSITION.fullmatch(start)
    if found is None:
        raise click.BadParameter("must be now, start or EPOCH:SEQ", param_hint="--from")
    if len(set(channels)) > 1:
        raise click.BadParameter("a position is one of one channel; --since-file keeps many", param_hint="--from")
    return {channels[0]: Position(found[1], int(found[2]))}


def _read_positions(file: Path) -> dict[str, Position]:
    """What an earlier run has kept; nothing, if there was none."""
    if not file.exists():
        return {}
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Position])
    except (OSError, msgspec.DecodeError) as error:
        raise click.ClickException(f"{file} is none of our files of positions: {error}") from error


def _line(event: Event, as_json: bool) -> str:
    if as_json:
        return msgspec.json.encode(event).decode()
    data = msgspec.json.encode(event.data).decode()
    return f"{event.at.astimezone():%Y-%m-%d %H:%M:%S}  {event.channel}  {event.seq}  {event.type}  {data}"
