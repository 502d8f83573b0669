"""Payments: credited once, put right by what is so whatever the order of events, never clawed back twice."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.core.currencies import THOUSANDTHS, WHOLE_CURRENCIES
from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.support.money import (
    Person,
    Transfer,
    World,
    balance,
    refused,
    set_status,
    transfer,
    until_waiting,
    without_rate,
)
from tests.support.payments import (
    NOTE,
    NOTE_REFUND,
    OPEN,
    REVERSE,
    SETTLE,
    Fact,
    open_payment,
    package,
    paid,
    state,
    tell,
)
from tests.support.postgres import Connection

CREATE = "SELECT * FROM api.create_token_package($1, $2, $3, $4, $5, $6, $7, $8)"


async def debt(conn: Connection, who: Person) -> int:
    """What somebody owes."""
    found: int = await conn.fetchval("SELECT debt FROM api.wallets WHERE wallet_id = $1", who.wallet)
    return found


async def events(conn: Connection) -> list[str]:
    """Types of the payment events in the outbox, in order."""
    rows = await conn.fetch(
        "SELECT type FROM core.outbox WHERE type LIKE 'payment.%' AND channels <> '{ops}' ORDER BY id"
    )
    return [row["type"] for row in rows]


async def test_the_packages_of_the_seed(app_conn: Connection) -> None:
    rows = await app_conn.fetch("SELECT tokens, bonus, price, currency, active FROM api.token_packages ORDER BY price")
    assert [tuple(row) for row in rows] == [
        (50, 0, 500, "USD", True),
        (200, 0, 1900, "USD", True),
        (433, 0, 3900, "USD", True),
        (812, 0, 6900, "USD", True),
        (1488, 0, 11900, "USD", True),
        (4986, 0, 34900, "USD", True),
        (8446, 0, 54900, "USD", True),
    ]


async def test_a_payment(world: World, app_conn: Connection) -> None:
    opened = await app_conn.fetchrow(OPEN, world.bob.id, await package(app_conn, 200), "stripe", "k")
    assert opened is not None
    assert (opened["tokens"], opened["amount"], opened["currency"], opened["email"]) == (
        200,
        1900,
        "USD",
        "bob@example.org",
    )
    assert (opened["checkout_url"], opened["replayed"]) == (None, False)
    again = await app_conn.fetchrow(OPEN, world.bob.id, await package(app_conn, 200), "stripe", "k")
    assert again is not None
    assert dict(again) == dict(opened) | {"replayed": True}
    payment = opened["payment_id"]
    for url in ("https://pay.example.com/1", "https://pay.example.com/2"):
        started = await app_conn.fetchrow("SELECT * FROM api.start_payment($1, 'cs_1', $2, 'cus_1')", payment, url)
        assert started is not None
        assert (started["reference"], started["checkout_url"], started["customer"]) == (
            "cs_1",
            "https://pay.example.com/1",
            "cus_1",
        )
    fact = Fact(payment=payment, amount=1900, charge="pi_1")
    told = await tell(app_conn, fact)
    assert tuple(told) == (payment, "applied", "paid", None)
    assert await balance(world.db, world.bob.wallet) == 300
    kept = await state(world.db, payment)
    assert (kept["status"], kept["charge"], kept["tokens"], kept["reversed"]) == ("paid", "pi_1", 200, 0)
    moved = await world.db.fetchrow("SELECT * FROM api.transfers WHERE transfer_id = $1", kept["transfer_id"])
    assert moved is not None
    assert (moved["kind"], moved["amount"], moved["reference"]) == ("purchase", 200, str(payment))
    assert await app_conn.fetchval(NOTE, fact.row()) is False
    assert (await tell(app_conn, fact))["outcome"] == "repeated"
    assert (await tell(app_conn, Fact(payment=payment, amount=1900, charge="pi_1")))["outcome"] == "repeated"
    assert await balance(world.db, world.bob.wallet) == 300
    event = await world.db.fetchrow("SELECT * FROM core.outbox WHERE type = 'payment.paid'")
    assert event is not None
    assert event["channels"] == [f"user:{world.bob.id}"]
    payload = json.loads(event["payload"])
    assert (payload["payment_id"], payload["tokens"], payload["status"]) == (str(payment), 200, "paid")
    assert not {"charge", "reference", "buyer_id"} & set(payload)
    assert await events(world.db) == ["payment.paid"]


async def test_a_bonus_and_the_end_of_a_sale(world: World, dba_conn: Connection, app_conn: Connection) -> None:
    made = await dba_conn.fetchrow(CREATE, " Spring ", 100, 20, 900, "EUR", None, None, None)
    assert made is not None
    assert (made["name"], made["active"]) == ("Spring", True)
    opened = await app_conn.fetchrow(OPEN, world.bob.id, made["package_id"], "paypal", "k")
    assert opened is not None
    assert (opened["tokens"], opened["amount"], opened["currency"]) == (120, 900, "EUR")
    for _ in range(2):
        ended = await dba_conn.fetchrow("SELECT * FROM api.end_token_package($1)", made["package_id"])
        assert ended is not None
        assert (ended["active"], ended["active_to"] is None) == (False, False)
    found = await refused(app_conn, OPEN, world.bob.id, made["package_id"], "paypal", "l")
    assert found.slug == "PACKAGE_NOT_FOUND"
    assert await world.db.fetchval("SELECT count(*) FROM core.audit_log WHERE action LIKE 'package.%'") == 2
    # what was opened before may be paid
    told = await tell(
        app_conn, Fact(payment=opened["payment_id"], provider="paypal", amount=900, currency="EUR", charge="c")
    )
    assert told["outcome"] == "applied"
    assert await balance(world.db, world.bob.wallet) == 220


PACKAGES: list[tuple[str, tuple[Any, ...]]] = [
    ("name", (" ", 1, 0, 1, "USD", None, None)),
    ("tokens", ("a", 0, 0, 1, "USD", None, None)),
    ("bonus", ("a", 1, -1, 1, "USD", None, None)),
    ("price", ("a", 1, 0, 0, "USD", None, None)),
    ("price", ("a", 1, 0, 2**63 - 1, "USD", None, None)),
    ("currency", ("a", 1, 0, 1, "usd", None, None)),
]


@pytest.mark.parametrize(("field", "arguments"), PACKAGES, ids=str)
async def test_packages_that_are_refused(
    world: World, dba_conn: Connection, field: str, arguments: tuple[Any, ...]
) -> None:
    found = await refused(dba_conn, CREATE, *arguments, None)
    assert (found.slug, found.facts["field"]) == ("INVALID_REQUEST", field)


async def test_who_may_sell(world: World, dba_conn: Connection) -> None:
    good = ("a", 1, 0, 1, "USD", None, None)
    for who, slug in (
        (world.alice.id, "FORBIDDEN"),
        (NOBODY, "USER_NOT_FOUND"),
        (world.suspended.id, "USER_SUSPENDED"),
    ):
        assert (await refused(dba_conn, CREATE, *good, who)).slug == slug
        assert (await refused(dba_conn, "SELECT api.end_token_package($1, $2)", NOBODY, who)).slug == slug
    end = "SELECT api.end_token_package($1)"
    assert (await refused(dba_conn, end, NOBODY)).slug == "PACKAGE_NOT_FOUND"


async def test_payments_that_are_refused(world: World, app_conn: Connection) -> None:
    some = await package(app_conn)
    cases: list[tuple[tuple[Any, ...], str]] = [
        ((world.bob.id, NOBODY, "stripe", "k"), "PACKAGE_NOT_FOUND"),
        ((world.bob.id, some, "bank", "k"), "INVALID_REQUEST"),
        ((None, some, "stripe", None), "INVALID_REQUEST"),
        ((NOBODY, some, "stripe", "k"), "USER_NOT_FOUND"),
        ((world.suspended.id, some, "stripe", "k"), "USER_SUSPENDED"),
        ((world.bob.id, some, "stripe", ""), "IDEMPOTENCY_KEY_INVALID"),
    ]
    for arguments, slug in cases:
        assert (await refused(app_conn, OPEN, *arguments)).slug == slug
    await app_conn.fetchrow(OPEN, world.bob.id, some, "stripe", "k")
    assert (await refused(app_conn, OPEN, world.bob.id, some, "paypal", "k")).slug == "IDEMPOTENCY_KEY_REUSED"
    assert (await refused(app_conn, "SELECT api.start_payment($1, 'a', 'b')", NOBODY)).slug == "PAYMENT_NOT_FOUND"
    assert (await refused(app_conn, SETTLE, "stripe", "evt")).slug == "PAYMENT_EVENT_NOT_FOUND"
    bad = ("stripe", "", "t", "paid", *[None] * 8, b"")
    assert (await refused(app_conn, NOTE, bad)).slug == "INVALID_REQUEST"
    await without_rate(world.db, "payment_valid")
    assert (await refused(app_conn, OPEN, world.bob.id, some, "stripe", "m")).slug == "CONFIGURATION_ERROR"
    assert await world.db.fetchval("SELECT count(*) FROM core.payments") == 1


async def test_twins_of_a_key_open_one_payment(world: World, connect: Connect) -> None:
    first, second = await connect("app"), await connect("app")
    some = await package(first)
    begun = first.transaction()
    await begun.start()
    one = await first.fetchrow(OPEN, world.bob.id, some, "stripe", "k")
    waiting = asyncio.create_task(second.fetchrow(OPEN, world.bob.id, some, "stripe", "k"))
    await until_waiting(world.db, second)
    await begun.commit()
    two = await waiting
    assert one is not None
    assert two is not None
    assert dict(two) == dict(one) | {"replayed": True}


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"amount": 499}, "mismatch"),
        ({"amount": 501}, "mismatch"),
        ({"amount": None}, "mismatch"),
        ({"currency": "EUR"}, "mismatch"),
        ({"currency": None}, "mismatch"),
        ({"payment": NOBODY}, "unknown"),
        ({"provider": "paypal"}, "unknown"),
        ({"kind": "other"}, "ignored"),
        ({"kind": "look"}, "applied"),
    ],
    ids=str,
)
async def test_what_pays_for_nothing(world: World, app_conn: Connection, change: dict[str, Any], outcome: str) -> None:
    payment = await open_payment(app_conn, world.bob.id)
    fields: dict[str, Any] = {"payment": payment, "charge": "c"}
    fact = Fact(**(fields | change))
    told = await tell(app_conn, fact)
    assert told["outcome"] == outcome
    assert (await state(world.db, payment))["status"] == "pending"
    assert await balance(world.db, world.bob.wallet) == 100
    row = await world.db.fetchrow("SELECT open, due_at FROM api.payment_events WHERE event_id = $1", fact.id)
    assert row is not None
    assert row["open"] == (outcome in ("mismatch", "unknown"))
    assert (row["due_at"] is not None) == (outcome == "unknown")
    # operators are told once, however often it is tried
    await world.db.execute(SETTLE, fact.provider, fact.id)
    told_of = await world.db.fetch("SELECT channels FROM core.outbox WHERE type = 'payment.event_opened'")
    assert [event["channels"] for event in told_of] == [["ops"]] * row["open"]


async def test_a_second_charge_is_for_a_person(world: World, app_conn: Connection, dba_conn: Connection) -> None:
    payment = await paid(app_conn, world.bob.id)
    fact = Fact(payment=payment, charge="another")
    assert (await tell(app_conn, fact))["outcome"] == "duplicate"
    assert await balance(world.db, world.bob.wallet) == 150
    resolve = "SELECT * FROM api.resolve_payment_event($1, $2, $3, $4)"
    assert (await refused(dba_conn, resolve, "stripe", fact.id, "", None)).slug == "INVALID_REQUEST"
    assert (await refused(dba_conn, resolve, "stripe", "no", "why", None)).slug == "PAYMENT_EVENT_NOT_FOUND"
    assert (await refused(dba_conn, resolve, "stripe", fact.id, "why", world.bob.id)).slug == "FORBIDDEN"
    for _ in range(2):
        row = await dba_conn.fetchrow(resolve, "stripe", fact.id, "refunded by hand", world.admin.id)
        assert row is not None
        assert (row["outcome"], row["open"]) == ("resolved", False)
    acts = await world.db.fetchval("SELECT count(*) FROM core.audit_log WHERE action = 'payment_event.resolved'")
    assert acts == 1


async def test_money_that_was_taken_counts_whatever_else_is_told(world: World, app_conn: Connection) -> None:
    for order in itertools.permutations(["failed", "paid"]):
        payment = await open_payment(app_conn, world.bob.id)
        for kind in order:
            await tell(app_conn, Fact(payment=payment, kind=kind, charge="c" + payment.hex, reason="expired"))
        assert (await state(world.db, payment))["status"] == "paid"
    assert await balance(world.db, world.bob.wallet) == 200
    failed = await open_payment(app_conn, world.bob.id)
    assert (await tell(app_conn, Fact(payment=failed, kind="failed", reason="expired")))["status"] == "failed"
    assert (await tell(app_conn, Fact(payment=failed, kind="failed", reason="no")))["outcome"] == "repeated"
    assert (await state(world.db, failed))["failure"] == "expired"
    assert (await events(world.db)).count("payment.failed") == 2


async def test_any_order_of_events_ends_in_the_same_state(world: World, app_conn: Connection) -> None:
    """Paid, two refunds in part, one of which fails, a dispute of all, won: each order, each event twice."""
    kinds: list[dict[str, Any]] = [
        {"kind": "paid"},
        {"kind": "refunded", "amount": 100, "item": "re_1"},
        {"kind": "refunded", "amount": 200, "item": "re_2"},
        {"kind": "refund_failed", "amount": 200, "item": "re_2"},
        {"kind": "disputed", "amount": 500, "item": "dp_1"},
        {"kind": "dispute_won", "amount": 500, "item": "dp_1"},
    ]
    orders = list(itertools.permutations(kinds))[::9]
    assert len(orders) == 80
    for order in orders:
        payment = await open_payment(app_conn, world.bob.id)
        for change in order:
            fields: dict[str, Any] = {"payment": payment, "charge": f"ch_{payment}"}
            fact = Fact(**(fields | change))
            for _ in range(2):
                await tell(app_conn, fact)
        kept = await state(world.db, payment)
        assert (kept["status"], kept["refunded"], kept["disputed"], kept["reversed"]) == ("paid", 100, 0, 10)
    assert await balance(world.db, world.bob.wallet) == 100 + 40 * len(orders)
    assert await world.db.fetchval("SELECT count(*) FROM api.payment_events WHERE open") == 0


async def test_what_names_only_the_charge_waits_until_it_is_known(world: World, app_conn: Connection) -> None:
    payment = await open_payment(app_conn, world.bob.id)
    early = Fact(kind="disputed", amount=500, item="dp", charge="pi_9")
    assert (await tell(app_conn, early))["outcome"] == "unknown"
    await tell(app_conn, Fact(payment=payment, charge="pi_9"))
    due = await app_conn.fetch("SELECT * FROM api.due_payment_events()")
    assert [row["event_id"] for row in due] == [early.id]
    assert (await tell(app_conn, early))["outcome"] == "applied"
    assert (await state(world.db, payment))["status"] == "disputed"
    assert await app_conn.fetch("SELECT * FROM api.due_payment_events()") == []
    assert await balance(world.db, world.bob.wallet) == 100


async def test_a_refund_and_a_dispute_take_the_same_money_once(world: World, app_conn: Connection) -> None:
    payment = await paid(app_conn, world.bob.id)
    await tell(app_conn, Fact(payment=payment, kind="refunded", item="re", amount=500))
    assert (await state(world.db, payment))["status"] == "refunded"
    assert await balance(world.db, world.bob.wallet) == 100
    await tell(app_conn, Fact(payment=payment, kind="disputed", item="dp", amount=500))
    assert (await state(world.db, payment))["status"] == "disputed"
    assert await balance(world.db, world.bob.wallet) == 100
    await tell(app_conn, Fact(payment=payment, kind="dispute_lost", item="dp", amount=500))
    assert await balance(world.db, world.bob.wallet) == 100
    other = Fact(payment=payment, kind="dispute_won", item="dp", amount=500)
    assert (await tell(app_conn, other))["outcome"] == "contradiction"
    too_much = Fact(payment=payment, kind="refunded", item="re2", amount=1)
    assert (await tell(app_conn, too_much))["outcome"] == "mismatch"
    assert await events(world.db) == ["payment.paid", "payment.refunded", "payment.disputed"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("end", ["won", "lost"])
async def test_what_is_reversed_for_a_dispute_returns_with_it(
    world: World, app_conn: Connection, order: tuple[int, ...], end: str
) -> None:
    payment = await paid(app_conn, world.bob.id)
    told = (
        Fact(kind="disputed", payment=payment, item="dp_1"),
        Fact(kind="refunded", payment=payment, item="re_1", reason="reversal"),
        Fact(kind=f"dispute_{end}", payment=payment, item="dp_1"),
    )
    for number in order:
        await tell(app_conn, told[number])
    kept = await state(world.db, payment)
    if end == "won":
        assert (kept["status"], kept["refunded"], kept["disputed"], kept["reversed"]) == ("paid", 0, 0, 0)
    else:
        assert (kept["status"], kept["refunded"], kept["disputed"], kept["reversed"]) == ("disputed", 500, 500, 50)
    assert await balance(world.db, world.bob.wallet) == 150 - kept["reversed"]


async def test_a_chargeback_of_what_is_spent_is_a_debt_that_credits_pay_off(world: World, app_conn: Connection) -> None:
    """Tokens are gone to somebody else: the buyer owes them, and whatever comes in pays first."""
    payment = await paid(app_conn, world.bob.id)
    await transfer(world.db, Transfer(source=world.bob.wallet, target=world.alice.wallet, amount=130))
    await tell(app_conn, Fact(payment=payment, kind="disputed", item="dp", amount=500))
    assert (await balance(world.db, world.bob.wallet), await debt(world.db, world.bob)) == (-30, 30)
    found = await refused(
        world.db, "SELECT api.send_tip($1, $2, 1, NULL, NULL, NULL, NULL)", world.bob.id, world.creator.id
    )
    assert found.slug == "INSUFFICIENT_TOKENS"
    await transfer(world.db, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=10))
    assert await debt(world.db, world.bob) == 20
    await paid(app_conn, world.bob.id)
    assert (await balance(world.db, world.bob.wallet), await debt(world.db, world.bob)) == (30, 0)
    # the dispute is won: the tokens are back, all of them
    await tell(app_conn, Fact(payment=payment, kind="dispute_won", item="dp", amount=500))
    assert (await balance(world.db, world.bob.wallet), await debt(world.db, world.bob)) == (80, 0)
    assert (await state(world.db, payment))["reversed"] == 0
    # and what was restored can be taken again
    await tell(app_conn, Fact(payment=payment, kind="disputed", item="dp2", amount=500))
    assert await balance(world.db, world.bob.wallet) == 30
    assert (await events(world.db))[-1] == "payment.disputed"


async def test_a_refund_of_ours(world: World, app_conn: Connection) -> None:
    payment = await paid(app_conn, world.bob.id)
    first = await app_conn.fetchrow(REVERSE, payment, 101, "late", "k", world.admin.id)
    assert first is not None
    assert (first["amount"], first["charge"], first["replayed"]) == (101, f"ch_{payment}", False)
    # a fifth and a bit of fifty
    assert await balance(world.db, world.bob.wallet) == 140
    again = await app_conn.fetchrow(REVERSE, payment, 101, "late", "k", world.admin.id)
    assert again is not None
    assert dict(again) == dict(first) | {"replayed": True}
    assert (
        await refused(app_conn, REVERSE, payment, 102, "late", "k", world.admin.id)
    ).slug == "IDEMPOTENCY_KEY_REUSED"
    # the webhook is first, the answer second; each twice
    for _ in range(2):
        await tell(app_conn, Fact(charge=f"ch_{payment}", kind="refunded", item="re_1", amount=101, refund=None))
        noted = await app_conn.fetchrow(NOTE_REFUND, first["refund_id"], "done", "re_1", None)
        assert noted is not None
        assert (noted["status"], noted["provider_refund"]) == ("done", "re_1")
    assert await world.db.fetchval("SELECT count(*) FROM core.payment_refunds") == 1
    rest = await app_conn.fetchrow(REVERSE, payment, None, "all of it", None, world.admin.id)
    assert rest is not None
    assert rest["amount"] == 399
    assert (await state(world.db, payment))["status"] == "refunded"
    assert await balance(world.db, world.bob.wallet) == 100
    failed = await app_conn.fetchrow(NOTE_REFUND, rest["refund_id"], "failed", "re_2", "card closed")
    assert failed is not None
    assert (failed["status"], failed["failure"]) == ("failed", "card closed")
    assert (await state(world.db, payment))["status"] == "paid"
    assert await balance(world.db, world.bob.wallet) == 140
    await app_conn.fetchrow(NOTE_REFUND, rest["refund_id"], "done", "re_2", None)
    assert await balance(world.db, world.bob.wallet) == 140


async def test_a_refund_taken_for_another_is_put_right(world: World, app_conn: Connection) -> None:
    payment = await paid(app_conn, world.bob.id)
    ours = await app_conn.fetchrow(REVERSE, payment, 100, "late", "k", world.admin.id)
    assert ours is not None
    # made at the provider, for the same amount, while ours was on its way
    await tell(app_conn, Fact(payment=payment, kind="refunded", item="re_theirs", amount=100))
    assert await balance(world.db, world.bob.wallet) == 140
    await app_conn.fetchrow(NOTE_REFUND, ours["refund_id"], "done", "re_ours", None)
    assert await balance(world.db, world.bob.wallet) == 130
    await tell(app_conn, Fact(payment=payment, kind="refunded", item="re_ours", amount=100))
    assert await balance(world.db, world.bob.wallet) == 130
    third = await app_conn.fetchrow(REVERSE, payment, 100, "late", "l", world.admin.id)
    assert third is not None
    await app_conn.fetchrow(NOTE_REFUND, third["refund_id"], "done", "re_ours", None)
    assert await balance(world.db, world.bob.wallet) == 130
    assert (await state(world.db, payment))["refunded"] == 200


async def test_refunds_that_are_refused(world: World, app_conn: Connection) -> None:
    payment = await open_payment(app_conn, world.bob.id)
    admin = world.admin.id
    assert (await refused(app_conn, REVERSE, payment, None, "why", None, admin)).slug == "PAYMENT_NOT_PAID"
    await tell(app_conn, Fact(payment=payment, charge="c"))
    cases: list[tuple[tuple[Any, ...], str]] = [
        ((NOBODY, None, "why", None, admin), "PAYMENT_NOT_FOUND"),
        ((payment, 501, "why", None, admin), "PAYMENT_REFUND_EXCEEDED"),
        ((payment, 0, "why", None, admin), "PAYMENT_REFUND_EXCEEDED"),
        ((payment, -1, "why", None, admin), "PAYMENT_REFUND_EXCEEDED"),
        ((payment, 2**63 - 1, "why", None, admin), "PAYMENT_REFUND_EXCEEDED"),
        ((payment, None, " ", None, admin), "INVALID_REQUEST"),
        ((payment, None, "why", "", admin), "IDEMPOTENCY_KEY_INVALID"),
        ((payment, None, "why", None, world.bob.id), "FORBIDDEN"),
        ((payment, None, "why", None, NOBODY), "USER_NOT_FOUND"),
        ((payment, None, "why", None, world.suspended.id), "USER_SUSPENDED"),
    ]
    for arguments, slug in cases:
        assert (await refused(app_conn, REVERSE, *arguments)).slug == slug
    assert (await refused(app_conn, NOTE_REFUND, NOBODY, "done", None, None)).slug == "PAYMENT_REFUND_NOT_FOUND"
    assert (await refused(app_conn, NOTE_REFUND, NOBODY, "gone", None, None)).slug == "INVALID_REQUEST"
    moved = (await state(world.db, payment))["transfer_id"]
    assert (await refused(app_conn, "SELECT api.refund_transfer($1)", moved)).slug == "NOT_REFUNDABLE"
    for status, slug in (("frozen", "WALLET_FROZEN"), ("closed", "WALLET_CLOSED")):
        await set_status(world.db, world.bob.wallet, status)
        assert (await refused(app_conn, REVERSE, payment, None, "why", None, admin)).slug == slug
    assert await world.db.fetchval("SELECT count(*) FROM core.payment_refunds") == 0


async def test_what_the_ledger_refuses_is_tried_again(world: World, app_conn: Connection) -> None:
    await set_status(world.db, world.bob.wallet, "frozen")
    payment = await open_payment(app_conn, world.bob.id)
    fact = Fact(payment=payment, charge="c")
    told = await tell(app_conn, fact)
    assert (told["outcome"], told["error"], told["status"]) == ("refused", "WALLET_FROZEN", "pending")
    row = await world.db.fetchrow("SELECT * FROM api.payment_events WHERE event_id = $1", fact.id)
    assert row is not None
    assert (row["open"], row["tries"], row["error"]) == (True, 1, "WALLET_FROZEN")
    assert row["due_at"] > row["received_at"]
    await set_status(world.db, world.bob.wallet, "active")
    assert (await tell(app_conn, fact))["outcome"] == "applied"
    assert await balance(world.db, world.bob.wallet) == 150
    row = await world.db.fetchrow("SELECT * FROM api.payment_events WHERE event_id = $1", fact.id)
    assert row is not None
    assert (row["open"], row["due_at"], row["error"]) == (False, None, None)


@pytest.mark.parametrize("same_event", [True, False])
async def test_a_race_credits_once(world: World, connect: Connect, same_event: bool) -> None:
    first, second = await connect("app"), await connect("app")
    payment = await open_payment(first, world.bob.id)
    facts = [Fact(payment=payment, charge="c")]
    facts.append(facts[0] if same_event else Fact(payment=payment, charge="c"))
    for fact in facts:
        await first.execute(NOTE, fact.row())
    begun = first.transaction()
    await begun.start()
    one = await first.fetchrow(SETTLE, "stripe", facts[0].id)
    waiting = asyncio.create_task(second.fetchrow(SETTLE, "stripe", facts[1].id))
    await until_waiting(world.db, second)
    await begun.commit()
    two = await waiting
    assert one is not None
    assert two is not None
    assert (one["outcome"], two["outcome"]) == ("applied", "repeated")
    assert await balance(world.db, world.bob.wallet) == 150


async def test_a_storm_of_refunds_and_disputes(world: World, connect: Connect) -> None:
    """Everything at once, over six connections: whatever comes first, the same tokens are left."""
    connections = [await connect("app") for _ in range(6)]
    payments = [await open_payment(connections[0], world.bob.id) for _ in range(5)]
    facts = [
        Fact(payment=payment, charge=f"ch_{payment}", kind=kind, amount=amount, item=item)
        for payment in payments
        for kind, amount, item in (
            ("paid", 500, None),
            ("refunded", 200, "re"),
            ("disputed", 500, "dp"),
            ("dispute_won", 500, "dp"),
            ("failed", 500, None),
        )
    ]
    work = [fact for fact in facts for _ in range(3)]

    async def serve(conn: Connection, part: int) -> None:
        for fact in work[part::6] + work[:part:6]:
            await tell(conn, fact)

    await asyncio.gather(*(serve(conn, n) for n, conn in enumerate(connections)))
    for payment in payments:
        kept = await state(world.db, payment)
        assert (kept["status"], kept["refunded"], kept["disputed"], kept["reversed"]) == ("paid", 200, 0, 20)
    assert await balance(world.db, world.bob.wallet) == 100 + 5 * 30


async def _due(conn: Connection, payment: UUID) -> None:
    async with conn.transaction():
        await conn.execute("SET LOCAL ROLE tessera_ledger")
        await conn.execute("UPDATE core.payments SET check_at = clock_timestamp() WHERE id = $1", payment)


async def test_pending_payments_are_handed_out_once(world: World, connect: Connect) -> None:
    first, second = await connect("scheduler"), await connect("scheduler")
    payment = await open_payment(world.db, world.bob.id)
    claim = "SELECT payment_id FROM api.claim_payments()"
    assert await first.fetch(claim) == []
    await _due(world.db, payment)
    begun = first.transaction()
    await begun.start()
    assert [row["payment_id"] for row in await first.fetch(claim)] == [payment]
    assert await second.fetch(claim) == []
    await begun.commit()
    assert await second.fetch(claim) == []
    await _due(world.db, payment)
    assert len(await second.fetch(claim)) == 1
    await tell(world.db, Fact(payment=payment, kind="look"))
    assert len(await second.fetch(claim)) == 1
    await tell(world.db, Fact(payment=payment, charge="c"))
    await tell(world.db, Fact(payment=payment, kind="look"))
    assert await second.fetch(claim) == []


async def test_refunds_are_handed_out_until_they_are_closed(world: World, connect: Connect) -> None:
    conn = await connect("scheduler")
    payment = await paid(world.db, world.bob.id)
    claim = "SELECT refund_id, tries FROM api.claim_payment_refunds()"
    refund = await world.db.fetchval(REVERSE.replace("*", "refund_id", 1), payment, 100, "why", None, world.admin.id)
    assert await conn.fetch(claim) == []
    for tries in (1, 2):
        await world.db.execute("UPDATE core.payment_refunds SET due_at = clock_timestamp() - interval '1 s'")
        assert [tuple(row) for row in await conn.fetch(claim)] == [(refund, tries)]
    await conn.fetchrow(NOTE_REFUND, refund, "pending", "re", None)
    await world.db.execute("UPDATE core.payment_refunds SET due_at = clock_timestamp() - interval '1 s'")
    assert len(await conn.fetch(claim)) == 1
    await conn.fetchrow(NOTE_REFUND, refund, "done", "re", None)
    assert await world.db.fetchval("SELECT due_at FROM core.payment_refunds") is None


async def _keep(conn: Connection, day: date, records: list[dict[str, Any]]) -> None:
    await conn.execute("SELECT api.note_provider_day('stripe', $1, $2)", day, json.dumps(records))


async def test_a_day_is_compared(world: World, app_conn: Connection) -> None:
    day = await world.db.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    found = "SELECT finding, payment_id, record_id FROM api.reconcile('stripe', $1) ORDER BY 1, 3"
    assert [row["finding"] for row in await app_conn.fetch(found, day)] == ["day_not_fetched"]
    good, missing, differs = [await paid(app_conn, world.bob.id) for _ in range(3)]
    pending = await open_payment(app_conn, world.bob.id)
    await tell(app_conn, Fact(payment=good, kind="refunded", item="re_1", amount=100))

    def record(kind: str, name: str, amount: int, payment: UUID | None = None) -> dict[str, Any]:
        return {
            "kind": kind,
            "record_id": name,
            "amount": amount,
            "currency": "USD",
            "payment_id": None if payment is None else str(payment),
        }

    whole = [record("payment", f"ch_{it}", 500) for it in (good, missing, differs)] + [record("refund", "re_1", 100)]
    await _keep(app_conn, day, whole)
    assert await app_conn.fetch(found, day) == []
    await _keep(
        app_conn,
        day,
        [
            record("payment", f"ch_{good}", 500),
            record("payment", f"ch_{differs}", 400),
            record("payment", "twice", 500, good),
            record("payment", "late", 500, pending),
            record("payment", "stranger", 700),
            record("refund", "re_2", 100, good),
            record("refund", "re_stranger", 1),
        ],
    )
    assert [tuple(row) for row in await app_conn.fetch(found, day)] == [
        ("payment_charged_twice", good, "twice"),
        ("payment_differs", differs, f"ch_{differs}"),
        ("payment_not_credited", pending, "late"),
        ("payment_unknown_here", None, "stranger"),
        ("payment_unknown_there", missing, f"ch_{missing}"),
        ("refund_not_here", good, "re_2"),
        ("refund_unknown_here", None, "re_stranger"),
        ("refund_unknown_there", good, "re_1"),
    ]
    await _keep(app_conn, day + timedelta(days=1), [])
    note = "SELECT api.note_provider_day($1, $2, $3)"
    assert (await refused(app_conn, note, "bank", day, "[]")).slug == "INVALID_REQUEST"
    assert (await refused(app_conn, note, "stripe", day, "{}")).slug == "INVALID_REQUEST"


async def test_what_tokens_were_sold_for(world: World, app_conn: Connection) -> None:
    payment = await paid(app_conn, world.bob.id)
    await paid(app_conn, world.alice.id, tokens=200, amount=1900)
    await tell(app_conn, Fact(payment=payment, kind="refunded", item="re", amount=250))
    sales = "SELECT * FROM api.token_sales('-infinity', 'infinity')"
    row = await app_conn.fetchrow(sales)
    assert row is not None
    assert (row["currency"], row["payments"], row["gross"], row["given_back"], row["net"]) == (
        "USD",
        2,
        2400,
        250,
        2150,
    )
    assert (row["tokens_sold"], row["tokens_taken_back"]) == (250, 25)
    value = await world.db.fetchval("SELECT value FROM api.rates WHERE name = 'token_value'")
    assert row["token_value_usd"] == 225 * value
    await without_rate(world.db, "token_value")
    assert (await refused(app_conn, sales)).slug == "CONFIGURATION_ERROR"


async def test_nobody_writes_payments_but_the_functions(world: World, app_conn: Connection) -> None:
    payment = await paid(app_conn, world.bob.id)
    for conn in (app_conn, world.db):
        for statement in (
            f"UPDATE core.payments SET tokens = 1 WHERE id = '{payment}'",
            "DELETE FROM core.payments",
            "DELETE FROM core.payment_transfers",
            "UPDATE core.payment_events SET outcome = 'applied'",
            "DELETE FROM core.payment_events",
        ):
            with pytest.raises(asyncpg.PostgresError):
                await conn.execute(statement)


async def sold(world: World, tokens: int, price: int, currency: str) -> None:
    """A package of its own, bought by somebody."""
    await world.db.execute("SELECT api.create_token_package('some', $1, 0, $2, $3)", tokens, price, currency)
    payment = await open_payment(world.db, world.alice.id, tokens=tokens)
    told = await tell(world.db, Fact(payment=payment, amount=price, currency=currency, charge=f"ch_{payment}"))
    assert told["outcome"] == "applied"


async def margin(conn: Connection) -> list[tuple[Any, ...]]:
    """The view, without its days."""
    return [(row["source"], row["amount"], row["value"]) for row in await conn.fetch("SELECT * FROM api.margin")]


async def test_sales_are_worth_what_their_currency_is(world: World, app_conn: Connection) -> None:
    payment = await paid(world.db, world.alice.id)
    assert await margin(app_conn) == [("token_sales", 50, 50_000)]
    await world.db.fetchrow(REVERSE, payment, 100, "complaint", None, None)
    assert await margin(app_conn) == [("token_sales", 40, 40_000)]
    await sold(world, 7, 1000, "JPY")
    await sold(world, 9, 30_000, "NGN")
    assert await margin(app_conn) == [("token_sales", 56, None)]  # nobody has said what they are worth
    await world.db.execute("SELECT api.set_rate('currency_value', 0.0067, NULL, 'jpy')")
    assert await margin(app_conn) == [("token_sales", 56, None)]
    await world.db.execute("SELECT api.set_rate('currency_value', 0.0007, NULL, 'ngn')")
    assert await margin(app_conn) == [("token_sales", 56, 40_000 + 67_000 + 2_100)]
    days = await app_conn.fetch("SELECT provider, currency, payments, amount, net FROM api.sale_days ORDER BY currency")
    assert [tuple(day) for day in days] == [
        ("stripe", "JPY", 1, 7, 1000),
        ("stripe", "NGN", 1, 9, 30_000),
        ("stripe", "USD", 1, 40, 400),
    ]


async def test_sales_count_the_rate_of_their_day(world: World) -> None:
    await sold(world, 7, 1000, "NGN")
    await world.db.execute("SELECT api.set_rate('currency_value', 0.001, NULL, 'ngn')")
    await world.db.execute(
        "SELECT api.set_rate('currency_value', 0.002, NULL, 'ngn', p_valid_from => now() + interval '2 days')"
    )
    assert await margin(world.db) == [("token_sales", 7, 100)]


async def test_which_currencies_have_other_minor_units_is_said_once(world: World) -> None:
    view: str = await world.db.fetchval("SELECT pg_get_viewdef('api.margin'::regclass)")
    assert set(re.findall("'([A-Z]{3})'", view)) == WHOLE_CURRENCIES | THOUSANDTHS | {"UTC"}
