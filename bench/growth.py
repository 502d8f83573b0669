"""`./run bench growth`: what 10 million entries do to balances, statements, lookups and replays."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg
import click

from bench.server import Bench, Connection, bench_server, database, machine

SMALL = 10_000
LARGE = 10_000_000
QUICK = 100_000
MONTHS = 12
"""The large books go this far back, one partition a month; the small ones are of the current month."""
BUSY = 10
"""Wallets that half of all entries are in, however many these are; the other half are in wallets of 1,000 entries."""
LONG = 1_000
TARGET = 3.0
PAGE = 50

BEGIN_EARLIER = """
DO $$
DECLARE
    v_since CONSTANT timestamptz
        := (date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => {months} - 1)) AT TIME ZONE 'UTC';
    v_table core.partitioned;
    v_old text;
BEGIN
    SET LOCAL timezone = 'UTC';
    FOR v_table IN SELECT p.* FROM core.partitioned AS p LOOP
        FOR v_old IN DELETE FROM core.partitions AS p WHERE p.table_name = v_table.name RETURNING p.name LOOP
            EXECUTE format('DROP TABLE core.%I', v_old);
        END LOOP;
        PERFORM core._new_partition(
            v_table, core._partition_name(v_table.name, v_since - interval '1 month'), '-infinity', v_since
        );
    END LOOP;
    UPDATE core.partitioned SET since = v_since, made_to = v_since;
    PERFORM api.make_partitions();
END;
$$
"""
"""An empty ledger that has had partitions for months, instead of from now on."""

PEOPLE = """
INSERT INTO core.users (id, email, username, display_name)
SELECT ('00000000-0000-7000-9000-' || lpad(n::text, 12, '0'))::uuid, 'u' || n || '@bench.invalid', 'u' || n, 'U'
FROM generate_series(0, $1::integer - 1) AS n
"""
WALLETS = """
INSERT INTO core.wallets
    (id, owner_id, asset, balance, version, lifetime_earned, lifetime_spent, last_entry_at, created_at)
SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid,
    ('00000000-0000-7000-9000-' || lpad(n::text, 12, '0'))::uuid, 'TOKEN', 1000, 2 * r.rounds + 1,
    1000 + r.rounds, r.rounds, $4::timestamptz, $5::timestamptz
FROM generate_series(0, $1::integer - 1) AS n,
    LATERAL (SELECT CASE WHEN n < {busy} THEN $2::bigint ELSE $3::bigint END AS rounds) AS r
"""
GRANTS = """
UPDATE core.wallets
SET balance = -1000 * $1::bigint, version = $1, lifetime_spent = 1000 * $1::bigint, last_entry_at = $2
WHERE purpose = 'issuance' AND shard = 0
"""
GRANT_TRANSFERS = """
INSERT INTO core.transfers
    (id, from_wallet_id, to_wallet_id, amount, from_seq, to_seq, created_at, asset, kind, db_user)
SELECT (lpad(to_hex(floor(extract(EPOCH FROM $2::timestamptz) * 1000)::bigint), 12, '0') || '70008000'
    || lpad(to_hex(n), 12, '0'))::uuid,
    i.id, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 1000, n + 1, 1, $2, 'TOKEN', 'grant', 'bench'
FROM generate_series(0, $1::integer - 1) AS n, core.wallets AS i
WHERE i.purpose = 'issuance' AND i.shard = 0
"""
GRANT_ENTRIES = """
INSERT INTO core.entries (wallet_id, seq, transfer_id, amount, balance, created_at)
SELECT e.wallet_id, e.seq, t.id, e.amount, e.balance, t.created_at
FROM core.transfers AS t,
    LATERAL (VALUES (t.from_wallet_id, t.from_seq, -1000, -1000 * t.from_seq), (t.to_wallet_id, t.to_seq, 1000, 1000))
    AS e (wallet_id, seq, amount, balance)
WHERE t.kind = 'grant'
"""
RING_TRANSFERS = """
INSERT INTO core.transfers
    (id, from_wallet_id, to_wallet_id, amount, from_seq, to_seq, created_at, actor_id, asset, kind)
SELECT
    (lpad(to_hex(floor(extract(EPOCH FROM i.at) * 1000)::bigint), 12, '0') || '7001' || '8' || to_hex($7::integer)
        || lpad(to_hex(i.n), 14, '0'))::uuid,
    ('00000000-0000-7000-8000-' || lpad(($1 + i.k)::text, 12, '0'))::uuid,
    ('00000000-0000-7000-8000-' || lpad(($1 + (i.k + 1) % $2)::text, 12, '0'))::uuid,
    1, 2 * i.r + (i.k > 0)::integer, 2 * i.r + (i.k = $2 - 1)::integer, i.at,
    ('00000000-0000-7000-9000-' || lpad(($1 + i.k)::text, 12, '0'))::uuid, 'TOKEN', 'transfer'
FROM (
    SELECT g AS n, g / $2 + 1 AS r, (g % $2)::integer AS k,
        $4::timestamptz + ($5::timestamptz - $4::timestamptz) * (g::numeric / $6)::float8 AS at
    FROM generate_series(0::bigint, $3::bigint * $2 - 1) AS g
) AS i
"""
"""In each round every wallet of a ring pays the next one 1: so seq and balance of each entry are known by counting."""
RING_ENTRIES = """
INSERT INTO core.entries (wallet_id, seq, transfer_id, amount, balance, created_at)
SELECT e.wallet_id, e.seq, t.id, e.amount, e.balance, t.created_at
FROM core.transfers AS t,
    LATERAL (VALUES
        (t.from_wallet_id, t.from_seq, -1, 1000 - (t.from_seq % 2 = 0)::integer),
        (t.to_wallet_id, t.to_seq, 1, 1000 + (t.to_seq % 2 = 0)::integer)
    ) AS e (wallet_id, seq, amount, balance)
WHERE t.kind = 'transfer'
"""
KEYS = """
INSERT INTO core.idempotency_keys (actor_id, key, transfer_id, created_at, request_hash)
SELECT t.actor_id, 'key-' || t.from_seq, t.id, t.created_at,
    core._request_hash('key', record_send(ROW(
        'transfer'::text, t.from_wallet_id, t.to_wallet_id, t.amount::bigint, t.asset, t.kind, t.reference, t.metadata,
        t.event_at
    )))
FROM core.transfers AS t
WHERE t.kind = 'transfer'
"""
SCANS = """
SELECT coalesce(sum(s.seq_scan), 0)::bigint
FROM pg_stat_user_tables AS s INNER JOIN pg_class AS c ON c.oid = s.relid
WHERE s.schemaname = 'core' AND c.reltuples > 1000
"""


class Books:
    """A ledger of a size, and the arguments that its measurements take from it."""

    def __init__(self, entries: int, months: int) -> None:
        half = entries // 4  # transfers of each ring; each makes two entries
        self.months = months
        self.busy_rounds = half // BUSY
        self.others = max(2, 2 * half // LONG)
        self.rounds = half // self.others
        self.wallets = BUSY + self.others
        self.now = datetime.now(UTC).replace(microsecond=0)
        month = self.now.replace(day=1, hour=0, minute=0, second=0)
        for _ in range(months - 1):
            month = (month - timedelta(days=1)).replace(day=1)
        self.start = month

    async def load(self, connection: Connection) -> None:
        """Fill the database, past the ledger's functions but as they would have; the auditor finds nothing."""
        if self.months > 1:
            await connection.execute(BEGIN_EARLIER.format(months=self.months))
        first, begin, end = self.start, self.start + timedelta(seconds=1), self.now - timedelta(seconds=1)
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica; SET LOCAL statement_timeout = 0")
            await connection.execute(PEOPLE, self.wallets)
            await connection.execute(WALLETS.format(busy=BUSY), self.wallets, self.busy_rounds, self.rounds, end, first)
            await connection.execute(GRANTS, self.wallets, first)
            await connection.execute(GRANT_TRANSFERS, self.wallets, first)
            await connection.execute(GRANT_ENTRIES)
            rings = ((0, BUSY, self.busy_rounds, 1), (BUSY, self.others, self.rounds, 2))
            for offset, size, rounds, ring in rings:
                await connection.execute(RING_TRANSFERS, offset, size, rounds, begin, end, rounds * size, ring)
            await connection.execute(RING_ENTRIES)
            await connection.execute(KEYS)
        await connection.execute("VACUUM (FREEZE, ANALYZE)")
        await connection.execute("CHECKPOINT")

    def wallet(self, rng: random.Random, busy: bool = False) -> UUID:
        """One of the wallets."""
        number = rng.randrange(BUSY) if busy else rng.randrange(BUSY, self.wallets)
        return UUID(f"00000000-0000-7000-8000-{number:012d}")

    def moment(self, rng: random.Random) -> datetime:
        """Some time since the beginning."""
        return self.start + (self.now - self.start) * rng.random()


Arguments = Callable[[Books, random.Random, list[asyncpg.Record]], tuple[object, ...]]

MEASUREMENTS: dict[str, tuple[str, Arguments]] = {
    "balance": (
        "SELECT * FROM api.wallets WHERE wallet_id = $1",
        lambda books, rng, _: (books.wallet(rng),),
    ),
    "statement, first page": (
        f"SELECT * FROM api.statement($1, p_limit => {PAGE})",
        lambda books, rng, _: (books.wallet(rng),),
    ),
    "statement, deep page": (
        f"SELECT * FROM api.statement($1, p_before_seq => $2, p_limit => {PAGE})",
        lambda books, rng, _: (books.wallet(rng), rng.randrange(PAGE + 2, LONG)),
    ),
    "statement, busy wallet, first page": (
        f"SELECT * FROM api.statement($1, p_limit => {PAGE})",
        lambda books, rng, _: (books.wallet(rng, busy=True),),
    ),
    "statement, busy wallet, deep page": (
        f"SELECT * FROM api.statement($1, p_before_seq => $2, p_limit => {PAGE})",
        lambda books, rng, _: (books.wallet(rng, busy=True), rng.randrange(PAGE + 2, 2 * books.busy_rounds)),
    ),
    "statement, page of a past moment": (
        f"SELECT * FROM api.statement($1, p_to => $2, p_limit => {PAGE})",
        lambda books, rng, _: (books.wallet(rng), books.moment(rng)),
    ),
    "balance_at": (
        "SELECT api.balance_at($1, $2)",
        lambda books, rng, _: (books.wallet(rng), books.moment(rng)),
    ),
    "balance_at, busy wallet": (
        "SELECT api.balance_at($1, $2)",
        lambda books, rng, _: (books.wallet(rng, busy=True), books.moment(rng)),
    ),
    "transfer lookup": (
        "SELECT * FROM api.transfers WHERE transfer_id = $1",
        lambda books, rng, transfers: (rng.choice(transfers)["id"],),
    ),
    "replay": (
        "SELECT * FROM api.transfer($1, $2, 1, p_key => $3, p_actor => $4)",
        lambda books, rng, transfers: tuple(rng.choice(transfers)[1:]),
    ),
}
SAMPLE = """
SELECT t.id, t.from_wallet_id, t.to_wallet_id, 'key-' || t.from_seq, t.actor_id
FROM core.transfers AS t TABLESAMPLE SYSTEM (100.0 * least(1, 20000.0 / $1::numeric)) WHERE t.kind = 'transfer'
"""


class Times(NamedTuple):
    """Median microseconds of a call: whatever pages it needs, and again with the same arguments, its pages at hand."""

    first: float
    again: float


async def measure(connection: Connection, books: Books, calls: int, seed: int) -> dict[str, Times]:
    """Times of each call, one connection, arguments all over the books."""
    rng = random.Random(seed)  # noqa: S311 - a load, no secret
    transfers = await connection.fetch(SAMPLE, (books.busy_rounds * BUSY + books.rounds * books.others))
    found = {}
    for name, (query, arguments) in MEASUREMENTS.items():
        statement = await connection.prepare(query)
        times: list[tuple[float, float]] = []
        for number in range(calls + calls // 5):
            args = arguments(books, rng, transfers)
            started = time.perf_counter()
            rows = await statement.fetch(*args)
            between = time.perf_counter()
            await statement.fetch(*args)
            if number >= calls // 5:  # the others warm it up
                times.append((between - started, time.perf_counter() - between))
            if not rows and "past" not in name:
                raise click.ClickException(f"{name}: nothing found for {args}")
            if name == "replay" and not rows[0]["replayed"]:
                raise click.ClickException("a replay was none: the request's hash is made in another way now")
        found[name] = Times(*(statistics.median(column) * 1e6 for column in zip(*times, strict=True)))
    return found


@click.command()
@click.option("--entries", default=LARGE, show_default=True, help="Size of the large books.")
@click.option("--calls", default=500, show_default=True, help="Calls of each kind in a round.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; small and large books take turns.")
@click.option("--quick", is_flag=True, help=f"{QUICK:,} entries and few calls: shows that it works.")
@click.option("--assert", "assert_", is_flag=True, help="Exit with 1 if a target is missed.")
def command(entries: int, calls: int, rounds: int, quick: bool, assert_: bool) -> None:
    """Time of reads and replays with 10 thousand entries of this month, and with 10 million of twelve months."""
    if quick:
        entries, calls, rounds = QUICK, 50, 1
    click.echo(f"{machine()}; {rounds} rounds of {calls} calls each, one connection")
    with ExitStack() as stack:
        bench = stack.enter_context(bench_server())
        sizes = {
            count: (stack.enter_context(database(bench)), Books(count, months))
            for count, months in ((SMALL, 1), (entries, MONTHS))
        }
        for count, (name, books) in sizes.items():
            started = time.perf_counter()
            bench.on(name, books.load)
            size = bench.on(name, _megabytes)
            click.echo(f"{count:>12,} entries loaded in {time.perf_counter() - started:,.0f} s, {size:,} MiB")
        times: dict[int, list[dict[str, Times]]] = {count: [] for count in sizes}
        scans = bench.on(sizes[entries][0], _scans)
        for seed in range(rounds):
            for count, (name, books) in sizes.items():
                times[count].append(_measured(bench, name, books, calls, seed))
        scans = bench.on(sizes[entries][0], _scans) - scans
        missed = report(times[SMALL], times[entries], entries)
        click.echo(f"scans of a table or partition: {scans}")
        broken = 0
        for count, (name, _) in sizes.items():
            started = time.perf_counter()
            found = bench.on(name, _violations)
            broken += found
            click.echo(f"auditor, {count:,} entries: {found} broken invariants, {time.perf_counter() - started:,.1f} s")
    if assert_ and (missed or scans or broken):
        raise SystemExit(1)


def _measured(bench: Bench, name: str, books: Books, calls: int, seed: int) -> dict[str, Times]:
    async def work(connection: Connection) -> dict[str, Times]:
        return await measure(connection, books, calls, seed)

    return bench.on(name, work)


async def _megabytes(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT pg_database_size(current_database()) / 1048576"))


async def _scans(connection: Connection) -> int:
    return int(await connection.fetchval(SCANS))


async def _violations(connection: Connection) -> int:
    await connection.execute("SET work_mem = '256MB'")
    return len(await connection.fetch("SELECT * FROM api.audit_ledger()"))


def report(small: list[dict[str, Times]], large: list[dict[str, Times]], entries: int) -> bool:
    """Print the table; True if a ratio is above the target.

    The target is for pages at hand, as those of the small books always are. What a page costs that nobody has read for
    long is beside it: that is the machine's, and as much as the call needs pages.
    """
    missed = False
    click.echo(f"{'':<36} {SMALL:>10,} {entries:>12,}   ratio                     pages not at hand")
    for name in MEASUREMENTS:
        before, after = (statistics.median(one[name].again for one in rounds) for rounds in (small, large))
        ratio = statistics.median(b[name].again / a[name].again for a, b in zip(small, large, strict=True))
        cold = statistics.median(one[name].first for one in large)
        times = statistics.median(b[name].first / a[name].again for a, b in zip(small, large, strict=True))
        missed = missed or ratio > TARGET
        verdict = "met" if ratio <= TARGET else "MISSED"
        click.echo(
            f"{name:<36} {before:>7,.0f} µs {after:>9,.0f} µs   {ratio:5.2f}   target ≤ {TARGET:g}   {verdict:<6}"
            f" {cold:>9,.0f} µs   {times:5.2f}"
        )
    return missed
