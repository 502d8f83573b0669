"""Payouts: tokens are held when they are asked for, leave when they are paid, and come back once when they are not."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.support.money import (
    Person,
    Tip,
    Transfer,
    World,
    as_ledger,
    balance,
    person,
    raised,
    refused,
    set_rate,
    set_status,
    tip,
    transfer,
    until_waiting,
    without_rate,
    written,
)
from tests.support.payouts import (
    ADD_ACCOUNT,
    APPROVE,
    CANCEL,
    CLAIM,
    FAIL,
    HOLD,
    LEASE,
    NOTE,
    REQUEST,
    SECRET,
    SETTLE,
    account_of,
    age,
    ask,
    claim,
    clearing,
    due_now,
    events,
    lapse_hold,
    no_reviews,
    payout,
    rate,
    row,
    status,
)
from tests.support.postgres import Connection

MONEY = 10_000
"""Ten-thousandths of a unit."""


async def creator(world: World, tokens: int = 10_000, name: str = "star") -> Person:
    """Somebody with tokens."""
    return await person(world.db, name, tokens=tokens, roles=["creator"])


async def sent(world: World, who: Person, amount: int = 2000, provider: str = "stripe") -> UUID:
    """A payout that was taken to be sent."""
    await no_reviews(world.db)
    made = await ask(world.db, who, amount, await account_of(world.db, who, provider))
    assert (await claim(world.db))["payout_id"] == made
    return made


async def spendable(world: World, who: Person) -> int:
    value: int = await world.db.fetchval("SELECT spendable FROM api.wallets WHERE wallet_id = $1", who.wallet)
    return value


class TestRequest:
    """api.request_payout."""

    async def test_holds_tokens_and_says_what_they_are_worth(self, world: World, app_conn: Connection) -> None:
        star = await creator(world)
        account = await account_of(world.db, star)
        got = await row(app_conn, REQUEST, star.id, 2001, account, "k")
        assert (got["status"], got["reason"]) == ("held", "first_payout")
        assert (got["value"], got["payout_amount"], got["currency"]) == (2001 * 500, 2001 * 500, "USD")
        assert (got["new_balance"], got["available"]) == (10_000, 7999)
        assert got["expected_at"] - got["created_at"] == timedelta(days=3)
        assert await events(world.db, got["payout_id"]) == ["requested", "held"]
        assert await spendable(world, star) == 7999

    async def test_a_key_repeated_asks_once(self, world: World, app_conn: Connection) -> None:
        star = await creator(world)
        account = await account_of(world.db, star)
        first = await row(app_conn, REQUEST, star.id, 2000, account, "k")
        before = await written(world.db)
        again = await row(app_conn, REQUEST, star.id, 2000, account, "k")
        assert dict(again) == dict(first) | {"replayed": True}
        repeated = await row(app_conn, "SELECT * FROM api.repeat_payout($1, $2, $3, $4)", star.id, 2000, account, "k")
        assert dict(repeated) == dict(again)
        assert await written(world.db) == before
        for query in (REQUEST, "SELECT * FROM api.repeat_payout($1, $2, $3, $4)"):
            refusal = await refused(app_conn, query, star.id, 2001, account, "k")
            assert refusal.slug == "IDEMPOTENCY_KEY_REUSED"
        assert await app_conn.fetch("SELECT * FROM api.repeat_payout($1, 1, $2, 'other')", star.id, account) == []

    @pytest.mark.parametrize(
        ("amount", "code", "slug", "facts"),
        [
            (999, "TS160", "PAYOUT_TOO_SMALL", {"amount": 999, "minimum": 1000}),
            (0, "TS102", "INVALID_AMOUNT", None),
            (-5, "TS102", "INVALID_AMOUNT", None),
            (None, "TS102", "INVALID_AMOUNT", None),
            (2**63 - 1, "TS102", "INVALID_AMOUNT", None),
            (
                10_001,
                "TS401",
                "INSUFFICIENT_TOKENS",
                {"required": 10_001, "current": 10_000, "shortfall": 1, "asset": "TOKEN"},
            ),
        ],
    )
    async def test_amounts_that_are_refused(
        self, world: World, app_conn: Connection, amount: int | None, code: str, slug: str, facts: dict[str, Any] | None
    ) -> None:
        star = await creator(world)
        account = await account_of(world.db, star)
        before = await written(world.db)
        refusal = await refused(app_conn, REQUEST, star.id, amount, account, "k")
        assert (refusal.code, refusal.slug) == (code, slug)
        assert facts is None or refusal.facts == facts
        assert await written(world.db) == before

    async def test_people_and_accounts_that_are_refused(self, world: World, app_conn: Connection) -> None:
        star, other = await creator(world), await creator(world, name="other")
        account, foreign = await account_of(world.db, star), await account_of(world.db, other)
        removed = await account_of(world.db, star, "paystack")
        await app_conn.execute("SELECT api.remove_payout_account($1, $2)", removed, star.id)
        for wrong in (foreign, removed, NOBODY, None):
            assert (await refused(app_conn, REQUEST, star.id, 1000, wrong, None)).slug == "PAYOUT_ACCOUNT_NOT_FOUND"
        assert (await refused(app_conn, REQUEST, NOBODY, 1000, account, None)).slug == "USER_NOT_FOUND"
        old = await world.without_wallet()
        assert (await refused(app_conn, REQUEST, old, 1000, account, None)).slug == "WALLET_NOT_FOUND"
        assert (await refused(app_conn, REQUEST, star.id, 1000, account, "")).slug == "IDEMPOTENCY_KEY_INVALID"
        for shut, slug in (
            ("debits_frozen", "WALLET_FROZEN"),
            ("frozen", "WALLET_FROZEN"),
            ("closed", "WALLET_CLOSED"),
        ):
            await set_status(world.db, star.wallet, shut)
            assert (await refused(app_conn, REQUEST, star.id, 1000, account, None)).slug == slug
        await world.suspend(star)
        assert (await refused(app_conn, REQUEST, star.id, 1000, account, None)).slug == "USER_SUSPENDED"

    @pytest.mark.parametrize(
        "name", ["token_value", "minimum_payout", "payout_day_count", "payout_open", "currency_value"]
    )
    async def test_without_a_rate_nothing_is_asked_for(self, world: World, app_conn: Connection, name: str) -> None:
        star = await creator(world)
        account = await account_of(world.db, star)
        await without_rate(world.db, name)
        before = await written(world.db)
        assert (await refused(app_conn, REQUEST, star.id, 1000, account, None)).slug == "CONFIGURATION_ERROR"
        assert await written(world.db) == before

    async def test_another_currency_by_its_rate(self, world: World, app_conn: Connection) -> None:
        star = await creator(world)
        account = await account_of(world.db, star, "paystack", "NGN")
        assert (await refused(app_conn, REQUEST, star.id, 1000, account, None)).slug == "CONFIGURATION_ERROR"
        await world.db.execute("SELECT api.set_rate('currency_value', 0.0007, NULL, 'ngn')")
        got = await row(app_conn, REQUEST, star.id, 1000, account, None)
        # 50 dollars are 71,428.571… naira: whole kobo, rounded down
        assert (got["value"], got["currency"], got["payout_amount"]) == (50 * MONEY, "NGN", 714_285_700)

    async def test_more_than_can_be_counted(self, world: World, app_conn: Connection) -> None:
        star = await creator(world)
        account = await account_of(world.db, star, "paystack", "IDR")
        await world.db.execute("SELECT api.set_rate('currency_value', 0.0001, NULL, 'idr')")
        assert (await refused(app_conn, REQUEST, star.id, 10**14, account, None)).slug == "PAYOUT_LIMIT"
        await rate(world.db, "payout_day_amount", 10**14)
        refusal = await refused(app_conn, REQUEST, star.id, 10**14, account, None)
        assert (refusal.slug, refusal.facts["maximum"]) == ("INVALID_AMOUNT", 2 * 10**11)

    async def test_a_day_has_limits(self, world: World, app_conn: Connection) -> None:
        star = await creator(world, 300_000)
        account = await account_of(world.db, star)
        first = await ask(app_conn, star, 150_000, account)
        refusal = await refused(app_conn, REQUEST, star.id, 50_001, account, None)
        assert (refusal.code, refusal.slug) == ("TS660", "PAYOUT_LIMIT")
        assert (refusal.facts["amount"], refusal.facts["amount_limit"]) == (150_000, 200_000)
        assert refusal.facts["retry_after"] > 0
        await app_conn.execute(CANCEL, first, star.id)
        for _ in range(3):
            await ask(app_conn, star, 1000, account)
        refusal = await refused(app_conn, REQUEST, star.id, 1000, account, None)
        assert (refusal.slug, refusal.facts["count"]) == ("PAYOUT_LIMIT", 3)

    async def test_what_an_operator_looks_at(self, world: World, app_conn: Connection) -> None:
        star = await creator(world, 100_000)
        account = await account_of(world.db, star)
        await rate(world.db, "payout_review_first", 0)
        got = await row(app_conn, REQUEST, star.id, 20_000, account, None)
        assert (got["status"], got["reason"]) == ("requested", None)
        got = await row(app_conn, REQUEST, star.id, 20_001, account, None)
        assert (got["status"], got["reason"]) == ("held", "large_amount")
        await rate(world.db, "payout_review_account", 1, None)
        got = await row(app_conn, REQUEST, star.id, 1000, account, None)
        assert (got["status"], got["reason"]) == ("held", "new_account")

    async def test_never_on_overdraft_nor_on_what_is_held(self, world: World, app_conn: Connection) -> None:
        star = await creator(world, 1500)
        account = await account_of(world.db, star)
        async with as_ledger(world.db):
            await world.db.execute("UPDATE core.wallets SET minimum = -5000 WHERE id = $1", star.wallet)
        assert (await refused(app_conn, REQUEST, star.id, 1501, account, None)).facts["current"] == 1500
        await ask(app_conn, star, 1000, account)
        refusal = await refused(app_conn, REQUEST, star.id, 1000, account, None)
        assert (refusal.slug, refusal.facts["current"]) == ("INSUFFICIENT_TOKENS", 500)


class TestMaturity:
    """What came in lately cannot be paid out yet."""

    async def test_what_is_young_is_pending(self, world: World, app_conn: Connection) -> None:
        star = await creator(world, 3000)
        await age(world.db, star.wallet, 10)
        await rate(world.db, "earnings_maturity", 7)
        fan = await person(world.db, "fan", tokens=5000)
        sent_tip = await tip(world.db, Tip(sender=fan.id, creator=star.id, amount=1000))
        taken = await tip(world.db, Tip(sender=fan.id, creator=star.id, amount=500))
        await world.db.execute("SELECT api.refund_transfer($1, 200)", taken["tip_id"])
        assert sent_tip["creator_cut"] == 1000
        got = await row(app_conn, "SELECT * FROM api.payout_balance($1)", star.id)
        assert dict(got) == {
            "pending": 1300,
            "payable": 3000,
            "in_payouts": 0,
            "minimum": 1000,
            "maturity_days": 7,
        }
        account = await account_of(world.db, star)
        refusal = await refused(app_conn, REQUEST, star.id, 3001, account, None)
        assert (refusal.code, refusal.slug) == ("TS460", "EARNINGS_PENDING")
        assert refusal.facts == {"required": 3001, "payable": 3000, "pending": 1300, "days": 7}
        made = await ask(app_conn, star, 3000, account)
        got = await row(app_conn, "SELECT * FROM api.payout_balance($1)", star.id)
        assert (got["payable"], got["in_payouts"]) == (0, 3000)
        # what comes back had been old enough before
        await world.db.execute(APPROVE, made, None)
        assert (await claim(world.db))["payout_id"] == made
        await world.db.execute(FAIL, made, "rejected", None, None)
        got = await row(app_conn, "SELECT * FROM api.payout_balance($1)", star.id)
        assert (got["pending"], got["payable"]) == (1300, 3000)

    async def test_spending_takes_the_oldest_first(self, world: World, app_conn: Connection) -> None:
        star = await creator(world, 3000)
        await age(world.db, star.wallet, 10)
        await rate(world.db, "earnings_maturity", 7)
        await transfer(world.db, Transfer(source=world.alice.wallet, target=star.wallet, amount=100))
        await transfer(world.db, Transfer(source=star.wallet, target=world.alice.wallet, amount=2990))
        got = await row(app_conn, "SELECT * FROM api.payout_balance($1)", star.id)
        assert (got["pending"], got["payable"]) == (100, 10)
        await transfer(world.db, Transfer(source=star.wallet, target=world.alice.wallet, amount=50))
        got = await row(app_conn, "SELECT * FROM api.payout_balance($1)", star.id)
        assert (got["pending"], got["payable"]) == (100, 0)

    async def test_nobody_has_no_balance(self, app_conn: Connection) -> None:
        assert (await refused(app_conn, "SELECT * FROM api.payout_balance($1)", NOBODY)).slug == "WALLET_NOT_FOUND"


class TestFlow:
    """From the request to the money, or back."""

    async def test_paid(self, world: World, app_conn: Connection, connect: Connect) -> None:
        scheduler = await connect("scheduler")
        star = await creator(world)
        account = await account_of(world.db, star)
        made = await ask(app_conn, star, 2000, account)
        assert (await claim(scheduler))["payout_id"] is None
        await app_conn.execute(APPROVE, made, world.admin.id)
        task = await claim(scheduler)
        assert (task["payout_id"], task["action"], task["provider"]) == (made, "send", "stripe")
        assert (task["payout_amount"], task["currency"], task["details"], task["attempts"]) == (
            100 * MONEY,
            "USD",
            SECRET,
            1,
        )
        assert (await claim(scheduler))["payout_id"] is None
        assert (await balance(world.db, star.wallet), await clearing(world.db)) == (8000, 2000)
        assert await scheduler.fetchval(NOTE, made, task["lease"], "pending", LEASE, "tr_1", 100 * MONEY, "usd", None)
        for _ in range(2):
            got = await row(scheduler, SETTLE, made, "po_1", None)
            assert (got["status"], got["provider_reference"]) == ("paid", "po_1")
        assert (await balance(world.db, star.wallet), await clearing(world.db)) == (8000, 0)
        assert await events(world.db, made) == ["requested", "held", "requested", "processing", "paid"]
        day = await row(app_conn, "SELECT * FROM api.payout_days")
        assert (day["payouts"], day["amount"], day["value"]) == (1, 2000, 100 * MONEY)
        margin = await row(app_conn, "SELECT * FROM api.margin")
        assert (margin["day"], margin["source"], margin["value"]) == (day["day"], "payouts", -100 * MONEY)
        # the next one passes without an operator
        assert (await row(app_conn, REQUEST, star.id, 1000, account, None))["status"] == "requested"

    async def test_failed_after_it_was_sent(self, world: World) -> None:
        star = await creator(world)
        made = await sent(world, star)
        for _ in range(2):
            got = await row(world.db, FAIL, made, "rejected", "tr_1", None)
            assert (got["status"], got["reason"]) == ("failed", "rejected")
            assert (await balance(world.db, star.wallet), await clearing(world.db)) == (10_000, 0)
        assert (await refused(world.db, SETTLE, made, None, None)).slug == "PAYOUT_STATE"
        assert (await claim(world.db))["payout_id"] is None
        assert await events(world.db, made) == ["requested", "processing", "failed"]

    async def test_taken_back_after_it_was_paid(self, world: World) -> None:
        star = await creator(world)
        issued = "SELECT -sum(balance)::bigint FROM core.wallets WHERE purpose = 'issuance' AND asset = 'TOKEN'"
        before = await world.db.fetchval(issued)
        made = await sent(world, star)
        await world.db.execute(SETTLE, made, None, None)
        assert await world.db.fetchval(issued) == before - 2000
        for _ in range(2):
            await world.db.execute(FAIL, made, "reversed", None, None)
            assert (await balance(world.db, star.wallet), await clearing(world.db)) == (10_000, 0)
        assert await world.db.fetchval(issued) == before
        assert await world.db.fetch("SELECT * FROM api.payout_days") == []

    async def test_what_a_provider_has_paid_is_the_providers_to_take_back(self, world: World) -> None:
        star = await creator(world)
        made = await sent(world, star)
        await world.db.execute(SETTLE, made, None, None)
        for call in (FAIL, SETTLE):
            arguments = (made, "came_back", None, world.admin.id) if call == FAIL else (made, "ref", world.admin.id)
            assert (await refused(world.db, call, *arguments)).slug == "PAYOUT_WITH_PROVIDER"
        await rate(world.db, "payout_override", 0, None)
        await world.db.execute(FAIL, made, "came_back", None, world.admin.id)
        assert await balance(world.db, star.wallet) == 10_000

    async def test_failed_before_it_was_sent(self, world: World) -> None:
        star = await creator(world)
        made = await ask(world.db, star, 2000, await account_of(world.db, star))
        await world.db.execute(FAIL, made, "fraud", None, world.admin.id)
        assert await status(world.db, made) == ("failed", "fraud")
        assert await spendable(world, star) == 10_000
        acts = await world.db.fetch("SELECT action FROM api.audit_log WHERE subject_id = $1", made)
        assert [act["action"] for act in acts] == ["payout.failed"]

    async def test_cancelled(self, world: World, app_conn: Connection) -> None:
        star = await creator(world)
        account = await account_of(world.db, star)
        made = await ask(app_conn, star, 2000, account)
        assert (await refused(app_conn, CANCEL, made, world.alice.id)).slug == "PAYOUT_NOT_FOUND"
        assert (await refused(app_conn, CANCEL, NOBODY, star.id)).slug == "PAYOUT_NOT_FOUND"
        for _ in range(2):
            assert (await row(app_conn, CANCEL, made, star.id))["status"] == "cancelled"
        assert await spendable(world, star) == 10_000
        assert await events(world.db, made) == ["requested", "held", "cancelled"]
        assert (await refused(app_conn, FAIL, made, "late", None, None)).slug == "PAYOUT_STATE"
        assert (await refused(app_conn, APPROVE, made, None)).slug == "PAYOUT_STATE"
        assert (await refused(app_conn, HOLD, made, "why", None)).slug == "PAYOUT_STATE"
        assert (await refused(app_conn, SETTLE, made, None, None)).slug == "PAYOUT_STATE"
        other = await sent(world, star)
        assert (await refused(app_conn, CANCEL, other, star.id)).slug == "PAYOUT_STATE"
        await world.suspend(star)
        assert (await refused(app_conn, CANCEL, other, star.id)).slug == "USER_SUSPENDED"

    async def test_held_by_an_operator(self, world: World, app_conn: Connection) -> None:
        await no_reviews(world.db)
        star = await creator(world)
        made = await ask(app_conn, star, 2000, await account_of(world.db, star))
        assert (await refused(app_conn, HOLD, made, "Not a code", world.admin.id)).slug == "INVALID_REQUEST"
        await app_conn.execute(HOLD, made, "identity", world.admin.id)
        assert await status(world.db, made) == ("held", "identity")
        assert (await claim(world.db))["payout_id"] is None
        for _ in range(2):
            await app_conn.execute(APPROVE, made, world.admin.id)
        assert await status(world.db, made) == ("requested", None)
        assert (await claim(world.db))["action"] == "send"
        assert (await refused(app_conn, HOLD, made, "late", world.admin.id)).slug == "PAYOUT_STATE"

    async def test_who_decides(self, world: World, app_conn: Connection) -> None:
        star = await person(world.db, "boss", tokens=5000, roles=["creator", "operator"])
        made = await ask(app_conn, star, 2000, await account_of(world.db, star))
        for query, *more in ((APPROVE,), (HOLD, "why"), (SETTLE, None), (FAIL, "why", None)):
            for actor, slug in (
                (star.id, "SAME_PERSON"),
                (world.alice.id, "FORBIDDEN"),
                (world.suspended.id, "USER_SUSPENDED"),
                (NOBODY, "USER_NOT_FOUND"),
            ):
                assert (await refused(app_conn, query, made, *more, actor)).slug == slug
            assert (await refused(app_conn, query, NOBODY, *more, world.admin.id)).slug == "PAYOUT_NOT_FOUND"
        assert (await refused(app_conn, FAIL, made, None, None, None)).slug == "INVALID_REQUEST"

    async def test_what_a_provider_has_is_the_providers_to_tell(self, world: World, app_conn: Connection) -> None:
        star = await creator(world)
        made = await sent(world, star)
        for query, *more in ((SETTLE, "ref"), (FAIL, "lost", None)):
            refusal = await refused(app_conn, query, made, *more, world.admin.id)
            assert (refusal.code, refusal.slug) == ("TS361", "PAYOUT_WITH_PROVIDER")
        async with as_ledger(world.db):
            await world.db.execute("UPDATE core.payouts SET processing_at = processing_at - interval '4 days'")
        await app_conn.execute(FAIL, made, "lost", None, world.admin.id)
        assert await balance(world.db, star.wallet) == 10_000

    async def test_by_hand(self, world: World, app_conn: Connection) -> None:
        await no_reviews(world.db)
        star = await creator(world)
        made = await ask(world.db, star, 2000, await account_of(world.db, star, "manual", "USD"))
        task = await claim(world.db)
        assert (task["payout_id"], task["action"], task["details"]) == (made, "queued", None)
        assert (await claim(world.db))["payout_id"] is None
        got = await row(app_conn, SETTLE, made, "batch 7, line 3", world.admin.id)
        assert (got["status"], got["provider_reference"], got["decided_by"]) == (
            "paid",
            "batch 7, line 3",
            world.admin.id,
        )
        assert (await claim(world.db))["payout_id"] is None

    async def test_its_hold_is_nobody_elses(self, world: World) -> None:
        star = await creator(world)
        made = await ask(world.db, star, 2000, await account_of(world.db, star))
        hold = await world.db.fetchval("SELECT hold_id FROM core.payouts WHERE id = $1", made)
        for query in ("SELECT api.release_hold($1)", f"SELECT api.capture_hold($1, '{world.alice.wallet}')"):
            refusal = await refused(world.db, query, hold)
            assert (refusal.code, refusal.slug) == ("TS362", "HOLD_IN_USE")
        refusal = await refused(
            world.db, "SELECT api.place_hold($1, 5, interval '1 hour', p_kind => 'payout')", star.wallet
        )
        assert refusal.slug == "INVALID_KIND"
        await no_reviews(world.db)
        await world.db.execute(APPROVE, made, None)
        await claim(world.db)
        transfer_id = await world.db.fetchval("SELECT transfer_id FROM core.payouts WHERE id = $1", made)
        assert (await refused(world.db, "SELECT api.refund_transfer($1)", transfer_id)).slug == "NOT_REFUNDABLE"


class TestClaim:
    """api.claim_payout and api.note_payout: what a scheduler may do."""

    async def test_what_may_not_be_sent_is_held(self, world: World) -> None:
        await no_reviews(world.db)
        star = await creator(world)
        account = await account_of(world.db, star)
        made = await ask(world.db, star, 2000, account)
        for shut, reason in (
            ("frozen", "wallet_frozen"),
            ("debits_frozen", "wallet_frozen"),
            ("closed", "wallet_closed"),
        ):
            await set_status(world.db, star.wallet, shut)
            task = await claim(world.db)
            assert (task["action"], task["details"]) == ("held", None)
            assert await status(world.db, made) == ("held", reason)
            await world.db.execute(APPROVE, made, None)
        await set_status(world.db, star.wallet, "active")
        await set_rate(world.db, "velocity_amount_day", 1999, "minor_units", scope="payout")
        await claim(world.db)
        assert await status(world.db, made) == ("held", "velocity_limit")
        await world.db.execute(APPROVE, made, None)
        await world.db.execute("SELECT api.remove_payout_account($1, $2)", account, star.id)
        await claim(world.db)
        assert await status(world.db, made) == ("held", "account_removed")
        await world.db.execute(APPROVE, made, None)
        await world.suspend(star)
        await claim(world.db)
        assert await status(world.db, made) == ("held", "user_suspended")
        assert (await spendable(world, star), await clearing(world.db)) == (8000, 0)

    async def test_who_owes_is_not_paid(self, world: World) -> None:
        await no_reviews(world.db)
        star = await creator(world, 2000)
        fan = await person(world.db, "fan", tokens=1000)
        paid = await transfer(world.db, Transfer(source=fan.wallet, target=star.wallet, amount=1000))
        made = await ask(world.db, star, 3000, await account_of(world.db, star))
        await world.db.execute("SELECT api.refund_transfer($1, p_policy => 'create_debt')", paid["transfer_id"])
        await claim(world.db)
        assert await status(world.db, made) == ("held", "debt")
        await world.db.execute(CANCEL, made, star.id)
        assert await spendable(world, star) == 2000

    @pytest.mark.parametrize("first", ["held", "requested"])
    async def test_one_that_waited_too_long_is_cancelled(self, world: World, first: str) -> None:
        star = await creator(world)
        made = await ask(world.db, star, 2000, await account_of(world.db, star))
        if first == "requested":
            await world.db.execute(APPROVE, made, None)
        await lapse_hold(world.db, made)
        await due_now(world.db, made)
        assert (await claim(world.db))["action"] == "cancelled"
        assert await status(world.db, made) == ("cancelled", "not_sent_in_time")
        assert await spendable(world, star) == 10_000

    async def test_its_time_is_over_but_nobody_has_noticed(self, world: World) -> None:
        star = await creator(world)
        account = await account_of(world.db, star)
        made, other = await ask(world.db, star, 2000, account), await ask(world.db, star, 2000, account)
        await lapse_hold(world.db, made)
        await lapse_hold(world.db, other)
        await world.db.execute(CANCEL, made, star.id)
        await world.db.execute(FAIL, other, "fraud", None, None)
        assert await spendable(world, star) == 10_000

    async def test_a_held_one_that_is_due_too_early_waits(self, world: World) -> None:
        star = await creator(world)
        made = await ask(world.db, star, 2000, await account_of(world.db, star))
        await due_now(world.db, made)
        assert (await claim(world.db))["action"] == "held"
        assert (await claim(world.db))["payout_id"] is None
        assert await status(world.db, made) == ("held", "first_payout")

    async def test_after_a_lease_the_provider_is_asked_not_told(self, world: World) -> None:
        made = await sent(world, await creator(world))
        await due_now(world.db, made)
        task = await claim(world.db)
        assert (task["action"], task["attempts"]) == ("ask", 2)
        assert await world.db.fetchval(NOTE, made, task["lease"], "unknown", timedelta(0), None, None, None, "timeout")
        assert (await claim(world.db))["action"] == "ask"

    @pytest.mark.parametrize("state", ["not_found", "not_sent"])
    async def test_what_never_arrived_is_sent_again(self, world: World, state: str) -> None:
        made = await sent(world, await creator(world))
        await due_now(world.db, made)
        task = await claim(world.db)
        assert await world.db.fetchval(NOTE, made, task["lease"], state, timedelta(0), None, None, None, None)
        assert (await claim(world.db))["action"] == "send"

    async def test_what_a_former_scheduler_says_counts_no_more(self, world: World) -> None:
        made = await sent(world, await creator(world))
        former = await world.db.fetchval("SELECT lease FROM core.payouts")
        await due_now(world.db, made)
        assert (await claim(world.db))["lease"] != former
        assert not await world.db.fetchval(NOTE, made, former, "not_found", timedelta(0), None, None, None, None)
        assert await world.db.fetchval("SELECT count(*) FROM core.payout_reports") == 0
        await due_now(world.db, made)
        assert (await claim(world.db))["action"] == "ask"

    async def test_what_is_noted(self, world: World) -> None:
        made = await sent(world, await creator(world))
        lease = await world.db.fetchval("SELECT lease FROM core.payouts")
        assert (
            await refused(world.db, NOTE, made, lease, "odd", LEASE, None, None, None, None)
        ).slug == "INVALID_REQUEST"
        assert (
            await refused(world.db, NOTE, NOBODY, lease, "paid", LEASE, None, None, None, None)
        ).slug == "PAYOUT_NOT_FOUND"
        await world.db.fetchval(NOTE, made, lease, "pending", LEASE, "tr_9", 5, "USD", None)
        await world.db.fetchval(NOTE, made, lease, "unknown", LEASE, None, None, None, "timeout")
        got = await payout(world.db, made)
        assert (got["provider_state"], got["provider_reference"]) == ("unknown", "tr_9")
        lag = await row(world.db, "SELECT * FROM api.payout_lag()")
        assert (lag["processing"], lag["unknown"], lag["tokens"]) == (1, 1, 2000)

    async def test_a_paid_one_is_looked_after_for_a_while(self, world: World) -> None:
        made = await sent(world, await creator(world))
        await world.db.execute(SETTLE, made, None, None)
        await due_now(world.db, made)
        task = await claim(world.db)
        assert task["action"] == "ask"
        await world.db.fetchval(NOTE, made, task["lease"], "not_found", timedelta(0), None, None, None, None)
        await due_now(world.db, made)
        assert (await claim(world.db))["action"] == "ask", "a paid one is never sent"
        async with as_ledger(world.db):
            await world.db.execute("UPDATE core.payouts SET paid_at = paid_at - interval '15 days'")
        lease = await world.db.fetchval("SELECT lease FROM core.payouts")
        await world.db.fetchval(NOTE, made, lease, "paid", timedelta(0), None, None, None, None)
        assert await world.db.fetchval("SELECT next_at FROM core.payouts") is None


class TestAccounts:
    """Where somebody wants to be paid."""

    async def test_added_removed_and_encrypted_anew(self, world: World, app_conn: Connection) -> None:
        account = await account_of(app_conn, world.alice)
        again = "SELECT api.reencrypt_payout_account($1, $2, 'v2', $3)"
        assert await app_conn.fetchval(again, account, "v1", SECRET + b"1")
        assert not await app_conn.fetchval(again, account, "v1", SECRET + b"2")
        got = await row(app_conn, "SELECT key_id, details FROM core.payout_accounts")
        assert (got["key_id"], got["details"]) == ("v2", SECRET + b"1")
        remove = "SELECT * FROM api.remove_payout_account($1, $2)"
        assert (await refused(app_conn, remove, account, world.bob.id)).slug == "PAYOUT_ACCOUNT_NOT_FOUND"
        assert (await row(app_conn, remove, account, world.alice.id))["removed_at"] is not None
        assert (await refused(app_conn, remove, account, world.alice.id)).slug == "PAYOUT_ACCOUNT_NOT_FOUND"
        await world.suspend(world.alice)
        assert (await refused(app_conn, remove, account, world.alice.id)).slug == "USER_SUSPENDED"

    async def test_what_is_refused(self, world: World, app_conn: Connection) -> None:
        good: tuple[Any, ...] = (uuid4(), world.alice.id, "stripe", "USD", SECRET)
        for at, value in ((0, None), (2, "cash"), (2, None), (3, "usd"), (3, None), (4, b"short"), (4, None)):
            wrong = (*good[:at], value, *good[at + 1 :])
            assert (await refused(app_conn, ADD_ACCOUNT, *wrong)).slug == "INVALID_REQUEST"
        assert (await refused(app_conn, ADD_ACCOUNT, uuid4(), NOBODY, *good[2:])).slug == "USER_NOT_FOUND"
        assert (await refused(app_conn, ADD_ACCOUNT, uuid4(), None, *good[2:])).slug == "USER_NOT_FOUND"
        assert (await refused(app_conn, ADD_ACCOUNT, uuid4(), world.suspended.id, *good[2:])).slug == "USER_SUSPENDED"

    async def test_no_more_than_ten_however_they_come(self, world: World, connect: Connect) -> None:
        sessions = [await connect("app") for _ in range(4)]

        async def add(conn: Connection) -> list[str]:
            slugs = []
            for _ in range(4):
                try:
                    await account_of(conn, world.alice)
                except asyncpg.PostgresError as exc:
                    slugs.append(raised(exc).slug)
            return slugs

        slugs = [slug for told in await asyncio.gather(*map(add, sessions)) for slug in told]
        assert slugs == ["TOO_MANY_PAYOUT_ACCOUNTS"] * 6

    async def test_details_are_read_where_they_are_decrypted(self, world: World, connect: Connect) -> None:
        await account_of(world.db, world.alice)
        for login in ("readonly",):
            conn = await connect(login)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.fetch("SELECT details FROM core.payout_accounts")
        for login in ("app", "scheduler"):
            conn = await connect(login)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute("UPDATE core.payout_accounts SET details = 'x'")


class TestViews:
    """What does not match, and what was earned."""

    async def test_reconciliation(self, world: World, dba_conn: Connection) -> None:
        star = await creator(world, 100_000)
        made = {name: await sent(world, star, 1000 + n) for n, name in enumerate(("paid", "lost", "odd", "gone", "ok"))}
        today: date = await world.db.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
        query = "SELECT * FROM api.reconcile_payouts('stripe', $1)"
        missing = await dba_conn.fetch(query, today)
        assert {found["mismatch"] for found in missing} == {"missing_there"}
        assert len(missing) == 5
        leases = {found["id"]: found["lease"] for found in await world.db.fetch("SELECT id, lease FROM core.payouts")}
        for name, state, amount in (
            ("paid", "paid", 1000),
            ("lost", "unknown", None),
            ("odd", "pending", 5),
            ("gone", "failed", None),
            ("ok", "pending", 1004),
        ):
            money = None if amount is None else amount * 500
            await world.db.fetchval(
                NOTE, made[name], leases[made[name]], state, LEASE, name, money, money and "usd", None
            )
        got = {found["payout_id"]: found["mismatch"] for found in await dba_conn.fetch(query, today)}
        assert got == {
            made["paid"]: "paid_there",
            made["lost"]: "unknown",
            made["odd"]: "amount",
            made["gone"]: "failed_there",
        }
        stranger = uuid4()
        records = [
            (made["paid"], "1", "paid", 1000 * 500, "usd"),
            (made["paid"], "2", "paid", 1000 * 500, "usd"),
            (made["ok"], "3", "pending", 1004 * 500, "USD"),
            (stranger, "4", "paid", 1, "USD"),
            (None, "5", "paid", 1, "USD"),
        ]
        await world.db.execute(FAIL, made["ok"], "lost", None, None)
        rows = await dba_conn.fetch(
            "SELECT * FROM api.reconcile_payouts('stripe', $1, $2::api.payout_record[])", today, records
        )
        got_list = sorted((str(found["payout_id"] or ""), found["mismatch"]) for found in rows)
        assert got_list == sorted(
            [
                (str(made["paid"]), "twice_there"),
                (str(made["paid"]), "twice_there"),
                (str(made["ok"]), "failed_here"),
                (str(stranger), "unknown_here"),
                ("", "unknown_here"),
                (str(made["lost"]), "missing_there"),
                (str(made["odd"]), "missing_there"),
                (str(made["gone"]), "missing_there"),
            ]
        )
        assert all(json.loads(found["detail"])["reference"] for found in rows if found["mismatch"] == "twice_there")
        assert await dba_conn.fetch(query, today - timedelta(days=1)) == []
        assert await dba_conn.fetch("SELECT * FROM api.reconcile_payouts('paystack', $1)", today) == []

    async def test_a_year(self, world: World, dba_conn: Connection) -> None:
        star = await creator(world, 5000)
        fan = await person(world.db, "fan", tokens=500)
        sent_tip = await tip(world.db, Tip(sender=fan.id, creator=star.id, amount=100))
        await world.db.execute("SELECT api.refund_transfer($1, 40)", sent_tip["tip_id"])
        await world.db.execute(SETTLE, await sent(world, star, 1500), None, None)
        await world.db.execute(FAIL, await sent(world, star, 1000), "rejected", None, None)
        today = await world.db.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
        month, year = today.replace(day=1), today.year
        query = "SELECT * FROM api.earnings_statement($1, $2)"
        assert [tuple(found) for found in await dba_conn.fetch(query, star.id, year)] == [
            (month, "grant", 1, 5000),
            (month, "payout", 2, -2500),
            (month, "refund.payout", 1, 1000),
            (month, "refund.tip", 1, -40),
            (month, "tip", 1, 100),
        ]
        assert await dba_conn.fetch(query, star.id, year - 1) == []
        for wrong in (1999, 9999, None):
            assert (await refused(dba_conn, query, star.id, wrong)).slug == "INVALID_REQUEST"
        assert (await refused(dba_conn, query, NOBODY, year)).slug == "WALLET_NOT_FOUND"


class TestRaces:
    """All at once."""

    async def test_one_key_many_sessions(self, world: World, connect: Connect) -> None:
        await no_reviews(world.db)
        star = await creator(world)
        account = await account_of(world.db, star)
        sessions = [await connect("app") for _ in range(8)]
        rows = await asyncio.gather(*(row(conn, REQUEST, star.id, 1000, account, "k") for conn in sessions))
        assert len({found["payout_id"] for found in rows}) == 1
        assert sum(not found["replayed"] for found in rows) == 1
        assert await spendable(world, star) == 9000

    async def test_no_more_than_there_is_nor_than_a_day_allows(self, world: World, connect: Connect) -> None:
        await no_reviews(world.db)
        star, rich = await creator(world, 3500), await creator(world, 100_000, "rich")
        await rate(world.db, "payout_day_amount", 7000)
        accounts = {who.id: await account_of(world.db, who) for who in (star, rich)}
        sessions = [await connect("app") for _ in range(10)]

        async def one(conn: Connection, who: Person) -> str:
            try:
                await conn.fetchrow(REQUEST, who.id, 1000, accounts[who.id], None)
            except asyncpg.PostgresError as exc:
                return raised(exc).slug
            return "ok"

        assert sorted(await asyncio.gather(*(one(conn, star) for conn in sessions))) == [
            *["INSUFFICIENT_TOKENS"] * 7,
            *["ok"] * 3,
        ]
        assert sorted(await asyncio.gather(*(one(conn, rich) for conn in sessions))) == [
            *["PAYOUT_LIMIT"] * 3,
            *["ok"] * 7,
        ]

    async def test_an_account_that_is_being_removed(self, world: World, connect: Connect) -> None:
        star = await creator(world)
        account = await account_of(world.db, star)
        remover, asker = await connect("app"), await connect("app")
        change = remover.transaction()
        await change.start()
        await remover.execute("SELECT api.remove_payout_account($1, $2)", account, star.id)
        task = asyncio.create_task(refused(asker, REQUEST, star.id, 1000, account, None))
        await until_waiting(world.db, asker)
        await change.commit()
        assert (await task).slug == "PAYOUT_ACCOUNT_NOT_FOUND"

    @pytest.mark.parametrize("seed", range(6))
    async def test_everything_at_once(self, world: World, connect: Connect, seed: int) -> None:
        """Requests, cancels, claims, settles, failures, reversals by ten sessions; the auditor looks afterwards."""
        await no_reviews(world.db)
        people = [await creator(world, 20_000, f"star{n}") for n in range(3)]
        storm = Storm([(who, await account_of(world.db, who)) for who in people])
        sessions = [await connect("dba") for _ in range(10)]
        chances = [random.Random(seed * 100 + n) for n in range(10)]  # noqa: S311
        await asyncio.gather(*map(storm.live, sessions, chances))
        assert storm.odd == []
        rows = await world.db.fetch("SELECT user_id, status, amount FROM core.payouts")
        for who in people:
            gone = sum(r["amount"] for r in rows if r["user_id"] == who.id and r["status"] in ("processing", "paid"))
            held = sum(r["amount"] for r in rows if r["user_id"] == who.id and r["status"] in ("requested", "held"))
            assert await balance(world.db, who.wallet) == 20_000 - gone
            assert await spendable(world, who) == 20_000 - gone - held
        assert await clearing(world.db) == sum(r["amount"] for r in rows if r["status"] == "processing")


class Storm:
    """What many do at once to the payouts of a few."""

    def __init__(self, people: list[tuple[Person, UUID]]) -> None:
        self.people = people
        self.known: list[UUID] = []
        self.odd: list[str] = []

    async def live(self, conn: Connection, chance: random.Random) -> None:
        """25 things, each at random."""
        for _ in range(25):
            try:
                await self.act(conn, chance)
            except asyncpg.PostgresError as exc:
                slug = raised(exc).slug
                if slug not in ("PAYOUT_STATE", "PAYOUT_NOT_FOUND", "INSUFFICIENT_TOKENS"):
                    self.odd.append(slug)

    async def act(self, conn: Connection, chance: random.Random) -> None:
        """One of them."""
        some = chance.choice(self.known) if self.known else uuid4()
        what = chance.choice(("ask", "ask", "claim", "claim", CANCEL, SETTLE, FAIL, HOLD, APPROVE))
        if what == "ask":
            who, account = chance.choice(self.people)
            self.known.append(await ask(conn, who, chance.randrange(1000, 6000), account))
        elif what == "claim":
            task = await row(conn, CLAIM, timedelta(0))
            if task["action"] in ("send", "ask"):
                state = chance.choice(["unknown", "not_found", "pending"])
                await conn.fetchval(NOTE, task["payout_id"], task["lease"], state, timedelta(0), *[None] * 4)
        else:
            more = {SETTLE: (None, None), FAIL: ("rejected", None, None), HOLD: ("why", None)}.get(what, (None,))
            await conn.execute(what, some, *more)
