"""Wallets over HTTP: balances, history, statements, CSV, transfers, the auditor."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx

from tests.api.people import Person, api, register, register_admin, slug
from tests.api.test_tips import fund
from tests.support.postgres import Connection


async def transfer(client: httpx.AsyncClient, payer: Person, key: str, **body: Any) -> httpx.Response:
    """A transfer in the payer's name."""
    return await client.post(api("/wallets/transfers"), json=body, headers={**payer.headers, "Idempotency-Key": key})


async def test_a_transfer_and_its_replay(client: httpx.AsyncClient, db: Connection) -> None:
    ada, ben = await register(client), await register(client)
    await fund(db, ada, 100)
    sent: dict[str, Any] = {"to_user_id": str(ben.id), "amount": 40, "reference": "rent", "metadata": {"month": 11}}
    first = await transfer(client, ada, "k", **sent)
    assert first.status_code == 201, first.text
    assert first.json()["new_balance"] == 60
    again = await transfer(client, ada, "k", **sent)
    assert first.content == again.content
    assert slug(await transfer(client, ada, "k", **{**sent, "amount": 41})) == "IDEMPOTENCY_KEY_REUSED"
    wallets = (await client.get(api("/dashboard/wallet"), headers=ben.headers)).json()["wallets"]
    assert [(w["asset"], w["scale"], w["balance"], w["spendable"], w["lifetime_earned"]) for w in wallets] == [
        ("TOKEN", 0, 40, 40, 40)
    ]
    balance = (await client.get(api("/monetization/balance"), headers=ada.headers)).json()
    assert (balance["available"], balance["lifetime_spent"], balance["token_value_usd"]) == (60, 40, "0.05")


async def test_refused_transfers(client: httpx.AsyncClient, db: Connection) -> None:
    ada, ben = await register(client), await register(client)
    await fund(db, ada, 100)
    wallet = await db.fetchval("SELECT id FROM core.wallets WHERE owner_id = $1", ben.id)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"to_user_id": str(ben.id), "amount": 101}, "INSUFFICIENT_TOKENS"),
        ({"to_user_id": str(uuid4()), "amount": 1}, "WALLET_NOT_FOUND"),
        ({"to_user_id": str(ada.id), "amount": 1}, "SELF_TRANSFER"),
        ({"to_user_id": str(ben.id), "to_wallet_id": str(wallet), "amount": 1}, "VALIDATION_ERROR"),
        ({"amount": 1}, "VALIDATION_ERROR"),
        ({"to_user_id": str(ben.id), "amount": 1, "from_wallet_id": str(wallet)}, "VALIDATION_ERROR"),
        ({"to_user_id": str(ben.id), "amount": 1, "asset": "EUR"}, "WALLET_NOT_FOUND"),
        ({"to_user_id": str(ben.id), "amount": 1, "metadata": {"a": "b" * 999, "c": {"d": 1}}}, "VALIDATION_ERROR"),
        ({"to_user_id": str(ben.id), "amount": 1, "reference": "é" * 200}, "INVALID_REQUEST"),
        (
            {"to_user_id": str(ben.id), "amount": 1, "metadata": {f"k{n}": f"{n}" * 400 for n in range(10, 30)}},
            "METADATA_TOO_LARGE",
        ),
    ]
    for number, (body, error) in enumerate(cases):
        assert slug(await transfer(client, ada, f"k{number}", **body)) == error, body
    assert await db.fetchval("SELECT count(*) FROM core.transfers WHERE kind = 'transfer'") == 0


async def test_two_keys_are_none(client: httpx.AsyncClient, db: Connection) -> None:
    ada, ben = await register(client), await register(client)
    await fund(db, ada, 100)
    headers = [*ada.headers.items(), ("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    answer = await client.post(
        api("/wallets/transfers"), json={"to_user_id": str(ben.id), "amount": 40}, headers=headers
    )
    assert (answer.status_code, slug(answer)) == (422, "IDEMPOTENCY_KEY_INVALID")
    assert await db.fetchval("SELECT count(*) FROM core.transfers WHERE kind = 'transfer'") == 0


async def test_history_pages_filters_and_csv(client: httpx.AsyncClient, db: Connection) -> None:
    ada, ben = await register(client), await register(client)
    await fund(db, ada, 100)
    for number in range(4):
        answer = await transfer(
            client, ada, f"k{number}", to_wallet_id=None, to_user_id=str(ben.id), amount=number + 1, reference="=1+1"
        )
        assert answer.status_code == 201
    url = api("/dashboard/wallet/transactions")
    page = (await client.get(url, params={"limit": 3}, headers=ada.headers)).json()
    assert [(row["seq"], row["amount"], row["balance"]) for row in page["items"]] == [
        (5, -4, 90),
        (4, -3, 94),
        (3, -2, 97),
    ]
    rest = (await client.get(url, params={"limit": 3, "cursor": page["next_cursor"]}, headers=ada.headers)).json()
    assert [row["kind"] for row in rest["items"]] == ["transfer", "grant"]
    assert rest["next_cursor"] is None
    grants = (await client.get(url, params={"kind": "grant"}, headers=ada.headers)).json()["items"]
    assert [row["amount"] for row in grants] == [100]
    nothing = (await client.get(url, params={"from": "2100-01-01T00:00:00Z"}, headers=ada.headers)).json()["items"]
    assert nothing == []
    answer = await client.get(url, headers={**ada.headers, "Accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["amount"] for row in rows] == ["-4", "-3", "-2", "-1", "100"]
    assert {row["reference"] for row in rows} == {"'=1+1", "test"}
    assert (await client.get(url, params={"from": "yesterday"}, headers=ada.headers)).status_code == 422


async def test_a_statement_adds_up(client: httpx.AsyncClient, db: Connection) -> None:
    ada, ben = await register(client), await register(client)
    await fund(db, ada, 100)
    middle = await db.fetchval("SELECT clock_timestamp()")
    await asyncio.sleep(0.01)
    for number in range(3):
        await transfer(client, ada, f"k{number}", to_user_id=str(ben.id), amount=10)
    params = {"from": middle.isoformat(), "to": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    answer = await client.get(api("/dashboard/wallet/statement"), params=params, headers=ada.headers)
    assert answer.status_code == 200, answer.text
    statement = answer.json()
    assert (statement["opening_balance"], statement["closing_balance"]) == (100, 70)
    assert sum(entry["amount"] for entry in statement["entries"]) == -30
    backwards = {"from": params["to"], "to": params["from"]}
    answer = await client.get(api("/dashboard/wallet/statement"), params=backwards, headers=ada.headers)
    assert slug(answer) == "VALIDATION_ERROR"


async def test_what_takes_longer_than_a_request_may_is_looked_up(client: httpx.AsyncClient, db: Connection) -> None:
    admin = await register_admin(client, db)
    keep = """
        INSERT INTO core.audits (started_at, finished_at, violations, found)
        SELECT m - $1::interval, m, 1, '[{"rule": "seq_gapless", "subject": "wallet x", "detail": {"seq": 2}}]'
        FROM (SELECT timestamptz '2026-01-01 00:00:00+00') AS t (m)"""
    await db.execute(keep, timedelta(seconds=1))
    assert (await client.get(api("/admin/ledger/audit"), headers=admin.headers)).json()["balanced"]
    await db.execute(keep, timedelta(minutes=1))
    assert (await client.get(api("/admin/ledger/audit"), headers=admin.headers)).json() == {
        "balanced": False,
        "violations": [{"rule": "seq_gapless", "subject": "wallet x", "detail": {"seq": 2}}],
        "audited_at": "2026-01-01T00:00:00Z",
    }


async def test_the_auditor_is_for_admins(client: httpx.AsyncClient, db: Connection) -> None:
    admin, ada = await register_admin(client, db), await register(client)
    await fund(db, ada, 100)
    answer = await client.get(api("/admin/ledger/audit"), headers=admin.headers)
    found = answer.json()
    assert (found["balanced"], found["violations"]) == (True, [])
    assert datetime.now(UTC) - datetime.fromisoformat(found["audited_at"]) < timedelta(minutes=5)
    assert (await client.get(api("/admin/ledger/audit"), headers=ada.headers)).status_code == 403
