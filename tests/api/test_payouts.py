"""Payouts over HTTP: who may ask, what they must show, what is never shown, and what operators decide."""

from __future__ import annotations

import base64
import csv
import io
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from app.accounts.totp import STEP_SECONDS, code_at, matching_step
from tests.api.people import PASSWORD, Person, api, register, slug
from tests.support.application import running_client
from tests.support.payers import ENCRYPTION_KEY
from tests.support.payouts import claim, no_reviews
from tests.support.postgres import Clone, Connection

IBAN = "DE89370400440532013000"
BANK = {"currency": "USD", "bank": {"holder": "=Ada Obi", "number": IBAN}}
STRIPE = {"currency": "USD", "stripe": {"account": "acct_1MTfjCQ9PRzxEwkZ"}}
PAYSTACK = {"currency": "NGN", "paystack": {"holder": "Ada Obi", "bank_code": "058", "number": "0123456789"}}
SHOWN = {"password": PASSWORD}


@pytest_asyncio.fixture
async def client(database: Clone) -> AsyncIterator[httpx.AsyncClient]:
    """The application, with a key to encrypt with and providers that are somewhere."""
    settings = database.settings(
        encryption_key=ENCRYPTION_KEY, stripe_secret_key="sk_test", paystack_secret_key="sk_test"
    )
    async with running_client(settings) as http:
        yield http


@pytest_asyncio.fixture
async def star(client: httpx.AsyncClient, db: Connection) -> Person:
    """Somebody with 10,000 tokens."""
    who = await register(client)
    await db.execute("SELECT api.grant_tokens($1, 10000, 'for a test')", who.id)
    return who


@pytest_asyncio.fixture
async def operator(client: httpx.AsyncClient, db: Connection) -> Person:
    """Somebody who decides."""
    who = await register(client)
    await db.execute("UPDATE core.users SET roles = '{operator}' WHERE id = $1", who.id)
    return who


async def post(client: httpx.AsyncClient, who: Person, path: str, body: Any = None, **headers: str) -> httpx.Response:
    return await client.post(api(path), json={} if body is None else body, headers=who.headers | headers)


async def get(client: httpx.AsyncClient, who: Person, path: str, **headers: str) -> httpx.Response:
    return await client.get(api(path), headers=who.headers | headers)


async def add(client: httpx.AsyncClient, who: Person, body: dict[str, Any] = BANK) -> str:
    answer = await post(client, who, "/payouts/accounts", body | SHOWN)
    assert answer.status_code == 201, answer.text
    account: str = answer.json()["account_id"]
    return account


async def ask(
    client: httpx.AsyncClient, who: Person, account: str, amount: Any = 2000, key: Any = None, **more: Any
) -> httpx.Response:
    body = {"amount": amount, "provider": "manual", "account_id": account} | (more or SHOWN)
    return await post(client, who, "/monetization/payout", body, **{"Idempotency-Key": key or uuid4().hex})


async def test_from_the_request_to_the_bank(
    client: httpx.AsyncClient, db: Connection, star: Person, operator: Person
) -> None:
    account = await add(client, star)
    first = await ask(client, star, account, key="k")
    assert first.status_code == 201, first.text
    receipt = first.json()
    assert (receipt["status"], receipt["reason"], receipt["payout_amount"]) == ("held", "first_payout", 1_000_000)
    assert (receipt["new_balance"], receipt["available"]) == (10_000, 8000)
    again = await ask(client, star, account, key="k", password="not asked for again")
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert slug(await ask(client, star, account, 2001, key="k")) == "IDEMPOTENCY_KEY_REUSED"
    balance = (await get(client, star, "/monetization/balance")).json()
    assert (balance["available"], balance["pending"], balance["payable"]) == (8000, 0, 8000)
    assert (await get(client, star, "/payouts/balance")).json()["in_payouts"] == 2000

    payout = f"/admin/payouts/{receipt['payout_id']}"
    queue = (await get(client, operator, "/admin/payouts?status=held")).json()["items"]
    assert [(item["payout_id"], item["user_id"]) for item in queue] == [(receipt["payout_id"], str(star.id))]
    held = await post(client, operator, f"{payout}/hold", {"reason": "identity_check"})
    assert held.json()["reason"] == "identity_check"
    assert (await post(client, operator, f"{payout}/approve")).json()["status"] == "requested"
    assert (await claim(db))["action"] == "queued"
    batch = await get(client, operator, "/admin/payouts/batch")
    assert batch.json()["lines"] == [
        {
            "payout_id": receipt["payout_id"],
            "holder": "=Ada Obi",
            "number": IBAN,
            "bank": None,
            "currency": "USD",
            "payout_amount": "100.00",
        }
    ]
    sheet = await get(client, operator, "/admin/payouts/batch", Accept="text/csv")
    rows = list(csv.DictReader(io.StringIO(sheet.text)))
    assert (rows[0]["holder"], rows[0]["number"], rows[0]["payout_amount"]) == ("'=Ada Obi", IBAN, "100.00")
    assert await db.fetchval("SELECT count(*) FROM api.audit_log WHERE action = 'payouts.listed'") == 2
    paid = await post(client, operator, f"{payout}/mark-paid", {"reference": "batch 7, line 1"})
    assert (paid.json()["status"], paid.json()["provider_reference"]) == ("paid", "batch 7, line 1")
    assert (await get(client, operator, "/admin/payouts/batch")).json() == {"lines": []}
    mine = (await get(client, star, f"/payouts/{receipt['payout_id']}")).json()
    assert (mine["status"], mine["account"]) == ("paid", "••••3000")
    listed = (await get(client, star, "/payouts?status=paid")).json()["items"]
    assert listed == [mine]
    days = (await get(client, operator, "/admin/payouts/days")).json()["days"]
    assert [(day["amount"], day["value"]) for day in days] == [(2000, 1_000_000)]
    # the bank sends it back
    failed = await post(client, operator, f"{payout}/fail", {"reason": "returned_by_bank", "reference": "R7"})
    assert failed.json()["status"] == "failed"
    assert (await get(client, star, "/monetization/balance")).json()["available"] == 10_000
    acts = await db.fetch("SELECT action, request_id FROM api.audit_log WHERE subject_id = $1", mine["payout_id"])
    assert [act["action"] for act in acts] == ["payout.held", "payout.approved", "payout.paid", "payout.failed"]
    assert all(act["request_id"] for act in acts)


async def test_cancelled_by_its_user(client: httpx.AsyncClient, star: Person) -> None:
    receipt = (await ask(client, star, await add(client, star))).json()
    for _ in range(2):
        answer = await post(client, star, f"/payouts/{receipt['payout_id']}/cancel")
        assert (answer.json()["status"], answer.json()["reason"]) == ("cancelled", "by_user")
    assert (await get(client, star, "/monetization/balance")).json()["available"] == 10_000


class TestAccounts:
    """What is in an account is never shown."""

    async def test_encrypted_and_masked(self, client: httpx.AsyncClient, db: Connection, star: Person) -> None:
        for body in (BANK, STRIPE, PAYSTACK):
            await add(client, star, body)
        listed = (await get(client, star, "/payouts/accounts")).json()["accounts"]
        assert [(a["provider"], a["currency"], a["masked"]) for a in listed] == [
            ("manual", "USD", "••••3000"),
            ("stripe", "USD", "acct_••••EwkZ"),
            ("paystack", "NGN", "058 ••••6789"),
        ]
        stored = await db.fetch("SELECT a::text, details FROM core.payout_accounts AS a")
        logged = await db.fetch("SELECT l::text FROM core.audit_log AS l WHERE action = 'payout_account.added'")
        assert len(logged) == 3
        for secret in (IBAN, "Ada Obi", "0123456789", "acct_1MTfjCQ9PRzxEwkZ"):
            assert all(secret not in found["a"] and secret.encode() not in found["details"] for found in stored)
            assert all(secret not in found["l"] for found in logged)

    @pytest.mark.parametrize(
        "body",
        [
            {"currency": "USD"},
            BANK | STRIPE,
            BANK | {"currency": "usd"},
            BANK | {"more": 1},
            {"currency": "USD", "bank": {"holder": "A", "number": "DE89370400440532013001"}},
            {"currency": "USD", "bank": {"holder": "A", "number": "de89"}},
            {"currency": "USD", "bank": {"holder": "", "number": IBAN}},
            {"currency": "USD", "bank": {"holder": "A\x00", "number": IBAN}},
            {"currency": "USD", "bank": {"holder": "A", "number": IBAN, "more": 1}},
            {"currency": "USD", "stripe": {"account": "acct_"}},
            {"currency": "USD", "stripe": {"account": "cus_1MTfjCQ9PRzxEwkZ"}},
            {"currency": "NGN", "paystack": {"holder": "A", "bank_code": "058", "number": "12-34-56-78"}},
            STRIPE | {"currency": "JPY"},
            STRIPE | {"currency": "KWD"},
            STRIPE | {"currency": "HUF"},
            {},
            [],
        ],
    )
    async def test_what_is_no_account(self, client: httpx.AsyncClient, star: Person, body: Any) -> None:
        sent = body | SHOWN if isinstance(body, dict) else body
        answer = await post(client, star, "/payouts/accounts", sent)
        assert (answer.status_code, slug(answer)) == (422, "VALIDATION_ERROR")

    async def test_without_a_key_or_a_provider(self, database: Clone, db: Connection) -> None:
        async with running_client(database.settings()) as http:
            who = await register(http)
            assert slug(await post(http, who, "/payouts/accounts", BANK | SHOWN)) == "ENCRYPTION_NOT_CONFIGURED"
            assert slug(await post(http, who, "/payouts/accounts", STRIPE | SHOWN)) == "PAYOUT_PROVIDER_NOT_CONFIGURED"

    async def test_removed(self, client: httpx.AsyncClient, star: Person, operator: Person) -> None:
        account = await add(client, star)
        path = api(f"/payouts/accounts/{account}")
        assert slug(await client.delete(path, headers=operator.headers)) == "PAYOUT_ACCOUNT_NOT_FOUND"
        assert (await client.delete(path, headers=star.headers)).status_code == 204
        assert slug(await client.delete(path, headers=star.headers)) == "PAYOUT_ACCOUNT_NOT_FOUND"
        assert (await get(client, star, "/payouts/accounts")).json() == {"accounts": []}
        assert slug(await ask(client, star, account)) == "PAYOUT_ACCOUNT_NOT_FOUND"


class TestRequests:
    """What is refused, and never with a 500."""

    @pytest.mark.parametrize("amount", [0, -1, 1.5, "2000", None, True, 2**63, 2**53, [], float("1e30")])
    async def test_amounts(self, client: httpx.AsyncClient, star: Person, amount: Any) -> None:
        answer = await ask(client, star, await add(client, star), amount)
        assert answer.status_code in (402, 422), answer.text
        slug(answer)

    async def test_bodies(self, client: httpx.AsyncClient, star: Person) -> None:
        account = await add(client, star)
        good = {"amount": 2000, "provider": "manual", "account_id": account} | SHOWN
        key = {"Idempotency-Key": "k"}
        wrongs: list[Any] = [
            good | {"provider": "cash"},
            good | {"account_id": "x"},
            good | {"more": 1},
            good | {"code": "12345"},
            good | {"password": ""},
            {"amount": 2000},
            [],
        ]
        for wrong in wrongs:
            assert slug(await post(client, star, "/monetization/payout", wrong, **key)) == "VALIDATION_ERROR"
        wrong_password = good | {"password": "wrong\x00password"}
        assert slug(await post(client, star, "/monetization/payout", wrong_password, **key)) == "STEP_UP_FAILED"
        assert slug(await post(client, star, "/monetization/payout", good)) == "IDEMPOTENCY_KEY_REQUIRED"
        for other in ("stripe", "paystack"):
            answer = await post(client, star, "/monetization/payout", good | {"provider": other}, **key)
            assert slug(answer) == "PAYOUT_ACCOUNT_NOT_FOUND"
        nan = api("/monetization/payout")
        content = b'{"amount": NaN, "provider": "manual", "account_id": "x"}'
        headers = star.headers | key | {"Content-Type": "application/json"}
        assert (await client.post(nan, content=content, headers=headers)).status_code in (400, 422)

    async def test_money_that_is_not_there(self, client: httpx.AsyncClient, db: Connection, star: Person) -> None:
        account = await add(client, star)
        assert slug(await ask(client, star, account, 999)) == "PAYOUT_TOO_SMALL"
        short = await ask(client, star, account, 10_001)
        assert (short.status_code, slug(short), short.json()["shortfall"]) == (402, "INSUFFICIENT_TOKENS", 1)
        await db.execute("SELECT api.set_rate('earnings_maturity', 7, 'TOKEN')")
        young = await ask(client, star, account, 2000)
        assert (young.status_code, slug(young), young.json()["pending"]) == (402, "EARNINGS_PENDING", 10_000)
        balance = (await get(client, star, "/monetization/balance")).json()
        assert (balance["pending"], balance["payable"]) == (10_000, 0)
        await db.execute("SELECT api.set_rate('earnings_maturity', 0, 'TOKEN')")
        await db.execute("SELECT api.set_rate('payout_day_count', 1, 'TOKEN')")
        assert (await ask(client, star, account)).status_code == 201
        limited = await ask(client, star, account)
        assert (limited.status_code, slug(limited)) == (429, "PAYOUT_LIMIT")
        assert int(limited.headers["retry-after"]) > 0

    async def test_other_peoples(self, client: httpx.AsyncClient, star: Person, operator: Person) -> None:
        other = await register(client)
        account = await add(client, star)
        receipt = (await ask(client, star, account)).json()
        path = f"/payouts/{receipt['payout_id']}"
        assert slug(await get(client, other, path)) == "PAYOUT_NOT_FOUND"
        assert slug(await post(client, other, f"{path}/cancel")) == "PAYOUT_NOT_FOUND"
        assert slug(await ask(client, other, account)) == "PAYOUT_ACCOUNT_NOT_FOUND"
        assert (await get(client, other, "/payouts")).json()["items"] == []
        for route in ("approve", "hold", "mark-paid", "fail"):
            assert slug(await post(client, star, f"/admin{path}/{route}", {"reason": "x", "reference": "y"})) in (
                "FORBIDDEN",
                "VALIDATION_ERROR",
            )
        for route in ("", "/batch", "/days", "/reconciliation?provider=stripe&day=2026-01-01"):
            assert slug(await get(client, star, f"/admin/payouts{route}")) == "FORBIDDEN"
        nobody = f"/admin/payouts/{uuid4()}"
        assert slug(await post(client, operator, f"{nobody}/approve")) == "PAYOUT_NOT_FOUND"
        assert slug(await post(client, operator, f"{nobody}/fail", {"reason": "No"})) == "VALIDATION_ERROR"
        assert slug(await post(client, operator, f"{nobody}/mark-paid", {"reference": "\x00"})) == "VALIDATION_ERROR"

    async def test_an_api_key_moves_no_money_out(self, client: httpx.AsyncClient, star: Person) -> None:
        body = {"name": "k", "scopes": ["payouts:read"]}
        made = await post(client, star, "/api-keys", body)
        assert made.status_code == 201, made.text
        key = {"Authorization": f"Bearer {made.json()['key']}"}
        assert (await client.get(api("/payouts"), headers=key)).status_code == 200
        answer = await client.post(api("/payouts/accounts"), json=BANK | SHOWN, headers=key)
        assert slug(answer) == "INSUFFICIENT_SCOPE"


class TestStepUp:
    """The password, or a code, each time."""

    async def test_passwords_are_counted(self, client: httpx.AsyncClient, star: Person) -> None:
        assert (await post(client, star, "/payouts/accounts", BANK)).json()["method"] == "password"
        assert slug(await post(client, star, "/payouts/accounts", BANK)) == "STEP_UP_REQUIRED"
        for _ in range(5):
            answer = await post(client, star, "/payouts/accounts", BANK | {"password": "wrong"})
            assert (answer.status_code, slug(answer)) == (403, "STEP_UP_FAILED")
        assert slug(await post(client, star, "/payouts/accounts", BANK | SHOWN)) == "TOO_MANY_ATTEMPTS"
        login = await client.post(api("/auth/login"), json={"email": star.email, "password": PASSWORD})
        assert slug(login) == "TOO_MANY_ATTEMPTS", "there is one count, wherever passwords are tried"

    async def test_codes(self, client: httpx.AsyncClient, db: Connection, star: Person) -> None:
        account = await add(client, star)
        assert (await get(client, star, "/auth/totp")).json() == {"enrolled": False}
        assert slug(await post(client, star, "/auth/totp/confirm", {"code": "123456"})) == "TOTP_NOT_ENROLLED"
        assert slug(await post(client, star, "/auth/totp/disable", {"code": "123456"})) == "TOTP_NOT_ENROLLED"
        assert slug(await post(client, star, "/auth/totp", {"password": "wrong"})) == "STEP_UP_FAILED"
        made = (await post(client, star, "/auth/totp", SHOWN)).json()
        assert made["uri"].startswith("otpauth://totp/tessera:")
        secret = _plain(made["secret"])
        assert secret not in (await db.fetchval("SELECT secret FROM core.totp_secrets"))
        # until a first code was right the password does
        assert (await ask(client, star, account)).status_code == 201
        wrong = await post(client, star, "/auth/totp/confirm", {"code": _code(secret, 50)})
        assert slug(wrong) == "STEP_UP_FAILED"
        first = {"code": _code(secret, -1)}
        assert (await post(client, star, "/auth/totp/confirm", first)).json() == {"enrolled": True}
        assert slug(await post(client, star, "/auth/totp", first)) == "STEP_UP_FAILED", "a code is good once"
        assert slug(await post(client, star, "/auth/totp/confirm", first)) == "TOTP_ENROLLED"
        assert (await ask(client, star, account)).json()["method"] == "code"
        code = {"code": _code(secret, 0)}
        key = uuid4().hex
        receipt = await ask(client, star, account, key=key, **code)
        assert receipt.status_code == 201, receipt.text
        assert (await ask(client, star, account, key=key, **code)).content == receipt.content
        assert slug(await ask(client, star, account, **code)) == "STEP_UP_FAILED"
        last = {"code": _code(secret, 1)}
        assert (await post(client, star, "/auth/totp/disable", last)).json() == {"enrolled": False}
        assert (await ask(client, star, account)).status_code == 201

    async def test_codes_are_counted_wherever_they_come_from(self, client: httpx.AsyncClient, star: Person) -> None:
        secret = _plain((await post(client, star, "/auth/totp", SHOWN)).json()["secret"])
        assert (await post(client, star, "/auth/totp/confirm", {"code": _code(secret, 0)})).status_code == 200
        for _ in range(5):
            assert slug(await post(client, star, "/payouts/accounts", BANK | {"code": "000000"})) == "STEP_UP_FAILED"
        right = {"code": _code(secret, 1)}
        assert slug(await post(client, star, "/payouts/accounts", BANK | right)) == "TOO_MANY_ATTEMPTS"

    def test_vectors(self) -> None:
        """RFC 6238, appendix B (SHA-1, eight digits)."""
        secret = b"12345678901234567890"
        for seconds, code in (
            (59, "94287082"),
            (1111111109, "07081804"),
            (1111111111, "14050471"),
            (1234567890, "89005924"),
            (2000000000, "69279037"),
            (20000000000, "65353130"),
        ):
            assert code_at(secret, seconds // STEP_SECONDS, 8) == code
        now = 1111111109.0
        step = int(now) // STEP_SECONDS
        assert matching_step(secret, code_at(secret, step + 1), now, 0) == step + 1
        assert matching_step(secret, code_at(secret, step + 2), now, 0) is None
        assert matching_step(secret, code_at(secret, step), now, step) is None


def _plain(text: str) -> bytes:
    return base64.b32decode(text + "=" * (-len(text) % 8))


def _code(secret: bytes, steps: int) -> str:
    return code_at(secret, int(time.time()) // STEP_SECONDS + steps)


class TestReading:
    """Lists, a year, a provider's day."""

    async def test_a_year(self, client: httpx.AsyncClient, db: Connection, star: Person, operator: Person) -> None:
        await no_reviews(db)
        receipt = (await ask(client, star, await add(client, star))).json()
        await claim(db)
        await post(client, operator, f"/admin/payouts/{receipt['payout_id']}/mark-paid", {"reference": "b1"})
        year = datetime.now(UTC).year
        told = (await get(client, star, f"/payouts/statement?year={year}")).json()
        assert [(line["kind"], line["amount"]) for line in told["lines"]] == [("grant", 10_000), ("payout", -2000)]
        assert [payout["payout_id"] for payout in told["payouts"]] == [receipt["payout_id"]]
        sheet = await get(client, star, f"/payouts/statement?year={year}", Accept="text/csv")
        rows = list(csv.DictReader(io.StringIO(sheet.text)))
        assert [(r["kind"], r["amount"], r["payout_amount"]) for r in rows] == [
            ("grant", "10000", ""),
            ("payout", "-2000", ""),
            ("payout.paid", "2000", "100.00"),
        ]
        for wrong in ("", "?year=1999", "?year=9999", "?year=x", "?year=99999999999999999999"):
            assert slug(await get(client, star, f"/payouts/statement{wrong}")) == "VALIDATION_ERROR"

    async def test_lists(self, client: httpx.AsyncClient, db: Connection, star: Person, operator: Person) -> None:
        account = await add(client, star)
        made = [(await ask(client, star, account, 1000)).json()["payout_id"] for _ in range(3)]
        page = (await get(client, star, "/payouts?limit=2")).json()
        rest = (await get(client, star, f"/payouts?limit=2&cursor={page['next_cursor']}")).json()
        assert [item["payout_id"] for item in page["items"] + rest["items"]] == made[::-1]
        sheet = await get(client, operator, "/admin/payouts?limit=2&provider=manual", Accept="text/csv")
        assert len(list(csv.DictReader(io.StringIO(sheet.text)))) == 2
        assert sheet.headers["x-next-cursor"]
        assert (await get(client, operator, "/admin/payouts?provider=stripe")).json()["items"] == []
        for wrong in ("?status=odd", "?cursor=x", "?limit=0"):
            assert slug(await get(client, star, f"/payouts{wrong}")) == "VALIDATION_ERROR"
            assert slug(await get(client, operator, f"/admin/payouts{wrong}")) == "VALIDATION_ERROR"
        day = datetime.now(UTC).date()
        path = f"/admin/payouts/reconciliation?provider=stripe&day={day}"
        assert (await get(client, operator, path)).json() == {"mismatches": []}
        await no_reviews(db)
        body = {"amount": 1000, "provider": "stripe", "account_id": await add(client, star, STRIPE)} | SHOWN
        await post(client, star, "/monetization/payout", body, **{"Idempotency-Key": "s"})
        await claim(db)
        found = (await get(client, operator, path)).json()["mismatches"]
        assert [mismatch["mismatch"] for mismatch in found] == ["missing_there"]
        for wrong in ("", "?provider=stripe", "?provider=odd&day=2026-01-01", "?provider=stripe&day=x"):
            assert slug(await get(client, operator, f"/admin/payouts/reconciliation{wrong}")) == "VALIDATION_ERROR"
