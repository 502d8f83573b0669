"""What administrators do over HTTP: rates, adjustments, wallets, and the log of it all."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from app.core.paging import encode_cursor
from tests.api.people import Person, api, register, register_admin, slug
from tests.sql.test_seals import seal
from tests.support.postgres import Connection

NOBODY = "00000000-0000-7000-8000-00000000dead"


class Cast(msgspec.Struct):
    """Two administrators, a fan with 100 tokens, and the wallets of the fan and of one administrator."""

    admin: Person
    second: Person
    fan: Person
    wallet: str
    other: str


@pytest.fixture
async def cast(client: httpx.AsyncClient, db: Connection) -> Cast:
    """Who is there."""
    admin, second, fan = await register_admin(client, db), await register_admin(client, db), await register(client)
    await db.execute("SELECT api.grant_tokens($1, 100, 'for a test')", fan.id)
    wallet = "SELECT wallet_id::text FROM api.wallets WHERE owner_id = $1 AND asset = 'TOKEN'"
    return Cast(admin, second, fan, await db.fetchval(wallet, fan.id), await db.fetchval(wallet, admin.id))


async def send(
    client: httpx.AsyncClient, person: Person, method: str, path: str, body: dict[str, Any] | None = None
) -> httpx.Response:
    """A request with a key of its own."""
    headers = {**person.headers, "Idempotency-Key": uuid4().hex}
    return await client.request(method, api(path), json=body, headers=headers)


ROUTES: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "/admin/rates", None),
    ("PUT", "/admin/rates", {"name": "platform_fee", "value": "1"}),
    ("POST", f"/admin/rates/{NOBODY}/end", None),
    ("GET", "/admin/adjustments", None),
    (
        "POST",
        "/admin/adjustments",
        {"from_wallet_id": NOBODY, "to_wallet_id": NOBODY, "amount": 1, "reason": "because"},
    ),
    ("POST", f"/admin/adjustments/{NOBODY}/approve", None),
    ("POST", f"/admin/adjustments/{NOBODY}/reject", {"reason": "because"}),
    ("GET", f"/admin/wallets/{NOBODY}", None),
    ("POST", f"/admin/wallets/{NOBODY}/freeze", {"reason": "because"}),
    ("POST", f"/admin/wallets/{NOBODY}/unfreeze", {"reason": "because"}),
    ("POST", f"/admin/wallets/{NOBODY}/close", {"reason": "because"}),
    ("POST", f"/admin/wallets/{NOBODY}/minimum", {"reason": "because", "minimum": 0}),
    ("GET", "/admin/audit-log", None),
    ("GET", "/admin/ledger/seals", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_for_administrators_only(
    client: httpx.AsyncClient, cast: Cast, method: str, path: str, body: dict[str, Any] | None
) -> None:
    assert (await client.request(method, api(path), json=body)).status_code == 401
    response = await send(client, cast.fan, method, path, body)
    assert (response.status_code, slug(response)) == (403, "FORBIDDEN")
    answer = await send(client, cast.admin, method, path, body)
    assert answer.status_code == (404 if NOBODY in path or (body and NOBODY in body.values()) else 200)


async def test_rates(client: httpx.AsyncClient, cast: Cast) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = {"name": "platform_fee", "asset": "TOKEN", "value": "250", "valid_from": soon, "note": "from next hour"}
    answer = await send(client, cast.admin, "PUT", "/admin/rates", body)
    assert answer.status_code == 200, answer.text
    rate = answer.json()
    assert (rate["value"], rate["unit"], rate["created_by"]) == ("250", "bps", str(cast.admin.id))
    assert (await send(client, cast.admin, "PUT", "/admin/rates", body)).json() == rate
    other = await send(client, cast.admin, "PUT", "/admin/rates", {**body, "value": "251"})
    assert (other.status_code, slug(other)) == (409, "RATE_EXISTS")
    listed = (await send(client, cast.admin, "GET", "/admin/rates?name=platform_fee")).json()["items"]
    assert [row["value"] for row in listed] == ["250", "0"]
    now = datetime.now(UTC).isoformat().replace("+", "%2B")
    in_force = (await send(client, cast.admin, "GET", f"/admin/rates?name=platform_fee&at={now}")).json()["items"]
    assert [row["value"] for row in in_force] == ["0"]
    seeds = (await send(client, cast.admin, "GET", "/admin/rates?limit=3")).json()
    assert len(seeds["items"]) == 3
    assert seeds["next_cursor"]
    limit = await send(client, cast.admin, "PUT", "/admin/rates", {"name": "velocity_count_day", "value": "3"})
    ended = await send(client, cast.admin, "POST", f"/admin/rates/{limit.json()['rate_id']}/end")
    assert ended.json()["valid_to"]


async def test_rates_that_gave_way_do_not_count_and_times_without_an_offset_are_utc(
    client: httpx.AsyncClient, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        soon = (datetime.now(UTC) + timedelta(hours=1)).replace(tzinfo=None)
        for body in ({"value": "100"}, {"value": "200", "valid_from": soon.isoformat()}):
            answer = await send(
                client, cast.admin, "PUT", "/admin/rates", {"name": "platform_fee", "asset": "TOKEN", **body}
            )
            assert answer.status_code == 200, answer.text
        assert datetime.fromisoformat(answer.json()["valid_from"]) == soon.replace(tzinfo=UTC)
        for moment, counts in ((soon - timedelta(seconds=1), "100"), (soon, "200")):
            path = f"/admin/rates?name=platform_fee&at={moment.isoformat()}"
            assert [row["value"] for row in (await send(client, cast.admin, "GET", path)).json()["items"]] == [counts]
        log = f"/admin/audit-log?action=rate.set&from={(soon - timedelta(hours=2)).isoformat()}&to={soon.isoformat()}"
        assert len((await send(client, cast.admin, "GET", log)).json()["items"]) == 2
    finally:
        monkeypatch.undo()
        time.tzset()


async def test_seals(client: httpx.AsyncClient, cast: Cast, db: Connection) -> None:
    blocks = await seal(db, limit=10)
    page = (await send(client, cast.admin, "GET", "/admin/ledger/seals?limit=1")).json()
    assert [(row["block"], row["digest"]) for row in page["items"]] == [(blocks[-1]["block"], blocks[-1]["digest"])]
    assert datetime.fromisoformat(page["items"][0]["up_to"]) == blocks[-1]["up_to"]
    rest = await send(client, cast.admin, "GET", f"/admin/ledger/seals?cursor={page['next_cursor']}")
    assert [row["block"] for row in rest.json()["items"]] == list(range(blocks[-1]["block"] - 1, 0, -1))


BAD_RATES: list[tuple[dict[str, Any], str]] = [
    ({"value": "NaN"}, "VALIDATION_ERROR"),
    ({"value": 1}, "VALIDATION_ERROR"),
    ({"value": "-1"}, "VALIDATION_ERROR"),
    ({"value": "1e3"}, "VALIDATION_ERROR"),
    ({"value": "10001"}, "INVALID_REQUEST"),
    ({"name": "no_such_rate"}, "RATE_NOT_FOUND"),
    ({"name": "No"}, "VALIDATION_ERROR"),
    ({"asset": "GOLD"}, "ASSET_NOT_FOUND"),
    ({"valid_from": "2020-01-01T00:00:00Z"}, "INVALID_REQUEST"),
    ({"valid_from": "yesterday"}, "VALIDATION_ERROR"),
    ({"valid_from": "9999-12-31T23:59:59Z", "valid_to": "9999-12-31T23:59:58Z"}, "INVALID_REQUEST"),
    ({"valid_from": "0001-01-01T00:00:00+14:00"}, "VALIDATION_ERROR"),
    ({"valid_from": "9999-12-31T23:59:59-14:00"}, "VALIDATION_ERROR"),
    ({"valid_to": "9999-12-31T23:59:59-14:00"}, "VALIDATION_ERROR"),
    ({"name": "adjustment_valid", "value": "999999999999999"}, "INVALID_REQUEST"),
    ({"surprise": 1}, "VALIDATION_ERROR"),
]


@pytest.mark.parametrize(("change", "error"), BAD_RATES, ids=str)
async def test_rates_that_cannot_be(client: httpx.AsyncClient, cast: Cast, change: dict[str, Any], error: str) -> None:
    response = await send(client, cast.admin, "PUT", "/admin/rates", {"name": "platform_fee", "value": "1", **change})
    assert slug(response) == error


async def test_the_last_year_there_is(client: httpx.AsyncClient, cast: Cast) -> None:
    body = {"name": "platform_fee", "value": "1", "valid_from": "9999-01-01T00:00:00Z"}
    answer = await send(client, cast.admin, "PUT", "/admin/rates", {**body, "valid_to": "9999-12-31T23:59:59Z"})
    assert (answer.json()["valid_from"], answer.json()["valid_to"]) == (body["valid_from"], "9999-12-31T23:59:59Z")
    answer = await send(client, cast.admin, "GET", "/admin/rates?name=platform_fee")
    assert [row["valid_from"] for row in answer.json()["items"]] == [body["valid_from"], None]


MOMENTS = [
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00%2B14:00",
    "253402300800",
    "2026",
    "-1",
    "2026-11-21",
    "infinity",
    "%00",
    "",
]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_moments_that_are_none(client: httpx.AsyncClient, cast: Cast, moment: str) -> None:
    for path, field in (
        ("/admin/rates?at=", "at"),
        ("/admin/audit-log?from=", "from"),
        ("/admin/audit-log?to=", "to"),
        ("/dashboard/wallet/transactions?from=", "from"),
        ("/dashboard/wallet/transactions?to=", "to"),
        ("/dashboard/wallet/statement?to=2026-01-01T00:00:00Z&from=", "from"),
        ("/dashboard/wallet/statement?from=2026-01-01T00:00:00Z&to=", "to"),
    ):
        answer = await send(client, cast.admin, "GET", path + moment)
        assert (answer.status_code, slug(answer)) == (422, "VALIDATION_ERROR"), path
        assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1])
async def test_cursors_beyond_all_numbers(client: httpx.AsyncClient, cast: Cast, number: int) -> None:
    for path in (
        "/admin/ledger/seals?",
        "/dashboard/wallet/transactions?",
        "/dashboard/wallet/statement?from=2026-01-01T00:00:00Z&to=2027-01-01T00:00:00Z&",
    ):
        answer = await send(client, cast.admin, "GET", f"{path}cursor={encode_cursor(number)}")
        assert (answer.status_code, slug(answer)) == (422, "VALIDATION_ERROR"), path


async def test_an_adjustment_takes_two(client: httpx.AsyncClient, cast: Cast) -> None:
    body = {"from_wallet_id": cast.wallet, "to_wallet_id": cast.other, "amount": 40, "reason": "paid twice"}
    asked = await send(client, cast.admin, "POST", "/admin/adjustments", body)
    assert asked.status_code == 201, asked.text
    path = f"/admin/adjustments/{asked.json()['adjustment_id']}"
    same = await send(client, cast.admin, "POST", f"{path}/approve")
    assert (same.status_code, slug(same)) == (403, "SAME_PERSON")
    done = await send(client, cast.second, "POST", f"{path}/approve")
    assert (done.status_code, done.json()["status"]) == (200, "approved")
    late = await send(client, cast.second, "POST", f"{path}/reject", {"reason": "no"})
    assert (late.status_code, slug(late), late.json()["adjustment_status"]) == (409, "ADJUSTMENT_CLOSED", "approved")
    listed = (await send(client, cast.admin, "GET", "/admin/adjustments?status=approved")).json()["items"]
    assert [row["adjustment_id"] for row in listed] == [asked.json()["adjustment_id"]]
    wallet = (await send(client, cast.admin, "GET", f"/admin/wallets/{cast.wallet}")).json()
    assert (wallet["balance"], wallet["owner_id"]) == (60, str(cast.fan.id))


async def test_freeze_unfreeze_minimum_close(client: httpx.AsyncClient, cast: Cast) -> None:
    path = f"/admin/wallets/{cast.wallet}"
    frozen = await send(client, cast.admin, "POST", f"{path}/freeze", {"reason": "odd"})
    assert (frozen.status_code, frozen.json()["status"]) == (200, "debits_frozen")
    pay = {"amount": 1, "to_wallet_id": cast.other}
    refused = await send(client, cast.fan, "POST", "/wallets/transfers", pay)
    assert (refused.status_code, slug(refused), refused.json()["wallet_status"]) == (
        409,
        "WALLET_FROZEN",
        "debits_frozen",
    )
    await send(client, cast.admin, "POST", f"{path}/unfreeze", {"reason": "fine"})
    assert (await send(client, cast.fan, "POST", "/wallets/transfers", pay)).status_code == 201
    low = await send(client, cast.admin, "POST", f"{path}/minimum", {"reason": "trusted", "minimum": -10})
    assert low.json()["spendable"] == 109
    full = await send(client, cast.admin, "POST", f"{path}/close", {"reason": "gone"})
    assert (full.status_code, slug(full), full.json()["balance"]) == (409, "WALLET_NOT_EMPTY", 99)
    for change in ({"minimum": 2**63}, {"minimum": None}, {"minimum": 1.5}, {"reason": ""}, {"x": 1}):
        bad = await send(client, cast.admin, "POST", f"{path}/minimum", {"reason": "why", "minimum": 0} | change)
        assert slug(bad) == "VALIDATION_ERROR"


async def test_the_log_says_who_and_from_where(client: httpx.AsyncClient, cast: Cast) -> None:
    path = f"/admin/wallets/{cast.wallet}/freeze"
    answer = await send(client, cast.admin, "POST", path, {"reason": "odd", "mode": "all"})
    log = (await send(client, cast.second, "GET", f"/admin/audit-log?subject_id={cast.wallet}")).json()["items"]
    assert len(log) == 1
    assert (log[0]["actor_id"], log[0]["action"]) == (str(cast.admin.id), "wallet.frozen")
    assert log[0]["request_id"] == answer.headers["x-request-id"]
    assert log[0]["address"]
    assert log[0]["details"] == {"reason": "odd", "status": "frozen", "status_before": "active"}
    mine = (await send(client, cast.second, "GET", f"/admin/audit-log?actor_id={cast.admin.id}&action=wallet.")).json()
    assert [act["audit_id"] for act in mine["items"]] == [log[0]["audit_id"]]
    none = (await send(client, cast.second, "GET", "/admin/audit-log?to=2020-01-01T00:00:00Z")).json()
    assert none == {"items": [], "next_cursor": None}
