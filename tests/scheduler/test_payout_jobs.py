"""Payouts are handed to providers once, whatever becomes of the answers; keys rotate."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from app.core.vault import Sealed, Vault, VaultError
from app.payouts.details import open_details
from app.settings import Settings
from scheduler.metrics import MARGIN, PAYOUT_REPORTS, PAYOUT_TOKENS, PAYOUTS
from scheduler.process import Runner
from scheduler.registry import JobContext, all_jobs
from tests.support.money import Person, balance, person, set_status
from tests.support.payers import ENCRYPTION_KEY, Fault, Payers, payers_at_work
from tests.support.payments import Fact, open_payment, tell
from tests.support.payouts import DETAILS, ask, clearing, due_now, no_reviews, payout, real_account, row, status
from tests.support.postgres import Clone, Connection

JOBS = {job.name: job for job in all_jobs()}
Runners = Callable[[Settings], Runner]
BOTH = pytest.mark.parametrize("provider", ["stripe", "paystack"])


@pytest_asyncio.fixture
async def payers() -> AsyncIterator[Payers]:
    """Stripe and Paystack."""
    async with payers_at_work() as found:
        yield found


@pytest_asyncio.fixture
async def scheduler(database: Clone) -> AsyncIterator[Runners]:
    """A runner of jobs with these settings."""
    pool = await asyncpg.create_pool(database.url("scheduler"), min_size=1, max_size=2)
    yield lambda settings: Runner(JobContext(pool, settings))
    await pool.close()


@pytest_asyncio.fixture
async def star(db: Connection) -> Person:
    """Somebody who is paid without an operator."""
    await no_reviews(db)
    return await person(db, "star", tokens=10_000, roles=["creator"])


async def asked(db: Connection, who: Person, payers: Payers, provider: str, amount: int = 2000) -> UUID:
    """A payout that is due."""
    settings = payers.settings(Settings())
    return await ask(db, who, amount, await real_account(db, who.id, settings, provider))


async def run(runner: Runner, db: Connection, made: UUID, times: int = 1) -> None:
    """The job runs, each time with the payout due."""
    for _ in range(times):
        if await db.fetchval("SELECT next_at IS NOT NULL FROM core.payouts WHERE id = $1", made):
            await due_now(db, made)
        assert await runner.run(JOBS["send-payouts"])


@BOTH
async def test_paid_at_once(scheduler: Runners, db: Connection, payers: Payers, star: Person, provider: str) -> None:
    made = await asked(db, star, payers, provider)
    runner = scheduler(payers.settings(Settings()))
    await run(runner, db, made)
    got = await payout(db, made)
    assert (got["status"], got["provider_state"]) == ("paid", "paid")
    assert got["provider_reference"] == {"stripe": "po_1", "paystack": "TRF_1"}[provider]
    assert (payers.paid(made), await balance(db, star.wallet), await clearing(db)) == (1, 8000, 0)
    row_of = (payers.payouts or payers.paystack).values()
    assert [(p["amount"], p["currency"].upper()) for p in row_of] == [(10_000, "USD")]
    assert await db.fetch("SELECT * FROM api.reconcile_payouts($1, (now() AT TIME ZONE 'UTC')::date)", provider) == []
    assert await runner.run(JOBS["measure-margin"])
    assert MARGIN.labels("payouts")._value.get() == -1_000_000
    assert (PAYOUTS.labels("processing")._value.get(), PAYOUT_TOKENS._value.get()) == (0, 0)


@BOTH
async def test_paid_later_and_taken_back_later_still(
    scheduler: Runners, db: Connection, payers: Payers, star: Person, provider: str
) -> None:
    payers.arrives = "pending"
    made = await asked(db, star, payers, provider)
    runner = scheduler(payers.settings(Settings()))
    await run(runner, db, made, 2)
    assert await status(db, made) == ("processing", None)
    assert await clearing(db) == 2000
    payers.turn("paid")
    await run(runner, db, made, 2)
    assert await status(db, made) == ("paid", None)
    payers.turn("failed")
    await run(runner, db, made, 2)
    assert await status(db, made) == ("failed", "reversed")
    assert (await balance(db, star.wallet), await clearing(db), payers.paid(made)) == (10_000, 0, 0)
    assert all(transfer["reversed"] for transfer in payers.transfers.values())


@BOTH
@pytest.mark.parametrize(
    "faults",
    [
        ["lost"],
        ["dropped"],
        ["late"],
        [500],
        [429],
        ["lost", "lost"],
        ["lost", "late", "dropped", 503],
        ["none", "lost"],
    ],
)
async def test_a_lost_answer_pays_once(
    scheduler: Runners, db: Connection, payers: Payers, star: Person, provider: str, faults: list[Fault]
) -> None:
    """The provider did its work, or did not, and nobody heard: after it was asked there is one effect."""
    payers.faults = faults.copy()
    made = await asked(db, star, payers, provider)
    runner = scheduler(payers.settings(Settings(), payout_timeout_seconds=1))
    await run(runner, db, made, 8)
    assert await status(db, made) == ("paid", None)
    assert (payers.paid(made), await balance(db, star.wallet), await clearing(db)) == (1, 8000, 0)
    assert len(payers.transfers) + len(payers.paystack) == 1


@BOTH
async def test_an_unknown_one_is_asked_about_not_told(
    scheduler: Runners, db: Connection, payers: Payers, star: Person, provider: str
) -> None:
    made = await asked(db, star, payers, provider)
    runner = scheduler(payers.settings(Settings()))
    before = PAYOUT_REPORTS.labels(provider, "unknown")._value.get()
    payers.faults = ["none", "lost"]  # what comes first is the recipient, or the transfer
    await run(runner, db, made)
    assert (await payout(db, made))["provider_state"] == "unknown"
    assert PAYOUT_REPORTS.labels(provider, "unknown")._value.get() == before + 1
    told = payers.requests.copy()
    await run(runner, db, made)
    assert {method for method, _ in payers.requests[len(told) :]} == {"GET"}
    assert await status(db, made) == ("paid", None)


@pytest.mark.parametrize(
    ("provider", "refuses", "reason"),
    [
        ("stripe", "account_closed", "account_closed"),
        ("paystack", "account", "account_refused"),
        ("paystack", "Recipient is blocked", "refused"),
    ],
)
async def test_what_is_refused_comes_back(
    scheduler: Runners, db: Connection, payers: Payers, star: Person, provider: str, refuses: str, reason: str
) -> None:
    payers.refuses = refuses
    made = await asked(db, star, payers, provider)
    await run(scheduler(payers.settings(Settings())), db, made, 2)
    assert await status(db, made) == ("failed", reason)
    assert (await balance(db, star.wallet), payers.paid(made)) == (10_000, 0)
    assert all(transfer["reversed"] for transfer in payers.transfers.values())


async def test_a_payout_of_stripe_that_fails_takes_its_transfer_back(
    scheduler: Runners, db: Connection, payers: Payers, star: Person
) -> None:
    payers.arrives = "pending"
    made = await asked(db, star, payers, "stripe")
    runner = scheduler(payers.settings(Settings()))
    await run(runner, db, made)
    payers.turn("failed")
    payers.faults = ["dropped"]  # the reversal
    await run(runner, db, made)
    assert await status(db, made) == ("processing", None), "the money is not back yet"
    await run(runner, db, made)
    assert await status(db, made) == ("failed", "failed")
    assert [transfer["reversed"] for transfer in payers.transfers.values()] == [True]


@pytest.mark.parametrize(("provider", "refuses"), [("stripe", "balance_insufficient"), ("paystack", "balance")])
async def test_our_own_empty_purse_is_not_the_creators_fault(
    scheduler: Runners, db: Connection, payers: Payers, star: Person, provider: str, refuses: str
) -> None:
    payers.refuses = refuses
    made = await asked(db, star, payers, provider)
    runner = scheduler(payers.settings(Settings()))
    await run(runner, db, made)
    assert (await payout(db, made))["provider_state"] == "not_sent"
    payers.refuses = None
    payers._keys.clear()  # Stripe keeps no key of a request that changed nothing for long
    await run(runner, db, made, 2)
    assert (await status(db, made), payers.paid(made)) == (("paid", None), 1)


async def test_what_cannot_be_looked_for_has_not_failed(
    scheduler: Runners, db: Connection, payers: Payers, star: Person
) -> None:
    payers.faults = ["none", "dropped"]  # the transfer is made, the payout is not
    made = await asked(db, star, payers, "stripe")
    runner = scheduler(payers.settings(Settings()))
    await run(runner, db, made, 2)
    assert (await payout(db, made))["provider_state"] == "not_found"
    payers.tells_nothing = True
    await run(runner, db, made)
    assert ((await payout(db, made))["provider_state"], await status(db, made)) == ("not_sent", ("processing", None))
    payers.tells_nothing = False
    await run(runner, db, made, 2)
    assert (await status(db, made), payers.paid(made), len(payers.transfers)) == (("paid", None), 1, 1)


async def test_stripe_is_not_told_yen_in_hundredths(
    scheduler: Runners, db: Connection, payers: Payers, star: Person
) -> None:
    await db.execute("SELECT api.set_rate('currency_value', 0.0067, NULL, 'jpy')")
    settings = payers.settings(Settings())
    made = await ask(db, star, 2000, await real_account(db, star.id, settings, currency="JPY"))
    await run(scheduler(settings), db, made)
    assert (await status(db, made), payers.requests) == (("failed", "currency"), [])
    assert await balance(db, star.wallet) == 10_000


@BOTH
async def test_while_a_provider_is_away_nothing_is_lost(
    scheduler: Runners, db: Connection, payers: Payers, star: Person, provider: str
) -> None:
    made = await asked(db, star, payers, provider)
    settings = payers.settings(Settings())
    away = payers.settings(Settings(), stripe_url="http://127.0.0.1:9", paystack_url="http://127.0.0.1:9")
    nobody = payers.settings(Settings(), stripe_secret_key=None, paystack_secret_key=None)
    wrong = payers.settings(Settings(), stripe_secret_key="sk_wrong", paystack_secret_key="sk_wrong")
    keyless = payers.settings(Settings(), encryption_key=None)
    for broken in (away, nobody, wrong, keyless):
        await run(scheduler(broken), db, made)
        assert await status(db, made) == ("processing", None)
    assert payers.paid(made) == 0
    await run(scheduler(settings), db, made, 3)
    assert (await status(db, made), payers.paid(made)) == (("paid", None), 1)


async def test_another_amount_settles_nothing(scheduler: Runners, db: Connection, payers: Payers, star: Person) -> None:
    payers.arrives = "pending"
    made = await asked(db, star, payers, "stripe")
    runner = scheduler(payers.settings(Settings()))
    await run(runner, db, made)
    payers.turn("paid")
    payers.payouts["po_1"]["amount"] -= 1
    await run(runner, db, made)
    assert await status(db, made) == ("processing", None)
    found = await row(db, "SELECT * FROM api.reconcile_payouts('stripe', (now() AT TIME ZONE 'UTC')::date)")
    assert (found["payout_id"], found["mismatch"]) == (made, "amount")


async def test_a_wallet_that_takes_nothing_waits(
    scheduler: Runners, db: Connection, payers: Payers, star: Person
) -> None:
    payers.arrives = "pending"
    made = await asked(db, star, payers, "stripe")
    runner = scheduler(payers.settings(Settings()))
    await run(runner, db, made)
    payers.turn("failed")
    await set_status(db, star.wallet, "frozen")
    await due_now(db, made)
    assert not await runner.run(JOBS["send-payouts"])
    assert await status(db, made) == ("processing", None)
    await set_status(db, star.wallet, "active")
    await run(runner, db, made)
    assert await status(db, made) == ("failed", "failed")
    assert await balance(db, star.wallet) == 10_000


async def test_by_hand_nobody_is_asked(scheduler: Runners, db: Connection, payers: Payers, star: Person) -> None:
    made = await asked(db, star, payers, "manual")
    await run(scheduler(payers.settings(Settings())), db, made, 2)
    assert await status(db, made) == ("processing", None)
    assert payers.requests == []
    await db.execute("SELECT api.fail_payout($1, 'returned_by_bank')", made)


async def test_keys_rotate(scheduler: Runners, db: Connection, payers: Payers, star: Person) -> None:
    old = payers.settings(Settings())
    account = await real_account(db, star.id, old, "manual")
    new_key = base64.b64encode(os.urandom(32)).decode()
    new = payers.settings(
        Settings(), encryption_key=new_key, encryption_key_id="v2", encryption_old_keys=(f"v1={ENCRYPTION_KEY}",)
    )
    gone = payers.settings(Settings(), encryption_key=new_key, encryption_key_id="v2")
    assert not await scheduler(gone).run(JOBS["reencrypt"]), "the old key is missing"

    async def opened(settings: Settings) -> object:
        found = await row(db, "SELECT key_id, details FROM core.payout_accounts")
        return open_details(Vault(settings), Sealed(found["key_id"], found["details"]), account, star.id, "manual")

    assert await opened(new) == DETAILS["manual"]
    assert await scheduler(new).run(JOBS["reencrypt"])
    assert await opened(gone) == DETAILS["manual"]
    with pytest.raises(VaultError):
        await opened(old)
    assert await scheduler(payers.settings(Settings(), encryption_key=None)).run(JOBS["reencrypt"])


async def test_a_copied_row_does_not_open(db: Connection, payers: Payers, star: Person) -> None:
    settings = payers.settings(Settings())
    account = await real_account(db, star.id, settings, "manual")
    other = await person(db, "other")
    found = await row(db, "SELECT key_id, details FROM core.payout_accounts")
    sealed = Sealed(found["key_id"], found["details"])
    assert b"DE89" not in sealed.data
    for where in ((account, other.id, "manual"), (other.id, star.id, "manual"), (account, star.id, "paystack")):
        with pytest.raises(VaultError):
            open_details(Vault(settings), sealed, *where)
    for at in (0, 12, len(sealed.data) - 1):
        torn = bytearray(sealed.data)
        torn[at] ^= 1
        with pytest.raises(VaultError):
            open_details(Vault(settings), Sealed("v1", bytes(torn)), account, star.id, "manual")


async def test_half_a_margin_is_not_shown(db: Connection, scheduler: Runners) -> None:
    buyer = await person(db, "buyer")
    await db.execute("SELECT api.create_token_package('some', 7, 0, 1000, 'NGN')")
    payment = await open_payment(db, buyer.id, tokens=7)
    await tell(db, Fact(payment=payment, amount=1000, currency="NGN", charge="ch_1"))
    runner = scheduler(Settings())
    assert await runner.run(JOBS["measure-margin"])
    assert math.isnan(MARGIN.labels("token_sales")._value.get())
    await db.execute("SELECT api.set_rate('currency_value', 0.001, NULL, 'ngn')")
    assert await runner.run(JOBS["measure-margin"])
    assert MARGIN.labels("token_sales")._value.get() == 100
