"""`tessera audit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from app.commands import _queries, _seals
from app.commands._common import with_connection
from app.commands._seals import Anchor, Connection, Problem


class _AnchorType(click.ParamType[Anchor]):
    name = "BLOCK:DIGEST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Anchor:
        try:
            return value if isinstance(value, Anchor) else Anchor.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.option("--seals/--no-seals", default=True, help="Also check the sealed blocks.  [default: seals]")
@click.option("--anchor", "anchors", type=_AnchorType(), multiple=True, help="A seal that was kept. May be repeated.")
@click.option("--export", type=click.Path(dir_okay=False, path_type=Path), help="Write seals and sealed rows here.")
@click.option("--offline", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Check such a file.")
def command(seals: bool, anchors: tuple[Anchor, ...], export: Path | None, offline: Path | None) -> None:
    """Check every invariant of the ledger, and exit with 1 if one is broken.

    The sum over all wallets of an asset is zero, each balance is its last entry, each wallet's entries have no gap,
    each transfer has two entries that cancel out; and what was sealed is what it was. Reads only; may run beside
    anything. The newest seal is printed: keep it where nobody who can change the database can change it, and give it
    back later as --anchor. Then not even a superuser can have changed what was sealed up to it.

    \b
      tessera audit                          a row for each violation
      tessera audit --anchor 1200:5f3a…      and history is the one that was anchored
      tessera audit --export books.jsonl.gz  seals and what they cover, for somebody else to check
      tessera audit --offline books.jsonl.gz with no database at all
    """
    if offline:
        if export:
            raise click.UsageError("--export reads the database, --offline does not: one of them.")
        _finish(*_offline(offline, anchors))
    elif export:
        if anchors:
            raise click.UsageError("--export writes and checks nothing: give --anchor with --offline, or by itself.")
        newest = with_connection("dba", lambda connection: _export(connection, export))
        click.echo(f"Written to {export}. {_named(newest)}")
    else:
        _finish(*with_connection("dba", lambda connection: _online(connection, seals, anchors)))


def _finish(problems: Sequence[Problem], summary: str) -> None:
    if not problems:
        click.echo(summary)
        return
    table = Table("rule", "subject", "detail", title=f"{len(problems)} broken invariants", show_lines=True)
    for problem in problems:
        table.add_row(*problem)
    Console().print(table)
    raise SystemExit(1)


async def _online(connection: Connection, seals: bool, anchors: tuple[Anchor, ...]) -> tuple[list[Problem], str]:
    problems = await _queries.audit_ledger(connection)
    if seals:
        problems += await _queries.verify_seals(connection)
    problems += _seals.anchored(anchors, await _queries.seal_digests(connection, [a.block for a in anchors]))
    newest = await _queries.newest_seal(connection)
    return problems, f"The books balance: the auditor found nothing. {_named(newest)}"


async def _export(connection: Connection, path: Path) -> Anchor | None:
    try:
        with _seals.opened(path, "wb") as file:
            newest = await _seals.export(connection, file)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error}") from error
    return None if newest is None else newest.anchor


def _offline(path: Path, anchors: tuple[Anchor, ...]) -> tuple[list[Problem], str]:
    try:
        with _seals.opened(path, "rb") as file:
            found = _seals.check_lines(file, anchors)
    except (msgspec.DecodeError, ValueError, OSError, EOFError) as error:
        raise click.ClickException(f"{path} cannot be read as a file of seals: {error}") from error
    newest = None if found.newest is None else found.newest.anchor
    return (
        found.problems,
        f"{found.transfers:,} transfers in {found.blocks:,} blocks are as they were sealed. {_named(newest)}",
    )


def _named(newest: Anchor | None) -> str:
    return f"Newest seal: {newest.block}:{newest.digest}" if newest else "Nothing is sealed yet."
