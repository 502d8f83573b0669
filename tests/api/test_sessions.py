"""Registering, signing in, refreshing, signing out, and tokens that were not issued by us."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any
from uuid import uuid4

import httpx
import jwt
import msgspec
import pytest
from prometheus_client import REGISTRY

from app.accounts import passwords
from app.accounts.service import ATTEMPTS
from app.core.auth import TokenSigner
from tests.api.people import PASSWORD, api, log_in, register, slug, who
from tests.support.application import running_client
from tests.support.postgres import Clone, Connection


async def test_a_new_account_is_signed_in_and_has_a_wallet(client: httpx.AsyncClient, db: Connection) -> None:
    person = await register(client, "ada")
    profile = (await who(client, person.headers)).json()
    assert profile["username"] == "ada"
    assert profile["email"] == "ada@example.com"
    assert profile["roles"] == []
    assert await db.fetchval("SELECT count(*) FROM core.wallets WHERE owner_id = $1", person.id) == 1
    stored = await db.fetchval("SELECT password_hash FROM core.users WHERE id = $1", person.id)
    assert stored.startswith("$argon2id$")


async def test_email_and_username_are_unique_whatever_their_case(client: httpx.AsyncClient) -> None:
    await register(client, "ada")
    body = {"email": "ADA@Example.com ".strip(), "username": "ada2", "password": PASSWORD}
    assert slug(await client.post(api("/auth/register"), json=body)) == "EMAIL_TAKEN"
    body = {"email": "other@example.com", "username": "Ada", "password": PASSWORD}
    assert slug(await client.post(api("/auth/register"), json=body)) == "USERNAME_TAKEN"


@pytest.mark.parametrize("password", ["short", "password123", "aaaaaaaaaaaa", "ada@example.com"])
async def test_weak_passwords_are_refused(client: httpx.AsyncClient, password: str) -> None:
    body = {"email": "ada@example.com", "username": "ada", "password": password}
    response = await client.post(api("/auth/register"), json=body)
    assert (response.status_code, slug(response)) == (422, "WEAK_PASSWORD")


@pytest.mark.parametrize(
    "change",
    [
        {"email": "nobody"},
        {"username": "-x"},
        {"username": "x"},
        {"password": 5},
        {"role": "admin"},
        {"display_name": " "},
    ],
)
async def test_what_does_not_fit_is_refused(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    body = {"email": "ada@example.com", "username": "ada", "password": PASSWORD, **change}
    response = await client.post(api("/auth/register"), json=body)
    assert (response.status_code, slug(response)) == (422, "VALIDATION_ERROR")


async def test_unknown_user_and_wrong_password_look_and_cost_the_same(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await register(client)
    verified: list[str] = []
    really = passwords._verify

    def counted(password_hash: str, password: str) -> bool:
        verified.append(password_hash)
        return really(password_hash, password)

    monkeypatch.setattr(passwords, "_verify", counted)
    wrong = await log_in(client, person.email, "not the password")
    unknown = await log_in(client, "nobody@example.com", "not the password")
    assert slug(wrong) == slug(unknown) == "INVALID_CREDENTIALS"
    same = {"type", "title", "status", "error"}
    assert {key: wrong.json()[key] for key in same} == {key: unknown.json()[key] for key in same}
    assert set(wrong.json()) == set(unknown.json())
    assert len(verified) == 2
    cost = [part.split("$")[3] for part in verified]
    assert cost[0] == cost[1]


async def test_attempts_are_limited_for_one_address_and_the_owner_elsewhere_gets_in(database: Clone) -> None:
    settings = database.settings(trusted_proxies=("127.0.0.1",))
    async with running_client(settings) as client:
        person = await register(client)
        thief = {"X-Forwarded-For": "203.0.113.9"}
        for _ in range(ATTEMPTS):
            assert slug(await log_in(client, person.email, "guess guess", headers=thief)) == "INVALID_CREDENTIALS"
        limited = await log_in(client, person.email, PASSWORD, headers=thief)
        assert slug(limited) == "TOO_MANY_ATTEMPTS"
        assert int(limited.headers["retry-after"]) > 0
        assert (await log_in(client, person.email, headers={"X-Forwarded-For": "198.51.100.7"})).status_code == 200


async def test_guesses_at_the_same_moment_are_counted(client: httpx.AsyncClient) -> None:
    person = await register(client)
    answers = await asyncio.gather(*(log_in(client, person.email, "guess guess") for _ in range(12)))
    slugs = [slug(answer) for answer in answers]
    assert slugs.count("INVALID_CREDENTIALS") == ATTEMPTS
    assert slugs.count("TOO_MANY_ATTEMPTS") == 12 - ATTEMPTS


async def test_success_clears_the_attempts(client: httpx.AsyncClient) -> None:
    person = await register(client)
    for _ in range(2):
        for _ in range(ATTEMPTS - 1):
            await log_in(client, person.email, "guess guess")
        assert (await log_in(client, person.email)).status_code == 200


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post(api("/auth/refresh"), json={"refresh_token": token})


async def test_a_lost_answer_to_a_refresh_is_given_again(client: httpx.AsyncClient) -> None:
    person = await register(client)
    first, again = await refresh(client, person.refresh_token), await refresh(client, person.refresh_token)
    assert first.json()["refresh_token"] == again.json()["refresh_token"] != person.refresh_token
    together = await asyncio.gather(*(refresh(client, first.json()["refresh_token"]) for _ in range(5)))
    assert len({answer.json()["refresh_token"] for answer in together}) == 1
    assert (await who(client, {"Authorization": f"Bearer {together[0].json()['access_token']}"})).status_code == 200


async def test_a_refresh_token_used_again_later_ends_the_session(client: httpx.AsyncClient, db: Connection) -> None:
    person = await register(client)
    successor = (await refresh(client, person.refresh_token)).json()["refresh_token"]
    await db.execute("UPDATE core.refresh_tokens SET used_at = used_at - interval '1 minute' WHERE used_at IS NOT NULL")
    reused = await refresh(client, person.refresh_token)
    assert (reused.status_code, slug(reused)) == (401, "REFRESH_TOKEN_REUSED")
    assert slug(await refresh(client, successor)) == "INVALID_TOKEN"
    assert slug(await who(client, person.headers)) == "INVALID_TOKEN"
    assert await db.fetchval("SELECT revoke_reason FROM core.sessions") == "refresh_token_reused"
    assert await db.fetchval("SELECT count(*) FROM core.audit_log WHERE action = 'session.reuse_detected'") == 1


async def test_nothing_stored_is_a_credential(client: httpx.AsyncClient, db: Connection) -> None:
    person = await register(client)
    await refresh(client, person.refresh_token)
    for table in ("sessions", "refresh_tokens", "api_keys", "audit_log", "users"):
        stored = await db.fetchval(f"SELECT coalesce(string_agg(t::text, ' '), '') FROM core.{table} AS t")
        assert person.refresh_token not in stored
        assert PASSWORD not in stored


async def test_an_expired_session_cannot_be_refreshed(client: httpx.AsyncClient, db: Connection) -> None:
    person = await register(client)
    await db.execute("UPDATE core.sessions SET expires_at = now()")
    assert slug(await refresh(client, person.refresh_token)) == "INVALID_TOKEN"
    assert slug(await refresh(client, "tsr_invented")) == "INVALID_TOKEN"


async def test_signing_out_ends_the_session_and_no_other(client: httpx.AsyncClient) -> None:
    person = await register(client)
    elsewhere = (await log_in(client, person.email)).json()
    assert (await who(client, person.headers)).status_code == 200
    out = await client.post(api("/auth/logout"), json={"refresh_token": person.refresh_token})
    assert (out.status_code, out.content) == (204, b"")
    assert slug(await who(client, person.headers)) == "INVALID_TOKEN"
    assert slug(await refresh(client, person.refresh_token)) == "INVALID_TOKEN"
    assert (await who(client, {"Authorization": f"Bearer {elsewhere['access_token']}"})).status_code == 200
    assert (await client.post(api("/auth/logout"), json={"refresh_token": "tsr_unknown"})).status_code == 204


async def test_signing_out_everywhere(client: httpx.AsyncClient) -> None:
    person = await register(client)
    elsewhere = (await log_in(client, person.email)).json()
    body = {"refresh_token": person.refresh_token, "everywhere": True}
    await client.post(api("/auth/logout"), json=body)
    assert slug(await who(client, {"Authorization": f"Bearer {elsewhere['access_token']}"})) == "INVALID_TOKEN"


def _forgeries(token: str, secret: str) -> dict[str, tuple[str, str]]:
    """Tokens that must not pass, by what is wrong with them, and the error each gets."""
    header = jwt.get_unverified_header(token)
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    head, payload, signature = token.split(".")

    def sign(changes: dict[str, Any], header_changes: dict[str, Any] | None = None, key: str = secret) -> str:
        body = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        return jwt.encode(body, key, algorithm="HS256", headers={**header, **(header_changes or {})})

    none_head = base64.urlsafe_b64encode(msgspec.json.encode({**header, "alg": "none"})).rstrip(b"=").decode()
    hs512 = jwt.encode(claims, secret, algorithm="HS512", headers={"kid": header["kid"], "typ": header["typ"]})
    now = int(time.time())
    return {
        "no algorithm": (f"{none_head}.{payload}.", "INVALID_TOKEN"),
        "no algorithm, old signature": (f"{none_head}.{payload}.{signature}", "INVALID_TOKEN"),
        "another algorithm": (hs512, "INVALID_TOKEN"),
        "another secret": (sign({}, key="x" * 40), "INVALID_TOKEN"),
        "another key id": (sign({}, {"kid": "k2"}), "INVALID_TOKEN"),
        "key id of a wrong type": (sign({}, {"typ": "JWT"}), "INVALID_TOKEN"),
        "another issuer": (sign({"iss": "elsewhere"}), "INVALID_TOKEN"),
        "another audience": (sign({"aud": "elsewhere"}), "INVALID_TOKEN"),
        "no audience": (sign({"aud": None}), "INVALID_TOKEN"),
        "no expiry": (sign({"exp": None}), "INVALID_TOKEN"),
        "expired": (sign({"iat": now - 1000, "exp": now - 100}), "TOKEN_EXPIRED"),
        "another user": (sign({"sub": str(uuid4())}), "INVALID_TOKEN"),
        "another session": (sign({"sid": str(uuid4())}), "INVALID_TOKEN"),
        "a session that is no id": (sign({"sid": "x"}), "INVALID_TOKEN"),
        "another epoch": (sign({"epoch": 7}), "INVALID_TOKEN"),
        "changed payload": (f"{head}.{payload[:-4]}AAAA.{signature}", "INVALID_TOKEN"),
        "not a token": ("abc", "INVALID_TOKEN"),
        "not even text": ("\x7f\x01", "INVALID_TOKEN"),
        "too long": ("a" * 5000, "INVALID_TOKEN"),
    }


async def test_forged_tokens_are_refused(database: Clone) -> None:
    settings = database.settings()
    async with running_client(settings) as client:
        person = await register(client)
        for name, (token, expected) in _forgeries(person.access_token, settings.token_secret or "").items():
            response = await who(client, {"Authorization": f"Bearer {token}"})
            assert (name, response.status_code, slug(response)) == (name, 401, expected)
            assert response.headers["www-authenticate"] == "Bearer"
        for scheme in ("Basic abc", "Bearer", "bearer "):
            assert (await who(client, {"Authorization": scheme})).status_code == 401
        assert slug(await who(client, {})) == "NOT_AUTHENTICATED"
        assert (await who(client, person.headers)).status_code == 200


async def test_signing_keys_rotate_by_their_id(database: Clone) -> None:
    old = database.settings(token_key_id="old", token_secret="0123456789abcdefghijklmnopqrstuvwxyz")
    new = database.settings(
        token_key_id="new",
        token_secret="zyxwvutsrqponmlkjihgfedcba9876543210",
        token_old_secrets=("old=0123456789abcdefghijklmnopqrstuvwxyz",),
    )
    async with running_client(old) as before, running_client(new) as after:
        person = await register(before)
        assert (await who(after, person.headers)).status_code == 200
        renewed = (await refresh(after, person.refresh_token)).json()
        assert jwt.get_unverified_header(renewed["access_token"])["kid"] == "new"
        assert slug(await who(before, {"Authorization": f"Bearer {renewed['access_token']}"})) == "INVALID_TOKEN"


def test_access_tokens_live_fifteen_minutes_at_most(database: Clone) -> None:
    settings = database.settings()
    token = TokenSigner(settings).issue(uuid4(), uuid4(), 0)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] <= 900
    assert (claims["iss"], claims["aud"]) == (settings.token_issuer, settings.token_audience)


async def test_sessions_asked_for_at_once_are_looked_up_together(client: httpx.AsyncClient) -> None:
    people = [await register(client) for _ in range(12)]
    before = _looked_up()
    answers = await asyncio.gather(*(who(client, person.headers) for person in people))
    assert [answer.json()["id"] for answer in answers] == [str(person.id) for person in people]
    sessions, statements = (after - old for after, old in zip(_looked_up(), before, strict=True))
    assert (sessions, statements < 12) == (12, True)


def _looked_up() -> tuple[float, float]:
    """Sessions, and the statements for them."""
    names = ("tessera_batch_items_sum", "tessera_batch_items_count")
    sums, counts = [REGISTRY.get_sample_value(name, {"function": "session_states"}) or 0.0 for name in names]
    return sums, counts
