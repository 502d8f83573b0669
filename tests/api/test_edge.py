"""What every answer has, whatever was asked: problems, ids, security headers, limits, media types."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from app.core.logging import REDACTED, AccessLog, redact
from app.core.middleware import TrustedProxies
from tests.api.people import PASSWORD, Person, api, log_in, register, slug, who
from tests.support.application import running_client
from tests.support.postgres import Clone

LOGIN = api("/auth/login")
JSON = {"Content-Type": "application/json"}
MSGPACK = "application/vnd.msgpack"


async def test_unknown_paths_and_methods(client: httpx.AsyncClient) -> None:
    for path in ("/", "/nope", api(""), api("/nope"), api("/api-keys/x/rotate/y"), "/api/v2/x", api("/docs/../../etc")):
        response = await client.get(path)
        assert (path, response.status_code, slug(response)) == (path, 404, "NOT_FOUND")
    response = await client.put(LOGIN)
    assert (response.status_code, slug(response)) == (405, "METHOD_NOT_ALLOWED")
    assert set(response.headers["allow"].split(", ")) == {"POST", "OPTIONS"}
    for unparsable in (api("/admin/users/not-a-uuid"), api("/admin/users/%00")):
        assert (await client.get(unparsable)).status_code == 404


async def test_request_ids_are_accepted_or_made(client: httpx.AsyncClient) -> None:
    path = api("/public/health")
    given = await client.get(path, headers={"X-Request-ID": "trace-1/2:3"})
    assert given.headers["x-request-id"] == "trace-1/2:3"
    made = [(await client.get(path)).headers["x-request-id"] for _ in range(3)]
    assert len(set(made)) == 3
    for bad in ("x" * 129, "two words", 'a"b'):
        assert (await client.get(path, headers={"X-Request-ID": bad})).headers["x-request-id"] != bad
    problem = await client.get("/nope", headers={"X-Request-ID": "mine"})
    assert problem.json()["request_id"] == "mine"


async def test_security_headers_are_on_every_answer(client: httpx.AsyncClient) -> None:
    for response in (await client.get(api("/public/health")), await client.get("/nope"), await client.post(LOGIN)):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert "strict-transport-security" not in response.headers


async def test_transport_security_is_told_where_the_service_is_public(database: Clone) -> None:
    async with running_client(database.settings(public_url="https://api.example.com")) as client:
        assert "max-age" in (await client.get("/nope")).headers["strict-transport-security"]


MALFORMED: list[tuple[str, bytes, int, str]] = [
    ("nothing", b"", 422, "VALIDATION_ERROR"),
    ("broken JSON", b'{"email": ', 400, "MALFORMED_JSON"),
    ("no JSON", b"email=a&password=b", 400, "MALFORMED_JSON"),
    ("NaN", b'{"email": NaN, "password": "x"}', 400, "MALFORMED_JSON"),
    ("bad UTF-8", b'{"email": "\xc3\x28", "password": "x"}', 400, "MALFORMED_JSON"),
    ("half a surrogate pair", b'{"email": "\\ud800", "password": "x"}', 400, "MALFORMED_JSON"),
    ("text after the end", b'{"email": "a", "password": "x"} x', 400, "MALFORMED_JSON"),
    ("deep nesting", b"[" * 20_000, 422, "VALIDATION_ERROR"),
    ("deep nesting inside", b'{"email": ' + b"[" * 20_000, 422, "VALIDATION_ERROR"),
    ("an array", b"[]", 422, "VALIDATION_ERROR"),
    ("null", b"null", 422, "VALIDATION_ERROR"),
    ("a number for a text", b'{"email": 5, "password": "x"}', 422, "VALIDATION_ERROR"),
    ("a huge number", b'{"email": 1e999, "password": "x"}', 422, "VALIDATION_ERROR"),
    ("a missing field", b'{"email": "a"}', 422, "VALIDATION_ERROR"),
    ("an unknown field", b'{"email": "a", "password": "x", "admin": true}', 422, "VALIDATION_ERROR"),
]


@pytest.mark.parametrize(
    ("body", "status", "expected"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED]
)
async def test_malformed_bodies(client: httpx.AsyncClient, body: bytes, status: int, expected: str) -> None:
    response = await client.post(LOGIN, content=body, headers=JSON)
    assert (response.status_code, slug(response)) == (status, expected), response.text


async def test_a_field_that_does_not_fit_is_named(client: httpx.AsyncClient) -> None:
    response = await client.post(LOGIN, json={"email": 5, "password": "x"})
    assert response.json()["errors"] == [{"field": "email", "message": "Expected `str`, got `int`"}]


async def test_zero_bytes_are_refused_not_failed_on(client: httpx.AsyncClient) -> None:
    person = await register(client)
    assert slug(await log_in(client, "a\x00@example.com")) in {"VALIDATION_ERROR", "INVALID_CREDENTIALS"}
    named = await client.patch(api("/dashboard/profile"), json={"display_name": "a\x00"}, headers=person.headers)
    assert slug(named) == "VALIDATION_ERROR"


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json-patch+json",
        "application/jsonlines",
    ],
)
async def test_other_media_types_are_refused(client: httpx.AsyncClient, media_type: str) -> None:
    response = await client.post(LOGIN, content=b"x", headers={"Content-Type": media_type})
    assert (response.status_code, slug(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON", "application/json ;charset=UTF-8"])
async def test_media_types_have_no_case(client: httpx.AsyncClient, media_type: str) -> None:
    response = await client.post(LOGIN, content=b"{", headers={"Content-Type": media_type})
    assert (response.status_code, slug(response)) == (400, "MALFORMED_JSON")


async def test_bodies_are_limited_announced_or_not(client: httpx.AsyncClient) -> None:
    big = b'{"email": "' + b"x" * (1024 * 1024) + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(big), 65536):
            yield big[start : start + 65536]

    for content in (big, chunks()):
        response = await client.post(LOGIN, content=content, headers=JSON)
        assert (response.status_code, slug(response)) == (413, "PAYLOAD_TOO_LARGE")
    assert (await client.post(LOGIN, content=b"{}", headers={**JSON, "Content-Length": "many"})).status_code == 400


async def test_messagepack_both_ways(client: httpx.AsyncClient) -> None:
    person = await register(client)
    body = msgspec.msgpack.encode({"email": person.email, "password": PASSWORD})
    response = await client.post(LOGIN, content=body, headers={"Content-Type": MSGPACK, "Accept": MSGPACK})
    assert response.headers["content-type"] == MSGPACK
    assert msgspec.msgpack.decode(response.content)["user"]["id"] == str(person.id)
    broken = await client.post(LOGIN, content=b"\xc1", headers={"Content-Type": MSGPACK})
    assert slug(broken) == "MALFORMED_JSON"


async def test_times_are_rfc_3339_in_utc(client: httpx.AsyncClient) -> None:
    profile = (await who(client, (await register(client)).headers)).json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", profile["created_at"])


async def test_only_listed_origins_may_ask_from_a_browser(database: Clone) -> None:
    async with running_client(database.settings(cors_origins=("https://app.example.com",))) as client:
        ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "idempotency-key"}
        allowed = await client.options(LOGIN, headers={"Origin": "https://app.example.com", **ask})
        assert allowed.headers["access-control-allow-origin"] == "https://app.example.com"
        foreign = await client.options(LOGIN, headers={"Origin": "https://evil.example.com", **ask})
        assert "access-control-allow-origin" not in foreign.headers
        problem = await client.get("/nope", headers={"Origin": "https://app.example.com"})
        assert problem.headers["access-control-allow-origin"] == "https://app.example.com"
        assert slug(problem) == "NOT_FOUND"


async def test_only_listed_hosts_are_answered(database: Clone) -> None:
    async with running_client(database.settings(allowed_hosts=("api.example.com",))) as client:
        ok = await client.get(api("/public/health"), headers={"Host": "api.example.com"})
        assert ok.status_code == 200
        foreign = await client.get(api("/public/health"), headers={"Host": "evil.example.com"})
        assert foreign.status_code == 400


async def test_callers_are_limited_one_by_one(database: Clone) -> None:
    async with running_client(database.settings(rate_limit_per_minute=12)) as client:
        one, other = await register(client), await register(client)

        async def burst(person: Person) -> list[int]:
            return [(await who(client, person.headers)).status_code for _ in range(4)]

        assert 429 in await burst(one)
        limited = await who(client, one.headers)
        assert slug(limited) == "RATE_LIMITED"
        assert int(limited.headers["retry-after"]) >= 1
        assert limited.json()["limited_by"] == "user"
        assert (await burst(other))[0] in (200, 429)


async def test_signing_in_is_limited_by_address(database: Clone) -> None:
    settings = database.settings(rate_limit_auth_per_minute=3, trusted_proxies=("127.0.0.1",))
    async with running_client(settings) as client:
        answers = [await log_in(client, f"nobody{number}@example.com") for number in range(4)]
        assert [slug(answer) for answer in answers] == ["INVALID_CREDENTIALS"] * 3 + ["RATE_LIMITED"]
        elsewhere = await log_in(client, "nobody@example.com", headers={"X-Forwarded-For": "203.0.113.9"})
        assert slug(elsewhere) == "INVALID_CREDENTIALS"


def test_forwarded_addresses_are_believed_of_trusted_proxies_only() -> None:
    proxies = TrustedProxies(["10.0.0.0/8", "::1"])
    assert proxies.client("10.1.2.3", b"203.0.113.9") == "203.0.113.9"
    assert proxies.client("10.1.2.3", b"1.1.1.1, 203.0.113.9, 10.9.9.9") == "203.0.113.9"
    assert proxies.client("10.1.2.3", b"nonsense") == "10.1.2.3"
    assert proxies.client("203.0.113.9", b"1.1.1.1") == "203.0.113.9"
    assert TrustedProxies([]).client("10.1.2.3", b"1.1.1.1") == "10.1.2.3"


async def test_metrics_are_for_this_machine_or_whoever_has_the_token(database: Clone) -> None:
    async with running_client(database.settings(trusted_proxies=("127.0.0.1",))) as client:
        await client.get(api("/public/health"))
        text = (await client.get("/metrics")).text
        assert 'tessera_http_request_seconds_count{method="GET",route="/api/v1/public/health",status="200"}' in text
        assert slug(await client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"})) == "FORBIDDEN"
    token = "m" * 40
    async with running_client(database.settings(metrics_token=token)) as client:
        assert slug(await client.get("/metrics")) == "NOT_AUTHENTICATED"
        assert (await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})).status_code == 200


def test_secrets_do_not_reach_the_logs() -> None:
    event: dict[str, Any] = {
        "event": "login with Bearer abc.def and tsk_12345678_abcdefgh",
        "password": "hunter2",
        "nested": {"Authorization": "x", "list": [{"api_key": "y"}]},
        "url": "postgresql://user:hunter2@db/tessera",
        "jwt": "eyJhbGciOi.eyJpc3Mi.c2ln",
        "user_id": "u-1",
    }
    text = json.dumps(redact(event))
    for secret in ("abc.def", "12345678_abcdefgh", "hunter2", "eyJpc3Mi", '"x"', '"y"'):
        assert secret not in text
    assert "u-1" in text
    assert REDACTED in text
    assert "postgresql://user:" in text


async def test_access_lines_are_written_together() -> None:
    stream = io.StringIO()
    log = AccessLog(stream)
    log.write({"event": "request", "status": 200})
    log.write({"event": "request", "status": 404})
    assert stream.getvalue() == ""
    log.flush()
    assert [json.loads(line)["status"] for line in stream.getvalue().splitlines()] == [200, 404]
