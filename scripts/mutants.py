"""`./run mutants`: does the suite notice when a function of the ledger is wrong?

Each mutant is one plausible mistake: a text in one file of sql/functions and what stands there instead. One at a time
they are migrated into a test server of their own, and the tests named run on it until the first fails. A mutant that
survives them is a hole in the suite: the command says so and exits with 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import click

from app.core.migrations import SQL_DIRECTORY
from app.settings import PROJECT_ROOT

TESTS_FAILED = 1
"""What pytest exits with when tests ran and some failed; anything else means that they did not run."""
HOLDS = ("tests/sql/test_holds.py",)
REFUNDS = ("tests/sql/test_refund_transfer.py",)
TRANSFERS = ("tests/sql/test_transfer.py", "tests/sql/test_transfer_batch.py")
VELOCITY = ("tests/sql/test_velocity.py",)
CALLS = ("tests/sql/test_calls.py", "tests/properties/test_calls_machine.py")
SEALS = ("tests/sql/test_seals.py",)
TIPS = ("tests/sql/test_send_tips.py",)
STALE = ("tests/sql/test_isolation_races.py",)
RACES = ("tests/concurrency", "tests/sql/test_transfer.py", *HOLDS)


class Mutant(NamedTuple):
    """A mistake: in this file the one text becomes the other; these tests should notice."""

    name: str
    file: str
    old: str
    new: str
    tests: Sequence[str]


MUTANTS = (
    Mutant("no lock", "wallets/_lock_wallets.sql", "    FOR NO KEY UPDATE;", "    ;", RACES),
    Mutant(
        "locks in the order of the request",
        "wallets/_lock_wallets.sql",
        "    ORDER BY w.id\n",
        "    ORDER BY array_position(p_ids, w.id)\n",
        RACES,
    ),
    Mutant(
        "a hold looks up its key before the lock",
        "wallets/_place_hold.sql",
        "    PERFORM core._lock_wallets(ARRAY[p_wallet]);\n\n"
        "    v_stored := core._stored_result(p_actor, p_key, v_hash);\n",
        "    v_stored := core._stored_result(p_actor, p_key, v_hash);\n"
        "    PERFORM core._lock_wallets(ARRAY[p_wallet]);\n",
        HOLDS,
    ),
    Mutant(
        "a refund sums up before the lock",
        "wallets/refund_transfer.sql",
        "    PERFORM core._lock_wallets(ARRAY[v_original.from_wallet_id, v_original.to_wallet_id]);\n",
        "",
        REFUNDS,
    ),
    Mutant(
        "ids from before the locks",
        "wallets/_post_transfers.sql",
        "ARRAY(SELECT core.uuid7() FROM",
        "ARRAY(SELECT core._uuid_at(statement_timestamp()) FROM",
        SEALS,
    ),
    Mutant(
        "open transactions do not hold sealing back",
        "seals/seal_entries.sql",
        "WHERE m.xid < pg_snapshot_xmin(pg_current_snapshot())",
        "WHERE m.xid < pg_current_xact_id()",
        SEALS,
    ),
    Mutant(
        "an entry's balance is not sealed",
        "seals/_transfer_rows.sql",
        "t.from_seq::bigint, f.balance",
        "t.from_seq::bigint, 0::bigint",
        SEALS,
    ),
    Mutant("a fee rounded up", "tips/send_tips.sql", "floor(r.amount * v_fee_bps", "ceil(r.amount * v_fee_bps", TIPS),
    Mutant(
        "the floor not checked on capture", "wallets/_hold_refusal.sql", "WHEN p_amount > p_left", "WHEN false", HOLDS
    ),
    Mutant(
        "a single transfer spends what is held",
        "wallets/_post_one.sql",
        ">= f.minimum + f.held",
        ">= f.minimum",
        HOLDS,
    ),
    Mutant(
        "a batch keeps the last unit",
        "wallets/_post_transfers.sql",
        "v_balances[v_from] - v_amount >= v_floors[v_from]",
        "v_balances[v_from] - v_amount > v_floors[v_from]",
        TRANSFERS,
    ),
    Mutant(
        "a refund forgets the ones before it",
        "wallets/refund_transfer.sql",
        "WHERE r.original_id = p_transfer",
        "WHERE r.original_id = p_transfer AND false",
        REFUNDS,
    ),
    Mutant(
        "a debt that credits do not pay off",
        "wallets/_post_transfers.sql",
        "THEN greatest(0, w.minimum + w.held - n.balance) ELSE 0 END",
        "THEN greatest(w.debt, w.minimum + w.held - n.balance) ELSE 0 END",
        REFUNDS,
    ),
    Mutant(
        "a refund within balance takes what is held",
        "wallets/refund_transfer.sql",
        "greatest(v_payee.balance - v_payee.held - v_payee.minimum, 0)",
        "greatest(v_payee.balance - v_payee.minimum, 0)",
        REFUNDS,
    ),
    Mutant(
        "an expired hold can be captured",
        "wallets/_hold_refusal.sql",
        "WHEN p_hold.status <> 'open' OR p_hold.expires_at <= clock_timestamp()",
        "WHEN p_hold.status <> 'open'",
        HOLDS,
    ),
    Mutant(
        "an expired hold blocks money",
        "wallets/_post_transfers.sql",
        "EXIT WHEN v_wallets.held > 0 IS NOT TRUE OR core._expire_holds(v_ids) = 0;",
        "EXIT;",
        HOLDS,
    ),
    Mutant(
        "a hold on overdraft", "wallets/_place_hold.sql", "greatest(v_wallet.minimum, 0)", "v_wallet.minimum", HOLDS
    ),
    Mutant(
        "keys of everybody are one",
        "wallets/_find_twins.sql",
        "WHERE i.actor_id = coalesce(r.actor_id, p_db_actor) AND i.key = r.idempotency_key",
        "WHERE i.key = r.idempotency_key",
        TRANSFERS,
    ),
    Mutant(
        "another amount is the same request",
        "wallets/transfer.sql",
        "'transfer'::text, p_from, p_to, p_amount, p_asset",
        "'transfer'::text, p_from, p_to, p_asset",
        TRANSFERS,
    ),
    Mutant(
        "the same key twice in a batch",
        "wallets/_find_twins.sql",
        "HAVING bool_or(f.first <> f.ord);",
        "HAVING false;",
        TRANSFERS,
    ),
    Mutant(
        "the payer need not be the actor",
        "wallets/_post_one.sql",
        "AND (NOT p_payer_is_actor OR p_request.actor_id IS NULL OR f.owner_id = p_request.actor_id)",
        "",
        TRANSFERS,
    ),
    Mutant(
        "a frozen wallet is paid",
        "wallets/_post_one.sql",
        "AND t.status IN ('active', 'debits_frozen')",
        "",
        TRANSFERS,
    ),
    Mutant(
        "legs taken back keep their velocity",
        "wallets/_take_room.sql",
        "v_rooms[v_at] := v_rooms[v_at] - p_sign * v_need;",
        "v_rooms[v_at] := v_rooms[v_at] - greatest(0, p_sign) * v_need;",
        VELOCITY,
    ),
    Mutant(
        "a window never ends",
        "wallets/_velocity_rooms.sql",
        "AND c.since = date_bin(",
        "AND c.since <= date_bin(",
        VELOCITY,
    ),
    Mutant(
        "earnings are not counted",
        "wallets/_post_one.sql",
        "CASE WHEN w.id = p_request.from_wallet_id THEN 0 ELSE p_request.amount END",
        "0",
        TRANSFERS,
    ),
    Mutant(
        "a linked leg that fails leaves the others",
        "wallets/_post_transfers.sql",
        "            FOR v_j IN REVERSE v_i - 1..v_start LOOP",
        "            FOR v_j IN REVERSE v_i - 1..v_i LOOP",
        TIPS,
    ),
    Mutant("an adjustment decided twice", "wallets/_open_adjustment.sql", " FOR UPDATE;", ";", STALE),
    Mutant("a referrer whom nobody locks", "ambassadors/_guard_referral.sql", " FOR SHARE;", ";", STALE),
    Mutant(
        "a rate decided by an old snapshot",
        "rates/set_rate.sql",
        "    UPDATE core.rates AS r SET valid_to = r.valid_to WHERE r.name = p_name;\n",
        "",
        STALE,
    ),
    Mutant(
        "the first of a rate decided by an old snapshot",
        "rates/set_rate.sql",
        "    ON CONFLICT ON CONSTRAINT rates_key DO NOTHING\n",
        "",
        STALE,
    ),
    Mutant(
        "a key that an old snapshot does not show",
        "wallets/_store_result.sql",
        "\n    ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO NOTHING;",
        ";",
        STALE,
    ),
    Mutant(
        "a limit that does not hold for those who wait",
        "wallets/_post_transfers.sql",
        "core._velocity_rules(v_now)",
        "core._velocity_rules(statement_timestamp())",
        STALE,
    ),
    Mutant(
        "a capture decides before the lock",
        "wallets/capture_hold.sql",
        "    PERFORM core._lock_wallets(ARRAY[v_wallet_id, p_to]);\n",
        "",
        STALE,
    ),
    Mutant(
        "a block before its time",
        "calls/_call_cases.sql",
        "a.active_us / a.block_us + 1",
        "a.active_us / a.block_us + 2",
        CALLS,
    ),
    Mutant(
        "time not seen is paid for",
        "calls/_meter_calls.sql",
        "c.reason = 'not_seen' AND c.blocks > c.begun",
        "false",
        CALLS,
    ),
    Mutant(
        "a pause forgets what was active before",
        "calls/_active_us.sql",
        "(p_clock).active_us\n        + greatest(",
        "greatest(",
        CALLS,
    ),
    Mutant(
        "a late heartbeat brings a lost call back",
        "calls/beat_calls.sql",
        "(k.creator_seen_at IS NULL OR v_now < core._alive_until(k) + v_grace)",
        "true",
        CALLS,
    ),
    Mutant(
        "metering without a lock", "calls/meter_due_calls.sql", "        FOR NO KEY UPDATE SKIP LOCKED\n", "", CALLS
    ),
    Mutant(
        "pausing leaves what has begun unpaid",
        "calls/pause_call.sql",
        "core._settle_call(v_call, v_now, p_actor) AND v_call.status",
        "v_call.status",
        CALLS,
    ),
    Mutant(
        "a call longer than the longest",
        "calls/_call_cases.sql",
        "a.active_us / a.block_us + 1, a.block_limit)",
        "a.active_us / a.block_us + 1, 100000)",
        CALLS,
    ),
)


def sources(mutant: Mutant, folder: Path) -> Path:
    """sql/ with this mistake in it."""
    copy = folder / "sql"
    shutil.copytree(SQL_DIRECTORY, copy)
    file = copy / "functions" / mutant.file
    text = file.read_text()
    if text.count(mutant.old) != 1:
        raise click.ClickException(
            f"{mutant.name}: {mutant.file} has its text {text.count(mutant.old)} times, not once"
        )
    file.write_text(text.replace(mutant.old, mutant.new))
    return copy


def caught(mutant: Mutant) -> tuple[bool, str]:
    """Whether the tests notice, and the test that did (or why nothing could be told)."""
    with tempfile.TemporaryDirectory(prefix="tessera-mutant-") as folder:
        Path(folder).chmod(0o755)
        environment = {**os.environ, "TESSERA_TEST_SQL": str(sources(mutant, Path(folder)))}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *mutant.tests],
            cwd=PROJECT_ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode not in (0, TESTS_FAILED):
        raise click.ClickException(f"{mutant.name}: the tests did not run\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    first = next((line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))), "")
    return done.returncode == TESTS_FAILED, first.partition(" - ")[0]


@click.command()
@click.option("--only", help="Just the mutants whose names contain this.")
@click.option("--short", is_flag=True, help="Every eighth only, for CI.")
@click.option("--jobs", default=2, show_default=True, help="How many at a time, each on a server of its own.")
def main(only: str | None, short: bool, jobs: int) -> None:
    """Plant mistakes in the functions of the ledger, one at a time, and see whether the tests notice."""
    chosen = [mutant for mutant in MUTANTS if only is None or only in mutant.name][:: 8 if short else 1]
    survivors = []
    with ThreadPoolExecutor(jobs) as pool:
        for mutant, (noticed, by) in zip(chosen, pool.map(caught, chosen), strict=True):
            click.echo(f"{'caught' if noticed else 'SURVIVED':<9} {mutant.name:<45} {by}")
            if not noticed:
                survivors.append(mutant.name)
    click.echo(f"{len(chosen) - len(survivors)} of {len(chosen)} caught")
    if survivors or not chosen:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
