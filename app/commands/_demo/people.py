"""People of the demo, over HTTP."""

from __future__ import annotations

import re
import secrets
from html import unescape
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
        self.password = secrets.token_urlsafe(18)
        body = {"email": f"{handle}@demo.example", "username": handle, "password": self.password}
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


def buy(person: Person, tokens: int) -> Json:
    """A package of tokens, paid in the sandbox as a browser does it: its page, and the button on it."""
    packages = expect(person.http.get("/public/token-packages"), 200)["items"]
    package = next(found for found in packages if found["tokens"] == tokens)
    body = {"package_id": package["package_id"], "provider": "sandbox"}
    opened = expect(person.ask("POST", "/payments/checkout", key=f"buy-{tokens}", json=body), 201)
    page = person.http.get(httpx.URL(opened["checkout_url"]).raw_path.decode().removeprefix("/api/v1"))
    button = re.search(r'action="/api/v1([^"]+/pay[^"]+)"', page.text)
    if button is None:
        raise click.ClickException(f"the sandbox's page has no button to pay: {page.status_code}")
    person.http.post(unescape(button.group(1)))
    return person.get(f"/payments/{opened['payment_id']}")


def has_sandbox(http: httpx.Client) -> bool:
    """Whether tokens can be bought with nothing here."""
    return "sandbox" in expect(http.get("/public/token-packages"), 200)["providers"]
