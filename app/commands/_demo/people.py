"""People of the demo, over HTTP."""

from __future__ import annotations

import secrets
from typing import Any, TypeAlias
from uuid import UUID

import click
import httpx

from app.commands import _queries as queries
from app.commands._common import Connection, with_connection

RATE_PER_MINUTE = 300
TICKET_PRICE = 25
Json: TypeAlias = dict[str, Any]


class Person:
    """Somebody with an account, over HTTP."""

    def __init__(self, http: httpx.Client, name: str) -> None:
        self.http = http
        self.name = name
        handle = f"{name}-{secrets.token_hex(4)}"
        body = {"email": f"{handle}@demo.example", "username": handle, "password": secrets.token_urlsafe(18)}
        answer = expect(http.post("/auth/register", json=body), 201)
        self.email = body["email"]
        self.id = str(answer["user"]["id"])
        self.headers = {"Authorization": f"Bearer {answer['access_token']}"}

    def ask(self, method: str, path: str, key: str | None = None, **options: object) -> httpx.Response:
        """A request in this person's name."""
        headers = self.headers if key is None else {**self.headers, "Idempotency-Key": key}
        return self.http.request(method, path, headers=headers, **options)  # type: ignore[arg-type]

    def get(self, path: str, **parameters: str) -> Json:
        """What is there, for this person."""
        return expect(self.ask("GET", path, params=parameters), 200)

    @property
    def wallet(self) -> Json:
        """This person's tokens."""
        return self.get("/monetization/balance")


def expect(answer: httpx.Response, status: int) -> Json:
    """What was answered, if it was answered so."""
    if answer.status_code != status:
        raise click.ClickException(
            f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}: {answer.text[:500]}"
        )
    found: Json = answer.json()
    return found


def grant(people: list[Person], amount: int) -> None:
    """Tokens for each of them, as an operator grants them."""

    async def mint(connection: Connection) -> None:
        for person in people:
            await queries.grant_tokens(connection, UUID(person.id), amount, "tessera demo", f"demo-{person.id}")

    with_connection("dba", mint)
