"""Calls and their bills over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
import pytest_asyncio

from tests.api.people import Person, api, register, slug
from tests.api.test_streams import get, post
from tests.api.test_tips import fund
from tests.support.application import running_client
from tests.support.calls import elapse
from tests.support.postgres import Clone, Connection

NOBODY = "00000000-0000-7000-8000-00000000dead"
ACTS = tuple(f"/calls/{{}}/{act}" for act in ("accept", "decline", "heartbeat", "end")) + tuple(
    f"/billing/{{}}/{act}" for act in ("pause", "resume", "stop")
)
SECRET = "a-cron-far-away-knows-this-0123456789"


class Cast(msgspec.Struct):
    """A creator at 20 tokens a minute (10 a block), and two fans with 100 tokens each."""

    creator: Person
    ada: Person
    ben: Person


@pytest.fixture
async def cast(client: httpx.AsyncClient, db: Connection) -> Cast:
    """Who is there."""
    creator, ada, ben = [await register(client) for _ in range(3)]
    made = await post(client, creator, "/dashboard/profile/creator", {"rate_per_minute": 20})
    assert made.json()["creator"]["accepts_calls"] is True
    for fan in (ada, ben):
        await fund(db, fan, 100)
    return Cast(creator, ada, ben)


async def _ring(client: httpx.AsyncClient, cast: Cast, path: str = "/calls/init", key: str | None = None) -> Any:
    answer = await post(client, cast.ada, path, {"creator_id": str(cast.creator.id)}, key)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
async def call(client: httpx.AsyncClient, cast: Cast) -> str:
    """A call that goes on."""
    offer = await _ring(client, cast)
    answer = await post(client, cast.creator, f"/calls/{offer['call_id']}/accept")
    assert answer.json()["status"] == "active", answer.text
    call_id: str = offer["call_id"]
    return call_id


@pytest_asyncio.fixture
async def outside(database: Clone) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that knows the metering secret."""
    settings = msgspec.structs.replace(database.settings(), billing_webhook_secret=SECRET)
    async with running_client(settings) as http:
        yield http


@pytest.mark.parametrize("path", ["/calls/init", "/calls/initiate"])
async def test_a_call_from_ringing_to_receipt(client: httpx.AsyncClient, db: Connection, cast: Cast, path: str) -> None:
    offer = await _ring(client, cast, path, "k")
    assert await _ring(client, cast, path, "k") == offer
    assert (offer["status"], offer["rate_per_minute"], offer["block_price"], offer["block_ms"]) == (
        "ringing",
        20,
        10,
        30_000,
    )
    call = offer["call_id"]
    assert offer["channel"] == f"call:{call}"
    assert (await post(client, cast.creator, f"/calls/{call}/accept")).json()["billed"] == 10
    beat = (await post(client, cast.ada, f"/calls/{call}/heartbeat")).json()
    assert (beat["status"], beat["blocks"], beat["next_block_at"] is not None) == ("active", 1, True)
    mine = (await get(client, cast.ada, f"/billing/{call}/status")).json()
    assert (mine["call"]["status"], mine["blocks_left"]) == ("active", 9)
    assert (await get(client, cast.creator, f"/billing/{call}/status")).json()["blocks_left"] is None
    assert slug(await get(client, cast.ada, f"/billing/calls/{call}/receipt")) == "CALL_NOT_OVER"
    await elapse(db, UUID(call), 40)
    paused = (await post(client, cast.ada, f"/billing/{call}/pause")).json()
    assert (paused["status"], paused["blocks"], paused["next_block_at"]) == ("paused", 2, None)
    assert (await post(client, cast.creator, f"/billing/{call}/resume")).json()["status"] == "active"
    stopped = await post(client, cast.creator, f"/billing/{call}/stop")
    assert (stopped.json()["status"], stopped.json()["billed"], stopped.json()["end_reason"]) == (
        "ended",
        20,
        "stopped",
    )
    # a second stop, by whichever route and of its two people: the same
    for who, again in ((cast.ada, f"/billing/{call}/stop"), (cast.creator, f"/calls/{call}/end")):
        assert (await post(client, who, again)).content == stopped.content
    receipt = (await get(client, cast.ada, f"/billing/calls/{call}/receipt")).json()
    assert (receipt["paid"], receipt["refunded"], receipt["total"], receipt["creator_earned"]) == (20, 0, 20, 20)
    assert receipt["fan_name"] == cast.ada.username
    first = (await get(client, cast.creator, f"/billing/calls/{call}/history?limit=1")).json()
    rest = (await get(client, cast.creator, f"/billing/calls/{call}/history?cursor={first['next_cursor']}")).json()
    assert [block["block_no"] for block in first["items"] + rest["items"]] == [0, 1]
    assert (await get(client, cast.ada, "/monetization/balance")).json()["balance"] == 80


async def test_lists_and_numbers(client: httpx.AsyncClient, db: Connection, cast: Cast, call: str) -> None:
    await post(client, cast.ada, f"/calls/{call}/end")
    other = (await _ring(client, cast))["call_id"]
    await post(client, cast.creator, f"/calls/{other}/decline")
    for path, ids in (
        ("/calls", [other, call]),
        ("/calls?role=fan", [other, call]),
        ("/calls?role=creator", []),
        ("/calls?status=declined", [other]),
        ("/billing/history", [call]),
        ("/billing/history?role=creator", []),
    ):
        assert [row["call_id"] for row in (await get(client, cast.ada, path)).json()["items"]] == ids, path
    page = (await get(client, cast.creator, "/calls?limit=1")).json()
    rest = (await get(client, cast.creator, f"/calls?limit=1&cursor={page['next_cursor']}")).json()
    assert [row["call_id"] for row in page["items"] + rest["items"]] == [other, call]
    stats = (await get(client, cast.creator, "/calls/stats?role=creator")).json()
    assert (stats["calls"], stats["answered"], stats["declined"], stats["billed"]) == (2, 1, 1, 10)
    assert (await get(client, cast.creator, "/billing/stats?from=2001-01-01T00:00:00Z")).json() == stats
    nothing = (await get(client, cast.creator, "/billing/stats?to=2001-01-01T00:00:00Z")).json()
    assert (nothing["calls"], nothing["billed"]) == (0, 0)
    assert slug(await get(client, cast.creator, "/billing/stats?from=yesterday")) == "VALIDATION_ERROR"


async def test_other_peoples_calls(client: httpx.AsyncClient, cast: Cast, call: str) -> None:
    for path in ACTS:
        answer = await post(client, cast.ben, path.format(call))
        assert (answer.status_code, slug(answer)) == (403, "NOT_CALL_PARTICIPANT"), path
        answer = await post(client, cast.ada, path.format(NOBODY))
        assert (answer.status_code, slug(answer)) == (404, "CALL_NOT_FOUND"), path
        assert (await post(client, cast.ada, path.format("not-a-uuid"))).status_code == 404
    for path in ("/calls/{}", "/billing/{}/status", "/billing/calls/{}/history", "/billing/calls/{}/receipt"):
        assert slug(await get(client, cast.ben, path.format(call))) == "NOT_CALL_PARTICIPANT"
        assert slug(await get(client, cast.ada, path.format(NOBODY))) == "CALL_NOT_FOUND"
    assert slug(await post(client, cast.ada, f"/calls/{call}/accept")) == "NOT_THE_CALLED"
    assert slug(await post(client, cast.creator, f"/calls/{call}/decline")) == "CALL_NOT_RINGING"


async def test_who_is_not_to_be_called(client: httpx.AsyncClient, cast: Cast, call: str) -> None:
    body = {"creator_id": str(cast.creator.id)}
    busy = await post(client, cast.ben, "/calls/init", body)
    assert (busy.status_code, slug(busy)) == (409, "CREATOR_BUSY")
    mine = await post(client, cast.ada, "/calls/init", body)
    assert (slug(mine), mine.json()["call_id"]) == ("CALL_IN_PROGRESS", call)
    assert slug(await post(client, cast.creator, "/calls/init", body)) == "SELF_CALL"
    assert slug(await post(client, cast.ben, "/calls/init", {"creator_id": str(cast.ada.id)})) == "CREATOR_NOT_FOUND"
    settings = {"rate_per_minute": 20, "accepts_calls": False}
    assert (await post(client, cast.creator, "/dashboard/profile/creator", settings)).status_code == 200
    await post(client, cast.ada, f"/calls/{call}/end")
    assert slug(await post(client, cast.ben, "/calls/init", body)) == "CALLS_NOT_ACCEPTED"
    dear = {"rate_per_minute": 1000}
    await post(client, cast.creator, "/dashboard/profile/creator", dear)
    poor = await post(client, cast.ben, "/calls/init", body)
    assert poor.status_code == 402
    assert {name: poor.json()[name] for name in ("required", "current", "shortfall")} == {
        "required": 500,
        "current": 100,
        "shortfall": 400,
    }
    await post(client, cast.creator, "/dashboard/profile/creator", {"rate_per_minute": 20})
    rung = (await post(client, cast.ben, "/calls/init", body)).json()
    await post(client, cast.creator, f"/calls/{rung['call_id']}/decline")
    again = await post(client, cast.ben, "/calls/init", body)
    assert (again.status_code, slug(again)) == (429, "CALL_COOLDOWN")
    assert 0 < int(again.headers["Retry-After"]) <= 30


BAD: list[tuple[Any, int]] = [
    (None, 422),
    ({}, 422),
    ({"creator_id": "x"}, 422),
    ({"creator_id": None}, 422),
    ({"creator_id": 7}, 422),
    ({"creator_id": NOBODY, "rate_per_minute": 1}, 422),
    ([], 422),
    ({"creator_id": NOBODY}, 404),
]


@pytest.mark.parametrize(("body", "status"), BAD)
async def test_malformed(client: httpx.AsyncClient, db: Connection, cast: Cast, body: Any, status: int) -> None:
    answer = await post(client, cast.ada, "/calls/init", body)
    assert answer.status_code == status
    slug(answer)
    assert await db.fetchval("SELECT count(*) FROM core.calls") == 0


async def test_a_key_is_needed(client: httpx.AsyncClient, cast: Cast) -> None:
    body = {"creator_id": str(cast.creator.id)}
    answer = await client.post(api("/calls/init"), json=body, headers=cast.ada.headers)
    assert slug(answer) == "IDEMPOTENCY_KEY_REQUIRED"
    await _ring(client, cast, key="k")
    other = await register(client)
    await post(client, other, "/dashboard/profile/creator", {"rate_per_minute": 20})
    reused = await post(client, cast.ada, "/calls/init", {"creator_id": str(other.id)}, "k")
    assert slug(reused) == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.parametrize(
    "cursor", ["x", "bnVsbA", "LTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"]
)
async def test_cursors_that_are_none(client: httpx.AsyncClient, cast: Cast, call: str, cursor: str) -> None:
    for path in ("/calls", "/billing/history", f"/billing/calls/{call}/history"):
        answer = await get(client, cast.ada, f"{path}?cursor={cursor}")
        assert answer.status_code in (200, 422), answer.text


async def test_many_beats_at_once(client: httpx.AsyncClient, cast: Cast, call: str) -> None:
    answers = await asyncio.gather(*(post(client, cast.ada, f"/calls/{call}/heartbeat") for _ in range(20)))
    assert [answer.json()["status"] for answer in answers] == ["active"] * 20


class TestMeteringFromOutside:
    """POST /billing/meter"""

    async def _meter(self, client: httpx.AsyncClient, secret: str | None, content: Any = None) -> httpx.Response:
        headers = {} if secret is None else {"X-Billing-Webhook-Secret": secret}
        return await client.post(api("/billing/meter"), headers=headers, json=content)

    async def test_due_calls(
        self, client: httpx.AsyncClient, outside: httpx.AsyncClient, db: Connection, cast: Cast, call: str
    ) -> None:
        await elapse(db, UUID(call), 65)
        nothing = {"calls": 0, "blocks_paid": 0, "charged": 0, "blocks_refunded": 0, "ended": 0, "more": False}
        done = await self._meter(outside, SECRET)
        assert done.json() == nothing | {"calls": 1, "blocks_paid": 2, "charged": 20}
        assert (await self._meter(outside, SECRET)).json() == nothing
        await elapse(db, UUID(call), 30)
        one = await self._meter(outside, SECRET, {"call_id": call})
        assert one.json() == nothing | {"calls": 1, "blocks_paid": 1, "charged": 10}
        await post(client, cast.ada, f"/calls/{call}/end")
        assert (await self._meter(outside, SECRET, {"call_id": call})).json() == nothing | {"calls": 1}
        assert slug(await self._meter(outside, SECRET, {"call_id": NOBODY})) == "CALL_NOT_FOUND"

    async def test_only_with_the_secret(
        self, client: httpx.AsyncClient, outside: httpx.AsyncClient, db: Connection, cast: Cast, call: str
    ) -> None:
        await elapse(db, UUID(call), 65)
        for http, secret in ((outside, None), (outside, ""), (outside, "x"), (outside, SECRET + "x"), (client, SECRET)):
            answer = await self._meter(http, secret)
            assert (answer.status_code, slug(answer)) == (403, "METER_SECRET_INVALID")
            assert SECRET not in answer.text
        assert await db.fetchval("SELECT count(*) FROM core.meter_blocks") == 1

    async def test_who_guesses_is_slowed_down(self, outside: httpx.AsyncClient) -> None:
        answers = [await self._meter(outside, uuid4().hex) for _ in range(40)]
        assert {answer.status_code for answer in answers} == {403, 429}

    @pytest.mark.parametrize("content", [b"{", b"[]", b'{"call_id": 1}', b'{"x": 1}', b"\xff"])
    async def test_malformed(self, outside: httpx.AsyncClient, content: bytes) -> None:
        headers = {"X-Billing-Webhook-Secret": SECRET}
        answer = await outside.post(api("/billing/meter"), headers=headers, content=content)
        assert answer.status_code in (400, 422)
        slug(answer)

    async def test_too_large(self, outside: httpx.AsyncClient) -> None:
        headers = {"X-Billing-Webhook-Secret": SECRET}
        answer = await outside.post(api("/billing/meter"), headers=headers, content=b" " * 10_000_000)
        assert slug(answer) == "PAYLOAD_TOO_LARGE"
