"""`./run bench ledger|http|tickets|metering|realtime|growth|costs [options]`."""

from __future__ import annotations

import click

from bench.costs import command as costs_command
from bench.growth import command as growth_command
from bench.http import command as http_command
from bench.ledger import command as ledger_command
from bench.metering import command as metering_command
from bench.realtime import command as realtime_command
from bench.tickets import command as tickets_command


@click.group()
def main() -> None:
    """Measure against a baseline of the same run; docs/performance.md says what was found and how.

    \b
      ./run bench ledger             batches and single transfers against pgbench's TPC-B-like
      ./run bench http               tips over HTTP against a route that does nothing
      ./run bench tickets            a stream that opens to 6,000 buyers at once against tips
      ./run bench growth             reads and replays with 10 million entries against 10 thousand
      ./run bench costs              what limits, holds and sealing take from transfers
      ./run bench metering           blocks of calls against batches of transfers; 100,000 live calls
      ./run bench realtime           tips with relay and sockets against tips without; delays; fan-out
      ./run bench ledger --quick     a minute, to see that it works
    """


main.add_command(ledger_command, "ledger")
main.add_command(http_command, "http")
main.add_command(tickets_command, "tickets")
main.add_command(growth_command, "growth")
main.add_command(costs_command, "costs")
main.add_command(metering_command, "metering")
main.add_command(realtime_command, "realtime")

if __name__ == "__main__":
    main(prog_name="./run bench")
