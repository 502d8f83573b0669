"""API keys from their making to their end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.accounts.keys import MAX_KEYS
from app.core.keys import is_well_formed, new_api_key
from tests.api.people import Person, api, register, slug, who
from tests.support.application import running_client
from tests.support.postgres import Clone, Connection


async def make(client: httpx.AsyncClient, person: Person, **changes: Any) -> httpx.Response:
    body = {"name": "a key", "scopes": ["profile:read"], **changes}
    return await client.post(api("/api-keys"), json=body, headers=person.headers)


async def test_a_key_is_shown_once_and_stored_as_a_hash(client: httpx.AsyncClient, db: Connection) -> None:
    person = await register(client)
    made = (await make(client, person)).json()
    key = made["key"]
    assert key.startswith(made["api_key"]["prefix"])
    for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
        assert (await who(client, headers)).json()["id"] == str(person.id)
    listed = await client.get(api("/api-keys"), headers=person.headers)
    assert key not in listed.text
    assert [item["id"] for item in listed.json()["items"]] == [made["api_key"]["id"]]
    assert key not in await db.fetchval("SELECT string_agg(k::text, ' ') FROM core.api_keys AS k")


async def test_a_key_does_only_what_its_scopes_say(client: httpx.AsyncClient) -> None:
    person = await register(client)
    key = {"X-API-Key": (await make(client, person)).json()["key"]}
    refused = await client.patch(api("/dashboard/profile"), json={}, headers=key)
    assert (refused.status_code, slug(refused)) == (403, "INSUFFICIENT_SCOPE")
    assert refused.json()["required"] == "profile:write"
    another = await client.post(api("/api-keys"), json={"name": "x", "scopes": ["profile:write"]}, headers=key)
    assert slug(another) == "INSUFFICIENT_SCOPE", "a key cannot make keys"
    assert slug(await make(client, person, scopes=["profile:read", "all"])) == "UNKNOWN_SCOPE"
    assert slug(await make(client, person, scopes=[])) == "VALIDATION_ERROR"


async def test_rotation_replaces_the_key_with_or_without_overlap(client: httpx.AsyncClient, db: Connection) -> None:
    person = await register(client)
    made = (await make(client, person)).json()
    first, path = {"X-API-Key": made["key"]}, api(f"/api-keys/{made['api_key']['id']}/rotate")
    rotated = await client.post(path, json={"overlap_seconds": 60}, headers=person.headers)
    second = {"X-API-Key": rotated.json()["key"]}
    assert [(await who(client, key)).status_code for key in (first, second)] == [200, 200]
    await db.execute("UPDATE core.api_keys SET old_key_expires_at = now()")
    third = {"X-API-Key": (await client.post(path, json={}, headers=person.headers)).json()["key"]}
    assert [(await who(client, key)).status_code for key in (first, second, third)] == [401, 401, 200]


async def test_a_deleted_key_is_refused_at_once(client: httpx.AsyncClient) -> None:
    person = await register(client)
    made = (await make(client, person)).json()
    key, path = {"X-API-Key": made["key"]}, api(f"/api-keys/{made['api_key']['id']}")
    assert (await who(client, key)).status_code == 200
    assert (await client.delete(path, headers=person.headers)).status_code == 204
    assert slug(await who(client, key)) == "INVALID_TOKEN"
    assert slug(await client.delete(path, headers=person.headers)) == "API_KEY_NOT_FOUND"
    assert (await client.get(api("/api-keys"), headers=person.headers)).json() == {"items": [], "next_cursor": None}


async def test_another_user_s_key_is_not_there(client: httpx.AsyncClient) -> None:
    owner, other = await register(client), await register(client)
    key_id = (await make(client, owner)).json()["api_key"]["id"]
    path = api(f"/api-keys/{key_id}")
    assert slug(await client.delete(path, headers=other.headers)) == "API_KEY_NOT_FOUND"
    assert slug(await client.post(f"{path}/rotate", json={}, headers=other.headers)) == "API_KEY_NOT_FOUND"
    unknown = api(f"/api-keys/{uuid4()}")
    assert slug(await client.delete(unknown, headers=other.headers)) == "API_KEY_NOT_FOUND"


async def test_the_expiry_is_a_time_to_come(client: httpx.AsyncClient) -> None:
    person = await register(client)
    for expires_at in ("2001-01-01T00:00:00Z", "2091-01-01T00:00:00", "soon"):
        assert slug(await make(client, person, expires_at=expires_at)) == "VALIDATION_ERROR"


async def test_an_expired_key_is_refused(database: Clone, db: Connection) -> None:
    async with running_client(database.settings()) as client:
        person = await register(client)
        soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        key = {"X-API-Key": (await make(client, person, expires_at=soon)).json()["key"]}
        await db.execute("UPDATE core.api_keys SET expires_at = now() - interval '1 second'")
        assert slug(await who(client, key)) == "TOKEN_EXPIRED"


@pytest.mark.parametrize("number", range(3))
def test_the_checksum_tells_mistyped_keys(number: int) -> None:
    key, prefix = new_api_key()
    assert is_well_formed(key)
    assert key.startswith(prefix)
    position = 12 + 7 * (number + 1)
    other = "a" if key[position] != "a" else "b"
    assert not is_well_formed(key[:position] + other + key[position + 1 :])
    assert not is_well_formed(key[:-1])
    assert not is_well_formed(key + "a")


async def test_unknown_keys_are_refused(client: httpx.AsyncClient) -> None:
    for key in (new_api_key()[0], "tsk_x", "nonsense"):
        assert slug(await who(client, {"X-API-Key": key})) == "INVALID_TOKEN"


async def test_a_key_has_its_own_rate_limit(client: httpx.AsyncClient) -> None:
    person = await register(client)
    key = {"X-API-Key": (await make(client, person, rate_limit_per_minute=6)).json()["key"]}
    assert (await who(client, key)).status_code == 200
    limited = await who(client, key)
    assert (limited.status_code, slug(limited)) == (429, "RATE_LIMITED")
    assert int(limited.headers["retry-after"]) >= 1
    assert (await who(client, person.headers)).status_code == 200


async def test_last_use_is_written_down_at_the_latest_on_shutdown(database: Clone, db: Connection) -> None:
    async with running_client(database.settings()) as client:
        person = await register(client)
        key = {"X-API-Key": (await make(client, person)).json()["key"]}
        await who(client, key)
    assert await db.fetchval("SELECT last_used_at IS NOT NULL FROM core.api_keys")


async def test_the_number_of_keys_is_bounded(client: httpx.AsyncClient) -> None:
    person = await register(client)
    for _ in range(MAX_KEYS):
        assert (await make(client, person)).status_code == 201
    assert slug(await make(client, person)) == "TOO_MANY_API_KEYS"
