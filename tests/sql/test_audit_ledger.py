"""api.audit_ledger: silent while the books balance; names each rule that is broken behind the ledger's back."""

from __future__ import annotations

import re

import pytest

from app.settings import PROJECT_ROOT
from tests.support.calls import ask_for
from tests.support.money import Tip, Transfer, World, balance, person, set_fee, tip, transfer, unguarded
from tests.support.payments import Fact, tell
from tests.support.payments import paid as buy
from tests.support.payouts import CANCEL, FAIL, SETTLE, account_of, ask, claim, no_reviews
from tests.support.postgres import Connection

ALICE = """(
    SELECT w.id FROM core.wallets AS w JOIN core.users AS u ON u.id = w.owner_id
    WHERE u.username = 'alice' AND w.asset = 'TOKEN')"""
HOLD = "(SELECT h.id FROM core.holds AS h WHERE h.kind = 'partly')"
BOB = ALICE.replace("'alice'", "'bob'")
PLAIN = "(SELECT t.id FROM core.transfers AS t WHERE t.kind = 'gift')"

BROKEN: dict[str, list[str]] = {
    "asset_sums_to_zero": [f"UPDATE core.wallets SET balance = balance + 1 WHERE id = {ALICE}"],
    "balance_is_last_entry": [f"UPDATE core.wallets SET balance = balance - 1 WHERE id = {ALICE}"],
    "spendable_not_negative": [
        "ALTER TABLE core.wallets DROP CONSTRAINT wallets_floor",
        f"UPDATE core.wallets SET held = balance + 1 WHERE id = {ALICE}",
    ],
    "held_is_open_holds": [f"UPDATE core.wallets SET held = 1 WHERE id = {ALICE}"],
    "lifetime_is_sum_of_entries": [f"UPDATE core.wallets SET lifetime_spent = lifetime_spent + 1 WHERE id = {ALICE}"],
    "user_has_wallets": [
        "DELETE FROM core.wallets USING core.users AS u WHERE u.id = owner_id AND u.username = 'newcomer'"
    ],
    "seq_gapless": [f"UPDATE core.entries SET seq = seq + 50 WHERE wallet_id = {ALICE} AND seq = 2"],
    "running_balance": [f"UPDATE core.entries SET balance = balance + 1 WHERE wallet_id = {ALICE} AND seq = 1"],
    "entries_in_time_order": [
        f"UPDATE core.entries SET created_at = created_at - interval '1 day' WHERE wallet_id = {ALICE} AND seq = 2"
    ],
    "entry_has_transfer": [f"DELETE FROM core.transfers WHERE id = {PLAIN}"],
    "transfer_has_two_entries": [f"DELETE FROM core.entries WHERE transfer_id = {PLAIN} AND amount > 0"],
    "transfer_is_within_an_asset": [f"UPDATE core.transfers SET asset = 'EUR' WHERE id = {PLAIN}"],
    "transfer_names_who_asked": [f"UPDATE core.transfers SET db_user = NULL, actor_id = NULL WHERE id = {PLAIN}"],
    "event_is_not_after_transfer": [
        f"UPDATE core.transfers SET event_at = created_at + interval '1 second' WHERE id = {PLAIN}"
    ],
    "hold_is_in_a_wallet_of_its_asset": [f"UPDATE core.holds SET asset = 'EUR' WHERE id = {HOLD}"],
    "captured_is_sum_of_captures": [
        "UPDATE core.holds SET captured = captured + 1, released = released - 1 WHERE status = 'released'"
    ],
    "capture_has_hold_and_transfer": ["UPDATE core.captures SET transfer_id = core.uuid7()"],
    "hold_names_who_asked": [f"UPDATE core.holds SET db_user = NULL WHERE id = {HOLD}"],
    "hold_is_open_or_used_up": [
        "ALTER TABLE core.holds DROP CONSTRAINT holds_closed",
        f"UPDATE core.holds SET closed_at = now() WHERE id = {HOLD}",
    ],
    "refunds_are_within_original": [
        "INSERT INTO core.refunds"
        " SELECT r.original_id, core.uuid7(), 1000, 0, 'refuse', NULL, now() FROM core.refunds AS r"
    ],
    "refund_undoes_its_original": [
        "UPDATE core.refunds SET original_id = (SELECT t.id FROM core.transfers AS t WHERE t.kind = 'tip')"
    ],
    "debt_is_what_is_missing": [f"UPDATE core.wallets SET debt = debt + 1 WHERE id = {BOB}"],
    "debt_comes_from_refunds": ["UPDATE core.refunds SET owed = owed - 1 WHERE owed > 0"],
    "transfer_in_its_month": [
        f"UPDATE core.transfers SET id = core._uuid_at(now() + interval '40 days') WHERE id = {PLAIN}"
    ],
    "adjustment_has_its_transfer": ["UPDATE core.adjustments SET amount = amount + 1"],
    "adjustment_took_two_people": [
        "ALTER TABLE core.adjustments DROP CONSTRAINT adjustments_two_people",
        "UPDATE core.adjustments SET decided_by = requested_by, decided_db_user = requested_db_user",
    ],
    "referral_is_no_circle": [
        "UPDATE core.users AS u SET referred_by_id = r.id FROM core.users AS r"
        " WHERE (u.username, r.username) IN (('alice', 'bob'), ('bob', 'alice'))"
    ],
    "ticket_has_transfer": ["UPDATE core.tickets SET platform_fee = platform_fee + 1 WHERE refunded_at IS NULL"],
    "ticket_transfer_has_ticket": ["DELETE FROM core.tickets WHERE refunded_at IS NULL"],
    "seats_sold_are_tickets": ["UPDATE core.streams SET seats_sold = seats_sold - 1 WHERE seats IS NOT NULL"],
    "cancelled_stream_has_no_paid_ticket": ["UPDATE core.tickets SET refunded_at = NULL WHERE refunded_at IS NOT NULL"],
    "key_has_transfer": ["UPDATE core.idempotency_keys SET transfer_id = core.uuid7()"],
    "tip_has_transfer": ["UPDATE core.tips SET amount = amount + 1"],
    "tip_transfer_has_tip": ["DELETE FROM core.tips"],
    "stream_total_is_sum_of_tips": ["UPDATE core.stream_totals SET tips = tips + 1"],
    "call_total_is_sum_of_blocks": ["UPDATE core.call_clocks SET billed = billed + 1 WHERE blocks > 0"],
    "block_has_transfer": ["UPDATE core.meter_blocks SET transfer_id = core.uuid7() WHERE block_no = 0"],
    "call_transfer_has_block": ["DELETE FROM core.meter_blocks WHERE refunded_at IS NULL"],
    "blocks_are_in_order_and_within_limit": ["UPDATE core.meter_blocks SET block_no = block_no + 2"],
    "blocks_are_for_active_time": ["UPDATE core.calls SET active_us = 3600000000 WHERE end_reason = 'stopped'"],
    "returned_block_is_refunded": ["UPDATE core.meter_blocks SET refunded_at = now() WHERE refunded_at IS NULL"],
    "live_call_has_clock_and_people": ["DELETE FROM core.call_parties"],
    "payment_has_its_transfer": ["UPDATE core.payments SET buyer_id = core.uuid7() WHERE transfer_id IS NOT NULL"],
    "purchase_has_its_payment": ["DELETE FROM core.payment_transfers WHERE kind = 'purchase'"],
    "payment_reversal_is_a_refund": ["UPDATE core.payment_transfers SET owed = owed + 1 WHERE kind = 'reversal'"],
    "payment_reversed_is_what_moved": ["UPDATE core.payments SET reversed = reversed + 1 WHERE reversed > 0"],
    "payment_reversed_is_what_is_due": ["UPDATE core.payments SET tokens = tokens * 2 WHERE reversed > 0"],
    "payment_refunded_is_its_refunds": ["UPDATE core.payments SET refunded = refunded + 1 WHERE refunded > 0"],
    "refunds_are_within_payment": ["UPDATE core.payments SET refunded = amount + 1 WHERE refunded > 0"],
    "payment_status_fits": ["UPDATE core.payments SET status = 'refunded' WHERE status = 'paid'"],
    "waiting_payout_has_hold": ["UPDATE core.payouts SET amount = amount + 1 WHERE status = 'held'"],
    "payout_hold_has_payout": [
        "UPDATE core.payouts SET hold_id = core.uuid7() WHERE status = 'held'",
    ],
    "sent_payout_is_one_capture": [
        "UPDATE core.captures SET amount = captures.amount - 1 FROM core.payouts AS p"
        " WHERE p.transfer_id = captures.transfer_id AND p.status = 'processing'"
    ],
    "paid_payout_left_clearing": ["UPDATE core.payouts SET paid_transfer_id = core.uuid7() WHERE status = 'paid'"],
    "payout_transfer_has_payout": ["UPDATE core.payouts SET paid_transfer_id = core.uuid7() WHERE status = 'paid'"],
    "closed_payout_is_given_back_once": [
        "UPDATE core.refunds SET amount = refunds.amount - 1 FROM core.payouts AS p"
        " WHERE p.status = 'failed' AND p.transfer_id = original_id"
    ],
    "clearing_is_processing_payouts": [
        "UPDATE core.payouts SET status = 'paid', paid_at = now(), paid_transfer_id = core.uuid7()"
        " WHERE status = 'processing'"
    ],
    "fees_are_those_of_tips": ["UPDATE core.tips SET platform_fee = platform_fee + 1, amount = amount + 1"],
}


async def _busy(world: World) -> None:
    """A gift with a key, a tip with a fee, holds in part captured and released, a debt, a user who has done nothing."""
    await person(world.db, "newcomer")
    payment = await buy(world.db, world.second_admin.id)
    await tell(world.db, Fact(payment=payment, kind="refunded", item="re", amount=100))
    await transfer(
        world.db,
        Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=10, key="k", kind="gift"),
    )
    await set_fee(world.db, 2500)
    for channel in ("open", "cancelled"):
        stream = await world.db.fetchval(
            "SELECT stream_id FROM api.create_stream($1, 'Show', $2, 'private', 4, 9)", world.creator.id, channel
        )
        await world.db.execute("SELECT api.buy_ticket($1, $2)", world.alice.id, stream)
    await tip(world.db, Tip(sender=world.alice.id, creator=world.creator.id, amount=20, key="k", stream=stream))
    await world.db.execute("SELECT api.cancel_stream($1, 'ill')", stream)
    for reason in ("stopped", None):
        creator = await person(world.db, f"star-{reason or 'live'}".lower(), roles=["creator"])
        await ask_for(world.db, creator, 8)
        call = await world.db.fetchval("SELECT call_id FROM api.open_call($1, $2)", world.alice.id, creator.id)
        await world.db.execute("SELECT api.accept_call($1)", call)
        if reason:
            await world.db.execute("SELECT api.end_call($1)", call)
    for kind in ("partly", "released"):
        hold = await world.db.fetchval(
            "SELECT hold_id FROM api.place_hold($1, 10, interval '1 hour', p_kind => $2)", world.alice.wallet, kind
        )
        await world.db.execute("SELECT api.capture_hold($1, $2, 3)", hold, world.creator.wallet)
    await world.db.execute("SELECT api.release_hold($1)", hold)
    asked = await world.db.fetchval(
        "SELECT adjustment_id FROM api.request_adjustment($1, $2, 1, 'by hand', p_actor => $3)",
        world.alice.wallet,
        world.bob.wallet,
        world.admin.id,
    )
    await world.db.execute("SELECT api.approve_adjustment($1, $2)", asked, world.second_admin.id)
    await _payouts(world)
    paid = await transfer(
        world.db, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=10, kind="loan")
    )
    rest = await balance(world.db, world.bob.wallet)
    await transfer(world.db, Transfer(source=world.bob.wallet, target=world.creator.wallet, amount=rest))
    await world.db.execute("SELECT api.refund_transfer($1, p_policy => 'create_debt')", paid["transfer_id"])


async def _payouts(world: World) -> None:
    """One that waits, one on its way, one paid, one failed, one taken back after it was paid, one cancelled."""
    await no_reviews(world.db)
    star = await person(world.db, "paid-star", tokens=20_000, roles=["creator"])
    account = await account_of(world.db, star)
    for path in ((SETTLE,), (FAIL,), (SETTLE, FAIL), ()):
        made = await ask(world.db, star, 2000, account)
        await claim(world.db)
        for query in path:
            await world.db.execute(query, made, *((None, None) if query == SETTLE else ("rejected", None, None)))
    await world.db.execute(CANCEL, await ask(world.db, star, 2000, account), None)
    await world.db.execute("SELECT api.hold_payout($1, 'why')", await ask(world.db, star, 2000, account))


async def test_silent_while_the_books_balance(world: World, dba_conn: Connection) -> None:
    await _busy(world)
    assert await dba_conn.fetch("SELECT * FROM api.audit_ledger()") == []


@pytest.mark.breaks_ledger
@pytest.mark.parametrize("rule", BROKEN)
async def test_names_the_broken_rule(world: World, dba_conn: Connection, rule: str) -> None:
    await _busy(world)
    async with unguarded(world.db):
        for statement in BROKEN[rule]:
            result = await world.db.execute(statement)
            assert not result.endswith(" 0"), "nothing was broken"
    found = await dba_conn.fetch("SELECT * FROM api.audit_ledger()")
    assert rule in {row["rule"] for row in found}
    assert all(row["subject"] and row["detail"] for row in found)


@pytest.mark.breaks_ledger
async def test_a_fee_that_stayed_when_its_stream_was_cancelled(world: World, dba_conn: Connection) -> None:
    await _busy(world)
    async with unguarded(world.db):
        await world.db.execute(
            "DELETE FROM core.refunds USING core.transfers AS t WHERE t.id = original_id AND t.kind = 'fee'"
        )
    found = await dba_conn.fetch("SELECT * FROM api.audit_ledger()")
    assert "cancelled_stream_has_no_paid_ticket" in {row["rule"] for row in found}


def test_every_rule_is_broken_once() -> None:
    sources = sorted((PROJECT_ROOT / "sql" / "functions").glob("**/_audit_*.sql"))
    rules = {rule for path in sources for rule in re.findall(r"SELECT\s+'([a-z_]+)',", path.read_text())}
    assert rules == set(BROKEN)


async def test_runs_are_kept_and_old_ones_go(world: World, dba_conn: Connection) -> None:
    await world.db.execute(
        "INSERT INTO core.audits (started_at, finished_at, violations, found)"
        " SELECT now(), now(), 0, '[]' FROM generate_series(1, 1005)"
    )
    ran = await dba_conn.fetchrow("SELECT * FROM api.run_audit()")
    assert ran is not None
    assert (ran["violations"], ran["found"]) == (0, "[]")
    assert await world.db.fetchval("SELECT count(*) FROM core.audits") == 1000
    assert await dba_conn.fetchval("SELECT max(audit_id::text)::uuid FROM api.audits") == ran["audit_id"]
