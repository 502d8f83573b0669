"""Webhooks over HTTP: endpoints, their secrets, what was sent; and that other people's are not there."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.people import Person, api, register, slug
from tests.support.application import running_client
from tests.support.postgres import Clone, Connection
from tests.support.webhooks import fan, put, relay

pytestmark = pytest.mark.makes_events

URL = "https://shop.example.com/hooks"
LEASE = "SELECT * FROM api.lease_webhooks(50)"
FINISH = "SELECT api.finish_webhook($1, $2, $3, $4, 12, $5)"


async def create(client: httpx.AsyncClient, person: Person, **fields: Any) -> dict[str, Any]:
    """An endpoint made over HTTP: the whole answer."""
    answer = await client.post(api("/webhook-endpoints"), json={"url": URL} | fields, headers=person.headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_an_endpoint_is_made_changed_rotated_and_deleted(client: httpx.AsyncClient, db: Connection) -> None:
    person = await register(client)
    made = await create(client, person, event_types=["call.*", "tip.sent"], description="The shop's.")
    endpoint = made["endpoint"]
    path = api(f"/webhook-endpoints/{endpoint['endpoint_id']}")
    assert made["secret"].startswith("whsec_")
    assert (endpoint["status"], endpoint["event_types"], endpoint["position_lost_at"]) == (
        "active",
        ["call.*", "tip.sent"],
        None,
    )
    assert (await client.get(path, headers=person.headers)).json() == endpoint
    changed = await client.patch(path, json={"status": "disabled", "event_types": ["*"]}, headers=person.headers)
    assert (changed.json()["status"], changed.json()["disabled_reason"]) == ("disabled", "by_user")
    assert changed.json()["url"] == URL
    assert slug(await client.post(f"{path}/test", headers=person.headers)) == "WEBHOOK_ENDPOINT_DISABLED"
    assert (await client.patch(path, json={"status": "active"}, headers=person.headers)).json()["status"] == "active"
    rotated = await client.post(f"{path}/rotate", headers=person.headers)
    assert rotated.status_code == 200
    assert rotated.json()["secret"] not in (made["secret"], "")
    listed = (await client.get(api("/webhook-endpoints"), headers=person.headers)).text
    assert made["secret"] not in listed
    assert rotated.json()["secret"] not in listed
    assert (await client.delete(path, headers=person.headers)).status_code == 204
    assert slug(await client.get(path, headers=person.headers)) == "WEBHOOK_ENDPOINT_NOT_FOUND"
    acts = await db.fetch("SELECT action, actor_id, details FROM core.audit_log ORDER BY id")
    assert [act["action"].partition(".")[2] for act in acts] == ["created", "updated", "updated", "rotated", "deleted"]
    assert {act["actor_id"] for act in acts} == {person.id}
    assert "whsec_" not in str(acts)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"url": "http://example.com/"}, "WEBHOOK_URL_REFUSED"),
        ({"url": "https://10.0.0.1/"}, "WEBHOOK_URL_REFUSED"),
        ({"url": "https://0x7f000001/"}, "WEBHOOK_URL_REFUSED"),
        ({"url": "https://[::ffff:169.254.169.254]/"}, "WEBHOOK_URL_REFUSED"),
        ({"url": "https://a:b@example.com/"}, "WEBHOOK_URL_REFUSED"),
        ({"url": "https://localhost/"}, "WEBHOOK_URL_REFUSED"),
        ({"url": "ftp://example.com/"}, "WEBHOOK_URL_REFUSED"),
        ({"url": "https://bücher.example/"}, "VALIDATION_ERROR"),
        ({"url": "https://example.com/\u0000"}, "VALIDATION_ERROR"),
        ({"url": ""}, "VALIDATION_ERROR"),
        ({"url": 7}, "VALIDATION_ERROR"),
        ({"url": None}, "VALIDATION_ERROR"),
        ({"url": "https://example.com/" + "x" * 2048}, "VALIDATION_ERROR"),
        ({"event_types": []}, "VALIDATION_ERROR"),
        ({"event_types": ["*"] * 51}, "VALIDATION_ERROR"),
        ({"event_types": ["tip"]}, "VALIDATION_ERROR"),
        ({"event_types": ["tip.\u0000"]}, "VALIDATION_ERROR"),
        ({"event_types": ["a." + "b" * 99]}, "VALIDATION_ERROR"),
        ({"event_types": "*"}, "VALIDATION_ERROR"),
        ({"description": "\u0000"}, "VALIDATION_ERROR"),
        ({"description": "d" * 201}, "VALIDATION_ERROR"),
        ({"secret": "whsec_mine"}, "VALIDATION_ERROR"),
        ({"user_id": str(uuid4())}, "VALIDATION_ERROR"),
    ],
)
async def test_bad_endpoints_are_refused(database: Clone, fields: dict[str, Any], error: str) -> None:
    settings = database.settings(
        env="production", token_secret="kH7sPq2vXz9LmN4bTc6RwY8dJf3GaE5u", allowed_hosts=("testserver",)
    )
    async with running_client(settings) as client:
        person = await register(client)
        answer = await client.post(api("/webhook-endpoints"), json={"url": URL} | fields, headers=person.headers)
        assert (answer.status_code, slug(answer)) == (422, error)
        made = await create(client, person)
        path = api(f"/webhook-endpoints/{made['endpoint']['endpoint_id']}")
        answer = await client.patch(path, json=fields, headers=person.headers)
        assert (answer.status_code, slug(answer)) == (422, error)
        assert (await client.get(path, headers=person.headers)).json() == made["endpoint"]


async def test_a_user_has_ten_endpoints_at_most(client: httpx.AsyncClient) -> None:
    person = await register(client)
    made = [(await create(client, person))["endpoint"]["endpoint_id"] for _ in range(10)]
    refused = await client.post(api("/webhook-endpoints"), json={"url": URL}, headers=person.headers)
    assert (refused.status_code, slug(refused), refused.json()["maximum"]) == (409, "TOO_MANY_WEBHOOK_ENDPOINTS", 10)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "4"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(api("/webhook-endpoints"), params=params, headers=person.headers)).json()
        seen += [endpoint["endpoint_id"] for endpoint in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


async def test_deliveries_are_shown_and_replayed(client: httpx.AsyncClient, db: Connection) -> None:
    await relay(db)
    person = await register(client)
    await relay(db)
    endpoint = (await create(client, person))["endpoint"]["endpoint_id"]
    path = api(f"/webhook-endpoints/{endpoint}")
    for number in range(3):
        await put(db, person.id, f"x.n{number}", payload=f'{{"n": {number}}}')
    await fan(db)
    tested = await client.post(f"{path}/test", headers=person.headers)
    assert (tested.status_code, tested.json()["type"], tested.json()["status"]) == (201, "webhook.test", "pending")
    for row in await db.fetch(LEASE):
        status, error = (
            (200, None) if row["type"] == "x.n0" else (410, "gone") if row["type"] == "x.n1" else (500, "status")
        )
        await db.fetchval(FINISH, row["delivery_id"], row["attempt"], status, error, "<b>no</b>")

    async def listed(**params: str) -> list[str]:
        page = await client.get(f"{path}/deliveries", params=params, headers=person.headers)
        assert page.status_code == 200, page.text
        return [delivery["type"] for delivery in page.json()["items"]]

    assert await listed() == ["webhook.test", "x.n2", "x.n1", "x.n0"]
    assert await listed(status="dead") == ["webhook.test", "x.n1"]
    assert await listed(status="delivered") == ["x.n0"]
    assert await listed(status="pending") == ["x.n2"]
    page = (await client.get(f"{path}/deliveries", params={"limit": "3"}, headers=person.headers)).json()
    assert await listed(limit="3", cursor=page["next_cursor"]) == ["x.n0"]
    dead = next(delivery for delivery in page["items"] if delivery["type"] == "x.n1")
    assert (dead["last_status"], dead["last_error"], dead["attempts"], dead["next_attempt_at"]) == (
        410,
        "gone",
        1,
        None,
    )
    one = api(f"/webhook-deliveries/{dead['delivery_id']}")
    details = (await client.get(one, headers=person.headers)).json()
    assert details["payload"] == {"n": 1}
    assert [(a["attempt"], a["status"], a["error"], a["answer"]) for a in details["history"]] == [
        (1, 410, "gone", "<b>no</b>")
    ]
    assert slug(await client.post(f"{one}/replay", headers=person.headers)) == "WEBHOOK_ENDPOINT_DISABLED"
    await client.patch(path, json={"status": "active"}, headers=person.headers)
    replayed = await client.post(f"{one}/replay", headers=person.headers)
    assert (replayed.status_code, replayed.json()["status"]) == (200, "pending")
    assert replayed.json()["delivery_id"] == dead["delivery_id"]
    for params in ({"status": "lost"}, {"cursor": "x"}, {"limit": "0"}):
        bad = await client.get(f"{path}/deliveries", params=params, headers=person.headers)
        assert (bad.status_code, slug(bad)) == (422, "VALIDATION_ERROR")


async def test_other_peoples_endpoints_and_deliveries_are_not_there(client: httpx.AsyncClient, db: Connection) -> None:
    await relay(db)
    owner, stranger = await register(client), await register(client)
    endpoint = (await create(client, owner))["endpoint"]
    path = api(f"/webhook-endpoints/{endpoint['endpoint_id']}")
    delivery = (await client.post(f"{path}/test", headers=owner.headers)).json()
    one = api(f"/webhook-deliveries/{delivery['delivery_id']}")
    tries = [
        ("GET", path, None, "ENDPOINT"),
        ("PATCH", path, {"url": "https://evil.example/"}, "ENDPOINT"),
        ("DELETE", path, None, "ENDPOINT"),
        ("POST", f"{path}/rotate", None, "ENDPOINT"),
        ("POST", f"{path}/test", None, "ENDPOINT"),
        ("GET", f"{path}/deliveries", None, "ENDPOINT"),
        ("GET", one, None, "DELIVERY"),
        ("POST", f"{one}/replay", None, "DELIVERY"),
    ]
    for method, url, body, what in tries:
        answer = await client.request(method, url, json=body, headers=stranger.headers)
        assert (answer.status_code, slug(answer)) == (404, f"WEBHOOK_{what}_NOT_FOUND"), (method, url)
        assert (await client.request(method, url, json=body)).status_code == 401
    assert (await client.get(api("/webhook-endpoints"), headers=stranger.headers)).json()["items"] == []
    assert (await client.get(path, headers=owner.headers)).json() == endpoint
    assert await db.fetchval("SELECT count(*) FROM core.webhook_secrets") == 1


async def test_keys_need_the_scopes(client: httpx.AsyncClient) -> None:
    person = await register(client)
    endpoint = (await create(client, person))["endpoint"]["endpoint_id"]
    for scope, allowed in (("webhooks:read", {200, 403}), ("webhooks:write", {201, 403})):
        key = await client.post(api("/api-keys"), json={"name": "k", "scopes": [scope]}, headers=person.headers)
        headers = {"X-API-Key": key.json()["key"]}
        got = await client.get(api(f"/webhook-endpoints/{endpoint}"), headers=headers)
        tested = await client.post(api(f"/webhook-endpoints/{endpoint}/test"), headers=headers)
        assert {got.status_code, tested.status_code} == allowed


async def test_development_may_use_http_on_loopback(client: httpx.AsyncClient) -> None:
    person = await register(client)
    await create(client, person, url="http://127.0.0.1:9999/hook")
    await create(client, person, url="http://localhost:9999/hook")
    for url in ("http://10.0.0.1/hook", "http://93.184.216.34/hook", "https://[fe80::1]/"):
        answer = await client.post(api("/webhook-endpoints"), json={"url": url}, headers=person.headers)
        assert slug(answer) == "WEBHOOK_URL_REFUSED"
