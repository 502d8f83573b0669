"""Holds by operators and refunds by admins, over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from tests.api.people import Person, api, register, register_admin, slug
from tests.support.postgres import Connection

NOBODY = "00000000-0000-7000-8000-00000000dead"


class Cast(msgspec.Struct):
    """Who is there, and their wallets of tokens."""

    operator: Person
    admin: Person
    fan: Person
    other: Person
    wallets: dict[UUID, str]

    def wallet(self, person: Person) -> str:
        """The person's wallet of tokens."""
        return self.wallets[person.id]


@pytest.fixture
async def cast(client: httpx.AsyncClient, db: Connection) -> Cast:
    """A fan with 100 tokens and somebody to pay; an operator and an admin."""
    admin = await register_admin(client, db)
    operator, fan, other = [await register(client) for _ in range(3)]
    await db.execute("UPDATE core.users SET roles = '{operator}' WHERE id = $1", operator.id)
    await db.execute("SELECT api.grant_tokens($1, 100, 'for a test')", fan.id)
    rows = await db.fetch("SELECT owner_id, wallet_id FROM api.wallets WHERE owner_id IS NOT NULL AND asset = 'TOKEN'")
    return Cast(operator, admin, fan, other, {row["owner_id"]: str(row["wallet_id"]) for row in rows})


async def post(
    client: httpx.AsyncClient, person: Person, path: str, body: dict[str, Any] | None = None, key: str | None = None
) -> httpx.Response:
    """A money POST, with a key of its own unless one is given."""
    headers = {**person.headers, "Idempotency-Key": key or uuid4().hex}
    return await client.post(api(path), json=body, headers=headers)


async def test_hold_capture_release(client: httpx.AsyncClient, cast: Cast) -> None:
    body = {
        "wallet_id": cast.wallet(cast.fan),
        "amount": 60,
        "expires_in_seconds": 600,
        "kind": "ticket",
        "reference": "seat 1",
        "metadata": {"seat": 1},
    }
    placed = await post(client, cast.operator, "/wallets/holds", body, "place")
    assert placed.status_code == 201, placed.text
    hold = placed.json()
    assert (hold["status"], hold["amount"], hold["remaining"], hold["spendable"]) == ("open", 60, 60, 40)
    again = await post(client, cast.operator, "/wallets/holds", body, "place")
    assert (again.status_code, again.content) == (201, placed.content)
    assert again.headers["idempotent-replayed"] == "true"

    shown = (await client.get(api("/dashboard/wallet"), headers=cast.fan.headers)).json()["wallets"][0]
    assert (shown["balance"], shown["held"], shown["spendable"]) == (100, 60, 40)

    capture = {"to_wallet_id": cast.wallet(cast.other), "amount": 25}
    captured = await post(client, cast.operator, f"/wallets/holds/{hold['hold_id']}/capture", capture)
    assert captured.status_code == 201, captured.text
    assert (captured.json()["captured"], captured.json()["remaining"], captured.json()["balance"]) == (25, 35, 75)
    assert captured.json()["transfer_id"]

    released = await post(client, cast.operator, f"/wallets/holds/{hold['hold_id']}/release")
    assert released.status_code == 201, released.text
    assert (released.json()["status"], released.json()["spendable"]) == ("released", 75)
    late = await post(client, cast.operator, f"/wallets/holds/{hold['hold_id']}/capture", capture)
    assert (late.status_code, slug(late)) == (409, "HOLD_CLOSED")


async def test_refund(client: httpx.AsyncClient, cast: Cast) -> None:
    paid = await post(client, cast.fan, "/wallets/transfers", {"amount": 80, "to_user_id": str(cast.other.id)})
    path = f"/admin/transfers/{paid.json()['transfer_id']}/refund"
    first = await post(client, cast.admin, path, {"amount": 30, "reason": "half of it"}, "once")
    assert first.status_code == 201, first.text
    assert (first.json()["amount"], first.json()["refundable"], first.json()["to_balance"]) == (30, 50, 50)
    again = await post(client, cast.admin, path, {"amount": 30, "reason": "half of it"}, "once")
    assert (again.status_code, again.content) == (201, first.content)
    more = await post(client, cast.admin, path, {"amount": 51, "reason": "too much"})
    assert (more.status_code, slug(more), more.json()["refundable"]) == (409, "REFUND_EXCEEDED", 50)

    await post(client, cast.other, "/wallets/transfers", {"amount": 40, "to_user_id": str(cast.fan.id)})
    short = await post(client, cast.admin, path, {"reason": "the rest"})
    assert (short.status_code, slug(short), short.json()["shortfall"]) == (402, "INSUFFICIENT_TOKENS", 40)
    owed = await post(client, cast.admin, path, {"reason": "the rest", "policy": "create_debt"})
    assert (owed.status_code, owed.json()["owed"], owed.json()["from_balance"]) == (201, 40, -40)


ROUTES: list[tuple[str, dict[str, Any] | None]] = [
    ("/wallets/holds", {"wallet_id": NOBODY, "amount": 1, "expires_in_seconds": 60}),
    (f"/wallets/holds/{NOBODY}/capture", {"to_wallet_id": NOBODY}),
    (f"/wallets/holds/{NOBODY}/release", None),
    (f"/admin/transfers/{NOBODY}/refund", {"reason": "because"}),
]


@pytest.mark.parametrize(("path", "body"), ROUTES)
async def test_not_for_everybody_and_not_without_a_key(
    client: httpx.AsyncClient, cast: Cast, path: str, body: dict[str, Any] | None
) -> None:
    assert (await client.post(api(path), json=body, headers={"Idempotency-Key": "k"})).status_code == 401
    assert slug(await post(client, cast.fan, path, body)) == "FORBIDDEN"
    keyless = await client.post(api(path), json=body, headers=cast.admin.headers)
    assert (keyless.status_code, slug(keyless)) == (400, "IDEMPOTENCY_KEY_REQUIRED")
    there = await post(client, cast.admin, path, body)
    assert (there.status_code, slug(there)[-9:]) == (404, "NOT_FOUND")


async def test_operators_do_not_refund(client: httpx.AsyncClient, cast: Cast) -> None:
    assert slug(await post(client, cast.operator, f"/admin/transfers/{NOBODY}/refund", {"reason": "x"})) == "FORBIDDEN"


BAD: list[dict[str, Any]] = [
    {"amount": 0},
    {"amount": -1},
    {"amount": 2**63},
    {"amount": 1.5},
    {"amount": "1"},
    {"amount": None},
    {"expires_in_seconds": 0},
    {"expires_in_seconds": 31_622_401},
    {"expires_in_seconds": 10**30},
    {"wallet_id": "not-a-uuid"},
    {"kind": "Not A Kind"},
    {"reference": "x" * 256},
    {"reference": "\x00"},
    {"metadata": {"": 1}},
    {"metadata": {"a": {"b": 1}}},
    {"surprise": 1},
]


@pytest.mark.parametrize("change", BAD, ids=str)
async def test_malformed_holds(client: httpx.AsyncClient, cast: Cast, change: dict[str, Any]) -> None:
    body = {"wallet_id": cast.wallet(cast.fan), "amount": 1, "expires_in_seconds": 60} | change
    response = await post(client, cast.operator, "/wallets/holds", body)
    assert (response.status_code, slug(response)) == (422, "VALIDATION_ERROR")


@pytest.mark.parametrize("change", [{"amount": 0}, {"policy": "maybe"}, {"reason": ""}, {"reason": None}, {"x": 1}])
async def test_malformed_refunds(client: httpx.AsyncClient, cast: Cast, change: dict[str, Any]) -> None:
    response = await post(client, cast.admin, f"/admin/transfers/{NOBODY}/refund", {"reason": "because"} | change)
    assert (response.status_code, slug(response)) == (422, "VALIDATION_ERROR")


async def test_a_velocity_limit_is_429_with_retry_after(client: httpx.AsyncClient, cast: Cast, db: Connection) -> None:
    await db.execute("INSERT INTO core.rates (name, value, unit) VALUES ('velocity_count_minute', 0, 'count')")
    response = await post(client, cast.fan, "/wallets/transfers", {"amount": 1, "to_user_id": str(cast.other.id)})
    assert (response.status_code, slug(response)) == (429, "VELOCITY_LIMIT")
    assert 1 <= int(response.headers["retry-after"]) <= 60


async def test_what_operators_and_admins_do_is_in_the_audit_log(
    client: httpx.AsyncClient, cast: Cast, db: Connection
) -> None:
    body = {"wallet_id": cast.wallet(cast.fan), "amount": 60, "expires_in_seconds": 600}
    for _ in range(2):  # the second time it is a replay, and no act
        placed = await post(client, cast.operator, "/wallets/holds", body, "place")
    hold = placed.json()["hold_id"]
    capture = {"to_wallet_id": cast.wallet(cast.other), "amount": 10}
    captured = await post(client, cast.operator, f"/wallets/holds/{hold}/capture", capture)
    released = await post(client, cast.operator, f"/wallets/holds/{hold}/release")
    transfer = captured.json()["transfer_id"]
    refund = await post(
        client, cast.admin, f"/admin/transfers/{transfer}/refund", {"policy": "refuse", "reason": "paid twice"}
    )
    assert refund.status_code == 201, refund.text
    rows = await db.fetch(
        "SELECT action, actor_id, subject_id::text, request_id, address FROM api.audit_log"
        " WHERE action ~ '^(hold|transfer)[.]' ORDER BY audit_id"
    )
    requests = [answer.headers["X-Request-ID"] for answer in (captured, released, refund)]
    assert [tuple(row) for row in rows[1:]] == [
        ("hold.captured", cast.operator.id, hold, requests[0], rows[0]["address"]),
        ("hold.released", cast.operator.id, hold, requests[1], rows[0]["address"]),
        ("transfer.refunded", cast.admin.id, transfer, requests[2], rows[0]["address"]),
    ]
    assert (rows[0]["action"], rows[0]["subject_id"], bool(rows[0]["address"])) == ("hold.placed", hold, True)
