"""`./run bench ledger|http [options]`."""

from __future__ import annotations

import click

from bench.http import command as http_command
from bench.ledger import command as ledger_command


@click.group()
def main() -> None:
    """Measure against a baseline of the same run; docs/performance.md says what was found and how.

    \b
      ./run bench ledger             batches and single transfers against pgbench's TPC-B-like
      ./run bench http               tips over HTTP against a route that does nothing
      ./run bench ledger --quick     a minute, to see that it works
    """


main.add_command(ledger_command, "ledger")
main.add_command(http_command, "http")

if __name__ == "__main__":
    main(prog_name="./run bench")
