"""`tessera audit`."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from app.commands import _queries
from app.commands._common import with_connection


@click.command()
def command() -> None:
    """Check every invariant of the ledger, and exit with 1 if one is broken.

    The sum over all wallets of an asset is zero, each balance is its last entry, each wallet's entries have no gap,
    each transfer has two entries that cancel out. Reads only; may run beside anything.

    \b
      tessera audit                    a row for each violation, nothing else
      tessera audit && echo balanced
    """

    violations = with_connection("dba", _queries.audit_ledger)
    if not violations:
        click.echo("The books balance: the auditor found nothing.")
        return
    table = Table(*violations[0].keys(), title=f"{len(violations)} broken invariants", show_lines=True)
    for row in violations:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)
    raise SystemExit(1)
