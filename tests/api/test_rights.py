"""Roles, scopes, suspension: who may do what, and how soon a change is seen."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.people import Person, api, log_in, register, register_admin, slug, who
from tests.support.application import running_client
from tests.support.postgres import Clone, Connection

ADMIN_ROUTES = [
    ("GET", "/admin/users", None),
    ("GET", "/admin/users/{id}", None),
    ("PATCH", "/admin/users/{id}", {"display_name": "X"}),
    ("POST", "/admin/users/{id}/suspend", {"reason": "because"}),
    ("POST", "/admin/users/{id}/roles", {"roles": ["admin"]}),
]


async def eventually(client: httpx.AsyncClient, person: Person, status: int) -> httpx.Response:
    """The answer once it has this status: a notification takes a moment to cross from process to process."""
    for _ in range(200):
        response = await who(client, person.headers)
        if response.status_code == status:
            return response
        await asyncio.sleep(0.01)
    pytest.fail(f"still {response.status_code}, not {status}")


async def test_a_suspended_user_is_refused_in_every_process(database: Clone, db: Connection) -> None:
    async with running_client(database.settings()) as here, running_client(database.settings()) as there:
        admin, person = await register_admin(here, db), await register(here)
        for client in (here, there):
            for _ in range(3):
                assert (await who(client, person.headers)).status_code == 200
        key = await here.post(api("/api-keys"), json={"name": "k", "scopes": ["profile:read"]}, headers=person.headers)
        key_headers = {"X-API-Key": key.json()["key"]}
        assert (await who(there, key_headers)).status_code == 200
        path = api(f"/admin/users/{person.id}")
        done = await here.post(f"{path}/suspend", json={"reason": "spam"}, headers=admin.headers)
        assert (done.status_code, done.json()["status"]) == (200, "suspended")
        assert slug(await who(here, person.headers)) == "USER_SUSPENDED"
        assert slug(await eventually(there, person, 403)) == "USER_SUSPENDED"
        assert slug(await who(there, key_headers)) == "USER_SUSPENDED"
        assert slug(await log_in(there, person.email)) == "USER_SUSPENDED"
        assert slug(await log_in(there, person.email, "not the password")) == "INVALID_CREDENTIALS"
        lifted = await here.patch(path, json={"status": "active"}, headers=admin.headers)
        assert lifted.json()["status"] == "active"
        assert (await who(here, person.headers)).status_code == 401, "the old session stays ended"
        assert (await log_in(here, person.email)).status_code == 200
        assert (await who(here, key_headers)).status_code == 200


async def test_a_change_in_psql_is_seen_too(client: httpx.AsyncClient, db: Connection) -> None:
    person = await register(client)
    assert (await who(client, person.headers)).status_code == 200
    await db.execute("UPDATE core.users SET status = 'suspended' WHERE id = $1", person.id)
    assert slug(await eventually(client, person, 403)) == "USER_SUSPENDED"


async def test_while_changes_are_not_heard_nothing_is_remembered(database: Clone, db: Connection) -> None:
    async with running_client(database.settings()) as client:
        person = await register(client)
        assert (await who(client, person.headers)).status_code == 200
        await db.execute("ALTER TABLE core.users DISABLE TRIGGER USER")
        listeners = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE 'listen%' OR query = 'SELECT 1'"
        )
        await db.execute(listeners + " AND datname = current_database() AND pid <> pg_backend_pid()")
        await db.execute("UPDATE core.users SET status = 'suspended' WHERE id = $1", person.id)
        assert slug(await eventually(client, person, 403)) == "USER_SUSPENDED"
        await db.execute("ALTER TABLE core.users ENABLE TRIGGER USER")


async def test_roles_take_effect_with_the_next_request(client: httpx.AsyncClient, db: Connection) -> None:
    admin, person = await register_admin(client, db), await register(client)
    path = api(f"/admin/users/{person.id}/roles")
    assert slug(await client.get(api("/admin/users"), headers=person.headers)) == "FORBIDDEN"
    given = await client.post(path, json={"roles": ["operator", "admin"]}, headers=admin.headers)
    assert given.json()["roles"] == ["admin", "operator"]
    assert (await client.get(api("/admin/users"), headers=person.headers)).status_code == 200
    await client.post(path, json={"roles": []}, headers=admin.headers)
    assert slug(await client.get(api("/admin/users"), headers=person.headers)) == "FORBIDDEN"
    assert slug(await client.post(path, json={"roles": ["king"]}, headers=admin.headers)) == "VALIDATION_ERROR"
    noted = await db.fetch("SELECT action, actor_id, subject_id FROM core.audit_log ORDER BY id")
    assert [tuple(row) for row in noted] == [("user.roles_set", admin.id, person.id)] * 2


@pytest.mark.parametrize(("method", "path", "body"), ADMIN_ROUTES)
async def test_admin_routes_are_for_admins(
    client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None
) -> None:
    person, other = await register(client), await register(client)
    url = api(path.format(id=other.id))
    assert (await client.request(method, url, json=body)).status_code == 401
    assert slug(await client.request(method, url, json=body, headers=person.headers)) == "FORBIDDEN"


async def test_admins_cannot_change_their_own_rights(client: httpx.AsyncClient, db: Connection) -> None:
    admin = await register_admin(client, db)
    path = api(f"/admin/users/{admin.id}")
    for response in (
        await client.post(f"{path}/suspend", json={"reason": "x"}, headers=admin.headers),
        await client.post(f"{path}/roles", json={"roles": []}, headers=admin.headers),
        await client.patch(path, json={"status": "suspended"}, headers=admin.headers),
    ):
        assert (response.status_code, slug(response)) == (409, "OWN_RIGHTS")
    assert slug(await client.get(api(f"/admin/users/{uuid4()}"), headers=admin.headers)) == "USER_NOT_FOUND"


async def test_users_are_listed_in_pages_and_filtered(client: httpx.AsyncClient, db: Connection) -> None:
    admin = await register_admin(client, db)
    people = [await register(client, f"fan_{number}") for number in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await client.get(api("/admin/users"), params=params, headers=admin.headers)).json()
        assert len(page["items"]) <= 2
        seen += [user["id"] for user in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [str(person.id) for person in [*reversed(people), admin]]

    async def found(**params: str) -> list[str]:
        answer = await client.get(api("/admin/users"), params=params, headers=admin.headers)
        return [user["username"] for user in answer.json()["items"]]

    assert await found(search="fan_3") == ["fan_3"]
    assert await found(search="fan%") == []
    assert await found(role="admin") == [admin.username]
    assert await found(status="suspended") == []
    for params in (
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "x"},
        {"cursor": "x"},
        {"cursor": "bnVsbA"},
        {"status": "?"},
    ):
        bad = await client.get(api("/admin/users"), params=params, headers=admin.headers)
        assert (params, bad.status_code, slug(bad)) == (params, 422, "VALIDATION_ERROR")


async def test_becoming_a_creator(client: httpx.AsyncClient) -> None:
    person = await register(client)
    path = api("/dashboard/profile/creator")
    body = {"rate_per_minute": 20, "ticket_price": 100, "bio": "Hi"}
    profile = (await client.post(path, json=body, headers=person.headers)).json()
    assert (profile["roles"], profile["creator"]) == (["creator"], body | {"accepts_calls": True})
    profile = (await client.post(path, json={"rate_per_minute": 30}, headers=person.headers)).json()
    assert (profile["roles"], profile["creator"]["rate_per_minute"]) == (["creator"], 30)
    for bad in (
        {},
        {"rate_per_minute": 0},
        {"rate_per_minute": 2**63},
        {"rate_per_minute": "5"},
        {"rate_per_minute": 1.5},
    ):
        assert slug(await client.post(path, json=bad, headers=person.headers)) == "VALIDATION_ERROR"


async def test_changing_the_profile(client: httpx.AsyncClient) -> None:
    person, other = await register(client), await register(client)
    path = api("/dashboard/profile")
    changed = await client.patch(path, json={"display_name": "Ada L.", "username": "Lovelace"}, headers=person.headers)
    assert (changed.json()["display_name"], changed.json()["username"]) == ("Ada L.", "lovelace")
    assert slug(await client.patch(path, json={"username": "lovelace"}, headers=other.headers)) == "USERNAME_TAKEN"
    assert slug(await client.patch(path, json={"roles": ["admin"]}, headers=person.headers)) == "VALIDATION_ERROR"
    assert (await client.patch(path, json={}, headers=person.headers)).json()["display_name"] == "Ada L."
