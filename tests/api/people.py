"""People for tests: accounts made over HTTP, as anybody would."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec

from tests.support.postgres import Connection

PASSWORD = "correct horse battery"


class Person(msgspec.Struct):
    """Somebody who is signed in."""

    id: UUID
    email: str
    username: str
    access_token: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        """Of a request in this person's name."""
        return {"Authorization": f"Bearer {self.access_token}"}


def api(path: str) -> str:
    """The URL of a route below /api/v1."""
    return f"/api/v1{path}"


async def register(client: httpx.AsyncClient, name: str | None = None) -> Person:
    """A new account."""
    username = name or f"p{uuid4().hex[:12]}"
    email = f"{username}@example.com"
    body = {"email": email, "username": username, "password": PASSWORD}
    response = await client.post(api("/auth/register"), json=body)
    assert response.status_code == 201, response.text
    tokens = response.json()
    return Person(UUID(tokens["user"]["id"]), email, username, tokens["access_token"], tokens["refresh_token"])


async def register_admin(client: httpx.AsyncClient, db: Connection) -> Person:
    """A new account that is made an admin in the database."""
    admin = await register(client)
    await db.execute("UPDATE core.users SET roles = '{admin}' WHERE id = $1", admin.id)
    return admin


async def log_in(client: httpx.AsyncClient, email: str, password: str = PASSWORD, **options: Any) -> httpx.Response:
    """An attempt to sign in."""
    return await client.post(api("/auth/login"), json={"email": email, "password": password}, **options)


async def who(client: httpx.AsyncClient, headers: dict[str, str]) -> httpx.Response:
    """A request that needs to know who asks, and nothing else."""
    return await client.get(api("/dashboard/profile"), headers=headers)


def slug(response: httpx.Response) -> str:
    """The error of a problem, after checking that it is a whole one."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["type"] == f"urn:tessera:error:{problem['error']}"
    assert problem["title"]
    assert problem["request_id"] == response.headers["x-request-id"]
    error: str = problem["error"]
    return error
